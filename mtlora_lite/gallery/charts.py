"""Charts of what is committed: the spectra of a trained model, what is trained, what it costs, what it gains."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from mtlora_lite.analysis import SHARED, spectra
from mtlora_lite.config import PAPER_TASKS
from mtlora_lite.counts import parameter_report
from mtlora_lite.gallery.pictures import demo_model
from mtlora_lite.gallery.slides import FAINT, SMALL, Slide, chart
from mtlora_lite.methods import METHODS
from mtlora_lite.model import build_model
from mtlora_lite.paths import data_dir
from mtlora_lite.published import BACKBONE, IMG_SIZE
from mtlora_lite.study.figures import published
from mtlora_lite.tasks import TASKS
from mtlora_lite.viz import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RANKS = (16, 32, 64)
# Kinds of trained parameters, from left to right: what is shared in greys, what is private in colours.
KINDS = {"other, shared": "#8A8A8A", "TA-LoRA": INK, "TS-LoRA": "#E69F00", "fusion and decoders": "#56B4E9"}
METHODS_TABLE, STUDY = "results/methods/table.json", "study.json"


def read(name: str) -> Any:
    """A committed record."""
    return json.loads((data_dir() / name).read_text())


def _color(stream: str) -> str:
    return INK if stream == SHARED else TASKS[stream].color


# ---------------------------------------------------------------------------------------------------------- spectra


def adapter_spectra(slide: Slide) -> "Figure":
    """Of every stream the mean spectrum of its updates, and the effective rank of each."""
    table = spectra(demo_model())
    figure, (left, right) = chart(slide.title, 2, width_ratios=(1.15, 1))
    streams = list(dict.fromkeys(table["stream"]))
    for stream in reversed(streams):  # the shared one last, over the others
        found = [np.array(values) for values in table["singular values"][table["stream"] == stream]]
        values = np.mean([each / each[0] for each in found if each[0] > 0], axis=0)  # one may never have been trained
        ranks = np.arange(1, len(values) + 1)
        left.plot(ranks, values, "o-", color=_color(stream), lw=3, ms=9, label=_title(stream))
    left.set(xlabel="singular value, by its place", ylabel="relative to the strongest, mean", ylim=(0, 1.04))
    left.set_xticks(range(1, 1 + max(table["rank"])))
    handles, labels = left.get_legend_handles_labels()
    left.legend(handles[::-1], labels[::-1], fontsize=SMALL)
    _effective_ranks(right, table, streams)
    return figure


def _effective_ranks(axes: "Axes", table: pd.DataFrame, streams: list[str]) -> None:
    """A dot for every update, and what its rank would allow."""
    for line, stream in enumerate(reversed(streams)):
        rows = table[table["stream"] == stream]
        heights = line + np.linspace(-0.22, 0.22, len(rows))
        axes.plot(rows["effective rank"], heights, "o", color=_color(stream), ms=7, alpha=0.6, mew=0)
        axes.plot([rows["rank"].iloc[0]] * 2, [line - 0.38, line + 0.38], color=_color(stream), lw=4)
    axes.set_yticks(range(len(streams)), [_title(stream) for stream in reversed(streams)])
    axes.tick_params("y", length=0, labelsize=SMALL)
    axes.set(xlabel="effective rank (dots), rank (bar)", xlim=(0.8, None))
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", alpha=0.25)


def _title(stream: str) -> str:
    return stream if stream == SHARED else TASKS[stream].title


# --------------------------------------------------------------------------------------------------- parameters, cost


def trained_parameters(slide: Slide) -> "Figure":
    """What the paper's six configurations train, kind by kind."""
    figure, (axes,) = chart(slide.title)
    names, most = [], 0.0
    for line, (method, rank) in enumerate((method, rank) for method in ("mtlora", "mtlora_plus") for rank in RANKS):
        counted, total = _kinds(method, rank)
        start = 0.0
        for kind, color in KINDS.items():
            axes.barh(line, counted[kind], left=start, color=color, height=0.62, label=kind if line == 0 else None)
            start += counted[kind]
        axes.text(start + 0.08, line, f"{start:.2f} of {total:.2f} M", va="center", fontsize=SMALL)
        names.append(f"{METHODS[method].title}, rank {rank}")
        most = max(most, start)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params("y", length=0)
    axes.invert_yaxis()
    axes.set(xlabel="trained parameters, millions", xlim=(0, 1.18 * most))
    axes.spines["left"].set_visible(False)
    figure.legend(loc="outside lower center", ncols=len(KINDS), fontsize=SMALL)
    return figure


def _kinds(method: str, rank: int) -> tuple[dict[str, float], float]:
    """Millions of trained parameters by kind, and of all that there are, of a Swin-T with the paper's tasks."""
    with torch.device("meta"):  # shapes without numbers
        model = build_model(
            method, backbone=BACKBONE, tasks=PAPER_TASKS, img_size=IMG_SIZE, pretrained=False, rank=rank
        )
    report = parameter_report(model)
    counted = dict.fromkeys(KINDS, 0.0)
    for group, count in report["trainable"].drop("total").items():
        lora = next((kind for kind in ("TA-LoRA", "TS-LoRA") if group.startswith(kind)), "other, shared")
        counted["fusion and decoders" if group in ("fusion", "decoders") else lora] += count / 1e6
    return counted, report.loc["total"].sum() / 1e6


