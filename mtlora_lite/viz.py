"""Pictures: what a map of any task looks like, and images with their labels and predictions side by side.

Colours: classes and parts have the palettes of ``tasks.py``; probabilities run from black (0) to white (1); a normal
(x, y, z) is the colour (n + 1) / 2, so what faces the viewer is light blue; depth is bright where it is near, on a
logarithmic scale, for a room and a street can stand in one figure. Pixels without a label (ignored, invalid) are
striped in two light greys, which no task uses.

Figures are made without pyplot and its global state, so they can be made in threads and servers; in a notebook,
``display(figure)`` shows them.
"""

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mtlora_lite.photos import denormalize
from mtlora_lite.tasks import IGNORE_INDEX, TASKS, Task, check_tasks, get_task

if TYPE_CHECKING:
    from IPython.display import Image as DisplayImage
    from matplotlib.figure import Figure

STRIPES = ((212, 212, 212), (240, 240, 240))
DEPTH_COLORS = "viridis_r"
DEPTH_TICKS = (0.5, 1, 2, 5, 10, 20, 50)  # metres
INK = "#333333"

Range = tuple[float, float]

# --------------------------------------------------------------------------------------------------- maps to colours

# Target kind -> what logits (..., C, H, W) say, with as many channels as a target has.
_READINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "classes": lambda logits: logits.argmax(-3, keepdim=True),
    "binary": torch.sigmoid,
    "directions": lambda logits: F.normalize(logits, dim=-3),
    "metres": lambda logits: logits,
}


def read_logits(task: str, logits: Tensor) -> Tensor:
    """Return what logits (..., C, H, W) say: class ids, probabilities, unit vectors or metres, shaped like a target."""
    return _READINGS[get_task(task).target](logits.detach().float().cpu())


def colorize(task: str, values: Tensor | np.ndarray, depth_range: Range | None = None) -> np.ndarray:
    """Return the picture, RGB uint8 (H, W, 3), of a target or of what ``read_logits`` gives.

    Args:
        task: key of the task.
        values: a tensor (C, H, W), or an array (H, W) or (H, W, 3).
        depth_range: metres at the two ends of the colours of depth; ``None`` takes them from ``values``.
    """
    row = get_task(task)
    values = _channels_last(values)  # (H, W) or (H, W, 3)
    invalid = values == IGNORE_INDEX
    if row.target == "directions":
        invalid = invalid.all(-1)  # (H, W)
    picture = _PICTURES[row.target](row, values, depth_range)
    return np.where(invalid[..., None], _stripes(invalid.shape), picture).astype(np.uint8)


def depth_limits(values: Tensor | np.ndarray) -> Range:
    """Return the metres worth colouring in depth maps of any shape: all but the outermost 2 % of the valid pixels."""
    values = np.asarray(values)
    values = values[(values != IGNORE_INDEX) & (values > 0)]
    if values.size == 0:
        return 1.0, 10.0
    low, high = np.percentile(values, [2, 98])
    return float(low), float(max(high, 1.05 * low))


def _classes(row: Task, values: np.ndarray, _: Range | None) -> np.ndarray:
    palette = np.zeros((IGNORE_INDEX + 1, 3), np.uint8)
    palette[: len(row.palette)] = row.palette
    return palette[values.astype(int)]


def _binary(row: Task, values: np.ndarray, _: Range | None) -> np.ndarray:
    return np.rint(values * 255.0)[..., None]  # (H, W, 1), which becomes grey


def _directions(row: Task, values: np.ndarray, _: Range | None) -> np.ndarray:
    return np.rint((values + 1) * 127.5)


def _metres(row: Task, values: np.ndarray, limits: Range | None) -> np.ndarray:
    from matplotlib import colormaps

    low, high = np.log(limits or depth_limits(values))
    shares = (np.log(np.maximum(values, 1e-3)) - low) / (high - low)
    return colormaps[DEPTH_COLORS](shares.clip(0, 1), bytes=True)[..., :3]


_PICTURES = {"classes": _classes, "binary": _binary, "directions": _directions, "metres": _metres}


def _channels_last(values: Tensor | np.ndarray) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu().movedim(0, -1).numpy()  # (H, W, C)
        values = values[..., 0] if values.shape[-1] == 1 else values
    return values


