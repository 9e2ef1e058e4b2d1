"""Metrics of the six tasks under two protocols, and Δm, the one number for a multi-task model.

Every meter keeps sums and counts that add up over batches and over processes; nothing that grows with the data
set is stored. IoU, F, ``within_*`` and ``delta*`` are in percent, angles in degrees, depth errors in metres; MAE
is a probability. A score of which nothing has been seen (no valid pixel, no positive) is nan.

The protocols, because published numbers of this family carry conventions a reader would not guess:

* ``paper``: what MTLoRA's released evaluation does. A class in neither labels nor predictions counts as IoU 0,
  and scores with a misleading name or definition are reported too, under a key that says what they are.
* ``standard``: a class in neither labels nor predictions is left out of the mean (its IoU is nan), no aliases.

Both share the family's saliency ``mIoU``, whose threshold is chosen on the scored set itself; ``mIoU@0.5``
stands beside it without that advantage.
"""

import math
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric

from mtlora_lite.targets import match_target, positives, task_entry, valid_pixels
from mtlora_lite.tasks import IGNORE_INDEX, Task, check_tasks, get_task, task_channels

PROTOCOLS = ("paper", "standard")
DATASET_CHANNELS: dict[str, dict[str, int]] = {"pascal": {}, "scenes": {}, "nyud": {"semseg": 40}}

THRESHOLDS = tuple(step / 20 for step in range(1, 20))  # 0.05 ... 0.95
FAMILY_THRESHOLDS = slice(3, 18)  # those from 0.2 to 0.9
SALIENCY_BETA2 = 0.3  # precision counts more than recall, Achanta et al. 2009
MIN_DEPTH = 1e-9  # predicted depths below are raised to it before any score, logarithms included
ANGLE_BIN = 1e-3  # degrees; half of it bounds the error of the median
NUM_ANGLE_BINS = round(180 / ANGLE_BIN)
WITHIN_ANGLES = (11.25, 22.5, 30)


def _fraction(numerator: Tensor, denominator: Tensor, empty: float = float("nan")) -> Tensor:
    """Quotient in float64, with ``empty`` for 0 / 0."""
    return torch.where(denominator == 0, empty, numerator.double() / denominator.double())


