"""Compare methods on equal terms: same images and steps, several seeds, each with its own best learning rate.

Every run is trained once and scored on two splits. The learning rate is chosen on ``val`` with the first seed; the
table and its intervals come from ``test``, which no choice has seen. Runs that are done are not repeated.

A row is a method, or ``method:random`` for the same from random weights. ``single_task`` is one model per task, each
with its own learning rate.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from mtlora_lite.config import Setting, TrainConfig, training_set, validation_set
from mtlora_lite.counts import parameter_report
from mtlora_lite.engine import train
from mtlora_lite.evaluation import Scores, evaluate
from mtlora_lite.methods import get_method
from mtlora_lite.metrics import MetricSet, build_metrics, delta_m, headline
from mtlora_lite.model import MultiTaskModel
from mtlora_lite.records import as_json, write_json
from mtlora_lite.runs import CONFIG_FILE, holds_run
from mtlora_lite.tasks import TASKS

TUNE_SPLIT, TABLE_SPLIT = "val", "test"
RANDOM = ":random"  # suffix of a row that does not start from pre-trained weights
UNUSED_STATES = ("histogram",)  # large, and no headline metric needs it
RESULT_FILE = "result.json"

States = dict[str, dict[str, np.ndarray]]  # {task: {state: (images, size)}}


@dataclass(frozen=True)
class CompareConfig(Setting):
    """Compare methods on equal terms: same images and steps, several seeds, each with its own best learning rate.

    Attributes:
        out: folder for the runs and the table.
        rows: methods; METHOD:random starts from random weights, single_task is one model per task.
        baseline: the row that Δm is relative to.
        options: the options of the rows mtlora and mtlora_plus, such as rank and task_rank.
        lrs: learning rates that every row may choose from.
        seeds: of the runs; the first one also serves to choose.
        jobs: runs at a time, each with one thread.
        replicates: resamples of the bootstrap.
    """

    out: Path = Path("runs/compare")
    rows: tuple[str, ...] = ("decoders_only", "mtlora", "mtlora:random", "full", "single_task")
    baseline: str = "decoders_only"
    options: Mapping[str, Any] = field(default_factory=dict)
    lrs: tuple[float, ...] = (5e-4, 1.5e-3, 4.5e-3)
    seeds: tuple[int, ...] = (0, 1, 2)
    jobs: int = 2
    replicates: int = 1000


@dataclass(frozen=True)
class Run:
    """One training run of a comparison: a row, the tasks it trains together, a learning rate, a seed."""

    row: str
    tasks: tuple[str, ...]
    lr: float
    seed: int

    def config(self, compare: CompareConfig) -> TrainConfig:
        """The run as the engine takes it."""
        method = self.row.removesuffix(RANDOM)
        name = f"{self.row.replace(':', '-')}-{'-'.join(self.tasks)}-lr{self.lr:g}-seed{self.seed}"
        shared = {field.name: getattr(compare, field.name) for field in dataclasses.fields(Setting)}
        own = {
            "out": compare.out / name,
            "tasks": self.tasks,
            "method": method,
            "options": compare.options if method.startswith("mtlora") else {},
            "pretrained": not self.row.endswith(RANDOM),
            "val_split": TUNE_SPLIT,
            "lr": self.lr,
            "seed": self.seed,
        }
        return TrainConfig(**shared | own)


def compare(config: CompareConfig) -> pd.DataFrame:
    """Run what is not there yet, choose learning rates, and return the table that is also written to ``table.json``.

    Raises:
        ValueError: a row is no method, the baseline is no row, or a run in ``out`` was made with other settings.
        FileNotFoundError: the data have no list for one of the splits.
    """
    _check(config)
    parts = [(row, tasks) for row in config.rows for tasks in _parts(row, config.tasks)]
    first = config.seeds[0]
    tuning = [Run(row, tasks, lr, first) for row, tasks in parts for lr in config.lrs]
    _run_all(tuning, config)
    chosen = {(row, tasks): choose_lr(row, tasks, config) for row, tasks in parts}
    _run_all([Run(row, tasks, chosen[row, tasks], seed) for row, tasks in parts for seed in config.seeds[1:]], config)

    states = {row: [_states(row, seed, chosen, config) for seed in config.seeds] for row in config.rows}
    table = tabulate(states, config)
    lrs = {f"{row} {'+'.join(tasks) if len(tasks) == 1 else ''}".strip(): lr for (row, tasks), lr in chosen.items()}
    write_json(config.out / "table.json", {"rows": table.to_dict("index"), "lr": lrs})
    return table


def _check(config: CompareConfig) -> None:
    """Find out before the training, not after it, what is wrong; scenes are rendered here, once for all runs."""
    for row in config.rows:
        get_method(row.removesuffix(RANDOM))
    if config.baseline not in config.rows:
        raise ValueError(f"The baseline {config.baseline!r} is not among the rows {', '.join(config.rows)}.")
    if config.boundary:
        raise ValueError("Comparisons resample images, for which edges are scored by F_1px: leave boundary off.")
    run = Run(config.baseline, config.tasks, config.lrs[0], config.seeds[0]).config(config)
    training_set(run)
    for split in (TUNE_SPLIT, TABLE_SPLIT):
        validation_set(dataclasses.replace(run, val_split=split))


def _parts(row: str, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The groups of tasks that a row trains together."""
    return [(task,) for task in tasks] if row.startswith("single_task") else [tasks]


