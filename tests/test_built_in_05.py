"""What notebook 05 builds is what the package has: the fusion, the head, and the counts that its exercises ask for."""

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mtlora_lite.decoders import DECODERS, build_decoder, hrnet
from mtlora_lite.exercises.nb05 import STACKS
from mtlora_lite.fusion import ProjectFusion

(NOTEBOOK,) = (Path(__file__).parents[1] / "notebooks").glob("05_*.ipynb")
IN_CHANNELS, CHANNELS, SIDES = (6, 8, 10, 12), (3, 4, 5, 6), (8, 4, 2, 2)


def built(name):
    """What the notebook's cells that build something define under a name."""
    scope = {"torch": torch, "nn": nn, "F": F, "math": math}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if {"builds-fusion", "builds-hrnet"} & set(cell["metadata"].get("tags", ())):
            exec("".join(cell["source"]), scope)
    return scope[name]


def pyramid():
    return [torch.randn(2, c, s, s, requires_grad=True) for c, s in zip(IN_CHANNELS, SIDES, strict=True)]


def assert_equal_in_outputs_and_gradients(ours, theirs, maps):
    copies = [each.detach().clone().requires_grad_() for each in maps]
    outputs = ours(maps), theirs(copies)
    torch.testing.assert_close(*outputs)
    gradient = torch.randn_like(outputs[0])
    for output in outputs:
        output.backward(gradient)
    for mine, other in zip([*maps, *ours.parameters()], [*copies, *theirs.parameters()], strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_the_fusion_of_the_notebook_equals_that_of_the_package():
    torch.manual_seed(0)
    ours, theirs = ProjectFusion(IN_CHANNELS, CHANNELS), built("Fusion")(IN_CHANNELS, CHANNELS)
    theirs.load_state_dict(ours.state_dict())
    assert_equal_in_outputs_and_gradients(ours, theirs, pyramid())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("outputs", "expansion"), [(1, 1), (3, 2), (7, 4)])
def test_fusion_and_head_of_the_notebook_are_the_hrnet_of_the_package(outputs, expansion, training):
    torch.manual_seed(1)
    ours = hrnet(IN_CHANNELS, outputs, channels=CHANNELS, expansion=expansion)
    theirs = nn.Sequential(
        built("Fusion")(IN_CHANNELS, CHANNELS), built("make_head")(sum(CHANNELS), outputs, expansion=expansion)
    )
    nn.init.normal_(ours.head[1].weight)
    ours.head[1].running_mean.normal_()
    theirs[0].load_state_dict(ours.fusion.state_dict())
    theirs[1].load_state_dict(ours.head.state_dict())
    assert_equal_in_outputs_and_gradients(ours.train(training), theirs.train(training), pyramid())
    torch.testing.assert_close(ours.head[1].running_var, theirs[1][1].running_var)


def test_both_have_the_same_default_width():
    head = hrnet(IN_CHANNELS, 5).head
    assert str(built("make_head")(270, 5)).replace("ReLU()", "ReLU(inplace=True)") == str(head)


@pytest.mark.parametrize(("layers", "expected"), [(layers, side) for _, layers, side in STACKS])
def test_one_output_sees_what_the_exercise_says(layers, expected):
    stack = nn.Sequential(*(nn.Conv1d(1, 1, k, stride=s, dilation=d) for k, s, d in layers))
    for layer in stack:
        nn.init.ones_(layer.weight)
    x = torch.zeros(1, 1, 200, requires_grad=True)
    stack(x)[0, 0, 3].backward()
    seen = x.grad[0, 0].nonzero()
    assert (seen.max() - seen.min() + 1).item() == expected


@pytest.mark.parametrize("decoder", ["hrnet", "segformer"])
def test_the_heads_that_work_cell_by_cell_do(decoder):
    torch.manual_seed(2)
    head = build_decoder(decoder, IN_CHANNELS, 2).eval().head
    fused = torch.randn(1, head[0].in_channels, 5, 5, requires_grad=True)
    head(fused)[0, 0, 2, 3].backward()
    assert fused.grad.abs().sum((0, 1)).nonzero().tolist() == [[2, 3]]
    assert set(DECODERS) == {"hrnet", "segformer", "aspp", "deconv"}  # the notebook names them all
