"""Checks of the notebooks' exercises: ``check("01.1", answer)`` prints todo, ok or what is wrong, and never raises.

A check calls the learner's function, ``answer``, and returns None or one sentence that says what is wrong. It tests
what a right answer does, not how it is written; the solutions stand at the end of each notebook.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

Answer = Callable[..., Any]


class Todo(Exception):
    """The learner's function returns nothing: it has not been written yet."""


def check(exercise: str, answer: Answer) -> None:
    """Print the verdict on an answer."""
    print(f"Exercise {exercise}: {verdict(exercise, answer)}")


def verdict(exercise: str, answer: Answer) -> str:
    """``todo``, ``ok``, or ``not yet`` with the reason."""
    if exercise not in CHECKS:
        return f"there is no such exercise; there are {', '.join(CHECKS)}"
    try:
        reason = CHECKS[exercise](_returning_something(answer))
    except Todo:
        return "todo"
    except Exception as error:  # whatever the learner's code raises is an answer, too
        reason = f"it stopped with {type(error).__name__}: {error}"
    return "ok" if reason is None else f"not yet: {reason}"


def _returning_something(answer: Answer) -> Answer:
    def call(*arguments: Any) -> Any:
        result = answer(*arguments)
        if result is None or result is ...:
            raise Todo
        return result

    return call


# ----------------------------------------------------------------------------------- 00: one image, many tasks


def check_numbers_to_store(numbers_to_store: Answer) -> str | None:
    """00.1: how many numbers one model for all tasks stores, and how many one model per task."""
    cases = {(1, 50, 3): (53, 53), (2, 50, 3): (56, 106), (6, 1000, 70): (1420, 6420)}
    for (num_tasks, shared, private), (one_model, one_per_task) in cases.items():
        given = numbers_to_store(num_tasks, shared, private)
        case = f"{num_tasks} tasks, {shared} shared and {private} private numbers"
        if given[0] != one_model:
            return f"{case}: one model stores the shared part once and a private part per task, which is not {given[0]}"
        if given[1] != one_per_task:
            return f"{case}: models that share nothing store both parts each time, which is not {given[1]} in all"
    return None


def check_agreement(agreement: Answer) -> str | None:
    """00.2: of the pixels that human_parts calls a body part, the share that semseg calls a person."""
    parts = torch.tensor([[0, 1, 2, 2], [0, 0, 3, 0]])
    classes = torch.tensor([[15, 15, 15, 8], [15, 0, 15, 15]])
    if abs((given := float(agreement(parts, classes))) - 0.75) > 1e-6:
        return f"4 pixels are body parts and 3 of those are class 15, so 0.75 was expected, not {given:.3f}"
    if float(agreement(parts, torch.full_like(parts, 14))) != 0:
        return "where no pixel is class 15 (person; 14 is a motorbike), nothing agrees: 0 was expected"
    if float(agreement(torch.zeros_like(parts), classes)) != 1:
        return "where there is no body part, nothing disagrees: 1 was expected (and 0 / 0 is not a number)"
    return None


# ---------------------------------------------------------------------------------------- 01: low rank from zero


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


CHECKS: dict[str, Callable[[Answer], str | None]] = {
    "00.1": check_numbers_to_store,
    "00.2": check_agreement,
    "01.1": check_largest_cheaper_rank,
    "01.2": check_compressed,
    "01.3": check_gradients,
}
