"""What a layout is: where the files of a data set lie, which targets are read from them, and what is wrong with one.

``pascal_mt.py`` and ``nyud_mt.py`` each describe one; whatever looks at a data folder, to train, verify, count or
prepare, finds and reads its files through the ``Layout`` and nothing else. Arrays are numpy, channels last: the image
uint8 (H, W, 3), targets (H, W) or (H, W, 3) with the values of ``tasks.py``.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from mtlora_lite.printing import by

IMAGE = "image"


class BrokenFileError(RuntimeError):
    """A file of a data set that cannot be used; the message says which and why."""


def read_image(path: Path) -> np.ndarray:
    """Read an image as RGB uint8 (H, W, 3)."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@dataclass(frozen=True)
class Layout:
    """Where the files of a data set lie, and which targets are read from them.

    Attributes:
        name: of the layout, for messages.
        splits: the folder of the lists of image ids.
        files: a file -> where it may lie, in the order in which that is tried.
        targets: a task -> the files it is made of, and the function of their paths that gives its target.
        channels: outputs per pixel of the tasks for which they differ from ``tasks.py``.
    """

    name: str
    splits: str
    files: Mapping[str, tuple[str, ...]]
    targets: Mapping[str, tuple[tuple[str, ...], Callable[..., np.ndarray]]]
    channels: Mapping[str, int] = field(default_factory=dict)

    # ------------------------------------------------------------------------------------------------- where it lies

    def find_file(self, root: Path, file: str, image_id: str) -> Path | None:
        """Return the path of one of ``files`` for ``image_id``, or ``None`` where no such file exists."""
        for pattern in self.files[file]:
            path = Path(root) / pattern.format(id=image_id)
            for candidate in (path, path.with_suffix(path.suffix.upper())):
                if candidate.is_file():
                    return candidate
        return None

    def files_of(self, what: str) -> tuple[str, ...]:
        """Return the files that a task, or the image itself, is made of."""
        return self.targets[what][0] if what in self.targets else (what,)

    def missing_files(self, root: Path, image_id: str, what: str) -> list[str]:
        """Return those files of a task, or of the image itself, that ``image_id`` lacks."""
        return [file for file in self.files_of(what) if self.find_file(root, file, image_id) is None]

    def places(self, file: str, image_id: str = "<id>") -> str:
        """Return where a file may lie in the folder, for messages."""
        return " or ".join(pattern.format(id=image_id) for pattern in self.files[file])

    def what_is_missing(self, root: Path, image_id: str, what: str) -> str:
        """Return a sentence on the first of the ``missing_files``."""
        file = self.missing_files(root, image_id, what)[0]
        return f"{Path(root) / self.places(file, image_id)} is missing ({what} of {image_id})"

    # -------------------------------------------------------------------------------------------------------- lists

    def split_file(self, root: Path, split: str | Path) -> Path:
        """Return the list that ``split`` means: one of the folder by its name, otherwise any by its path.

        Raises:
            FileNotFoundError: if there is no such list; the message names the lists that exist.
        """
        folder = Path(root) / self.splits
        for path in (folder / f"{split}.txt", Path(split)):
            if path.is_file():
                return path
        known = ", ".join(sorted(file.stem for file in folder.glob("*.txt"))) or "none"
        raise FileNotFoundError(f"No split '{split}' in {folder} (splits there: {known}), and no list at that path.")

    def read_split(self, root: Path, split: str | Path) -> list[str]:
        """Return the image ids of a list as they stand there; blank lines, CRLF and a byte order mark are tolerated.

        Raises:
            FileNotFoundError: if there is no such list.
            ValueError: if it names no image.
        """
        path = self.split_file(root, split)
        ids = _read_list(path)
        if not ids:
            raise ValueError(f"The list {path} names no image: write ids into it, one a line.")
        return ids

    def lists(self, root: Path) -> dict[str, list[str]]:
        """Return all lists of a data folder, {name: ids}: train and val first, each id once, empty ones too.

        Raises:
            FileNotFoundError: if there is none.
        """
        paths = sorted((Path(root) / self.splits).glob("*.txt"))
        if not paths:
            raise FileNotFoundError(f"{root} holds no lists of images: no {self.splits}/*.txt.")
        paths.sort(key=lambda path: (path.stem != "train", path.stem != "val"))
        return {path.stem: list(dict.fromkeys(_read_list(path))) for path in paths}

    # ------------------------------------------------------------------------------------------------------ contents

    def read_target(self, root: Path, image_id: str, task: str) -> np.ndarray:
        """Read the target of one image: (H, W), or (H, W, 3) for normals, with the values described in ``tasks.py``."""
        files, read = self.targets[task]
        return read(*(self.find_file(root, file, image_id) for file in files))

    def read(
        self, root: Path, image_id: str, names: Iterable[str], shape: tuple[int, int] | None = None
    ) -> dict[str, np.ndarray]:
        """Read the image and targets of tasks.

        Args:
            root: the data folder.
            image_id: of which image.
            names: ``image``, which comes first if it is among them, and tasks.
            shape: height and width of the image, if they are known: a target of another size is broken.

        Raises:
            BrokenFileError: a file is missing or cannot be used.
        """
        arrays = {}
        for name in names:
            arrays[name] = self._read_one(root, image_id, name, shape)
            shape = arrays[name].shape[:2] if name == IMAGE else shape
        return arrays

    def _read_one(self, root: Path, image_id: str, name: str, shape: tuple[int, int] | None) -> np.ndarray:
        if self.missing_files(root, image_id, name):
            raise BrokenFileError(self.what_is_missing(root, image_id, name))
        try:
            if name == IMAGE:
                return read_image(self.find_file(root, IMAGE, image_id))
            target = self.read_target(root, image_id, name)
            if shape and target.shape[:2] != shape:
                raise ValueError(f"its size is {by(target.shape)}, that of the image {by(shape)}")
        except Exception as error:  # a damaged file makes PIL, scipy or numpy raise nearly anything
            paths = " or ".join(str(self.find_file(root, file, image_id)) for file in self.files_of(name))
            raise BrokenFileError(f"Cannot read {name} of {image_id} ({paths}): {error}") from error
        return target


def _read_list(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8-sig").split()


def all_ids(lists: Mapping[str, list[str]]) -> list[str]:
    """Return the images that any of some lists names, each once."""
    return list(dict.fromkeys(image_id for ids in lists.values() for image_id in ids))
