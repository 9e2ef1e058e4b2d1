"""The two ends of the scale: a backbone that is not touched, and one that is trained in full."""

from dataclasses import dataclass
from typing import Any

from mtlora_lite.backbones import Backbone


@dataclass(frozen=True)
class NoOptions:
    """These baselines have nothing to set."""


def freeze_backbone(backbone: Backbone, tasks: tuple[str, ...], options: Any) -> None:
    """Train nothing of the backbone."""
    backbone.requires_grad_(False)


def train_backbone(backbone: Backbone, tasks: tuple[str, ...], options: Any) -> None:
    """Train everything of the backbone."""
    backbone.requires_grad_(True)


def train_backbone_for_one_task(backbone: Backbone, tasks: tuple[str, ...], options: Any) -> None:
    """Train everything of the backbone, for exactly one task; more raise ``ValueError``."""
    if len(tasks) != 1:
        raise ValueError(f"single_task trains one task per model, got {', '.join(tasks)}: build one model for each.")
    backbone.requires_grad_(True)


def count_nothing(backbone: Backbone, tasks: tuple[str, ...], options: Any) -> int:
    """0: only fusion and decoders are trained."""
    return 0


def count_all(backbone: Backbone, tasks: tuple[str, ...], options: Any) -> int:
    """All parameters of the backbone."""
    return sum(parameter.numel() for parameter in backbone.parameters())
