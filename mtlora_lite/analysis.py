"""Reading a trained model: what its updates look like, what tasks share, and where they pull apart.

Everything here looks at ΔW = scale · B A of the adapted layers, the shared one (TA) and each task's (TS, a LoRA per
task, MTL-LoRA), or at the gradients of the tasks' losses on what they share. ΔW is never made where its thin factors
do: with B = Q_b R_b and Aᵀ = Q_a R_a, the singular values of B A are those of the small R_b R_aᵀ.

``updates``, ``spectra`` and ``overlap`` also read language models that ``lm`` has adapted.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlora_lite.adapted import Adapted, private_names
from mtlora_lite.lm.adapt import check_adapted
from mtlora_lite.lora import LoRALinear, MTLoRALinear
from mtlora_lite.losses import MultiTaskLoss
from mtlora_lite.methods.lora_per_task import LoRAPerTaskLinear
from mtlora_lite.model import MultiTaskModel
from mtlora_lite.mtl_lora import PerTaskLinear

SHARED = "shared"


@dataclass(frozen=True)
class Update:
    """One low-rank update of one layer.

    Attributes:
        layer: the layer's name in the backbone, or in the language model.
        stream: the task it belongs to, or ``shared``.
        down: A, (rank, in).
        up: scale · B, (out, rank); in MTL-LoRA scale · B_t Λ_t.
    """

    layer: str
    stream: str
    down: Tensor
    up: Tensor


def updates(model: nn.Module, tasks: Sequence[str] | None = None) -> list[Update]:
    """All updates of a model, in the order of its layers.

    Args:
        model: a ``MultiTaskModel``, or a language model adapted by ``lm``.
        tasks: of a language model: names in the order of the task ids; None: ``task 0``, ``task 1``, and so on.

    Raises:
        ValueError: the model has no updates, or not as many tasks as there are names.
    """
    streams = _streams(model, tasks)
    found = [update for name, layer in _trunk(model).named_modules() for update in _of_layer(name, layer, streams)]
    if not found:
        raise ValueError(f"A model of method {model.config.method!r} has no low-rank updates of its own to look at.")
    return found


def _trunk(model: nn.Module) -> nn.Module:
    """Where the updates are, and whose names their layers have."""
    return model.backbone if isinstance(model, MultiTaskModel) else model


def _streams(model: nn.Module, tasks: Sequence[str] | None) -> Sequence[str]:
    """The streams of layers that know tasks by numbers."""
    if isinstance(model, MultiTaskModel):
        return model.tasks
    check_adapted(model)
    count = model.adaptation.num_tasks
    if not model.adaptation.knows_tasks:
        return (SHARED,)
    names = [f"task {number}" for number in range(count)] if tasks is None else list(tasks)
    if len(names) != count:
        raise ValueError(f"The model is adapted to {count} tasks, but {len(names)} names are given.")
    return names


def _of_layer(name: str, layer: nn.Module, streams: Sequence[str]) -> Iterator[Update]:
    if isinstance(layer, PerTaskLinear):
        for number, stream in enumerate(streams):
            down, up = layer.factors(number)
            yield Update(name, stream, down.detach(), up.detach())
    if isinstance(layer, LoRALinear) and layer.lora_ta_A is not None and len(layer.lora_ta_A):
        yield Update(name, SHARED, layer.lora_ta_A.detach(), layer.scale * layer.lora_ta_B.detach())
    if isinstance(layer, (MTLoRALinear, LoRAPerTaskLinear)):
        scales = layer.task_scale if isinstance(layer, MTLoRALinear) else layer.scale
        for task in (task for task in layer.tasks if len(layer.lora_ts_A[task])):
            yield Update(name, task, layer.lora_ts_A[task].detach(), scales[task] * layer.lora_ts_B[task].detach())


# -------------------------------------------------------------------------------------------------- shape of an update


def thin_svd(update: Update) -> tuple[Tensor, Tensor, Tensor]:
    """The singular value decomposition of ΔW = U diag(s) Vᵀ: U (out, r), s (r,), V (in, r), r = min(rank, in, out)."""
    left, right = (torch.linalg.qr(matrix.double()) for matrix in (update.up, update.down.t()))
    u, s, vt = torch.linalg.svd(left.R @ right.R.t(), full_matrices=False)
    return left.Q @ u, s, right.Q @ vt.t()


def effective_rank(singular_values: Tensor) -> float:
    """How many directions an update really has: exp of the entropy of s / Σs; nan where ΔW is zero.

    Between 1 and the rank. Source: Roy and Vetterli, EUSIPCO 2007, definition 1.
    """
    if singular_values.sum() == 0:
        return float("nan")
    share = singular_values / singular_values.sum()
    return float(torch.special.entr(share).sum().exp())


def spectra(model: nn.Module, tasks: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per update: layer, stream, rank, effective rank, ‖ΔW‖ over ‖W‖ (Frobenius), and its singular values.

    Args:
        model: unmerged, else as for ``updates``.
        tasks: as for ``updates``.
    """
    rows = []
    for update in updates(model, tasks):
        _, values, _ = thin_svd(update)
        weight = _trunk(model).get_submodule(update.layer).linear.weight
        rows.append({
            "layer": update.layer,
            "stream": update.stream,
            "rank": len(update.down),
            "effective rank": effective_rank(values),
            "relative norm": float(values.norm() / weight.double().norm()),
            "singular values": values.tolist(),
        })  # fmt: skip
    return pd.DataFrame(rows)


