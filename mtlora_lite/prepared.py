"""A data set prepared for training: what is slow to decode is decoded once, and kept in a form that is quick to read.

One safetensors file per image holds the photo and the targets of all tasks, each in the shortest exact form that is
read at the speed of memory:

=================================  ==========================================================================
entry                              what it is
=================================  ==========================================================================
``image``                          RGB uint8 (H, W, 3) as decoded: a JPEG written again would not be the same
``<task>.deflated``                8-bit ids (H, W), deflated: regions and lines shrink to a hundredth
``<task>.values, <task>.index``    the distinct numbers or directions that occur, and which of them each pixel has
``<task>``                         the target as it is, where neither would be shorter
=================================  ==========================================================================

Normals are the reason for the third row. They come as three 8-bit levels, but as floats they are 12 bytes a pixel,
and to compute them from the levels takes longer than all the rest. An image has far fewer distinct ones than pixels,
so two bytes a pixel point into a table of floats, and looking them up is exact whatever file they came from. Depth
in millimetres is alike. Several files rather than one: each appears complete or not at all, so work that was
interrupted goes on, and any number of processes write and read.
"""

import json
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from mtlora_lite import datasets
from mtlora_lite.datasets import NYUD, ON_ERROR, FolderDataset, PascalContext
from mtlora_lite.disk import free, writing_to
from mtlora_lite.layouts import IMAGE, BrokenFileError, Layout, all_ids
from mtlora_lite.names import check_known
from mtlora_lite.parallel import parallel_map
from mtlora_lite.paths import command
from mtlora_lite.printing import readable
from mtlora_lite.records import write_atomically, write_json

INDEX = "prepared.json"
LISTS, FILE = "lists", "samples/{id}.safetensors"
VERSION = 1  # of the index and the files
TRIED = 8  # images that are read beforehand, to say how large all will be


def pack(name: str, array: np.ndarray) -> dict[str, np.ndarray]:
    """Return an array (H, W) or (H, W, C) as entries of a file, from which ``unpack`` gets exactly it back."""
    array = np.ascontiguousarray(array)  # safetensors writes memory as it lies, and .mat files give columns first
    if array.dtype == np.uint8:
        if array.ndim == 3:
            return {name: array}
        return {f"{name}.deflated": np.frombuffer(zlib.compress(array.tobytes()), np.uint8)}
    values, index = _distinct(array)
    if values.nbytes + index.nbytes < array.nbytes:
        return {f"{name}.values": values, f"{name}.index": index}
    return {name: array}


