"""What notebook 03 builds, the injection of LoRA into a frozen network, is what the package's ``lora_only`` does."""

import pytest
import torch
from test_notebooks import building_cell
from torch import nn

import mtlora_lite as ml
from mtlora_lite.lora import LoRALinear

RANK, SCALE = 3, 1.7
SHAPE = {"backbone": "swin_scenes_tiny", "tasks": "normals", "img_size": 64, "drop_path": 0.0}


@pytest.fixture(scope="module")
def inject():
    """The function that the building cell of the notebook defines."""
    scope = {"nn": nn, "LoRALinear": LoRALinear}
    exec(building_cell("03", "builds-injection"), scope)
    return scope["inject"]


def built(inject, targets):
    model = ml.build_model("decoders_only", **SHAPE)
    inject(model.backbone, targets, RANK, SCALE)
    return model


def packaged(targets):
    options = {"targets": targets, "rank": RANK, "scale": SCALE, "dropout": 0.0, "train": ()}
    return ml.build_model("mtlora", combine="lora_only", **options, **SHAPE)


def random_(model):
    """Give every update random values, B (zeros at the start) too."""
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.1)
    return model.eval()


@pytest.mark.parametrize("targets", [("qkv",), ("proj", "fc2"), ("fc1", "reduction"), ("qkv", "proj", "fc1", "fc2")])
def test_it_adapts_and_trains_what_the_package_does_with_equal_outputs_and_gradients(inject, targets):
    ours, theirs = random_(packaged(targets)), built(inject, targets).eval()
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 64, 64)
    outputs = [model(images)["normals"] for model in (ours, theirs)]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        output.square().sum().backward()
    grads = [{name: p.grad for name, p in model.named_parameters() if p.requires_grad} for model in (ours, theirs)]
    assert any("lora_" in name for name in grads[0])
    torch.testing.assert_close(*grads)


def test_it_refuses_a_name_that_hits_no_linear_layer(inject):
    with pytest.raises(ValueError, match=r"'value'; there are \['fc1', 'fc2', 'proj', 'qkv', 'reduction'\]"):
        built(inject, ("qkv", "value"))
