"""Activation checkpointing: blocks that keep only their input, and compute again what the backward pass needs."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint

from mtlora_lite.backbones.base import Backbone
from mtlora_lite.mtl_lora import TaskIds


def recompute_blocks(backbone: Backbone) -> None:
    """Let every block of an adapted backbone compute twice in training: the same numbers, in less memory.

    Source: Chen et al. 2016, training deep nets with sublinear memory cost (arXiv 1604.06174).
    """
    for _, block in backbone.blocks():
        block.forward = partial(_run_twice, type(block).forward.__get__(block), backbone.task_ids)


def _run_twice(forward: Callable, task_ids: TaskIds, *arguments: Any) -> Any:
    return checkpoint(task_ids.bound(forward), *arguments, use_reentrant=False)


def keep_activations(backbone: Backbone) -> None:
    """Undo ``recompute_blocks``."""
    for _, block in backbone.blocks():
        vars(block).pop("forward", None)
