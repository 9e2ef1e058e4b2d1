"""LoRA as it is known from a single task: one low-rank update in every targeted layer, which all tasks share.

There is one stream and no fork, so all tasks get the same features. ``mtlora`` with ``combine="lora_only"`` is the same
network; what differs is that MTLoRA's recipe also trains norms, patch embedding, position tables and patch merging
(its option ``train``), and that ranks here may differ from target to target.

Source: Hu et al. 2021, arXiv 2106.09685, eq. 3.
"""

from dataclasses import dataclass

from torch import nn

from mtlora_lite.backbones import SwinBackbone
from mtlora_lite.lora import LoRALinear
from mtlora_lite.methods.common import (
    BLOCK_TARGETS,
    PerTarget,
    adapt_each,
    check_groups,
    group_size,
    linears,
    per_key_and_stage,
    train_only,
)


@dataclass(frozen=True)
class LoRAOptions:
    """Options of LoRA.

    Attributes:
        rank: rank of the updates, one number, one per stage, or {target: either}.
        scale: factor of the updates, the same; it is applied as it is.
        dropout: probability of dropping an input of A.
        targets: which layers are adapted.
        train: which groups of the backbone are trained besides the updates.
    """

    rank: PerTarget = 16
    scale: PerTarget = 4.0
    dropout: float = 0.05
    targets: tuple[str, ...] = BLOCK_TARGETS
    train: tuple[str, ...] = ()

    def __post_init__(self):
        check_groups(self.train)


def adapt(backbone: SwinBackbone, tasks: tuple[str, ...], options: LoRAOptions) -> None:
    """Insert one update into every targeted layer and set what is trained."""
    rank, scale = (_spread(backbone, options, name) for name in ("rank", "scale"))

    def make(target: str, linear: nn.Linear, stage: int) -> LoRALinear:
        return LoRALinear(linear, rank[target][stage], scale[target][stage], options.dropout)

    adapt_each(backbone, options.targets, make)
    train_only(backbone, options.train)


def count(backbone: SwinBackbone, tasks: tuple[str, ...], options: LoRAOptions) -> int:
    """Σ r (in + out) over the targeted layers, and the trained groups."""
    rank = _spread(backbone, options, "rank")
    updates = sum(rank[target][stage] * (a + b) for target, stage, a, b in linears(backbone, options.targets))
    return updates + group_size(backbone, options.train)


def _spread(backbone: SwinBackbone, options: LoRAOptions, name: str) -> dict[str, tuple[float, ...]]:
    return per_key_and_stage(getattr(options, name), "target", options.targets, backbone.num_stages, name)
