"""What all meters share, and those of classes, directions and metres."""

import math

import torch
from torch import Tensor
from torchmetrics import Metric

from mtlora_lite.targets import match_target, valid_pixels
from mtlora_lite.tasks import IGNORE_INDEX, Task

MIN_DEPTH = 1e-9  # predicted depths below are raised to it before any score, logarithms included
ANGLE_BIN = 1e-3  # degrees; half of it bounds the error of the median
NUM_ANGLE_BINS = round(180 / ANGLE_BIN)
WITHIN_ANGLES = (11.25, 22.5, 30)


def fraction(numerator: Tensor, denominator: Tensor, empty: float = float("nan")) -> Tensor:
    """Quotient in float64, with ``empty`` for 0 / 0."""
    return torch.where(denominator == 0, empty, numerator.double() / denominator.double())


def _length(vectors: Tensor) -> Tensor:
    """Lengths of the vectors in (B, 3, H, W); (B, 1, H, W). Many times as fast as ``norm`` over this dimension."""
    return vectors.square().sum(dim=1, keepdim=True).sqrt()


def _unit(vectors: Tensor) -> Tensor:
    """Vectors of length one; a vector of length zero stays zero."""
    return vectors / _length(vectors).clamp(min=1e-12)


class Meter(Metric):
    """What the meters have in common: states that sum over processes, wherever those states live.

    Batches are reduced on the device of the logits; only the small sums travel to the device of the states.
    """

    def __init__(self, task: Task, channels: int, protocol: str) -> None:
        super().__init__()
        self.task, self.channels, self.paper = task, channels, protocol == "paper"

    def _add_sums(self, dtype: torch.dtype = torch.int64, **sizes: int) -> None:
        """Declare summed states by name and length; counts are integers, other sums float64."""
        for name, size in sizes.items():
            self.add_state(name, torch.zeros(size, dtype=dtype), dist_reduce_fx="sum")

    def _add(self, **sums: Tensor) -> None:
        """Add a batch's sums to the states of those names."""
        for name, value in sums.items():
            state = getattr(self, name)
            # First the device, then the type: not every accelerator has float64.
            setattr(self, name, state + value.to(state.device).to(state.dtype))


