"""Files that a run leaves: written whole or not at all, in JSON as the standard has it."""

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a file beside ``path``, then rename it: no reader and no crash ever meets half a file."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # of its own for every process
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)  # there only if writing failed


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write readable JSON, whole or not at all."""
    text = json.dumps(as_json(content), indent=1) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text))


def append_json(path: Path, record: Mapping[str, Any]) -> None:
    """Add a line to a file of JSON lines."""
    with path.open("a") as file:
        file.write(json.dumps(as_json(record)) + "\n")


def as_json(content: Any) -> Any:
    """What reading it back from JSON gives: lists, paths as text, and None for what is not a finite number."""
    if isinstance(content, Mapping):
        return {key: as_json(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [as_json(value) for value in content]
    if isinstance(content, float):
        return float(content) if math.isfinite(content) else None
    return content if isinstance(content, (str, int, NoneType)) else str(content)
