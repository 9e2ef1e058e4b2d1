"""Backbones: the only files that know the insides of timm's models and their NHWC layout."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import timm
from timm.models.swin_transformer import SwinTransformer
from torch import nn

from mtlora_lite.backbones import embedded as _embedded  # noqa: F401 (registers the embedded names with timm)
from mtlora_lite.backbones.checkpoints import (
    built_shape,
    hub_weights,
    is_weights_file,
    load_swin,
    swin_shape,
    timm_state_dict,
)
from mtlora_lite.backbones.swin import SwinBackbone, parameter_group
from mtlora_lite.unpickle import WEIGHT_SUFFIXES

EMBEDDED = ("swin_scenes_tiny",)
STRIDE = 32  # of the coarsest feature map

BackboneSpec = str | Mapping[str, Any] | nn.Module  # what ``build_backbone`` makes a backbone of

__all__ = [
    "EMBEDDED",
    "BackboneSpec",
    "SwinBackbone",
    "build_backbone",
    "built_shape",
    "is_weights_file",
    "parameter_group",
    "swin_shape",
    "timm_state_dict",
]


def build_backbone(
    backbone: BackboneSpec, *, img_size: int | tuple[int, int], pretrained: bool = True, drop_path: float = 0.2
) -> SwinBackbone:
    """Build a backbone for images of one size.

    Args:
        backbone: a timm name (``swin_tiny_patch4_window7_224``, ...), an embedded name, a file of Swin weights (the
            original repository's or timm's), what ``swin_shape`` returns, or a timm Swin module.
        img_size: height and width in pixels, multiples of 32; one number for a square.
        pretrained: load the weights that belong to the name or are in the file (ignored for a module).
        drop_path: stochastic depth rate of the last block; earlier blocks have less (ignored for a module).

    Raises:
        ValueError: unknown name, not a Swin, a size that is not a multiple of 32 or not the module's.
        FileNotFoundError: there is no such file of weights.
        ConnectionError: the weights are on the hub, which cannot be reached.
    """
    size = as_image_size(img_size)
    swin = backbone
    options = {"img_size": size, "num_classes": 0, "drop_path_rate": drop_path}
    if isinstance(backbone, Mapping):
        if pretrained:
            raise ValueError("A backbone given by its shape has no pre-trained weights: pass pretrained=False.")
        swin = SwinTransformer(**backbone, **options)
    elif isinstance(backbone, str) and is_weights_file(backbone):
        swin = load_swin(backbone, pretrained=pretrained, **options)
    elif isinstance(backbone, str):
        check_name(backbone)
        weights = hub_weights(backbone) if pretrained else None
        source = {"pretrained_cfg_overlay": {"file": weights}} if weights else {}
        swin = timm.create_model(backbone, pretrained=pretrained, **source, **options)
    if not isinstance(swin, SwinTransformer):
        raise ValueError(f"Backbone {type(swin).__name__} is not supported: give a timm swin_* name or module.")
    built_for = tuple(swin.patch_embed.img_size)
    if built_for != size:
        raise ValueError(f"The backbone module was built for {built_for} pixels: build it with img_size={size}.")
    return SwinBackbone(swin)


def as_image_size(img_size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) out of one or two numbers; a size that is not a multiple of 32 raises, naming the next one."""
    size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
    if len(size) != 2 or any(side < STRIDE or side % STRIDE for side in size):
        fixed = tuple(max(STRIDE, -(-side // STRIDE) * STRIDE) for side in size[:2])
        raise ValueError(f"img_size={img_size} is not a multiple of {STRIDE} on each side: use {fixed}.")
    return size


def check_name(name: str) -> None:
    """Raise ``ValueError`` for a name that is not a Swin of timm, naming the nearest ones."""
    names = [*timm.list_models("swin_*", exclude_filters="swinv2_*"), *EMBEDDED]
    if name.split(".")[0] not in names:
        near = get_close_matches(name, names, n=3, cutoff=0.4)
        hint = f" Near it: {', '.join(near)}." if near else ""
        raise ValueError(
            f"Unknown backbone {name!r}.{hint} Known: timm's swin_* names, {', '.join(EMBEDDED)}, and files of weights "
            f"({', '.join(WEIGHT_SUFFIXES)})."
        )
