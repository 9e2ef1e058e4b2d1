"""Packages that only some commands need, and the sentence for those who lack one."""

from importlib.util import find_spec


class MissingExtraError(ImportError):
    """A package is not installed that is needed for what was asked; the message says how to get it."""


def require(purpose: str, *names: str) -> None:
    """Raise ``MissingExtraError`` unless all packages ``names`` are there; ``purpose`` says what needs them."""
    if missing := [name for name in names if find_spec(name) is None]:
        verb = "is" if len(missing) == 1 else "are"
        raise MissingExtraError(
            f"{purpose} needs {', '.join(missing)}, which {verb} not installed: pip install {' '.join(missing)}"
        )
