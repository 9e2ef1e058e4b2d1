"""Plausible wrong answers to the exercises of notebook 07, each with a part of what the check says to it."""

import torch


def in_proportion(rank, known):
    first = min(known)
    return known[first] * rank / first


def doubling(rank, known):
    low, high = sorted(known)
    return known[high] * 2 ** ((rank - high) / (high - low))


def mean(rank, known):
    return sum(known.values()) / len(known)


def one_step_more(rank, known):
    low, high = sorted(known)
    return known[high] + known[high] - known[low]


def gains(scores, higher_is_better, relative=True):
    base = next(iter(scores.values()))
    sign = {task: 1 if higher else -1 for task, higher in higher_is_better.items()}
    return {
        lr: sum(sign[t] * (own[t] - base[t]) / (base[t] if relative else 1) for t in own) for lr, own in scores.items()
    }


def by_the_table(tuning, table, higher_is_better):
    of_rate = gains(table, higher_is_better)
    best = max(of_rate, key=of_rate.get)
    return best, table[best]


def reports_tuning(tuning, table, higher_is_better):
    of_rate = gains(tuning, higher_is_better)
    best = max(of_rate, key=of_rate.get)
    return best, tuning[best]


def without_sign(tuning, table, higher_is_better):
    of_rate = gains(tuning, dict.fromkeys(higher_is_better, True))
    best = max(of_rate, key=of_rate.get)
    return best, table[best]


def in_points(tuning, table, higher_is_better):
    of_rate = gains(tuning, higher_is_better, relative=False)
    best = max(of_rate, key=of_rate.get)
    return best, table[best]


def worst(tuning, table, higher_is_better):
    of_rate = gains(tuning, higher_is_better)
    best = min(of_rate, key=of_rate.get)
    return best, table[best]


def quantiles(values, low=0.025):
    return values.quantile(low), values.quantile(1 - low)


def unpaired(ours, theirs, draws):
    return quantiles(100 * (ours[draws].mean(1) / theirs[draws.flip(0)].mean(1) - 1))


def share(ours, theirs, draws):
    return quantiles(ours[draws].mean(1) / theirs[draws].mean(1) - 1)


def difference(ours, theirs, draws):
    return quantiles(ours[draws].mean(1) - theirs[draws].mean(1))


def of_images(ours, theirs, draws):
    return quantiles(100 * (ours / theirs - 1))


def ninety(ours, theirs, draws):
    return quantiles(100 * (ours[draws].mean(1) / theirs[draws].mean(1) - 1), 0.05)


def turned(ours, theirs, draws):
    return quantiles(100 * (theirs[draws].mean(1) / ours[draws].mean(1) - 1))


def high_first(ours, theirs, draws):
    return gain(ours, theirs, draws)[::-1]


def gain(ours, theirs, draws):
    return quantiles(100 * (ours[draws].mean(1) / theirs[draws].mean(1) - 1))


def of_baselines_mean(ours, theirs, draws):
    return quantiles(100 * (ours[draws].mean(1) / theirs.mean() - 1))


def normal(ours, theirs, draws):
    values = 100 * (ours[draws].mean(1) / theirs[draws].mean(1) - 1)
    return values.mean() - values.std(), values.mean() + values.std()


def of_one_draw(ours, theirs, draws):
    value = 100 * (ours[draws].mean() / theirs[draws].mean() - 1)
    return torch.stack([value, value])


WRONG = {
    "07.1": [
        (in_proportion, "make 8,344,634 at rank 64, not 19,812,584"),
        (doubling, "make 8,344,634 at rank 64, not 24,334,568"),
        (mean, "not 5,518,394"),
        (one_step_more, "not 7,214,138"),
    ],
    "07.2": [
        (by_the_table, "the table split, which must have no say"),
        (reports_tuning, "the scores that it was chosen by"),
        (without_sign, "a lower angle is better"),
        (in_points, "gains are relative"),
        (worst, "the rate 0.002 was expected, not 0.001"),
    ],
    "07.3": [
        (unpaired, "two means, over the same images"),
        (of_baselines_mean, "two means, over the same images"),
        (of_images, "two means, over the same images"),
        (share, "a percentage of their mean was asked for"),
        (difference, "a percentage of their mean"),
        (ninety, "was expected, not"),
        (turned, "was expected, not [-"),
        (high_first, "the lower end comes first"),
        (normal, "was expected, not"),
        (of_one_draw, "too narrow"),
    ],
}
