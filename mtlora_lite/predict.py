"""Predictions on photos: one picture per photo, the photo and beside it what the model sees in it, task by task."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mtlora_lite.model import MultiTaskModel
from mtlora_lite.paths import data_dir
from mtlora_lite.photos import PhotoError, load_photo
from mtlora_lite.transforms import eval_transform
from mtlora_lite.viz import prediction_grid, save_png

DEMO_CHECKPOINT = "demo_mtlora"


@dataclass(frozen=True)
class PredictConfig:
    """Predict all tasks for photos; also the options of ``mtlora predict``.

    Attributes:
        photos: JPEG or PNG files, of any size.
        checkpoint: folder written by training; default: the model that comes with the package.
        tasks: only these; default: all of the model's.
        out: folder for the pictures, one ``<name>.png`` per photo.
    """

    photos: tuple[Path, ...]
    checkpoint: Path = data_dir() / DEMO_CHECKPOINT
    tasks: tuple[str, ...] = ()
    out: Path = Path("runs/predictions")


def predict(config: PredictConfig) -> tuple[list[Path], list[str]]:
    """Write a picture per photo; returns the pictures and one sentence per photo that could not be used."""
    if not config.photos:
        raise ValueError("No photo given: name at least one JPEG or PNG file.")
    model = load_checkpoint(config.checkpoint)
    pictures, problems = [], []
    for path, name in tqdm(list(zip(config.photos, _names(config.photos), strict=True)), unit="photo", leave=False):
        try:
            image, logits = predict_photo(model, path, config.tasks or model.tasks)
        except PhotoError as error:
            problems.append(str(error))
            continue
        figure = prediction_grid(image, logits, tasks=list(logits), cell=2.6)
        pictures.append(save_png(figure, config.out / f"{name}.png"))
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


def _names(paths: Iterable[Path]) -> list[str]:
    """One file name per photo; photos of the same name in several folders are numbered, so that none is lost."""
    taken: dict[str, int] = {}
    names = []
    for path in paths:
        taken[path.stem] = taken.get(path.stem, 0) + 1
        names.append(path.stem if taken[path.stem] == 1 else f"{path.stem}-{taken[path.stem]}")
    return names


def report(pictures: Sequence[Path], problems: Sequence[str]) -> int:
    """Say what was written and what was not; returns the exit status."""
    for picture in pictures:
        print(f"wrote {picture}")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0
