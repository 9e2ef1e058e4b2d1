"""One function over many items, on all processors."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from mtlora_lite.printing import is_quiet

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 8  # items that a process takes at a time


def parallel_map(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int | None = None, title: str | None = None
) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in order.

    Args:
        function: of one item; it has to be importable (defined at the top of a module), as the items' results have
            to travel between processes.
        items: what to work on.
        workers: processes. ``None`` takes one per processor; 1 works in this process.
        title: of a progress bar; ``None`` shows none.
    """
    workers = min(workers or os.cpu_count() or 1, -(-len(items) // CHUNK))  # a process without work costs its start
    if workers <= 1:
        yield from _with_bar(map(function, items), len(items), title)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from _with_bar(pool.map(function, items, chunksize=CHUNK), len(items), title)


def _with_bar(results: Iterable[Result], count: int, title: str | None) -> Iterable[Result]:
    from tqdm.auto import tqdm

    return results if title is None or is_quiet() else tqdm(results, total=count, desc=title, unit="item", leave=False)
