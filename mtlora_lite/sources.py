"""What there is to predict: photos and videos, named one by one or by the folders that they lie in."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from mtlora_lite.videos import VIDEO_SUFFIXES, is_animation, is_video

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif")


@dataclass(frozen=True)
class Source:
    """A file to predict.

    Attributes:
        path: the file.
        folder: where in the output its picture goes: where it lies in the folder that was named.
        moving: whether it is a video or an animation.
    """

    path: Path
    folder: Path
    moving: bool


def find_sources(paths: Sequence[Path], out: Path) -> tuple[list[Source], list[str]]:
    """Return the files to predict, and a sentence for each folder without any.

    A file is taken whatever it is called, of a folder what has the suffix of a photo or a video, in it and in the
    folders below, in the order of people: 2 before 10. Hidden files and folders, links to folders and ``out`` are left
    out.
    """
    sources, problems = [], []
    for path in paths:
        found = list(_files(path, out)) if path.is_dir() else [path]
        if not found:
            kinds = ", ".join(suffix[1:] for suffix in (*PHOTO_SUFFIXES, *VIDEO_SUFFIXES))
            problems.append(f"There is no photo and no video in {path} or the folders in it ({kinds}).")
        for file in found:
            folder = file.relative_to(path).parent if path.is_dir() else Path()
            sources.append(Source(file, folder, is_video(file) or is_animation(file)))
    return sources, problems


def _files(folder: Path, out: Path) -> Iterator[Path]:
    """Photos and videos in a folder and below, in natural order; what is written before is not read again."""
    for path in sorted(folder.iterdir(), key=natural_key):
        if path.name.startswith(".") or path.resolve() == out.resolve():
            continue
        if path.is_dir():
            yield from () if path.is_symlink() else _files(path, out)  # links can lead in a circle
        elif path.suffix.lower() in (*PHOTO_SUFFIXES, *VIDEO_SUFFIXES):
            yield path


def natural_key(path: Path) -> list:
    """Sorts numbers in names by their value, and capitals like other letters."""
    pieces = re.split(r"([0-9]+)", path.name.casefold())
    return [(piece.isdigit(), int(piece) if piece.isdigit() else piece) for piece in pieces] + [path.name]


def targets_of(sources: Sequence[Source], out: Path) -> list[Path]:
    """A file for what is drawn of each: none for two of one name, and none that is itself one of the sources."""
    taken = {_identity(source.path) for source in sources}
    targets = []
    for source in sources:
        suffix = (".mp4" if is_video(source.path) else ".gif") if source.moving else ".png"
        names = (f"{source.path.stem}{extra}{suffix}" for extra in chain([""], (f"-{number}" for number in count(2))))
        folder = out / source.folder
        targets.append(next(folder / name for name in names if _identity(folder / name) not in taken))
        taken.add(_identity(targets[-1]))
    return targets


def _identity(path: Path) -> str:
    """The same for two paths of one file, also where capital letters make no difference."""
    return str(path.resolve()).casefold()
