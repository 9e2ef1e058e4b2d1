"""The training runs of a comparison: same images in the same order, same steps, several seeds, own learning rates.

Every run is trained once and scored on two splits. A learning rate is chosen on the one with the first seed; tables
and intervals come from the other, which no choice has seen. Rates are chosen once per method, for the first of its
rows. A run that is done is never repeated, and one that was interrupted goes on.
"""

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from mtlora_lite.config import TrainConfig, training_set, validation_set
from mtlora_lite.counts import parameter_report
from mtlora_lite.engine import train
from mtlora_lite.interrupts import end_with_parent
from mtlora_lite.metrics import delta_m, headline
from mtlora_lite.records import as_json, write_json
from mtlora_lite.runs import CONFIG_FILE, LOG_FILE, holds_run
from mtlora_lite.study.bootstrap import States, image_states, tabulate
from mtlora_lite.study.cost import COST_FILE, measure
from mtlora_lite.study.rows import Row
from mtlora_lite.study.settings import CompareConfig, Run
from mtlora_lite.study.tables import Results, write_results

RESULT_FILE, STATES_FILE = "result.json", "states.npz"

Rates = dict[tuple[str, tuple[str, ...]], float]  # the learning rate of a row's group of tasks


def compare(config: CompareConfig) -> Results:
    """Run what is not there yet, choose learning rates, and return what is also written into ``config.out``.

    Raises:
        ValueError: a run in ``out`` was made with other settings.
        FileNotFoundError: the data have no list for one of the splits.
    """
    _prepare_data(config)
    parts = [(row, tasks) for row in config.rows for tasks in row.parts(config.tasks)]
    leaders = {row.tuned_as: row for row in reversed(config.rows)}  # the first row of every method
    with _workers(config.jobs) as pool:
        _run_all([Run(leaders[row.tuned_as], tasks, lr, 0) for row, tasks in parts for lr in config.lrs], config, pool)
        rates = {(row.name, tasks): choose_lr(leaders[row.tuned_as], tasks, config) for row, tasks in parts}
        runs = {row.name: [_runs(row, seed, rates, config) for seed in range(config.seeds)] for row in config.rows}
        _run_all([run for seeds in runs.values() for of_seed in seeds for run in of_seed], config, pool)
    states = {name: [_states(of_seed, config) for of_seed in seeds] for name, seeds in runs.items()}
    results = Results(*tabulate(states, config), _costs(runs, config), _named(rates))
    write_results(results, config)
    return results


def _runs(row: Row, seed: int, rates: Rates, config: CompareConfig) -> list[Run]:
    """The runs that make up one row and seed: one, or one per task."""
    return [Run(row, tasks, rates[row.name, tasks], seed) for tasks in row.parts(config.tasks)]


def _named(rates: Rates) -> dict[str, float]:
    return {f"{row} {tasks[0]}" if row.startswith("single_task") else row: lr for (row, tasks), lr in rates.items()}


def _prepare_data(config: CompareConfig) -> None:
    """Find out before the training what is wrong with the data; scenes are rendered here, once for all runs."""
    run = Run(config.rows[0], config.tasks[:1] if config.rows[0].method == "single_task" else config.tasks, 1.0, 0)
    whole = dataclasses.replace(run.config(config), method="decoders_only", options={}, tasks=config.tasks)
    training_set(whole)
    for split in (config.tune_split, config.table_split):
        validation_set(dataclasses.replace(whole, val_split=split))


def choose_lr(row: Row, tasks: tuple[str, ...], config: CompareConfig) -> float:
    """The learning rate with the best mean gain over the first one, on the split that the tables do not use."""
    scores = {lr: _tuning_scores(Run(row, tasks, lr, 0), config) for lr in config.lrs}
    return max(config.lrs, key=lambda lr: delta_m(scores[lr], scores[config.lrs[0]]))


# ------------------------------------------------------------------------------------------------------------- runs


def _run_all(runs: Iterable[Run], config: CompareConfig, pool: ProcessPoolExecutor) -> None:
    """Train what is not there yet, some at a time, under two bars: the runs, and the steps of those that are going."""
    missing = [run for run in dict.fromkeys(runs) if not _is_done(run.config(config))]
    if not missing:
        return
    folders = [run.config(config).out for run in missing]
    pending = {pool.submit(run_one, run, config) for run in missing}
    with tqdm(total=len(missing), desc="runs") as bar, tqdm(desc="steps", unit="step", leave=False) as steps:
        try:
            while pending:
                done, pending = wait(pending, timeout=1, return_when=FIRST_COMPLETED)
                for job in done:
                    job.result()
                bar.update(len(done))
                steps.update(sum(map(_steps_taken, folders)) - steps.n)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # or each that stops makes room for the next
            raise


@contextmanager
def _workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that train, started when there is work for them; they draw no bars of their own."""
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"  # tqdm reads this when it is imported, so only in the processes that are started
    try:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
            yield pool
    finally:
        del os.environ["TQDM_DISABLE"]
        if before is not None:
            os.environ["TQDM_DISABLE"] = before


def _steps_taken(folder: Path) -> int:
    try:
        return (folder / LOG_FILE).read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


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
    """Train one model, score it on both splits, and keep the per-image states of the split for the tables."""
    torch.set_num_threads(1)
    train_config = run.config(config)
    result = train(dataclasses.replace(train_config, resume=holds_run(train_config.out)))
    test = validation_set(dataclasses.replace(train_config, val_split=config.table_split))
    states, scores = image_states(result.model, test, config.protocol)
    np.savez_compressed(train_config.out / STATES_FILE, **_flatten(states))
    record = {
        config.tune_split: result.metrics,
        config.table_split: scores,
        "seconds": result.seconds,
        "trainable": int(parameter_report(result.model).loc["total", "trainable"]),
    }
    write_json(train_config.out / RESULT_FILE, record)  # last: its presence says that the run is complete


def _tuning_scores(run: Run, config: CompareConfig) -> dict[str, float]:
    """Headline metric of each task on the split that learning rates are chosen on."""
    result = json.loads((run.config(config).out / RESULT_FILE).read_text())
    return {t: float("nan") if value is None else value for t, value in headline(result[config.tune_split]).items()}


def _states(runs: Sequence[Run], config: CompareConfig) -> States:
    """The states of one row and seed, over all of its models."""
    states: States = {}
    for run in runs:
        with np.load(run.config(config).out / STATES_FILE) as arrays:
            for name in arrays.files:
                task, state = name.split(".")
                states.setdefault(task, {})[state] = arrays[name]
    return states


def _flatten(states: States) -> dict[str, np.ndarray]:
    return {f"{task}.{name}": values for task, named in states.items() for name, values in named.items()}


def _costs(runs: Mapping[str, Sequence[Sequence[Run]]], config: CompareConfig) -> dict[str, dict[str, float]]:
    """What each row costs: the sum over its models, each measured once and remembered beside its run."""
    costs = {}
    for name, seeds in tqdm(runs.items(), desc="cost", leave=False):
        of_models = [_cost(run.config(config)) for run in seeds[0]]
        costs[name] = {what: sum(each[what] for each in of_models) for what in of_models[0]}
    return costs


def _cost(config: TrainConfig) -> dict[str, float]:
    path = config.out / COST_FILE
    if not path.is_file():
        write_json(path, measure(config))
    return json.loads(path.read_text())
