"""What a wrong name is answered with: what was given, the nearest that exists, and all that exist."""

from collections.abc import Iterable
from difflib import get_close_matches


def check_known(kind: str, name: str | None, known: Iterable[str | None]) -> None:
    """Raise ``ValueError`` unless a name is one of those known, naming the nearest and all that exist."""
    if name not in known:
        names = [each for each in known if each is not None]
        raise ValueError(f"Unknown {kind} {name!r}.{did_you_mean(name, names)} There are: {', '.join(names)}.")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the nearest of ``known``, or nothing."""
    near = get_close_matches(str(word), list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
