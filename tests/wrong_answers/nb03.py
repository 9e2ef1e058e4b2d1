"""Plausible wrong answers to the exercises of notebook 03, each with a part of what the check says to it."""

import torch
import torch.nn.functional as F
from torch import nn

from mtlora_lite.lora import LoRALinear

PER_CHANNEL = {"qkv": 4, "proj": 2, "fc1": 5, "fc2": 5, "reduction": 6}


def same_width_everywhere(budget, depths, width, targets):
    return budget // sum(depth * width * PER_CHANNEL[target] for depth in depths for target in targets)


def reduction_in_every_block(budget, depths, width, targets):
    return budget // sum(d * width * 2**i * PER_CHANNEL[t] for i, d in enumerate(depths) for t in targets)


def reduction_behind_every_stage(budget, depths, width, targets):
    price = 0
    for stage, depth in enumerate(depths):
        for target in targets:
            price += (1 if target == "reduction" else depth) * width * 2**stage * PER_CHANNEL[target]
    return budget // price


def without_rounding(budget, depths, width, targets):
    return budget / sum(d * width * 2**i * PER_CHANNEL[t] for i, d in enumerate(depths) for t in targets)


class Pairs(nn.Module):
    """Low-rank updates for some thirds of a fused layer: 0 queries, 1 keys, 2 values."""

    def __init__(self, linear, rank, thirds=(0, 2), shared=False, start=0.0, frozen=True):
        super().__init__()
        self.linear, self.thirds = linear.requires_grad_(not frozen), thirds
        width = linear.in_features
        self.A = nn.Parameter(torch.randn(1 if shared else len(thirds), rank, width))
        self.B = nn.Parameter(start * torch.randn(len(thirds), width, rank))

    def forward(self, x):
        parts = [torch.zeros_like(x) for _ in range(3)]
        for i, third in enumerate(self.thirds):
            parts[third] = F.linear(F.linear(x, self.A[i % len(self.A)]), self.B[i])
        return self.linear(x) + torch.cat(parts, -1)


WRONG = {
    "03.1": [
        (same_width_everywhere, "costs"),
        (reduction_in_every_block, "reduction of a Swin with depths (2, 2, 6, 2) and 96 channels: rank"),
        (reduction_behind_every_stage, "but so does rank 8"),
        (without_rounding, "a whole number"),
        (lambda budget, depths, width, targets: 1, "but so does rank 16"),
    ],
    "03.2": [
        (lambda linear, rank: LoRALinear(linear, rank), "have changed the keys"),
        (lambda linear, rank: Pairs(linear, rank, (0, 1)), "have changed the keys"),
        (lambda linear, rank: Pairs(linear, rank, (0,)), "have not changed the values"),
        (lambda linear, rank: Pairs(linear, rank, shared=True), "share one A"),
        (lambda linear, rank: Pairs(linear, 2 * rank), "has rank 4, and 2 was asked for"),
        (lambda linear, rank: Pairs(linear, rank, start=1.0), "before the first step"),
        (lambda linear, rank: Pairs(linear, rank, frozen=False), "the frozen layer has been trained"),
    ],
}
