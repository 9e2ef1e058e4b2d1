"""What losses and metrics read a target with: its shape checked, its valid pixels, its positives."""

from collections.abc import Mapping

from torch import Tensor

from mtlora_lite.tasks import IGNORE_INDEX

# Channels of (prediction, target) by kind of target, see the table in tasks.py; None: one per class.
_CHANNELS: dict[str, tuple[int | None, int]] = {
    "classes": (None, 1), "binary": (1, 1), "directions": (3, 3), "metres": (1, 1),
}  # fmt: skip


def match_target(kind: str, logits: Tensor, target: Tensor) -> Tensor:
    """Return ``target`` as (B, C, H, W) once it fits ``logits``; one-channel targets may come as (B, H, W).

    Raises:
        ValueError: if either shape is not what the kind of target asks for.
    """
    logit_channels, target_channels = _CHANNELS[kind]
    if logits.ndim != 4 or logit_channels not in (None, logits.shape[1]):
        raise ValueError(
            f"A prediction of {kind} has shape (B, {logit_channels or 'classes'}, H, W), not {tuple(logits.shape)}."
        )
    target = as_maps(target) if target_channels == 1 else target
    batch, _, height, width = logits.shape
    expected = (batch, target_channels, height, width)
    if tuple(target.shape) != expected:
        raise ValueError(
            f"The target of {kind} has shape {tuple(target.shape)}, but the prediction {tuple(logits.shape)} "
            f"asks for {expected}; resize the prediction to the size of the target."
        )
    return target


def as_maps(target: Tensor) -> Tensor:
    """A target as (B, C, H, W); one of one channel may come as (B, H, W)."""
    return target.unsqueeze(1) if target.ndim == 3 else target


def valid_pixels(target: Tensor) -> Tensor:
    """Where a (B, C, H, W) target counts: no channel holds the ignore value. (B, 1, H, W), bool."""
    return (target != IGNORE_INDEX).all(dim=1, keepdim=True)


def positives(target: Tensor) -> Tensor:
    """Where a binary target is 1. Binary targets have no ignore value: everything from one half up is positive."""
    return target >= 0.5


def task_entry(maps: Mapping[str, Tensor], task: str, what: str) -> Tensor:
    """The entry of ``task``, or a ``ValueError`` that says which prediction or target is missing."""
    if task not in maps:
        raise ValueError(f"No {what} for the task {task!r}; given: {', '.join(maps)}.")
    return maps[task]
