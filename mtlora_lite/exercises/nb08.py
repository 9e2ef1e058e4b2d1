"""Exercises of notebook 08: reading the adapters."""

import math

import torch
import torch.nn.functional as F

from mtlora_lite.exercises.verdicts import Answer, Check


def check_effective_rank(effective_rank: Answer) -> str | None:
    """08.1: exp of the entropy of the singular values' shares."""
    cases = [
        ((2.0, 2.0, 2.0, 2.0), 4.0, "four equal directions"),
        ((0.3, 0.3), 2.0, "two equal directions, however small"),
        ((5.0, 0.0, 0.0), 1.0, "one direction, and two that are not used"),
        ((3.0, 1.0), 4 / 3**0.75, "one direction three times as strong as the other"),
        ((8.0, 4.0, 2.0, 1.0, 1.0), 2**1.875, "shares 1/2, 1/4, 1/8, 1/16, 1/16"),
    ]
    for values, expected, what in cases:
        given = float(effective_rank(torch.tensor(values)))
        if not math.isclose(given, expected, rel_tol=1e-4):
            return f"{what}, singular values {values}: {expected:.3f}, not {given:.3f}"
    return None


def check_smallest_rank(smallest_rank: Answer) -> str | None:
    """08.2: how many directions hold a share of ‖ΔW‖²."""
    cases = [
        ((2.0, 1.0), 0.8, 1, "4 of 5 is a share of 0.8"),
        ((2.0, 1.0), 0.81, 2, "4 of 5 is less than 0.81"),
        ((3.0, 2.0, 1.0), 0.9, 2, "9 + 4 of 14"),
        ((1.0, 1.0, 1.0, 1.0), 0.5, 2, "half of four equal ones"),
        ((4.0, 0.0, 0.0), 1.0, 1, "the others hold nothing"),
        ((1.0, 0.9, 0.8, 0.1), 0.999, 4, "without the last one 0.996 is held"),
    ]
    for values, share, expected, why in cases:
        given = smallest_rank(torch.tensor(values, dtype=torch.float64), share)
        if given != expected:
            return f"singular values {values}, share {share}: rank {expected} ({why}), not {given}"
    return None


def check_without_conflict(without_conflict: Answer) -> str | None:
    """08.3: a gradient without what pulls against another."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        own, other = torch.randn(2, 9)
    other = torch.where(own @ other > 0, -other, other)
    given = without_conflict(own.clone(), other.clone())
    if given.shape != own.shape:
        return f"a gradient of shape {tuple(own.shape)} stays one, got {tuple(given.shape)}"
    if not math.isclose(float(given @ other), 0.0, abs_tol=1e-4):
        return (
            f"of two that pull apart, the result should do nothing along the other; it still does {given @ other:.3f}"
        )
    expected = own - (own @ other) / (other @ other) * other
    if not torch.allclose(given, expected, atol=1e-4):
        return "the result does nothing along the other, but has lost or gained more than that part"
    if not torch.allclose(without_conflict(own.clone(), 10 * other), expected, atol=1e-4):
        return "only the direction of the other gradient counts, not its length"
    agreeing = F.normalize(own, dim=0) - 0.1 * F.normalize(other, dim=0)
    if not torch.allclose(without_conflict(own.clone(), agreeing.clone()), own, atol=1e-5):
        return "where the two agree there is nothing to take away"
    return None


CHECKS: dict[str, Check] = {
    "08.1": check_effective_rank,
    "08.2": check_smallest_rank,
    "08.3": check_without_conflict,
}
