"""Data sets: PASCAL-Context as it lies on disk, and the embedded scenes, which are written to disk to be read alike.

A sample is a dict of the image, one entry per requested task and ``meta`` (id, size). Without a transform its values
are the arrays of ``pascal_mt.py``: image uint8 (H, W, 3), targets (H, W) or (H, W, 3). With one from ``transforms.py``
they are tensors in the shapes of ``tasks.py``.
"""

import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from mtlora_lite import pascal_mt, scenes
from mtlora_lite.parallel import parallel_map
from mtlora_lite.paths import cache_dir
from mtlora_lite.tasks import IGNORE_INDEX, TASKS, check_tasks

Sample = dict[str, Any]


class BrokenFileError(RuntimeError):
    """A file of a data set that exists and cannot be used; the message says which, why, and what to do."""


class PascalContext(Dataset):
    """PASCAL-Context in the PASCAL_MT layout (see ``pascal_mt.py``).

    Only files of the requested tasks are touched. Where an image lacks a task's files, that task is ignored on it
    (255); an image that lacks a binary target, which cannot say "ignore", is left out. One warning counts both.

    Attributes:
        ids: the images, in the order of the split.

    Raises:
        FileNotFoundError: if there is no such folder or split; the message names what there is.
        ValueError: if a task has no files at all (the message names the tasks that have), or no image is usable.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        tasks: str | Iterable[str],
        transform: Callable[[Sample], Sample] | None = None,
    ) -> None:
        self.root, self.split, self.tasks, self.transform = Path(root), split, check_tasks(tasks), transform
        if not self.root.is_dir():
            raise FileNotFoundError(f"There is no data folder {self.root}; give the one that holds JPEGImages/.")
        ids = pascal_mt.read_split(self.root, split)
        self._missing = {(i, task) for i in ids for task in self.tasks if pascal_mt.missing_files(self.root, i, task)}
        self._check_available(ids)
        self.ids = [image_id for image_id in ids if not self._left_out(image_id)]
        if not self.ids:
            raise ValueError(f"No image is left to use. {self._what_is_missing(ids)}")
        if self._missing or len(self.ids) < len(ids):
            warnings.warn(self._what_is_missing(ids), stacklevel=2)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Return one sample."""
        sample = self.load(self.ids[index])
        return self.transform(sample) if self.transform else sample

    def load(self, image_id: str) -> Sample:
        """Read one sample as arrays.

        Raises:
            BrokenFileError: if a file cannot be read, or a label and the image differ in size.
        """
        image = self._guarded("image", image_id, lambda: pascal_mt.read_image(self._image_path(image_id)))
        shape = image.shape[:2]  # (H, W)
        targets = {task: self._load_target(image_id, task, shape) for task in self.tasks}
        return {"image": image, **targets, "meta": {"id": image_id, "size": shape}}

    def _load_target(self, image_id: str, task: str, shape: tuple[int, int]) -> np.ndarray:
        if (image_id, task) in self._missing:
            return _ignored(task, shape)

        def read() -> np.ndarray:
            target = pascal_mt.read_target(self.root, image_id, task)
            if target.shape[:2] != shape:
                raise ValueError(f"its size is {_by(target.shape)}, that of the image {_by(shape)}")
            return target

        return self._guarded(task, image_id, read)

    def _guarded(self, what: str, image_id: str, read: Callable[[], np.ndarray]) -> np.ndarray:
        """Read; whatever a decoder raises becomes one error that names the file."""
        try:
            return read()
        except Exception as error:  # a damaged file makes PIL, scipy or numpy raise nearly anything
            files = pascal_mt.TARGETS[what][0] if what in TASKS else (what,)
            paths = " or ".join(str(pascal_mt.find_file(self.root, file, image_id)) for file in files)
            raise BrokenFileError(
                f"Cannot read {what} of {image_id} ({paths}): {error}. Restore the file, or remove {image_id} from "
                f"{self.root / pascal_mt.SPLITS / self.split}.txt."
            ) from error

    # -------------------------------------------------------------------------------------------- what is there

    def _image_path(self, image_id: str) -> Path | None:
        return pascal_mt.find_file(self.root, "image", image_id)

    def _left_out(self, image_id: str) -> bool:
        """No image, or no target of a kind that cannot be ignored."""
        binary = (task for task in self.tasks if TASKS[task].target == "binary")
        return self._image_path(image_id) is None or any((image_id, task) in self._missing for task in binary)

    def _check_available(self, ids: list[str]) -> None:
        if not any(self._image_path(image_id) for image_id in ids):
            raise ValueError(f"None of the {len(ids)} images of split {self.split!r} is in {self.root / 'JPEGImages'}.")
        lacking = Counter(task for _, task in self._missing)
        absent = [task for task in self.tasks if lacking[task] == len(ids)]
        if absent:
            there = [t for t in pascal_mt.TARGETS if any(not pascal_mt.missing_files(self.root, i, t) for i in ids)]
            raise ValueError(
                f"{self.root} has no files for {', '.join(absent)} in split {self.split!r} (looked for "
                f"{', '.join(_patterns(absent))}). Tasks there: {', '.join(there) or 'none'}."
            )

    def _what_is_missing(self, ids: list[str]) -> str:
        lacking = Counter(task for _, task in self._missing)
        counts = [f"{lacking[task]} lack {' or '.join(_patterns([task]))}" for task in self.tasks if lacking[task]]
        if no_image := sum(self._image_path(image_id) is None for image_id in ids):
            counts.insert(0, f"{no_image} lack JPEGImages/<id>.jpg")
        left_out = len(ids) - len(self.ids)
        return (
            f"{self.root}, split {self.split!r}: of {len(ids)} images {', '.join(counts)}. Missing targets are ignored"
            + (f"; {left_out} images without photo or binary target are left out." if left_out else ".")
        )


