"""MTL-LoRA: one frozen linear layer with a low-rank update per task, most of which the tasks share.

A sample belongs to one task t. Its update passes a narrow place that all tasks share (A), is transformed there as its
task wants (Λ_t), and leaves it by a mixture of n ways up (B_1 ... B_n), in which each task has its own portions::

                   ┌──────────────────────── W (out, in), frozen ───────────────────────────┐
    x (B, ..., in) ┤                                                                        ├(+)── h_t (B, ..., out)
                   └─ A (r, in) ── Λ_t (r, r) ── Σ_i softmax(w_t / τ)_i B_i (out, r) ── * s ─┘

    h_t = W x + b + s · Σ_i softmax(w_t / τ)_i B_i Λ_t A dropout(x),        ΔW_t = s · B_t Λ_t A

A worked example: in = out = 96, r = 4, n = 3, T = 8 give 4·96 + 3·96·4 + 8·4·4 + 8·3 = 1,688 trained numbers beside
9,216 frozen ones. All B start at zero, so an adapted layer starts out as exactly the layer it adapts.

Where MTLoRA forks a stream per task, here the task is an input like x: for T answers about one thing, ask T times.

Source: Yang et al., AAAI 2025, arXiv 2410.09437.
"""

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAMBDA_FORMS = ("full", "diagonal")


class TaskIds:
    """Which task every sample of a batch belongs to, for the adapted layers deep inside one model.

    The layers of a model share one object (``share_task_ids``), and whoever calls the model fills it for as long as
    the call lasts: ``with task_ids.of(ids): model(x)``. Outside of that it is empty, so that no call can pick up the
    ids of an earlier one; a layer that finds nothing raises. Every thread has its own, so that one model may serve
    several at a time.

    What is called later, in the backward pass, as activation checkpointing does, has to be ``bound`` to the ids of
    its own forward pass: ``checkpoint(task_ids.bound(block), x, use_reentrant=False)``.
    """

    def __init__(self):
        self._of_thread = threading.local()

    @property
    def current(self) -> Tensor | None:
        """The ids of the call that this thread is in, (B,) int64."""
        return getattr(self._of_thread, "ids", None)

    @current.setter
    def current(self, ids: Tensor | None) -> None:
        self._of_thread.ids = ids

    @contextmanager
    def of(self, task_ids: "Tensor | Sequence[int] | int", num_tasks: int | None = None) -> Iterator[None]:
        """Let these be the ids meanwhile: one per sample, or a single one for all; see ``read_task_ids``."""
        outer, self.current = self.current, read_task_ids(task_ids, num_tasks)
        try:
            yield
        finally:
            self.current = outer

    def bound(self, function: Callable) -> Callable:
        """``function``, run with the ids of now whenever it is called."""
        bound_ids = self.current

        @wraps(function)
        def with_its_ids(*args, **kwargs):
            outer, self.current = self.current, bound_ids
            try:
                return function(*args, **kwargs)
            finally:
                self.current = outer

        return with_its_ids

    def __reduce__(self) -> tuple:
        """A copy of a model is of no call: its ids are empty."""
        return TaskIds, ()


def read_task_ids(task_ids: "Tensor | Sequence[int] | int", num_tasks: int | None = None) -> Tensor:
    """Task ids as a tensor (B,) int64 of its own, or (1,) where one id is given for all samples.

    Raises:
        ValueError: they are no integers, there are none, or (where ``num_tasks`` is given) one is not a task's.
    """
    ids = torch.as_tensor(task_ids)
    if ids.ndim > 1 or ids.numel() == 0 or ids.dtype == torch.bool or ids.is_floating_point() or ids.is_complex():
        raise ValueError(
            f"task_ids are one integer per sample, or one for all; got a tensor {tuple(ids.shape)} of {ids.dtype}."
        )
    ids = ids.reshape(-1).to(torch.int64, copy=True)  # nobody can change them until the backward pass
    if num_tasks is not None:
        lowest, highest = ids.min().item(), ids.max().item()
        if lowest < 0 or highest >= num_tasks:
            wrong = lowest if lowest < 0 else highest
            raise ValueError(f"There is no task {wrong}: the ids of {num_tasks} tasks are 0 to {num_tasks - 1}.")
    return ids


