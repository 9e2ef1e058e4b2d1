"""Pictures of the committed sample as the committed model sees them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mtlora_lite.datasets import PascalContext
from mtlora_lite.gallery.fork import draw_fork
from mtlora_lite.gallery.slides import SIZE, SMALL, Slide, canvas
from mtlora_lite.model import MultiTaskModel
from mtlora_lite.paths import data_dir
from mtlora_lite.photos import denormalize
from mtlora_lite.predict import DEMO_CHECKPOINT
from mtlora_lite.tasks import get_task
from mtlora_lite.transforms import collate, eval_transform
from mtlora_lite.viz import colorize, depth_limits, read_logits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = (("train", 11), ("val", 2))  # of the sample, which no model is trained on: scenes with people


@dataclass(frozen=True)
class Seen:
    """Scenes, and per task their labels and what the model says, as pictures RGB (H, W, 3)."""

    images: Sequence[np.ndarray]
    labels: Mapping[str, Sequence[np.ndarray]]
    predictions: Mapping[str, Sequence[np.ndarray]]


@cache
def demo_model() -> MultiTaskModel:
    """The committed model."""
    return MultiTaskModel.from_pretrained(data_dir() / DEMO_CHECKPOINT).eval()


@cache
@torch.inference_mode()
def look() -> Seen:
    """What the committed model makes of the scenes that are shown."""
    model = demo_model()
    shape, folder = eval_transform(model.config.img_size[0]), data_dir() / "sample"
    batch = collate([PascalContext(folder, split, model.tasks, shape)[index] for split, index in SHOWN])
    logits = model(batch["image"])
    readings = {task: read_logits(task, logits[task]) for task in model.tasks}
    limits = [depth_limits(target) for target in batch["depth"]] if "depth" in model.tasks else [None] * len(SHOWN)

    def pictures(task: str, values: Tensor) -> list[np.ndarray]:
        return [colorize(task, value, limit) for value, limit in zip(values, limits, strict=True)]

    return Seen(
        denormalize(batch["image"]),
        {task: pictures(task, batch[task]) for task in model.tasks},
        {task: pictures(task, readings[task]) for task in model.tasks},
    )


def fork(slide: Slide) -> "Figure":
    """The fork diagram of the committed model."""
    model, seen = demo_model(), look()
    predictions = {task: pictures[-1] for task, pictures in seen.predictions.items()}
    return draw_fork(slide.title, model.backbone.shape()["depths"], model.tasks, seen.images[-1], predictions)


def predictions(slide: Slide) -> "Figure":
    """Scenes, and for every task label over prediction."""
    figure, axes = canvas(slide.title)
    seen, tasks = look(), demo_model().tasks
    cell, gap, left, top = 1.32, 0.13, 1.5, SIZE[1] - 1.7

    def place(rgb: np.ndarray, x: float, y: float, side: float) -> None:
        axes.imshow(rgb, extent=(x, x + side, y - side, y), aspect="auto")

    first = left + 2 * cell + 0.3
    for column, task in enumerate(tasks):
        x = first + column * (cell + gap)
        words = get_task(task).title.replace(" ", "\n")
        axes.text(x + cell / 2, top + 0.16, words, ha="center", fontsize=SMALL, linespacing=1.0)
        axes.plot([x, x + cell], [top + 0.08] * 2, color=get_task(task).color, lw=4, solid_capstyle="butt")
    for row, image in enumerate(seen.images):
        y = top - row * (2 * cell + 0.25)
        place(image, left, y, 2 * cell)
        for line, (words, pictures) in enumerate((("label", seen.labels), ("prediction", seen.predictions))):
            middle = y - (line + 0.5) * cell
            axes.text(left - 0.12, middle, words, ha="right", va="center", fontsize=SMALL)
            for column, task in enumerate(tasks):
                place(pictures[task][row], first + column * (cell + gap), y - line * cell, cell * 0.985)
    return figure
