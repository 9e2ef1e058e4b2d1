"""Figures of a comparison: what a row gains over what it trains.

Sizes of type are shares of matplotlib's ``font.size``, so that a slide has larger ones.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import cycle, product
from typing import TYPE_CHECKING

import pandas as pd

from mtlora_lite.references import PUBLISHED_GAINS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import BboxBase

# Okabe and Ito's colours, which people who see fewer colours tell apart too; and markers, for more rows than colours.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "osD^vPX"
LONG = 30  # characters of a row's name
BESIDE = ((7, 4), (7, -11), (-7, 4), (-7, -11), (7, 12), (-7, 12), (7, -19), (-7, -19))  # in points, from the point


def pareto(table: pd.DataFrame, baseline: str) -> "Figure":
    """Δm over trained parameters, with intervals; rows that differ in one number alone, such as the rank, are joined.

    Args:
        table: per row ``trainable`` (numbers), ``delta_m`` and its ``low`` and ``high``, in percent.
        baseline: the row that Δm is relative to.
    """
    axes = _axes(_over(baseline))
    looks = _looks(table)
    common = {method: _in_all(row for row in table.index if _method(row) == method) for method in looks}
    shown, labels = set(), []
    for family in dict.fromkeys(map(_family, table.index)):
        rows = table[[_family(row) == family for row in table.index]].sort_values("trainable")
        method, *options = family.split("@")
        given = [[word for word in _given(row) if word not in common[method]] for row in rows.index]
        varied = sum(len(set(values)) > 1 for values in zip(*given, strict=True))
        said = f"{options[0]}=" if varied == len(options) == 1 else ""  # once, in the legend
        legend = None if method in shown else ", ".join(filter(None, [method, *common[method], said[:-1]]))
        gain, millions = rows["delta_m"], rows["trainable"] / 1e6
        marker, color = looks[method]
        axes.errorbar(
            millions, gain, yerr=_reach(rows), label=legend, color=color, marker=marker, ls="-" if varied == 1 else "",
            ms=8, lw=1.2, elinewidth=1, capsize=3,
        )  # fmt: skip
        shown.add(method)
        plain = "default" if sum(_method(row) == method for row in table.index) > 1 else ""
        texts = (", ".join(words).removeprefix(said) or plain for words in given)
        labels += zip((re.sub("(backbone|decoder)=", "", text) for text in texts), millions, gain, strict=True)
    axes.legend(frameon=False, fontsize=_points(0.9), loc="center left", bbox_to_anchor=(1, 0.5))
    _label(axes, labels)  # last: the legend takes room from the axes
    return axes.figure


def gains(table: pd.DataFrame, baseline: str) -> "Figure":
    """Δm row by row, the best one first, with intervals: for rows that differ in more than in how much they train.

    Methods look as they do in ``pareto``.

    Args:
        table: as for ``pareto``, without ``trainable``.
        baseline: the row that Δm is relative to.
    """
    from matplotlib.figure import Figure

    rows = table.sort_values("delta_m", kind="stable")
    axes = Figure(figsize=(9, 1 + 0.34 * len(rows)), layout="constrained").subplots()
    axes.axvline(0, color="#888888", lw=1, ls="--", zorder=0)
    for method, (marker, color) in _looks(table).items():
        own = [_method(row) == method for row in rows.index]
        places = [place for place, mine in enumerate(own) if mine]
        axes.errorbar(
            rows["delta_m"][own], places, xerr=_reach(rows[own]), color=color, marker=marker, ls="", ms=8, capsize=3
        )
    axes.set_yticks(range(len(rows)), rows.index, family="monospace", fontsize=_points(0.9))
    axes.set(xlabel=_over(baseline), ylim=(-0.7, len(rows) - 0.3))
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return axes.figure


def _over(baseline: str) -> str:
    """The name of the axis, in two lines where one would be too long for it."""
    broken = baseline.replace("@", "\n@", 1) if len(baseline) > LONG else baseline
    return f"Δm over {broken}, %"


def _looks(table: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Marker and colour of each method."""
    return dict(zip(dict.fromkeys(map(_method, table.index)), cycle(product(MARKERS, COLORS)), strict=False))