class PerTaskLinear(nn.Module, ABC):
    """A frozen linear layer with an update per task, of which every sample gets that of its own task.

    Subclasses add the trained parameters, ``update`` and ``factors``.

    Shapes: ``x (B, ..., in)`` to ``(B, ..., out)`` with ``task_ids (B,)``, one per sample, or one int. Where x holds
    k·B samples (windows of images, beams of sentences), the k that follow each other are of one id.

    The trained parameters are kept in float32 where W is in half precision: small steps would be lost on them.
    """

    def __init__(self, base: nn.Linear, num_tasks: int, scale: float, dropout: float):
        super().__init__()
        self.linear = base.requires_grad_(False)
        self.num_tasks, self.scale = num_tasks, scale
        self.dropout = nn.Dropout(dropout)
        self.ids: TaskIds | None = None  # shared with the other layers of a model, see share_task_ids
        self.merged_task: int | None = None
        self._unmerged: Tensor | None = None  # the weight as it was, so that unmerge() is exact to the bit

    @abstractmethod
    def update(self, x: Tensor, ids: Tensor) -> Tensor:
        """What is added for inputs (B, tokens, in) of the tasks ``ids`` (B,): (B, tokens, out)."""

    @abstractmethod
    def factors(self, task: int) -> tuple[Tensor, Tensor]:
        """The two thin matrices of one task's update, (rank, in) and (out, rank); ΔW is the second times the first."""

    def delta_weight(self, task: int) -> Tensor:
        """ΔW of one task, shape (out, in)."""
        down, up = self.factors(task)
        return up @ down

    @property
    def merged(self) -> bool:
        """Whether the update of a task (``merged_task``) is folded into the weight."""
        return self._unmerged is not None

    @torch.no_grad()
    def merge(self, task: int) -> None:
        """Fold ΔW of one task into the weight, instead of that of any other: the layer is then that task's alone."""
        if self.merged_task != task:
            delta = self.delta_weight(task)  # also says if there is no such task
            self.unmerge()
            self._unmerged, self.merged_task = self.linear.weight.clone(), task
            self.linear.weight.copy_(self.linear.weight + delta)

    @torch.no_grad()
    def unmerge(self) -> None:
        """Put the original weight back, bit by bit; idempotent."""
        if self.merged:
            self.linear.weight.copy_(self._unmerged)
            self._unmerged = self.merged_task = None

    def train(self, mode: bool = True) -> "PerTaskLinear":
        """Switch to training or evaluation; a merged layer has nothing to train and raises ``RuntimeError``."""
        if mode and self.merged:
            raise RuntimeError("The low-rank update is merged into the weight: call unmerge() before train().")
        return super().train(mode)

    def forward(self, x: Tensor, task_ids: "Tensor | Sequence[int] | int | None" = None) -> Tensor:
        """W x + b + ΔW_t dropout(x), t the task of each sample by ``task_ids``, or else by those of the model."""
        ids = self._task_ids(task_ids)
        if self.merged:
            self._check_merged(ids)
            return self.linear(x)  # the weight already carries the update
        samples = x.shape[0] if x.ndim > 1 else 1
        if samples % len(ids):
            raise ValueError(f"{len(ids)} task_ids do not go into {samples} samples: give one per sample.")
        base = self.linear(x)  # (k·B, ..., out)
        low = self.dropout(x).to(self.lora_A.dtype).reshape(len(ids), -1, x.shape[-1])  # (B, all tokens of one id, in)
        return base + self.update(low, ids.to(x.device)).reshape(base.shape).to(base.dtype)

    def _new(self, *shape: int) -> nn.Parameter:
        """An empty parameter on the device of the weight."""
        weight = self.linear.weight
        dtype = torch.promote_types(weight.dtype, torch.float32)
        return nn.Parameter(torch.empty(shape, device=weight.device, dtype=dtype))

    def _task_ids(self, task_ids: "Tensor | Sequence[int] | int | None") -> Tensor | None:
        if task_ids is not None:
            return read_task_ids(task_ids, self.num_tasks)
        if self.ids is not None and self.ids.current is not None:
            return self.ids.current  # were checked when they were set
        if self.num_tasks == 1:  # then there is nothing to be told
            return torch.zeros(1, dtype=torch.int64)
        if self.merged:
            return None
        raise ValueError(
            f"This layer is of {self.num_tasks} tasks and was not told which: call the model with task_ids, one per "
            "sample or one for all. (A checkpointed block has to be bound to them: see mtl_lora.TaskIds.)"
        )

    def _check_merged(self, ids: Tensor | None) -> None:
        if ids is not None and (ids != self.merged_task).any():
            raise ValueError(f"Merged for task {self.merged_task} alone: for other task_ids call unmerge() first.")


