"""What is in the labels of a data folder: sizes, how often each class occurs, and how much is ignored."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from mtlora_lite.layouts import IMAGE, Layout
from mtlora_lite.parallel import parallel_map
from mtlora_lite.prepared import layout_of
from mtlora_lite.printing import aligned, by
from mtlora_lite.tasks import IGNORE_INDEX, TASKS

METRES = np.arange(0, 100.005, 0.01)  # the bins in which depths are counted


@dataclass
class Counts:
    """The labels of one task, of one image or of many.

    Attributes:
        images: how many images have the task's files.
        pixels: how many pixels these have.
        ignored: how many of them count neither in losses nor in scores.
        values: pixels per class id, per 0 or 1, or per centimetre of depth.
        present: images per class id; those in which it occurs.
        direction: the sum of all normals.
    """

    images: int = 0
    pixels: int = 0
    ignored: int = 0
    values: Counter = field(default_factory=Counter)
    present: Counter = field(default_factory=Counter)
    direction: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def __iadd__(self, other: "Counts") -> "Counts":
        """Add the labels of other images."""
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


def count(target: np.ndarray, kind: str) -> Counts:
    """Count one target (H, W) or (H, W, 3) of a kind of ``tasks.py``."""
    height, width = target.shape[:2]
    ignored = (target == IGNORE_INDEX).all(-1) if target.ndim == 3 else target == IGNORE_INDEX  # (H, W)
    counts = Counts(1, height * width, int(ignored.sum()))
    valid = target[~ignored]  # (N,) or (N, 3)
    if kind == "directions":
        counts.direction = valid.sum(axis=0, dtype=np.float64)
        return counts
    numbers = np.digitize(valid, METRES) if kind == "metres" else valid
    counts.values = Counter(dict(zip(*(a.tolist() for a in np.unique(numbers, return_counts=True)), strict=True)))
    counts.present = Counter(dict.fromkeys(counts.values, 1))
    return counts


@dataclass(frozen=True)
class Statistics:
    """What is in the labels of one list of a data folder.

    Attributes:
        title: which folder and list.
        sizes: images per (height, width).
        tasks: the labels of each task that has files.
    """

    title: str
    sizes: Counter
    tasks: dict[str, Counts]

    def lines(self) -> Iterator[str]:
        """The statistics as text: a table of the tasks, then one of the classes of each task that has classes."""
        yield f"{self.title}: {self.sizes.total():,} images, {self._sizes()}"
        rows = [["", "images", "ignored", ""]]
        for task, counts in self.tasks.items():
            rows.append([task, f"{counts.images:,}", _share(counts.ignored, counts.pixels), _summary(task, counts)])
        yield from ("", *aligned(rows))
        for task, counts in self.tasks.items():
            if TASKS[task].target == "classes":
                yield from ("", *aligned([[task, "images", "pixels", ""], *_class_rows(task, counts)]))

    def _sizes(self) -> str:
        (size, often), heights, widths = self.sizes.most_common(1)[0], *zip(*self.sizes, strict=True)
        if len(self.sizes) == 1:
            return f"all of {by(size)} pixels"
        span = f"{min(widths)} to {max(widths)} pixels wide and {min(heights)} to {max(heights)} high"
        return f"{span}, most often {by(size)} ({often:,})"


def _class_rows(task: str, counts: Counts) -> Iterator[list[str]]:
    names = TASKS[task].classes
    used = sum(counts.values.values())
    for index in sorted({*range(len(names)), *counts.values}):
        name = names[index] if max(counts.values, default=0) < len(names) else f"class {index}"
        yield [name, f"{counts.present[index]:,}", _share(counts.values[index], used), ""]


def _summary(task: str, counts: Counts) -> str:
    """The labels of a task in a few words."""
    used = counts.pixels - counts.ignored
    if not used:
        return "nothing that counts"
    return {
        "classes": lambda: f"{len(counts.values)} classes occur",
        "binary": lambda: f"{_share(counts.values[1], used)} are 1",
        "directions": lambda: "mean ({:.2f}, {:.2f}, {:.2f})".format(*counts.direction / used),
        "metres": lambda: "5, 50 and 95 % nearer than {:.2f}, {:.2f} and {:.2f} m".format(*_quantiles(counts.values)),
    }[TASKS[task].target]()


def _quantiles(values: Counter) -> np.ndarray:
    """Of counts per bin of ``METRES``: up to where 5, 50 and 95 % of them lie."""
    bins, counts = np.array(sorted(values.items())).T
    reached = np.cumsum(counts) / counts.sum()
    return METRES[bins[np.searchsorted(reached, (0.05, 0.5, 0.95))].clip(max=len(METRES) - 1)]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):.2f} %"


def statistics(root: Path, split: str = "train", *, workers: int | None = None) -> Statistics:
    """Count the labels of all images of a list; files that are missing are left out, not counted as ignored.

    Args:
        root: PASCAL_MT or NYUD_MT, as they were handed out or prepared.
        split: the name of a list, or the path of any other.
        workers: processes; ``None`` takes one per processor.

    Raises:
        FileNotFoundError: there is no such folder, or no such list in it.
        ValueError: the list names no image.
        BrokenFileError: a file cannot be read; the message names it.
    """
    layout = layout_of(root)
    ids = list(dict.fromkeys(layout.read_split(root, split)))
    sizes, tasks = Counter(), {task: Counts() for task in layout.targets}
    for size, counts in parallel_map(partial(_count_image, layout, root), ids, workers=workers, title="count"):
        sizes[size] += 1
        for task, added in counts.items():
            tasks[task] += added
    return Statistics(f"{root}, list {split}", sizes, {task: counts for task, counts in tasks.items() if counts.images})


def _count_image(layout: Layout, root: Path, image_id: str) -> tuple[tuple[int, int], dict[str, Counts]]:
    tasks = [task for task in layout.targets if not layout.missing_files(root, image_id, task)]
    arrays = layout.read(root, image_id, (IMAGE, *tasks))
    return arrays[IMAGE].shape[:2], {task: count(arrays[task], TASKS[task].target) for task in tasks}
