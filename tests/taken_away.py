"""What tests of exported models share: a small model of every kind, and what it is for two to agree."""

import torch
from torch import nn

import mtlora_lite as ml

SHAPE = {"embed_dim": 8, "depths": [2, 1, 2, 1], "num_heads": [1, 2, 2, 4], "window_size": [4, 4, 2, 2]}
TASKS = ("semseg", "normals", "depth")
RANKS = {
    "rank": (3, 2, 4, 1), "task_rank": {"semseg": 1, "normals": 3, "depth": (2, 1, 1, 2)}, "scale": 2.5,
    "task_scale": {"semseg": 0.5, "normals": 3.0, "depth": 1.5},
}  # fmt: skip
MODELS = {
    "matrix": ("mtlora", RANKS | {"combine": "matrix"}),
    "matrixv2": ("mtlora", RANKS | {"combine": "matrixv2"}),
    "addition": ("mtlora", RANKS | {"combine": "addition"}),
    "lora_only": ("mtlora", RANKS | {"combine": "lora_only"}),
    "plus": ("mtlora_plus", RANKS),
    "full": ("full", {}),
    "decoders_only": ("decoders_only", {}),
}


def make(kind, depths=(2, 1, 2, 1)):
    """A model that every update, norm and statistic of has been trained away from where it starts."""
    method, options = MODELS[kind]
    model = ml.build_model(
        method, backbone=SHAPE | {"depths": list(depths)}, tasks=TASKS, img_size=(64, 96), pretrained=False,
        decoder_options={"channels": [4, 4, 4, 4], "expansion": 1}, **options,
    )  # fmt: skip
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def agree(found, expected, tolerance=1e-5):
    """Assert equal logits, to a part of their range."""
    assert found.keys() == expected.keys()
    for task, logits in expected.items():
        span = (logits.max() - logits.min()).item()
        assert found[task].shape == logits.shape
        assert (found[task] - logits).abs().max() <= tolerance * span
