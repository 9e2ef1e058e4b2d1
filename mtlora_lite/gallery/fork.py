"""The fork diagram, from the structure of a model: one shared stream, and a stream per task from every stage.

Everything is measured in inches on a slide. The shared stream runs along the top; where a stage's last block forks, a
line in the colour of each task leads down to the lane of that task, which takes its four maps to a decoder.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mtlora_lite.gallery.slides import FAINT, SMALL, canvas
from mtlora_lite.tasks import get_task
from mtlora_lite.viz import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STREAM, BLOCK = 5.35, 0.55  # at which height the shared stream runs; height of a block
STAGES, LANES_END = (1.95, 9.55), 10.0  # from where to where the stages go; where decoders begin
TOP, BOTTOM = 3.95, 1.25  # heights of the first and the last lane
FROZEN, SHARED = "#D9D9D9", INK
STRIDES = ("1/8", "1/16", "1/32", "1/32")  # of the maps that leave the stages


def draw_fork(
    title: str, depths: Sequence[int], tasks: Sequence[str], image: np.ndarray, predictions: Mapping[str, np.ndarray]
) -> "Figure":
    """Draw how an image becomes predictions.

    Args:
        title: of the slide.
        depths: blocks of each stage.
        tasks: from the top to the bottom.
        image: RGB (H, W, 3).
        predictions: of each task a picture, RGB (H, W, 3).
    """
    figure, axes = canvas(title)
    lanes = dict(zip(tasks, np.linspace(TOP, BOTTOM, len(tasks)), strict=True))
    side = min(0.5, 0.9 * (TOP - BOTTOM) / max(1, len(tasks) - 1))
    _picture(axes, image, (0.45, STREAM - 0.55), 1.1)
    left, right = STAGES
    width = (right - left) / len(depths)
    forks = [_stage(axes, index, depth, left + index * width, width) for index, depth in enumerate(depths)]
    axes.plot([1.55, forks[-1]], [STREAM, STREAM], color=SHARED, lw=4, zorder=3)  # from stage to stage, and no further
    for task, lane in lanes.items():
        _lane(axes, task, lane, forks, tasks)
        _picture(axes, predictions[task], (10.95, lane - side / 2), side)
    _words(axes, forks)
    return figure


def _stage(axes: "Axes", index: int, depth: int, left: float, width: float) -> float:
    """A stage with its blocks; returns where the last one forks."""
    from matplotlib.patches import FancyBboxPatch, Rectangle

    inside = width - 0.35
    style = "round,pad=0,rounding_size=0.12"
    axes.add_patch(FancyBboxPatch(
        (left, STREAM - 0.62), inside, 1.24, boxstyle=style, facecolor="#F4F4F4", edgecolor="#BBBBBB", zorder=2
    ))  # fmt: skip
    name = f"stage {index + 1} · {depth} block{'s' if depth > 1 else ''}"
    axes.text(left + inside / 2, STREAM + 0.82, name, ha="center", fontsize=SMALL)
    step = inside / depth
    side = min(BLOCK, 0.72 * step)
    for block in range(depth):
        corner = left + (block + 0.5) * step - side / 2
        frame = {"edgecolor": INK, "zorder": 4}
        axes.add_patch(Rectangle((corner, STREAM - BLOCK / 2), side, BLOCK, facecolor=FROZEN, **frame))
        axes.add_patch(Rectangle((corner, STREAM + BLOCK / 2 - 0.13), side, 0.13, facecolor=SHARED, **frame))
    return left + (depth - 0.5) * step


def _lane(axes: "Axes", task: str, lane: float, forks: Sequence[float], tasks: Sequence[str]) -> None:
    """The way of one task: a line down from every fork, a lane through its four maps, and a decoder."""
    from matplotlib.patches import FancyBboxPatch
    from matplotlib.patheffects import Normal, withStroke

    color, order = get_task(task).color, list(tasks).index(task)
    apart = 0.075
    over = [withStroke(linewidth=5.5, foreground="white"), Normal()]  # a line that crosses another goes over it
    for fork in forks:
        x = fork + apart * (len(tasks) / 2 - order - 0.5)  # the first lane turns off last and crosses nobody's line
        bend = 0.14
        quarter = np.linspace(0, np.pi / 2, 12)
        xs = [x, x, *(x + bend * (1 - np.cos(quarter))), LANES_END]
        ys = [STREAM - BLOCK / 2, lane + bend, *(lane + bend * (1 - np.sin(quarter))), lane]
        axes.plot(xs, ys, color=color, lw=2.6, path_effects=over, zorder=6 - 0.01 * order, solid_capstyle="butt")
        axes.plot(x + bend + 0.1, lane, "o", color=color, ms=8, zorder=7)
        axes.plot(x, STREAM - BLOCK / 2, "o", color=color, ms=5, zorder=8)
    style = "round,pad=0,rounding_size=0.1"
    axes.add_patch(FancyBboxPatch((LANES_END, lane - 0.15), 0.62, 0.3, boxstyle=style, facecolor=color, lw=0, zorder=8))
    axes.plot([LANES_END + 0.62, 10.95], [lane, lane], color=color, lw=2.6, zorder=1)
    words = get_task(task).title.replace(" ", "\n")
    axes.text(11.62, lane, words, color=INK, fontsize=SMALL, va="center", linespacing=1.0)


def _picture(axes: "Axes", rgb: np.ndarray, corner: tuple[float, float], side: float) -> None:
    x, y = corner
    axes.imshow(rgb, extent=(x, x + side, y, y + side), aspect="auto", zorder=9)


def _words(axes: "Axes", forks: Sequence[float]) -> None:
    """What the lines, dots and colours mean."""
    from matplotlib.patches import Rectangle

    axes.text(1.0, STREAM - 0.8, "image", ha="center", fontsize=SMALL)
    axes.text(LANES_END + 0.31, TOP + 0.4, "fusion,\ndecoder", ha="center", fontsize=SMALL, linespacing=1.0)
    for fork, stride in zip(forks, STRIDES, strict=True):
        axes.text(fork + 0.24, BOTTOM - 0.48, stride, ha="center", fontsize=SMALL, color=FAINT)
    axes.text(0.45, BOTTOM - 0.48, "maps at", fontsize=SMALL, color=FAINT)
    entries = (
        (0.45, FROZEN, "W, frozen"),
        (2.35, SHARED, "TA-LoRA in every block, shared by all tasks"),
        (8.05, None, "TS-LoRA at the forks, private to each"),
    )
    for x, color, words in entries:
        if color:
            axes.add_patch(Rectangle((x, 0.22), 0.24, 0.24, facecolor=color, edgecolor=INK))
        else:
            for index, task in enumerate(("semseg", "human_parts", "sal")):
                axes.plot(x + 0.05 + 0.1 * index, 0.34, "o", color=get_task(task).color, ms=7)
        axes.text(x + 0.36, 0.34, words, fontsize=SMALL, va="center")
