"""Plausible wrong answers to the exercises of notebook 10, each with a part of what the check says to it."""

import math

import torch


def merged(change):
    """A right answer with one thing changed in it."""

    def task_weight(weight, down, lambdas, ups, mix, scale, temperature, task):
        parts = {"portions": (mix[task] / temperature).softmax(0), "inner": lambdas[task], "weight": weight}
        parts |= {"scale": scale, "rank": len(down), "mix": mix, "task": task, "temperature": temperature}
        parts |= change(parts)
        up = torch.einsum("n,nor->or", parts["portions"], ups)
        return parts["weight"] + parts["scale"] * up @ parts["inner"] @ down

    return task_weight


def for_two(logits, share):
    return (logits[0] - logits[1]) / math.log(share / (1 - share))


def two_largest(logits, share):
    first, second = logits.sort(descending=True).values[:2]
    return (first - second) / math.log(share / (1 - share))


def multiplied(logits, share):
    low, high = 1e-6, 1e6
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if (logits * middle).softmax(0).max() > share else (middle, high)
    return middle


def turned(logits, share):
    low, high = 1e-6, 1e6
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if (logits / middle).softmax(0).max() > share else (middle, high)
    return middle


def from_a_grid(logits, share):
    grid = torch.arange(1, 21) / 20
    portions = (logits[None] / grid[:, None]).softmax(1).max(1).values
    return grid[(portions - share).abs().argmin()]


WRONG = {
    "10.1": [
        (merged(lambda parts: {"weight": 0}), "that is ΔW"),
        (merged(lambda parts: {"scale": 1.0}), "task 0: the plain layer"),
        (merged(lambda parts: {"scale": parts["scale"] / parts["rank"]}), "task 0: the plain layer"),
        (merged(lambda parts: {"inner": parts["inner"].t()}), "task 0: the plain layer"),
        (merged(lambda parts: {"portions": parts["mix"][parts["task"]].softmax(0)}), "task 0: the plain layer"),
        (merged(lambda parts: {"portions": torch.full((2,), 0.5)}), "task 0: the plain layer"),
        (
            merged(lambda parts: {"portions": (parts["mix"] / parts["temperature"]).softmax(0)[parts["task"]]}),
            "task 0: the plain layer",
        ),
        (lambda weight, down, *_: weight.t(), "shape (5, 6)"),
    ],
    "10.2": [
        (for_two, "a temperature is above 0"),
        (two_largest, "three logits"),
        (multiplied, "two logits, the first one larger"),
        (turned, "two logits, the first one larger"),
        (from_a_grid, "was asked for"),
        (lambda logits, share: share, "was asked for"),
    ],
}