def _stripes(shape: Sequence[int]) -> np.ndarray:
    """Diagonal stripes, some twenty from top to bottom: (H, W, 3)."""
    height, width = shape
    y, x = np.mgrid[:height, :width]
    return np.array(STRIPES, np.uint8)[(x + y) // max(1, height // 40) % 2]


# ----------------------------------------------------------------------------------------------------------- figures


def prediction_grid(
    images: Tensor,
    predictions: Mapping[str, Tensor] | None = None,
    targets: Mapping[str, Any] | None = None,
    *,
    tasks: Sequence[str] | None = None,
    row_titles: Sequence[str] = (),
    cell: float = 1.28,
) -> "Figure":
    """Draw images in rows; for every task its label and its prediction side by side, with a legend below.

    Args:
        images: (B, 3, H, W), normalised.
        predictions: {task: logits (B, C_task, H, W)}; without them only labels are shown.
        targets: a batch, or any dict with (B, C, H, W) or (B, H, W) per task; without it only predictions are shown.
        tasks: which tasks, in which order; ``None`` takes all that are given.
        row_titles: a word or two at the left of each row.
        cell: height of one picture in inches; 1.28 shows 128 pixels one to one at 100 dots per inch.

    Raises:
        ValueError: if there is nothing to show for one of the tasks.
    """
    maps = _maps(predictions or {}, targets or {})
    tasks = check_tasks([task for task in TASKS if task in maps] if tasks is None else tasks)
    if absent := [task for task in tasks if task not in maps]:
        raise ValueError(f"No prediction and no target of {', '.join(absent)} given, so there is nothing to show.")
    limits = depth_limits(next(iter(maps["depth"].values()))) if "depth" in tasks else None

    page = _Page(images.shape, cell, {task: len(maps[task]) for task in tasks}, bool(row_titles))
    page.column(page.image_left, denormalize(images), "image")
    for row, title in enumerate(row_titles):
        page.text(page.MARGIN, page.row_top(row) + page.height / 2, title, va="center", rotation=90)
    for task in tasks:
        for left, (name, values) in zip(page.lefts[task], maps[task].items(), strict=True):
            page.column(left, [colorize(task, value, limits) for value in values], name)
        page.task_title(TASKS[task])
        _LEGENDS[TASKS[task].target](page, TASKS[task], list(maps[task].values()), limits)
    return page.finish()


def save_png(figure: "Figure", path: str | Path, dpi: int = 100) -> Path:
    """Write a figure as PNG, making its folder; return the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi, facecolor="white", format="png")
    return path


def picture(figure: "Figure", dpi: int = 80, colors: int = 128) -> "DisplayImage":
    """Return a figure for ``display``, as an image of few colours: a third of what a notebook would store of it."""
    from IPython.display import Image as DisplayImage

    drawn, stored = BytesIO(), BytesIO()
    figure.savefig(drawn, dpi=dpi, facecolor="white", format="png", bbox_inches="tight")
    # By an octree: the median cut has no colour left for what is small, such as the patches of a legend.
    few = Image.open(drawn).convert("RGB").quantize(colors, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(stored, "png", optimize=True)
    return DisplayImage(stored.getvalue())


def _maps(predictions: Mapping[str, Tensor], targets: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """{task: {"label": values, "prediction": values}} of those that there are, values (B, C, H, W)."""
    maps: dict[str, dict[str, Tensor]] = {}
    for task in TASKS:
        if task in targets:
            target = targets[task]
            maps.setdefault(task, {})["label"] = target[:, None] if target.ndim == 3 else target
        if task in predictions:
            maps.setdefault(task, {})["prediction"] = read_logits(task, predictions[task])
    return maps


class _Page:
    """A figure of a single axes measured in inches from the top left: quick to draw, and nothing moves by itself."""

    MARGIN, GAP, PAIR_GAP, HEADER, LINE = 0.1, 0.26, 0.03, 0.6, 0.17

    def __init__(self, shape: Sequence[int], cell: float, columns: Mapping[str, int], row_titles: bool):
        from matplotlib.figure import Figure

        rows, self.height, self.width = shape[0], cell, cell * shape[-1] / shape[-2]
        self.image_left = self.MARGIN + (0.2 if row_titles else 0)
        right = self.image_left + self.width
        self.lefts: dict[str, list[float]] = {}
        for task, count in columns.items():
            self.lefts[task] = [right + self.GAP + i * (self.width + self.PAIR_GAP) for i in range(count)]
            right = self.lefts[task][-1] + self.width
        self.right, self.bottom = right, 0.0
        self.legend_top = self.row_top(rows) + 0.1
        self.figure = Figure(dpi=100)
        self.axes = self.figure.add_axes((0, 0, 1, 1), autoscale_on=False)
        self.axes.set_axis_off()

    def finish(self) -> "Figure":
        """Cut the figure to what has been drawn."""
        width, height = self.right + self.MARGIN, self.bottom + self.MARGIN
        self.figure.set_size_inches(width, height)
        self.axes.set(xlim=(0, width), ylim=(height, 0))
        return self.figure

    def row_top(self, row: int) -> float:
        """Where a row begins."""
        return self.HEADER + row * (self.height + self.PAIR_GAP)

    def legend_box(self, task: str) -> tuple[float, float]:
        """Left and width of the place under a task's columns."""
        first, last = self.lefts[task][0], self.lefts[task][-1]
        return first, last - first + self.width

    def picture(self, left: float, top: float, width: float, height: float, rgb: np.ndarray) -> None:
        """Place a picture."""
        extent = (left, left + width, top + height, top)
        self.bottom = max(self.bottom, top + height)
        self.axes.imshow(rgb, extent=extent, aspect="auto", interpolation="antialiased")

    def text(self, x: float, y: float, words: str, **style: Any) -> None:
        """Place words, with their baseline at ``y`` unless the style says otherwise."""
        self.bottom = max(self.bottom, y)
        self.axes.text(x, y, words, **({"color": INK, "fontsize": 8} | style))

    def column(self, left: float, pictures: Sequence[np.ndarray], name: str) -> None:
        """Place one picture per row, and the name of the column above them."""
        self.text(left + self.width / 2, self.HEADER - 0.06, name, ha="center")
        for row, rgb in enumerate(pictures):
            self.picture(left, self.row_top(row), self.width, self.height, rgb)

    def task_title(self, task: Task) -> None:
        """Write the task's title in its colour, over a rule across its columns."""
        left, width = self.legend_box(task.key)
        self.axes.plot([left, left + width], [self.HEADER - 0.2] * 2, color=task.color, linewidth=2)
        title = task.title if width > 2 else task.title.replace(" ", "\n")
        self.text(left, self.HEADER - 0.25, title, color=task.color, fontsize=10, fontweight="bold", linespacing=1)


# ------------------------------------------------------------------------------------------------------------ legends


def _class_legend(page: _Page, task: Task, maps: Sequence[Tensor], _: Range | None) -> None:
    """A patch and a name for every class in sight."""
    left, width = page.legend_box(task.key)
    present = {int(value) for values in maps for value in values.unique()}
    entries = [(task.palette[i], name) for i, name in enumerate(task.classes) if i in present]
    if IGNORE_INDEX in present:
        entries.append((None, "no label"))
    columns = max(1, int(width / 1.2))
    for i, (color, name) in enumerate(entries):
        x, y = left + i % columns * width / columns, page.legend_top + i // columns * page.LINE
        patch = _stripes((12, 18)) if color is None else np.uint8([[color]])
        page.picture(x, y, 0.18, 0.12, patch)
        page.text(x + 0.24, y + 0.1, name)


def _binary_legend(page: _Page, task: Task, maps: Sequence[Tensor], _: Range | None) -> None:
    """The grey scale of a probability."""
    left, width = page.legend_box(task.key)
    page.picture(
        left, page.legend_top, width, 0.12, np.linspace(0, 255, 256).astype(np.uint8)[None, :, None].repeat(3, 2)
    )
    for share, words, side in ((0, "0", "left"), (0.5, "probability", "center"), (1, "1", "right")):
        page.text(left + share * width, page.legend_top + 0.26, words, ha=side)


def _direction_legend(page: _Page, task: Task, maps: Sequence[Tensor], _: Range | None) -> None:
    """A ball seen from the front, which shows every direction that can be seen."""
    left, width = page.legend_box(task.key)
    y, x = np.mgrid[1:-1:160j, -1:1:160j]
    z = np.sqrt((1 - x**2 - y**2).clip(0))
    ball = colorize(task.key, np.stack([x, y, z], axis=-1))
    ball[x**2 + y**2 > 1] = 255
    size = min(0.4 * width, 0.9)
    page.picture(left, page.legend_top, size, size, ball)
    for line, words in enumerate(("a ball:", "x right", "y up", "z to viewer")):
        page.text(left + size + 0.08, page.legend_top + 0.1 + line * page.LINE, words)


def _depth_legend(page: _Page, task: Task, maps: Sequence[Tensor], limits: Range | None) -> None:
    """The colours of depth with round numbers of metres below."""
    left, width = page.legend_box(task.key)
    low, high = limits
    page.picture(left, page.legend_top, width, 0.12, colorize(task.key, np.geomspace(low, high, 256)[None], limits))
    shares = {metres: np.log(metres / low) / np.log(high / low) for metres in (low, *DEPTH_TICKS, high)}
    room = 0.25 / width  # what a number takes up
    for metres, share in shares.items():
        if metres in (low, high) or room < share < 1 - room:
            page.text(left + share * width, page.legend_top + 0.26, f"{metres:.2g}", ha="center")
    page.text(left + width / 2, page.legend_top + 0.42, "metres", ha="center")


_LEGENDS: dict[str, Callable[[_Page, Task, Sequence[Tensor], Range | None], None]] = {
    "classes": _class_legend,
    "binary": _binary_legend,
    "directions": _direction_legend,
    "metres": _depth_legend,
}
