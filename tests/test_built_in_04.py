"""What notebook 04 builds, the layer with private updates and the backbone with its forks, is what the package has."""

import math

import pytest
import torch
import torch.nn.functional as F
from test_notebooks import building_cell
from torch import nn

import mtlora_lite as ml
from mtlora_lite.lora import MTLoRALinear, low_rank_pair

RANKS = {"semseg": 3, "depth": 1, "edge": 2}
SCALES = {"semseg": 0.7, "depth": -1.3, "edge": 2.0}


@pytest.fixture(scope="module")
def built():
    """The names that the building cells of the notebook define."""
    scope = {"torch": torch, "nn": nn, "F": F, "math": math, "low_rank_pair": low_rank_pair}
    for tag in ("builds-mtlora", "builds-fork"):
        exec(building_cell("04", tag), scope)
    return scope


def random_(module):
    """Give everything that is trained random values, B (zeros at the start) too."""
    for parameter in module.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.3)
    return module


def gradients(outputs, inputs):
    """Of a sum of the outputs with fixed random weights, which no symmetry makes vanish."""
    generator = torch.Generator().manual_seed(0)
    total = sum((output * torch.randn(output.shape, generator=generator)).sum() for output in outputs)
    return torch.autograd.grad(total, inputs)


def test_the_layer_equals_that_of_the_package_in_outputs_and_gradients(built):
    ours = random_(MTLoRALinear(nn.Linear(6, 5), 4, RANKS, 1.7, SCALES))
    theirs = built["MTLoRA"](nn.Linear(6, 5), 4, RANKS, 1.7, SCALES)
    theirs.load_state_dict(ours.state_dict())
    x, *own = (torch.randn(2, 3, 6, requires_grad=True) for _ in range(1 + len(RANKS)))
    shared, tasks = ours(x, torch.stack(own))
    built_shared, built_tasks = theirs(x, dict(zip(RANKS, own, strict=True)))
    torch.testing.assert_close(built_shared, shared)
    torch.testing.assert_close(torch.stack([*built_tasks.values()]), tasks)

    trained = [{name: p for name, p in layer.named_parameters() if p.requires_grad} for layer in (ours, theirs)]
    assert trained[0].keys() == trained[1].keys()
    expected = gradients([shared, *tasks], [x, *own, *trained[0].values()])
    names = list(trained[0])
    found = gradients([built_shared, *built_tasks.values()], [x, *own, *(trained[1][name] for name in names)])
    torch.testing.assert_close(found, expected)


def test_the_layer_starts_as_that_of_the_package(built):
    linear = nn.Linear(6, 5)
    torch.manual_seed(4)
    ours = MTLoRALinear(linear, 4, RANKS)
    torch.manual_seed(4)
    theirs = built["MTLoRA"](linear, 4, RANKS, 1.0, dict.fromkeys(RANKS, 1.0))
    torch.testing.assert_close(theirs.state_dict(), ours.state_dict(), rtol=0, atol=0)
    assert not linear.weight.requires_grad


def backbone(combine):
    model = ml.build_model(
        backbone="swin_scenes_tiny", tasks=list(RANKS), img_size=64, pretrained=False, rank=3, scale=1.7,
        task_rank=RANKS, task_scale=SCALES, dropout=0.0, combine=combine,
    )  # fmt: skip
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.1)
    return model.backbone.eval()


def test_the_backbone_equals_that_of_the_package_in_outputs_and_gradients(built):
    ours, images = backbone("matrix"), torch.randn(2, 3, 64, 64, requires_grad=True)
    tasks = list(RANKS)[::-1]  # an order of one's own
    expected, found = ours(images, tasks), built["adapted_backbone"](ours, images, tasks)
    assert [maps[0].shape[1] for maps in found.values()] == [64] * 3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

    trained = [p for name, p in ours.named_parameters() if p.requires_grad and "3.blocks.1.mlp.fc2.lora_ta" not in name]
    flat = [[features for maps in pyramids.values() for features in maps] for pyramids in (expected, found)]
    expected, found = (gradients(maps, [images, *trained]) for maps in flat)
    for ours, theirs in zip(expected, found, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-3 * float(ours.abs().max()))


def test_it_is_the_matrix_mode_and_no_other_that_is_built(built):
    other, images = backbone("matrixv2"), torch.randn(1, 3, 64, 64)
    expected, found = other(images, ["depth"])["depth"], built["adapted_backbone"](other, images, ["depth"])["depth"]
    assert not torch.allclose(found[0], expected[0], rtol=1e-2, atol=1e-2)
