"""The report of a training run, ``report.md`` with its figures: what was trained, how it went, and what it sees now.

Everything in it is read from the files that the run has left; only the pictures of predictions need the model.
"""

import dataclasses
import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mtlora_lite.config import TrainConfig, validation_set
from mtlora_lite.counts import parameter_report
from mtlora_lite.methods import METHODS
from mtlora_lite.metrics import headline_names
from mtlora_lite.model import MultiTaskModel
from mtlora_lite.paths import command
from mtlora_lite.printing import markdown_table
from mtlora_lite.records import write_atomically
from mtlora_lite.references import Reference, get_reference
from mtlora_lite.runs import EVALUATIONS_FILE, FIGURES, LOG_FILE, METRICS_FILE, REPORT_FILE
from mtlora_lite.tasks import TASKS
from mtlora_lite.transforms import collate
from mtlora_lite.viz import prediction_grid, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURES = 6  # validation images that are shown
SMOOTHED = 25  # the thick line of a loss is the mean over a run's length divided by this
Record = Mapping[str, Any]


def write_report(config: TrainConfig, model: MultiTaskModel) -> Path:
    """Write ``report.md`` and the figures it shows, in ``report/``, from the files of a finished run; return its path.

    Args:
        config: the run; its folder holds ``log.jsonl``, ``evaluations.jsonl`` and ``metrics.json``.
        model: what it has trained.
    """
    log, evaluations = (_lines(config.out / name) for name in (LOG_FILE, EVALUATIONS_FILE))
    result = json.loads((config.out / METRICS_FILE).read_text())
    reference = get_reference(config.reference) if config.reference else None
    figures = {"losses": loss_curves(log, config.tasks), "predictions": predictions(config, model)}
    if len(evaluations) > 1:
        figures["scores"] = score_curves(evaluations, headline_names(result["metrics"]), reference)
    for name, figure in figures.items():
        save_png(figure, config.out / FIGURES / f"{name}.png")
    text = "\n\n".join(_sections(config, model, result, reference, figures)) + "\n"
    write_atomically(config.out / REPORT_FILE, lambda path: path.write_text(text))
    return config.out / REPORT_FILE


