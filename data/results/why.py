"""Why the rows of data/results/methods stand where they do: looks into the models that run.sh has trained.

    python data/results/why.py [RUNS]     RUNS: the folder of the runs, by default runs/study

Writes into data/results/why/, a line per row, seed and what is looked at, on images of the split that the tables use:
``conflict.csv``, cosines between the gradients of two tasks' losses on what they share, before training and after, for
batches as training sees them; ``shares.csv``, how long each of these gradients is, with losses weighted as in training,
as a share of the lengths of all tasks' gradients; ``updates.csv``, size and effective rank of the updates;
``overlap.csv``, what the updates of two streams have in common, in what they read and in what they write, and what
random ones of their size would; ``turned.csv``, how much of what an update reads it read before training;
``without.csv``, what is scored without private or without shared updates; and ``why.png``.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch
from torch.utils.data import Dataset
from tqdm.auto import tqdm

import mtlora_lite as ml
from mtlora_lite.analysis import (
    SHARED,
    gradient_conflict,
    overlap,
    spectra,
    subspace_overlap,
    truncated,
    updates,
)
from mtlora_lite.config import TrainConfig, build_from_config, read_options, validation_set
from mtlora_lite.study.tables import write_csv
from mtlora_lite.tasks import TASKS
from mtlora_lite.transforms import collate
from mtlora_lite.viz import save_png

HERE = Path(__file__).parent
SHARING = ("mtlora@rank=16", "lora@rank=16", "full")  # rows whose tasks train something together
RANKS = ("mtlora@rank=4@scale=8@task_scale=4", "mtlora@rank=16", "mtlora@rank=64@scale=2@task_scale=4")
FOUR = ("semseg", "human_parts", "sal", "normals")
MOMENTS = {"start": ", before", "end": ", after"}
SPLIT, BATCHES, SEEDS, DIRECTIONS = "test", 8, 3, 4

Record = dict[str, Any]


def main(runs: Path) -> None:
    """Measure everything and write it down."""
    rates = json.loads((HERE / "methods/table.json").read_text())["lr"]
    found: dict[str, list[Record]] = {
        name: [] for name in ("conflict", "shares", "updates", "overlap", "turned", "without")
    }
    for row, seed in tqdm([(row, seed) for row in dict.fromkeys(SHARING + RANKS) for seed in range(SEEDS)]):
        folder = runs / f"{row.replace('@', '-')}-{'-'.join(FOUR)}-lr{rates[row]:g}-seed{seed}"
        config = TrainConfig(**read_options(folder / "config.json") | {"val_split": SPLIT})
        model, images = ml.MultiTaskModel.from_pretrained(folder / "model"), validation_set(config)
        measured = {}
        torch.manual_seed(seed)  # as when training began
        start = build_from_config(config)
        if row in SHARING:
            weights = config.all_loss_weights()
            for moment, state in (("start", start), ("end", model)):
                for name, records in gradients(state, images, weights, moment).items():
                    measured.setdefault(name, []).extend(records)
        if row in RANKS:
            measured |= {"updates": shapes(model), "overlap": overlaps(model), "turned": turned(start, model)}
            measured |= {"without": scores(model, images)}
        for name, records in measured.items():
            found[name] += [{"row": row, "seed": seed} | record for record in records]
    tables = {name: pd.DataFrame(records).set_index("row") for name, records in found.items()}
    (HERE / "why").mkdir(exist_ok=True)
    for name, table in tables.items():
        write_csv(table, HERE / "why" / f"{name}.csv")
    save_png(figure(tables["conflict"], tables["shares"], tables["overlap"]), HERE / "why/why.png", dpi=110)


def gradients(
    model: ml.MultiTaskModel, images: Dataset, weights: dict[str, float], moment: str
) -> dict[str, list[Record]]:
    """Pair by pair of tasks the cosine of their gradients, and their lengths: means over some batches of 8 images."""
    model.eval()
    batches = [collate([images[8 * batch + i] for i in range(8)]) for batch in range(BATCHES)]
    measured = [gradient_conflict(model, batch, loss_weights=weights) for batch in batches]
    cosine, norm = (sum(getattr(each, name) for each in measured) / BATCHES for name in ("cosine", "norm"))
    pairs = combinations(model.tasks, 2)
    return {
        "conflict": [{"moment": moment, "task": a, "other": b, "cosine": cosine.loc[a, b]} for a, b in pairs],
        "shares": [{"moment": moment, "task": task, "share": norm[task] / norm.sum()} for task in model.tasks],
    }


def shapes(model: ml.MultiTaskModel) -> list[Record]:
    """Stream by stream, how long its updates are, relative to W, and how many directions they have, on average."""
    return (
        spectra(model)
        .groupby("stream", sort=False)[["relative norm", "effective rank"]]
        .mean()
        .reset_index()
        .to_dict("records")
    )


def overlaps(model: ml.MultiTaskModel) -> Iterator[Record]:
    """Pair by pair of streams, what the strongest directions that they read and write have in common."""
    forks = [update for update in updates(model) if update.stream == model.tasks[0]]
    for side in ("in", "out"):
        widths = [update.down.shape[1] if side == "in" else update.up.shape[0] for update in forks]
        random = sum(DIRECTIONS / width for width in widths) / len(widths)
        table = overlap(model, side=side, directions=DIRECTIONS)
        for one, other in combinations(table.index, 2):
            yield {"side": side, "stream": one, "other": other, "overlap": table.loc[one, other], "random": random}


def turned(start: ml.MultiTaskModel, model: ml.MultiTaskModel) -> Iterator[Record]:
    """Stream by stream, how much of what its updates read, the rows of A, is what they read before training."""
    kept: dict[str, list[float]] = {}
    for before, after in zip(updates(start), updates(model), strict=True):
        bases = [torch.linalg.qr(update.down.double().t()).Q for update in (before, after)]
        kept.setdefault(after.stream, []).append(subspace_overlap(*bases))
    return ({"stream": stream, "as before": sum(values) / len(values)} for stream, values in kept.items())


def scores(model: ml.MultiTaskModel, images: Dataset) -> Iterator[Record]:
    """The headline scores of the model as it is, without its private updates, and without its shared ones."""
    for without, streams in (("nothing", None), ("private", model.tasks), ("shared", (SHARED,))):
        with truncated(model, 0, streams) if streams else nullcontext():
            yield {"without": without} | ml.headline(ml.evaluate(model, images))


def figure(conflict: pd.DataFrame, shares: pd.DataFrame, common: pd.DataFrame) -> plt.Figure:
    """Of SHARING the cosines, and of MTLoRA (rank 16) the lengths and the overlap of its streams."""
    drawn, axes = plt.subplots(1, 3, figsize=(16, 5), layout="constrained", width_ratios=(1.2, 1, 1.3))
    pairs = conflict.reset_index().assign(pair=lambda table: table.task.map(title) + ",\n" + table.other.map(title))
    pairs["which"] = pairs.row.str.partition("@")[0] + pairs.moment.map(MOMENTS)
    sns.pointplot(
        pairs, x="cosine", y="pair", hue="which", errorbar="sd", linestyle="none", dodge=0.5, ax=axes[0],
        palette="colorblind",
    )  # fmt: skip
    axes[0].axvline(0, color="#888888", lw=1, ls="--")
    axes[0].set(ylabel="", xlabel="cosine of gradients", title="What two tasks ask of what they share")
    axes[0].legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    lengths = shares.loc["mtlora@rank=16"]
    lengths = lengths.assign(
        share=100 * lengths.share, task=lengths.task.map(title), moment=lengths.moment.map(MOMENTS).str[2:]
    )
    sns.barplot(lengths, x="share", y="task", hue="moment", errorbar="sd", ax=axes[1], palette=("#BBBBBB", "#0072B2"))
    axes[1].set(ylabel="", xlabel="% of the length of all gradients", title="How loud each task is")
    axes[1].legend(frameon=False, title="training")
    written = common.loc["mtlora@rank=16"].query("side == 'out'")
    streams = written.groupby(["stream", "other"], sort=False).overlap.mean().unstack()
    order = list(dict.fromkeys([*common.stream, *common.other]))
    streams = streams.reindex(index=order[:-1], columns=order[1:])
    streams = streams.rename(index=title, columns=lambda stream: title(stream).replace(" ", "\n"))
    sns.heatmap(streams, vmin=0, vmax=0.5, annot=True, fmt=".2f", cmap="viridis", cbar=False, ax=axes[2])
    axes[2].tick_params(labelrotation=0)
    axes[2].set(xlabel="", ylabel="", title=f"What updates write in common\n(random ones: {written.random.mean():.2f})")
    return drawn


def title(stream: str) -> str:
    """A stream as people call it."""
    return TASKS[stream].title if stream in TASKS else stream


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/study"))
