"""Low-rank adaptation of one frozen linear layer: alone (LoRA) and for many tasks at once (MTLoRA).

A frozen weight W (out, in) is corrected by a product of two thin matrices, of which only A and B are trained::

                   ┌──────────── W (out, in), frozen ────────────┐
    x (..., in) ───┤                                             ├─(+)── y (..., out)
                   └─ A (rank, in) ── B (out, rank) ── * scale ──┘

    y = W x + b + scale · B A dropout(x),        ΔW = scale · B A

A worked example: in = out = 96 and rank = 4 give 2 · 4 · 96 = 768 trained numbers beside 9,216 frozen ones.
B starts at zero, so an adapted layer starts out as exactly the layer it adapts.

MTLoRA gives some layers one such pair for all tasks (TA, task-agnostic) and one more pair per task (TS,
task-specific). The shared stream x passes by the TA pair, each task's own stream x_t by its TS pair::

    shared  y   = W x + b + s · B A d(x)
    task    y_t = W x + b + s_t · B_t A_t (x_t, or d(x) where the streams fork)

Sources: LoRA, Hu et al. 2021, arXiv 2106.09685, eq. 3; MTLoRA, Agiza et al., CVPR 2024, arXiv 2403.20320, sec. 3.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mtlora_lite.adapted import Adapted

#: How shared and private updates meet, by the words of the paper's released code.
COMBINE_MODES = ("matrix", "matrixv2", "addition", "lora_only")


def low_rank_pair(rank: int, linear: nn.Linear) -> tuple[nn.Parameter, nn.Parameter]:
    """Fresh A (rank, in), kaiming uniform, and B (out, rank), zeros, on the device and dtype of ``linear``.

    Rank 0 is no update at all: both are empty.
    """
    if not isinstance(rank, int) or rank < 0:
        raise ValueError(f"The rank of a low-rank update is a whole number from 0 on, not {rank}.")
    weight = linear.weight
    down = nn.Parameter(weight.new_empty(rank, linear.in_features))
    up = nn.Parameter(weight.new_zeros(linear.out_features, rank))
    if rank:
        nn.init.kaiming_uniform_(down, a=math.sqrt(5))
    return down, up


class LoRALinear(Adapted):
    """A frozen linear layer with one low-rank update (LoRA, eq. 3); MTLoRA's task-agnostic TA-LoRA.

    Args:
        base: the layer to adapt; it is frozen in place and kept as ``self.linear``.
        rank: rows of A.
        scale: factor of the update, applied as is (it is not alpha / rank).
        dropout: probability of dropping an input of A.

    Shapes: ``x (..., in)`` to ``(..., out)``.
    """

    base_name = "linear"

    def __init__(self, base: nn.Linear, rank: int, scale: float = 1.0, dropout: float = 0.0):
        super().__init__(base)
        self.lora_ta_A, self.lora_ta_B = low_rank_pair(rank, base)
        self.scale = scale
        self.dropout = nn.Dropout(dropout)

    def delta_weight(self) -> Tensor:
        """ΔW = scale · B A, shape (out, in)."""
        return self.scale * self.lora_ta_B @ self.lora_ta_A

    def folded(self) -> dict[str, Tensor]:
        """W + ΔW."""
        return {"weight": self.linear.weight + self.delta_weight()}

    def forward(self, x: Tensor) -> Tensor:
        """W x + b + scale · B A dropout(x)."""
        return self._plus_update(self.linear(x), self.dropout(x))

    def _plus_update(self, base: Tensor, x: Tensor) -> Tensor:
        if self.merged:
            return base  # the weight already carries the update
        return base + F.linear(F.linear(x, self.lora_ta_A), self.scale * self.lora_ta_B)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows of this layer."""
        return f"rank={self.lora_ta_A.shape[0]}, scale={self.scale}"


