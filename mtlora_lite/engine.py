"""Training: one recipe for every method, backbone and data set, on one process or many, and without losing a step.

``trainer.py`` takes the steps, ``batches.py`` says which images they see, ``runs.py`` and ``checkpoints.py`` keep what
comes of them; here is the order in which all that happens.
"""

import dataclasses
import platform
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from mtlora_lite import checkpoints, runs, trackers
from mtlora_lite.batches import Draws, images_per_pass, training_loader
from mtlora_lite.checkpoints import Checkpoint
from mtlora_lite.config import ROUNDING_OPTIONS, TrainConfig, changed_options, training_set
from mtlora_lite.disk import writing_to
from mtlora_lite.distributed import is_main, main_first, num_processes, on_main, one_bar, one_voice
from mtlora_lite.evaluation import Scores
from mtlora_lite.interrupts import Interrupted, Request, listening
from mtlora_lite.judge import Judge
from mtlora_lite.metrics import headline, headline_names
from mtlora_lite.model import MultiTaskModel
from mtlora_lite.printing import is_quiet, readable
from mtlora_lite.records import write_json
from mtlora_lite.references import Reference, write_reference
from mtlora_lite.report import write_report
from mtlora_lite.trainer import Trainer, connect

TIMED_STEPS = 5  # after which a long run says how long it will take
LONG_RUN = 15 * 60  # seconds
PACKAGES = ("torch", "torchvision", "timm", "accelerate", "numpy")  # another version may compute other last digits

OnStep = Callable[[dict[str, float], MultiTaskModel], None]


@dataclass(frozen=True)
class TrainResult:
    """What a run leaves behind.

    Attributes:
        model: the trained model, in evaluation mode, on the CPU.
        metrics: {task: {metric: value}} on the validation split.
        delta_m: Δm over the run's reference in percent; None without one.
        log: one record per logged step: step, lr, total and the unweighted loss of each task.
        seconds: wall time of the training steps alone.
        directory: where the files are.
    """

    model: MultiTaskModel
    metrics: Scores
    delta_m: float | None
    log: list[dict[str, float]]
    seconds: float
    directory: Path


def train(config: TrainConfig, *, on_step: OnStep | None = None, request: Request | None = None) -> TrainResult:
    """Train one model and evaluate it.

    Writes ``config.json``, ``log.jsonl`` (a line per step), ``evaluations.jsonl`` (a line per evaluation),
    ``metrics.json`` (of the last one), the models ``model/``, the last, and, where a reference says what is better and
    there is more than one evaluation, ``best/``, the one of the highest Δm; ``report.md``, to be read first; and
    ``checkpoints/``, from which the run goes on where it stopped. Every process of a launcher calls it with the same
    run; only the main one writes.

    Args:
        config: the run.
        on_step: called after every step with its record (step, lr, total, one loss per task), and with the model that
            would be scored now, to look at in evaluation mode.
        request: by which another thread may stop the run.

    Raises:
        FloatingPointError: a loss is not finite; the message names the task and the images.
        Interrupted: Ctrl-C, SIGTERM or ``request``; the step was finished and everything saved.
        MemoryError: a pass does not fit into the memory of the GPU.
        OSError: the folder cannot be written to; what was there is intact.
        ValueError: something in ``config`` does not exist, there are fewer images than one batch takes, the folder
            holds another run, or there is none in it that could be resumed like this.
    """
    accelerator = connect(config.precision, **trackers.settings(trackers.choose_trackers(config.trackers), config.out))
    with one_voice():
        return _train(config, accelerator, on_step, request)


def _train(
    config: TrainConfig, accelerator: Accelerator, on_step: OnStep | None, request: Request | None
) -> TrainResult:
    # The gradients of 1x1 convolutions in channels-last order have other strides than DDP expects; they are few.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    if not config.resume:
        on_main(partial(runs.check_free, config.out))
    pass_size = images_per_pass(config.batch_size, config.accumulate)
    trainer = Trainer(config, accelerator)  # before the images, which may have to be rendered or read first
    images, judge = main_first(lambda: (training_set(config), Judge(config)))
    run = _Run(config, trainer, images, judge)
    with runs.held(config.out), listening(request) as request:
        run.begin()
        try:
            if not run.finished:
                run.go(request, on_step)
        except torch.OutOfMemoryError as error:
            raise MemoryError(_advice(config, pass_size)) from error
        finally:
            trackers.end(accelerator)
    last, model = judge.last, trainer.finish()
    with writing_to(config.out, runs.REMEDY):
        on_main(partial(write_report, config, model))
    return TrainResult(model, last["metrics"], last["delta_m"], run.log, run.seconds, config.out)


