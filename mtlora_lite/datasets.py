"""Data sets: PASCAL-Context and NYUD as they lie on disk, and the embedded scenes, which are written to be read alike.

A sample is a dict of the image, one entry per requested task and ``meta`` (id, size). Without a transform its values
are the arrays of ``pascal_mt.py``: image uint8 (H, W, 3), targets (H, W) or (H, W, 3). With one from ``transforms.py``
they are tensors in the shapes of ``tasks.py``.
"""

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch.utils.data import Dataset

from mtlora_lite import nyud_mt, pascal_mt, scenes
from mtlora_lite.layouts import IMAGE, BrokenFileError, Layout
from mtlora_lite.names import check_known
from mtlora_lite.parallel import parallel_map
from mtlora_lite.paths import cache_dir
from mtlora_lite.records import write_json
from mtlora_lite.tasks import IGNORE_INDEX, TASKS, check_tasks, task_channels

Sample = dict[str, Any]
ON_ERROR = ("raise", "skip")
READERS_VERSION = 1  # raise it when readers judge a file differently: what they found before is then forgotten


class FolderDataset(Dataset):
    """Images with their targets in a folder of a known layout: use a subclass, which says which.

    Only files of the requested tasks are touched, and nothing is ever written into the folder.

    Args:
        root: the folder.
        split: a list of image ids in the folder by its name, e.g. ``train``, or any other list by its path.
        tasks: the targets to read.
        transform: applied to every sample.
        on_error: ``raise`` takes an image without one of its targets as unlabelled there: it is ignored (255), and one
            warning counts such images. An image that is missing, a missing binary target (which has no value for
            "ignore") and a broken file are errors, the last one when it is read. ``skip`` leaves out every image of
            which any file is missing or broken, and one warning counts them.

    Attributes:
        ids: the images in use, in the order of the list, each once.
        name: of the data set, as ``build_metrics`` knows it.

    Raises:
        FileNotFoundError: if there is no such folder or list, or an image of the list is missing.
        ValueError: if the data set does not have a task, the folder has no file for one, or no image is usable.
    """

    name: ClassVar[str]
    layout: ClassVar[Layout]
    labelled_only: ClassVar[tuple[str, ...]] = ()  # training these tasks alone takes only images with labels

    def __init__(
        self,
        root: str | Path,
        split: str | Path,
        tasks: str | Iterable[str],
        transform: Callable[[Sample], Sample] | None = None,
        *,
        on_error: str = "raise",
    ) -> None:
        self.root, self.split, self.tasks, self.transform = Path(root), split, check_tasks(tasks), None
        check_known("on_error", on_error, ON_ERROR)
        if unknown := [task for task in self.tasks if task not in self.layout.targets]:
            known = ", ".join(self.layout.targets)
            raise ValueError(f"{type(self).__name__} has no {', '.join(unknown)}; its tasks: {known}.")
        if not self.root.is_dir():
            folder = Path(self.layout.files[IMAGE][0]).parent
            raise FileNotFoundError(f"There is no data folder {self.root}; give the one that holds {folder}/.")
        listed = self.layout.read_split(self.root, split)
        ids = list(dict.fromkeys(listed))  # an id that stands twice would count twice in every score
        self._missing = {(i, what) for i in ids for what in (IMAGE, *self.tasks) if self._lacks(i, what)}
        self._check_available(ids)
        self.ids, notes = self._select(ids, on_error)
        if len(ids) < len(listed):
            notes.append(f"{len(listed) - len(ids)} stand in the list once more, which does not count")
        about = f"{self.root}, split '{split}': of {len(ids)} images {', '.join(notes)}."
        if not self.ids:
            raise ValueError(f"No image is left to use. {about}")
        if notes:
            warnings.warn(about, stacklevel=2)
        self.transform = transform

    @property
    def channels(self) -> dict[str, int]:
        """Outputs per pixel of each task on this data set."""
        return task_channels(self.tasks, self.layout.channels)

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
            BrokenFileError: if a file cannot be read, or a label and the image differ in size; the message says what
                to do.
        """
        there = [name for name in (IMAGE, *self.tasks) if (image_id, name) not in self._missing]
        try:
            sample: Sample = self.layout.read(self.root, image_id, there)
        except BrokenFileError as error:
            raise BrokenFileError(f"{error}. {self._advice(image_id)}") from error
        shape = sample[IMAGE].shape[:2]  # (H, W)
        ignored = {task: _ignored(task, shape) for task in self.tasks if task not in sample}
        return {**sample, **ignored, "meta": {"id": image_id, "size": shape}}

    # -------------------------------------------------------------------------------------------- what is there

    def _lacks(self, image_id: str, what: str) -> bool:
        return bool(self.layout.missing_files(self.root, image_id, what))

    def _check_available(self, ids: list[str]) -> None:
        lacking = Counter(what for _, what in self._missing)
        if lacking[IMAGE] == len(ids):
            folder = self.root / Path(self.layout.files[IMAGE][0]).parent
            raise ValueError(f"None of the {len(ids)} images of split '{self.split}' is in {folder}.")
        absent = [task for task in self.tasks if lacking[task] == len(ids)]
        if absent:
            there = [task for task in self.layout.targets if not all(self._lacks(i, task) for i in ids)]
            raise ValueError(
                f"{self.root} ({self.layout.name}) has no files for {', '.join(absent)} in split "
                f"'{self.split}' (looked for {', '.join(map(self._places, absent))}). "
                f"Tasks there: {', '.join(there) or 'none'}."
            )

    def _places(self, task: str) -> str:
        return " or ".join(self.layout.places(file) for file in self.layout.files_of(task))

    def _advice(self, image_id: str) -> str:
        path = self.layout.split_file(self.root, self.split)
        return f"Restore the file, take {image_id} off {path}, or leave out such images with on_error='skip'."

    # -------------------------------------------------------------------------------------------- what is used of it

    def _select(self, ids: list[str], on_error: str) -> tuple[list[str], list[str]]:
        """The images to use, and what there is to say about others."""
        skip = on_error == "skip"
        needed = [what for what in (IMAGE, *self.tasks) if skip or what == IMAGE or TASKS[what].target == "binary"]
        lacking = [(i, what) for what in reversed(needed) for i in ids if (i, what) in self._missing]
        gone = {i: self.layout.what_is_missing(self.root, i, what) for i, what in lacking}
        if gone and not skip:
            first = next(i for i in ids if i in gone)
            others = f", and something of {len(gone) - 1} more images" if len(gone) > 1 else ""
            raise FileNotFoundError(f"{gone[first]}{others}. {self._advice(first)}")
        used = [i for i in ids if i not in gone]
        labelled_only = self.tasks == self.labelled_only and Path(self.split).stem.startswith("train")
        if skip or labelled_only:
            broken, unlabelled = self._inspect(used)
            gone |= broken if skip else {}  # otherwise they are met, and raised, when they are read
            used = [i for i in used if i not in gone and not (labelled_only and i in unlabelled)]
        if skip:
            return used, [f"{len(gone)} are left out ({_some(gone)})"] if gone else []
        lack = {task: [i for i in ids if (i, task) in self._missing] for task in self.tasks}
        return used, [f"{len(i)} lack {self._places(t)} (first: {i[0]}), ignored there" for t, i in lack.items() if i]

    def _inspect(self, ids: list[str]) -> tuple[dict[str, str], set[str]]:
        """What is wrong with broken images {id: message}, and the images on which every target is ignored.

        All files are read before the first is asked for: a sample replaced on the fly would count another one twice,
        one dropped on the fly would change the length that samplers and processes have agreed on. That takes minutes,
        so whatever was in order is remembered in the cache for as long as its files keep their size and time.
        """
        what = f"{READERS_VERSION} {self.root.resolve()} {self.layout.name} {self.tasks}"
        path = cache_dir() / "inspected" / f"{hashlib.sha256(what.encode()).hexdigest()[:16]}.json"
        known = json.loads(path.read_text()) if path.is_file() else {}
        stamps = {i: self._stamp(i) for i in ids}
        new = [i for i in ids if known.get(i, {}).get("stamp") != stamps[i]]
        results = parallel_map(self._verdict, new, title=f"read all of {self.split}") if new else ()
        verdicts = dict(zip(new, results, strict=True))
        if new:
            known |= {
                i: {"stamp": stamps[i], "ignored": ignored} for i, (error, ignored) in verdicts.items() if not error
            }
            path.parent.mkdir(exist_ok=True)
            write_json(path, known)
        broken = {i: error for i, (error, _) in verdicts.items() if error}
        return broken, {i for i in ids if i not in broken and known[i]["ignored"]}

    def _verdict(self, image_id: str) -> tuple[str, bool]:
        """What is wrong with an image, if anything, and whether every target is ignored on it."""
        try:
            sample = self.load(image_id)
        except BrokenFileError as error:
            return str(error).removesuffix(f". {self._advice(image_id)}"), False
        return "", all((sample[task] == IGNORE_INDEX).all() for task in self.tasks)

    def _stamp(self, image_id: str) -> list[list[Any]]:
        """What changes when a file of an image does."""
        files = dict.fromkeys(file for what in (IMAGE, *self.tasks) for file in self.layout.files_of(what))
        paths = [path for file in files if (path := self.layout.find_file(self.root, file, image_id))]
        return [[str(path.relative_to(self.root)), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


class PascalContext(FolderDataset):
    """PASCAL-Context in the PASCAL_MT layout (see ``pascal_mt.py``).

    Human parts alone, on a list whose name begins with ``train``, use only the images of persons with parts, as is
    usual: on the others the whole map is ignored, so they have nothing to teach. To find them all part files are read
    once.
    """

    name = "pascal"
    layout = pascal_mt.LAYOUT
    labelled_only = ("human_parts",)


class NYUD(FolderDataset):
    """NYUDv2 in either packaging of the NYUD_MT layout (see ``nyud_mt.py``); semantic segmentation has 40 classes."""

    name = "nyud"
    layout = nyud_mt.LAYOUT


def reader_of(root: str | Path) -> type[FolderDataset]:
    """Return the data set that a folder holds, which shows by where its lists are, or raise ``FileNotFoundError``."""
    if not Path(root).is_dir():
        raise FileNotFoundError(f"There is no data folder {root}; give the one that holds the data set.")
    readers = {reader.layout.splits: reader for reader in (PascalContext, NYUD)}
    for splits, reader in readers.items():
        if (Path(root) / splits).is_dir():
            return reader
    known = " nor ".join(f"{splits}/ ({reader.__name__})" for splits, reader in readers.items())
    raise FileNotFoundError(f"{root} is no data set that is known here: it holds neither {known}.")


def _ignored(task: str, shape: tuple[int, int]) -> np.ndarray:
    """A target that counts nowhere."""
    dtype = np.uint8 if TASKS[task].target == "classes" else np.float32
    return np.full((*shape, 3) if TASKS[task].target_channels == 3 else shape, IGNORE_INDEX, dtype)


def _some(reasons: dict[str, str], count: int = 3) -> str:
    return " | ".join(list(reasons.values())[:count]) + (" | ..." if len(reasons) > count else "")


# ------------------------------------------------------------------------------------------------ the embedded set

# The splits and their usual number of scenes. Each renders a world of its own, so no two share a scene.
SCENES = "scenes"  # what the embedded set is called where a folder could be named
SCENES_SPLITS: dict[str, int] = {"train": 1200, "val": 200, "test": 200}


class Scenes(FolderDataset):
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

    name = "scenes"
    layout = pascal_mt.LAYOUT

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


def write_pascal_mt(root: Path, splits: Mapping[str, int], size: int = 128) -> Path:
    """Write scenes of several splits into one folder in the PASCAL_MT layout, each split as a list; return the folder.

    Args:
        root: made if it does not exist.
        splits: {split of the scenes: how many}; ids begin with the split's name, as the splits count alike.
        size: of the scenes.
    """
    for split, count in splits.items():
        scenes = Scenes(split, size=size, count=count)
        for image_id in scenes.ids:
            for place, *_ in pascal_mt.FILES.values():
                target = root / place.format(id=f"{split}_{image_id}")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(scenes.root / place.format(id=image_id), target)
        pascal_mt.write_split(root, split, [f"{split}_{image_id}" for image_id in scenes.ids])
    return root


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
