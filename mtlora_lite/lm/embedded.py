"""The embedded language model: a small Llama of this project's own, pre-trained on ``puzzles.exercises``.

It is a folder in the form of transformers like any other model, so that the embedded world and the real one are loaded
in the same way; a token is a character.
"""

from pathlib import Path
from typing import Any

from mtlora_lite.paths import data_dir

NAME = "llama_puzzles_tiny"  # what --model says for it
BEGIN, END, PADDING, UNKNOWN = "<s>", "</s>", "<pad>", "<unk>"
CHARACTERS = "\n" + "".join(map(chr, range(ord(" "), ord("~") + 1)))


def embedded_folder() -> Path:
    """Where its files lie."""
    return data_dir() / NAME


def new_tokenizer() -> Any:
    """A tokenizer of transformers whose tokens are the printable characters of ASCII and the line feed."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate((PADDING, BEGIN, END, UNKNOWN, *CHARACTERS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, vocabulary[BEGIN])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BEGIN, eos_token=END, pad_token=PADDING, unk_token=UNKNOWN,
        model_max_length=256, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def new_model(tokenizer: Any) -> Any:
    """The model with random weights: a Llama of 4 layers and width 64, some 0.2 million weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=192, num_hidden_layers=4, num_attention_heads=4,
        max_position_embeddings=256, tie_word_embeddings=True, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return LlamaForCausalLM(config)
