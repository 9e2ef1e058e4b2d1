"""Room on a disk: how much there is, and one clear sentence when it was not enough."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mtlora_lite.printing import readable


def free(folder: Path) -> int:
    """Return the bytes that are free where ``folder`` is or will be."""
    while not folder.exists():
        folder = folder.absolute().parent
    return shutil.disk_usage(folder).free


@contextmanager
def writing_to(folder: Path, remedy: str) -> Iterator[None]:
    """Let what the operating system says against writing be an ``OSError`` that names the place and the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not from the operating system: it says what it has to say itself
            raise
        reason = f"{error.strerror}; {readable(free(folder))} are free there"
        raise OSError(f"Cannot write to {folder} ({reason}). {remedy}") from error
