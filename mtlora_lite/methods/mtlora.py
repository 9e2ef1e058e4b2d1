"""MTLoRA and MTLoRA+: which layers get which update, and what else is trained.

==================================  ======================  ============================
layer                               blocks 0 .. n-2         last block of a stage
==================================  ======================  ============================
attn.qkv                            TA                      TA (attention is shared)
attn.proj, mlp.fc1, mlp.fc2         TA                      TA + TS
==================================  ======================  ============================

Patch merging is trained in full by MTLoRA; MTLoRA+ freezes it and gives it a TA. These are the names in a Swin; what
they are in another family, and which of its parts ``train`` may name, says the backbone.

Source: Agiza et al., CVPR 2024, arXiv 2403.20320, sec. 3 and fig. 3.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mtlora_lite.backbones import Backbone
from mtlora_lite.lora import COMBINE_MODES, LoRALinear, MTLoRALinear
from mtlora_lite.methods.common import (
    PerStage,
    PerTask,
    group_size,
    linears,
    per_key_and_stage,
    per_stage,
    train_only,
)


@dataclass(frozen=True)
class MTLoRAOptions:
    """Options of MTLoRA; the defaults are the paper's largest run.

    Attributes:
        rank: rank of the shared updates, one number or one per stage; 0: none.
        task_rank: rank of the private updates, the same, or {task: either}; 0: none.
        scale: factor of the shared updates, one number or one per stage.
        task_scale: factor of the private updates, the same, or {task: either}; None: as ``scale``.
        dropout: probability of dropping an input of the shared A.
        combine: how shared and private meet, see ``lora.MTLoRALinear``; ``lora_only`` has no private updates.
        targets: which layers are adapted; None: all linear layers of the blocks (and of the patch merging in MTLoRA+).
        train: which groups of the backbone are trained besides the updates.
    """

    adapts_merging: ClassVar[bool] = False

    rank: PerStage = 64
    task_rank: PerTask = 4
    scale: PerStage = 4.0
    task_scale: PerTask | None = None
    dropout: float = 0.05
    combine: str = "matrix"
    targets: tuple[str, ...] | None = None
    train: tuple[str, ...] = ("patch_embed", "norms", "rel_pos", "merging")

    def __post_init__(self):
        if self.combine not in COMBINE_MODES:
            raise ValueError(f"Unknown combine mode {self.combine!r}. Modes: {', '.join(COMBINE_MODES)}.")


@dataclass(frozen=True)
class MTLoRAPlusOptions(MTLoRAOptions):
    """Options of MTLoRA+: the patch merging is frozen and gets a shared update."""

    adapts_merging: ClassVar[bool] = True

    train: tuple[str, ...] = ("patch_embed", "norms", "rel_pos")


def adapt(backbone: Backbone, tasks: tuple[str, ...], options: MTLoRAOptions) -> None:
    """Insert TA- and TS-LoRA into a backbone and set what is trained."""
    stages = backbone.num_stages
    rank = per_stage(options.rank, stages, "rank")
    scale = per_stage(options.scale, stages, "scale")
    task_rank = per_key_and_stage(options.task_rank, "task", tasks, stages, "task_rank")
    task_scale = options.scale if options.task_scale is None else options.task_scale
    task_scale = per_key_and_stage(task_scale, "task", tasks, stages, "task_scale")

    def shared(linear: nn.Linear, stage: int) -> LoRALinear:
        return LoRALinear(linear, rank[stage], scale[stage], options.dropout)

    def shared_and_private(linear: nn.Linear, stage: int) -> MTLoRALinear:
        return MTLoRALinear(
            linear,
            rank[stage],
            {task: task_rank[task][stage] for task in tasks},
            scale[stage],
            {task: task_scale[task][stage] for task in tasks},
            options.dropout,
            options.combine,
        )

    forked = None if options.combine == "lora_only" else shared_and_private
    backbone.adapt(wanted_targets(backbone, options), shared, forked)
    train_only(backbone, options.train)


def wanted_targets(backbone: Backbone, options: MTLoRAOptions) -> tuple[str, ...]:
    """The layers that the options mean in this backbone.

    Raises:
        ValueError: MTLoRA+ on a backbone whose patch merging is no linear layer.
    """
    if options.targets is not None:
        return options.targets
    if not options.adapts_merging:
        return tuple(backbone.block_linears)
    if backbone.merging_linear is None:
        raise ValueError(
            f"MTLoRA+ puts a low-rank update into the patch merging, which is no linear layer in a {backbone.title}: "
            "take mtlora, which trains it in full, or leaves it frozen if its option train is without merging."
        )
    return backbone.targets()


def count(backbone: Backbone, tasks: tuple[str, ...], options: MTLoRAOptions) -> int:
    """Σ r (in + out) over the adapted layers, Σ r_t (in + out) over tasks where they fork, and the trained groups.

    In ``addition`` a forked layer has a norm (2 · out) in place of the shared update.
    """
    stages = backbone.num_stages
    rank = per_stage(options.rank, stages, "rank")
    task_rank = per_key_and_stage(options.task_rank, "task", tasks, stages, "task_rank")
    layers = list(linears(backbone, wanted_targets(backbone, options)))
    forks = (
        {}
        if options.combine == "lora_only"
        else {layer[:2]: layer for layer in layers if layer[0] in backbone.fork_targets}
    )
    total = group_size(backbone, options.train)
    for _, stage, inputs, outputs in layers:
        total += int(rank[stage]) * (inputs + outputs)
    for _, stage, inputs, outputs in forks.values():  # the last block of each stage
        total += sum(int(task_rank[task][stage]) for task in tasks) * (inputs + outputs)
        if options.combine == "addition":
            total += 2 * outputs - int(rank[stage]) * (inputs + outputs)
    return total
