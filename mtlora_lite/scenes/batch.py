"""Many pictures: in parallel, or as one sheet to look at."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from mtlora_lite.parallel import parallel_map
from mtlora_lite.scenes.labels import render_crop, render_scene
from mtlora_lite.tasks import VOC_CLASSES

RENDERERS: dict[str, Callable[..., Any]] = {"scenes": render_scene, "crops": render_crop}


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

    Raises:
        ValueError: ``kind`` is neither.
    """
    if kind not in RENDERERS:
        raise ValueError(f"Unknown kind of picture {kind!r}; choose one of {', '.join(RENDERERS)}.")
    render = partial(_render, kind, seed, size)
    return list(parallel_map(render, range(count), workers=workers, title=f"render {kind}" if progress else None))


def _render(kind: str, seed: int, size: int | tuple[int, int], index: int) -> Any:
    return RENDERERS[kind](seed, index, size)


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
    """Dark letters on white, (height, 96, 3)."""
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (96, height), "white")
    ImageDraw.Draw(canvas).text((4, height // 2 - 6), text, fill="#333333")
    return np.asarray(canvas)
