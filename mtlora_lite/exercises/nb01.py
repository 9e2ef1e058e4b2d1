"""Exercises of notebook 01: low rank from zero."""

import math

import torch
import torch.nn.functional as F

from mtlora_lite.exercises.verdicts import Answer, Check


def check_largest_cheaper_rank(largest_cheaper_rank: Answer) -> str | None:
    """01.1: the largest rank at which A and B together hold fewer numbers than W."""
    for in_features, out_features in ((50, 7), (96, 96), (96, 288), (128, 512), (2, 2)):
        rank, full = largest_cheaper_rank(in_features, out_features), in_features * out_features
        layer = f"{in_features} → {out_features}"
        if rank != int(rank) or rank < 0:
            return f"{layer}: a rank is a whole number, not {rank}"
        if rank * (in_features + out_features) >= full:
            return f"{layer}: at rank {rank} A and B hold {rank * (in_features + out_features)} numbers, W {full}"
        if (rank + 1) * (in_features + out_features) < full:
            return f"{layer}: rank {rank} is cheaper than W, but so is rank {rank + 1}"
    return None


def check_compressed(compressed: Answer) -> str | None:
    """01.2: the pair A, B of a given rank whose product is nearest to a given update."""
    delta = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    singular_values = torch.linalg.svdvals(delta)
    for rank in (1, 3, 6):
        down, up = compressed(delta, rank)
        if down.shape != (rank, 9) or up.shape != (6, rank):
            shapes = f"A {tuple(down.shape)} and B {tuple(up.shape)}"
            return f"ΔW (6, 9) at rank {rank} needs A ({rank}, 9) and B (6, {rank}), got {shapes}"
        error, best = float((delta - up @ down).norm()), float(singular_values[rank:].norm())
        if not math.isclose(error, best, abs_tol=1e-4):
            return f"at rank {rank} B A is {error:.3f} away from ΔW, and {best:.3f} is possible"
    return None


def check_gradients(gradients: Answer) -> str | None:
    """01.3: the gradients of A and B by hand, against PyTorch's."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"x": (8, 5), "g": (8, 6), "A": (3, 5), "B": (6, 3)}
    x, g, down, up = (torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes.values())
    scale = 2.5
    output = scale * F.linear(F.linear(x, down), up)  # (8, 6)
    expected = torch.autograd.grad(output, (down, up), g)
    given = gradients(x.detach(), g.detach(), down.detach(), up.detach(), scale)
    for name, ours, theirs in zip("AB", expected, given, strict=True):
        if theirs.shape != ours.shape:
            return f"the gradient of {name} has the shape of {name}, {tuple(ours.shape)}, not {tuple(theirs.shape)}"
        if torch.allclose(scale * theirs, ours, atol=1e-4):
            return f"the gradient of {name} lacks the scale"
        if not torch.allclose(theirs, ours, atol=1e-4):
            return f"the gradient of {name} has the right shape but other values than PyTorch finds"
    return None


CHECKS: dict[str, Check] = {
    "01.1": check_largest_cheaper_rank,
    "01.2": check_compressed,
    "01.3": check_gradients,
}
