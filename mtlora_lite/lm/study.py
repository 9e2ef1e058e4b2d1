"""Three ways to adapt one language model to the puzzles, on equal terms: budgets, learning rates, seeds."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from mtlora_lite.lm.adapt import adapt
from mtlora_lite.lm.adaptation import Adaptation
from mtlora_lite.lm.answers import ask
from mtlora_lite.lm.data import Encoding
from mtlora_lite.lm.embedded import NAME
from mtlora_lite.lm.models import load_language_model
from mtlora_lite.lm.presets import score
from mtlora_lite.lm.puzzles import PUZZLES, puzzles
from mtlora_lite.lm.training import FitOptions, fit
from mtlora_lite.names import check_numbers
from mtlora_lite.records import write_json

TASKS = tuple(PUZZLES)
RECORD_FILE = "puzzles.json"
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")

# Of about equally many trained parameters: 2,048, 2,048 and 2,064 per linear of 64 to 64.
ROWS: Mapping[str, tuple[str, Adaptation]] = MappingProxyType({
    "lora": ("LoRA, one for all, rank 16", Adaptation("lora", 1, TARGETS, 16, 2.0)),
    "task_lora": ("LoRA per task, rank 2", Adaptation("task_lora", len(TASKS), TARGETS, 2, 2.0)),
    "mtl_lora": ("MTL-LoRA, rank 8, n = 2", Adaptation("mtl_lora", len(TASKS), TARGETS, 8, 2.0, 0.0, 2, 0.8)),
})  # fmt: skip


@dataclass(frozen=True)
class LmCompareConfig:
    """Compare LoRA, a LoRA per task and MTL-LoRA on the puzzles, with as many trained parameters each.

    Attributes:
        steps: steps of training.
        batch_size: examples per step, of all tasks mixed.
        train_count: training examples per task.
        count: test examples per task; half as many validate.
        lrs: learning rates, of which every row gets the one that is best on the validation examples, first seed.
        seeds: of the adapters and the order of the examples.
        out: folder for the record, puzzles.json.
    """

    steps: int = 500
    batch_size: int = 32
    train_count: int = 1000
    count: int = 100
    lrs: tuple[float, ...] = (5e-3, 1e-2)
    seeds: tuple[int, ...] = (0, 1, 2)
    out: Path = field(default=Path("runs/lm_compare"))

    def __post_init__(self) -> None:
        """Say what cannot be, before anything is loaded."""
        check_numbers(self, {"steps": 1, "batch_size": 1, "train_count": 1, "count": 2})
        if not (self.lrs and self.seeds):
            raise ValueError("A comparison needs a learning rate and a seed at least.")


def compare_methods(config: LmCompareConfig, quiet: bool = False) -> dict[str, Any]:
    """Run the comparison, write its record and return it.

    The record has a row per method: ``title``, ``trained``, ``lr``, ``validation`` ({lr: mean accuracy}), ``runs``
    ({seed: {task: accuracy}}), ``mean`` and ``std`` ({task: accuracy, and "all"}, over seeds).
    """
    config.out.mkdir(parents=True, exist_ok=True)
    model, tokenizer = load_language_model(NAME)
    study = _Study(config, model, Encoding(tokenizer, "bare", 64))
    before = study.test(model, "test", config.count)
    options = {name: value for name, value in asdict(config).items() if name != "out"}
    record: dict[str, Any] = {"config": options, "before": before | {"all": _mean(before)}, "rows": {}}
    total = len(ROWS) * (len(config.lrs) + len(config.seeds) - 1)
    with tqdm(total=total, desc="runs", disable=quiet or None) as bar:
        for name, (title, adaptation) in ROWS.items():
            record["rows"][name] = {"title": title} | study.row(adaptation, bar)
            write_json(config.out / RECORD_FILE, record)  # what is there is kept, whatever happens to the rest
    return record


@dataclass(frozen=True)
class _Study:
    """What all runs of a comparison have in common.

    Attributes:
        config: the comparison.
        base: the frozen model, which every run adapts a copy of.
        encoding: how examples become tokens.
    """

    config: LmCompareConfig
    base: Any
    encoding: Encoding

    def row(self, adaptation: Adaptation, bar: tqdm) -> dict[str, Any]:
        """All runs of one method."""
        config, validation, tested = self.config, {}, {}
        for lr in config.lrs:
            model = self.train(adaptation, lr, config.seeds[0])
            validation[lr] = _mean(self.test(model, "val", config.count // 2))
            tested[lr] = self.test(model, "test", config.count)
            bar.update()
        best = max(validation, key=validation.__getitem__)
        runs = {config.seeds[0]: tested[best]}
        for seed in config.seeds[1:]:
            model = self.train(adaptation, best, seed)
            runs[seed] = self.test(model, "test", config.count)
            bar.update()
        table = np.array([[*run.values(), _mean(run)] for run in runs.values()])  # (seeds, tasks + 1)
        spread = table.std(0, ddof=min(1, len(table) - 1))
        return {
            "trained": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
            "lr": best,
            "validation": validation,
            "runs": runs,
            "mean": dict(zip((*TASKS, "all"), table.mean(0).tolist(), strict=True)),
            "std": dict(zip((*TASKS, "all"), spread.tolist(), strict=True)),
        }

    def train(self, adaptation: Adaptation, lr: float, seed: int) -> Any:
        """One run."""
        torch.manual_seed(seed)
        model = adapt(copy.deepcopy(self.base), adaptation)
        steps = self.config.steps
        options = FitOptions(
            lr=lr, batch_size=self.config.batch_size, steps=steps, warmup=steps // 20, schedule="cosine", seed=seed
        )
        fit(model, self.encoding, puzzles("train", self.config.train_count), options, quiet=True)
        return model

    def test(self, model: Any, split: str, count: int) -> dict[str, float]:
        """Accuracy per task."""
        examples = puzzles(split, count)
        texts = ask(model, self.encoding, examples, batch_size=200, max_new_tokens=9, quiet=True)
        return {task: each["accuracy"] for task, each in score(examples, texts, TASKS, {}).items()}


def _mean(scores: Mapping[str, float]) -> float:
    return sum(scores.values()) / len(scores)


def format_comparison(record: Mapping[str, Any]) -> list[str]:
    """The record as lines of a table: accuracy in percent, mean ± standard deviation over seeds."""
    lines = [_line("", ("trained", "lr", *TASKS, "all"))]
    lines.append(_line("frozen model", ("0", "", *(f"{value:.0f}" for value in record["before"].values()))))
    for row in record["rows"].values():
        cells = (f"{row['mean'][task]:.1f} ± {row['std'][task]:.1f}" for task in (*TASKS, "all"))
        lines.append(_line(row["title"], (f"{row['trained']:,}", f"{row['lr']:g}", *cells)))
    return lines


def _line(title: str, cells: Sequence[str]) -> str:
    return f"{title:27}" + "".join(f"{cell:>13}" for cell in cells)
