"""The training runs of a comparison: same images in the same order, same steps, several seeds, own learning rates.

Every run is trained once and scored on two splits. A learning rate is chosen on the one with the first seed; tables
and intervals come from the other, which no choice has seen. Rates are chosen once per method, for the first of its
rows. A run that is done is never repeated, one that was interrupted goes on, and one whose loss ran away is kept as
such: its rate is not chosen.
"""

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from mtlora_lite.balancing import Balancer
from mtlora_lite.config import TrainConfig, build_from_config, changed_options, training_set, validation_set
from mtlora_lite.counts import parameter_report
from mtlora_lite.engine import train
from mtlora_lite.extras import MissingExtraError
from mtlora_lite.interrupts import end_with_parent
from mtlora_lite.metrics import delta_m, headline
from mtlora_lite.records import write_json
from mtlora_lite.runs import CONFIG_FILE, LOG_FILE, holds_run
from mtlora_lite.study.bootstrap import States, image_states, tabulate
from mtlora_lite.study.cost import COST_FILE, device_name, measure
from mtlora_lite.study.rows import Row
from mtlora_lite.study.settings import CompareConfig, Run
from mtlora_lite.study.tables import Results, write_results

RESULT_FILE, STATES_FILE = "result.json", "states.npz"
DIVERGED = "diverged"  # in place of scores: what was not finite

Rates = dict[tuple[str, tuple[str, ...]], float]  # the learning rate of a row's group of tasks


def compare(config: CompareConfig) -> Results:
    """Run what is not there yet, choose learning rates, and return what is also written into ``config.out``.

    Raises:
        ValueError: a row that cannot be built, a run in ``out`` that was made with other settings, or a row without a
            finite score.
        FileNotFoundError: the data have no list for one of the splits.
    """
    _check_rows(config)
    dataset = _prepare_data(config)
    parts = [(row, tasks) for row in config.rows for tasks in row.parts(config.tasks)]
    leaders = {row.tuned_as: row for row in reversed(config.rows)}  # the first row of every method
    with _workers(config.jobs) as pool:
        _run_all([Run(leaders[row.tuned_as], tasks, lr, 0) for row, tasks in parts for lr in config.lrs], config, pool)
        rates = {(row.name, tasks): choose_lr(leaders[row.tuned_as], tasks, config) for row, tasks in parts}
        runs = {row.name: [_runs(row, seed, rates, config) for seed in range(config.seeds)] for row in config.rows}
        _run_all([run for seeds in runs.values() for of_seed in seeds for run in of_seed], config, pool)
    states = {name: [_states(of_seed, config) for of_seed in seeds] for name, seeds in runs.items()}
    results = Results(*tabulate(states, config, dataset), _costs(runs, config), _named(rates))
    write_results(results, config)
    return results


def _runs(row: Row, seed: int, rates: Rates, config: CompareConfig) -> list[Run]:
    """The runs that make up one row and seed: one, or one per task."""
    return [Run(row, tasks, rates[row.name, tasks], seed) for tasks in row.parts(config.tasks)]


def _named(rates: Rates) -> dict[str, float]:
    return {f"{row} {tasks[0]}" if row.startswith("single_task") else row: lr for (row, tasks), lr in rates.items()}


def _check_rows(config: CompareConfig) -> None:
    """Build every row once, without numbers, or the last would fail after the training of all others."""
    for row in config.rows:
        run = dataclasses.replace(Run(row, row.parts(config.tasks)[0], 1.0, 0).config(config), pretrained=False)
        try:
            with torch.device("meta"):
                model = build_from_config(run)
            if run.balance:
                Balancer(run.balance, model, run.tasks)
        except (ValueError, TypeError, MissingExtraError) as error:
            raise ValueError(f"The row {row.name} cannot be built: {error}") from error


def _prepare_data(config: CompareConfig) -> str:
    """Find out before the training what is wrong with the data, and return their name.

    Scenes are rendered here, once for all runs.
    """
    run = Run(config.rows[0], config.tasks[:1] if config.rows[0].method == "single_task" else config.tasks, 1.0, 0)
    whole = dataclasses.replace(run.config(config), method="decoders_only", options={}, tasks=config.tasks)
    training_set(whole)
    images = [validation_set(dataclasses.replace(whole, val_split=s)) for s in (config.tune_split, config.table_split)]
    return images[0].name


def choose_lr(row: Row, tasks: tuple[str, ...], config: CompareConfig) -> float:
    """The learning rate with the best mean gain over the first one, on the split that the tables do not use.

    Rates at which the loss ran away, or a score does not exist, are not chosen.

    Raises:
        ValueError: there is no other.
    """
    scores = {lr: _tuning_scores(Run(row, tasks, lr, 0), config) for lr in config.lrs}
    finite = {lr: values for lr, values in scores.items() if all(map(math.isfinite, values.values()))}
    whole = [values for values in finite.values() if all(values.values())]  # gains are relative to no zero
    if len(finite) > 1 and whole:
        return max(finite, key=lambda lr: delta_m(finite[lr], whole[0]))
    if not finite:
        raise ValueError(
            f"{row.name} has scores for {', '.join(tasks)} at none of the rates {', '.join(map(str, config.lrs))}: "
            "its loss ran away, or the images show nothing of a task. Give other rates, or leave the row out."
        )
    return next(iter(finite))


