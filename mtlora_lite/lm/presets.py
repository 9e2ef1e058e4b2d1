"""What is known of the published runs of MTL-LoRA, and what is not; and how the answers of their tasks are found."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from mtlora_lite.lm.data import Example
from mtlora_lite.lm.puzzles import PUZZLES

_ARC = r"answer[1-5]"


@dataclass(frozen=True)
class Preset:
    """The tasks of a benchmark and the settings of a published run.

    Attributes:
        tasks: their names; the places are the task ids.
        patterns: what an answer to a task looks like, a regular expression; without one it is the whole text.
        options: of ``lm train``, where the publication settles them.
        unsettled: a sentence on what it does not settle.
        trains: whether this kit can run it.
    """

    tasks: tuple[str, ...]
    patterns: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    unsettled: str = ""
    trains: bool = True


PRESETS: Mapping[str, Preset] = MappingProxyType({
    "puzzles": Preset(
        tuple(PUZZLES),
        options={
            "num_up": 2, "temperature": 0.8, "lr": 9e-3, "batch_size": 32, "steps": 700, "warmup": 35,
            "schedule": "cosine", "cutoff": 64, "template": "bare",
        },
    ),
    "commonsense": Preset(
        ("boolq", "piqa", "social_i_qa", "hellaswag", "winogrande", "ARC-Challenge", "ARC-Easy", "openbookqa"),
        {
            "boolq": "true|false", "piqa": "solution[12]", "social_i_qa": _ARC, "hellaswag": "ending[1-4]",
            "winogrande": "option[12]", "ARC-Challenge": _ARC, "ARC-Easy": _ARC, "openbookqa": _ARC,
        },
        {
            "targets": ("q_proj", "k_proj", "v_proj", "o_proj"), "rank": 8, "scale": 2.0, "num_up": 3,
            "temperature": 0.1, "lr": 3e-4, "epochs": 3.0, "cutoff": 256, "precision": "bf16", "dropout": 0.05,
            "template": "alpaca",
        },
        "The released settings known here say neither the batch size nor warm-up, schedule and weight decay (those of "
        "lm train are used), and how answers were decoded differs between the published rows (here: greedily).",
    ),
    "glue": Preset(
        ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte"),
        unsettled="No published settings of MTL-LoRA on GLUE are known here: those of lm train are used, answers are "
        "compared as whole texts, and all scores are accuracies, which is not GLUE's own metric for cola and stsb.",
    ),
    "image_text": Preset(
        ("vqa", "gqa", "nlvr", "caption"),
        options={
            "targets": ("q_proj", "v_proj"), "rank": 64, "scale": 0.25, "num_up": 2, "temperature": 0.8, "lr": 1e-3,
            "epochs": 20.0,
        },
        unsettled="It needs VL-BART and the features of its images, which this kit does not read.",
        trains=False,
    ),
})  # fmt: skip


def get_preset(name: str) -> Preset:
    """A preset by its name; an unknown one is a ``ValueError`` that names those known."""
    if name not in PRESETS:
        raise ValueError(f"Unknown preset {name!r}. Presets: {', '.join(PRESETS)}.")
    return PRESETS[name]


def find_answer(text: str, pattern: str | None) -> str:
    """The first thing in a text that looks like an answer, in small letters; the whole text where no pattern says so.

    Nothing found is an empty answer, which is never right.
    """
    if pattern is None:
        return " ".join(text.split())
    found = re.search(rf"\b(?:{pattern})\b", text.lower())
    return found[0] if found else ""


def score(
    examples: Sequence[Example], texts: Sequence[str], tasks: Sequence[str], patterns: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    """``{task: {"accuracy" (%), "examples", "unanswered" (no answer found in the text)}}`` of tasks that occur."""
    results: dict[str, list[tuple[bool, bool]]] = {task: [] for task in tasks}
    for example, text in zip(examples, texts, strict=True):
        task = tasks[example.task_id]
        pattern = patterns.get(task)
        said = find_answer(text, pattern)
        results[task].append((said in _right_answers(example, pattern), said == ""))
    scores = {}
    for task, each in results.items():
        if each:
            right, empty = np.array(each).T
            scores[task] = {
                "accuracy": 100 * float(right.mean()),
                "examples": len(each),
                "unanswered": int(empty.sum()),
            }
    return scores


def _right_answers(example: Example, pattern: str | None) -> set[str]:
    """The short answer, where there is one; where whole texts are compared also the output, which a model learns."""
    texts = {example.output if example.answer is None else example.answer}
    if pattern is None:
        texts.add(example.output)
    return {find_answer(text, pattern) for text in texts} - {""}
