"""From a sample of arrays to tensors of one size, image and targets moving together.

A sample is a dict: ``image``, one entry per task, ``meta``. Each transform maps a sample to a sample and treats an
entry by the target kind of its task (see ``tasks.py``), so a new task is transformed like its kind. The recipe is that
of the MTLoRA paper on PASCAL-Context: flip, rotation and scale together, resize; images and normals are interpolated
bicubically, everything else is taken from the nearest pixel.

Random numbers come from torch's global generator, which a data loader seeds in each of its workers.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import InterpolationMode, resize

from mtlora_lite.photos import normalize
from mtlora_lite.tasks import IGNORE_INDEX, TASKS

Sample = dict[str, Any]
Size = int | tuple[int, int]  # one side of a square, or height and width


def train_transform(size: Size, *, flip: bool = True, rotate: bool = False) -> Callable[[Sample], Sample]:
    """Return the augmentation for training.

    Args:
        size: of what comes out.
        flip: mirror half of the images.
        rotate: rotate by up to 20° and scale by 0.75 to 1.25, as the paper does on PASCAL-Context.
    """
    steps = [ToTensors(), *([HorizontalFlip()] if flip else []), *([RotateScale()] if rotate else [])]
    return v2.Compose([*steps, Resize(size), IgnoreAbsentParts(), Normalize()])


def eval_transform(size: Size) -> Callable[[Sample], Sample]:
    """Return the transform for evaluation at ``size``: nothing random."""
    return v2.Compose([ToTensors(), Resize(size), IgnoreAbsentParts(), Normalize()])


def collate(samples: Sequence[Sample]) -> dict[str, Any]:
    """Stack samples into a batch: a tensor (B, C, H, W) for the image and each task, a list for ``meta``."""
    return {
        key: [sample[key] for sample in samples] if key == "meta" else torch.stack([sample[key] for sample in samples])
        for key in samples[0]
    }


@dataclass(frozen=True)
class ToTensors:
    """Arrays (H, W) or (H, W, C) to tensors (C, H, W), values and types as they are."""

    def __call__(self, sample: Sample) -> Sample:
        """Apply to one sample."""
        return {key: value if key == "meta" else _to_tensor(value) for key, value in sample.items()}


@dataclass(frozen=True)
class HorizontalFlip:
    """Mirror the sample with a probability; the x of normals changes its sign."""

    probability: float = 0.5

    def __call__(self, sample: Sample) -> Sample:
        """Apply to one sample."""
        if torch.rand(()) >= self.probability:
            return sample
        return {key: value if key == "meta" else self._flip(key, value) for key, value in sample.items()}

    def _flip(self, key: str, value: Tensor) -> Tensor:
        value = value.flip(-1)
        if _kind(key) != "directions":
            return value
        return _where_valid(value, value * value.new_tensor([-1, 1, 1]).view(3, 1, 1))


@dataclass(frozen=True)
class RotateScale:
    """Rotate by a random angle and zoom by a random factor, around the centre.

    Normals turn with the image and depth is divided by the zoom, for what looks larger is nearer. Outside the frame
    image, classes and binary maps are 0, normals and depth are invalid.

    Attributes:
        degrees: the largest angle, to either side.
        zoom: range of the factor.
    """

    degrees: float = 20.0
    zoom: tuple[float, float] = (0.75, 1.25)

    def __call__(self, sample: Sample) -> Sample:
        """Apply to one sample."""
        angle = math.radians(self.degrees) * (2 * torch.rand(()).item() - 1)
        zoom = self.zoom[0] + (self.zoom[1] - self.zoom[0]) * torch.rand(()).item()
        return self.apply(sample, angle, zoom)

    @staticmethod
    def apply(sample: Sample, angle: float, zoom: float) -> Sample:
        """Rotate counter-clockwise by ``angle`` (radians) and zoom by a given factor."""
        grid = _rotation_grid(sample["image"].shape[-2:], angle, zoom)
        moved = {key: value if key == "meta" else _warp(key, value, grid) for key, value in sample.items()}
        for key, value in moved.items():
            if _kind(key) == "directions":
                moved[key] = _where_valid(value, _turn(value, angle))
            elif _kind(key) == "metres":
                moved[key] = _where_valid(value, value / zoom)
        return moved


@dataclass(frozen=True)
class Resize:
    """Resize everything to ``size``."""

    size: Size

    def __call__(self, sample: Sample) -> Sample:
        """Apply to one sample."""
        size = (self.size, self.size) if isinstance(self.size, int) else tuple(self.size)
        return {
            key: value if key == "meta" or value.shape[-2:] == size else _resize(key, value, size)
            for key, value in sample.items()
        }


@dataclass(frozen=True)
class IgnoreAbsentParts:
    """Ignore a parts map in which no part is left: the rule of PASCAL-Context, of which resizing may make a case."""

    def __call__(self, sample: Sample) -> Sample:
        """Apply to one sample."""
        parts = sample.get("human_parts")
        if parts is None or ((parts > 0) & (parts != IGNORE_INDEX)).any():
            return sample
        return sample | {"human_parts": torch.full_like(parts, IGNORE_INDEX)}


@dataclass(frozen=True)
class Normalize:
    """Image in 0..255 to the numbers that a backbone expects."""

    def __call__(self, sample: Sample) -> Sample:
        """Apply to one sample."""
        return sample | {"image": normalize(sample["image"])}


# ---------------------------------------------------------------------------------------------- one entry at a time


def _kind(key: str) -> str:
    return TASKS[key].target if key in TASKS else key  # "image" and "meta" are kinds of their own


def _to_tensor(array: np.ndarray) -> Tensor:
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)  # (C, H, W)
    return torch.tensor(array)  # a copy: the array may be shared


def _valid(target: Tensor) -> Tensor:
    return (target != IGNORE_INDEX).all(dim=0, keepdim=True)  # (1, H, W)


def _where_valid(target: Tensor, changed: Tensor) -> Tensor:
    return torch.where(_valid(target), changed, IGNORE_INDEX)


def _resize(key: str, value: Tensor, size: tuple[int, int]) -> Tensor:
    if key == "image":
        return resize(value, size, InterpolationMode.BICUBIC, antialias=True)  # uint8: clipped, not wrapped around
    nearest = _nearest(value, size)
    if _kind(key) != "directions":
        return nearest
    smooth = F.interpolate(_with_weight(value)[None], size, mode="bicubic", align_corners=False)[0]
    return _unit(smooth, nearest)


def _nearest(value: Tensor, size: tuple[int, int]) -> Tensor:
    """Take the nearest pixel by OpenCV's rule, floor(i / (new / old)) in doubles: the labels the papers score on."""
    rows, columns = (
        (torch.arange(new, dtype=torch.float64) * (1 / (new / old))).long().clamp(max=old - 1)
        for new, old in zip(size, value.shape[-2:], strict=True)
    )
    return value[:, rows[:, None], columns]


