"""Training: one recipe for every method, backbone and data set.

AdamW with a linear warm-up and a cosine decay, the recipe of the MTLoRA paper scaled to the length of the run
(Agiza et al., CVPR 2024, arXiv 2403.20320, sec. 4; the shares below are those of its released configuration).
Devices and number formats are Accelerate's business.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from mtlora_lite.config import TrainConfig, build_from_config, training_set, validation_set
from mtlora_lite.evaluation import Scores, evaluate
from mtlora_lite.losses import MultiTaskLoss
from mtlora_lite.metrics import headline, headline_name, headline_names
from mtlora_lite.model import MultiTaskModel
from mtlora_lite.records import append_json, write_json
from mtlora_lite.references import Reference, check_comparable, gain_over, get_reference, write_reference
from mtlora_lite.transforms import collate

# Shares of the paper's run: 20 of 300 epochs of warm-up; first and last learning rate as parts of the peak.
WARMUP, START_LR, FINAL_LR = 20 / 300, 1e-3, 1e-2
ADAM = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.05}
CLIP_NORM = 5.0
CONFIG_FILE = "config.json"
REFERENCE_FILE = "reference.json"
LAST, BEST = "model", "best"  # folders of a run's checkpoints
TIMED_STEPS = 5  # after which a long run says how long it will take
LONG_RUN = 15 * 60  # seconds


@dataclass(frozen=True)
class TrainResult:
    """What a run leaves behind.

    Attributes:
        model: the trained model, in evaluation mode, on the CPU.
        metrics: {task: {metric: value}} on the validation split.
        delta_m: Δm over the run's reference in percent; None without one.
        log: one record per logged step: step, lr, total and the unweighted loss of each task.
        seconds: wall time of the training steps alone.
        directory: where the files are.
    """

    model: MultiTaskModel
    metrics: Scores
    delta_m: float | None
    log: list[dict[str, float]]
    seconds: float
    directory: Path


def train(config: TrainConfig, *, on_step: Callable[[dict[str, float]], None] | None = None) -> TrainResult:
    """Train one model and evaluate it.

    Writes ``config.json``, ``log.jsonl`` (a line per step), ``evaluations.jsonl`` (a line per evaluation),
    ``metrics.json`` (of the last one) and the checkpoints ``model/``, the last, and, where a reference says what is
    better and there is more than one evaluation, ``best/``, the one of the highest Δm.

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
    steps = config.num_steps(len(loader.dataset))
    optimizer = torch.optim.AdamW(decay_groups(model), lr=config.lr, **ADAM)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(step, steps))
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)

    config.out.mkdir(parents=True, exist_ok=True)
    write_json(config.out / CONFIG_FILE, dataclasses.asdict(config))
    judge = _Judge(config)
    log, start = [], time.perf_counter()
    for record in _steps(config, steps, accelerator, model, optimizer, schedule, loader):
        append_json(config.out / "log.jsonl", record, first=not log)
        log.append(record)
        if on_step:
            on_step(record)
        if judge.is_due(record["step"], steps, len(loader)):
            judge(record["step"], accelerator.unwrap_model(model))
            model.train()
    seconds = time.perf_counter() - start - judge.seconds

    write_json(config.out / "metrics.json", judge.last | {"seconds": seconds})
    trained = accelerator.unwrap_model(model).cpu().eval()
    return TrainResult(trained, judge.last["metrics"], judge.last["delta_m"], log, seconds, config.out)


def train_single_tasks(config: TrainConfig) -> Reference:
    """Train a model for each task alone, and write what they score to ``reference.json``, for Δm to be relative to."""
    results: Scores = {}
    for task in config.tasks:
        weights = {task: config.loss_weights[task]} if task in config.loss_weights else {}
        alone = dataclasses.replace(
            config, tasks=(task,), loss_weights=weights, reference=None, out=config.out / task
        )  # fmt: skip
        results |= train(alone).metrics
    source = f"{config.method} of {config.backbone} on {config.data}, split {config.val_split}, from {config.out}"
    reference = Reference(headline(results), headline_names(results), config.protocol, source)
    write_reference(config.out / REFERENCE_FILE, reference)
    return reference


