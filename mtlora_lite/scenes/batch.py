"""Many pictures: in parallel, or as one sheet to look at."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from ..tasks import VOC_CLASSES
from .labels import render_crop, render_scene

RENDERERS: dict[str, Callable[..., Any]] = {"scenes": render_scene, "crops": render_crop}
_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def render_many(
    kind: str,
    seed: int,
    count: int,
    size: int | tuple[int, int] = 128,
    workers: int | None = None,
    progress: bool = True,
) -> list[Any]:
    """Render pictures 0 to ``count`` - 1 of a world, in order.

    Args:
        kind: ``"scenes"`` or ``"crops"``.
        workers: processes; ``None`` takes one per processor, 1 renders in this process.
        progress: show a bar.

    Returns:
        What ``render_scene`` or ``render_crop`` returns, ``count`` times.
    """
    if kind not in RENDERERS:
        raise ValueError(f"Unknown kind of picture {kind!r}; choose one of {', '.join(RENDERERS)}.")
    render = partial(_render, kind, seed, size)
    workers = min(workers or os.cpu_count() or 1, max(1, count))
    if workers == 1:
        return list(_bar(map(render, range(count)), count, progress))
    saved = {name: os.environ.get(name) for name in _THREAD_LIMITS}
    os.environ.update(dict.fromkeys(_THREAD_LIMITS, "1"))  # inherited by the workers: one thread each
    try:
        with ProcessPoolExecutor(workers, mp_context=_context()) as pool:
            return list(_bar(pool.map(render, range(count), chunksize=8), count, progress))
    finally:
        for name, value in saved.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _context() -> Any:
    """Fresh processes: forking a parent that has threads (torch) can deadlock."""
    from multiprocessing import get_context

    return get_context("spawn")


def _render(kind: str, seed: int, size: int | tuple[int, int], index: int) -> Any:
    return RENDERERS[kind](seed, index, size)


def _bar(items: Iterable[Any], count: int, progress: bool) -> Iterable[Any]:
    from tqdm import tqdm

    return tqdm(items, total=count, disable=not progress)


def contact_sheet(seed: int = 0, per_class: int = 10, size: int = 72, labels: bool = False) -> np.ndarray:
    """Twenty rows, one per class, of ``per_class`` crops: uint8 (20 size, per_class size [+ margin], 3)."""
    classes = len(VOC_CLASSES) - 1
    rows = []
    for row in range(classes):
        crops = [render_crop(seed, row + classes * column, size)[0] for column in range(per_class)]
        margin = [_caption(VOC_CLASSES[row + 1], size)] if labels else []
        rows.append(np.concatenate([*margin, *crops], axis=1))
    return np.concatenate(rows)


def _caption(text: str, height: int) -> np.ndarray:
    """White letters on black, (height, 96, 3)."""
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (96, height))
    ImageDraw.Draw(canvas).text((4, height // 2 - 6), text, fill=(255, 255, 255))
    return np.asarray(canvas)
