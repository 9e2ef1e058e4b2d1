"""A language model's run: adapt it, train it, save what was trained, and score it later."""

import json
import warnings
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from mtlora_lite.lm.adapt import adapt, load_adapters, save_adapters
from mtlora_lite.lm.adaptation import METHODS, Adaptation, find_targets
from mtlora_lite.lm.answers import ask
from mtlora_lite.lm.data import TEMPLATES, Encoding, Example, read_examples
from mtlora_lite.lm.embedded import NAME
from mtlora_lite.lm.models import load_language_model
from mtlora_lite.lm.presets import PRESETS, Preset, get_preset, score
from mtlora_lite.lm.puzzles import PUZZLES, puzzles
from mtlora_lite.lm.training import FitOptions, fit, newest_checkpoint
from mtlora_lite.names import check_numbers
from mtlora_lite.records import write_json

PUZZLES_DATA = "puzzles"
TRAIN_COUNT = 1000  # puzzles of each task to train on
CONFIG_FILE, RESULT_FILE, SCORES_FILE, ANSWERS_FILE = "config.json", "training.json", "scores.json", "answers.json"
ADAPTERS, CHECKPOINTS = "adapters", "checkpoints"  # folders


def _values(*words: str) -> dict[str, str]:
    return {"values": f"{{{','.join(words)}}}"}


@dataclass(frozen=True)
class LmTrainConfig(FitOptions):
    """Adapt a language model to several tasks at once and train what was added.

    Attributes:
        preset: the tasks and settings of a published run; other options given replace what it says; without one, those
            of the puzzles where these are the data.
        model: llama_puzzles_tiny, the embedded one; a folder in the form of transformers; or a model of the hub.
        data: a JSON list of examples (instruction, input, output, task_id), or "puzzles", the embedded tasks.
        num_tasks: number of tasks, if the preset does not say it.
        method: mtl_lora; lora, one update for all tasks; or task_lora, one for each.
        targets: names of the linears to adapt, or ends of them; if not given, those of attention.
        rank: of the updates.
        scale: factor of the updates, applied as is; alpha / rank in other packages.
        num_up: number of shared up-projections (mtl_lora).
        temperature: of their mixture (mtl_lora).
        lambda_form: full or diagonal (mtl_lora).
        dropout: of what enters the updates.
        template: how an example becomes a prompt.
        cutoff: most tokens of an example.
        answer_only: whether the loss is of the answer alone, or of the prompt too.
        out: folder of the run.
        resume: go on from the newest checkpoint in it, if there is one.
    """

    preset: str | None = field(default=None, metadata=_values(*PRESETS))
    model: str = field(default=NAME, metadata={"values": "NAME|FOLDER"})
    data: str = field(default=PUZZLES_DATA, metadata={"values": "puzzles|FILE"})
    num_tasks: int | None = None
    method: str = field(default="mtl_lora", metadata=_values(*METHODS))
    targets: tuple[str, ...] | None = field(default=None, metadata={"values": "NAME ..."})
    rank: int = 8
    scale: float = 2.0
    num_up: int = 3
    temperature: float = 0.1
    lambda_form: str = field(default="full", metadata=_values("full", "diagonal"))
    dropout: float = 0.0
    template: str = field(default="alpaca", metadata=_values(*TEMPLATES))
    cutoff: int = 256
    answer_only: bool = True
    out: Path = Path("runs/lm")
    resume: bool = False

    @property
    def benchmark(self) -> Preset:
        """What is known of the tasks."""
        if self.preset:
            return get_preset(self.preset)
        return PRESETS[PUZZLES_DATA] if self.data == PUZZLES_DATA else Preset(())

    @property
    def task_names(self) -> tuple[str, ...]:
        """The names of the tasks; those that nothing names have numbers."""
        count, named = self.num_tasks, self.benchmark.tasks
        return named if count is None else (*named[:count], *(f"task {number}" for number in range(len(named), count)))


@dataclass(frozen=True)
class LmEvalConfig:
    """Let an adapted language model answer, and score the answers task by task.

    Attributes:
        run: folder written by lm train.
        data: a JSON list of examples, or "puzzles", the embedded tasks.
        model: where its frozen weights are now, if not where they were.
        count: examples per task (puzzles only).
        batch_size: examples asked at once.
        max_new_tokens: most tokens of an answer.
        num_beams: beams of the search; 1 is greedy.
        out: folder for scores.json and answers.json; if not given, that of the run.
    """

    run: Path = Path("runs/lm")
    data: str = field(default=PUZZLES_DATA, metadata={"values": "puzzles|FILE"})
    model: str | None = field(default=None, metadata={"values": "NAME|FOLDER"})
    count: int = 100
    batch_size: int = 64
    max_new_tokens: int = 32
    num_beams: int = 1
    out: Path | None = None

    def __post_init__(self) -> None:
        """Say what cannot be, before anything is read or loaded."""
        check_numbers(self, dict.fromkeys(("count", "batch_size", "max_new_tokens", "num_beams"), 1))