def unpack(name: str, entries: Mapping[str, np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Return the array that was packed under a name; ``shape`` is that of the image."""
    if f"{name}.deflated" in entries:
        return np.frombuffer(zlib.decompress(entries[f"{name}.deflated"]), np.uint8).reshape(shape)
    if f"{name}.index" in entries:
        return entries[f"{name}.values"].take(entries[f"{name}.index"], axis=0)  # (H, W) or (H, W, C)
    return entries[name]


def _distinct(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct pixels (N,) or (N, C) of an array, and for each pixel its number (H, W) in as few bytes as will do.

    Pixels are told apart by their bytes: what is equal as a number, like 0 and -0, need not be the same.
    """
    pixels = array.reshape(*array.shape[:2], -1)  # (H, W, C)
    as_bytes = pixels.view(f"V{pixels.shape[2] * pixels.itemsize}")[..., 0]  # (H, W)
    distinct, index = np.unique(as_bytes, return_inverse=True)
    values = distinct.view(array.dtype).reshape(-1, *array.shape[2:])
    return values, index.reshape(array.shape[:2]).astype(np.min_scalar_type(len(values) - 1))


# --------------------------------------------------------------------------------------------------------- preparing


@dataclass(frozen=True)
class Plan:
    """What there is to prepare.

    Attributes:
        layout: of the data folder.
        root: the data folder as it was handed out.
        out: the folder for the prepared one.
        lists: the ids that each list names.
        todo: the images that ``out`` lacks: all of them, unless an earlier run was interrupted.
        size: the bytes that these will take, estimated from a few of them.
    """

    layout: Layout
    root: Path
    out: Path
    lists: dict[str, list[str]]
    todo: list[str]
    size: int


def plan(root: Path, out: Path) -> Plan:
    """Find out what there is to prepare and how much room it will take; nothing is written.

    Args:
        root: PASCAL_MT or NYUD_MT.
        out: a new folder, or one whose preparing was interrupted, which then goes on.

    Raises:
        FileNotFoundError: there is no such data folder, or it has no lists.
        FileExistsError: ``out`` holds something else.
        ValueError: ``root`` is a prepared folder, or its lists name no image.
        OSError: there is less room than it takes.
    """
    if is_prepared(root):
        raise ValueError(f"{root} is a prepared folder: prepare what it was made from, {read_index(root)['source']}.")
    layout = datasets.reader_of(root).layout
    lists = layout.lists(root)
    if not all_ids(lists):
        raise ValueError(f"No list of {root / layout.splits} names an image.")
    _check_out(root, out)
    todo = [image_id for image_id in all_ids(lists) if not _file(out, image_id).is_file()]
    size = round(_size_of_one(layout, root, todo[:: max(1, len(todo) // TRIED)]) * len(todo))
    if size > (room := free(out)):
        raise OSError(f"This takes about {readable(size)}, and {out} has room for {readable(room)}: name another disk.")
    return Plan(layout, root, out, lists, todo, size)


def prepare(plan: Plan, *, on_error: str = "raise", workers: int | None = None) -> list[str]:
    """Write the prepared folder. What was written stays when this is interrupted; another run goes on from there.

    Args:
        plan: what to write.
        on_error: what to do about images that cannot be read, after all others: ``raise``, or ``skip`` them.
        workers: processes; ``None`` takes one per processor.

    Returns:
        A line for each image that was left out.

    Raises:
        BrokenFileError: images cannot be read; the message names the first and says how many there are.
        ValueError: there is no such ``on_error``.
        OSError: the disk is full, or cannot be written.
    """
    check_known("on_error", on_error, ON_ERROR)
    index = {"version": VERSION, "source": str(plan.root.resolve()), "layout": plan.layout.name}
    with writing_to(plan.out, "What is done is kept: make room and run this again."):
        for folder in (LISTS, Path(FILE).parent):
            (plan.out / folder).mkdir(parents=True, exist_ok=True)
        write_json(plan.out / INDEX, index | {"complete": False})
        work = partial(_prepare_image, plan.layout, plan.root, plan.out)
        problems = parallel_map(work, plan.todo, workers=workers, title="prepare")
        broken = {i: problem for i, problem in zip(plan.todo, problems, strict=True) if problem}
        if broken and on_error == "raise":
            first = next(iter(broken.values()))
            raise BrokenFileError(
                f"{len(broken)} of {len(plan.todo)} images are broken, beginning with this: {first}. "
                "All others are prepared. Restore these files and run this again, or go without: --on-error skip."
            )
        for name, ids in plan.lists.items():
            lines = "".join(f"{image_id}\n" for image_id in ids if image_id not in broken)
            (plan.out / LISTS / f"{name}.txt").write_text(lines)
        images = [image_id for image_id in all_ids(plan.lists) if image_id not in broken]
        write_json(plan.out / INDEX, index | {"targets": _targets(plan.out, images), "complete": True})
    return list(broken.values())


def _check_out(root: Path, out: Path) -> None:
    if (out / INDEX).is_file():
        source = json.loads((out / INDEX).read_text())["source"]
        if source != str(root.resolve()):
            raise FileExistsError(f"{out} was prepared from {source}, not from {root}: name a new folder.")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is there already and not empty: name a new folder.")


def _file(out: Path, image_id: str) -> Path:
    return out / FILE.format(id=image_id)


def _prepare_image(layout: Layout, root: Path, out: Path, image_id: str) -> str:
    """Write the file of one image; returns why it cannot be made."""
    try:
        data = pack_image(layout, root, image_id)
    except BrokenFileError as error:
        return str(error)
    write_atomically(_file(out, image_id), lambda path: path.write_bytes(data))
    return ""


def pack_image(layout: Layout, root: Path, image_id: str) -> bytes:
    """Return the file of one image: its photo, and the targets of all tasks whose files are there."""
    tasks = [task for task in layout.targets if not layout.missing_files(root, image_id, task)]
    arrays = layout.read(root, image_id, (IMAGE, *tasks))
    entries = {key: array for name in arrays for key, array in pack(name, arrays[name]).items()}
    return save(entries, {"tasks": json.dumps(tasks)})


def _size_of_one(layout: Layout, root: Path, few: Iterable[str]) -> float:
    """The mean size of a few images' files, broken ones aside."""
    sizes = []
    for image_id in few:
        with suppress(BrokenFileError):
            sizes.append(len(pack_image(layout, root, image_id)))
    return sum(sizes) / max(1, len(sizes))


def _targets(out: Path, images: Iterable[str]) -> dict[str, list[str]]:
    """The images that have a target, by task, from the files, some of which an earlier run may have written."""
    there: dict[str, list[str]] = {}
    for image_id in images:
        with safe_open(_file(out, image_id), "np") as file:
            for task in json.loads(file.metadata()["tasks"]):
                there.setdefault(task, []).append(image_id)
    return there


# ----------------------------------------------------------------------------------------------------------- reading


def is_prepared(root: str | Path) -> bool:
    """Return whether a folder is one that ``prepare`` wrote."""
    return (Path(root) / INDEX).is_file()


def reader_of(root: str | Path) -> type[FolderDataset]:
    """Return the data set that a folder holds, prepared or as it was handed out, or raise ``FileNotFoundError``."""
    return Prepared if is_prepared(root) else datasets.reader_of(root)


@dataclass(frozen=True)
class PreparedLayout(Layout):
    """The layout of a prepared folder, in which one file is everything of an image.

    Attributes:
        images: the images that have a target, by task.
    """

    images: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def missing_files(self, root: Path, image_id: str, what: str) -> list[str]:
        """Return the task, as what is missing in the file, if ``image_id`` lacks its target."""
        if what in self.targets:
            return [] if image_id in self.images[what] else [what]
        return super().missing_files(root, image_id, what)

    def read_target(self, root: Path, image_id: str, task: str) -> np.ndarray:
        """Read the target of one image, as the original's layout would."""
        return self.read(root, image_id, [task])[task]

    def read(
        self, root: Path, image_id: str, names: Iterable[str], _: tuple[int, int] | None = None
    ) -> dict[str, np.ndarray]:
        """Read the image and targets of tasks; sizes were compared when they were written."""
        path = _file(root, image_id)
        try:
            with safe_open(path, "np") as file:
                shape = tuple(file.get_slice(IMAGE).get_shape()[:2])  # (H, W)
                keys = file.keys()
                return {name: unpack(name, _entries(file, keys, name), shape) for name in names}
        except Exception as error:  # a damaged file makes safetensors and zlib raise what they like
            raise BrokenFileError(f"Cannot read {image_id} ({path}): {error}") from error


def _entries(file: Any, keys: Iterable[str], name: str) -> dict[str, np.ndarray]:
    return {key: file.get_tensor(key) for key in keys if key.partition(".")[0] == name}


class Prepared(FolderDataset):
    """A prepared data set: bit for bit the samples that the reader of the original gives, sooner.

    Arguments and rules are those of the original's reader.

    Raises:
        FileNotFoundError: also if the folder is not prepared.
        ValueError: also if preparing it was interrupted.
    """

    def __init__(self, root: str | Path, *args: Any, **kwargs: Any) -> None:
        index = read_index(Path(root))
        original = _original(index)
        self.source = index["source"]
        self.name, self.labelled_only = original.name, original.labelled_only
        self.layout = _layout(index)
        super().__init__(root, *args, **kwargs)

    def _advice(self, image_id: str) -> str:
        return f"Delete the file and restore it with: {command()} data prepare {self.source} --out {self.root}"


def layout_of(root: str | Path) -> Layout:
    """Return the layout of a data folder, prepared or as it was handed out, or raise ``FileNotFoundError``."""
    root = Path(root)
    return _layout(read_index(root)) if is_prepared(root) else datasets.reader_of(root).layout


def _original(index: Mapping[str, Any]) -> type[FolderDataset]:
    return {reader.layout.name: reader for reader in (PascalContext, NYUD)}[index["layout"]]


def _layout(index: Mapping[str, Any]) -> PreparedLayout:
    original = _original(index).layout
    files = {IMAGE: (FILE,)} | {task: (f"{FILE}:{task}",) for task in original.targets}
    targets = {task: ((task,), read) for task, (_, read) in original.targets.items()}
    there = {task: frozenset(index["targets"].get(task, ())) for task in original.targets}
    return PreparedLayout(f"prepared {original.name}", LISTS, files, targets, original.channels, there)


def read_index(root: Path) -> dict[str, Any]:
    """Return what the index of a prepared folder says.

    Raises:
        FileNotFoundError: it is not a prepared folder.
        ValueError: its preparing was interrupted, or another version of this package wrote it.
    """
    if not is_prepared(root):
        raise FileNotFoundError(f"{root} is not a prepared data folder: it has no {INDEX}.")
    index = json.loads((root / INDEX).read_text())
    again = f"{command()} data prepare {index['source']} --out"
    if index["version"] != VERSION:
        raise ValueError(f"{root} was prepared by another version of this package: {again} ANOTHER_FOLDER")
    if not index["complete"]:
        raise ValueError(f"{root} is not complete, preparing it was interrupted; this goes on with it: {again} {root}")
    return index
