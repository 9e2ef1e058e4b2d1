"""Asking a language model, and scoring what it answers."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from mtlora_lite.lm.data import Encoding, Example


@torch.no_grad()
def ask(
    model: nn.Module,
    encoding: Encoding,
    examples: Sequence[Example],
    *,
    batch_size: int = 64,
    max_new_tokens: int = 32,
    num_beams: int = 1,
    quiet: bool = False,
) -> list[str]:
    """What a model writes after each prompt, in the order of the examples; without sampling.

    Prompts of like length are asked together, whatever their tasks.
    """
    model.eval()
    order = sorted(range(len(examples)), key=lambda index: len(examples[index].instruction + examples[index].input))
    answers = [""] * len(examples)
    with tqdm(total=len(examples), desc="ask", unit="example", disable=quiet or None, leave=False) as bar:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            texts = _ask_batch(model, encoding, [examples[i] for i in chosen], max_new_tokens, num_beams)
            for index, text in zip(chosen, texts, strict=True):
                answers[index] = text
            bar.update(len(chosen))
    return answers


def _ask_batch(
    model: Any, encoding: Encoding, examples: Sequence[Example], max_new_tokens: int, num_beams: int
) -> list[str]:
    batch = {name: tensor.to(model.device) for name, tensor in encoding.encode_prompts(examples).items()}
    if "task_ids" not in inspect.signature(model.forward).parameters:
        del batch["task_ids"]
    tokens = model.generate(
        **batch, max_new_tokens=max_new_tokens, num_beams=num_beams, do_sample=False, pad_token_id=encoding.padding
    )
    written = tokens if encoding.seq2seq else tokens[:, batch["input_ids"].shape[1] :]
    return encoding.tokenizer.batch_decode(written, skip_special_tokens=True)
