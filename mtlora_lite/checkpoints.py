"""Checkpoints of a training run: folders that hold all it takes to go on, written whole or not at all.

What one holds::

    checkpoints/step-00000123/
      weights.safetensors     what is trained, and buffers
      averaged.safetensors    their moving average, where there is one
      optimizer.safetensors
      random-<i>.safetensors  the random number generators of process i
      state.json              everything that is no tensor, the SHA-256 of each file, and one of itself

There is no pickle: reading a checkpoint runs nothing of it. The two newest are kept, so that one is left when the
newest turns out to be damaged.
"""

import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from mtlora_lite.disk import writing_to
from mtlora_lite.records import as_json

STATE_FILE = "state.json"
KEPT = 2
ROOM = "Make room there and go on with --resume, or train with another --out."
_NAME = re.compile(r"step-(\d{8,})")

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint.

    Attributes:
        folder: where it lies.
        state: what ``write`` was given.
    """

    folder: Path
    state: dict[str, Any]

    def has(self, name: str) -> bool:
        """Return whether there is a file of that name."""
        return (self.folder / name).is_file()

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Read the tensors of one of its files, to the CPU."""
        return load_file(self.folder / name)


def write(folder: Path, step: int, files: Mapping[str, Tensors], state: Mapping[str, Any]) -> Path:
    """Write a checkpoint and then remove those that are older than the two newest, or of later steps.

    Args:
        folder: of all checkpoints of the run.
        step: after which it is taken.
        files: tensors by file and name.
        state: anything that JSON can hold.

    Raises:
        OSError: it cannot be written; what was there is left as it was.
    """
    final = folder_of(folder, step)
    temporary = folder / f"{final.name}.tmp"
    with writing_to(folder, ROOM):
        _remove(temporary)  # of a run that was killed
        temporary.mkdir(parents=True)
        try:
            hashes = {name: _write(temporary / name, save(storable(tensors))) for name, tensors in files.items()}
            content = {"state": as_json(state), "files": hashes}
            record = content | {"sha256": _hash(_canonical(content))}
            _write(temporary / STATE_FILE, (json.dumps(record, indent=1) + "\n").encode())
            sync(temporary)
            _remove(final)  # one that was found damaged
            os.replace(temporary, final)
            sync(folder)
        finally:
            _remove(temporary)  # there only if writing failed
    there = steps(folder)
    kept = [number for number in there if number <= step][-KEPT:]
    for number in there:
        if number not in kept:
            _remove(folder_of(folder, number))
    return final


def folder_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"step-{step:08d}"


def steps(folder: Path) -> list[int]:
    """The steps of which there are checkpoints, ascending."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))


def newest(folder: Path) -> Checkpoint | None:
    """Return the newest complete checkpoint; a damaged one is named in a warning, and the one before it is taken.

    Raises:
        ValueError: there are checkpoints, and all of them are damaged.
    """
    damage = []
    for step in reversed(steps(folder)):
        try:
            return read(folder_of(folder, step))
        except ValueError as error:
            damage.append(str(error))
            if step != steps(folder)[0]:
                warnings.warn(f"{error} The checkpoint before it is taken.", stacklevel=2)
    if damage:
        raise ValueError(f"{damage[-1]} No other checkpoint is left: train anew with another --out.")
    return None


def read(folder: Path) -> Checkpoint:
    """Verify a checkpoint and return it; ``ValueError`` names the file that is missing or not as it was written."""
    path = folder / STATE_FILE
    try:
        record = json.loads(path.read_bytes())
        _check(record.pop("sha256") == _hash(_canonical(record)))
        for name, written in record["files"].items():
            path = folder / name
            with path.open("rb") as file:
                _check(hashlib.file_digest(file, "sha256").hexdigest() == written)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: it is not what was written.") from error
    return Checkpoint(folder, record["state"])


def _check(right: bool) -> None:
    if not right:
        raise ValueError


def storable(tensors: Tensors) -> dict[str, Tensor]:
    """Return tensors as safetensors writes them: on the CPU, in one piece, without a graph."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _write(path: Path, content: bytes) -> str:
    """Write a file through to the disk; returns its hash."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return _hash(content)


def sync(path: Path) -> None:
    """Have what was written to a file, or the names in a folder, reach the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows does that by itself, and does not open folders
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
