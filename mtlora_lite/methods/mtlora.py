"""MTLoRA and MTLoRA+: which layers get which update, and what else is trained.

==================================  ======================  ============================
layer                               blocks 0 .. n-2         last block of a stage
==================================  ======================  ============================
attn.qkv                            TA                      TA (attention is shared)
attn.proj, mlp.fc1, mlp.fc2         TA                      TA + TS
patch merging                       MTLoRA: trained in full. MTLoRA+: frozen, TA
==================================  ======================  ============================

Source: Agiza et al., CVPR 2024, arXiv 2403.20320, sec. 3 and fig. 3.
"""

from dataclasses import dataclass

from torch import nn

from mtlora_lite.backbones import SwinBackbone
from mtlora_lite.backbones.swin import FORK_TARGETS, TARGETS
from mtlora_lite.lora import COMBINE_MODES, LoRALinear, MTLoRALinear
from mtlora_lite.methods.common import (
    BLOCK_TARGETS,
    PerStage,
    PerTask,
    check_groups,
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
        rank: rank of the shared updates, one number or one per stage.
        task_rank: rank of the private updates, the same, or {task: either}.
        scale: factor of the shared updates, one number or one per stage.
        task_scale: factor of the private updates, the same, or {task: either}; None: as ``scale``.
        dropout: probability of dropping an input of the shared A.
        combine: how shared and private meet, see ``lora.MTLoRALinear``; ``lora_only`` has no private updates.
        targets: which layers are adapted.
        train: which groups of the backbone are trained besides the updates.
    """

    rank: PerStage = 64
    task_rank: PerTask = 4
    scale: PerStage = 4.0
    task_scale: PerTask | None = None
    dropout: float = 0.05
    combine: str = "matrix"
    targets: tuple[str, ...] = BLOCK_TARGETS
    train: tuple[str, ...] = ("patch_embed", "norms", "rel_pos", "merging")

    def __post_init__(self):
        if self.combine not in COMBINE_MODES:
            raise ValueError(f"Unknown combine mode {self.combine!r}. Modes: {', '.join(COMBINE_MODES)}.")
        check_groups(self.train)


@dataclass(frozen=True)
class MTLoRAPlusOptions(MTLoRAOptions):
    """Options of MTLoRA+: the patch merging is frozen and gets a shared update."""

    targets: tuple[str, ...] = TARGETS
    train: tuple[str, ...] = ("patch_embed", "norms", "rel_pos")


def adapt(backbone: SwinBackbone, tasks: tuple[str, ...], options: MTLoRAOptions) -> None:
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

    backbone.adapt(options.targets, shared, None if options.combine == "lora_only" else shared_and_private)
    train_only(backbone, options.train)


def count(backbone: SwinBackbone, tasks: tuple[str, ...], options: MTLoRAOptions) -> int:
    """Σ r (in + out) over the adapted layers, Σ r_t (in + out) over tasks where they fork, and the trained groups.

    In ``addition`` a forked layer has a norm (2 · out) in place of the shared update.
    """
    stages = backbone.num_stages
    rank = per_stage(options.rank, stages, "rank")
    task_rank = per_key_and_stage(options.task_rank, "task", tasks, stages, "task_rank")
    layers = list(linears(backbone, options.targets))
    forks = {} if options.combine == "lora_only" else {layer[:2]: layer for layer in layers if layer[0] in FORK_TARGETS}
    total = group_size(backbone, options.train)
    for _, stage, inputs, outputs in layers:
        total += int(rank[stage]) * (inputs + outputs)
    for _, stage, inputs, outputs in forks.values():  # the last block of each stage
        total += sum(int(task_rank[task][stage]) for task in tasks) * (inputs + outputs)
        if options.combine == "addition":
            total += 2 * outputs - int(rank[stage]) * (inputs + outputs)
    return total
