"""Exercises of notebook 05: from features to pixels."""

import math

import torch

from mtlora_lite.exercises.verdicts import Answer, Check

# (channels of the maps, channels they are projected to, sides of the maps): Swin-T at 448 pixels, and two toys.
FUSIONS = (
    ((192, 384, 768, 768), (18, 36, 72, 144), (56, 28, 14, 14)),
    ((10, 20), (5, 5), (4, 2)),
    ((7, 7, 7), (3, 2, 1), (6, 6, 6)),
)


def check_times_as_many(times_as_many: Answer) -> str | None:
    """05.1: multiplications of resizing before the projections, over those of projecting first."""
    for in_channels, channels, sides in FUSIONS:
        first, late = (
            sum(i * o * side**2 for i, o, side in zip(in_channels, channels, grid, strict=True))
            for grid in (sides, [sides[0]] * len(sides))
        )
        given = float(times_as_many(in_channels, channels, sides))
        case = f"{list(in_channels)} channels to {list(channels)} on grids of side {list(sides)}"
        if late != first and math.isclose(given, first / late, rel_tol=1e-3):
            return f"{case}: that is the share that remains; how many times as many is its inverse, {late / first:.2f}"
        if not math.isclose(given, late / first, rel_tol=1e-3):
            return f"{case}: {late:,} multiplications over {first:,} are {late / first:.2f}, not {given:.2f}"
    return None


# Layers (kernel, stride, dilation) from the input on, and the side of what one output depends on.
STACKS = (
    ("a 1x1 convolution", [(1, 1, 1)], 1),
    ("a 3x3 convolution", [(3, 1, 1)], 3),
    ("two 3x3 convolutions", [(3, 1, 1), (3, 1, 1)], 5),
    ("a 3x3 convolution with dilation 12", [(3, 1, 12)], 25),
    ("dilation 36, then a plain 3x3 convolution", [(3, 1, 36), (3, 1, 1)], 75),
    ("patches of 4x4, then their 2x2 neighbours merged", [(4, 4, 1), (2, 2, 1)], 8),
    ("a 3x3 convolution with stride 2, then one with dilation 2", [(3, 2, 1), (3, 1, 2)], 11),
)


def check_seen(seen: Answer) -> str | None:
    """05.2: the side of the square of inputs that one output of a stack of convolutions depends on."""
    for name, layers, expected in STACKS:
        if (given := float(seen(layers))) != expected:
            return f"{name}, {layers}: one output depends on {expected} inputs a side, not {given:g}"
    return None


def check_folded(folded: Answer) -> str | None:
    """05.3: the projections of the fusion and the first layer of the head as one matrix per map."""
    generator = torch.Generator().manual_seed(0)
    in_channels, channels, hidden = (7, 5, 6), (2, 4, 3), 11
    projections = [torch.randn(o, i, generator=generator) for i, o in zip(in_channels, channels, strict=True)]
    weight = torch.randn(hidden, sum(channels), generator=generator)
    maps = [torch.randn(i, generator=generator) for i in in_channels]  # one cell of each map
    given = list(folded([p.clone() for p in projections], weight.clone()))
    if len(given) != len(maps):
        return f"there is one matrix per map, {len(maps)} of them, not {len(given)}"
    for stage, (matrix, count) in enumerate(zip(given, in_channels, strict=True), start=1):
        if tuple(matrix.shape) != (hidden, count):
            return f"map {stage} goes from {count} to {hidden} channels: ({hidden}, {count}), not {tuple(matrix.shape)}"
    first = 0
    for stage, (matrix, projection) in enumerate(zip(given, projections, strict=True), start=1):
        alone = [torch.zeros_like(p) @ m for p, m in zip(projections, maps, strict=True)]
        alone[stage - 1] = projection @ maps[stage - 1]
        if not torch.allclose(matrix @ maps[stage - 1], weight @ torch.cat(alone), atol=1e-4):
            last = first + len(projection) - 1
            return f"map {stage} meets the columns {first} to {last} of the weight; its matrix gives something else"
        first += len(projection)
    return None


CHECKS: dict[str, Check] = {
    "05.1": check_times_as_many,
    "05.2": check_seen,
    "05.3": check_folded,
}
