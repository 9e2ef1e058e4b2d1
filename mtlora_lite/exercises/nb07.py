"""Exercises of notebook 07: train MTLoRA."""

import math

import torch

from mtlora_lite.exercises.verdicts import Answer, Check


def check_trained_at(trained_at: Answer) -> str | None:
    """07.1: what MTLoRA trains grows in a straight line with the rank."""
    cases = [
        (64, {16: 4_953_146, 32: 6_083_642}, 8_344_634, "Swin-T, four tasks, as the paper's largest run"),
        (16, {32: 6_083_642, 64: 8_344_634}, 4_953_146, "the same line, read downwards"),
        (0, {1: 1_070, 3: 1_210}, 1_000, "rank 0, which leaves what does not depend on the rank"),
        (10, {4: 500, 8: 500}, 500, "a method without a rank"),
    ]
    for rank, known, expected, what in cases:
        given = trained_at(rank, dict(known))
        if not math.isclose(given, expected, rel_tol=1e-9, abs_tol=1e-6):
            counts = " and ".join(f"{count:,} at rank {at}" for at, count in known.items())
            return f"{what}: {counts} make {expected:,} at rank {rank}, not {given:,.0f}"
    return None


def check_choose_rate(choose_rate: Answer) -> str | None:
    """07.2: the learning rate of the best mean gain on the tuning split, and what the table split says of it."""
    up, down = {"semseg": True, "sal": True}, {"sal": True, "normals": False}
    cases = [
        (
            {1e-3: {"semseg": 20.0, "sal": 40.0}, 2e-3: {"semseg": 25.0, "sal": 44.0}},
            {1e-3: {"semseg": 30.0, "sal": 45.0}, 2e-3: {"semseg": 22.0, "sal": 41.0}},
            up, 2e-3, "the other rate looks better on the table split, which must have no say",
        ),
        (
            {1e-3: {"sal": 40.0, "normals": 30.0}, 2e-3: {"sal": 41.0, "normals": 20.0}, 4e-3: {"sal": 40.0,
             "normals": 36.0}},
            {1e-3: {"sal": 42.0, "normals": 31.0}, 2e-3: {"sal": 43.0, "normals": 21.0}, 4e-3: {"sal": 41.0,
             "normals": 37.0}},
            down, 2e-3, "of normals a lower angle is better",
        ),
        (
            {1e-3: {"semseg": 10.0, "sal": 50.0}, 2e-3: {"semseg": 14.0, "sal": 45.0}, 4e-3: {"semseg": 9.0,
             "sal": 58.0}},
            {1e-3: {"semseg": 11.0, "sal": 52.0}, 2e-3: {"semseg": 13.0, "sal": 47.0}, 4e-3: {"semseg": 8.0,
             "sal": 59.0}},
            up, 2e-3, "gains are relative: from 10 to 14 is +40 %, from 50 to 58 only +16 %",
        ),
    ]  # fmt: skip
    for tuning, table, higher_is_better, expected, why in cases:
        rate, scores = choose_rate(
            {lr: dict(own) for lr, own in tuning.items()}, {lr: dict(own) for lr, own in table.items()},
            dict(higher_is_better),
        )  # fmt: skip
        if rate != expected:
            return f"tuning scores {tuning}: the rate {expected:g} was expected, not {rate:g} ({why})"
        if scores == tuning[rate]:
            return "the rate is right, but what is reported are the scores that it was chosen by"
        if scores != table[rate]:
            return f"the scores of the rate {rate:g} on the table split are {table[rate]}, not {scores}"
    return None


def check_gain_interval(gain_interval: Answer) -> str | None:
    """07.3: a paired bootstrap interval of a relative gain."""
    generator = torch.Generator().manual_seed(0)
    theirs = 20 + 12 * torch.rand(60, generator=generator, dtype=torch.float64)  # images differ a lot ...
    ours = 1.1 * theirs + 0.4 * torch.randn(60, generator=generator, dtype=torch.float64)  # ... and the methods hardly
    draws = torch.randint(0, 60, (400, 60), generator=generator)
    gains = 100 * (ours[draws].mean(1) / theirs[draws].mean(1) - 1)
    expected = [float(gains.quantile(share)) for share in (0.025, 0.975)]
    low, high = map(float, gain_interval(ours.clone(), theirs.clone(), draws.clone()))
    if all(math.isclose(a, b, abs_tol=0.02) for a, b in zip((low, high), expected, strict=True)):
        return None
    right = f"[{expected[0]:.2f}, {expected[1]:.2f}] % was expected, not [{low:.2f}, {high:.2f}]"
    if high < low:
        return f"{right}: the lower end comes first"
    if high - low > 3 * (expected[1] - expected[0]):
        return f"{right}, which is far too wide: a draw asks for a ratio of two means, over the same images"
    if high - low < 0.5:
        return f"{right}, too narrow: a percentage of their mean was asked for, at its 2.5 and 97.5 % quantile"
    return right


CHECKS: dict[str, Check] = {
    "07.1": check_trained_at,
    "07.2": check_choose_rate,
    "07.3": check_gain_interval,
}
