"""From a sample of arrays to tensors of one size, image and targets moving together.

A sample is a dict: ``image``, one entry per task, ``meta``. Each transform maps a sample to a sample and treats an
entry by the target kind of its task (see ``tasks.py``), so a new task is transformed like its kind. Images and normals
are interpolated bicubically, everything else is taken from the nearest pixel, as in the MTLoRA paper's runs.

=============  =====================================================================================================
augmentation   what it does to a training image and its targets
=============  =====================================================================================================
``flip``       mirrors half of them
``rotate``     turns by up to 20° and zooms by 0.75 to 1.25: the paper's on PASCAL-Context, together with ``flip``
``scale``      zooms by 1, 1.2 or 1.5: the paper's on NYUD, together with ``flip``
``crop``       cuts out 60 to 100 % of either side
``jitter``     changes brightness, contrast, saturation and hue of the image a little
=============  =====================================================================================================

Random numbers come from torch's global generator. A training run seeds it for each image, see ``batches.py``; elsewhere
a data loader does, in each of its workers.
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


def train_transform(size: Size, augment: Sequence[str] = ("flip",)) -> Callable[[Sample], Sample]:
    """Return the transform for training.

    Args:
        size: of what comes out.
        augment: augmentations, out of the table above; they are applied in its order.

    Raises:
        ValueError: an augmentation that is not in the table.
    """
    if unknown := [name for name in augment if name not in AUGMENTATIONS]:
        raise ValueError(f"Unknown augmentation {unknown[0]!r}. Augmentations: {', '.join(AUGMENTATIONS)}.")
    steps = [step for name, step in AUGMENTATIONS.items() if name in augment]
    return v2.Compose([ToTensors(), *steps, Resize(size), IgnoreAbsentParts(), Normalize()])


def eval_transform(size: Size, *, resize_targets: bool = True) -> Callable[[Sample], Sample]:
    """Return the transform for evaluation: nothing random.

    Args:
        size: of the image.
        resize_targets: give the targets that size too; otherwise each keeps its own.
    """
    return v2.Compose([ToTensors(), Resize(size, targets=resize_targets), IgnoreAbsentParts(), Normalize()])


def collate(samples: Sequence[Sample]) -> dict[str, Any]:
    """Make a batch: tensors (B, C, H, W); where the samples differ in size, and for ``meta``, a list of them."""
    return {key: _stack([sample[key] for sample in samples]) for key in samples[0]}


def _stack(values: list) -> Tensor | list:
    same = all(isinstance(value, Tensor) and value.shape == values[0].shape for value in values)
    return torch.stack(values) if same else values


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
        zooms: the smallest and the largest factor, or all that there are.
        between: whether factors lie anywhere between the first and the last, or are one of those given.
    """

    degrees: float = 20.0
    zooms: tuple[float, ...] = (0.75, 1.25)
    between: bool = True

    def __call__(self, sample: Sample) -> Sample:
        """Apply to one sample."""
        angle = math.radians(self.degrees) * (2 * torch.rand(()).item() - 1)
        if self.between:
            zoom = self.zooms[0] + (self.zooms[-1] - self.zooms[0]) * torch.rand(()).item()
        else:
            zoom = self.zooms[torch.randint(len(self.zooms), ())]
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
    """Resize the image, and the targets with it unless they are to keep their own size."""

    size: Size
    targets: bool = True

    def __call__(self, sample: Sample) -> Sample:
        """Apply to one sample."""
        size = (self.size, self.size) if isinstance(self.size, int) else tuple(self.size)
        keys = {key for key in sample if key == "image" or (key != "meta" and self.targets)}
        changed = {key: _resize(key, sample[key], size) for key in keys if sample[key].shape[-2:] != size}
        return sample | changed


@dataclass(frozen=True)
class Crop:
    """Cut a window of the image's own proportions out of it, which looks as if the camera had come nearer.

    Attributes:
        smallest: the smallest part of either side that is kept.
    """

    smallest: float = 0.6

    def __call__(self, sample: Sample) -> Sample:
        """Apply to one sample."""
        part = self.smallest + (1 - self.smallest) * torch.rand(()).item()
        height, width = sample["image"].shape[-2:]
        rows, columns = round(height * part), round(width * part)
        top, left = (torch.randint(space + 1, ()).item() for space in (height - rows, width - columns))
        window = np.s_[..., top : top + rows, left : left + columns]
        cut = {key: value if key == "meta" else value[window] for key, value in sample.items()}
        for key, value in cut.items():
            if _kind(key) == "metres":
                cut[key] = _where_valid(value, value * part)
        return cut


@dataclass(frozen=True)
class Jitter:
    """Change the colours of the image a little; its targets stay."""

    strength: float = 0.2

    def __call__(self, sample: Sample) -> Sample:
        """Apply to one sample."""
        change = v2.ColorJitter(self.strength, self.strength, self.strength, hue=self.strength / 4)
        return sample | {"image": change(sample["image"])}


AUGMENTATIONS: dict[str, Callable[[Sample], Sample]] = {  # in the order in which they are applied
    "flip": HorizontalFlip(),
    "rotate": RotateScale(),
    "scale": RotateScale(degrees=0.0, zooms=(1.0, 1.2, 1.5), between=False),
    "crop": Crop(),
    "jitter": Jitter(),
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
