"""The embedded backbones: small ones, pre-trained by this project on image-level labels of rendered crops.

They are entries of timm's own registry (``timm.create_model("swin_scenes_tiny", pretrained=True)``), so that the
embedded world and the real one are loaded in the same way; only their weights lie in the package's ``data`` folder.
How they were trained: ``data/README.md``.
"""

from collections.abc import Callable
from typing import Any

import torch
from timm.models import build_model_with_cfg, register_model
from timm.models.pvt_v2 import PyramidVisionTransformerV2
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from mtlora_lite.paths import data_dir

NUM_CLASSES = 20  # the VOC classes without background
SIZE = 64  # of the crops, in pixels

default_cfgs: dict = {}  # timm looks for this name in a module that registers models; the weights are no hub entry


@register_model
def swin_scenes_tiny(pretrained: bool = False, **kwargs) -> SwinTransformer:
    """Swin with embed 32, depths 2-2-4-2 and window 4: 2.7 M parameters, pre-trained at 64 px."""
    architecture = {
        "img_size": SIZE, "patch_size": 4, "window_size": 4, "embed_dim": 32, "depths": (2, 2, 4, 2),
        "num_heads": (1, 2, 4, 8),
    }  # fmt: skip
    return _build(SwinTransformer, "swin_scenes_tiny", pretrained, "head.fc", fit_tables, architecture | kwargs)


@register_model
def pvt_v2_scenes_tiny(pretrained: bool = False, **kwargs) -> PyramidVisionTransformerV2:
    """PVT v2 with embed 32-64-128-256 and depths 2-2-3-2: 2.8 M parameters, pre-trained at 64 px.

    Keys and values are gathered from half as many rows and columns as in the published sizes, because the maps of such
    small images are small.
    """
    architecture = {
        "embed_dims": (32, 64, 128, 256), "depths": (2, 2, 3, 2), "num_heads": (1, 2, 4, 8),
        "mlp_ratios": (4, 4, 4, 4), "sr_ratios": (4, 2, 1, 1),
    }  # fmt: skip
    return _build(PyramidVisionTransformerV2, "pvt_v2_scenes_tiny", pretrained, "head", None, architecture | kwargs)


def weights_file(name: str) -> str:
    """The file in the package's ``data`` folder with the weights of an embedded backbone."""
    return f"{name}.safetensors"


def _build(
    kind: type, name: str, pretrained: bool, classifier: str, fit: Callable | None, arguments: dict[str, Any]
) -> nn.Module:
    about = {
        "file": str(data_dir() / weights_file(name)),
        "num_classes": NUM_CLASSES,
        "input_size": (3, SIZE, SIZE),
        "first_conv": "patch_embed.proj",
        "classifier": classifier,
        "license": "mit",
    }
    arguments = {"num_classes": NUM_CLASSES} | arguments
    for given in ("pretrained_cfg", "pretrained_cfg_overlay"):  # by timm, of its hub
        arguments.pop(given, None)
    return build_model_with_cfg(kind, name, pretrained, pretrained_cfg=about, pretrained_filter_fn=fit, **arguments)


def fit_tables(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Fit the relative position tables to the windows of ``model``.

    timm clamps a window to its map, so the last stage has windows of 2 at 64 pixels and of 4 at 128. A token is as many
    pixels apart from its neighbour as before: known offsets keep their values, farther ones get the farthest known.
    """
    for name, target in model.state_dict().items():
        if name.endswith("relative_position_bias_table") and state[name].shape != target.shape:
            attention = model.get_submodule(name.rpartition(".")[0])
            state[name] = _fit_table(state[name], attention.window_size)
    return state


def _fit_table(table: Tensor, window: tuple[int, int]) -> Tensor:
    """A table ((2w-1)², heads) of a square window for one of another height and width."""
    side = round(len(table) ** 0.5)
    known = side // 2  # offsets from -(w-1) to w-1
    rows, columns = (torch.arange(1 - size, size).clamp(-known, known) + known for size in window)
    return table.view(side, side, -1)[rows][:, columns].flatten(0, 1)  # ((2h'-1)(2w'-1), heads)
