"""Backbones: the only files that know the insides of timm's models.

Every family of timm that is supported has a small file of its own, which says what is where (``base.Backbone``), and a
row in ``FAMILIES``.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from inspect import signature
from numbers import Integral
from typing import Any

import timm
from torch import nn

from mtlora_lite.backbones import embedded as _embedded  # noqa: F401 (registers the embedded names with timm)
from mtlora_lite.backbones.base import Backbone
from mtlora_lite.backbones.checkpoints import (
    hub_weights,
    is_weights_file,
    load_swin,
    swin_shape,
    timm_state_dict,
)
from mtlora_lite.backbones.pvt import PVTBackbone
from mtlora_lite.backbones.swin import SwinBackbone
from mtlora_lite.backbones.swinv2 import SwinV2Backbone
from mtlora_lite.names import check_known
from mtlora_lite.unpickle import WEIGHT_SUFFIXES

#: What timm's names of a family begin with, and its class.
FAMILIES: dict[str, type[Backbone]] = {"swin": SwinBackbone, "swinv2": SwinV2Backbone, "pvt_v2": PVTBackbone}
EMBEDDED = ("swin_scenes_tiny", "pvt_v2_scenes_tiny")
STRIDE = 32  # of the coarsest feature map

BackboneSpec = str | Mapping[str, Any] | nn.Module  # what ``build_backbone`` makes a backbone of

__all__ = [
    "EMBEDDED",
    "FAMILIES",
    "Backbone",
    "BackboneSpec",
    "SwinBackbone",
    "build_backbone",
    "family_of_name",
    "is_weights_file",
    "swin_shape",
    "timm_state_dict",
]


def build_backbone(
    backbone: BackboneSpec, *, img_size: int | tuple[int, int], pretrained: bool = True, drop_path: float = 0.2
) -> Backbone:
    """Build a backbone for images of one size.

    Args:
        backbone: a timm name of a supported family (``swin_tiny_patch4_window7_224``, ...), an embedded name, a file
            of Swin weights (the original repository's or timm's), a shape (``Backbone.shape``, ``swin_shape``), or a
            timm module of a supported family.
        img_size: height and width in pixels, multiples of 32; one number for a square.
        pretrained: load the weights that belong to the name or are in the file (ignored for a module).
        drop_path: stochastic depth rate of the last block; earlier blocks have less (ignored for a module).

    Raises:
        ValueError: unknown name, tag or part of a shape, of no supported family, a size that is no multiple of 32 or
            not the module's.
        FileNotFoundError: there is no such file of weights.
        ConnectionError: the weights are on the hub, which cannot be reached.
    """
    size = as_image_size(img_size)
    options = {"num_classes": 0, "drop_path_rate": drop_path}
    if isinstance(backbone, Mapping):
        if pretrained:
            raise ValueError("A backbone given by its shape has no pre-trained weights: pass pretrained=False.")
        shape = dict(backbone)
        name = shape.pop("family", "swin")  # the first shapes had no other
        check_known("family", name, FAMILIES)
        family = FAMILIES[name]
        for part in shape:
            check_known("part of a shape", part, signature(family.timm_class).parameters)
        model = family.timm_class(**shape, **options, **family.size_options(size))
    elif isinstance(backbone, str) and is_weights_file(backbone):
        model = load_swin(backbone, pretrained=pretrained, img_size=size, **options)
    elif isinstance(backbone, str):
        family = family_of_name(backbone)
        weights = hub_weights(backbone) if pretrained else None
        source = {"pretrained_cfg_overlay": {"file": weights}} if weights else {}
        model = timm.create_model(backbone, pretrained=pretrained, **source, **options, **family.size_options(size))
    else:
        model = backbone
    return family_of_model(model)(model, size)


def family_of_model(model: nn.Module) -> type[Backbone]:
    """The family of a timm module; one of no supported family raises ``ValueError``."""
    for family in FAMILIES.values():
        if isinstance(model, family.timm_class):
            return family
    raise ValueError(f"Backbone {type(model).__name__} is not supported: give a timm module or name of {_supported()}.")


def family_of_name(name: str) -> type[Backbone]:
    """The family of a timm name; ``ValueError`` for one of no supported family, naming these and the nearest names.

    Also for a tag of weights (``name.tag``) that there is not, naming those there are.
    """
    plain, _, tag = name.partition(".")
    names = {
        known: family
        for prefix, family in FAMILIES.items()
        for known in timm.list_models(f"{prefix}_*", exclude_filters=family.other_names)
    }
    if plain in names:
        _check_tag(plain, tag)
        return names[plain]
    what = f"Backbone {name!r} is of no supported family." if timm.is_model(plain) else f"Unknown backbone {name!r}."
    near = get_close_matches(plain, names, n=3, cutoff=0.4)
    hint = f" Near it: {', '.join(near)}." if near else ""
    raise ValueError(
        f"{what}{hint} Known: timm's names {_supported()}, the embedded {' and '.join(EMBEDDED)}, and files of Swin "
        f"weights ({', '.join(WEIGHT_SUFFIXES)})."
    )


def _check_tag(plain: str, tag: str) -> None:
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{plain}.*")]
    if tag and tag not in tags:
        raise ValueError(
            f"Backbone {plain!r} has no weights {tag!r}. There are: {', '.join(tags) or 'none with a tag'}."
        )


def _supported() -> str:
    return ", ".join(f"{prefix}_*" for prefix in FAMILIES)


def as_image_size(img_size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) out of one or two numbers; a size that is not a multiple of 32 raises, naming the next one."""
    size = tuple(img_size) if isinstance(img_size, Sequence) else (img_size, img_size)
    if len(size) != 2 or not all(isinstance(side, Integral) for side in size):
        raise ValueError(f"img_size is a whole number of pixels, or two (height, width), not {img_size!r}.")
    if any(side < STRIDE or side % STRIDE for side in size):
        fixed = tuple(max(STRIDE, -(-side // STRIDE) * STRIDE) for side in size)
        raise ValueError(f"img_size={img_size} is not a multiple of {STRIDE} on each side: use {fixed}.")
    return size
