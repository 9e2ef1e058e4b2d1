"""Puzzles: eight small text tasks with exact answers, made by rules, for a language model of this kit's own.

All have one form, a word of instruction, an input and a short answer::

    reverse dbca          acbd
    sort dbca             abcd
    sum 3+9+6             18
    colour toruvi         blue

Six of them ask six different things about one kind of input, strings of letters: what one task has to do with a
letter is wrong for the others. Inputs that are tested never occur in training; the facts (``colour``) can only be
learned by heart, so there the test asks what was taught.

``exercises`` are what the model was pre-trained on: other instructions of the same form, never one of the puzzles.
"""

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from zlib import crc32

from mtlora_lite.lm.data import Example

LETTERS = "abcdefghij"
COLOURS = ("red", "blue", "green", "black", "white", "brown", "pink", "grey")
NUM_FACTS = 64
HELD_OUT = 4  # one input in so many is for tests

# A rule: how an input is drawn, and its answer.
Rule = tuple[Callable[[random.Random], str], Callable[[str], str]]


def _letters(low: int, high: int) -> Callable[[random.Random], str]:
    return lambda draw: "".join(draw.choice(LETTERS) for _ in range(draw.randint(low, high)))


def _digits(count: int) -> Callable[[random.Random], str]:
    return lambda draw: "+".join(str(draw.randint(0, 9)) for _ in range(count))


def _shift(text: str, by: int) -> str:
    return "".join(LETTERS[(LETTERS.index(letter) + by) % len(LETTERS)] for letter in text)


def _sum(text: str) -> str:
    return str(sum(map(int, text.split("+"))))


def _facts() -> Mapping[str, str]:
    """Made-up names and their colours, the same for everybody."""
    draw = random.Random(0)
    names: dict[str, str] = {}
    while len(names) < NUM_FACTS:
        name = "".join(draw.choice("klmnprstvz") + draw.choice("aeiou") for _ in range(3))
        names[name] = draw.choice(COLOURS)
    return MappingProxyType(names)


FACTS = _facts()
_WORD = _letters(4, 7)

# Their order is that of the task ids.
PUZZLES: Mapping[str, Rule] = MappingProxyType({
    "reverse": (_WORD, lambda word: word[::-1]),
    "sort": (_WORD, lambda word: "".join(sorted(word))),
    "next": (_WORD, lambda word: _shift(word, 1)),
    "rotate": (_WORD, lambda word: word[2:] + word[:2]),
    "largest": (_WORD, max),
    "parity": (_WORD, lambda word: "odd" if len(word) % 2 else "even"),
    "sum": (_digits(3), _sum),
    "colour": (lambda draw: draw.choice(list(FACTS)), FACTS.__getitem__),
})  # fmt: skip

EXERCISES: Mapping[str, Rule] = MappingProxyType({
    "copy": (_WORD, lambda word: word),
    "drop first": (_WORD, lambda word: word[1:]),
    "drop last": (_WORD, lambda word: word[:-1]),
    "swap ends": (_WORD, lambda word: word[-1] + word[1:-1] + word[0]),
    "before": (_WORD, lambda word: _shift(word, -1)),
    "first": (_WORD, lambda word: word[0]),
    "last": (_WORD, lambda word: word[-1]),
    "swap first two": (_WORD, lambda word: word[1] + word[0] + word[2:]),
    "double last": (_WORD, lambda word: word + word[-1]),
    "earlier of two": (_letters(2, 2), min),
    "smallest": (_WORD, min),
    "count": (_WORD, lambda word: str(len(word))),
    "add": (_digits(2), _sum),
})  # fmt: skip


def puzzles(split: str, count: int, seed: int = 0) -> list[Example]:
    """``count`` examples of every task, task by task, of the split ``train``, ``val`` or ``test``.

    Those of ``train`` have other inputs than those of the other two, facts excepted.
    """
    if split not in ("train", "val", "test"):
        raise ValueError(f"There is no split {split!r} of the puzzles. Splits: train, val, test.")
    draw = random.Random(f"{split} {seed}")
    examples = []
    for task_id, (task, rule) in enumerate(PUZZLES.items()):
        fitting = (lambda text: True) if task == "colour" else (lambda text: _held_out(text) == (split != "train"))
        examples += [_example(task, rule, task_id, draw, fitting) for _ in range(count)]
    return examples


def exercises(count: int, seed: int = 0, held_out: bool = False) -> list[Example]:
    """``count`` examples to pre-train on, of all kinds, task id 0; or to test that, with inputs held out."""
    draw = random.Random(f"exercises {seed}")
    names = list(EXERCISES)
    chosen = (draw.choice(names) for _ in range(count))
    return [_example(name, EXERCISES[name], 0, draw, lambda text: _held_out(text) == held_out) for name in chosen]


def _example(
    instruction: str, rule: Rule, task_id: int, draw: random.Random, fitting: Callable[[str], bool]
) -> Example:
    make, answer = rule
    while not fitting(text := make(draw)):
        pass
    return Example(instruction, text, answer(text), task_id)


def _held_out(text: str) -> bool:
    return crc32(text.encode()) % HELD_OUT == 0
