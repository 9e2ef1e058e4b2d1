"""What scores over images and seeds say: means, spreads, and intervals by a paired bootstrap.

Every metric is made of sums over images, so that images can be drawn again without a model: their sums are kept.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from mtlora_lite.evaluation import Scores, evaluate
from mtlora_lite.metrics import MetricSet, build_metrics, delta_m, headline
from mtlora_lite.model import MultiTaskModel
from mtlora_lite.study.settings import CompareConfig

UNUSED_STATES = ("histogram",)  # large, and no headline metric needs it

States = dict[str, dict[str, np.ndarray]]  # {task: {state: (images, size)}}


def image_states(model: MultiTaskModel, dataset, protocol: str = "standard") -> tuple[States, Scores]:
    """The sums that every metric is made of, one row per image (resampling images adds up rows), and the scores."""
    metrics = build_metrics(model.tasks, dataset=getattr(dataset, "name", "pascal"), protocol=protocol)
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


def tabulate(
    states: Mapping[str, list[States]], config: CompareConfig, dataset: str = "pascal"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the rows score, and how sure it is that one is better than another.

    Args:
        states: {row: the states of every seed}.
        config: the comparison.
        dataset: the name of the data set, as ``build_metrics`` knows it.

    Returns:
        Per row the mean and standard deviation over seeds of every task, and Δm over the baseline with its interval;
        and, row against row, the share of replicates in which the first has the higher Δm (a tie is half). Each
        replicate of the paired bootstrap draws images and seeds with replacement, the same ones for all rows.
    """
    metrics = build_metrics(config.tasks, dataset=dataset, protocol=config.protocol)
    images = len(next(iter(next(iter(states.values()))[0][config.tasks[0]].values())))
    seeds = len(next(iter(states.values())))

    def scores(weights: np.ndarray, drawn: Iterable[int]) -> dict[str, list[dict[str, float]]]:
        return {row: [weighted_headline(metrics, of_row[s], weights) for s in drawn] for row, of_row in states.items()}

    def gains(of_rows: Mapping[str, list[dict[str, float]]]) -> dict[str, float]:
        means = {row: _mean(values) for row, values in of_rows.items()}
        return {row: delta_m(mean, means[config.baseline]) for row, mean in means.items()}

    rng = np.random.default_rng(0)
    observed = scores(np.ones(images), range(seeds))
    replicates = pd.DataFrame(
        gains(scores(np.bincount(rng.integers(0, images, images), minlength=images), rng.integers(0, seeds, seeds)))
        for _ in tqdm(range(config.replicates), desc="bootstrap", leave=False)
    )
    gain, low, high = gains(observed), replicates.quantile(0.025), replicates.quantile(0.975)
    rows = {}
    for row, values in observed.items():
        rows[row] = {task: np.mean([v[task] for v in values]) for task in config.tasks}
        rows[row] |= {f"{task} std": _std([v[task] for v in values]) for task in config.tasks}
        rows[row] |= {"delta_m": gain[row], "delta_m low": low[row], "delta_m high": high[row]}
    return pd.DataFrame.from_dict(rows, orient="index"), better(replicates)


def better(replicates: pd.DataFrame) -> pd.DataFrame:
    """Row against row, the share of replicates (replicates x rows) in which the first is above the second.

    One in which a metric does not exist, such as the mIoU of a class that was not drawn, counts for neither.
    """
    values = replicates.to_numpy()  # (replicates, rows)
    above = values[:, :, None] - values[:, None, :]
    share = np.nanmean(np.where(np.isnan(above), np.nan, (above > 0) + 0.5 * (above == 0)), axis=0)
    return pd.DataFrame(share, replicates.columns, replicates.columns)


def _mean(values: list[dict[str, float]]) -> dict[str, float]:
    return {task: float(np.mean([value[task] for value in values])) for task in values[0]}


def _std(values: list[float]) -> float:
    """Standard deviation over seeds; nan for a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
