"""Plausible wrong answers to the exercises of notebook 06, each with a part of what the check says to it."""

import torch


def labelled_ratio(prediction, target):
    return (prediction / target)[target != 255]


def too_far_only(prediction, target, factor):
    return (labelled_ratio(prediction, target) < factor).float().mean()


def too_near_only(prediction, target, factor):
    return (1 / labelled_ratio(prediction, target) < factor).float().mean()


def by_difference(prediction, target, factor):
    return ((labelled_ratio(prediction, target) - 1).abs() < factor - 1).float().mean()


def in_metres(prediction, target, factor):
    return ((prediction - target).abs()[target != 255] < factor).float().mean()


def either_way(ratio, factor):
    return torch.maximum(ratio, 1 / ratio) < factor


def ignore_value_forgotten(prediction, target, factor):
    return either_way(prediction / target, factor).float().mean()


def mean_of_images(prediction, target, factor):
    pairs = zip(prediction, target, strict=True)
    return sum(either_way(labelled_ratio(p, t), factor).float().mean() for p, t in pairs) / len(target)


def percent(prediction, target, factor):
    return 100 * either_way(labelled_ratio(prediction, target), factor).float().mean()


def gain(name, others, single):
    return (others[name] - single[name]) / single[name]


def no_sign(others, single, higher_is_better, task):
    return single[task] * (1 - sum(gain(name, others, single) for name in others))


def own_sign_forgotten(others, single, higher_is_better, task):
    return single[task] * (1 - sum((1 if higher_is_better[n] else -1) * gain(n, others, single) for n in others))


def in_points(others, single, higher_is_better, task):
    known = sum((1 if higher_is_better[n] else -1) * (others[n] - single[n]) for n in others)
    return single[task] - (1 if higher_is_better[task] else -1) * known


def mean_of_the_others(others, single, higher_is_better, task):
    known = sum((1 if higher_is_better[n] else -1) * gain(n, others, single) for n in others) / len(others)
    return single[task] * (1 - (1 if higher_is_better[task] else -1) * known)


WRONG = {
    "06.1": [
        (too_far_only, "[4.0, 2.0, 2.0, 2.0], factor 1.25: 0.25 was expected, not 1.000"),
        (too_near_only, "[4.0, 4.4, 3.4, 6.0], factor 1.25: 0.75 was expected, not 1.000"),
        (by_difference, "[4.0, 3.1, 4.9, 2.3], factor 1.25: 0.5 was expected, not 0.750"),
        (in_metres, "factor 2.0: 1.0 was expected, not 0.750"),
        (ignore_value_forgotten, "takes what has no label for wrong"),
        (mean_of_images, "the mean of the two images' shares"),
        (percent, "not a percentage"),
    ],
    "06.2": [
        (lambda share, w: share, "share 0.04 and w = 0.95: p = 0.040"),
        (lambda share, w: w, "is possible"),
        (lambda share, w: w * share, "is possible"),
        (lambda share, w: w * share / (1 - w) / (1 - share), "share 0.04 and w = 0.5: p = 0.042"),
        (lambda share, w: (1 - w) * (1 - share) / (w * share + (1 - w) * (1 - share)), "p = 0.960 costs"),
        (lambda share, w: 100 * w * share / (w * share + (1 - w) * (1 - share)), "between 0 and 1, not 4.000"),
    ],
    "06.3": [
        (no_sign, "depth 0.450 instead of 0.5 (lower is better): Δm is +10.00"),
        (own_sign_forgotten, "(lower is better): Δm is +10.00"),
        (in_points, "Δm is -1.00"),
        (mean_of_the_others, "normals 18 instead of 20, depth 0.4 instead of 0.5, and sal"),
        (lambda others, single, higher_is_better, task: single[task], "Δm is +5.00"),
        (lambda others, single, higher_is_better, task: 0, "Δm is -45.00"),
    ],
}