def _patterns(tasks: Iterable[str]) -> list[str]:
    """Where the files of some tasks lie, for messages."""
    files = dict.fromkeys(file for task in tasks for file in pascal_mt.TARGETS[task][0])
    return [pascal_mt.FILES[file][0].format(id="<id>") for file in files]


def _ignored(task: str, shape: tuple[int, int]) -> np.ndarray:
    """A target that counts nowhere."""
    dtype = np.uint8 if TASKS[task].target == "classes" else np.float32
    return np.full((*shape, 3) if TASKS[task].target_channels == 3 else shape, IGNORE_INDEX, dtype)


def _by(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"


# ------------------------------------------------------------------------------------------------ the embedded set

# The splits and their usual number of scenes. Each renders a world of its own, so no two share a scene.
SCENES_SPLITS: dict[str, int] = {"train": 1200, "val": 200, "test": 200}


class Scenes(PascalContext):
    """The embedded data set: rendered when first asked for, written in the PASCAL_MT layout, and read from there.

    Scene ``index`` of a split is always the same, so asking for more scenes later renders only those that are new.

    Args:
        split: train, val or test.
        tasks: what to read; all six are rendered.
        size: of the scenes: one side, or height and width.
        count: number of scenes; ``None`` takes the split's usual number.
        seed: another seed gives other scenes, again with no scene in two splits.
        transform: applied to every sample.
        root: folder for the files; ``None`` takes the cache.
        cached: keep decoded samples in memory (0.4 MB each at 128 pixels), which makes later epochs quick.
    """

    def __init__(
        self,
        split: str,
        tasks: str | Iterable[str] = tuple(TASKS),
        *,
        size: int | tuple[int, int] = 128,
        count: int | None = None,
        seed: int = 0,
        transform: Callable[[Sample], Sample] | None = None,
        root: str | Path | None = None,
        cached: bool = True,
    ) -> None:
        if split not in SCENES_SPLITS:
            raise ValueError(f"No split {split!r} of the scenes; choose one of {', '.join(SCENES_SPLITS)}.")
        count = SCENES_SPLITS[split] if count is None else count
        if count < 1:
            raise ValueError(f"The number of scenes must be at least 1, not {count}.")
        height, width = (size, size) if isinstance(size, int) else size
        folder = Path(root) if root else cache_dir() / "scenes"
        folder = folder / f"v{scenes.VERSION}-{height}x{width}-seed{seed}-{split}"
        ensure_scenes(folder, split, world_of(split, seed), (height, width), count)
        super().__init__(folder, split, tasks, transform)
        self.ids = self.ids[:count]
        self._samples: dict[str, Sample] | None = {} if cached else None

    def load(self, image_id: str) -> Sample:
        """Read one sample as arrays, from memory where it was read before."""
        if self._samples is None:
            return super().load(image_id)
        if image_id not in self._samples:
            self._samples[image_id] = super().load(image_id)
            for value in self._samples[image_id].values():
                if isinstance(value, np.ndarray):
                    value.setflags(write=False)  # a change in place would change all later epochs
        return dict(self._samples[image_id])


def world_of(split: str, seed: int = 0) -> int:
    """Return the world that a split shows (``seed`` of ``render_scene``): each split of each seed has its own."""
    return seed * len(SCENES_SPLITS) + list(SCENES_SPLITS).index(split)


def ensure_scenes(root: Path, split: str, world: int, size: tuple[int, int], count: int) -> None:
    """Render and write the scenes that ``root`` lacks for its split to have at least ``count``.

    Files appear complete or not at all, and the list of the split is written last: a run that was stopped leaves
    nothing half done, and two at once do each other no harm, for they write the same bytes.
    """
    there = len(pascal_mt.read_split(root, split)) if _has_split(root, split) else 0
    if there >= count:
        return
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix="rendering-") as folder:
        render = partial(write_scene, Path(folder), world, size)
        for _ in parallel_map(render, range(there, count), title=f"render scenes ({split})"):
            pass
        pascal_mt.write_split(Path(folder), split, [_scene_id(index) for index in range(count)])
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        for path in sorted(files, key=lambda path: path.suffix == ".txt"):  # the list last
            target = root / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)


def _has_split(root: Path, split: str) -> bool:
    return (root / pascal_mt.SPLITS / f"{split}.txt").is_file()


def _scene_id(index: int) -> str:
    return f"{index:06d}"


def write_scene(folder: Path, world: int, size: tuple[int, int], index: int) -> str:
    """Render one scene, write it in the PASCAL_MT layout, and return its id."""
    pascal_mt.write_sample(folder, _scene_id(index), scenes.render_scene(world, index, size))
    return _scene_id(index)