def choose_lr(row: str, tasks: tuple[str, ...], config: CompareConfig) -> float:
    """The learning rate with the best mean gain over the first one, on the split that the table does not use."""
    scores = {lr: _tuning_scores(Run(row, tasks, lr, config.seeds[0]), config) for lr in config.lrs}
    return max(config.lrs, key=lambda lr: delta_m(scores[lr], scores[config.lrs[0]]))


# ------------------------------------------------------------------------------------------------------------- runs


def _run_all(runs: Iterable[Run], config: CompareConfig) -> None:
    missing = [run for run in runs if not _is_done(run.config(config))]
    if not missing:
        return
    with ProcessPoolExecutor(config.jobs, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(run_one, run, config) for run in missing]
        try:
            for job in tqdm(jobs, desc="compare", unit="run"):
                job.result()
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)  # or each that stops makes room for the next
            raise


def _is_done(config: TrainConfig) -> bool:
    """Whether the result of a run is there; that of a run with other settings raises ``ValueError``."""
    if not (config.out / RESULT_FILE).is_file():
        return False
    before, now = json.loads((config.out / CONFIG_FILE).read_text()), as_json(dataclasses.asdict(config))
    if changed := [name for name in now if before.get(name) != now[name]]:
        raise ValueError(
            f"{config.out} was run with another {' and '.join(changed)}: choose another folder, or remove this one."
        )
    return True


def run_one(run: Run, config: CompareConfig) -> None:
    """Train one model, score it on both splits, and keep the per-image states of the split for the table."""
    torch.set_num_threads(1)
    train_config = run.config(config)
    result = train(dataclasses.replace(train_config, resume=holds_run(train_config.out)))
    test = validation_set(dataclasses.replace(train_config, val_split=TABLE_SPLIT))
    states, scores = image_states(result.model, test, config.protocol)
    np.savez_compressed(train_config.out / "states.npz", **_flatten(states))
    record = {
        TUNE_SPLIT: result.metrics,
        TABLE_SPLIT: scores,
        "seconds": result.seconds,
        "trainable": int(parameter_report(result.model).loc["total", "trainable"]),
    }
    write_json(train_config.out / RESULT_FILE, record)  # last: its presence says that the run is complete


def _tuning_scores(run: Run, config: CompareConfig) -> dict[str, float]:
    """Headline metric of each task on the split that learning rates are chosen on."""
    result = json.loads((run.config(config).out / RESULT_FILE).read_text())
    return {task: float("nan") if value is None else value for task, value in headline(result[TUNE_SPLIT]).items()}


def _states(row: str, seed: int, chosen: Mapping, config: CompareConfig) -> States:
    """The states of one row and seed, over all of its models."""
    states: States = {}
    for tasks in _parts(row, config.tasks):
        path = Run(row, tasks, chosen[row, tasks], seed).config(config).out / "states.npz"
        with np.load(path) as arrays:
            for name in arrays.files:
                task, state = name.split(".")
                states.setdefault(task, {})[state] = arrays[name]
    return states


def _flatten(states: States) -> dict[str, np.ndarray]:
    return {f"{task}.{name}": values for task, named in states.items() for name, values in named.items()}


# ------------------------------------------------------------------------------------- statistics over images and seeds


