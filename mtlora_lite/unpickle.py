"""Reading weights out of files that others wrote, without running anything that is in them.

A ``.pth`` file is a pickle, and a pickle is a program: it may import and call whatever it names. Training code puts
its configuration in there too, as an object of a package that is not installed here. So files are read by torch's
weights-only reader, which knows tensors and plain containers and calls nothing else, and every other class that the
file names is announced to it under a stand-in. Tensors come out whole, everything else as an empty shell.
"""

import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

WEIGHT_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
NESTED = ("model", "state_dict")  # where training code puts the weights, beside optimizer, epoch and configuration
_LEGACY_PICKLES = 4  # before torch 1.6 a file was magic number, version, system and content, one pickle after another


class _Container:
    """Stands in for a class: what it would have made is a dict, the one thing torch's reader lets a file fill."""

    def __new__(cls, *_: Any) -> OrderedDict:
        return OrderedDict()


class _Opaque:
    """Stands in for what numpy pickles its scalars with: takes any arguments and any state, and keeps neither."""

    def __new__(cls, *_: Any) -> "_Opaque":
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        pass


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the named tensors of a ``.safetensors`` file or of anything that ``torch.save`` wrote.

    Nothing in the file is executed, and none of the packages it was written with is needed. Both formats of
    ``torch.save`` are read, the present one (zip) and that from before torch 1.6. Tensors come to the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged or cut off, or holds no tensors by name.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    return find_state_dict(_read(path), str(path))


def find_state_dict(content: Any, source: str) -> dict[str, Tensor]:
    """The named tensors in what a file holds: bare, or under ``model`` or ``state_dict``; else ``ValueError``."""
    nested = [content[key] for key in NESTED if key in content] if isinstance(content, Mapping) else []
    for candidate in (*nested, content):
        if isinstance(candidate, Mapping) and candidate and all(isinstance(v, Tensor) for v in candidate.values()):
            return dict(candidate)
    raise ValueError(
        f"{source} holds no weights: a checkpoint is a dict of tensors, bare or under {' or '.join(map(repr, NESTED))}."
    )


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        stand_ins = [(_Opaque if name.startswith("numpy.") else _Container, name) for name in _named_classes(path)]
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # broken bytes end in a dozen kinds of error
        raise ValueError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}): it is cut off, damaged, holds something "
            "other than weights, or tries to run code; download it again from a source you trust."
        ) from error


def _named_classes(path: Path) -> set[str]:
    """The dotted names of everything that the pickle wants to import."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return {name for _ in range(_LEGACY_PICKLES) for name in _imports(file)}
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        return {name for entry in pickles for name in _imports(archive.open(entry))}


def _imports(stream: IO[bytes]) -> Iterator[str]:
    """The names in one pickle, read as data."""
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name == "GLOBAL":
            yield argument.replace(" ", ".")
