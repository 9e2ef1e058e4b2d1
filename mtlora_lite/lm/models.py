"""Getting a language model: the embedded one, one in a folder, or one of the hub."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from mtlora_lite.extras import require
from mtlora_lite.hub import download, names_repo
from mtlora_lite.lm.embedded import NAME, embedded_folder

FILES = ("*.json", "*.safetensors", "*.model", "*.txt")  # of a model on the hub: weights, tokenizer, settings
DTYPES = {"fp32": torch.float32, "fp16": torch.float32, "bf16": torch.bfloat16}  # of the frozen weights, by precision


def load_language_model(name: str, precision: str = "fp32") -> tuple[nn.Module, Any]:
    """A language model of transformers and its tokenizer, in evaluation mode.

    Args:
        name: ``llama_puzzles_tiny``, the embedded one; a folder in the form of transformers; or a model of the hub.
        precision: fp32, bf16 (weights are loaded so) or fp16.

    Raises:
        MissingExtraError: transformers is not installed.
        ValueError: there is no such model here, it is no language model, or its tokenizer has no end token.
        OSError: the hub has no such model, or cannot be reached.
    """
    require("A language model", "transformers")
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    if precision not in DTYPES:
        raise ValueError(f"Unknown precision {precision!r}. There are: {', '.join(DTYPES)}.")
    path = _folder(name)
    try:
        config = AutoConfig.from_pretrained(path)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model = kind.from_pretrained(path, dtype=DTYPES[precision])
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ValueError(f"No language model could be loaded from {name!r}: {reason}.") from error
    if tokenizer.eos_token_id is None:
        raise ValueError(f"The tokenizer of {name} has no end token, without which no answer ends.")
    return model.eval(), tokenizer


def _folder(name: str) -> Path:
    """Where the files of a model lie; those of the hub are fetched, unless they are in its cache."""
    if name == NAME:
        return embedded_folder()
    if not Path(name).is_dir() and names_repo(name):
        return download(name, FILES)
    if not (Path(name) / "config.json").is_file():  # transformers would ask the hub for minutes
        raise ValueError(
            f"There is no language model in {name!r}: no folder with a config.json. Give {NAME}, a folder in the form "
            "of transformers, or owner/name on the hub."
        )
    return Path(name)
