"""A LoRA per task: every targeted layer has one update for each task and none that they share.

A task's samples see its own update alone, in every layer. So the tasks share no features, and an image takes a pass of
the backbone for each of them, where MTLoRA takes one for all.

Source: Hu et al. 2021, arXiv 2106.09685, eq. 3, once per task.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mtlora_lite.adapted import Adapted
from mtlora_lite.backbones import Backbone
from mtlora_lite.lora import low_rank_pair, stack_updates
from mtlora_lite.methods.common import (
    PerTask,
    group_size,
    linears,
    per_key_and_stage,
    train_only,
    wanted_targets,
)
from mtlora_lite.mtl_lora import TaskIds


@dataclass(frozen=True)
class LoRAPerTaskOptions:
    """Options of a LoRA per task.

    Attributes:
        rank: rank of the updates, one number, one per stage, or {task: either}.
        scale: factor of the updates, the same; it is applied as it is.
        dropout: probability of dropping an input of A.
        targets: which layers are adapted; None: all linear layers of the blocks.
        train: which groups of the backbone are trained besides the updates; those are shared.
    """

    rank: PerTask = 4
    scale: PerTask = 4.0
    dropout: float = 0.05
    targets: tuple[str, ...] | None = None
    train: tuple[str, ...] = ()


class LoRAPerTaskLinear(Adapted):
    """A frozen linear layer with one low-rank update per task, and nothing that they share.

    Args:
        base: the layer to adapt; it is frozen in place and kept as ``self.linear``.
        rank: {task: rows of its A}; the keys, in their order, are the tasks.
        scale: {task: factor of its update}.
        dropout: probability of dropping an input of A.
        ids: which of the tasks the samples belong to while a model is called.

    Shapes: ``x (B, ..., in)`` to ``(B, ..., out)``; where there are k ids, of each task B / k samples in a row.
    """

    base_name = "linear"

    def __init__(self, base: nn.Linear, rank: dict[str, int], scale: dict[str, float], dropout: float, ids: TaskIds):
        super().__init__(base)
        self.tasks, self.scale, self.ids = tuple(rank), dict(scale), ids
        pairs = {task: low_rank_pair(rank[task], base) for task in rank}
        self.lora_ts_A = nn.ParameterDict({task: down for task, (down, _) in pairs.items()})
        self.lora_ts_B = nn.ParameterDict({task: up for task, (_, up) in pairs.items()})
        self.dropout = nn.Dropout(dropout)

    @property
    def mergeable(self) -> bool:
        """With one task there is one weight, with more there is none that serves all."""
        return len(self.tasks) == 1

    def delta_weight(self, task: str) -> Tensor:
        """ΔW of a task, scale · B A, (out, in)."""
        return self.scale[task] * self.lora_ts_B[task] @ self.lora_ts_A[task]

    def folded(self) -> dict[str, Tensor]:
        """W + ΔW of the only task."""
        return {"weight": self.linear.weight + self.delta_weight(*self.tasks)}

    def forward(self, x: Tensor) -> Tensor:
        """W x + b + scale_t · B_t A_t dropout(x), t the task of each sample."""
        base = self.linear(x)
        if self.merged:
            return base
        pairs = [(self.lora_ts_A[task], self.scale[task] * self.lora_ts_B[task]) for task in self.tasks]
        down, up = (each[self.ids.current] for each in stack_updates(pairs))  # (T, R, in), (T, R, out)
        low = torch.bmm(self.dropout(x).reshape(len(down), -1, x.shape[-1]), down.transpose(1, 2))
        return base + torch.bmm(low, up).reshape(base.shape)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows of this layer."""
        return ", ".join(f"{task}={len(down)}" for task, down in self.lora_ts_A.items())


def adapt(backbone: Backbone, tasks: tuple[str, ...], options: LoRAPerTaskOptions) -> None:
    """Insert an update per task into every targeted layer and set what is trained."""
    rank, scale = (
        per_key_and_stage(getattr(options, name), "task", tasks, backbone.num_stages, name)
        for name in ("rank", "scale")
    )
    ids = backbone.pass_per_task(tasks)

    def make(linear: nn.Linear, stage: int) -> LoRAPerTaskLinear:
        ranks, scales = ({task: values[task][stage] for task in tasks} for values in (rank, scale))
        return LoRAPerTaskLinear(linear, ranks, scales, options.dropout, ids)

    backbone.adapt(wanted_targets(backbone, options.targets), make)
    train_only(backbone, options.train)


def count(backbone: Backbone, tasks: tuple[str, ...], options: LoRAPerTaskOptions) -> int:
    """Σ r_t (in + out) over the targeted layers and the tasks, and the trained groups."""
    rank = per_key_and_stage(options.rank, "task", tasks, backbone.num_stages, "rank")
    layers = linears(backbone, wanted_targets(backbone, options.targets))
    updates = sum(sum(rank[task][stage] for task in tasks) * (a + b) for _, stage, a, b in layers)
    return updates + group_size(backbone, options.train)
