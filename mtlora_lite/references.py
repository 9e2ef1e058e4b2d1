"""What Δm is relative to: results of single-task models, one's own or published, always with where they are from."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mtlora_lite.metrics import delta_m, headline, headline_names
from mtlora_lite.records import write_json


@dataclass(frozen=True)
class Reference:
    """The headline metric of each task, from one model per task.

    Attributes:
        scores: {task: value}, in the units of the task table.
        metrics: {task: name of the metric}.
        protocol: how they were scored, see ``metrics``.
        source: where they are from, in words.
    """

    scores: Mapping[str, float]
    metrics: Mapping[str, str]
    protocol: str
    source: str

    def scores_of(self, tasks: Iterable[str]) -> dict[str, float]:
        """The scores of some tasks; one that is missing raises ``ValueError``."""
        tasks = tuple(tasks)
        if missing := [task for task in tasks if task not in self.scores]:
            raise ValueError(f"The reference ({self.source}) has no result for {', '.join(missing)}.")
        return {task: self.scores[task] for task in tasks}


PUBLISHED: dict[str, Reference] = {
    "paper_swin_tiny": Reference(
        {"semseg": 67.21, "human_parts": 61.93, "sal": 62.35, "normals": 17.97},
        {"semseg": "mIoU", "human_parts": "mIoU", "sal": "mIoU", "normals": "mean"}, "paper",
        "single-task Swin-T on PASCAL-Context as printed in the MTLoRA paper, table 1",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class PublishedGain:
    """A published point of PASCAL-Context: Swin-T, the paper's four tasks, Δm over its single-task results.

    Attributes:
        method: its name in print.
        delta_m: in percent.
        trainable: millions of trained parameters, decoders included.
        source: where it is printed.
        verified: False for rows that were not held against the table, only checked for their arithmetic.
        scores: {task: value}, in the metrics of ``PUBLISHED``; empty where they are not known here.
    """

    method: str
    delta_m: float
    trainable: float
    source: str
    verified: bool = True
    scores: Mapping[str, float] = field(default_factory=dict)


def _scores(*columns: float) -> dict[str, float]:
    """A row of the table: its columns stand in this order."""
    return dict(zip(("semseg", "human_parts", "sal", "normals"), columns, strict=True))


_TABLE_1 = "MTLoRA paper, table 1"
PUBLISHED_GAINS = (
    PublishedGain("single task", 0.0, 112.62, _TABLE_1, True, _scores(67.21, 61.93, 62.35, 17.97)),
    PublishedGain("full fine-tuning", 2.23, 30.06, _TABLE_1, True, _scores(67.56, 60.24, 65.21, 16.64)),
    PublishedGain("decoders only", -9.95, 1.94, _TABLE_1, False, _scores(65.09, 53.48, 57.46, 20.69)),
    PublishedGain("Adapter", -2.71, 11.24, _TABLE_1, False, _scores(69.21, 57.38, 61.28, 18.83)),
    PublishedGain("BitFit", -4.60, 2.85, _TABLE_1, False, _scores(68.57, 55.99, 60.64, 19.42)),
    PublishedGain("VPT-shallow", -11.18, 2.57, _TABLE_1, False, _scores(62.96, 52.27, 58.31, 20.90)),
    PublishedGain("VPT-deep", -10.85, 3.43, _TABLE_1, False, _scores(64.35, 52.54, 58.15, 21.07)),
    PublishedGain("Compacter", -4.55, 2.78, _TABLE_1, False, _scores(68.08, 56.41, 60.08, 19.22)),
    PublishedGain("Compacter++", -5.84, 2.66, _TABLE_1, False, _scores(67.26, 55.69, 59.47, 19.54)),
    PublishedGain("LoRA", -2.17, 2.87, _TABLE_1, False, _scores(70.12, 57.73, 61.90, 18.96)),
    PublishedGain("VL-Adapter", -1.83, 4.74, _TABLE_1, False, _scores(70.21, 59.15, 62.29, 19.26)),
    PublishedGain("HyperFormer", 2.64, 72.77, _TABLE_1, False, _scores(71.43, 60.73, 65.54, 17.77)),
    PublishedGain("Polyhistor", 2.34, 8.96, _TABLE_1, False, _scores(70.87, 59.54, 65.47, 17.47)),
    PublishedGain("MTLoRA r16", 1.35, 4.95, _TABLE_1, True, _scores(68.19, 58.99, 64.48, 17.03)),
    PublishedGain("MTLoRA r32", 2.16, 6.08, _TABLE_1, True, _scores(67.74, 59.46, 64.90, 16.59)),
    PublishedGain("MTLoRA r64", 2.55, 8.34, _TABLE_1, True, _scores(67.90, 59.84, 65.40, 16.60)),
    PublishedGain("DiTASK", 3.22, 3.55, "CVPR 2025"),
    PublishedGain("TADFormer r64", 4.24, 7.38, "CVPR 2025"),
    PublishedGain("Free Sinewich r64", 5.39, 6.53, "CVPR 2026"),
    PublishedGain("FAAR", 5.28, 3.38, "CVPR 2026"),
)
# What somebody else got from the released code, as its issue 6 says: how far two runs of one recipe can be apart.
RERUN = PublishedGain(
    "MTLoRA r64, rerun", 1.77, 8.34, "issue 6 of the released code", scores=_scores(68.38, 59.58, 63.85, 16.76)
)


def get_reference(name: str) -> Reference:
    """Look published results up by their name, or read the file that ``write_reference`` wrote.

    Raises:
        ValueError: neither a published name nor such a file.
    """
    if name in PUBLISHED:
        return PUBLISHED[name]
    try:
        return Reference(**json.loads(Path(name).read_text()))
    except (OSError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"No reference {name!r}: give one of {', '.join(PUBLISHED)}, or the file reference.json that "
            "training with method single_task writes."
        ) from error


def write_reference(path: Path, reference: Reference) -> None:
    """Write a reference as JSON."""
    write_json(path, asdict(reference))


def gain_over(reference: Reference, results: Mapping[str, Mapping[str, float]], protocol: str) -> float:
    """Δm of ``compute()``'s results over a reference, in percent.

    Raises:
        ValueError: the reference lacks a task, or was scored by another protocol or metric.
    """
    check_comparable(reference, headline_names(results), protocol)
    scores = headline(results)
    return delta_m(scores, reference.scores_of(scores))


def check_comparable(reference: Reference, metrics: Mapping[str, str], protocol: str) -> None:
    """Raise ``ValueError`` unless a reference has been scored by these metrics, {task: name}, and this protocol."""
    if reference.protocol != protocol:
        raise ValueError(
            f"The reference ({reference.source}) was scored by the {reference.protocol} protocol, this run by the "
            f"{protocol} protocol: choose protocol={reference.protocol}, or another reference."
        )
    scores = reference.scores_of(metrics)
    if useless := [task for task, score in scores.items() if not score or not math.isfinite(score)]:
        raise ValueError(
            f"The reference ({reference.source}) has no score above 0 for {', '.join(useless)}, so nothing can be "
            "relative to it: train it for longer, or take another reference."
        )
    for task, name in metrics.items():
        if reference.metrics[task] != name:
            raise ValueError(
                f"The reference ({reference.source}) has {reference.metrics[task]} of {task}, this run {name}: "
                "set boundary alike in both."
            )