def _counts_above(values: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """Pixels per group whose value exceeds each threshold: one histogram instead of a pass per threshold.

    ``values`` and the integer ``group`` have the same shape; returns (num_groups, thresholds).
    """
    bins = len(THRESHOLDS) + 1  # bin k: values that exceed exactly k thresholds
    thresholds = torch.tensor(THRESHOLDS, device=values.device, dtype=values.dtype)
    passed = torch.bucketize(torch.nan_to_num(values, nan=0.0), thresholds)  # a nan exceeds none
    histogram = torch.bincount((group * bins + passed).flatten(), minlength=num_groups * bins)
    return histogram.view(num_groups, bins).flip(1).cumsum(1).flip(1)[:, 1:]


def _f_score(precision: Tensor, recall: Tensor, beta2: float = 1.0) -> Tensor:
    """F = (1 + β²) P R / (β² P + R), 0 where both are 0."""
    return _fraction((1 + beta2) * precision * recall, beta2 * precision + recall, empty=0.0)


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
        iou = 100 * _fraction(intersection, union, empty=0.0 if absent_counts else float("nan"))
        classes = self.task.classes if len(self.task.classes) == self.channels else range(self.channels)
        return {"mIoU": iou.nanmean().item()} | {
            f"IoU/{name}": value for name, value in zip(classes, iou.tolist(), strict=True)
        }


class SaliencyMeter(Meter):
    """Saliency: foreground IoU averaged over images, F over pooled pixels, mean absolute error.

    An image without salient pixels on which nothing is predicted has IoU 1. The paper protocol adds the
    released evaluation's two F scores, which are not the F of the saliency literature.
    """

    def __init__(self, task: Task, channels: int, protocol: str) -> None:
        super().__init__(task, channels, protocol)
        steps = len(THRESHOLDS)
        self._add_sums(images=1, pixels=1, truth=1, hits=steps, predicted=steps)
        self._add_sums(torch.float64, iou=steps, error=1)
        if self.paper:
            self._add_sums(twice_hits=steps, twice_predicted=steps)
            self._add_sums(torch.float64, precision=steps, recall=steps)

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count per image the pixels predicted, and rightly predicted, at each threshold; logits (B, 1, H, W)."""
        salient = positives(match_target(self.task.target, logits, target))
        probability = logits.float().sigmoid()
        hits, predicted = self._hits_and_predicted(probability, salient)  # (B, thresholds)
        truth = salient.sum(dim=(1, 2, 3)).unsqueeze(1).to(self.device)  # (B, 1)
        self._add(images=torch.tensor(len(logits)), pixels=torch.tensor(salient.numel()), truth=truth.sum())
        self._add(hits=hits.sum(0), predicted=predicted.sum(0))
        self._add(iou=_fraction(hits, predicted + truth - hits, empty=1).sum(0))
        self._add(error=(probability - salient.float()).abs().sum())
        if self.paper:
            twice_hits, twice_predicted = self._hits_and_predicted(probability.sigmoid(), salient)
            self._add(twice_hits=twice_hits.sum(0), twice_predicted=twice_predicted.sum(0))
            self._add(precision=_fraction(hits, predicted, empty=0).sum(0))
            self._add(recall=_fraction(hits, truth, empty=0).sum(0))

    def _hits_and_predicted(self, values: Tensor, salient: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels above each threshold, the salient ones and all, per image: (B, thresholds) each."""
        image = torch.arange(len(values), device=values.device).view(-1, 1, 1, 1)
        counts = _counts_above(values, 2 * image + salient, 2 * len(values)).to(self.device)
        counts = counts.view(len(values), 2, -1)  # (B, not salient and salient, thresholds)
        return counts[:, 1], counts.sum(1)

    def compute(self) -> dict[str, float]:
        """``mIoU``, ``mIoU@0.5``, ``maxF`` (β² = 0.3, thresholds 0.05 ... 0.95) in percent, and ``MAE``."""
        iou = 100 * _fraction(self.iou, self.images)
        scores = {
            "mIoU": iou[FAMILY_THRESHOLDS].max(),
            "mIoU@0.5": iou[THRESHOLDS.index(0.5)],
            "maxF": self._max_f(self.hits, self.predicted),
            "MAE": _fraction(self.error, self.pixels),
        }
        if self.paper:
            mean_f = _f_score(_fraction(self.precision, self.images), _fraction(self.recall, self.images))
            scores["maxF (paper's Beta maxF: sigmoid twice)"] = self._max_f(self.twice_hits, self.twice_predicted)
            scores["maxF (paper's maxF: F1 of the images' mean precision and recall)"] = (
                100 * mean_f[FAMILY_THRESHOLDS].max()
            )
        return {name: value.item() for name, value in scores.items()}

    def _max_f(self, hits: Tensor, predicted: Tensor) -> Tensor:
        """The best F over the thresholds in percent, precision and recall over all pixels of the data set."""
        precision = _fraction(hits, predicted, empty=0)
        return 100 * _f_score(precision, _fraction(hits, self.truth), SALIENCY_BETA2).max()


class EdgeMeter(Meter):
    """Edges: the best F over thresholds 0.05 ... 0.95, one threshold for the whole data set, one pixel of tolerance.

    A predicted edge pixel is right if a true one lies in the 3x3 pixels around it, a true one is found if a predicted
    one does. Predictions are not thinned and pixels not matched one to one, so this is not the BSDS benchmark's odsF.
    """

    def __init__(self, task: Task, channels: int, protocol: str) -> None:
        super().__init__(task, channels, protocol)
        steps = len(THRESHOLDS)
        self._add_sums(truth=1, found=steps, predicted=steps, right=steps)

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count the predicted, right and found edge pixels at each threshold; logits (B, 1, H, W)."""
        edge = positives(match_target(self.task.target, logits, target))
        probability = logits.float().sigmoid()
        near_edge = F.max_pool2d(edge.float(), 3, stride=1, padding=1)
        # Dilation and threshold commute: one dilation of the probabilities serves all thresholds.
        near_probability = F.max_pool2d(probability, 3, stride=1, padding=1)
        predicted = _counts_above(probability, near_edge.long(), 2)  # (far and near, thresholds)
        found = _counts_above(near_probability, edge.long(), 2)
        self._add(truth=edge.sum(), predicted=predicted.sum(0), right=predicted[1], found=found[1])

    def compute(self) -> dict[str, float]:
        """``F_1px`` in percent."""
        precision = _fraction(self.right, self.predicted, empty=0)
        return {"F_1px": 100 * _f_score(precision, _fraction(self.found, self.truth)).max().item()}


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
        mean = _fraction(self.angles, pixels).item()
        scores = {
            "mean": mean,
            "median": self._median(),
            "rmse": _fraction(self.squares, pixels).sqrt().item(),
        }
        for limit in WITHIN_ANGLES:
            scores[f"within_{limit}"] = 100 * _fraction(self.histogram[: round(limit / ANGLE_BIN)].sum(), pixels).item()
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
        delta = 100 * _fraction(self.within, self.pixels)
        return {
            "rmse": _fraction(self.squares, self.pixels).sqrt().item(),
            "log_rmse": _fraction(self.log_squares, self.pixels).sqrt().item(),
            **{f"delta{power}": value for power, value in enumerate(delta.tolist(), start=1)},
        }


# By (kind of target, headline metric) of the task.
METERS: dict[tuple[str, str], type[Meter]] = {
    ("classes", "mIoU"): ClassMeter,
    ("binary", "mIoU"): SaliencyMeter,
    ("binary", "F_1px"): EdgeMeter,
    ("directions", "mean"): NormalsMeter,
    ("metres", "rmse"): DepthMeter,
}


class MetricSet(nn.Module):
    """One meter per task; on several processes ``compute`` sums their states first."""

    def __init__(self, meters: Mapping[str, Meter]) -> None:
        super().__init__()
        self.meters = nn.ModuleDict(meters)

    def update(self, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> None:
        """Add a batch.

        Args:
            logits: (B, C_task, H, W) per task, as the model returns them.
            targets: a batch, or any mapping that holds the tasks' targets.

        Raises:
            ValueError: if a task has no prediction or no target, or their shapes do not fit.
        """
        for task, meter in self.meters.items():
            meter.update(task_entry(logits, task, "prediction"), task_entry(targets, task, "target"))

    def compute(self) -> dict[str, dict[str, float]]:
        """Return ``{task: {name: value}}`` over everything since the last reset."""
        return {task: meter.compute() for task, meter in self.meters.items()}

    def reset(self) -> None:
        """Forget everything seen."""
        for meter in self.meters.values():
            meter.reset()


def _known(what: str, name: str, names: Iterable[str]) -> None:
    """Raise unless ``name`` is one of ``names``."""
    if name not in names:
        raise ValueError(f"Unknown {what} {name!r}. There are: {', '.join(names)}.")


def build_metrics(tasks: str | Iterable[str], dataset: str = "pascal", protocol: str = "paper") -> MetricSet:
    """Build the meters of some tasks.

    Args:
        tasks: task keys.
        dataset: ``pascal``, ``scenes`` (the classes of PASCAL) or ``nyud`` (40 classes).
        protocol: ``paper`` or ``standard``, see the top of this file.

    Raises:
        ValueError: for an unknown task, data set or protocol.
    """
    _known("data set", dataset, DATASET_CHANNELS)
    _known("protocol", protocol, PROTOCOLS)
    channels = task_channels(tasks, DATASET_CHANNELS[dataset])
    rows = {key: get_task(key) for key in channels}
    return MetricSet({key: METERS[row.target, row.metric](row, channels[key], protocol) for key, row in rows.items()})


def headline(results: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The one metric of each task that tables show and Δm compares: ``{task: value}`` of ``compute()``'s result."""
    return {task: values[get_task(task).metric] for task, values in results.items()}


def delta_m(multi: Mapping[str, float], single: Mapping[str, float]) -> float:
    """Δm: the mean relative gain of a multi-task model over single-task models, in percent; positive is better.

    Δm = 100 / T · Σ_t (-1)^{l_t} (M_t - S_t) / S_t with l_t = 1 where lower is better. Source: Maninis et al. 2019,
    attentive single-tasking of multiple tasks (arXiv 1904.08918), equation 4.

    Args:
        multi: the headline metric of each task from the multi-task model.
        single: the same from one model per task.

    Raises:
        ValueError: if the two do not name the same tasks, or a single-task value is zero.
    """
    tasks = check_tasks(multi)
    if unmatched := sorted(set(multi) ^ set(single)):
        raise ValueError(f"Δm needs every task in both results; in only one of them: {', '.join(unmatched)}.")
    if zero := [task for task in tasks if single[task] == 0]:
        raise ValueError(f"Δm is relative to the single-task result, which is 0 for {', '.join(zero)}.")
    signs = {task: 1 if get_task(task).higher_is_better else -1 for task in tasks}
    return 100 / len(tasks) * sum(signs[task] * (multi[task] - single[task]) / single[task] for task in tasks)
