"""A tiny model of every family of backbones, and a whole model on it; no number is that of an initialisation."""

import torch
from timm.models.pvt_v2 import PyramidVisionTransformerV2
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2

import mtlora_lite as ml

SIZE = (64, 96)  # maps of 16x24, 8x12, 4x6 and 2x3 tokens, on which windows of 5 fit nowhere
TASKS = ("semseg", "sal", "normals")
RANKS = {
    "rank": (3, 4, 2, 5),
    "scale": (2.0, 1.5, 0.5, 3.0),
    "task_rank": {"semseg": (2, 3, 1, 4), "sal": 5, "normals": 1},
    "task_scale": {"semseg": (0.7, 2.5, 1.2, 0.9), "sal": 1.7, "normals": 2.6},
    "dropout": 0.0,
}
HEADS = {"channels": [2, 3, 4, 5], "expansion": 1}
_PLAN = {"depths": (2, 1, 2, 1), "num_heads": (1, 2, 2, 4), "num_classes": 0, "drop_path_rate": 0.0}
_SWIN = _PLAN | {"img_size": SIZE, "embed_dim": 8, "window_size": 5}
_PVT = _PLAN | {"embed_dims": (8, 12, 16, 20), "mlp_ratios": (3, 2, 2, 2), "sr_ratios": (4, 2, 2, 1)}

TINY = {
    "swin": lambda: SwinTransformer(**_SWIN),
    "swinv2": lambda: SwinTransformerV2(**_SWIN),
    "swinv2 at its pre-trained windows": lambda: SwinTransformerV2(**_SWIN, pretrained_window_sizes=(6, 6, 6, 3)),
    "pvt_v2": lambda: PyramidVisionTransformerV2(**_PVT),
    "pvt_v2 linear": lambda: PyramidVisionTransformerV2(**_PVT, linear=True, qkv_bias=False),
}


def tiny(kind):
    """The same model for the same word, every time."""
    torch.manual_seed(1)
    model = TINY[kind]()
    for parameter in model.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def whole(kind, method="mtlora", **options):
    """A model of three tasks on it."""
    given = RANKS if method.startswith("mtlora") else {}
    torch.manual_seed(2)
    model = ml.build_model(
        method, backbone=tiny(kind), tasks=TASKS, img_size=SIZE, decoder_options=HEADS, **given | options
    )
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()
