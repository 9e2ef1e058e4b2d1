"""Predictions on photos: one picture per photo, the photo and beside it what the model sees in it, task by task."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mtlora_lite.model import MultiTaskModel
from mtlora_lite.paths import command, data_dir
from mtlora_lite.photos import PhotoError, load_photo
from mtlora_lite.transforms import eval_transform
from mtlora_lite.viz import prediction_grid, save_png

DEMO_CHECKPOINT = "demo_mtlora"


@dataclass(frozen=True)
class PredictConfig:
    """Predict all tasks for photos.

    Attributes:
        photos: image files of any size: JPEG, PNG, WebP, TIFF, ...
        checkpoint: folder written by training; if not given, the model that comes with the package.
        tasks: only these; if not given, all that the model has.
        out: folder for the pictures, one NAME.png per photo.
    """

    photos: tuple[Path, ...]
    checkpoint: Path | None = None
    tasks: tuple[str, ...] = ()
    out: Path = Path("runs/predictions")


def predict(config: PredictConfig) -> tuple[list[Path], list[str]]:
    """Write a picture per photo; returns the pictures and one sentence per photo that could not be used."""
    if not config.photos:
        raise ValueError(f"No photo given. Name one or more image files: {command()} predict PHOTO.jpg ANOTHER.png")
    model = load_checkpoint(config.checkpoint or data_dir() / DEMO_CHECKPOINT)
    pictures, problems = [], []
    targets = _targets(config.photos, config.out)
    for path, target in tqdm(list(zip(config.photos, targets, strict=True)), desc="predict", unit="photo", leave=False):
        try:
            image, logits = predict_photo(model, path, config.tasks or model.tasks)
        except PhotoError as error:
            problems.append(str(error))
            continue
        figure = prediction_grid(image, logits, tasks=list(logits), cell=2.6)
        pictures.append(save_png(figure, target))
    return pictures, problems


def load_checkpoint(folder: Path) -> MultiTaskModel:
    """A saved model, from its folder or from that of the run that wrote it."""
    return MultiTaskModel.from_pretrained(folder / "model" if (folder / "model").is_dir() else folder)


@torch.inference_mode()
def predict_photo(model: MultiTaskModel, path: Path, tasks: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """The photo (1, 3, H, W) as the model sees it, resized to its size, and the logits of each task."""
    photo = np.asarray(load_photo(path))  # (H, W, 3)
    image = eval_transform(model.config.img_size)({"image": photo})["image"][None]
    return image, model(image, tasks)


def _targets(photos: Sequence[Path], out: Path) -> list[Path]:
    """A file for each photo's picture: none for two photos of one name, and none that is itself one of the photos."""
    taken = {_identity(path) for path in photos}
    targets = []
    for path in photos:
        names = (f"{path.stem}{suffix}.png" for suffix in chain([""], (f"-{number}" for number in count(2))))
        targets.append(next(out / name for name in names if _identity(out / name) not in taken))
        taken.add(_identity(targets[-1]))
    return targets


def _identity(path: Path) -> str:
    """The same for two paths of one file, also where capital letters make no difference."""
    return str(path.resolve()).casefold()


def report(pictures: Sequence[Path], problems: Sequence[str]) -> int:
    """Say what was written and what was not; returns the exit status."""
    for picture in pictures:
        print(f"wrote {picture}")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0
