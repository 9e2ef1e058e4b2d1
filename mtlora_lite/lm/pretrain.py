"""How the embedded language model came to be: trained on exercises, which are none of the puzzles.

``python -m mtlora_lite.lm.pretrain`` trains it from random weights and writes into ``data/`` its folder, with weights
in float16, and in it the record: how it was trained and what it can do.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from mtlora_lite.lm.answers import ask
from mtlora_lite.lm.data import Encoding
from mtlora_lite.lm.embedded import NAME, new_model, new_tokenizer
from mtlora_lite.lm.puzzles import EXERCISES, PUZZLES, exercises, puzzles
from mtlora_lite.lm.training import FitOptions, fit
from mtlora_lite.paths import data_dir
from mtlora_lite.records import write_json

RECORD_FILE = "record.json"


@dataclass(frozen=True)
class PretrainConfig:
    """One pre-training run.

    Attributes:
        count: number of different exercises.
        held_out: number of exercises for the accuracy, of inputs that training has not seen.
        steps: steps of training.
        batch_size: exercises per step.
        lr: peak learning rate.
        seed: of the weights and the exercises.
        out: folder for the model.
    """

    count: int = 100_000
    held_out: int = 2_000
    steps: int = 2_400
    batch_size: int = 128
    lr: float = 4e-3
    seed: int = 0
    out: Path = field(default_factory=lambda: data_dir() / NAME)


def pretrain(config: PretrainConfig) -> dict:
    """Train, test, write; returns the record."""
    tokenizer = new_tokenizer()
    torch.manual_seed(config.seed)
    model = new_model(tokenizer)
    encoding = Encoding(tokenizer, "bare", 64)
    options = FitOptions(
        lr=config.lr, batch_size=config.batch_size, steps=config.steps, warmup=config.steps // 20,
        schedule="cosine", weight_decay=0.05, seed=config.seed,
    )  # fmt: skip
    result = fit(model, encoding, exercises(config.count, config.seed), options)
    tests = exercises(config.held_out, config.seed + 1, held_out=True)
    unseen = puzzles("val", 100)
    record = {
        "config": {name: value for name, value in asdict(config).items() if name != "out"},
        "parameters": model.num_parameters(),
        "training": result,
        "exercises": _right(model, encoding, tests, list(EXERCISES)),
        "puzzles_before_any_adaptation": _right(model, encoding, unseen, list(PUZZLES)),
    }
    model.half().save_pretrained(config.out)
    tokenizer.save_pretrained(config.out)
    write_json(config.out / RECORD_FILE, record)
    return record


def _right(model, encoding, examples, names) -> dict[str, float]:
    """Percent of right answers, for every instruction."""
    right = {name: [] for name in names}
    for example, answer in zip(examples, ask(model, encoding, examples, max_new_tokens=10), strict=True):
        right[example.instruction].append(answer == example.output)
    return {name: round(100 * sum(each) / len(each), 1) for name, each in right.items()}


if __name__ == "__main__":
    import tyro

    pretrain(tyro.cli(PretrainConfig))
