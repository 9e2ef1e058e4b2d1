"""Exercises of notebook 10: MTL-LoRA."""

import math

import torch

from mtlora_lite.exercises.verdicts import Answer, Check
from mtlora_lite.mtl_lora import MTLLoRALinear


def check_task_weight(task_weight: Answer) -> str | None:
    """10.1: the one matrix that does for a task what the adapted layer does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = MTLLoRALinear(torch.nn.Linear(6, 5, bias=False), 3, 4, 2, scale=1.7, temperature=0.4)
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter)
        x = torch.randn(7, 6)
    parts = [layer.linear.weight, layer.lora_A, layer.lora_lambda, layer.lora_B, layer.lora_mix]
    parts = [part.detach().clone() for part in parts]
    for task in range(3):
        given = task_weight(*parts, 1.7, 0.4, task)
        if given.shape != (5, 6):
            return f"a weight (out, in) has the shape (5, 6) here, not {tuple(given.shape)}"
        if torch.allclose(given, layer.delta_weight(task).detach(), atol=1e-3):
            return "that is ΔW of the task; the layer that is merged also does what W did"
        if not torch.allclose(x @ given.t(), layer(x, task).detach(), atol=1e-3):
            return f"task {task}: the plain layer with this weight gives other outputs than the adapted one"
    return None


def check_temperature(temperature_for: Answer) -> str | None:
    """10.2: the temperature at which the largest portion is a given share."""
    cases = [
        ((1.0, 0.0), 0.75, "two logits, the first one larger"),
        ((-0.3, 0.2), 0.6, "two logits, the second one larger"),
        ((0.5, 0.1, -0.4), 0.84, "three logits"),
        ((0.02, 0.01, 0.0, -0.01), 0.9, "four logits that are close together"),
        ((30.0, 5.0, -20.0), 0.4, "three logits that are far apart"),
    ]
    for logits, share, what in cases:
        given = float(temperature_for(torch.tensor(logits), share))
        if not given > 0:
            return f"{what}, {logits}: a temperature is above 0, not {given:.3f}"
        portion = float((torch.tensor(logits, dtype=torch.float64) / given).softmax(0).max())
        if not math.isclose(portion, share, abs_tol=2e-3):
            return (
                f"{what}, {logits}: at τ = {given:.4g} the largest portion is {portion:.3f}, and {share} was asked for"
            )
    return None


CHECKS: dict[str, Check] = {
    "10.1": check_task_weight,
    "10.2": check_temperature,
}