def train_run(config: LmTrainConfig) -> dict[str, Any]:
    """Run ``lm train``; returns what ``fit`` does, and ``"trained"``, the number of trained parameters.

    Raises:
        ValueError: an option is wrong, or the folder holds another run.
    """
    _check_tasks(config)
    resume = _goes_on(config)
    num_tasks = len(config.task_names)
    examples = _examples(config.data, "train", TRAIN_COUNT, num_tasks)
    model, tokenizer = load_language_model(config.model, config.precision)
    torch.manual_seed(config.seed)
    adapt(model, adaptation(config, num_tasks, find_targets(model, config.targets)))
    config.out.mkdir(parents=True, exist_ok=True)
    write_json(config.out / CONFIG_FILE, asdict(config))
    options = FitOptions(**{option.name: getattr(config, option.name) for option in fields(FitOptions)})
    result = fit(model, _encoding(config, model, tokenizer), examples, options, config.out / CHECKPOINTS, resume)
    result["trained"] = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    save_adapters(model, config.out / ADAPTERS)
    write_json(config.out / RESULT_FILE, result)
    return result


def _check_tasks(config: LmTrainConfig) -> None:
    """It is known what the examples are, and of how many tasks."""
    if not config.benchmark.trains:
        raise ValueError(f"The preset {config.preset} cannot be trained here. {config.benchmark.unsettled}")
    if config.data == PUZZLES_DATA and config.preset not in (None, PUZZLES_DATA):
        raise ValueError(f"Where are the examples of {config.preset}? Say it by --data FILE.")
    if not config.task_names:
        raise ValueError(f"How many tasks are there in {config.data}? Say it by --num-tasks, or name a --preset.")
    if config.data == PUZZLES_DATA and len(config.task_names) < len(PUZZLES):
        raise ValueError(f"The puzzles are of {len(PUZZLES)} tasks, and num_tasks is {config.num_tasks}: leave it out.")


def _goes_on(config: LmTrainConfig) -> bool:
    """Whether there is a checkpoint to go on from; a new run overwrites no other, and a resumed one stays as it was."""
    out, resumable = config.out, newest_checkpoint(config.out / CHECKPOINTS) is not None
    if (out / ADAPTERS).exists() or resumable:
        if not config.resume:
            raise ValueError(f"{out} holds a run already: go on with it by --resume, or choose another --out.")
        if not resumable:
            raise ValueError(f"{out} holds trained adapters and no checkpoint to go on from: choose another --out.")
        _check_same(config)
    elif config.resume:
        warnings.warn(f"There is nothing to resume in {out}: starting from the beginning.", stacklevel=2)
    return resumable


def _check_same(config: LmTrainConfig) -> None:
    before, now = asdict(read_run(config.out)), asdict(config)
    if changed := [name for name in now if name not in ("resume", "save_every", "out") and now[name] != before[name]]:
        raise ValueError(
            f"The run in {config.out} was begun with another {', '.join(changed)}: resume it with the same."
        )


def adaptation(config: LmTrainConfig, num_tasks: int, targets: tuple[str, ...]) -> Adaptation:
    """How a run adapts its model."""
    return Adaptation(
        config.method, num_tasks, targets, config.rank, config.scale, config.dropout, config.num_up,
        config.temperature, config.lambda_form,
    )  # fmt: skip


def evaluate_run(config: LmEvalConfig) -> dict[str, dict[str, float]]:
    """Run ``lm eval``; returns ``{task: {"accuracy", "examples", "unanswered"}}``, which it writes, and all answers.

    Raises:
        ValueError: an option is wrong, or there is no such run, or no word of what to score it on.
    """
    run = read_run(config.run)
    if config.data == PUZZLES_DATA != run.data:
        raise ValueError(
            f"The run in {config.run} was trained on {run.data}, not on the puzzles: say by --data FILE what to score "
            "it on."
        )
    examples = _examples(config.data, "test", config.count, len(run.task_names))
    model, tokenizer = load_language_model(config.model or run.model, run.precision)
    load_adapters(model, config.run / ADAPTERS)
    if torch.accelerator.is_available():
        model.to(torch.accelerator.current_accelerator())
    texts = ask(
        model, _encoding(run, model, tokenizer), examples, batch_size=config.batch_size,
        max_new_tokens=config.max_new_tokens, num_beams=config.num_beams,
    )  # fmt: skip
    scores = score(examples, texts, run.task_names, run.benchmark.patterns)
    out = config.out or config.run
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / SCORES_FILE, asdict(config) | {"scores": scores})
    answers = [asdict(example) | {"said": text} for example, text in zip(examples, texts, strict=True)]
    write_json(out / ANSWERS_FILE, {"answers": answers})
    return scores


def read_run(folder: Path) -> LmTrainConfig:
    """The options of a run.

    Raises:
        ValueError: there is none, or its options cannot be read.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise ValueError(f"{folder} holds no run of lm train: there is no {CONFIG_FILE}.")
    try:
        record = json.loads(path.read_text())
        targets = record["targets"] and tuple(record["targets"])
        return LmTrainConfig(**(record | {"out": Path(record["out"]), "targets": targets}))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is not as lm train writes it ({error}).") from None


def _examples(data: str, split: str, count: int, num_tasks: int) -> list[Example]:
    return puzzles(split, count) if data == PUZZLES_DATA else read_examples(Path(data), num_tasks)


def _encoding(config: LmTrainConfig, model: Any, tokenizer: Any) -> Encoding:
    return Encoding(tokenizer, config.template, config.cutoff, config.answer_only, model.config.is_encoder_decoder)
