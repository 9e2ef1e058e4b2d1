"""Swin Transformer v2: as a Swin, with another attention, norms after what they belong to, and merging before its norm.

Attention compares directions (cosines) and takes positions from a small network of offsets, so that windows of any size
need no tables. Norms come after attention and after the MLP, in every stream of the fork; that of the patch merging
comes after its linear layer.

Source: Liu et al., CVPR 2022, arXiv 2111.09883.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from timm.models.swin_transformer_v2 import SwinTransformerV2, SwinTransformerV2Block
from torch import Tensor, nn

from mtlora_lite.backbones.fork import ForkedBlock, merge_and_project
from mtlora_lite.backbones.swin import SwinBackbone


class ForkedSwinV2Block(ForkedBlock, SwinTransformerV2Block):
    """The forked block of a Swin v2."""

    post_norm = True

    def attend(self, x: Tensor) -> Tensor:
        """Windowed attention, windows undone, before ``proj``."""
        return self._attn(x)

    def activate(self, y: Tensor) -> Tensor:
        """As in a Swin."""
        return self.mlp.norm(self.mlp.drop1(self.mlp.act(y)))


class SwinV2Backbone(SwinBackbone):
    """A timm ``SwinTransformerV2``, any size, window and image size. Its final norm is not used.

    ``SwinTransformerV2Cr`` (``swinv2_cr_*``) is another implementation, with other names, and is not supported.
    """

    title = "Swin v2"
    timm_class = SwinTransformerV2
    other_names = ("swinv2_cr_*",)
    parameter_groups: ClassVar = SwinBackbone.parameter_groups | {"rel_pos": r"cpb_mlp|logit_scale"}
    forked_block = ForkedSwinV2Block

    def __init__(self, model: SwinTransformerV2, img_size: tuple[int, int]):
        super().__init__(model, img_size)
        for _, block in self.blocks():
            # As built, timm multiplies by qkv.weight and never calls qkv, whose update would have no effect.
            block.attn.qkv_bias_separate = True

    def _product(self, merging: nn.Module, projection: Tensor, x: Tensor) -> Callable[[Tensor], Tensor] | None:
        """Only where nothing is merged: the norm after the merging keeps the two matrices apart."""
        return merge_and_project(merging, projection) if isinstance(merging, nn.Identity) else None

    def shape(self) -> dict[str, Any]:
        """As of a Swin, and the windows of pre-training, by which offsets are measured."""
        windows = [stage.blocks[0].attn.pretrained_window_size[0] for stage in self.layers]
        return {"family": "swinv2"} | super().shape() | {"pretrained_window_sizes": windows}
