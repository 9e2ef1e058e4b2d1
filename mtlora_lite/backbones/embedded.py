"""The embedded backbone: a small Swin pre-trained by this project on image-level labels of rendered crops.

It is an entry of timm's own registry (``timm.create_model("swin_scenes_tiny", pretrained=True)``), so that the
embedded world and the real one are loaded in the same way; only its weights lie in the package's ``data`` folder.
How it was trained: ``data/README.md``.
"""

import torch
from timm.models import build_model_with_cfg, register_model
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from mtlora_lite.paths import data_dir

WEIGHTS_FILE = "swin_scenes_tiny.safetensors"
NUM_CLASSES = 20  # the VOC classes without background

default_cfgs: dict = {}  # timm looks for this name in a module that registers models; the weights are no hub entry


def _pretrained_cfg() -> dict:
    return {
        "file": str(data_dir() / WEIGHTS_FILE),
        "num_classes": NUM_CLASSES,
        "input_size": (3, 64, 64),
        "first_conv": "patch_embed.proj",
        "classifier": "head.fc",
        "license": "mit",
    }


@register_model
def swin_scenes_tiny(pretrained: bool = False, **kwargs) -> SwinTransformer:
    """Swin with embed 32, depths 2-2-4-2 and window 4: 2.7 M parameters, pre-trained at 64 px."""
    architecture = {
        "img_size": 64, "patch_size": 4, "window_size": 4, "embed_dim": 32, "depths": (2, 2, 4, 2),
        "num_heads": (1, 2, 4, 8), "num_classes": NUM_CLASSES,
    }  # fmt: skip
    kwargs.pop("pretrained_cfg", None)
    kwargs.pop("pretrained_cfg_overlay", None)
    return build_model_with_cfg(
        SwinTransformer,
        "swin_scenes_tiny",
        pretrained,
        pretrained_cfg=_pretrained_cfg(),
        pretrained_filter_fn=fit_tables,
        **(architecture | kwargs),
    )


def fit_tables(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Fit the relative position tables to the windows of ``model``.

    timm clamps a window to its map, so the last stage has windows of 2 at 64 pixels and of 4 at 128. A token is as many
    pixels apart from its neighbour as before: known offsets keep their values, farther ones get the farthest known.
    """
    for name, target in model.state_dict().items():
        if name.endswith("relative_position_bias_table") and state[name].shape != target.shape:
            state[name] = _fit_table(state[name], target)
    return state


def _fit_table(table: Tensor, target: Tensor) -> Tensor:
    """A table ((2w-1)², heads) for another window, sized as ``target``."""
    side, wanted = (round(len(t) ** 0.5) for t in (table, target))  # offsets -(w-1) ... w-1
    offsets = torch.arange(wanted) - wanted // 2
    index = offsets.clamp(-(side // 2), side // 2) + side // 2
    return table.view(side, side, -1)[index][:, index].flatten(0, 1)  # ((2w'-1)², heads)
