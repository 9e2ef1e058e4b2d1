"""What is compared with what, and on what terms."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtlora_lite.config import Setting, TrainConfig
from mtlora_lite.study.rows import Row, read_rows

SAVE_EVERY = 500  # steps between checkpoints, for whoever compares runs of days


@dataclass(frozen=True)
class CompareConfig(Setting):
    """Compare methods on equal terms: same images and steps, several seeds, each with its own best learning rate.

    Attributes:
        out: folder for the runs, tables and figures; what is there already is not done again.
        methods: the rows, each a method and what it is given: mtlora, mtlora@rank=16, mtlora@pretrained=false,
            lora@backbone=pvt_v2_scenes_tiny@decoder=aspp. single_task is one model per task.
        baseline: the row that Δm is relative to.
        options: options of every method that has them, such as rank and dropout.
        lrs: learning rates that every method may choose from.
        seeds: how many: 0, 1, ...; the first also serves to choose.
        tune_split: list of ids (a folder) or part of the scenes that rates are chosen on.
        table_split: the same, that the tables come from.
        jobs: runs at a time, each with one thread.
        replicates: resamples of the bootstrap.
    """

    out: Path = Path("runs/compare")
    methods: tuple[str, ...] = ("decoders_only", "mtlora", "full", "single_task")
    baseline: str = "single_task"
    options: Mapping[str, Any] = field(default_factory=dict)
    lrs: tuple[float, ...] = (5e-4, 1.5e-3, 4.5e-3)
    seeds: int = 3
    tune_split: str = "val"
    table_split: str = "test"
    jobs: int = 2
    replicates: int = 1000

    def __post_init__(self) -> None:
        """Say what cannot be, before anything is rendered, read or trained."""
        super().__post_init__()
        rows = read_rows(self.methods, self.options)
        if self.baseline not in self.methods:
            raise ValueError(f"The baseline {self.baseline!r} is not among the rows {', '.join(self.methods)}.")
        if not self.lrs or min(self.seeds, self.jobs, self.replicates) < 1:
            raise ValueError("A comparison takes at least one learning rate, seed, job and replicate.")
        if self.boundary:
            raise ValueError("Comparisons resample images, for which edges are scored by F_1px: leave boundary off.")
        self._check_splits(rows)
        for row in rows:
            Run(row, row.parts(self.tasks)[0], self.lrs[0], 0).config(self)

    def _check_splits(self, rows: list[Row]) -> None:
        splits = {name: getattr(self, name) for name in ("train_split", "tune_split", "table_split")}
        if len(set(splits.values())) < len(splits):
            given = ", ".join(f"{name} {split}" for name, split in splits.items())
            raise ValueError(
                "Training, the choice of learning rates and the tables need images of their own, or the tables flatter "
                f"whoever chose best on them; given: {given}. A split may be any list of ids: hold one out."
            )
        if self.on_error == "skip" and any(len(row.parts(self.tasks)) > 1 for row in rows):
            raise ValueError(
                "single_task would leave out other images for each task, so that rows could not be compared image by "
                "image: take broken ones off the lists, and leave on_error at raise."
            )

    @property
    def rows(self) -> list[Row]:
        """What is compared."""
        return read_rows(self.methods, self.options)


@dataclass(frozen=True)
class Run:
    """One training run of a comparison: a row, the tasks it trains together, a learning rate, a seed."""

    row: Row
    tasks: tuple[str, ...]
    lr: float
    seed: int

    def config(self, compare: CompareConfig) -> TrainConfig:
        """The run as the engine takes it."""
        name = re.sub(r"[^\w.=]+", "-", self.row.name).strip("-")
        weights = self.row.own.get("loss_weights", compare.loss_weights)
        elsewhere = set(compare.tasks) - set(self.tasks)
        shared = {field.name: getattr(compare, field.name) for field in dataclasses.fields(Setting)}
        own = {
            "out": compare.out / f"{name}-{'-'.join(self.tasks)}-lr{self.lr:g}-seed{self.seed}",
            "tasks": self.tasks,
            "method": self.row.method,
            "options": self.row.options,
            "val_split": compare.tune_split,
            "lr": self.lr,
            "seed": self.seed,
            "trackers": (),
            "save_every": SAVE_EVERY,
        }
        weights = {task: weight for task, weight in weights.items() if task not in elsewhere}
        return TrainConfig(**shared | own | self.row.own | {"loss_weights": weights})
