"""``mtlora lm``: language models adapted to several tasks by MTL-LoRA."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtlora_lite.lm.presets import PRESETS, get_preset
from mtlora_lite.lm.runs import (
    ADAPTERS,
    ANSWERS_FILE,
    PUZZLES_DATA,
    SCORES_FILE,
    LmEvalConfig,
    LmTrainConfig,
    evaluate_run,
    train_run,
)
from mtlora_lite.lm.study import RECORD_FILE, LmCompareConfig, compare_methods, format_comparison
from mtlora_lite.paths import command


@dataclass(frozen=True)
class LmConfig:
    """Adapt a language model to several tasks by MTL-LoRA; needs transformers (pip install 'mtlora-lite[lm]')."""


def run_train(config: LmTrainConfig) -> int:
    """Run ``lm train``."""
    if unsettled := config.benchmark.unsettled:
        print(unsettled, flush=True)
    result = train_run(config)
    if result["left_out"]:
        print(f"Left out {result['left_out']:,} examples whose answers are over the cutoff of {config.cutoff} tokens.")
    print(f"{result['trained']:,} parameters trained in {result['steps']:,} steps, mean loss {result['loss']:.3f}.")
    print(f"Wrote {config.out / ADAPTERS} and more ({result['seconds']:.0f} s of training).")
    data = "" if config.data == PUZZLES_DATA else " --data FILE"
    print(f"Next: {command()} lm eval --run {config.out}{data}")
    return 0


def run_eval(config: LmEvalConfig) -> int:
    """Run ``lm eval``."""
    scores = evaluate_run(config)
    for task, each in scores.items():
        print(f"{task:24}{each['accuracy']:7.2f} %  of {each['examples']:,} ({each['unanswered']:,} without an answer)")
    print(f"{'mean over tasks':24}{sum(each['accuracy'] for each in scores.values()) / len(scores):7.2f} %")
    print(f"\nWrote {(config.out or config.run) / SCORES_FILE} and {ANSWERS_FILE}.")
    return 0


def run_compare(config: LmCompareConfig) -> int:
    """Run ``lm compare``."""
    print("\n".join(format_comparison(compare_methods(config))))
    print(f"\nWrote {config.out / RECORD_FILE}.")
    return 0


# A command of `lm`: its options, whose docstring is its help, and what it does with them.
LM_COMMANDS: dict[str, tuple[type, Callable[[Any], int]]] = {
    "train": (LmTrainConfig, run_train),
    "eval": (LmEvalConfig, run_eval),
    "compare": (LmCompareConfig, run_compare),
}


def preset_options(arguments: Sequence[str]) -> Mapping[str, Any]:
    """The options of ``lm train`` that the preset among the arguments settles; they are the new defaults."""
    words = [piece for word in arguments for piece in (word.split("=", 1) if word.startswith("--") else [word])]
    named = {option: words[words.index(option) + 1] for option in ("--preset", "--data") if option in words[:-1]}
    if "--preset" in named:
        return get_preset(named["--preset"]).options
    return {} if named.get("--data", PUZZLES_DATA) != PUZZLES_DATA else PRESETS[PUZZLES_DATA].options
