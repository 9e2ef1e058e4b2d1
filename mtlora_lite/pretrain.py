"""How the embedded backbones came to be: classification of single-object crops, from image-level labels only.

``python -m mtlora_lite.pretrain --model swin_scenes_tiny`` renders the crops (seeds that no dense split uses), trains
an embedded backbone on them and writes into ``data/`` the weights in float16, and beside them the record: loss per
epoch, held-out accuracy, confusion matrix, minutes.
"""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from mtlora_lite.backbones import family_of_name
from mtlora_lite.backbones.embedded import NUM_CLASSES, weights_file
from mtlora_lite.paths import cache_dir, data_dir
from mtlora_lite.photos import normalize
from mtlora_lite.recipe import decay_groups, lr_factor
from mtlora_lite.scenes import render_many
from mtlora_lite.tasks import VOC_CLASSES


@dataclass(frozen=True)
class PretrainConfig:
    """One pre-training run.

    Attributes:
        model: the name of an embedded backbone.
        crops: number of training crops.
        held_out: number of crops for the accuracy, of another seed.
        size: side of a crop in pixels.
        epochs: passes over the crops.
        batch_size: crops per step.
        lr: peak learning rate.
        smoothing: label smoothing.
        drop_path: stochastic depth rate of the last block.
        seed: of the training crops; the held-out ones have the next. Dense splits have small seeds.
        out: folder for weights and record.
    """

    model: str = "swin_scenes_tiny"
    crops: int = 30_000
    held_out: int = 4_000
    size: int = 64
    epochs: int = 12
    batch_size: int = 64
    lr: float = 1e-3
    smoothing: float = 0.05
    drop_path: float = 0.1
    seed: int = 1_000_000
    out: Path = field(default_factory=data_dir)


def pretrain(config: PretrainConfig) -> dict:
    """Render, train, evaluate, write; returns the record."""
    images, labels, rendering = load_crops(config.seed, config.crops, config.size)
    test_images, test_labels, rendering_test = load_crops(config.seed + 1, config.held_out, config.size)

    start = time.perf_counter()
    torch.manual_seed(config.seed)
    size = family_of_name(config.model).size_options((config.size, config.size))
    model = timm.create_model(config.model, drop_path_rate=config.drop_path, **size)
    log = train_classifier(model, images, labels, config, lambda: accuracy(model, test_images, test_labels))
    confusion = confusion_matrix(model, test_images, test_labels)
    record = {
        "config": {name: value for name, value in asdict(config).items() if name != "out"},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "minutes_rendering": round((rendering + rendering_test) / 60, 1),
        "minutes_training": round((time.perf_counter() - start) / 60, 1),
        "held_out_accuracy": accuracy(model, test_images, test_labels),
        "log": log,
        "classes": VOC_CLASSES[1:],
        "confusion": confusion.tolist(),
    }
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    config.out.mkdir(parents=True, exist_ok=True)
    save_file(weights, config.out / weights_file(config.model))
    (config.out / record_file(config.model)).write_text(json.dumps(record) + "\n")
    return record


def record_file(name: str) -> str:
    """The file in the package's ``data`` folder that says how an embedded backbone was trained."""
    return f"{name}.json"


def load_crops(seed: int, count: int, size: int) -> tuple[Tensor, Tensor, float]:
    """Crops (N, 3, S, S) uint8, their classes (N,), 0 to 19, and the seconds that rendering took.

    They are rendered once, then read from the cache.
    """
    path = cache_dir() / f"crops-{seed}-{count}-{size}.npz"
    if not path.is_file():
        start = time.perf_counter()
        crops = render_many("crops", seed, count, size)
        images, labels = np.stack([image for image, _ in crops]), [label for _, label in crops]
        np.savez(path, images=images, labels=labels, seconds=time.perf_counter() - start)
    arrays = np.load(path)
    images = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2)
    return images, torch.from_numpy(arrays["labels"]).long() - 1, float(arrays["seconds"])


def train_classifier(model: nn.Module, images: Tensor, labels: Tensor, config: PretrainConfig, score) -> list[dict]:
    """AdamW with the schedule of the engine; one record per epoch."""
    optimizer = torch.optim.AdamW(decay_groups(model), lr=config.lr, weight_decay=0.05)
    steps_per_epoch = len(images) // config.batch_size
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: lr_factor(step, config.epochs * steps_per_epoch)
    )
    log = []
    for epoch in range(1, config.epochs + 1):
        model.train()
        order = torch.randperm(len(images))[: steps_per_epoch * config.batch_size].view(-1, config.batch_size)
        losses = []
        for batch in tqdm(order, desc=f"epoch {epoch}", unit="step", leave=False):
            logits = model(augment(images[batch]))
            loss = F.cross_entropy(logits, labels[batch], label_smoothing=config.smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        log.append({"epoch": epoch, "loss": float(np.mean(losses)), "held_out_accuracy": score()})
        tqdm.write(json.dumps(log[-1]))
    return log


def augment(images: Tensor) -> Tensor:
    """Mirror, zoom by 0.5 to 1.25, shift and recolour each crop: dense scenes show objects of all sizes and places."""
    count = len(images)
    zoom = torch.empty(count).uniform_(0.8, 2.0)  # of the window looked through: above 1 the object gets smaller
    flip = torch.randint(0, 2, (count,)) * 2.0 - 1
    shift = torch.empty(count, 2).uniform_(-0.25, 0.25)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = zoom * flip, zoom, shift
    grid = F.affine_grid(theta, [count, *images.shape[1:]], align_corners=False)
    moved = F.grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)
    contrast = torch.empty(count, 3, 1, 1).uniform_(0.8, 1.2) * torch.empty(count, 1, 1, 1).uniform_(0.8, 1.2)
    return normalize((moved / 255 * contrast).clamp(0, 1))


@torch.inference_mode()
def confusion_matrix(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Counts (20, 20): rows are labels, columns predictions."""
    model.eval()
    predictions = torch.cat([model(normalize(chunk)).argmax(1) for chunk in images.split(256)])
    return torch.bincount(labels * NUM_CLASSES + predictions, minlength=NUM_CLASSES**2).view(NUM_CLASSES, -1)


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of crops classified right, in percent."""
    confusion = confusion_matrix(model, images, labels)
    return 100 * confusion.diagonal().sum().item() / confusion.sum().item()


if __name__ == "__main__":
    import tyro

    pretrain(tyro.cli(PretrainConfig))