class MTLLoRALinear(PerTaskLinear):
    """A frozen linear layer with one low-rank update per task, built of shared parts: MTL-LoRA.

    Args:
        base: the layer to adapt; it is frozen in place and kept as ``self.linear``.
        num_tasks: T, the number of tasks; their ids are 0 to T - 1.
        rank: r, rows of A.
        num_up: n, the number of shared up-projections B_i.
        scale: factor of the update, applied as is (in the paper's words alpha / r).
        temperature: τ of the mixture; the lower it is, the more a task keeps to one B_i from the start.
        lambda_form: ``full``, a matrix (r, r) per task, as in the released scripts, or ``diagonal``, r numbers.
        dropout: probability of dropping an input of A.
    """

    def __init__(
        self,
        base: nn.Linear,
        num_tasks: int,
        rank: int,
        num_up: int,
        scale: float = 1.0,
        temperature: float = 1.0,
        lambda_form: str = "full",
        dropout: float = 0.0,
    ):
        _check_counts(num_tasks=num_tasks, rank=rank, num_up=num_up)
        if not temperature > 0:
            raise ValueError(f"The temperature of the mixture must be above 0, got {temperature}.")
        if lambda_form not in LAMBDA_FORMS:
            raise ValueError(f"Unknown lambda_form {lambda_form!r}. There are: {', '.join(LAMBDA_FORMS)}.")
        super().__init__(base, num_tasks, scale, dropout)
        self.temperature = temperature
        self.lora_A = self._new(rank, base.in_features)
        self.lora_lambda = self._new(num_tasks, rank, *([rank] if lambda_form == "full" else []))
        self.lora_B = self._new(num_up, base.out_features, rank)
        self.lora_mix = self._new(num_tasks, num_up)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start anew: A and w kaiming uniform, Λ the identity, B zero. Equal w would keep all B_i equal for ever."""
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        nn.init.kaiming_uniform_(self.lora_mix, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B)
        self.lora_lambda.copy_(torch.eye(len(self.lora_A)) if self.lora_lambda.ndim == 3 else torch.tensor(1.0))

    def mixture(self, ids: Tensor) -> Tensor:
        """Σ_i softmax(w_t / τ)_i B_i of every id, ``(B,)`` to ``(B, out, r)``; the softmax in float32 at least."""
        logits = self.lora_mix[ids]
        weights = (logits.to(torch.promote_types(logits.dtype, torch.float32)) / self.temperature).softmax(-1)
        return torch.einsum("bn,nor->bor", weights.to(self.lora_B.dtype), self.lora_B)

    def factors(self, task: int) -> tuple[Tensor, Tensor]:
        """A (r, in), which all tasks share, and s · B_t Λ_t (out, r) of one task."""
        ids = read_task_ids(task, self.num_tasks).to(self.lora_A.device)
        return self.lora_A, self.scale * (self.mixture(ids) @ self._lambda(ids))[0]

    def update(self, x: Tensor, ids: Tensor) -> Tensor:
        """s · B_t Λ_t A x of every sample: (B, tokens, in) and (B,) to (B, tokens, out)."""
        low = F.linear(x, self.lora_A)  # (B, tokens, r)
        low = torch.bmm(low, self._lambda(ids).transpose(1, 2))
        return torch.bmm(low, self.scale * self.mixture(ids).transpose(1, 2))

    def _lambda(self, ids: Tensor) -> Tensor:
        """Λ_t of every id, (B, r, r)."""
        chosen = self.lora_lambda[ids]
        return chosen if chosen.ndim == 3 else torch.diag_embed(chosen)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows of this layer."""
        form = "full" if self.lora_lambda.ndim == 3 else "diagonal"
        return (
            f"tasks={self.num_tasks}, rank={len(self.lora_A)}, num_up={len(self.lora_B)}, scale={self.scale}, "
            f"temperature={self.temperature}, lambda_form={form}"
        )


class TaskLoRALinear(PerTaskLinear):
    """A frozen linear layer with a LoRA of its own for every task, which share nothing: the baseline.

    h_t = W x + b + s · B_t A_t dropout(x)

    Args:
        base: the layer to adapt; it is frozen in place and kept as ``self.linear``.
        num_tasks: T, the number of tasks; their ids are 0 to T - 1.
        rank: rows of every A_t.
        scale: factor of the updates, applied as is.
        dropout: probability of dropping an input of the A_t.
    """

    def __init__(self, base: nn.Linear, num_tasks: int, rank: int, scale: float = 1.0, dropout: float = 0.0):
        _check_counts(num_tasks=num_tasks, rank=rank)
        super().__init__(base, num_tasks, scale, dropout)
        self.lora_A = self._new(num_tasks, rank, base.in_features)
        self.lora_B = self._new(num_tasks, base.out_features, rank)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start anew: every A_t kaiming uniform, every B_t zero."""
        for down in self.lora_A:
            nn.init.kaiming_uniform_(down, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B)

    def factors(self, task: int) -> tuple[Tensor, Tensor]:
        """A_t (rank, in) and s · B_t (out, rank) of one task."""
        read_task_ids(task, self.num_tasks)
        return self.lora_A[task], self.scale * self.lora_B[task]

    def update(self, x: Tensor, ids: Tensor) -> Tensor:
        """s · B_t A_t x of every sample: (B, tokens, in) and (B,) to (B, tokens, out)."""
        return torch.bmm(torch.bmm(x, self.lora_A[ids].transpose(1, 2)), self.scale * self.lora_B[ids].transpose(1, 2))

    def extra_repr(self) -> str:
        """What ``print(model)`` shows of this layer."""
        return f"tasks={self.num_tasks}, rank={self.lora_A.shape[1]}, scale={self.scale}"


def share_task_ids(model: nn.Module) -> TaskIds:
    """Give all layers of a model that know tasks one ``TaskIds``, and return it."""
    ids = TaskIds()
    for module in model.modules():
        if isinstance(module, PerTaskLinear):
            module.ids = ids
    return ids


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"An update per task needs a whole {name} of at least 1, got {value}.")
