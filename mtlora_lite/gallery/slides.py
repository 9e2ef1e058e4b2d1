"""What the slides have in common: one size, one type, and files that are the same, byte by byte, each time.

A slide is 13.33 by 7.5 inches, 16:9, as presentation programs have it. Nothing on it is smaller than 14 points.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mtlora_lite.records import write_atomically
from mtlora_lite.viz import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (40 / 3, 7.5)  # inches
SMALL, TEXT, TITLE = 14, 17.5, 26  # points
FAINT = "#767676"  # what is frozen, or said aside; still 4.5 : 1 on white
DPI = 120  # 1600 x 900 pixels
README = "README.md"

# Fonts that come with matplotlib; text stays text; ids and dates are no one day's.
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": TEXT,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "mtlora_lite",
}


@dataclass(frozen=True)
class Slide:
    """One figure of the gallery.

    Attributes:
        name: of its files.
        title: what it is about.
        caption: what is to be seen, and what it was drawn from.
        draw: makes the figure, under ``STYLE``.
    """

    name: str
    title: str
    caption: str
    draw: Callable[["Slide"], "Figure"]


def write_gallery(folder: str | Path, slides: Sequence[Slide]) -> list[Path]:
    """Write every slide as PNG and SVG, and ``README.md``, which shows them; return all paths.

    Args:
        folder: it is made if need be; files of the same names are replaced.
        slides: what to draw.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = [path for slide in slides for path in _write(slide, folder)]
    text = "\n\n".join(["# Gallery", "Figures for slides, each as PNG and as SVG.", *map(_section, slides)]) + "\n"
    write_atomically(folder / README, lambda path: path.write_text(text))
    return [*written, folder / README]


def _section(slide: Slide) -> str:
    files = f"[PNG]({slide.name}.png) · [SVG]({slide.name}.svg)"
    return f"## {slide.title}\n\n![{slide.title}]({slide.name}.svg)\n\n{slide.caption} {files}"


def _write(slide: Slide, folder: Path) -> list[Path]:
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = _settled(slide.draw(slide))
        paths = [folder / f"{slide.name}.{form}" for form in ("png", "svg")]
        for path, metadata, dpi in zip(paths, ({"Software": None}, {"Date": None}), (DPI, 2 * DPI), strict=True):
            form = path.suffix[1:]
            write_atomically(
                path, lambda there, form=form, metadata=metadata, dpi=dpi: figure.savefig(
                    there, format=form, metadata=metadata, dpi=dpi, facecolor="white"
                ),
            )  # fmt: skip
    return paths


def _settled(figure: "Figure") -> "Figure":
    """The figure with its layout found, to a millionth: what is beyond differs from time to time, and ids in an SVG
    are hashes of all bits.
    """
    if figure.get_layout_engine():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axes in figure.axes:
            axes.set_position([round(side, 6) for side in axes.get_position().bounds])
    return figure


def canvas(title: str) -> tuple["Figure", "Axes"]:
    """An empty slide with its title, measured in inches from the bottom left."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE)
    axes = figure.add_axes((0, 0, 1, 1), autoscale_on=False, xlim=(0, SIZE[0]), ylim=(0, SIZE[1]))
    axes.set_axis_off()
    axes.text(0.45, SIZE[1] - 0.55, title, fontsize=TITLE, fontweight="bold", va="center")
    return figure, axes


def chart(title: str, panels: int = 1, **options: object) -> tuple["Figure", Sequence["Axes"]]:
    """A slide with its title and some axes side by side; further options go to ``subplots``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    figure.get_layout_engine().set(rect=(0.02, 0.02, 0.96, 0.85), h_pad=0.1, w_pad=0.15)
    axes = figure.subplots(1, panels, squeeze=False, **options)[0]
    top = 1 - 0.55 / SIZE[1]
    words = figure.text(0.45 / SIZE[0], top, title, va="center", fontsize=TITLE, fontweight="bold")
    words.set_in_layout(False)  # there is room for it
    return figure, axes
