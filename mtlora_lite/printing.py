"""How sizes and tables are written for people, and where nothing is."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

_quiet = ContextVar("quiet", default=False)


@contextmanager
def quietly() -> Iterator[None]:
    """Let training, evaluation and rendering show no bars and say nothing, in this thread and for as long as it lasts.

    For whoever shows in another way how far they are.
    """
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def is_quiet() -> bool:
    """Return whether this thread is to show nothing."""
    return _quiet.get()


def by(shape: tuple[int, ...]) -> str:
    """Return the size of an array (H, W, ...) as people write it: width x height."""
    return f"{shape[1]} x {shape[0]}"


def readable(size: float) -> str:
    """Return a number of bytes as people say it: 734.2 MB."""
    units = iter(("kB", "MB", "GB", "TB"))
    unit = "bytes"
    while size >= 1000 and unit != "TB":
        size, unit = size / 1000, next(units)
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"


def aligned(rows: list[list[str]]) -> list[str]:
    """Return rows of cells as lines: first and last column flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *cells, last in rows:
        middle = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths[1:-1], strict=True))
        lines.append(f"{first:{widths[0]}}  {middle}  {last}".rstrip())
    return lines


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown whose columns also line up as plain text."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )
