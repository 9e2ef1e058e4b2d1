"""Swin Transformer for many tasks: timm's own modules, adapted in place.

What this file knows and no other file does: how timm's Swin is built, that it computes in NHWC, and that timm
puts a stage's patch merging at the START of the next stage (the original code has it at the end).

Source: Swin, Liu et al., ICCV 2021, arXiv 2103.14030.
"""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock
from torch import Tensor, nn

from mtlora_lite.backbones.base import Backbone, Stage
from mtlora_lite.backbones.fork import ForkedBlock, merge_and_project, product_pays


class ForkedSwinBlock(ForkedBlock, SwinTransformerBlock):
    """The forked block of a Swin."""

    def attend(self, x: Tensor) -> Tensor:
        """Windowed attention, windows undone, before ``proj``."""
        return self._attn(self.norm1(x))


class SwinBackbone(Backbone):
    """A timm ``SwinTransformer``, any size, window and image size. Its final norm is not used."""

    title = "Swin"
    timm_class = SwinTransformer
    block_linears: ClassVar = {"qkv": "attn.qkv", "proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    merging_linear = "reduction"
    parameter_groups: ClassVar = {
        "patch_embed": r"patch_embed\.",
        "rel_pos": "relative_position_bias_table",
        "norms": "norm",
        "merging": "reduction",
        "linears": "",
    }
    forked_block = ForkedSwinBlock

    def __init__(self, model: SwinTransformer, img_size: tuple[int, int]):
        super().__init__(model, img_size)
        built_for = tuple(model.patch_embed.img_size)
        if built_for != self.img_size:
            raise ValueError(
                f"The backbone module was built for {built_for} pixels: build it with img_size={img_size}."
            )
        self.patch_embed = model.patch_embed
        self.layers = model.layers

    def _embed(self, images: Tensor) -> Tensor:
        return self.patch_embed(images)

    def _stages(self) -> Iterator[Stage]:
        mergings = [stage.downsample for stage in self.layers[1:]]  # timm keeps them in the next stage
        return zip(self.layers, [*mergings, nn.Identity()], strict=True)

    def _product(self, merging: nn.Module, projection: Tensor, x: Tensor) -> Callable[[Tensor], Tensor] | None:
        return merge_and_project(merging, projection) if product_pays(merging, projection, x) else None

    def shape(self) -> dict[str, Any]:
        """``embed_dim``, and one number per stage of ``depths``, ``num_heads`` and ``window_size``."""
        first = [stage.blocks[0].attn for stage in self.layers]
        return {
            "embed_dim": self.width,
            "depths": [len(stage.blocks) for stage in self.layers],
            "num_heads": [attention.num_heads for attention in first],
            "window_size": [list(attention.window_size) for attention in first],  # cut to the map where that is smaller
        }
