"""Training and evaluation: one recipe for every method, backbone and data set.

AdamW with a linear warm-up and a cosine decay, the recipe of the MTLoRA paper scaled to the length of the run
(Agiza et al., CVPR 2024, arXiv 2403.20320, sec. 4; the shares below are those of its released configuration).
Devices and number formats are Accelerate's business.
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from mtlora_lite.datasets import PascalContext, Scenes
from mtlora_lite.losses import MultiTaskLoss
from mtlora_lite.metrics import build_metrics
from mtlora_lite.model import MultiTaskModel, build_model
from mtlora_lite.paths import write_atomically
from mtlora_lite.tasks import TASKS
from mtlora_lite.transforms import collate, eval_transform, train_transform

# Shares of the paper's run: 20 of 300 epochs of warm-up; first and last learning rate as parts of the peak.
WARMUP, START_LR, FINAL_LR = 20 / 300, 1e-3, 1e-2
ADAM = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.05}
CLIP_NORM = 5.0
SCENES = "scenes"
# The recipe's loss weights, but for depth: the scenes reach to 58 m, and at the recipe's weight of 1 (for rooms) the
# gradient of depth on the shared weights is several times that of any other task. A tenth makes it one among equals.
SCENES_WEIGHTS = {"depth": 0.1}
CONFIG_FILE = "config.json"

Scores = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Setting:
    """What runs that are compared with each other have in common: images, backbone, decoder and length.

    Attributes:
        data: "scenes" for the embedded set, or a folder in the PASCAL_MT layout.
        tasks: what to predict.
        backbone: a timm Swin name or an embedded one.
        img_size: side of the square training images, in pixels.
        train_split: list of ids (a folder) or part of the scenes to train on.
        train_count: number of scenes to train on (embedded set only).
        val_count: number of scenes to evaluate on (embedded set only).
        steps: optimiser steps.
        batch_size: images per step.
        augment: what is done to training images: flip, rotate (with zoom; flip and rotate are the paper's on
            PASCAL-Context), scale (flip and scale are the paper's on NYUD), crop, jitter.
        drop_path: stochastic depth rate of the backbone's last block.
        decoder: which decoder.
        decoder_options: its options.
        loss_weights: weights of the tasks' losses that replace the usual ones, e.g. depth=0.2.
    """

    data: str = SCENES
    tasks: tuple[str, ...] = tuple(TASKS)
    backbone: str = "swin_scenes_tiny"
    img_size: int = 128
    train_split: str = "train"
    train_count: int = 1200
    val_count: int = 200
    steps: int = 600
    batch_size: int = 16
    augment: tuple[str, ...] = ("flip",)
    drop_path: float = 0.05
    decoder: str = "hrnet"
    decoder_options: Mapping[str, Any] = field(default_factory=dict)
    loss_weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainConfig(Setting):
    """Train a model and evaluate it.

    Attributes:
        out: folder for the log, the metrics and the checkpoint.
        method: what is adapted and what is trained, a row of the method registry.
        options: the method's options, such as rank and task_rank.
        pretrained: start from the backbone's pre-trained weights.
        val_split: list of ids (a folder) or part of the scenes to evaluate on.
        lr: peak learning rate.
        seed: of weights, order and augmentation.
    """

    out: Path = Path("runs/train")
    method: str = "mtlora"
    options: Mapping[str, Any] = field(default_factory=dict)
    pretrained: bool = True
    val_split: str = "val"
    lr: float = 1e-3
    seed: int = 0


@dataclass(frozen=True)
class TrainResult:
    """What a run leaves behind.

    Attributes:
        model: the trained model, in evaluation mode, on the CPU.
        metrics: {task: {metric: value}} on the validation split.
        log: one record per logged step: step, lr, total and the unweighted loss of each task.
        seconds: wall time of the training steps alone.
        directory: where the files are.
    """

    model: MultiTaskModel
    metrics: Scores
    log: list[dict[str, float]]
    seconds: float
    directory: Path


def train(config: TrainConfig, *, on_step: Callable[[dict[str, float]], None] | None = None) -> TrainResult:
    """Train one model and evaluate it; writes ``config.json``, ``log.jsonl``, ``metrics.json`` and ``model/``.

    Args:
        config: the run.
        on_step: called with the record of every step (step, lr, total, one loss per task).

    Raises:
        FloatingPointError: a loss is not finite; the message names the task and the images.
        ValueError: something in ``config`` does not exist, or there are fewer images than one batch takes.
    """
    set_seed(config.seed)
    accelerator = Accelerator()
    model = build_from_config(config)
    loader = training_loader(config)
    optimizer = torch.optim.AdamW(decay_groups(model), lr=config.lr, **ADAM)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(step, config.steps))
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)

    config.out.mkdir(parents=True, exist_ok=True)
    write_json(config.out / CONFIG_FILE, dataclasses.asdict(config))
    start = time.perf_counter()
    log = _run_steps(config, accelerator, model, optimizer, schedule, loader, on_step)
    seconds = time.perf_counter() - start

    trained = accelerator.unwrap_model(model).cpu().eval()
    metrics = evaluate(trained, validation_set(config), batch_size=config.batch_size)
    write_json(config.out / "metrics.json", {"metrics": metrics, "seconds": seconds})
    trained.save_pretrained(config.out / "model")
    return TrainResult(trained, metrics, log, seconds, config.out)


def _run_steps(config, accelerator, model, optimizer, schedule, loader, on_step) -> list[dict[str, float]]:
    criterion = MultiTaskLoss(config.tasks, loss_weights(config)).to(accelerator.device)
    model.train()
    log = []
    with (config.out / "log.jsonl").open("w") as file:
        for step, batch in enumerate(_progress(islice(_endless(loader), config.steps), config), start=1):
            total, losses = criterion(model(batch["image"]), batch)
            _check_finite(losses, batch)
            optimizer.zero_grad(set_to_none=True)
            accelerator.backward(total)
            accelerator.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            record = _record(step, schedule.get_last_lr()[0], total, losses)
            schedule.step()
            file.write(json.dumps(record) + "\n")
            log.append(record)
            if on_step:
                on_step(record)
    return log


def _record(step: int, lr: float, total: Tensor, losses: Mapping[str, Tensor]) -> dict[str, float]:
    return {"step": step, "lr": lr, "total": total.item()} | {task: loss.item() for task, loss in losses.items()}


def _progress(batches: Iterator, config: TrainConfig) -> Iterator:
    return tqdm(batches, total=config.steps, desc=f"train {config.method}", unit="step", leave=False)


def training_loader(config: TrainConfig) -> DataLoader:
    """The training images of a run in whole batches, in an order drawn from its seed."""
    images = training_set(config)
    if len(images) < config.batch_size:
        raise ValueError(
            f"The {len(images)} training images do not fill a batch of {config.batch_size}: lower batch_size."
        )
    order = torch.Generator().manual_seed(config.seed)
    return DataLoader(images, config.batch_size, shuffle=True, drop_last=True, collate_fn=collate, generator=order)


def _endless(loader: DataLoader) -> Iterator[dict[str, Any]]:
    while True:
        yield from loader


def _check_finite(losses: Mapping[str, Tensor], batch: Mapping[str, Any]) -> None:
    for task, loss in losses.items():
        if not math.isfinite(loss.item()):
            ids = ", ".join(str(meta["id"]) for meta in batch["meta"])
            raise FloatingPointError(f"The {task} loss is {loss.item()} on the images {ids}: try a lower lr.")


@torch.inference_mode()
def evaluate(
    model: MultiTaskModel,
    dataset: Dataset,
    *,
    batch_size: int = 16,
    protocol: str = "standard",
    dataset_name: str = "pascal",
    on_batch: Callable[[Mapping[str, Any], Mapping[str, Tensor]], None] | None = None,
) -> Scores:
    """Score a model on a data set.

    Args:
        model: the model; put into evaluation mode.
        dataset: samples with an image and a target for each of the model's tasks.
        batch_size: images per pass.
        protocol: ``standard`` or ``paper``, see ``metrics``.
        dataset_name: ``pascal`` or ``nyud``, see ``metrics``.
        on_batch: called with every batch and its logits, on the CPU.

    Returns:
        {task: {metric: value}}.
    """
    model.eval()
    device = next(model.parameters()).device
    metrics = build_metrics(model.tasks, dataset=dataset_name, protocol=protocol)
    loader = DataLoader(dataset, batch_size, collate_fn=collate)
    for batch in tqdm(loader, desc="evaluate", unit="batch", leave=False):
        logits = {task: value.float().cpu() for task, value in model(batch["image"].to(device)).items()}
        metrics.update(logits, batch)
        if on_batch:
            on_batch(batch, logits)
    return metrics.compute()


def build_from_config(config: TrainConfig) -> MultiTaskModel:
    """The untrained model of a run."""
    return build_model(
        config.method,
        backbone=config.backbone,
        tasks=config.tasks,
        img_size=config.img_size,
        pretrained=config.pretrained,
        drop_path=config.drop_path,
        decoder=config.decoder,
        decoder_options=config.decoder_options,
        **config.options,
    )


def training_set(config: TrainConfig) -> Dataset:
    """The training images of a run."""
    transform = train_transform(config.img_size, config.augment)
    return _dataset(config, config.train_split, config.train_count, transform)


def validation_set(config: TrainConfig) -> Dataset:
    """The validation images of a run."""
    return _dataset(config, config.val_split, config.val_count, eval_transform(config.img_size))


def _dataset(config: TrainConfig, split: str, count: int, transform: Callable) -> Dataset:
    if config.data == SCENES:
        return Scenes(split, config.tasks, size=config.img_size, count=count, transform=transform)
    return PascalContext(config.data, split, config.tasks, transform=transform)


def loss_weights(config: TrainConfig) -> dict[str, float]:
    """The weights of a run that differ from the recipe's."""
    usual = SCENES_WEIGHTS if config.data == SCENES else {}
    return {task: weight for task, weight in usual.items() if task in config.tasks} | dict(config.loss_weights)


def decay_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Trained parameters in two groups: weight decay for matrices, none for biases and other 1-D parameters."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.ndim > 1]},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def lr_factor(step: int, steps: int) -> float:
    """Part of the peak learning rate at ``step``: linear warm-up, then half a cosine down to ``FINAL_LR``."""
    warmup = max(1, round(WARMUP * steps))
    if step < warmup:
        return START_LR + (1 - START_LR) * step / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return FINAL_LR + (1 - FINAL_LR) * 0.5 * (1 + math.cos(math.pi * progress))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write readable JSON, whole or not at all."""
    text = json.dumps(as_json(content), indent=1) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text))


def as_json(content: Any) -> Any:
    """What reading it back from JSON gives: lists, paths as text, and None for what is not a finite number."""
    if isinstance(content, Mapping):
        return {key: as_json(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [as_json(value) for value in content]
    if isinstance(content, float):
        return float(content) if math.isfinite(content) else None
    return content if isinstance(content, (str, int, NoneType)) else str(content)
