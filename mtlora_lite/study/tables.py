"""What a comparison leaves: its numbers as JSON and CSV, a page to read, and its figures.

``report.md`` shows it all and says the command that makes it again; ``table.csv`` and ``table.json`` hold a row per
row, ``better.csv`` row against row. ``gains.png`` has Δm row by row; ``pareto.png`` is what a row gains over what it
trains; ``published.png`` the same of what has been printed about PASCAL-Context.
"""

import dataclasses
import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mtlora_lite.paths import command
from mtlora_lite.printing import markdown_table
from mtlora_lite.records import write_atomically, write_json
from mtlora_lite.study.cost import device_name
from mtlora_lite.study.figures import gains, pareto, published
from mtlora_lite.study.settings import CompareConfig
from mtlora_lite.tasks import TASKS
from mtlora_lite.viz import save_png

TABLE, BETTER, REPORT = "table", "better.csv", "report.md"


@dataclass(frozen=True)
class Results:
    """What came out of a comparison.

    Attributes:
        scores: per row the mean and ``<task> std`` of every task, ``delta_m`` with ``low`` and ``high``.
        better: row against row, how often the first has the higher Δm.
        cost: {row: {what: number}}, see ``cost.measure``.
        lrs: the learning rate that was chosen, {row, or row and task: rate}.
    """

    scores: pd.DataFrame
    better: pd.DataFrame
    cost: Mapping[str, Mapping[str, float]]
    lrs: Mapping[str, float]


def write_results(results: Results, config: CompareConfig) -> None:
    """Write everything into the folder of a comparison."""
    table = results.scores.join(pd.DataFrame.from_dict(results.cost, orient="index"))
    record = {"command": command_of(config), "rows": table.to_dict("index"), "lr": results.lrs}
    write_json(config.out / f"{TABLE}.json", record)
    write_csv(table, config.out / f"{TABLE}.csv")
    write_csv(results.better, config.out / BETTER)
    figures = {
        "gains": gains(table, config.baseline), "pareto": pareto(table, config.baseline), "published": published(),
    }  # fmt: skip
    for name, figure in figures.items():
        save_png(figure, config.out / f"{name}.png", dpi=130)
    text = "\n\n".join(_page(results, config)) + "\n"
    write_atomically(config.out / REPORT, lambda path: path.write_text(text))


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table whose first column is called ``row``."""
    write_atomically(path, lambda temporary: table.rename_axis("row").to_csv(temporary, float_format="%.6g"))


def command_of(config: CompareConfig) -> str:
    """The command line that makes a comparison again."""
    words = []
    for option in dataclasses.fields(config):
        value = getattr(config, option.name)
        default = option.default_factory() if option.default is dataclasses.MISSING else option.default
        if value != default:
            words += _words(option.name, value)
    return shlex.join([*shlex.split(command()), "compare", *words])


def _words(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, Mapping):
        return [flag, *(f"{key}={json.dumps(item)}" for key, item in value.items())]
    return [flag, *(map(str, value) if isinstance(value, tuple) else [str(value)])]


def format_table(results: Results, tasks: Iterable[str]) -> str:
    """The table as text that lines up."""
    table = readable_table(results, tasks)
    return pd.DataFrame(table[1:], columns=table[0]).set_index("").rename_axis(None).to_string()


def readable_table(results: Results, tasks: Iterable[str]) -> list[list[str]]:
    """The table in words, a header and a line per row: scores, Δm with its interval, cost."""
    columns = {"": list(results.scores.index)}
    for task in tasks:
        columns[_head(task)] = _with_spread(results.scores, task)
    columns["Δm % [95 %]"] = [
        f"{row['delta_m']:+.1f} [{row['delta_m low']:+.1f}, {row['delta_m high']:+.1f}]"
        for _, row in results.scores.iterrows()
    ]
    for head, key, form in COSTS:
        columns[head] = [form.format(_costs_of(results, name)[key]) for name in results.scores.index]
    return [list(columns), *map(list, zip(*columns.values(), strict=True))]


COSTS = (
    ("trained M", "trainable", "{:.2f}"), ("step ms", "step ms", "{:.0f}"), ("memory MB", "memory MB", "{:.0f}"),
    ("predict ms", "predict ms", "{:.0f}"),
)  # fmt: skip


def _costs_of(results: Results, name: str) -> dict[str, float]:
    cost = dict(results.cost[name])
    return cost | {"trainable": cost["trainable"] / 1e6}


def _head(task: str) -> str:
    row = TASKS[task]
    return f"{task} {row.metric} {row.unit} {'↑' if row.higher_is_better else '↓'}"


def _with_spread(scores: pd.DataFrame, task: str) -> list[str]:
    digits = 2 if TASKS[task].unit == "m" else 1
    return [
        f"{mean:.{digits}f}" + ("" if np.isnan(std) else f" ± {std:.{digits}f}")
        for mean, std in zip(scores[task], scores[f"{task} std"], strict=True)
    ]


def _few(seeds: int) -> str:
    """What a bootstrap over few seeds is worth: up to three, it goes from the lowest to the highest, no further."""
    if seeds == 1:
        return " With one seed it knows of other images alone."
    if seeds > 3:
        return ""
    return (
        f" Over {seeds} seeds it is too narrow: where seeds differ more than images do, it holds the truth in "
        f"{100 * (1 - 2 * 0.5**seeds):.0f} % of cases and not in 95, and a row may be ahead in all resamples by chance."
    )


def _page(results: Results, config: CompareConfig) -> Iterable[str]:
    """The sections of ``report.md``."""
    header, *rows = readable_table(results, config.tasks)
    seeds = "one seed" if config.seeds == 1 else f"{config.seeds} seeds"
    yield f"# {len(rows)} rows on {config.data}"
    yield f"```bash\n{command_of(config)}\n```"
    yield (
        f"Mean ± standard deviation over {seeds}, scored on the split {config.table_split} by the {config.protocol} "
        f"protocol. Δm is relative to {config.baseline}; its interval is a paired bootstrap over images and seeds "
        f"({config.replicates:,} resamples).{_few(config.seeds)}"
    )
    clock = "processor time of one thread" if device_name() == "CPU" else "wall time"
    yield (
        f"A step is a training step of {config.batch_size} images, {clock}, {device_name()}; memory is what it needs "
        "beside the weights; predict is one batch, merged. single_task needs the time of its models together, and the "
        "memory of the largest."
    )
    yield markdown_table(header, rows)
    yield "![Δm, row by row](gains.png)"
    yield "![Δm over trained parameters](pareto.png)"
    rates = ", ".join(f"{lr:g}" for lr in config.lrs)
    yield f"## Learning rates\n\nChosen on the split {config.tune_split}, once per method, out of {rates}."
    yield markdown_table(["row", "rate"], [[name, f"{rate:g}"] for name, rate in results.lrs.items()])
    yield "## Better than\n\nThe share of resamples in which the row has a higher Δm than the column."
    names = list(results.better.index)
    shares = [[name, *(f"{value:.2f}" for value in results.better.loc[name])] for name in names]
    yield markdown_table(["", *names], shares)
    yield (
        "## Published\n\nFor comparison: what papers print for PASCAL-Context with a Swin-T: other images, another "
        "backbone.\n\n![Published points of PASCAL-Context](published.png)"
    )
