"""What becomes of each task as others join it: reads the six comparisons of data/results/tasks, that run.sh has made.

    python data/results/tasks.py

Writes into data/results/tasks/ ``tasks.csv``, a line per number of tasks and task with the score of MTLoRA, that of a
model of its own, and the gain; and ``tasks.png``.
"""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from mtlora_lite.metrics import delta_m
from mtlora_lite.study.tables import write_csv
from mtlora_lite.tasks import TASKS
from mtlora_lite.viz import save_png

HERE = Path(__file__).parent / "tasks"
ROW, ALONE = "mtlora@rank=16", "single_task"
COSTS = {"trainable": "trained parameters", "step ms": "training step", "predict ms": "prediction"}


def main() -> None:
    """Gather, write down, draw."""
    tables = {count: json.loads((HERE / f"{count}/table.json").read_text())["rows"] for count in range(1, 7)}
    each = pd.DataFrame([record for rows in tables.values() for record in gains(rows)])
    write_csv(each.set_index("row"), HERE / "tasks.csv")
    together, alone = (pd.DataFrame({count: rows[name] for count, rows in tables.items()}).T for name in (ROW, ALONE))
    save_png(figure(each, together, together[list(COSTS)] / alone[list(COSTS)]), HERE / "tasks.png", dpi=110)


def gains(rows: dict[str, dict]) -> list[dict]:
    """Task by task, how MTLoRA scores, a model of its own, and the gain in percent of that; positive is better."""
    multi, single = ({task: rows[name][task] for task in TASKS if task in rows[name]} for name in (ROW, ALONE))
    return [
        {"row": ROW, "tasks": len(multi), "task": task, "together": multi[task], "alone": single[task],
         "gain": delta_m({task: multi[task]}, {task: single[task]})}
        for task in multi
    ]  # fmt: skip


def figure(each: pd.DataFrame, together: pd.DataFrame, costs: pd.DataFrame) -> plt.Figure:
    """Over the number of tasks: Δm, the gain of each task, and what it costs beside a model per task."""
    drawn, axes = plt.subplots(1, 3, figsize=(16, 4.8), layout="constrained")
    gain = together["delta_m"]
    reach = [gain - together["delta_m low"], together["delta_m high"] - gain]
    axes[0].errorbar(gain.index, gain, yerr=reach, marker="o", ms=8, capsize=4, color="#0072B2")
    axes[0].set(ylabel=f"Δm over {ALONE}, %", title="All tasks together")
    for task, rows in each.groupby("task", sort=False):
        axes[1].plot(rows.tasks, rows.gain, marker="o", color=TASKS[task].color, label=TASKS[task].title)
    axes[1].set(ylabel="gain over a model of its own, %", title="Each task")
    for cost, title in COSTS.items():
        axes[2].plot(costs.index, 100 * costs[cost], marker="o", label=title)
    axes[2].set(ylabel="% of what a model per task needs", title="Cost", ylim=(0, None))
    for number, panel in enumerate(axes):
        panel.set(xlabel="tasks", xticks=gain.index)
        panel.axhline((0, 0, 100)[number], color="#888888", lw=1, ls="--", zorder=0)
    for panel in axes[1:]:
        panel.legend(frameon=False, fontsize=9)
    sns.despine(drawn)
    return drawn


if __name__ == "__main__":
    main()
