"""The main job in a few minutes on a laptop: MTLoRA beside decoders-only on the embedded scenes."""

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from mtlora_lite.config import TrainConfig, changed_options, preset, validation_set
from mtlora_lite.counts import parameter_report
from mtlora_lite.engine import TrainResult, train
from mtlora_lite.metrics import delta_m, headline
from mtlora_lite.model import MultiTaskModel
from mtlora_lite.paths import command
from mtlora_lite.records import write_json
from mtlora_lite.runs import CONFIG_FILE, METRICS_FILE, clear, held, holds_run
from mtlora_lite.tasks import TASKS
from mtlora_lite.transforms import collate
from mtlora_lite.viz import prediction_grid, save_png

METHOD, BASELINE = "mtlora", "decoders_only"
PICTURES = 8  # held-out images in predictions.png
# The baseline differs from the preset "demo" in nothing else; its learning rate is the best of the same three.
BASELINE_RUN = {"method": BASELINE, "options": {}, "lr": 4.5e-3}


@dataclass(frozen=True)
class DemoConfig:
    """Train MTLoRA and a decoders-only baseline on the embedded scenes, and show what came of it.

    Interrupted, it goes on where it was when it is called again; one that came to its end begins anew.

    Attributes:
        out: folder for metrics, pictures and checkpoint.
        steps: optimiser steps of each of the two runs.
        train_count: scenes to train on.
        val_count: scenes to evaluate on.
        seed: of weights, order and augmentation.
    """

    out: Path = Path("runs/demo")
    steps: int = 600
    train_count: int = 1000
    val_count: int = 200
    seed: int = 0

    def run(self, method: str) -> TrainConfig:
        """One of the two training runs."""
        return dataclasses.replace(
            preset("demo"), **(BASELINE_RUN if method == BASELINE else {}), steps=self.steps,
            train_count=self.train_count, val_count=self.val_count, seed=self.seed, out=self.out / method,
        )  # fmt: skip


def demo(config: DemoConfig) -> dict:
    """Train both, write ``metrics.json``, ``predictions.png`` and the checkpoint, print the table; returns metrics.

    One that was stopped goes on where it was; one that came to its end, or had other options, begins again.
    """
    start = time.perf_counter()
    runs = {method: config.run(method) for method in (BASELINE, METHOD)}
    if not _stopped(config.out, runs):
        _clear(config.out, runs)  # a demo is quick, and what it shows is of the code and options of now
    results = {method: train(dataclasses.replace(run, resume=holds_run(run.out))) for method, run in runs.items()}
    scores = {method: headline(result.metrics) for method, result in results.items()}
    gain = delta_m(scores[METHOD], scores[BASELINE])
    record = {
        "delta_m": gain,
        "delta_m_of": f"{METHOD} over {BASELINE}",
        "split": config.run(METHOD).val_split,
        "images": config.val_count,
        "protocol": "standard",
        "seconds": time.perf_counter() - start,
        "methods": {method: _record(result) for method, result in results.items()},
    }
    write_json(config.out / METRICS_FILE, record)
    save_png(predictions(results[METHOD].model, config), config.out / "predictions.png")
    print(comparison(results, gain))
    print(f"\nWrote {config.out}/metrics.json, predictions.png and {METHOD}/model (the adapters), {_took(record)}.")
    print(f"Next: {command()} predict PHOTO.jpg --checkpoint {config.out / METHOD}    or: make lab")
    return record


def _stopped(out: Path, runs: Mapping[str, TrainConfig]) -> bool:
    """Whether a demo of these runs was begun in a folder and did not come to its end."""
    if (out / METRICS_FILE).exists():
        return False
    begun = [run for run in runs.values() if (run.out / CONFIG_FILE).exists()]
    return not any(changed_options(json.loads((run.out / CONFIG_FILE).read_text()), run) for run in begun)


def _clear(out: Path, runs: Mapping[str, TrainConfig]) -> None:
    for run in runs.values():
        with held(run.out):
            clear(run.out)
    (out / METRICS_FILE).unlink(missing_ok=True)


def _took(record: Mapping) -> str:
    return f"in {record['seconds'] / 60:.1f} minutes"


def _record(result: TrainResult) -> dict:
    return {"metrics": result.metrics, "trainable": _trainable(result), "train_seconds": result.seconds}


def _trainable(result: TrainResult) -> int:
    return int(parameter_report(result.model).loc["total", "trainable"])


def comparison(results: Mapping[str, TrainResult], gain: float) -> str:
    """The table that the demo prints: a row per task, a column per method, and Δm."""
    rows = {}
    for task in next(iter(results.values())).model.tasks:
        row = TASKS[task]
        arrow = "↑" if row.higher_is_better else "↓"
        values = {method: f"{result.metrics[task][row.metric]:.2f}" for method, result in results.items()}
        rows[f"{row.title} ({row.metric} {row.unit} {arrow})"] = values
    rows["Δm (%, higher is better)"] = {BASELINE: "0", METHOD: f"{gain:+.2f}"}
    rows["trainable parameters"] = {method: f"{_trainable(result):,}" for method, result in results.items()}
    rows["training time (s)"] = {method: f"{result.seconds:.0f}" for method, result in results.items()}
    return pd.DataFrame.from_dict(rows, orient="index").to_string()


@torch.inference_mode()
def predictions(model: MultiTaskModel, config: DemoConfig):
    """The picture of the first held-out scenes with label and prediction of every task."""
    samples = validation_set(dataclasses.replace(config.run(METHOD), val_count=PICTURES))
    batch = collate([samples[index] for index in range(PICTURES)])
    return prediction_grid(batch["image"], model(batch["image"]), {task: batch[task] for task in model.tasks})
