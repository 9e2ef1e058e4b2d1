"""What MTLoRA gains on each backbone with each decoder: reads the runs of data/results/backbones, made by run.sh.

    python data/results/backbones.py [RUNS]     RUNS: the folder of the runs, by default runs/study

Writes into data/results/backbones/ ``own.csv``, a line per pair of backbone and decoder: Δm over the same backbone
frozen, with the same decoder, its interval, and the share of resamples in which it is above zero; and the same without
human parts, and of semantic segmentation alone.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from mtlora_lite.study.bootstrap import States, tabulate
from mtlora_lite.study.grid import STATES_FILE
from mtlora_lite.study.settings import CompareConfig
from mtlora_lite.study.tables import write_csv

HERE = Path(__file__).parent / "backbones"
FROZEN, ADAPTED, SEEDS = "decoders_only", "mtlora@rank=16", 3
FOUR = ("semseg", "human_parts", "sal", "normals")
KINDS = {"": FOUR, " without parts": ("semseg", "sal", "normals"), " of semseg": ("semseg",)}


def main(runs: Path) -> None:
    """Draw images and seeds anew for every pair, and write down what comes out."""
    rates = json.loads((HERE / "table.json").read_text())["lr"]
    found = []
    for own in dict.fromkeys(row.removeprefix(FROZEN).removeprefix(ADAPTED) for row in rates):
        states = {
            row: [read(runs / f"{(row + own).replace('@', '-')}-{'-'.join(FOUR)}-lr{rates[row + own]:g}-seed{seed}")
                  for seed in range(SEEDS)]
            for row in (FROZEN, ADAPTED)
        }  # fmt: skip
        found.append({"row": ADAPTED + own})
        for kind, tasks in KINDS.items():
            found[-1] |= {name + kind: value for name, value in compared(states, tasks).items()}
    write_csv(pd.DataFrame(found).set_index("row"), HERE / "own.csv")


def read(folder: Path) -> States:
    """What the metrics of a run are made of, image by image."""
    states: States = {}
    with np.load(folder / STATES_FILE) as arrays:
        for name in arrays.files:
            task, state = name.split(".")
            states.setdefault(task, {})[state] = arrays[name]
    return states


def compared(states: dict[str, list[States]], tasks: tuple[str, ...]) -> dict[str, float]:
    """Δm of the adapted row over the frozen one."""
    scores, better = tabulate(states, CompareConfig(methods=(FROZEN, ADAPTED), baseline=FROZEN, tasks=tasks))
    gain, low, high = scores.loc[ADAPTED, ["delta_m", "delta_m low", "delta_m high"]]
    return {"gain": gain, "low": low, "high": high, "ahead": better.loc[ADAPTED, FROZEN]}


if __name__ == "__main__":
    main(Path(*sys.argv[1:2] or ["runs/study"]))