class MTLoRALinear(LoRALinear):
    """A frozen linear layer with one update for all tasks (TA) and one per task (TS): MTLoRA, sec. 3.

    The tasks' streams are one stacked tensor, and so are their updates: two batched products serve all tasks.

    Args:
        base: the layer to adapt; it is frozen in place and kept as ``self.linear``.
        rank: rank of the shared update.
        task_rank: rank of each task's update; its keys, in their order, are the tasks.
        scale: factor of the shared update.
        task_scale: factor of each task's update.
        dropout: probability of dropping an input that comes from the shared stream.
        combine: how shared and private meet (the words of the paper's code). ``matrix``: the tasks read W without
            the shared update. ``matrixv2``: with it. ``addition``: there is no shared update; the shared output is
            W x + b + LayerNorm(sum of the task outputs). (``lora_only`` has no task updates: use ``LoRALinear``.)

    Shapes: ``x (B, ..., in)`` and ``x_tasks (T, B, ..., in)`` or None to ``(B, ..., out), (T, B, ..., out)``.
    """

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        task_rank: Mapping[str, int],
        scale: float = 1.0,
        task_scale: Mapping[str, float] | None = None,
        dropout: float = 0.0,
        combine: str = "matrix",
    ):
        super().__init__(base, rank, scale, dropout)
        self.combine = combine
        self.tasks = tuple(task_rank)
        self.task_scale = dict(task_scale or dict.fromkeys(task_rank, scale))
        pairs = {task: low_rank_pair(task_rank[task], base) for task in task_rank}
        self.lora_ts_A = nn.ParameterDict({task: down for task, (down, _) in pairs.items()})
        self.lora_ts_B = nn.ParameterDict({task: up for task, (_, up) in pairs.items()})
        if combine == "addition":
            self.lora_ta_A = self.lora_ta_B = None
            self.lora_norm = nn.LayerNorm(base.out_features, device=base.weight.device, dtype=base.weight.dtype)

    def delta_weight(self, task: str | None = None) -> Tensor:
        """ΔW of the shared stream (None) or of one task, shape (out, in)."""
        if task is None:
            return super().delta_weight()
        return self.task_scale[task] * self.lora_ts_B[task] @ self.lora_ts_A[task]

    def merge(self) -> None:
        """Fold the shared update into W where the tasks read the folded weight too (``matrixv2``), else do nothing."""
        if self.combine == "matrixv2":
            super().merge()

    def forward(
        self, x: Tensor, x_tasks: Tensor | None = None, tasks: "Sequence[str] | Updates | None" = None
    ) -> tuple[Tensor, Tensor]:
        """The shared output and the stacked outputs of ``tasks`` (default: all, in the order of ``self.tasks``).

        Where the layer is called often, ``tasks`` may be the tasks' ``updates(...)``, stacked once.
        """
        down, up = tasks if isinstance(tasks, Updates) else self.updates(tasks or self.tasks)
        shared, anchor, dropped = self.run_shared(x)
        outputs = _raise(anchor, _lower(dropped, x_tasks, down), up)
        if self.combine == "addition":
            shared = anchor + self.lora_norm(outputs.sum(0))
        return shared, outputs

    def updates(self, tasks: Sequence[str]) -> "Updates":
        """The private updates of ``tasks``."""
        return stack_updates([(self.lora_ts_A[t], self.task_scale[t] * self.lora_ts_B[t]) for t in tasks])

    def run_shared(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The shared output, what the tasks' outputs start from (``anchor``), and the input of the updates, d(x)."""
        base, dropped = self.linear(x), self.dropout(x)  # (B, ..., out), (B, ..., in)
        shared = base if self.combine == "addition" else self._plus_update(base, dropped)
        return shared, shared if self.combine == "matrixv2" else base, dropped

    def extra_repr(self) -> str:
        """What ``print(model)`` shows of this layer."""
        ranks = ", ".join(f"{task}={down.shape[0]}" for task, down in self.lora_ts_A.items())
        shared = "" if self.lora_ta_A is None else f"{super().extra_repr()}, "
        return f"{shared}task ranks: {ranks}, combine={self.combine}"


class Updates(NamedTuple):
    """The private updates of T tasks, stacked.

    Attributes:
        down: all A, (T, R, in).
        up: all s_t · B, transposed: (T, R, out).
    """

    down: Tensor
    up: Tensor


def stack_updates(pairs: Sequence[tuple[Tensor, Tensor]]) -> Updates:
    """The updates of T tasks, each given as A and s · B; smaller ranks are filled up with zeros, which add nothing."""
    widest = max(len(down) for down, _ in pairs)
    downs = [F.pad(down, (0, 0, 0, widest - len(down))) for down, _ in pairs]
    ups = [F.pad(up, (0, widest - len(down))).t() for down, up in pairs]
    return Updates(torch.stack(downs), torch.stack(ups))


def forked_mlp(
    fc1: MTLoRALinear,
    activate: Callable[[Tensor], Tensor],
    fc2: MTLoRALinear,
    x: Tensor,
    x_tasks: Tensor | None,
    updates: tuple[Updates, Updates],
) -> tuple[Tensor, Tensor]:
    """``fc2(activate(fc1(x)))`` of all streams; not for ``addition``, where the shared stream waits for the others.

    A task's own stream enters and leaves the wide hidden layer through a few numbers per token, its low-rank inputs
    A_t x_t of the two layers. So what is in between is not kept for the backward pass but computed once more there.
    """
    (down1, up1), (down2, up2) = updates
    shared, anchor, dropped = fc1.run_shared(x)
    low = _lower(dropped, x_tasks, down1)  # (T, N, R1)
    if fc1.training:
        low = checkpoint(_through_hidden, activate, anchor, low, up1, down2, use_reentrant=False)
    else:
        low = _through_hidden(activate, anchor, low, up1, down2)  # (T, N, R2)
    shared, anchor, _ = fc2.run_shared(activate(shared))
    return shared, _raise(anchor, low, up2)


def _through_hidden(activate: Callable, anchor: Tensor, low: Tensor, up: Tensor, down: Tensor) -> Tensor:
    hidden = activate(_raise(anchor, low, up))  # (T, B, ..., hidden)
    return torch.bmm(hidden.reshape(*low.shape[:2], -1), down.transpose(1, 2))


def _lower(x: Tensor, x_tasks: Tensor | None, down: Tensor) -> Tensor:
    """A_t x_t of all tasks, (T, N, R), from the tasks' own inputs or, if those are None, from one for all."""
    tasks = len(down)
    if x_tasks is not None:
        return torch.bmm(x_tasks.reshape(tasks, -1, x_tasks.shape[-1]), down.transpose(1, 2))
    low = F.linear(x.reshape(-1, x.shape[-1]), down.flatten(0, 1))  # (N, T·R): all A side by side
    return low.unflatten(1, (tasks, -1)).transpose(0, 1)


def _raise(anchor: Tensor, low: Tensor, up: Tensor) -> Tensor:
    """``anchor + s_t · B_t low_t`` of all tasks, (T, B, ..., out)."""
    flat = anchor.reshape(1, -1, anchor.shape[-1])  # (1, N, out)
    flat = flat.to(low.dtype).expand(len(low), -1, -1)
    return torch.baddbmm(flat, low, up).unflatten(1, anchor.shape[:-1])
