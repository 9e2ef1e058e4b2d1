"""Reading a trained model: what its updates look like, what tasks share, and where they pull apart.

Everything here looks at ΔW = scale · B A of the adapted layers, the shared one (TA) and each task's (TS), or at the
gradients of the tasks' losses on what they share. ΔW is never made where its thin factors do: with B = Q_b R_b and
Aᵀ = Q_a R_a, the singular values of B A are those of the small R_b R_aᵀ.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlora_lite.lora import LoRALinear, MTLoRALinear
from mtlora_lite.losses import MultiTaskLoss
from mtlora_lite.model import MultiTaskModel

SHARED = "shared"


@dataclass(frozen=True)
class Update:
    """One low-rank update of one layer.

    Attributes:
        layer: the layer's name in the backbone.
        stream: the task it belongs to, or ``shared``.
        down: A, (rank, in).
        up: scale · B, (out, rank).
    """

    layer: str
    stream: str
    down: Tensor
    up: Tensor


def updates(model: MultiTaskModel) -> list[Update]:
    """All updates of a model, in the order of its layers; none raises ``ValueError``."""
    found = [update for name, layer in model.backbone.named_modules() for update in _of_layer(name, layer)]
    if not found:
        raise ValueError(f"A model of method {model.config.method!r} has no low-rank updates of its own to look at.")
    return found


def _of_layer(name: str, layer: nn.Module) -> Iterator[Update]:
    if not isinstance(layer, LoRALinear):
        return
    if layer.lora_ta_A is not None and len(layer.lora_ta_A):
        yield Update(name, SHARED, layer.lora_ta_A.detach(), layer.scale * layer.lora_ta_B.detach())
    if isinstance(layer, MTLoRALinear):
        for task in (task for task in layer.tasks if len(layer.lora_ts_A[task])):
            up = layer.task_scale[task] * layer.lora_ts_B[task].detach()
            yield Update(name, task, layer.lora_ts_A[task].detach(), up)


# -------------------------------------------------------------------------------------------------- shape of an update


def thin_svd(update: Update) -> tuple[Tensor, Tensor, Tensor]:
    """The singular value decomposition of ΔW = U diag(s) Vᵀ: U (out, r), s (r,), V (in, r)."""
    left, right = (torch.linalg.qr(matrix.double()) for matrix in (update.up, update.down.t()))
    u, s, vt = torch.linalg.svd(left.R @ right.R.t())
    return left.Q @ u, s, right.Q @ vt.t()


def effective_rank(singular_values: Tensor) -> float:
    """How many directions an update really has: exp of the entropy of s / Σs; nan where ΔW is zero.

    Between 1 and the rank. Source: Roy and Vetterli, EUSIPCO 2007, definition 1.
    """
    if singular_values.sum() == 0:
        return float("nan")
    share = singular_values / singular_values.sum()
    return float(torch.special.entr(share).sum().exp())


def spectra(model: MultiTaskModel) -> pd.DataFrame:
    """One row per update: layer, stream, rank, effective rank, ‖ΔW‖ over ‖W‖ (Frobenius), and its singular values."""
    rows = []
    for update in updates(model):
        _, values, _ = thin_svd(update)
        weight = model.backbone.get_submodule(update.layer).linear.weight
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


def overlap(model: MultiTaskModel, *, side: str = "in", directions: int | None = None) -> pd.DataFrame:
    """Stream against stream, the mean overlap of their updates over the layers that have both.

    Args:
        model: with updates of more than one stream.
        side: ``in``: what the updates read (the right singular vectors), ``out``: what they write (the left ones).
        directions: how many of the strongest directions to compare; None: all.

    Two random subspaces of dimension r in n overlap by r / n.
    """
    if side not in ("in", "out"):
        raise ValueError(f"side is 'in' (what updates read) or 'out' (what they write), not {side!r}.")
    by_layer: dict[str, dict[str, Tensor]] = {}
    for update in updates(model):
        u, values, v = thin_svd(update)
        kept = int((values > 1e-12 * values.max()).sum()) if values.max() > 0 else 0
        if kept:
            basis = (v if side == "in" else u)[:, : min(kept, directions or kept)]
            by_layer.setdefault(update.layer, {})[update.stream] = basis
    streams = [SHARED, *model.tasks]
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
        parameters: None: the shared updates (TA), or, where there are none, all that the backbone trains.
        loss_weights: as for ``MultiTaskLoss``; they change the norms, not the cosines.

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
    trained = {name: parameter for name, parameter in model.backbone.named_parameters() if parameter.requires_grad}
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
        model: unmerged.
        rank: from 0, which takes the updates away.
        streams: whose updates: tasks, ``shared``; None: all.

    Raises:
        ValueError: a rank below 0, or a merged model.
    """
    if rank < 0:
        raise ValueError(f"An update can be cut to a rank from 0 on, not to {rank}.")
    if any(isinstance(layer, LoRALinear) and layer.merged for layer in model.modules()):
        raise ValueError("The updates lie in the weights: call unmerge() before they are cut.")
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
    for parameter, value in zip(pair, values, strict=True):
        parameter.copy_(value)
