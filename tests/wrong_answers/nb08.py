"""Plausible wrong answers to the exercises of notebook 08, each with a part of what the check says to it."""

import torch


def count(values):
    return (values > 0).sum()


def entropy_alone(values):
    share = values / values.sum()
    return torch.special.entr(share).sum()


def of_squares(values):
    share = values.square() / values.square().sum()
    return torch.special.entr(share).sum().exp()


def with_log_of_zero(values):
    share = values / values.sum()
    return torch.exp(-(share * share.log()).sum())


def in_bits(values):
    share = values / values.sum()
    return torch.exp(torch.special.entr(share).sum() / torch.log(torch.tensor(2.0)))


def of_sums(values, share):
    return int((values.cumsum(0) / values.sum() < share).sum()) + 1


def one_too_few(values, share):
    energy = values.square().cumsum(0) / values.square().sum()
    return int((energy < share).sum())


def strictly_more(values, share):
    energy = values.square().cumsum(0) / values.square().sum()
    return int((energy <= share).sum()) + 1


def single_values(values, share):
    return int((values.square() / values.square().sum() >= 1 - share).sum())


def always(own, other):
    return own - (own @ other) / (other @ other) * other


def by_length(own, other):
    return own - min(own @ other, torch.tensor(0.0)) / other.norm() * other


def of_the_other(own, other):
    return other - min(own @ other, torch.tensor(0.0)) / (own @ own) * own


def dropped(own, other):
    return own if own @ other > 0 else torch.zeros_like(own)


def summed(own, other):
    return own + other


WRONG = {
    "08.1": [
        (count, "one direction three times as strong"),
        (entropy_alone, "four equal directions"),
        (of_squares, "one direction three times as strong"),
        (with_log_of_zero, "two that are not used"),
        (in_bits, "four equal directions"),
    ],
    "08.2": [
        (of_sums, "share"),
        (one_too_few, "rank 1 (4 of 5"),
        (strictly_more, "4 of 5 is a share of 0.8"),
        (single_values, "rank"),
    ],
    "08.3": [
        (always, "nothing to take away"),
        (by_length, "along the other; it still does"),
        (of_the_other, "along the other; it still does"),
        (dropped, "lost or gained more"),
        (summed, "it still does"),
        (lambda own, other: own, "it still does"),
    ],
}