# ------------------------------------------------------------------------------------------------------------- runs


def _run_all(runs: Iterable[Run], config: CompareConfig, pool: ProcessPoolExecutor) -> None:
    """Train what is not there yet, some at a time, under two bars: the runs, and the steps of those that are going."""
    missing = [run for run in dict.fromkeys(runs) if not _is_done(run, config)]
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
        with ProcessPoolExecutor(jobs, get_context("spawn"), end_with_parent, (os.getpid(),)) as pool:
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


def _is_done(run: Run, config: CompareConfig) -> bool:
    """Whether the result of a run is there; that of a run with other settings raises ``ValueError``."""
    wanted = run.config(config)
    if not (wanted.out / RESULT_FILE).is_file():
        return False
    if changed := changed_options(json.loads((wanted.out / CONFIG_FILE).read_text()), wanted):
        raise ValueError(
            f"{wanted.out} was run with another {' and '.join(changed)}: choose another folder, or remove this one."
        )
    return _result(run, config).keys() & {config.table_split, DIVERGED} != set()


def run_one(run: Run, config: CompareConfig) -> None:
    """Train one model, score it on both splits, and keep the per-image states of the split for the tables."""
    torch.set_num_threads(1)
    train_config = run.config(config)
    try:
        result = train(dataclasses.replace(train_config, resume=holds_run(train_config.out)))
    except FloatingPointError as error:
        write_json(train_config.out / RESULT_FILE, {DIVERGED: str(error)})
        return
    model = result.model.to("cuda" if torch.cuda.is_available() else "cpu")
    test = validation_set(dataclasses.replace(train_config, val_split=config.table_split))
    states, scores = image_states(model, test, config.protocol)
    np.savez_compressed(train_config.out / STATES_FILE, **_flatten(states))
    record = {
        config.tune_split: result.metrics,
        config.table_split: scores,
        "seconds": result.seconds,
        "trainable": int(parameter_report(model).loc["total", "trainable"]),
    }
    write_json(train_config.out / RESULT_FILE, record)  # last: its presence says that the run is complete


def _result(run: Run, config: CompareConfig) -> dict[str, Any]:
    return json.loads((run.config(config).out / RESULT_FILE).read_text())


def _tuning_scores(run: Run, config: CompareConfig) -> dict[str, float]:
    """Headline metric of each task on the split that learning rates are chosen on; nan where there is none."""
    result = _result(run, config)
    if DIVERGED in result:
        return dict.fromkeys(run.tasks, math.nan)
    return {t: math.nan if value is None else value for t, value in headline(result[config.tune_split]).items()}


def _states(runs: Sequence[Run], config: CompareConfig) -> States:
    """The states of one row and seed, over all of its models; ``ValueError`` where the loss of one ran away."""
    states: States = {}
    for run in runs:
        if DIVERGED in (result := _result(run, config)):
            raise ValueError(
                f"{run.row.name} has no scores, as its loss ran away at the rate {run.lr:g} with seed {run.seed}: "
                f"{result[DIVERGED]} Give lower rates, or leave the row out; all other runs are kept."
            )
        with np.load(run.config(config).out / STATES_FILE) as arrays:
            for name in arrays.files:
                task, state = name.split(".")
                states.setdefault(task, {})[state] = arrays[name]
    return states


def _flatten(states: States) -> dict[str, np.ndarray]:
    return {f"{task}.{name}": values for task, named in states.items() for name, values in named.items()}


def _costs(runs: Mapping[str, Sequence[Sequence[Run]]], config: CompareConfig) -> dict[str, dict[str, float]]:
    """What each row costs, each of its models measured once and remembered beside its run.

    Weights and times add up over the models; memory is that of the largest, as one is trained after another.
    """
    costs = {}
    for name, seeds in tqdm(runs.items(), desc="cost", leave=False):
        of_models = [_cost(run.config(config)) for run in seeds[0]]
        costs[name] = {what: sum(each[what] for each in of_models) for what in of_models[0]}
        costs[name]["memory MB"] = max(each["memory MB"] for each in of_models)
    return costs


def _cost(config: TrainConfig) -> dict[str, float]:
    """What one model costs on this machine: what was measured on a GPU says nothing beside a CPU's numbers."""
    path, device = config.out / COST_FILE, device_name()
    kept = json.loads(path.read_text()) if path.is_file() else {}
    if kept.get("device", "CPU") != device or not kept:
        kept = measure(config) | {"device": device}
        write_json(path, kept)
    return {what: value for what, value in kept.items() if what != "device"}