class ClassMeter(Meter):
    """mIoU and the IoU of every class, from one confusion matrix over the whole data set; background included."""

    def __init__(self, task: Task, channels: int, protocol: str) -> None:
        super().__init__(task, channels, protocol)
        self._add_sums(confusion=channels**2)

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count the pixels of each (label, prediction); logits (B, C, H, W), a label that is no class raises."""
        labels = match_target(self.task.target, logits, target)[:, 0].long()  # (B, H, W)
        valid = labels != IGNORE_INDEX
        labels, predictions = labels[valid], logits.max(dim=1).indices[valid]  # on a CPU twice as fast as argmax
        if len(wrong := labels[(labels < 0) | (labels >= self.channels)]):
            raise ValueError(
                f"{self.task.key}: the target holds the class {wrong[0].item()}, but there are only "
                f"{self.channels} classes; check that the metrics were built for this data set."
            )
        pairs = labels * self.channels + predictions
        self._add(confusion=torch.bincount(pairs, minlength=self.channels**2))

    def compute(self) -> dict[str, float]:
        """``mIoU`` and ``IoU/<class>`` in percent."""
        confusion = self.confusion.view(self.channels, self.channels)  # label, prediction
        intersection = confusion.diagonal()
        union = confusion.sum(0) + confusion.sum(1) - intersection
        absent_counts = self.paper and confusion.any()
        iou = 100 * fraction(intersection, union, empty=0.0 if absent_counts else float("nan"))
        classes = self.task.classes if len(self.task.classes) == self.channels else range(self.channels)
        return {"mIoU": iou.nanmean().item()} | {
            f"IoU/{name}": value for name, value in zip(classes, iou.tolist(), strict=True)
        }


class NormalsMeter(Meter):
    """Angles between predicted and true directions, over all valid pixels of the data set.

    Mean and rmse are exact; the median and the shares come from a histogram with bins of ``ANGLE_BIN`` degrees.
    A prediction of zero length is 90 degrees off.
    """

    def __init__(self, task: Task, channels: int, protocol: str) -> None:
        super().__init__(task, channels, protocol)
        self._add_sums(pixels=1, histogram=NUM_ANGLE_BINS)
        self._add_sums(torch.float64, angles=1, squares=1)

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add up the angles; logits (B, 3, H, W), of any length."""
        target = match_target(self.task.target, logits, target)
        prediction, truth = _unit(logits.float()), _unit(target.float())
        # Exact from 0 to 180 degrees, where the arc cosine of a float32 is off by up to 0.03 degrees at the ends.
        angle = 2 * torch.atan2(_length(prediction - truth), _length(prediction + truth))  # (B, 1, H, W)
        valid = valid_pixels(target)
        angle = angle.rad2deg()[valid]  # (valid pixels,)
        bins = torch.nan_to_num(angle, nan=180.0) / ANGLE_BIN  # a nan shows in the mean, but is no index
        self._add(histogram=torch.bincount(bins.long().clamp(max=NUM_ANGLE_BINS - 1), minlength=NUM_ANGLE_BINS))
        self._add(pixels=valid.sum(), angles=angle.sum(), squares=angle.square().sum())

    def compute(self) -> dict[str, float]:
        """``mean``, ``median``, ``rmse`` in degrees; ``within_11.25``, ``within_22.5``, ``within_30`` in percent."""
        pixels = self.pixels
        mean = fraction(self.angles, pixels).item()
        scores = {
            "mean": mean,
            "median": self._median(),
            "rmse": fraction(self.squares, pixels).sqrt().item(),
        }
        for limit in WITHIN_ANGLES:
            scores[f"within_{limit}"] = 100 * fraction(self.histogram[: round(limit / ANGLE_BIN)].sum(), pixels).item()
        return scores | ({"rmse (paper's name for mean)": mean} if self.paper else {})

    def _median(self) -> float:
        """The middle of the bin of the middle pixel (of the two middle pixels, if their number is even)."""
        upto = self.histogram.cumsum(0)
        if not upto[-1]:
            return float("nan")
        middle = torch.stack([(upto[-1] - 1) // 2, upto[-1] // 2])
        return (torch.searchsorted(upto, middle, right=True).double().mean().item() + 0.5) * ANGLE_BIN


class DepthMeter(Meter):
    """Depth errors over all valid pixels of the data set; predictions below ``MIN_DEPTH`` are raised to it first.

    Source: Eigen et al. 2014 (arXiv 1406.2283), section 4.2.
    """

    def __init__(self, task: Task, channels: int, protocol: str) -> None:
        super().__init__(task, channels, protocol)
        self._add_sums(pixels=1, within=3)
        self._add_sums(torch.float64, squares=1, log_squares=1)

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add up squared errors and pixels within a factor of 1.25, 1.25² and 1.25³; logits (B, 1, H, W), metres."""
        target = match_target(self.task.target, logits, target)
        valid = valid_pixels(target)
        prediction, truth = (depth[valid].float().clamp(min=MIN_DEPTH) for depth in (logits, target))
        log_ratio = prediction.log() - truth.log()
        within = torch.stack([(log_ratio.abs() < power * math.log(1.25)).sum() for power in (1, 2, 3)])
        self._add(pixels=valid.sum(), within=within)
        self._add(squares=(prediction - truth).square().sum(), log_squares=log_ratio.square().sum())

    def compute(self) -> dict[str, float]:
        """``rmse`` in metres, ``log_rmse`` (natural logarithm), ``delta1`` to ``delta3`` in percent."""
        delta = 100 * fraction(self.within, self.pixels)
        return {
            "rmse": fraction(self.squares, self.pixels).sqrt().item(),
            "log_rmse": fraction(self.log_squares, self.pixels).sqrt().item(),
            **{f"delta{power}": value for power, value in enumerate(delta.tolist(), start=1)},
        }