def _with_weight(normals: Tensor) -> Tensor:
    """Valid normals, 0 elsewhere, and as a fourth channel 1 where they are valid: (4, H, W)."""
    valid = _valid(normals)
    return torch.cat([normals * valid, valid])


def _unit(smooth: Tensor, nearest: Tensor) -> Tensor:
    """Interpolated normals (4, H, W) at unit length; the nearest pixel's where mostly invalid ones were mixed in."""
    directions, weight = smooth[:3], smooth[3:]
    length = directions.norm(dim=0, keepdim=True)  # (1, H, W)
    usable = (weight > 0.5) & (length > 0.1)  # short where opposite directions cancel out
    return _where_valid(nearest, torch.where(usable, directions / length.clamp(min=0.1), nearest))


def _rotation_grid(shape: Sequence[int], angle: float, zoom: float) -> Tensor:
    """Where each pixel of the rotated and zoomed picture comes from, as ``grid_sample`` takes it: (1, H, W, 2)."""
    height, width = shape
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    # Coordinates run from -1 to 1 along either side, with y down, hence the aspect ratio.
    inverse = torch.tensor([[[cos, -sin * height / width, 0.0], [sin * width / height, cos, 0.0]]])
    return F.affine_grid(inverse, [1, 1, height, width], align_corners=False)


def _warp(key: str, value: Tensor, grid: Tensor) -> Tensor:
    def sample(values: Tensor, mode: str) -> Tensor:
        return F.grid_sample(values.float()[None], grid, mode, padding_mode="zeros", align_corners=False)[0]

    if key == "image":
        return sample(value, "bicubic").round().clamp(0, 255).to(value.dtype)
    if _kind(key) not in ("directions", "metres"):
        return sample(value, "nearest").to(value.dtype)
    nearest = torch.where(sample(_valid(value), "nearest") > 0, sample(value, "nearest"), IGNORE_INDEX)
    return _unit(sample(_with_weight(value), "bicubic"), nearest) if _kind(key) == "directions" else nearest


def _turn(normals: Tensor, angle: float) -> Tensor:
    """Rotate directions counter-clockwise in the image plane: x right, y up, so that they follow the picture."""
    x, y, z = normals
    cos, sin = math.cos(angle), math.sin(angle)
    return torch.stack([cos * x - sin * y, sin * x + cos * y, z])
