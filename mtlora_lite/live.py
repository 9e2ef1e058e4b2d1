"""A training run to be watched while it trains: in a thread of its own, which leaves whoever started it free.

``LiveRun`` knows where the run stands and what its model sees, ``live_figure`` draws both; ``widgets.LiveTraining``
puts buttons around them.
"""

import dataclasses
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mtlora_lite.config import TrainConfig, build_from_config, validation_set
from mtlora_lite.counts import parameter_report
from mtlora_lite.engine import TrainResult, train
from mtlora_lite.interrupts import Interrupted, Request
from mtlora_lite.metrics import headline
from mtlora_lite.model import MultiTaskModel
from mtlora_lite.paths import command
from mtlora_lite.photos import denormalize
from mtlora_lite.printing import quietly
from mtlora_lite.report import Record, plot_losses
from mtlora_lite.runs import CONFIG_FILE, REPORT_FILE, holds_run
from mtlora_lite.tasks import TASKS
from mtlora_lite.transforms import collate
from mtlora_lite.viz import INK, colorize, depth_limits, read_logits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EVERY = 0.5  # seconds from one look at the model to the next, at least
SHARE = 0.25  # of a run's time that looking may take, about, where that is slow

_one_at_a_time = threading.Lock()  # for random numbers, and Accelerate's state, belong to the process

State = Enum("State", ["READY", "RUNNING", "STOPPED", "FINISHED", "FAILED"])

# ------------------------------------------------------------------------------------------------------------ the run


