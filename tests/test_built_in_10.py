"""The layer that notebook 10 builds, MTL-LoRA by hand, is the package's."""

import math

import pytest
import torch
from test_notebooks import building_cell
from torch import nn

import mtlora_lite as ml

TASKS, RANK, UPS, SCALE, TEMPERATURE = 4, 3, 2, 1.7, 0.6
IDS = torch.tensor([2, 0, 3, 2, 1])
NAMES = {"A": "lora_A", "L": "lora_lambda", "B": "lora_B", "w": "lora_mix"}
each_form = pytest.mark.parametrize("form", ["full", "diagonal"])


@pytest.fixture(scope="module")
def build():
    """The class that the building cell of the notebook defines."""
    scope = {"torch": torch, "nn": nn, "math": math}
    exec(building_cell("10", "builds-mtl-lora"), scope)
    return scope["MTLLoRA"]


def both(build, form):
    """The notebook's layer and the package's, of one W, from one seed."""
    linear = nn.Linear(7, 5)
    torch.manual_seed(3)
    built = build(linear, TASKS, RANK, UPS, SCALE, TEMPERATURE, diagonal=form == "diagonal")
    torch.manual_seed(3)
    return built, ml.MTLLoRALinear(linear, TASKS, RANK, UPS, SCALE, TEMPERATURE, form)


@each_form
def test_it_starts_with_the_same_numbers_and_as_the_frozen_layer(build, form):
    built, ours = both(build, form)
    for name, theirs in NAMES.items():
        assert torch.equal(getattr(built, name), getattr(ours, theirs))
    assert {name for name, p in built.named_parameters() if p.requires_grad} == set(NAMES)
    x = torch.randn(5, 6, 7)
    assert torch.equal(built(x, IDS), built.linear(x))


@each_form
def test_outputs_and_gradients_are_those_of_the_package(build, form):
    built, ours = both(build, form)
    for name, theirs in NAMES.items():
        nn.init.normal_(getattr(built, name), std=0.5)
        getattr(ours, theirs).data.copy_(getattr(built, name).data)
    x, g = torch.randn(5, 6, 7), torch.randn(5, 6, 5)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [layer(value, IDS) for layer, value in zip((built, ours), inputs, strict=True)]
    for output in outputs:
        output.backward(g)
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    for name, theirs in NAMES.items():
        torch.testing.assert_close(getattr(built, name).grad, getattr(ours, theirs).grad)
    assert built.linear.weight.grad is None


@each_form
def test_a_mixed_batch_is_its_samples_one_by_one(build, form):
    built, _ = both(build, form)
    _ = [nn.init.normal_(getattr(built, name), std=0.5) for name in NAMES]
    x = torch.randn(5, 6, 7)
    alone = torch.cat([built(x[i : i + 1], IDS[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(built(x, IDS), alone)
    assert (built(x, (IDS + 1) % TASKS) - alone).abs().amax((1, 2)).min() > 1e-2  # the task matters to every sample
