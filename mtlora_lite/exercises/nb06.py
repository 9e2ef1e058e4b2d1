"""Exercises of notebook 06: losses, metrics and Δm."""

import math

import torch

from mtlora_lite.exercises.verdicts import Answer, Check
from mtlora_lite.tasks import IGNORE_INDEX


def check_within_factor(within_factor: Answer) -> str | None:
    """06.1: of the labelled pixels, the share whose predicted depth is within a factor of the true one."""
    for prediction, factor, expected in (
        ([4.0, 4.4, 3.4, 6.0], 1.25, 0.75),
        ([4.0, 2.0, 2.0, 2.0], 1.25, 0.25),
        ([4.0, 8.0, 8.0, 8.0], 1.25, 0.25),
        ([4.0, 3.1, 2.3, 7.0], 2.0, 1.0),
        ([4.0, 3.1, 4.9, 2.3], 1.25, 0.5),
    ):
        target = torch.full((1, 1, 2, 2), 4.0)
        given = float(within_factor(torch.tensor(prediction).view_as(target), target, factor))
        if math.isclose(given, 100 * expected, rel_tol=1e-4):
            return f"a share between 0 and 1 was asked for, {expected}, and not a percentage"
        if not math.isclose(given, expected, abs_tol=1e-4):
            return f"truth 4 m, predicted {prediction}, factor {factor}: {expected} was expected, not {given:.3f}"
    return _check_unlabelled(within_factor)


def _check_unlabelled(within_factor: Answer) -> str | None:
    """Two images with unlike numbers of labelled pixels: the 2 of the one are right, the 8 of the other wrong."""
    target = torch.full((2, 1, 2, 4), 4.0)
    target[0, 0, :, 1:] = IGNORE_INDEX
    prediction = torch.full_like(target, 4.0)
    prediction[1] = 8.0
    given = float(within_factor(prediction, target, 1.25))
    case = "of 16 pixels 6 have no label (255), and 2 of the other 10 are right: 0.2 was expected"
    if math.isclose(given, 2 / 16, abs_tol=1e-4):
        return f"{case}; {given} takes what has no label for wrong"
    if math.isclose(given, (1 + 0) / 2, abs_tol=1e-4):
        return f"{case}; {given} is the mean of the two images' shares"
    if not math.isclose(given, 0.2, abs_tol=1e-4):
        return f"{case}, not {given:.3f}"
    return None


def check_cheapest_constant(cheapest_constant: Answer) -> str | None:
    """06.2: the constant answer that minimises a weighted binary cross-entropy."""
    for share, w in ((0.04, 0.5), (0.04, 0.95), (0.1, 0.9), (0.3, 0.2)):
        p = float(cheapest_constant(share, w))
        case = f"share {share} and w = {w}"
        if not 0 < p < 1:
            return f"{case}: p is a probability between 0 and 1, not {p:.3f}"
        positive, negative = w * share, (1 - w) * (1 - share)
        given, least = (
            -(positive * math.log(value) + negative * math.log(1 - value))
            for value in (p, positive / (positive + negative))
        )
        if not math.isclose(given, least, rel_tol=1e-6):
            return f"{case}: p = {p:.3f} costs {given:.4f}, and {least:.4f} is possible"
    return None


def check_break_even(break_even: Answer) -> str | None:
    """06.3: the score of one task at which Δm is 0."""
    cases = (
        ({"semseg": 66.0}, {"semseg": 60.0, "sal": 50.0}, {"semseg": True, "sal": True}, "sal"),
        ({"semseg": 66.0}, {"semseg": 60.0, "depth": 0.5}, {"semseg": True, "depth": False}, "depth"),
        ({"normals": 18.0, "depth": 0.4}, {"sal": 50.0, "normals": 20.0, "depth": 0.5}, {"sal": True, "normals": False,
         "depth": False}, "sal"),
        ({"semseg": 67.9, "sal": 65.4, "normals": 16.6}, {"semseg": 67.21, "human_parts": 61.93, "sal": 62.35,
         "normals": 17.97}, {"semseg": True, "human_parts": True, "sal": True, "normals": False}, "human_parts"),
    )  # fmt: skip
    for others, single, higher_is_better, task in cases:
        score = float(break_even(dict(others), dict(single), dict(higher_is_better), task))
        gains = [
            (1 if higher_is_better[name] else -1) * (value - single[name]) / single[name]
            for name, value in {**others, task: score}.items()
        ]
        if abs(gain := 100 * sum(gains) / len(gains)) > 1e-3:
            known = ", ".join(f"{name} {value:g} instead of {single[name]:g}" for name, value in others.items())
            better = "higher" if higher_is_better[task] else "lower"
            last = f"{task} {score:.3f} instead of {single[task]:g} ({better} is better)"
            return f"{known}, and {last}: Δm is {gain:+.2f}"
    return None


CHECKS: dict[str, Check] = {
    "06.1": check_within_factor,
    "06.2": check_cheapest_constant,
    "06.3": check_break_even,
}
