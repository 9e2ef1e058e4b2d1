"""What Δm is relative to: results of single-task models, one's own or published, always with where they are from."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
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
    reference.scores_of(metrics)
    for task, name in metrics.items():
        if reference.metrics[task] != name:
            raise ValueError(
                f"The reference ({reference.source}) has {reference.metrics[task]} of {task}, this run {name}: "
                "set boundary alike in both."
            )
