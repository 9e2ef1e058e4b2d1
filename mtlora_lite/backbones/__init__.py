"""Backbones: the only files that know the insides of timm's models and their NHWC layout."""

from difflib import get_close_matches

import timm
from timm.models.swin_transformer import SwinTransformer
from torch import nn

from mtlora_lite.backbones import embedded as _embedded  # noqa: F401 (registers the embedded names with timm)
from mtlora_lite.backbones.swin import SwinBackbone, parameter_group

EMBEDDED = ("swin_scenes_tiny",)
STRIDE = 32  # of the coarsest feature map

__all__ = ["EMBEDDED", "SwinBackbone", "build_backbone", "parameter_group"]


def build_backbone(
    backbone: str | nn.Module, *, img_size: int | tuple[int, int], pretrained: bool = True, drop_path: float = 0.2
) -> SwinBackbone:
    """Build a backbone for images of one size.

    Args:
        backbone: a timm name (``swin_tiny_patch4_window7_224``, ...), an embedded name, or a timm Swin module.
        img_size: height and width in pixels, multiples of 32; one number for a square.
        pretrained: load the weights that belong to the name (ignored for a module).
        drop_path: stochastic depth rate of the last block; earlier blocks have less (ignored for a module).

    Raises:
        ValueError: unknown name, not a Swin, a size that is not a multiple of 32 or not the module's.
    """
    size = as_image_size(img_size)
    if isinstance(backbone, str):
        check_name(backbone)
        swin = timm.create_model(
            backbone, pretrained=pretrained, img_size=size, num_classes=0, drop_path_rate=drop_path
        )
    else:
        swin = backbone
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
        raise ValueError(f"Unknown backbone {name!r}.{hint} Known: timm's swin_* names and {', '.join(EMBEDDED)}.")