class _Judge:
    """Scores a run on its validation images now and then, and keeps the last model and the best one."""

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.images = config, validation_set(config)
        self.reference = get_reference(config.reference) if config.reference else None
        if self.reference:
            planned = {task: headline_name(task, boundary=config.boundary) for task in config.tasks}
            check_comparable(self.reference, planned, config.protocol)  # fails now, or never
        self.last: dict[str, Any] = {}
        self.best = -math.inf
        self.seconds = 0.0

    def is_due(self, step: int, steps: int, steps_per_epoch: int) -> bool:
        every = self.config.eval_every and self.config.eval_every * steps_per_epoch
        return step == steps or bool(every and step % every == 0)

    def __call__(self, step: int, model: MultiTaskModel) -> None:
        start, config = time.perf_counter(), self.config
        metrics = evaluate(
            model, self.images, batch_size=config.batch_size, protocol=config.protocol, boundary=config.boundary,
            workers=config.workers,
        )  # fmt: skip
        gain = gain_over(self.reference, metrics, config.protocol) if self.reference else None
        first = not self.last
        self.last = {
            "metrics": metrics, "delta_m": gain, "reference": self.reference and self.reference.source,
            "data": config.data, "split": config.val_split, "images": len(self.images), "protocol": config.protocol,
            "step": step,
        }  # fmt: skip
        line = {"step": step, "delta_m": gain} | headline(metrics)
        append_json(config.out / "evaluations.jsonl", line, first=first)
        model.save_pretrained(config.out / LAST)
        if config.eval_every and gain is not None and gain > self.best:
            self.best = gain
            model.save_pretrained(config.out / BEST)
        self.seconds += time.perf_counter() - start


def _steps(config, steps, accelerator, model, optimizer, schedule, loader) -> Iterator[dict[str, float]]:
    """Take the optimiser steps of a run, and give the record of each."""
    criterion = MultiTaskLoss(config.tasks, config.all_loss_weights()).to(accelerator.device)
    model.train()
    bar = tqdm(islice(_endless(loader), steps), total=steps, desc=f"train {config.method}", unit="step", leave=False)
    for step, batch in enumerate(bar, start=1):
        total, losses = criterion(model(batch["image"]), batch)
        _check_finite(losses, batch)
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(total)
        accelerator.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        yield _record(step, schedule.get_last_lr()[0], total, losses)
        schedule.step()
        if step == 1:
            start = time.perf_counter()
        elif step == 1 + TIMED_STEPS and (message := _forecast(time.perf_counter() - start, steps)):
            bar.write(message)


def _forecast(seconds: float, steps: int) -> str | None:
    """How long a long run will take, from the time of ``TIMED_STEPS`` steps; nothing for a short one."""
    each = seconds / TIMED_STEPS
    total = each * steps
    if total < LONG_RUN:
        return None
    length = f"{total / 86400:.1f} days" if total > 2 * 86400 else f"{total / 3600:.1f} hours"
    return f"{steps:,} steps at {each:.2f} s take about {length} here, evaluations aside."


def _record(step: int, lr: float, total: Tensor, losses: Mapping[str, Tensor]) -> dict[str, float]:
    return {"step": step, "lr": lr, "total": total.item()} | {task: loss.item() for task, loss in losses.items()}


def training_loader(config: TrainConfig) -> DataLoader:
    """The training images of a run in whole batches, in an order drawn from its seed."""
    images = training_set(config)
    if len(images) < config.batch_size:
        raise ValueError(
            f"The {len(images)} training images do not fill a batch of {config.batch_size}: lower batch_size."
        )
    return DataLoader(
        images, config.batch_size, shuffle=True, drop_last=True, collate_fn=collate, num_workers=config.workers,
        persistent_workers=config.workers > 0, generator=torch.Generator().manual_seed(config.seed),
    )  # fmt: skip


def _endless(loader: DataLoader) -> Iterator[dict[str, Any]]:
    while True:
        yield from loader


def _check_finite(losses: Mapping[str, Tensor], batch: Mapping[str, Any]) -> None:
    for task, loss in losses.items():
        if not math.isfinite(loss.item()):
            ids = ", ".join(str(meta["id"]) for meta in batch["meta"])
            raise FloatingPointError(f"The {task} loss is {loss.item()} on the images {ids}: try a lower lr.")


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