class LiveRun:
    """A training run in a background thread, with a look now and then at what its model sees.

    Other random numbers than the run's own, drawn by the same process meanwhile, make its last digits unrepeatable.

    Attributes:
        parameters: how many it trains, and how many its model has.
        state: whether it is ready, running, stopped (and can go on), finished or failed.
        log: one record per step: step, lr, total and the loss of each task.
        held_out: the images that are looked at, with their labels, as a batch.
        logits: what the model said about them at the last look, {task: (B, C, H, W)}; empty before the first.
        result: what training returned, once it is finished.

    Args:
        config: the run, in steps and not in epochs.
        held_out: the images to look at, see ``held_out``.
        on_change: called after every look, and when the run has ended in whatever way, by the run's thread.

    Raises:
        ValueError: the run counts in epochs.
    """

    def __init__(
        self, config: TrainConfig, held_out: Mapping[str, Any], on_change: Callable[["LiveRun"], None] | None = None
    ) -> None:
        if config.epochs is not None:
            raise ValueError("A run to be watched counts in steps: give it steps in place of epochs.")
        self.config, self.held_out, self.on_change = config, held_out, on_change or (lambda run: None)
        self.parameters = count_parameters(config)
        self.state, self.log, self.logits = State.READY, [], {}
        self.result: TrainResult | None = None
        self._ending = ""
        self._request, self._thread = Request(), threading.Thread()
        self._began, self._first, self._next_look = 0.0, 0, 0.0  # seconds by the monotonic clock; a step

    def start(self) -> None:
        """Train from the beginning, or go on where the run was stopped; there is no second time for a finished one.

        Raises:
            RuntimeError: this run or another one is training in this process, or this one has ended.
        """
        if self.state not in (State.READY, State.STOPPED):
            raise RuntimeError(f"This run is {self.state.name.lower()}: it cannot be started.")
        if not _one_at_a_time.acquire(blocking=False):
            raise RuntimeError("Another run is training in this process: stop it, or wait for its end.")
        config = dataclasses.replace(self.config, resume=self.state == State.STOPPED)
        self.state, self._request, self._began, self._next_look = State.RUNNING, Request(), 0.0, 0.0
        self._thread = threading.Thread(target=self._work, args=(config,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask the run to finish the step in hand, to save everything, and to stop."""
        self._request.stop()

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return bool(self._request.signal)

    def wait(self, seconds: float | None = None) -> State:
        """Wait until the run has ended, but not longer than some seconds, and return its state."""
        if self._thread.ident:
            self._thread.join(seconds)
        return self.state

    def status(self) -> str:
        """One line for people: how far the run is, how it can go on, or what went wrong."""
        if self.state != State.RUNNING:
            return self._ending
        if not self._began:
            return "Getting ready …"
        if self.stopping and self.log[-1]["step"] < self.config.steps:
            return "Stopping, as soon as the step in hand is finished and saved …"
        step, steps, seconds = self.log[-1]["step"], self.config.steps, time.monotonic() - self._began
        if step == steps:
            return f"All {steps} steps are taken; now it is scored and saved …"
        if step == self._first:
            return f"Step {step} of {steps}"
        left = seconds / (step - self._first) * (steps - step)
        return f"Step {step} of {steps} · {seconds:.0f} s · some {left:.0f} s to go"

    # ------------------------------------------------------------------------------------- what the thread does

    def _work(self, config: TrainConfig) -> None:
        try:
            with quietly():
                self.result = train(config, on_step=self._note, request=self._request)
            state, self._ending = State.FINISHED, self._scores(self.result)
        except Interrupted as stop:
            state, again = State.STOPPED, f"{command()} train --config {config.out / CONFIG_FILE} --resume"
            self._ending = f"{stop} It goes on by the button, or by: {again}"
        except BaseException as error:  # whatever it is: nobody else would hear of it
            state, self._ending = State.FAILED, f"The run has failed: {type(error).__name__}: {error}".splitlines()[0]
        _one_at_a_time.release()
        self.state = state
        self.on_change(self)

    def _note(self, record: Record, model: MultiTaskModel) -> None:
        """Keep the record of a step, and look at the model if it is time, or the last time."""
        self.log.append(record)
        now = time.monotonic()
        if not self._began:
            self._began, self._first = now, record["step"]
        if now < self._next_look and record["step"] < self.config.steps and not self.stopping:
            return
        self.logits = look(model, self.held_out["image"])
        self.on_change(self)
        took = time.monotonic() - now
        self._next_look = now + took + max(EVERY, took * (1 / SHARE - 1))

    def _scores(self, result: TrainResult) -> str:
        rows = [
            f"{TASKS[task].title} {value:.1f} {TASKS[task].unit}" for task, value in headline(result.metrics).items()
        ]
        report = result.directory / REPORT_FILE
        return f"Finished after {self.config.steps} steps: {', '.join(rows)}. More in {report}"


def held_out(config: TrainConfig, indices: Sequence[int]) -> dict[str, Any]:
    """Some validation images of a run with their labels, at the size it trains at, as a batch."""
    images = validation_set(dataclasses.replace(config, val_count=max(indices) + 1, protocol="paper"))
    return collate([images[index] for index in indices])


@torch.inference_mode()
def look(model: MultiTaskModel, images: Tensor) -> dict[str, Tensor]:
    """What a model predicts in evaluation mode, in which it is left, on the CPU: {task: (B, C, H, W)}."""
    device = next(model.parameters()).device
    return {task: values.float().cpu() for task, values in model.eval()(images.to(device)).items()}


def next_folder(out: Path) -> Path:
    """The first of the folders ``out``/1, /2, ... that holds no run."""
    return next(folder for number in count(1) if not holds_run(folder := out / str(number)))


def count_parameters(config: TrainConfig) -> tuple[int, int]:
    """How many parameters a run would train, and how many its model has, without making any."""
    with torch.device("meta"):
        model = build_from_config(dataclasses.replace(config, pretrained=False))
    total = parameter_report(model).loc["total"]
    return int(total["trainable"]), int(total.sum())


# --------------------------------------------------------------------------------------------------------- the figure

# In inches: the side of a picture, the room between two and left of all, the heights of the line above all, of a task's
# title, of its curve, and of the numbers below that.
CELL, GAP, LEFT, TOP, HEAD, CURVE, TICKS = 1.3, 0.05, 0.3, 0.34, 0.56, 0.9, 0.28


def live_figure(
    batch: Mapping[str, Any],
    tasks: Sequence[str],
    log: Sequence[Record] = (),
    logits: Mapping[str, Tensor] | None = None,
    *,
    steps: int,
    title: str = "",
) -> "Figure":
    """Draw a column per task: its losses so far, and for each held-out image the prediction above the label.

    Args:
        batch: images (B, 3, H, W), normalised, and targets, see ``held_out``.
        tasks: which, in which order.
        log: one record per step so far.
        logits: {task: (B, C, H, W)} of these images; without them predictions are left blank.
        steps: of the whole run, which the curves' width stands for.
        title: a line above it all.
    """
    from matplotlib.figure import Figure

    pictures = _pictures(batch, tasks, logits or {})  # (rows, columns, H, W, 3)
    rows, columns = pictures.shape[:2]
    width, below = LEFT + columns * (CELL + GAP), rows * (CELL + GAP)
    height = TOP + HEAD + CURVE + TICKS + below
    figure = Figure(figsize=(width, height), dpi=100)
    figure.text(LEFT / width, 1 - 0.22 / height, title, color=INK, fontsize=10)
    for column, task in enumerate(tasks, start=1):
        left = LEFT + column * (CELL + GAP)
        axes = figure.add_axes((left / width, (below + TICKS) / height, CELL / width, CURVE / height))
        _curve(axes, log, task, steps)
    axes = figure.add_axes((LEFT / width, 0, columns * (CELL + GAP) / width, below / height))
    axes.imshow(_mosaic(pictures), extent=(0, columns, rows, 0), aspect="auto", interpolation="antialiased")
    axes.set_axis_off()
    for row in range(rows):
        words = ("prediction", "label")[row % 2]
        axes.text(-0.06, row + 0.5, words, ha="right", va="center", rotation=90, fontsize=8, color=INK)
    return figure


def _curve(axes: "Axes", log: Sequence[Record], task: str, steps: int) -> None:
    """The losses of a task so far, on an axis as long as the run; in words, the first and the last running mean."""
    axes.set(xlim=(0, steps), xticks=(0, steps), yticks=())
    axes.tick_params(labelsize=7, length=2, pad=1)
    axes.xaxis.get_ticklabels()[0].set_ha("left")
    axes.xaxis.get_ticklabels()[1].set_ha("right")
    axes.spines[["top", "right"]].set_visible(False)
    words = "loss"
    if log:
        plot_losses(axes, log, task)
        axes.margins(y=0.08)
        means = [mean for mean in axes.lines[1].get_ydata() if not math.isnan(mean)]
        words = f"loss {means[0]:.2f} → {means[-1]:.2f}" if means else "loss: nothing to see yet"
    above = {"transform": axes.transAxes, "va": "bottom", "linespacing": 1}
    axes.text(0, 1.02, words, fontsize=8, color=INK, **above)
    title = TASKS[task].title.replace(" ", "\n")
    axes.text(0, 1.2, title, fontsize=9, fontweight="bold", color=TASKS[task].color, **above)


def _pictures(batch: Mapping[str, Any], tasks: Sequence[str], logits: Mapping[str, Tensor]) -> np.ndarray:
    """Predictions and labels in turn, a column per task, and left of them the image: (2 B, 1 + T, H, W, 3)."""
    images = denormalize(batch["image"])  # (B, H, W, 3)
    blank = np.full_like(images, 245)
    columns = [(images, np.full_like(images, 255))]
    limits = depth_limits(batch["depth"]) if "depth" in tasks else None
    for task in tasks:
        said = read_logits(task, logits[task]) if task in logits else None
        predictions = blank if said is None else np.stack([colorize(task, value, limits) for value in said])
        columns.append((predictions, np.stack([colorize(task, value, limits) for value in batch[task]])))
    grid = np.stack([np.stack(pair, axis=1) for pair in columns], axis=2)  # (B, 2, 1 + T, H, W, 3)
    return grid.reshape(-1, *grid.shape[2:])


def _mosaic(pictures: np.ndarray) -> np.ndarray:
    """One picture of (rows, columns, H, W, 3), with white gaps right of and below each."""
    gap = round(GAP / CELL * pictures.shape[2])
    padded = np.pad(pictures, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
    rows, columns, height, width, _ = padded.shape
    return padded.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
