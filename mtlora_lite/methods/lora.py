"""LoRA as it is known from a single task: one low-rank update in every targeted layer, which all tasks share.

There is one stream and no fork, so all tasks get the same features. ``mtlora`` with ``combine="lora_only"`` is the same
network; what differs is that MTLoRA's recipe also trains norms, patch embedding, position tables and patch merging
(its option ``train``), and that ranks here may differ from target to target.

Source: Hu et al. 2021, arXiv 2106.09685, eq. 3.
"""

from dataclasses import dataclass

from torch import nn

from mtlora_lite.backbones import Backbone
from mtlora_lite.lora import LoRALinear
from mtlora_lite.methods.common import (
    PerTarget,
    adapt_each,
    group_size,
    linears,
    per_key_and_stage,
    train_only,
    wanted_targets,
)


@dataclass(frozen=True)
class LoRAOptions:
    """Options of LoRA.

    Attributes:
        rank: rank of the updates, one number, one per stage, or {target: either}.
        scale: factor of the updates, the same; it is applied as it is.
        dropout: probability of dropping an input of A.
        targets: which layers are adapted; None: all linear layers of the blocks.
        train: which groups of the backbone are trained besides the updates.
    """

    rank: PerTarget = 16
    scale: PerTarget = 4.0
    dropout: float = 0.05
    targets: tuple[str, ...] | None = None
    train: tuple[str, ...] = ()


def adapt(backbone: Backbone, tasks: tuple[str, ...], options: LoRAOptions) -> None:
    """Insert one update into every targeted layer and set what is trained."""
    rank, scale = (spread(backbone, options, name) for name in ("rank", "scale"))

    def make(target: str, linear: nn.Linear, stage: int) -> LoRALinear:
        return LoRALinear(linear, rank[target][stage], scale[target][stage], options.dropout)

    adapt_each(backbone, wanted_targets(backbone, options.targets), make)
    train_only(backbone, options.train)


def count(backbone: Backbone, tasks: tuple[str, ...], options: LoRAOptions) -> int:
    """Σ r (in + out) over the targeted layers, and the trained groups."""
    rank = spread(backbone, options, "rank")
    layers = linears(backbone, wanted_targets(backbone, options.targets))
    updates = sum(rank[target][stage] * (a + b) for target, stage, a, b in layers)
    return updates + group_size(backbone, options.train)


def spread(backbone: Backbone, options: LoRAOptions, name: str) -> dict[str, tuple[float, ...]]:
    """An option, ``rank`` or ``scale``, as one number per target and stage."""
    targets = wanted_targets(backbone, options.targets)
    return per_key_and_stage(getattr(options, name), "target", targets, backbone.num_stages, name)