def _method(row: str) -> str:
    return row.split("@")[0]


def _reach(rows: pd.DataFrame) -> list[pd.Series]:
    """How far an interval goes down and up from its Δm."""
    gain = rows["delta_m"]
    return [(gain - rows["delta_m low"]).clip(lower=0), (rows["delta_m high"] - gain).clip(lower=0)]


def _family(row: str) -> str:
    """What rows share that differ only in numbers: the method, and what they are given beside the numbers' values."""
    return re.sub(r"=[\d.]+(?=@|$)", "", _without_scales(row))


def _given(row: str) -> list[str]:
    """What a row is given, as words: rank=16, combine=addition."""
    return _without_scales(row).split("@")[1:]


def _in_all(rows: Iterable[str]) -> list[str]:
    """What all of several rows are given; of a single row nothing."""
    first, *others = map(_given, rows)
    return [word for word in first if others and all(word in each for each in others)]


def _without_scales(row: str) -> str:
    """A row without the factors of its updates: they go with the ranks."""
    return re.sub(r"@(task_)?scale=[\d.]+", "", row)


def published(axes: "Axes | None" = None) -> "Figure":
    """Δm over trained parameters as printed, for PASCAL-Context with Swin-T and four tasks.

    Args:
        axes: where to draw, without a title; None: on a page of its own.
    """
    own = axes is None
    axes = _axes("Δm over single-task models, %", axes)
    for verified, look in ((True, {"color": COLORS[0]}), (False, {"facecolor": "white", "edgecolor": COLORS[0]})):
        points = [point for point in PUBLISHED_GAINS if point.verified == verified]
        label = "as printed" if verified else "not checked against the paper"
        axes.scatter([p.trainable for p in points], [p.delta_m for p in points], s=45, zorder=3, label=label, **look)
    axes.set_xlim(1.5, 200)
    if own:
        axes.set_title("PASCAL-Context, Swin-T, four tasks: published results", fontsize=_points(1.1))
    _label(axes, [(point.method, point.trainable, point.delta_m) for point in PUBLISHED_GAINS])
    axes.legend(frameon=False, fontsize=_points(0.9), loc="lower right")
    return axes.figure


def _label(axes: "Axes", labels: Sequence[tuple[str, float, float]]) -> None:
    """Write (text, x, y) beside its point, inside the axes, where it covers least of points and other texts."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    axes.figure.draw_without_rendering()  # or where points lie on the page is not known yet
    renderer = FigureCanvasAgg(axes.figure).get_renderer()
    points = [axes.transData.transform((x, y)) for _, x, y in labels]
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in points]
    for text, x, y in labels:
        if not text:
            continue
        notes = [_note(axes, text, (x, y), place) for place in BESIDE]
        boxes = [note.get_window_extent(renderer) for note in notes]
        beyond = [box.width * box.height - _common_area(box, axes.bbox) for box in boxes]
        covered = [sum(_common_area(box, other) for other in taken) for box in boxes]
        best = min(range(len(boxes)), key=lambda place: 10 * beyond[place] + covered[place])
        for note in notes[:best] + notes[best + 1 :]:
            note.remove()
        taken.append(boxes[best])


def _note(axes: "Axes", text: str, point: tuple[float, float], place: tuple[int, int]) -> "Annotation":
    return axes.annotate(
        text, point, xytext=place, textcoords="offset points", fontsize=_points(0.8), color="#444444",
        ha="left" if place[0] > 0 else "right",
    )  # fmt: skip


def _common_area(box: "BboxBase", other: "BboxBase") -> float:
    width = min(box.x1, other.x1) - max(box.x0, other.x0)
    height = min(box.y1, other.y1) - max(box.y0, other.y0)
    return max(width, 0) * max(height, 0)


def _points(share: float) -> float:
    from matplotlib import rcParams

    return share * rcParams["font.size"]


def _axes(ylabel: str, axes: "Axes | None" = None) -> "Axes":
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes = Figure(figsize=(9, 5.4), layout="constrained").subplots() if axes is None else axes
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.axhline(0, color="#888888", lw=1, ls="--", zorder=0)
    axes.set(xlabel="trained parameters, millions (logarithmic)", ylabel=ylabel)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return axes
