"""The Swin that notebook 02 builds is timm's: part by part, outputs and gradients, and as a whole the package's."""

import ast
import json
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models.swin_transformer import (
    PatchMerging,
    SwinTransformerBlock,
    WindowAttention,
    window_partition,
    window_reverse,
)
from torch import nn

from mtlora_lite.backbones import build_backbone

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "02_swin_in_slow_motion.ipynb"
PARTS = ("cut_patches", "to_windows", "from_windows", "shift_mask", "attention", "gather_neighbours")


@pytest.fixture(scope="module")
def built():
    """The functions of the tagged cells, without what else the cells do."""
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    tagged = ["".join(cell["source"]) for cell in cells if "builds-swin" in cell["metadata"].get("tags", ())]
    functions = [node for text in tagged for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    assert [function.name for function in functions] == [*PARTS, "block_by_hand", "swin_by_hand"]
    scope = {"torch": torch, "F": F}
    exec(compile(ast.Module(functions, []), str(NOTEBOOK), "exec"), scope)
    return scope


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def randomize(module):
    """Weights as large as trained ones, so that no part of a computation is negligible."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def test_patches_times_filters_are_the_convolution(built):
    images, convolution = torch.randn(2, 3, 8, 20), nn.Conv2d(3, 5, 4, 4)
    tokens = F.linear(built["cut_patches"](images), convolution.weight.flatten(1), convolution.bias)
    torch.testing.assert_close(tokens, convolution(images).permute(0, 2, 3, 1))


@pytest.mark.parametrize("window", [1, 2, 4])
def test_windows_are_cut_and_put_together_as_in_timm(built, window):
    x = torch.randn(3, 4, 12, 5)  # neither square nor one image
    cut = built["to_windows"](x, window)
    theirs = window_partition(x, (window, window))
    assert torch.equal(cut.flatten(0, 1), theirs.flatten(1, 2))
    assert torch.equal(built["from_windows"](cut, window, 4, 12), window_reverse(theirs, (window, window), 4, 12))
    assert torch.equal(built["from_windows"](cut, window, 4, 12), x)


@pytest.mark.parametrize(("size", "window"), [((8, 8), 4), ((8, 24), 4), ((14, 14), 7), ((21, 14), 7), ((6, 4), 2)])
def test_the_mask_is_that_of_timm(built, size, window):
    block = SwinTransformerBlock(8, size, num_heads=1, window_size=window, shift_size=window // 2)
    assert block.shift_size == (window // 2,) * 2
    mask = built["shift_mask"](*size, window, window // 2)
    assert mask.any()
    assert torch.equal(mask, block.attn_mask)
    assert not built["shift_mask"](*size, window, 0).any()


def test_attention_is_that_of_timm(built):
    layer, x = randomize(WindowAttention(12, num_heads=3, window_size=4)), torch.randn(2, 6, 16, 12)
    mask = built["shift_mask"](8, 12, 4, 2)  # 6 windows
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    heard, weights = built["attention"](layer, inputs[0], mask)
    theirs = layer(inputs[1].flatten(0, 1), mask=mask).view_as(heard)
    torch.testing.assert_close(heard, theirs)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 6, 3, 16))
    g, names = torch.randn_like(heard), [name for name, _ in layer.named_parameters()]
    gradients = [
        torch.autograd.grad(output, [given, *layer.parameters()], g)
        for output, given in zip((heard, theirs), inputs, strict=True)
    ]
    for name, ours, expected in zip(["x", *names], *gradients, strict=True):
        torch.testing.assert_close(ours, expected, msg=lambda told, name=name: f"gradient of {name}: {told}")


def test_neighbours_are_gathered_in_the_order_of_timm(built):
    merging, x = randomize(PatchMerging(5)), torch.randn(2, 4, 6, 5)
    torch.testing.assert_close(merging.reduction(merging.norm(built["gather_neighbours"](x))), merging(x))


SWINS = {
    "windows of 4, the last stage without shift": ("swin_scenes_tiny", 128),
    "windows cut to 2 in the last stage": ("swin_scenes_tiny", 64),
    "windows of 7": ("swin_tiny_patch4_window7_224", 224),
}


@pytest.mark.parametrize("case", SWINS)
def test_the_whole_swin_has_the_features_and_the_gradients_of_the_package(built, case):
    name, size = SWINS[case]
    swin = timm.create_model(name, pretrained=False, img_size=size, num_classes=0, drop_path_rate=0.0)
    for block in (block for layer in swin.layers for block in layer.blocks):
        nn.init.normal_(block.attn.relative_position_bias_table)
    parameters = [parameter for key, parameter in swin.named_parameters() if not key.startswith("norm.")]
    images = torch.randn(2, 3, size, size, requires_grad=True)
    ours = [features.permute(0, 3, 1, 2) for features in built["swin_by_hand"](swin, images)]
    theirs = build_backbone(swin, img_size=size)(images, ["depth"])["depth"]
    for mine, features in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, features, rtol=1e-4, atol=1e-4)
    gradients = [
        torch.autograd.grad(sum(features.square().mean() for features in maps), [images, *parameters])
        for maps in (ours, theirs)
    ]
    for mine, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-6)
