"""Plausible wrong answers to the exercises of notebook 01, each with a part of what the check says to it."""

import torch


def without_singular_values(delta, rank):
    U, _, Vt = torch.linalg.svd(delta, full_matrices=False)
    return Vt[:rank], U[:, :rank]


def smallest_first(delta, rank):
    U, sigma, Vt = torch.linalg.svd(delta, full_matrices=False)
    return Vt[-rank:], U[:, -rank:] * sigma[-rank:]


def singular_values_twice(delta, rank):
    U, sigma, Vt = torch.linalg.svd(delta, full_matrices=False)
    return sigma[:rank, None] * Vt[:rank], U[:, :rank] * sigma[:rank]


def in_the_wrong_order(delta, rank):
    U, sigma, Vt = torch.linalg.svd(delta, full_matrices=False)
    return U[:, :rank] * sigma[:rank], Vt[:rank]


WRONG = {
    "01.1": [
        (lambda i, o: i * o // (i + o), "96 → 96: at rank 48 A and B hold 9216 numbers, W 9216"),
        (lambda i, o: min(i, o), "50 → 7: at rank 7"),
        (lambda i, o: i * o / (i + o), "a whole number"),
        (lambda i, o: 1, "so is rank 2"),
    ],
    "01.2": [
        (without_singular_values, "away from ΔW"),
        (smallest_first, "is possible"),
        (singular_values_twice, "is possible"),
        (lambda delta, rank: in_the_wrong_order(delta, rank), "needs A (1, 9) and B (6, 1)"),
    ],
    "01.3": [
        (lambda x, g, A, B, scale: ((g @ B).T @ x, g.T @ (x @ A.T)), "lacks the scale"),
        (lambda x, g, A, B, scale: (scale * g.T @ (x @ A.T), scale * (g @ B).T @ x), "has the shape of A"),
        (lambda x, g, A, B, scale: (scale * (g @ B).T @ x, -scale * g.T @ (x @ A.T)), "B has the right shape but"),
        (lambda x, g, A, B, scale: (g * B * x, g), "it stopped with RuntimeError"),
    ],
}
