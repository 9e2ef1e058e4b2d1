"""Getting a language model: the embedded one, one in a folder, or one of the hub."""

from typing import Any

import torch
from torch import nn

from mtlora_lite.extras import require
from mtlora_lite.lm.embedded import NAME, embedded_folder

DTYPES = {"fp32": torch.float32, "fp16": torch.float32, "bf16": torch.bfloat16}  # of the frozen weights, by precision


def load_language_model(name: str, precision: str = "fp32") -> tuple[nn.Module, Any]:
    """A language model of transformers and its tokenizer, in evaluation mode.

    Args:
        name: ``llama_puzzles_tiny``, the embedded one; a folder in the form of transformers; or a model of the hub.
        precision: fp32, bf16 (weights are loaded so) or fp16.

    Raises:
        MissingExtraError: transformers is not installed.
        ValueError: there is no such model, it is no language model, or its tokenizer has no end token.
    """
    require("A language model", "transformers")
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    if precision not in DTYPES:
        raise ValueError(f"Unknown precision {precision!r}. There are: {', '.join(DTYPES)}.")
    path = str(embedded_folder()) if name == NAME else name
    try:
        config = AutoConfig.from_pretrained(path)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model = kind.from_pretrained(path, dtype=DTYPES[precision])
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ValueError(
            f"No language model could be loaded from {name!r} ({reason}). Give {NAME}, a folder in the form of "
            "transformers, or the name of a model on the hub."
        ) from error
    if tokenizer.eos_token_id is None:
        raise ValueError(f"The tokenizer of {name} has no end token, without which no answer ends.")
    return model.eval(), tokenizer