# ---------------------------------------------------------------------------------------------------- what tasks share


def subspace_overlap(one: Tensor, other: Tensor) -> float:
    """How much of the smaller of two subspaces lies in the larger: ‖Uᵀ V‖² / min(rank), from 0 to 1.

    Args:
        one: a basis with orthonormal columns, (n, i).
        other: another, (n, j).

    Source: Hu et al. 2021, arXiv 2106.09685, eq. 4.
    """
    return float((one.t() @ other).square().sum() / min(one.shape[1], other.shape[1]))


def overlap(
    model: nn.Module, *, side: str = "in", directions: int | None = None, tasks: Sequence[str] | None = None
) -> pd.DataFrame:
    """Stream against stream, the mean overlap of their updates over the layers that have both.

    Args:
        model: with updates of more than one stream.
        side: ``in``: what the updates read (the right singular vectors), ``out``: what they write (the left ones).
        directions: how many of the strongest directions to compare; None: all.
        tasks: as for ``updates``.

    Two random subspaces of dimension r in n overlap by r / n. In MTL-LoRA all tasks read by one A, so with all
    directions they overlap by 1 on the side ``in``, whatever was learned.
    """
    if side not in ("in", "out"):
        raise ValueError(f"side is 'in' (what updates read) or 'out' (what they write), not {side!r}.")
    by_layer: dict[str, dict[str, Tensor]] = {}
    found = updates(model, tasks)
    for update in found:
        u, values, v = thin_svd(update)
        kept = int((values > 1e-12 * values.max()).sum()) if values.max() > 0 else 0
        if kept:
            basis = (v if side == "in" else u)[:, : min(kept, directions or kept)]
            by_layer.setdefault(update.layer, {})[update.stream] = basis
    streams = list(dict.fromkeys(update.stream for update in found))
    pairs = {
        (a, b): [subspace_overlap(bases[a], bases[b]) for bases in by_layer.values() if a in bases and b in bases]
        for a in streams
        for b in streams
    }
    mean = {pair: sum(values) / len(values) if values else float("nan") for pair, values in pairs.items()}
    return pd.Series(mean).unstack().loc[streams, streams]


@dataclass(frozen=True)
class Conflict:
    """What the tasks' losses ask of the weights they share.

    Attributes:
        cosine: task against task, the cosine of their gradients: below 0 they pull apart.
        norm: of each task's gradient, weighted as in training.
    """

    cosine: pd.DataFrame
    norm: pd.Series