def further_tasks(slide: Slide) -> "Figure":
    """Processor time of one prediction over the number of tasks, beside a pass for each."""
    record = read_benchmark()["inference, fp32"]
    plain = record["plain backbone"]["ms"]
    times = {n: record[f"{n} tasks, merged"]["ms"] / plain for n in range(1, 7) if f"{n} tasks, merged" in record}
    figure, (axes,) = chart(slide.title)
    counts = np.array(list(times))
    axes.plot(counts, counts * times[1], "o--", color=FAINT, lw=3, ms=9)
    axes.text(4.9, 5 * times[1], "a pass for each task", ha="right", va="bottom", color=FAINT)
    axes.plot(counts, list(times.values()), "o-", color=TASKS["semseg"].color, lw=4, ms=11)
    axes.text(counts[-1], times[counts[-1]] + 0.35, "MTLoRA, one pass, merged", ha="right", color=TASKS["semseg"].color)
    axes.axhline(1, color=INK, lw=1.5, ls=":")
    axes.text(counts[0], 0.9, "the plain backbone", va="top", fontsize=SMALL)
    axes.set(xlabel="tasks", ylabel="processor time, plain backbone = 1", ylim=(0, None), xticks=counts)
    axes.grid(axis="y", alpha=0.25)
    return figure


def read_benchmark() -> Mapping[str, Any]:
    """The newest record of what many tasks cost on one thread of a CPU."""
    return json.loads(max((data_dir() / "benchmarks").glob("*-cpu-1-thread.json")).read_text())


# ------------------------------------------------------------------------------------------------------------- gains

WAYS = {
    "decoders_only": "decoders only",
    "mtlora": "MTLoRA",
    "mtlora:random": "MTLoRA from\nrandom weights",
    "full": "full fine-tuning,\nall tasks in one",
    "single_task": "full fine-tuning,\na model per task",
}


def gains(slide: Slide) -> "Figure":
    """Δm of five ways to train, with intervals."""
    rows = read(STUDY)["rows"]
    figure, (axes,) = chart(slide.title)
    for line, name in enumerate(WAYS):
        row = rows[name]
        reach = [[row["delta_m"] - row["delta_m low"]], [row["delta_m high"] - row["delta_m"]]]
        color = TASKS["semseg"].color if name == "mtlora" else FAINT
        axes.errorbar(row["delta_m"], line, xerr=reach, fmt="o", color=color, ms=13, lw=3.5, capsize=7, capthick=3)
        words = f"{row['delta_m']:+.1f}".replace("-", "−") if row["delta_m"] else "0"
        axes.text(row["delta_m"], line - 0.22, words, ha="center", bbox={"color": "white", "pad": 1})
    axes.axvline(0, color=INK, lw=1.5, ls="--", zorder=0)
    axes.set_yticks(range(len(WAYS)), WAYS.values())
    axes.tick_params("y", length=0)
    axes.set(ylim=(len(WAYS) - 0.5, -0.6), xlabel="Δm over decoders only, %")
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    return figure


# Methods of a kind have one colour, and each a marker.
LOOKS = {
    **dict(zip(("mtlora", "mtlora_plus", "mtl_lora"), (("#0072B2", mark) for mark in "osD"), strict=True)),
    **dict(zip(("lora", "dora", "lora_per_task"), (("#D55E00", mark) for mark in "osD"), strict=True)),
    **dict(zip(("adapter", "vpt", "ssf", "bitfit"), (("#009E73", mark) for mark in "osD^"), strict=True)),
    **dict(zip(("full", "single_task", "decoders_only"), ((INK, mark) for mark in "os^"), strict=True)),
}


def methods(slide: Slide) -> "Figure":
    """What every method gains on rendered scenes over what it trains; the ranks of one are joined."""
    from matplotlib.ticker import LogLocator, NullLocator

    rows = pd.DataFrame.from_dict(read(METHODS_TABLE)["rows"], orient="index")
    baseline = next(iter(rows.index[rows["delta_m low"] == rows["delta_m high"]])).split("@")[0]
    figure, (axes,) = chart(slide.title)
    for method, (color, marker) in LOOKS.items():
        own = rows[[name.split("@")[0] == method for name in rows.index]].sort_values("trainable")
        if len(own):
            millions, gain = own["trainable"] / 1e6, own["delta_m"]
            axes.vlines(millions, own["delta_m low"], own["delta_m high"], color=color, alpha=0.35, lw=2)
            axes.plot(
                millions, gain, marker=marker, ls="-", color=color, ms=12, mec="white", label=METHODS[method].title
            )
    axes.set(xscale="log", xlabel="trained parameters, millions (logarithmic)")
    axes.set_ylabel(f"Δm over {METHODS[baseline].title.lower()}, %")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.axhline(0, color=INK, lw=1.5, ls="--", zorder=0)
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right center", fontsize=SMALL)
    return figure


def in_print(slide: Slide) -> "Figure":
    """What has been printed about PASCAL-Context."""
    _, (axes,) = chart(slide.title)
    return published(axes)
