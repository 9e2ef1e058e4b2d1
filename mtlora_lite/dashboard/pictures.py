"""The pictures that the page can look at: scenes of the sample, with their labels, and photos that visitors send."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from mtlora_lite.datasets import PascalContext
from mtlora_lite.paths import data_dir
from mtlora_lite.photos import PhotoError, read_sent
from mtlora_lite.tasks import IGNORE_INDEX, TASKS, get_task
from mtlora_lite.transforms import collate, eval_transform

SCENES = 12  # of the sample, the first ones
MAX_BYTES = 20_000_000  # of a file that is sent
MIN_SIDE = 32  # pixels; below that there is nothing to see
MAX_SHAPE = 8  # times as wide as high, or the other way
LONGEST_NAME = 40  # letters


@dataclass(frozen=True)
class Picture:
    """A picture to look at.

    Attributes:
        title: its name in a few words.
        about: a sentence on it.
        image: as it is shown, RGB.
        seen: as the models see it, normalised (1, 3, h, w).
        targets: {task: (1, C, h, w)} of a scene; None for a photo.
    """

    title: str
    about: str
    image: Image.Image
    seen: Tensor
    targets: Mapping[str, Tensor] | None = None


def sample_scenes(size: tuple[int, int], root: Path | None = None, count: int = SCENES) -> list[Picture]:
    """The first scenes of the sample, as models of a size see them.

    Args:
        size: height and width in pixels.
        root: None: the package's ``data/sample``.
        count: how many.
    """
    root = root or data_dir() / "sample"
    scenes = [PascalContext(root, split, tuple(TASKS)) for split in ("train", "val")]
    samples = [data.load(image_id) for data in scenes for image_id in data.ids]
    samples.sort(key=lambda sample: sample["meta"]["id"])
    return [_scene(sample, size, number) for number, sample in enumerate(samples[:count], 1)]


def _scene(sample: dict, size: tuple[int, int], number: int) -> Picture:
    batch = collate([eval_transform(size)(sample)])
    image = Image.fromarray(sample["image"])
    found = [get_task("semseg").classes[index] for index in np.unique(sample["semseg"]) if 0 < index < IGNORE_INDEX]
    about = f"Rendered, so that its labels are exact. In it: {', '.join(found) or 'no object of a class'}."
    return Picture(f"Scene {number}", about, image, batch["image"], {task: batch[task] for task in TASKS})


def sent_picture(content: bytes, name: str, size: tuple[int, int]) -> Picture:
    """The photo in a file that a visitor sent, as models of a size see it.

    Raises:
        PhotoError: it cannot be used; the message says in one sentence why, and what to do.
    """
    name = _short(name)
    if len(content) > MAX_BYTES:
        raise PhotoError(too_large(name, len(content)))
    photo = read_sent(content, name)
    width, height = photo.size
    if min(photo.size) < MIN_SIDE:
        raise PhotoError(f"{name} has {width} × {height} pixels, too few to see anything: at least {MIN_SIDE} a side.")
    if max(photo.size) > MAX_SHAPE * min(photo.size):
        raise PhotoError(f"{name} is a strip of {width} × {height} pixels: cut out a part that is less long.")
    seen = eval_transform(size)({"image": np.asarray(photo.image)})["image"][None]
    return Picture(name, _about(photo.size, photo.frames, size), photo.image, seen)


def _about(shape: tuple[int, int], frames: int, size: tuple[int, int]) -> str:
    first = f", the first of {frames} frames" if frames > 1 else ""
    return (
        f"{shape[0]} × {shape[1]} pixels{first}; the models see it as {size[1]} × {size[0]}. They know rendered scenes "
        "alone: expect little of them in photographs."
    )


def too_large(name: str, size: int) -> str:
    """What to say of a file of so many bytes, which is not read at all."""
    return f"{_short(name)} has {size / 1e6:,.0f} MB ({MAX_BYTES / 1e6:.0f} MB is the limit): send a smaller one."


def unreadable(name: str) -> str:
    """What to say of what a browser could not read, such as a folder."""
    return f"{_short(name)} could not be read by your browser: choose one image file."


def _short(name: str) -> str:
    name = "".join(letter for letter in name if letter.isprintable()) or "the file"
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 12]}…{name[-11:]}"
