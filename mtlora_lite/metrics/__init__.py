"""Metrics of the six tasks under two protocols, and Δm, the one number for a multi-task model.

Every meter keeps sums and counts that add up over batches and over processes; nothing that grows with the data
set is stored. IoU, F, ``within_*`` and ``delta*`` are in percent, angles in degrees, depth errors in metres; MAE
is a probability. A score of which nothing has been seen (no valid pixel, no positive) is nan.

The protocols, because published numbers of this family carry conventions a reader would not guess:

==========================  ==============================================  ===================================
convention                  ``paper``: MTLoRA's released evaluation         ``standard``
==========================  ==============================================  ===================================
size at which is scored     labels resized to the model's input (nearest)   logits resized to each image's own
class that nobody has seen  counts as IoU 0                                 left out of the mean, its IoU nan
misnamed scores             reported too, under a key that says what they   not reported
                            are and what the released code calls them
==========================  ==============================================  ===================================

The sizes are the caller's part, as prediction and target must come in one size. Misnamed are: the normals' "rmse",
which is the mean angle; saliency's "Beta maxF", which takes the sigmoid twice, and "maxF", which is the F of mean
precision and recall; the only score of edges, their loss, which takes the sigmoid twice as well. One fault is not
repeated: fed one image at a time, the released saliency scores every row of it as an image. Both protocols share the
family's saliency ``mIoU``, whose threshold is chosen on the scored set itself; ``mIoU@0.5`` stands beside it without
that advantage.

Edges have two scores: ``F_1px`` costs nothing, ``odsF`` is the BSDS benchmark's, at a second an image. Where ``odsF``
was asked for it is the headline of edges; the two are not comparable, so Δm needs the same name on both sides.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from mtlora_lite import nyud_mt
from mtlora_lite.metrics.binary import BoundaryMeter, EdgeMeter, SaliencyMeter
from mtlora_lite.metrics.meters import ClassMeter, DepthMeter, Meter, NormalsMeter
from mtlora_lite.names import check_known
from mtlora_lite.targets import task_entry
from mtlora_lite.tasks import Task, check_tasks, get_task, task_channels

#: Both sets of conventions, see the table above.
PROTOCOLS = ("paper", "standard")
DATASET_CHANNELS: dict[str, dict[str, int]] = {"pascal": {}, "scenes": {}, "nyud": nyud_mt.CHANNELS}
EDGE_TOLERANCE = {"pascal": 0.0075, "scenes": 0.0075, "nyud": 0.011}  # of the diagonal; the benchmarks' usual ones

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


def build_metrics(
    tasks: str | Iterable[str], dataset: str = "pascal", protocol: str = "paper", *, boundary: bool = False
) -> MetricSet:
    """Build the meters of some tasks.

    Args:
        tasks: task keys.
        dataset: ``pascal``, ``scenes`` (the classes of PASCAL) or ``nyud`` (40 classes); edges match within 0.0075
            of the diagonal, on ``nyud`` within 0.011.
        protocol: ``paper`` or ``standard``, see the top of this file.
        boundary: score edges by the BSDS benchmark too: ``odsF`` and ``oisF``, about a second an image and processor.

    Raises:
        ValueError: for an unknown task, data set or protocol.
    """
    check_known("data set", dataset, DATASET_CHANNELS)
    check_known("protocol", protocol, PROTOCOLS)

    def meter(task: Task, channels: int) -> Meter:
        kind = METERS[task.target, task.metric]
        if boundary and kind is EdgeMeter:
            return BoundaryMeter(task, channels, protocol, EDGE_TOLERANCE[dataset])
        return kind(task, channels, protocol)

    channels = task_channels(tasks, DATASET_CHANNELS[dataset])
    return MetricSet({key: meter(get_task(key), count) for key, count in channels.items()})


def headline_name(task: str, *, boundary: bool = False) -> str:
    """The name of a task's headline metric: its own, but ``odsF`` for edges that the BSDS benchmark has scored."""
    name = get_task(task).metric
    return "odsF" if boundary and name == "F_1px" else name


def headline_names(results: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """The name of each task's headline metric in ``compute()``'s result."""
    return {task: headline_name(task, boundary="odsF" in values) for task, values in results.items()}


def headline(results: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The one metric of each task that tables show and Δm compares: ``{task: value}`` of ``compute()``'s result."""
    return {task: results[task][name] for task, name in headline_names(results).items()}


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
