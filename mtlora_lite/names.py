"""What a wrong name or number is answered with: what was given, and what would be right."""

import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any


def check_known(kind: str, name: str | None, known: Iterable[str | None]) -> None:
    """Raise ``ValueError`` unless a name is one of those known, naming the nearest and all that exist."""
    if name not in known:
        names = [each for each in known if each is not None]
        raise ValueError(f"Unknown {kind} {name!r}.{did_you_mean(name, names)} There are: {', '.join(names)}.")


def check_numbers(options: Any, least: Mapping[str, int], positive: Iterable[str] = ()) -> None:
    """Raise ``ValueError`` for an option that is less than its least, or is to be a number above 0 and is none.

    One that is None, or that these options do not have, is passed over.
    """
    for name, bound in least.items():
        value = getattr(options, name, None)
        if value is not None and value < bound:
            raise ValueError(f"{name} is at least {bound}, not {value}.")
    for name in positive:
        if not 0 < getattr(options, name) < math.inf:
            raise ValueError(f"{name} is a number above 0, not {getattr(options, name)}.")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the nearest of ``known``, or nothing."""
    near = get_close_matches(str(word), list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
