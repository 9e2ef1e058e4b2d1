"""Examples for language models: read from JSON, written as prompts, turned into tokens and batches.

A file is a list of objects in the form in which this field shares its data sets::

    [{"instruction": "Is it true?", "input": "Fish can fly.", "output": "the correct answer is false", "task_id": 0}]
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

IGNORED = -100  # the label of tokens that no loss is taken of, everywhere in transformers

# How an example becomes a prompt. {input} is left out with what surrounds it where an example has none.
TEMPLATES: Mapping[str, tuple[str, str]] = {
    "alpaca": (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n",
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n{instruction}\n\n### Response:\n",
    ),
    "bare": ("{instruction} {input}\n", "{instruction}\n"),
}


@dataclass(frozen=True)
class Example:
    """One question and its answer.

    Attributes:
        instruction: what is to be done.
        input: what it is to be done with; may be empty.
        output: the right answer, as it is to be written.
        task_id: the task that it belongs to.
        answer: the short answer, where a file says it: scores go by it, and by ``output`` where nothing says what an
            answer looks like. Otherwise it is found in ``output``.
    """

    instruction: str
    input: str
    output: str
    task_id: int
    answer: str | None = None


_FIELDS = {"instruction": str, "input": str, "output": str, "task_id": int}
_OPTIONAL = {"input": ""}


def read_examples(path: Path, num_tasks: int | None = None) -> list[Example]:
    """All examples of a file.

    Raises:
        ValueError: it is no JSON list of examples, or a task id is not below ``num_tasks``; says which and where.
        OSError: it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}.") from None
    if not (isinstance(content, list) and content):
        raise ValueError(f"{path} must hold a JSON list of examples, with one at least; got {_short(content)}.")
    return [_read(entry, f"{path}, example {index}", num_tasks) for index, entry in enumerate(content)]


def _read(entry: Any, where: str, num_tasks: int | None) -> Example:
    if not isinstance(entry, dict):
        raise ValueError(f"{where} is not an object but {_short(entry)}.")
    values = {}
    for field, kind in _FIELDS.items():
        value = _OPTIONAL.get(field) if entry.get(field) is None else entry[field]  # null is as good as nothing
        if value is None:
            raise ValueError(f"{where} has no {field!r}; there are: {', '.join(entry) or 'none'}.")
        if type(value) is not kind:
            raise ValueError(f"{where}: {field!r} must be {_NAMES[kind]}, got {_short(value)}.")
        values[field] = value
    if values["task_id"] < 0 or (num_tasks is not None and values["task_id"] >= num_tasks):
        below = "not be negative" if num_tasks is None else f"be 0 to {num_tasks - 1}"
        raise ValueError(f"{where}: 'task_id' must {below}, got {values['task_id']}.")
    answer = entry.get("answer")
    return Example(**values, answer=None if answer is None else str(answer))


_NAMES = {str: "a text", int: "a whole number"}


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def prompt(example: Example, template: str) -> str:
    """The text that asks for an answer.

    Raises:
        ValueError: there is no such template.
    """
    if template not in TEMPLATES:
        raise ValueError(f"Unknown template {template!r}. Templates: {', '.join(TEMPLATES)}.")
    with_input, without = TEMPLATES[template]
    text = with_input if example.input else without
    return re.sub(
        r"\{(instruction|input)\}", lambda found: getattr(example, found[1]), text
    )  # examples may hold braces


@dataclass(frozen=True)
class Encoding:
    """How examples become tokens.

    Attributes:
        tokenizer: of transformers, with an end token.
        template: a row of ``TEMPLATES``.
        cutoff: most tokens of prompt and answer together (for models with an encoder: of each).
        answer_only: whether the loss is of the answer alone, or of the prompt too.
        seq2seq: whether the model has an encoder, which reads the prompt.
    """

    tokenizer: Any
    template: str = "alpaca"
    cutoff: int = 256
    answer_only: bool = True
    seq2seq: bool = False

    @property
    def padding(self) -> int:
        """The token to fill up with; many language models have none of their own, and any will do, as it is masked."""
        tokenizer = self.tokenizer
        return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def encode(self, example: Example) -> dict[str, Any]:
        """Lists ``input_ids`` and ``labels``, and ``task_ids``, one number.

        What is over the cutoff is cut off at the end, so that an overlong example may have no answer left.
        """
        question = prompt(example, self.template)
        if self.seq2seq:
            tokens = self.tokenizer(question, truncation=True, max_length=self.cutoff)["input_ids"]
            labels = [*self._ids(example.output, text_target=True)[: self.cutoff - 1], self.tokenizer.eos_token_id]
        else:
            tokens = [*self._ids(question + example.output), self.tokenizer.eos_token_id]
            known = _common(tokens, self._ids(question)) if self.answer_only else 0
            tokens = tokens[: self.cutoff]
            labels = [IGNORED] * min(known, len(tokens)) + tokens[known:]
        return {"input_ids": tokens, "labels": labels, "task_ids": example.task_id}

    def encode_prompts(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """What ``generate`` needs: ``input_ids`` and ``attention_mask`` (B, L), padded on the left, and ``task_ids``.

        A prompt over the cutoff loses its beginning: it must end as every prompt does.
        """
        ask = [prompt(example, self.template) for example in examples]
        if self.seq2seq:
            ids = [self.tokenizer(text, truncation=True, max_length=self.cutoff)["input_ids"] for text in ask]
        else:
            ids = [self._ids(text)[-self.cutoff :] for text in ask]
        batch = pad(ids, self.padding, left=not self.seq2seq)
        mask = pad([[1] * len(row) for row in ids], 0, left=not self.seq2seq)
        return {
            "input_ids": batch,
            "attention_mask": mask,
            "task_ids": torch.tensor([example.task_id for example in examples]),
        }

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """A batch for training from what ``encode`` returned, padded on the right; ``task_ids``, if there, is (B,)."""
        batch = {
            "input_ids": pad([row["input_ids"] for row in rows], self.padding),
            "attention_mask": pad([[1] * len(row["input_ids"]) for row in rows], 0),
            "labels": pad([row["labels"] for row in rows], IGNORED),
        }
        if "task_ids" in rows[0]:  # Trainer drops them for models that take none
            batch["task_ids"] = torch.tensor([row["task_ids"] for row in rows])
        return batch

    def _ids(self, text: str, text_target: bool = False) -> list[int]:
        """Tokens with whatever the tokenizer begins with and without the end that some add."""
        ids = list((self.tokenizer(text_target=text) if text_target else self.tokenizer(text))["input_ids"])
        return ids[:-1] if ids and ids[-1] == self.tokenizer.eos_token_id else ids


def pad(rows: Sequence[Sequence[int]], value: int, left: bool = False) -> Tensor:
    """Lists of unequal lengths as one tensor (B, L), filled up with ``value`` on the right, or left."""
    width = max(map(len, rows))
    missing = [[value] * (width - len(row)) for row in rows]
    return torch.tensor([[*gap, *row] if left else [*row, *gap] for gap, row in zip(missing, rows, strict=True)])


def _common(ids: Sequence[int], others: Sequence[int]) -> int:
    """Length of the beginning that two lists share."""
    count = 0
    for a, b in zip(ids, others, strict=False):
        if a != b:
            break
        count += 1
    return count
