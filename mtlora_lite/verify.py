"""What a data folder holds: every file found or not, decoded, held against its image, and what can be trained on it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mtlora_lite.layouts import IMAGE, BrokenFileError, Layout, all_ids
from mtlora_lite.parallel import parallel_map
from mtlora_lite.prepared import layout_of
from mtlora_lite.printing import aligned
from mtlora_lite.tasks import IGNORE_INDEX, TASKS, task_channels

# How many images the lists of the whole data set name, and the tasks that can be read from a layout though the
# published data set has no files for them.
PUBLISHED = {"PASCAL_MT": {"train": 4998, "val": 5105}, "NYUD_MT": {"train": 795, "val": 654}}
EXTRA = {"PASCAL_MT": ("depth",)}
SHOWN = 10  # broken files that are listed


@dataclass(frozen=True)
class Finding:
    """What is to be said of an image itself, or of one task's files for it.

    Attributes:
        missing: the files that are not there, as the patterns of their names.
        broken: the files that are there and why they cannot be used.
    """

    missing: tuple[str, ...] = ()
    broken: str = ""

    @property
    def is_good(self) -> bool:
        """Whether all is there and well."""
        return not (self.missing or self.broken)


def check_image(layout: Layout, root: Path, image_id: str) -> dict[str, Finding]:
    """Decode all there is of one image: what is found of the image itself and of each task of the layout."""
    findings, shape = {}, None
    for name in (IMAGE, *layout.targets):
        if missing := layout.missing_files(root, image_id, name):
            findings[name] = Finding(missing=tuple(layout.places(file) for file in missing))
            continue
        try:
            array = layout.read(root, image_id, [name], shape)[name]
            findings[name] = Finding()
        except BrokenFileError as error:
            findings[name] = Finding(broken=str(error))
            continue
        if name == IMAGE:
            shape = array.shape[:2]
        elif (strange := _out_of_range(layout, name, array)).size:
            path = layout.find_file(root, layout.files_of(name)[0], image_id)
            findings[name] = Finding(broken=f"{path}: {name} cannot be {np.unique(strange)[:5].tolist()}")
    return findings


# What the values (N,), or directions (N, 3), of a kind of target may be besides 255.
_RANGES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "classes": lambda values, channels: (values >= 0) & (values < channels),
    "binary": lambda values, _: (values == 0) | (values == 1),
    "directions": lambda values, _: np.abs(np.linalg.norm(values, axis=-1) - 1) < 0.01,
    "metres": lambda values, _: np.isfinite(values) & (values > 0),
}


def _out_of_range(layout: Layout, task: str, target: np.ndarray) -> np.ndarray:
    kind, channels = TASKS[task].target, task_channels([task], layout.channels)[task]
    if kind != "binary":  # which has no way to say that a pixel is ignored
        target = target[~(target == IGNORE_INDEX).all(-1)] if target.ndim == 3 else target[target != IGNORE_INDEX]
    return target[~_RANGES[kind](target, channels)]


# ------------------------------------------------------------------------------------------------------- all images


@dataclass(frozen=True)
class Report:
    """What a data folder holds.

    Attributes:
        root: the folder.
        layout: how it is laid out.
        lists: the ids that each list names.
        findings: {id: {image or task: finding}} of all images that are named.
    """

    root: Path
    layout: Layout
    lists: dict[str, list[str]]
    findings: dict[str, dict[str, Finding]]

    @property
    def broken(self) -> list[str]:
        """A line per file that is there and cannot be used: its path and why."""
        found = (finding.broken for findings in self.findings.values() for finding in findings.values())
        return list(dict.fromkeys(line for line in found if line))

    @property
    def trainable(self) -> list[str]:
        """The tasks that have images to train on and images to be scored on."""
        splits = [name for name in ("train", "val") if name in self.lists] or list(self.lists)
        return [task for task in self.layout.targets if all(self.good(task, name) for name in splits)]

    @property
    def is_usable(self) -> bool:
        """Whether something can be trained and nothing is broken."""
        return bool(self.trainable) and not self.broken

    def good(self, row: str, name: str) -> int:
        """Return how many images of a list are good and, if ``row`` is a task, have a good target."""
        found = (self.findings[image_id] for image_id in self.lists[name])
        return sum(findings[IMAGE].is_good and findings[row].is_good for findings in found)

    def lines(self) -> Iterator[str]:
        """The report as text: a table, then what is broken and what can be trained."""
        yield f"{self.root}: {self.layout.name}, {len(self.findings):,} images, every file of them decoded"
        rows = [self._row(row) for row in (IMAGE, *self.layout.targets)]
        yield from ("", *aligned([["", *self.lists, "broken", "train?", "missing"], *rows]), "")
        for name, expected in PUBLISHED.get(self.layout.name, {}).items():
            if (count := len(self.lists.get(name, ()))) != expected:
                yield f"List {name}: {count:,} images; that of the whole {self.layout.name} has {expected:,}."
        yield from (f"List {name} names no image." for name, ids in self.lists.items() if not ids)
        if broken := self.broken:
            yield f"Broken files: {len(broken)}" + (f", of which {SHOWN}:" if len(broken) > SHOWN else ":")
            yield from (f"  {line}" for line in broken[:SHOWN])
        yield f"Can be trained: {', '.join(self.trainable) or 'nothing'}."
        if any(self._verdict(task) == "partly" for task in self.trainable):
            yield "Partly: where its files are missing a task is ignored, or the image left out if it cannot be."

    def _row(self, row: str) -> list[str]:
        there = [f"{self.good(row, name):,}/{len(ids):,}" for name, ids in self.lists.items()]
        broken = sum(bool(findings[row].broken) for findings in self.findings.values())
        return [row, *there, str(broken or "-"), "" if row == IMAGE else self._verdict(row), self._missing(row)]

    def _verdict(self, task: str) -> str:
        if task not in self.trainable:
            return "no"
        complete = all(self.good(task, name) == len(ids) for name, ids in self.lists.items())
        return "yes" if complete else "partly"

    def _missing(self, row: str) -> str:
        lacking = {i: findings[row].missing for i, findings in self.findings.items() if findings[row].missing}
        if not lacking:
            return ""
        places = " and ".join(dict.fromkeys(place for places in lacking.values() for place in places))
        if len(lacking) < len(self.findings):
            return f"{len(lacking):,} of {places}, the first is {next(iter(lacking))}"
        return f"all of {places}" + (f"; {self.layout.name} has none" if row in EXTRA.get(self.layout.name, ()) else "")


def verify(root: Path, *, workers: int | None = None) -> Report:
    """Look at everything that the lists of a data folder name; nothing is written.

    Args:
        root: PASCAL_MT or NYUD_MT, as they were handed out or prepared.
        workers: processes; ``None`` takes one per processor.

    Raises:
        FileNotFoundError: there is no such folder, or no lists of images in it.
    """
    layout = layout_of(root)
    lists = layout.lists(root)
    ids = all_ids(lists)
    findings = parallel_map(partial(check_image, layout, root), ids, workers=workers, title="verify")
    return Report(root, layout, lists, dict(zip(ids, findings, strict=True)))