def _lines(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# ---------------------------------------------------------------------------------------------------------- the text


def _sections(
    config: TrainConfig, model: MultiTaskModel, result: Record, reference: Reference | None, figures: Iterable[str]
) -> Iterable[str]:
    yield f"# {METHODS[config.method].title} on {config.data}"
    yield markdown_table(["what", "how"], _facts(config, model, result))
    yield "## Scores"
    yield _scores(result["metrics"], reference)
    if reference:
        yield f"Δm {_number(result['delta_m']):+.2f} % over {reference.source} ({reference.protocol} protocol)."
    if "scores" in figures:
        yield f"![The scores at every evaluation]({FIGURES}/scores.png)"
    yield "## Losses"
    yield "Unweighted, on the training images; the thick line is a running mean."
    yield f"![The loss of each task at every step]({FIGURES}/losses.png)"
    yield "## Predictions"
    yield f"The first images of the split {config.val_split}: label and prediction."
    yield f"![Labels and predictions]({FIGURES}/predictions.png)"
    yield "## Next"
    yield "```bash\n" + "\n".join(_next_commands(config)) + "\n```"


def _facts(config: TrainConfig, model: MultiTaskModel, result: Record) -> list[tuple[str, str]]:
    count = parameter_report(model).loc["total"]
    options = ", ".join(f"{name} {value}" for name, value in config.options.items()) or "the defaults"
    return [
        ("method", f"{METHODS[config.method].title}: {METHODS[config.method].summary}"),
        ("options", options),
        ("backbone, decoder", f"{config.backbone}, {config.decoder}"),
        ("trained parameters", f"{count['trainable']:,} of {count.sum():,}"),
        (
            "training",
            f"{result['step']:,} steps of {config.batch_size} images, peak lr {config.lr:g}, seed {config.seed}",
        ),
        ("time", f"{result['seconds'] / 60:.1f} minutes of training"),
        ("scored on", f"{result['images']:,} images, split {result['split']} of {result['data']}"),
        ("protocol", result["protocol"]),
    ]


def _scores(metrics: Mapping[str, Mapping[str, float]], reference: Reference | None) -> str:
    header = ["task", "metric", "score", *(["reference", "gain"] if reference else [])]
    rows = []
    for task, name in headline_names(metrics).items():
        row, value = TASKS[task], _number(metrics[task][name])
        cells = [row.title, f"{name} {'↑' if row.higher_is_better else '↓'}", f"{value:.2f} {row.unit}"]
        if reference:
            before = reference.scores[task]
            gain = (value - before) / before * (100 if row.higher_is_better else -100)
            cells += [f"{before:.2f} {row.unit}", f"{gain:+.1f} %"]
        rows.append(cells)
    return markdown_table(header, rows)


def _number(value: float | None) -> float:
    """A score from JSON, which has no nan: that of a task of which the images show nothing."""
    return math.nan if value is None else value


def _next_commands(config: TrainConfig) -> list[str]:
    data = "" if config.data == TrainConfig.data else f" --data {config.data}"
    return [
        f"{command()} predict PHOTO.jpg --checkpoint {config.out}",
        f"{command()} eval {config.out}{data} --split {config.val_split} --protocol {config.protocol}",
    ]


# ------------------------------------------------------------------------------------------------------- the figures


def loss_curves(log: Sequence[Record], tasks: Sequence[str]) -> "Figure":
    """The loss of each task over the steps: every value, and a running mean; one panel per task."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    figure, panels = _panels(tasks, "step", "loss")
    for task, axes in panels.items():
        plot_losses(axes, log, task)
        if any(record[task] < 0 for record in log):
            continue  # a loss of one's own may be
        axes.set(yscale="log", ylabel="loss (logarithmic)")
        axes.yaxis.set_major_locator(MaxNLocator(5))  # round numbers, also where losses span less than a decade
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:g}")
    return figure


def plot_losses(axes: "Axes", log: Sequence[Record], task: str) -> None:
    """Draw the losses of a task over the steps in its colour: every value, and a running mean.

    A loss of zero is that of images that show nothing of the task, such as no person: it has no point.
    """
    steps, window = [record["step"] for record in log], max(1, len(log) // SMOOTHED)
    losses = torch.tensor([record[task] or math.nan for record in log], dtype=torch.float64)
    axes.plot(steps, losses, color=TASKS[task].color, alpha=0.3, lw=0.8)
    axes.plot(steps[window - 1 :], losses.unfold(0, window, 1).nanmean(-1), color=TASKS[task].color, lw=2.2)


def score_curves(
    evaluations: Sequence[Record], metrics: Mapping[str, str], reference: Reference | None = None
) -> "Figure":
    """The headline metric of each task at every evaluation, and the reference's; one panel per task."""
    figure, panels = _panels(tuple(metrics), "step", "")
    for task, axes in panels.items():
        row = TASKS[task]
        points = ((each["step"], _number(each[task])) for each in evaluations)
        axes.plot(*zip(*points, strict=True), "o-", color=row.color, lw=2.2)
        axes.set_ylabel(f"{metrics[task]}, {row.unit} {'↑' if row.higher_is_better else '↓'}")
        if reference:
            axes.axhline(reference.scores[task], color="#555555", ls="--", lw=1.5, label="reference")
            axes.legend(frameon=False, fontsize=9)
    return figure


def _panels(tasks: Sequence[str], xlabel: str, ylabel: str) -> tuple["Figure", dict[str, Any]]:
    """A figure with a panel per task, three in a row, titled in the task's colour."""
    from matplotlib.figure import Figure

    columns = min(3, len(tasks))
    rows = -(-len(tasks) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.4 * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    panels = dict(zip(tasks, grid, strict=False))
    for axes in grid[len(tasks) :]:
        axes.axis("off")
    for task, axes in panels.items():
        axes.set_title(TASKS[task].title, color=TASKS[task].color, fontsize=11, fontweight="bold")
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


@torch.inference_mode()
def predictions(config: TrainConfig, model: MultiTaskModel, count: int = PICTURES) -> "Figure":
    """Label and prediction of every task on the first ``count`` validation images of a run, at its image size."""
    # Labels of a set of photographs keep their own sizes under the standard protocol; in one picture all are alike.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is missing of these images has been said before
        images = validation_set(dataclasses.replace(config, val_count=min(count, config.val_count), protocol="paper"))
    batch = collate([images[index] for index in range(min(count, len(images)))])
    device = next(model.parameters()).device
    logits = {task: value.cpu() for task, value in model.eval()(batch["image"].to(device)).items()}
    return prediction_grid(batch["image"], logits, {task: batch[task] for task in model.tasks})
