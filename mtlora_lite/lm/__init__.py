"""MTL-LoRA for the language models of transformers: adapt, train, ask, save, merge.

Nothing here imports transformers before it is needed; ``pip install 'mtlora-lite[lm]'`` brings it.
"""

from mtlora_lite.lm.adapt import (
    inject_lora,
    inject_mtl_lora,
    inject_task_lora,
    load_adapters,
    merge_task,
    save_adapters,
)
from mtlora_lite.lm.adaptation import TARGETS
from mtlora_lite.lm.data import Encoding, Example, read_examples

__all__ = [
    "TARGETS",
    "Encoding",
    "Example",
    "inject_lora",
    "inject_mtl_lora",
    "inject_task_lora",
    "load_adapters",
    "merge_task",
    "read_examples",
    "save_adapters",
]