def image_states(model: MultiTaskModel, dataset, protocol: str = "standard") -> tuple[States, Scores]:
    """The sums that every metric is made of, one row per image (resampling images adds up rows), and the scores."""
    metrics = build_metrics(model.tasks, protocol=protocol)
    collected: dict[str, dict[str, list]] = {}

    def collect(logits, targets) -> None:
        for index in range(len(next(iter(logits.values())))):
            metrics.reset()
            one = slice(index, index + 1)
            metrics.update({t: v[one] for t, v in logits.items()}, {t: v[one] for t, v in targets.items()})
            for task, name, state in _small_states(metrics):
                collected.setdefault(task, {}).setdefault(name, []).append(state.double().flatten().cpu().numpy())

    scores = evaluate(model, dataset, protocol=protocol, on_batch=collect)
    return {task: {name: np.stack(rows) for name, rows in named.items()} for task, named in collected.items()}, scores


def _small_states(metrics: MetricSet) -> Iterable[tuple[str, str, torch.Tensor]]:
    for task, meter in metrics.meters.items():
        for name in meter._defaults:
            if name not in UNUSED_STATES:
                yield task, name, getattr(meter, name)


def weighted_headline(metrics: MetricSet, states: States, weights: np.ndarray) -> dict[str, float]:
    """Headline metric of each task when image i counts ``weights[i]`` times."""
    metrics.reset()
    for meter in metrics.meters.values():
        meter._update_count = 1  # or torchmetrics warns of a score without data
    for task, name, state in _small_states(metrics):
        total = torch.from_numpy(weights @ states[task][name])
        setattr(metrics.meters[task], name, total.view_as(state).to(state.dtype))
    return headline(metrics.compute())


def tabulate(states: Mapping[str, list[States]], config: CompareConfig) -> pd.DataFrame:
    """Per row: mean and standard deviation over seeds of every task, and Δm over the baseline with its interval.

    The interval is that of a paired bootstrap: each replicate draws images and seeds with replacement, the same ones
    for all rows, and compares what the rows score on them.
    """
    metrics = build_metrics(config.tasks, protocol=config.protocol)
    images = len(next(iter(next(iter(states.values()))[0][config.tasks[0]].values())))
    seeds = len(config.seeds)

    def scores(weights: np.ndarray, drawn: Iterable[int]) -> dict[str, list[dict[str, float]]]:
        return {row: [weighted_headline(metrics, of_row[s], weights) for s in drawn] for row, of_row in states.items()}

    def gains(of_rows: Mapping[str, list[dict[str, float]]]) -> dict[str, float]:
        means = {row: _mean(values) for row, values in of_rows.items()}
        return {row: delta_m(mean, means[config.baseline]) for row, mean in means.items()}

    rng = np.random.default_rng(0)
    observed = scores(np.ones(images), range(seeds))
    gain = gains(observed)
    replicates = [
        gains(scores(np.bincount(rng.integers(0, images, images), minlength=images), rng.integers(0, seeds, seeds)))
        for _ in tqdm(range(config.replicates), desc="bootstrap", leave=False)
    ]
    rows = {}
    for row, values in observed.items():
        low, high = np.percentile([replicate[row] for replicate in replicates], (2.5, 97.5))
        rows[row] = {task: np.mean([v[task] for v in values]) for task in config.tasks}
        rows[row] |= {f"{task} std": _std([v[task] for v in values]) for task in config.tasks}
        rows[row] |= {"delta_m": gain[row], "delta_m low": low, "delta_m high": high}
    return pd.DataFrame.from_dict(rows, orient="index")


def _mean(values: list[dict[str, float]]) -> dict[str, float]:
    return {task: float(np.mean([value[task] for value in values])) for task in values[0]}


def _std(values: list[float]) -> float:
    """Standard deviation over seeds; nan for a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def format_table(table: pd.DataFrame, tasks: Iterable[str]) -> str:
    """The table as text that lines up."""
    columns = {}
    for task in tasks:
        row = TASKS[task]
        arrow = "↑" if row.higher_is_better else "↓"
        digits = 2 if task == "depth" else 1
        columns[f"{task} {row.metric} {row.unit} {arrow}"] = [
            f"{mean:.{digits}f}" + ("" if np.isnan(std) else f" ± {std:.{digits}f}")
            for mean, std in zip(table[task], table[f"{task} std"], strict=True)
        ]
    columns["Δm % [95 %]"] = [
        f"{gain:+.1f} [{low:+.1f}, {high:+.1f}]"
        for gain, low, high in zip(table["delta_m"], table["delta_m low"], table["delta_m high"], strict=True)
    ]
    return pd.DataFrame(columns, index=table.index).to_string()
