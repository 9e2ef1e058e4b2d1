"""What verifying, preparing and counting have in common: a data folder of any layout, its lists, one file at a time."""

from pathlib import Path

import numpy as np

from mtlora_lite import nyud_mt, pascal_mt
from mtlora_lite.datasets import BrokenFileError
from mtlora_lite.pascal_mt import Layout, read_image

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (pascal_mt.LAYOUT, nyud_mt.LAYOUT)}


def layout_of(root: Path) -> Layout:
    """Return the layout of a data folder.

    Raises:
        FileNotFoundError: there is no such folder, or no lists of images in it; the message says what is looked for.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"There is no data folder {root}.")
    for layout in LAYOUTS.values():
        if any((root / layout.splits).glob("*.txt")):
            return layout
    wanted = " and no ".join(f"{layout.splits}/*.txt ({name})" for name, layout in LAYOUTS.items())
    raise FileNotFoundError(f"{root} holds no lists of images: no {wanted}.")


def read_lists(layout: Layout, root: Path) -> dict[str, list[str]]:
    """Return all lists of images of a data folder, {name: ids}: train and val first; each id once."""
    names = sorted(path.stem for path in (root / layout.splits).glob("*.txt"))
    names.sort(key=lambda name: (name != "train", name != "val"))
    return {name: list(dict.fromkeys(layout.read_split(root, name))) for name in names}


def all_ids(lists: dict[str, list[str]]) -> list[str]:
    """Return the images that any of the lists names, each once."""
    return list(dict.fromkeys(image_id for ids in lists.values() for image_id in ids))


def read_photo(layout: Layout, root: Path, image_id: str) -> np.ndarray:
    """Read the photo of an image, uint8 (H, W, 3); ``BrokenFileError`` says why that cannot be done."""
    path = layout.find_file(root, "image", image_id)
    if path is None:
        raise BrokenFileError(f"{root / layout.places('image', image_id)}: it is missing")
    try:
        return read_image(path)
    except Exception as error:  # a damaged file makes a decoder raise nearly anything
        raise BrokenFileError(f"{path}: {error}") from error


def read_target(layout: Layout, root: Path, image_id: str, task: str, shape: tuple[int, int] | None) -> np.ndarray:
    """Read the target of a task whose files are there, (H, W) or (H, W, 3).

    Raises:
        BrokenFileError: it cannot be read, or its size is not the photo's ``shape`` (if that is known).
    """
    try:
        target = layout.read_target(root, image_id, task)
        if shape and target.shape[:2] != shape:
            raise ValueError(f"its size is {by(target.shape)}, that of the photo {by(shape)}")
    except Exception as error:  # as above
        paths = ", ".join(str(layout.find_file(root, file, image_id)) for file in layout.files_of(task))
        raise BrokenFileError(f"{paths}: {error}") from error
    return target


def read_targets(layout: Layout, root: Path, image_id: str, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Read the targets of all tasks whose files are there for an image; raises as ``read_target`` does."""
    there = [task for task in layout.targets if not layout.missing_files(root, image_id, task)]
    return {task: read_target(layout, root, image_id, task, shape) for task in there}


def by(shape: tuple[int, ...]) -> str:
    """Return the size of an array (H, W, ...) as people write it: width x height."""
    return f"{shape[1]} x {shape[0]}"


def aligned(rows: list[list[str]]) -> list[str]:
    """Return rows of cells as lines: first and last column flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *cells, last in rows:
        middle = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths[1:-1], strict=True))
        lines.append(f"{first:{widths[0]}}  {middle}  {last}".rstrip())
    return lines
