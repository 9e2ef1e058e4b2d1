"""Where things live: the files that come with the package, the folder for what it makes, and its command line."""

import os
import shutil
import sys
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent if (_PACKAGE.parent / "pyproject.toml").is_file() else None


def data_dir() -> Path:
    """Return the folder of the committed files: ``data/`` of a checkout, ``_data/`` inside an installed package."""
    return _CHECKOUT / "data" if _CHECKOUT else _PACKAGE / "_data"


def cache_dir() -> Path:
    """Return the folder, created if need be, for rendered scenes and downloads.

    It is ``$MTLORA_CACHE`` where that is set, ``data/cache`` in a checkout, and the user's own cache folder otherwise.
    """
    if configured := os.environ.get("MTLORA_CACHE"):
        folder = Path(configured).expanduser()
    elif _CHECKOUT:
        folder = _CHECKOUT / "data" / "cache"
    else:
        from platformdirs import user_cache_path

        folder = user_cache_path("mtlora_lite", appauthor=False)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def command() -> str:
    """Return how this package's command line is called from here, for messages that say what to type next."""
    installed = shutil.which("mtlora", path=Path(sys.executable).parent)
    if not installed:
        return "python -m mtlora_lite"
    if installed == shutil.which("mtlora"):
        return "mtlora"
    here = Path.cwd()
    return str(Path(installed).relative_to(here)) if Path(installed).is_relative_to(here) else installed