def gradient_conflict(
    model: MultiTaskModel,
    batch: Mapping[str, Tensor],
    parameters: Sequence[nn.Parameter] | None = None,
    loss_weights: Mapping[str, float] | None = None,
) -> Conflict:
    """Compare the gradients of the tasks' losses on shared parameters.

    Args:
        model: in the mode it is in; evaluation mode leaves out what is random in training.
        batch: ``image`` and targets, as a data loader gives them.
        parameters: None: the shared updates (TA), or, where there are none, all that the backbone trains for more
            than one task.
        loss_weights: as for ``MultiTaskLoss``; they change the norms, not the cosines.

    Raises:
        ValueError: there are no such parameters.

    Source: Yu et al., NeurIPS 2020, arXiv 2001.06782, definition 1.
    """
    shared = _shared_parameters(model) if parameters is None else list(parameters)
    criterion = MultiTaskLoss(model.tasks, loss_weights)
    logits = model(batch["image"])
    _, losses = criterion(logits, {task: batch[task] for task in model.tasks})
    gradients = []
    for task in model.tasks:
        parts = torch.autograd.grad(
            criterion.weights[task] * losses[task], shared, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        gradients.append(torch.cat([part.flatten() for part in parts]))
    stacked = torch.stack(gradients).double()  # (T, parameters)
    unit = F.normalize(stacked, dim=1)
    cosine = pd.DataFrame((unit @ unit.t()).tolist(), list(model.tasks), list(model.tasks))
    return Conflict(cosine, pd.Series(stacked.norm(dim=1).tolist(), list(model.tasks)))


def _shared_parameters(model: MultiTaskModel) -> list[nn.Parameter]:
    private = private_names(model.backbone, model.tasks)
    trained = {
        name: parameter
        for name, parameter in model.backbone.named_parameters()
        if parameter.requires_grad and parameter.numel() and name not in private
    }
    shared = [parameter for name, parameter in trained.items() if "lora_ta_" in name] or list(trained.values())
    if not shared:
        raise ValueError(f"A model of method {model.config.method!r} trains nothing that its tasks share.")
    return shared


# ------------------------------------------------------------------------------------------------------- less of it


@contextmanager
def truncated(model: MultiTaskModel, rank: int, streams: Sequence[str] | None = None) -> Iterator[MultiTaskModel]:
    """The model with its updates cut to their ``rank`` strongest directions; afterwards they are as before.

    ΔW of that rank is the nearest to the trained one (Eckart and Young 1936). Its A and B keep their shapes.

    Args:
        model: unmerged, and of a method whose updates have an A and a B each.
        rank: from 0, which takes the updates away.
        streams: whose updates: tasks, ``shared``; None: all.

    Raises:
        ValueError: a rank below 0, a merged model, or MTL-LoRA.
    """
    if rank < 0:
        raise ValueError(f"An update can be cut to a rank from 0 on, not to {rank}.")
    layers = [layer for layer in model.modules() if isinstance(layer, Adapted)]
    if any(layer.merged for layer in layers):
        raise ValueError("The updates lie in the weights: call unmerge() before they are cut.")
    if any(isinstance(layer, PerTaskLinear) for layer in layers):
        raise ValueError("The tasks of MTL-LoRA share A and B: the update of one cannot be cut without the others.")
    found = [update for update in updates(model) if streams is None or update.stream in streams]
    pairs = [_pair(model, update) for update in found]
    before = [(down.detach().clone(), up.detach().clone()) for down, up in pairs]
    try:
        for update, (down, up) in zip(found, pairs, strict=True):
            u, values, v = thin_svd(Update(update.layer, update.stream, down.detach(), up.detach()))
            root = values.sqrt() * (torch.arange(len(values), device=values.device) < rank)
            _write((down, up), ((v * root).t(), u * root))
        yield model
    finally:
        for pair, kept in zip(pairs, before, strict=True):
            _write(pair, kept)


def _pair(model: MultiTaskModel, update: Update) -> tuple[nn.Parameter, nn.Parameter]:
    """A and B of an update, without its scale."""
    layer = model.backbone.get_submodule(update.layer)
    if update.stream == SHARED:
        return layer.lora_ta_A, layer.lora_ta_B
    return layer.lora_ts_A[update.stream], layer.lora_ts_B[update.stream]


@torch.no_grad()
def _write(pair: tuple[nn.Parameter, nn.Parameter], values: tuple[Tensor, Tensor]) -> None:
    """Set A and B; where the rank is larger than a layer is wide, zeros fill up what there are no directions for."""
    (down, up), (new_down, new_up) = pair, values
    down.copy_(F.pad(new_down, (0, 0, 0, len(down) - len(new_down))))
    up.copy_(F.pad(new_up, (0, up.shape[1] - new_up.shape[1])))