def train_single_tasks(config: TrainConfig) -> Reference:
    """Train a model for each task alone, and write what they score to ``reference.json``, for Δm to be relative to."""
    results: Scores = {}
    for task in config.tasks:
        weights = {task: config.loss_weights[task]} if task in config.loss_weights else {}
        alone = dataclasses.replace(
            config, tasks=(task,), loss_weights=weights, reference=None, out=config.out / task
        )  # fmt: skip
        results |= train(alone).metrics
    source = f"{config.method} of {config.backbone} on {config.data}, split {config.val_split}, from {config.out}"
    reference = Reference(headline(results), headline_names(results), config.protocol, source)
    on_main(partial(write_reference, config.out / runs.REFERENCE_FILE, reference))
    return reference


class _Run:
    """A run between its first step and its last: where it stands, and what it keeps."""

    def __init__(self, config: TrainConfig, trainer: Trainer, images: Dataset, judge: Judge) -> None:
        self.config, self.trainer, self.images, self.judge = config, trainer, images, judge
        self.step, self.steps, self.seconds = 0, config.num_steps(len(images)), 0.0
        self.saved: int | None = None  # the step of the newest checkpoint
        self.log: list[dict[str, float]] = []
        self.finished = False
        self._draws(range(0))  # fails before anything is written, or never
        self._times: list[float] = []  # seconds of each step of this session
        self._frozen = trainer.model.frozen_hash()

    def begin(self) -> None:
        """Start from the beginning, or from the newest checkpoint."""
        folder = self.config.out / runs.CHECKPOINTS
        found = on_main(partial(checkpoints.newest, folder)) if self.config.resume else None
        if found:
            self._check_fits(found)
            self._restore(found)
        elif self.config.resume:
            _say(f"There is nothing to resume in {self.config.out}: starting from the beginning.")
        on_main(partial(self._open, fresh=found is None))

    def _open(self, fresh: bool) -> None:
        with writing_to(self.config.out, runs.REMEDY):
            if fresh:  # looked at once more, for now no other run can come in between
                (runs.check_begun if self.config.resume else runs.check_free)(self.config.out)
                runs.clear(self.config.out)
            config = dataclasses.replace(self.config, resume=False)  # the run is the same, resumed or not
            write_json(self.config.out / runs.CONFIG_FILE, dataclasses.asdict(config))
            if not self.finished:
                trackers.begin(self.trainer.accelerator, dataclasses.asdict(config), config.out)

    def _check_fits(self, found: Checkpoint) -> None:
        """Refuse a checkpoint of a run that would have learned something else, and name what may round otherwise."""
        before = found.state
        changed = changed_options(before["config"], self.config)
        if refused := [name for name in changed if name not in ROUNDING_OPTIONS]:
            was = ", ".join(f"{name}={before['config'].get(name)}" for name in refused)
            raise ValueError(
                f"The run in {self.config.out} was started with {was}: resume it with that, or choose another --out."
            )
        if before["frozen_sha256"] != self._frozen:
            raise ValueError(
                f"The run in {self.config.out} adapts other frozen weights than {self.config.backbone} has here: "
                "use the backbone it was started with, or choose another --out."
            )
        now = _surroundings()
        others = [f"{name} {was}" for name, was in before["surroundings"].items() if was != now.get(name)]
        others += [f"{name}={before['config'].get(name)}" for name in changed]
        if others:
            warnings.warn(
                f"Until step {before['step']} this run had {', '.join(others)}: last digits may differ from here on.",
                stacklevel=5,
            )

    def _restore(self, found: Checkpoint) -> None:
        out = self.config.out
        self.trainer.restore(found)
        self.step = self.saved = found.state["step"]
        self.seconds = found.state["seconds"]
        self.finished = self.step == self.steps and (out / runs.METRICS_FILE).is_file()
        self.log = on_main(partial(runs.cut_back, out / runs.LOG_FILE, self.step))
        scored = self.step - (self.step == self.steps and not self.finished)  # a last evaluation is complete or not
        self.judge.recall(on_main(partial(runs.cut_back, out / runs.EVALUATIONS_FILE, scored)))
        if self.finished:
            self.judge.last = runs.read_metrics(out)
            _say(f"The run in {out} is finished, with all of its {self.steps} steps.")
        else:
            _say(f"Going on in {out} after step {self.step} of {self.steps}.")

    def go(self, request: Request, on_step: OnStep | None) -> None:
        """Take the steps that are left, evaluate and save in between, and write the result."""
        config, per_epoch = self.config, self.config.steps_per_epoch(len(self.images))
        if self.step and self.judge.step != self.step and self.judge.is_due(self.step, self.steps, per_epoch):
            self._judge()  # the run was stopped before that
        left = range(self.step, self.steps)
        batches = iter(training_loader(self.images, self._draws(left), config.workers))
        with self._bar() as bar:
            for _ in left:
                start = time.perf_counter()
                record, stop = self._take([next(batches) for _ in range(config.accumulate)], request.signal)
                self._note(record, time.perf_counter() - start, left, on_step)
                if self.step % per_epoch == 0:
                    self.trainer.weighting.end_epoch()
                bar.update()
                due = self.judge.is_due(self.step, self.steps, per_epoch)
                if due or stop or (config.save_every and self.step % config.save_every == 0):
                    self.save()
                if stop:
                    raise Interrupted(f"Stopped after step {self.step} of {self.steps}; everything is saved.", stop)
                if due:
                    self._judge()
        on_main(self._write_metrics)

    def _draws(self, steps: range) -> Draws:
        config = self.config
        return Draws(len(self.images), steps, config.batch_size, config.accumulate, config.seed)

    def _bar(self) -> tqdm:
        title = f"train {self.config.method}"
        return tqdm(total=self.steps, initial=self.step, desc=title, unit="step", leave=False, **one_bar())

    def _note(self, record: dict[str, float], seconds: float, left: range, on_step: OnStep | None) -> None:
        """Keep the record of a step that took so long, and say after a few how long a long run will take."""
        self.step = record["step"]
        self.seconds += seconds
        self.log.append(record)
        if is_main():
            runs.append(self.config.out / runs.LOG_FILE, record)
        losses = {f"loss/{name}": record[name] for name in ("total", *self.config.tasks)}
        self.trainer.accelerator.log({"lr": record["lr"]} | losses, step=self.step)
        if on_step:
            on_step(record, self.trainer.judged)
            self.trainer.model.train()
        self._times.append(seconds)
        if len(self._times) == 1 + TIMED_STEPS and (message := _forecast(sum(self._times[1:]), len(left))):
            _say(message)

    def _take(self, passes: list[Mapping[str, Any]], stop: int) -> tuple[dict[str, float], int]:
        """The next step; where it fails, the state before it is saved."""
        number = self.step + 1
        try:
            return self.trainer.step(number, self.steps, passes, stop)
        except FloatingPointError as error:
            raise FloatingPointError(f"{error} The state before step {number} is in {self.save()}.") from error
        except torch.OutOfMemoryError:
            if num_processes() == 1:  # otherwise the others are in the midst of their step
                self.save()
            raise

    def _judge(self) -> None:
        with self.trainer.accelerator.autocast():
            self.judge(self.step, self.trainer.judged)
        self.trainer.accelerator.log(self.judge.numbers(), step=self.step)
        self.trainer.model.train()

    def save(self) -> Path:
        """Write a checkpoint of where the run stands, unless there is one, and return its folder."""
        folder = self.config.out / runs.CHECKPOINTS
        if self.saved != self.step:
            files = self.trainer.tensors()
            on_main(lambda: self._write_checkpoint(folder, files) and None)
            self.saved = self.step
        return checkpoints.folder_of(folder, self.step)

    def _write_checkpoint(self, folder: Path, files: Mapping[str, checkpoints.Tensors]) -> None:
        for name in (runs.LOG_FILE, runs.EVALUATIONS_FILE):
            if (path := self.config.out / name).is_file():
                checkpoints.sync(path)  # a checkpoint must not know of steps that a power cut takes from the log
        checkpoints.write(folder, self.step, files, {
            "step": self.step, "seconds": self.seconds, "best": self.judge.best,
            "config": dataclasses.asdict(self.config), "frozen_sha256": self._frozen,
            "surroundings": _surroundings(), **self.trainer.state(),
        })  # fmt: skip

    def _write_metrics(self) -> None:
        with writing_to(self.config.out, runs.REMEDY):
            write_json(self.config.out / runs.METRICS_FILE, self.judge.last | {"seconds": self.seconds})


def _forecast(seconds: float, steps: int) -> str | None:
    """How long a long run will take, from the time of ``TIMED_STEPS`` steps; nothing for a short one."""
    each = seconds / TIMED_STEPS
    total = each * steps
    if total < LONG_RUN:
        return None
    length = f"{total / 86400:.1f} days" if total > 2 * 86400 else f"{total / 3600:.1f} hours"
    return f"{steps:,} steps at {each:.2f} s take about {length} here, evaluations aside."


def _surroundings() -> dict[str, Any]:
    """What a run is not, but what the last digits of its numbers depend on."""
    return {"processes": num_processes(), "python": platform.python_version()} | {
        name: version(name) for name in PACKAGES
    }


def _advice(config: TrainConfig, images: int) -> str:
    where = f" ({readable(torch.cuda.get_device_properties(0).total_memory)})" if torch.cuda.is_available() else ""
    return (
        f"The memory of the GPU{where} does not hold a pass of {images} image(s) at {config.img_size} pixels: "
        f"raise accumulate (now {config.accumulate}), switch checkpointing on, or choose precision bf16 or a smaller "
        "img_size."
    )


def _say(text: str) -> None:
    if is_main() and not is_quiet():
        tqdm.write(text)
