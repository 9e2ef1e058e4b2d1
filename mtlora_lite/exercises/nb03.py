"""Exercises of notebook 03: adapters into a frozen Swin."""

import torch
from torch import Tensor, nn

from mtlora_lite.exercises.verdicts import Answer, Check

BLOCK = ("qkv", "proj", "fc1", "fc2")
PER_CHANNEL = {"qkv": 4, "proj": 2, "fc1": 5, "fc2": 5, "reduction": 6}  # (in + out) / channels of the stage


def check_largest_rank(largest_rank: Answer) -> str | None:
    """03.1: the largest rank at which LoRA in some layers of a Swin trains no more than a budget of numbers."""
    swin_t, small = ((2, 2, 6, 2), 96), ((2, 2, 4, 2), 32)
    cases = [
        (70_656 * 16, *swin_t, BLOCK, 16),
        (70_656 * 16 - 1, *swin_t, BLOCK, 15),
        (100_000, *small, ("qkv",), 20),
        (4_032 * 8, *swin_t, ("reduction",), 8),
        (900, (1, 1), 10, ("fc1", "reduction"), 4),
        (70_655, *swin_t, BLOCK, 0),
    ]
    for budget, depths, width, targets, expected in cases:
        given = largest_rank(budget, depths, width, targets)
        case = f"{budget:,} numbers for {', '.join(targets)} of a Swin with depths {depths} and {width} channels"
        if given != int(given):
            return f"{case}: a rank is a whole number, not {given}"
        given = int(given)
        cost = given * _per_rank(depths, width, targets)
        if cost > budget:
            return f"{case}: rank {given} costs {cost:,}"
        if given < expected:
            return f"{case}: rank {given} fits, but so does rank {expected}"
    return None


def _per_rank(depths: tuple[int, ...], width: int, targets: tuple[str, ...]) -> int:
    total = 0
    for stage, depth in enumerate(depths):
        layers = {target: depth for target in targets if target != "reduction"}
        if "reduction" in targets and stage < len(depths) - 1:
            layers["reduction"] = 1
        total += sum(count * PER_CHANNEL[target] * width * 2**stage for target, count in layers.items())
    return total


def check_queries_and_values(queries_and_values: Answer) -> str | None:
    """03.2: low-rank updates of the queries and of the values of a fused layer, and none of the keys."""
    width, rank = 12, 2
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        fused, x = nn.Linear(width, 3 * width), torch.randn(5, 7, width)
        before = fused(x).detach()
        weights = [parameter.detach().clone() for parameter in fused.parameters()]
        module = queries_and_values(fused, rank)
        output = module(x)
        if output.shape != before.shape:
            return f"x {tuple(x.shape)} becomes {tuple(before.shape)}, not {tuple(output.shape)}"
        if not torch.allclose(output, before, atol=1e-6):
            return "before the first step the module should compute what the fused layer computes"
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        if not trained:
            return "nothing is trained: no parameter of the module requires a gradient"
        _train(module, trained, x)
        if not all(map(torch.equal, weights, fused.parameters())):
            return "the frozen layer has been trained, too"
        change = (module(torch.eye(width)[None]) - fused(torch.eye(width)[None]))[0].detach().T  # ΔW (3 C, C)
    return _verdict_on_change(change, rank, sum(parameter.numel() for parameter in trained))


def _train(module: nn.Module, trained: list[nn.Parameter], x: Tensor) -> None:
    """A few steps towards an arbitrary target, far enough that every update has its full rank."""
    target, optimizer = torch.randn(*x.shape[:-1], 3 * x.shape[-1]), torch.optim.Adam(trained, lr=0.1)
    for _ in range(6):
        optimizer.zero_grad()
        (module(x) - target).square().mean().backward()
        optimizer.step()


def _verdict_on_change(change: Tensor, rank: int, trained: int) -> str | None:
    width = change.shape[1]
    queries, keys, values = change.split(width)
    if keys.abs().max() > 1e-5:
        return "a few steps of training have changed the keys, rows C to 2 C of the output"
    for name, part in (("queries", queries), ("values", values)):
        if part.abs().max() < 1e-5:
            return f"a few steps of training have not changed the {name}"
        if (found := _rank(part)) > rank:
            return f"the update of the {name} has rank {found}, and {rank} was asked for"
    if _rank(torch.cat([queries, values])) <= rank:
        return "queries and values share one A: give each a pair of its own"
    if trained != 4 * rank * width:
        return f"two pairs of rank {rank} and width {width} are {4 * rank * width} trained numbers, not {trained}"
    return None


def _rank(matrix: Tensor) -> int:
    sigma = torch.linalg.svdvals(matrix)
    return int((sigma > 1e-4 * sigma[0]).sum())


CHECKS: dict[str, Check] = {
    "03.1": check_largest_rank,
    "03.2": check_queries_and_values,
}
