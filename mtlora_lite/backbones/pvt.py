"""Pyramid Vision Transformer v2: attention to a reduced map, convolutions in the MLP and between the stages.

Queries come from every token (``q``), keys and values (``kv``) from a map that a convolution (or, in the ``linear``
variants, pooling) made smaller, so that there are no windows. Between ``fc1`` and ``fc2`` stands a convolution per
channel: the MLP sees neighbours, and a forked block works at whole maps.

What ends a stage is its norm and then the overlapping patch embedding of the next stage, a convolution with stride 2
(with a norm of its own): the patch merging of this family. The last stage has only its norm. As it is no linear layer,
it takes no low-rank update, and there is no MTLoRA+ of a PVT v2. The convolutions inside of blocks are frozen with the
linear layers that they stand among, unless ``train`` names their group, ``convolutions``.

Source: Wang et al., CVMJ 2022, arXiv 2106.13797.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar

from timm.models.pvt_v2 import Block, PyramidVisionTransformerV2
from torch import Tensor, nn

from mtlora_lite.backbones.base import Backbone, Stage
from mtlora_lite.backbones.fork import ForkedBlock


class ForkedPVTBlock(ForkedBlock, Block):
    """The forked block of a PVT v2."""

    per_token = False

    def attend(self, x: Tensor) -> Tensor:
        """Attention to the reduced map, before ``proj``."""
        return _as_tokens(self.attn, self.norm1(x))

    def activate(self, y: Tensor) -> Tensor:
        """The convolution per channel and the activation, of all streams at once: maps (..., H, W, hidden)."""
        maps = y.reshape(-1, *y.shape[-3:]).permute(0, 3, 1, 2)  # (streams, hidden, H, W)
        maps = self.mlp.dwconv(self.mlp.relu(maps)).permute(0, 2, 3, 1)
        return self.mlp.drop(self.mlp.act(maps)).reshape(y.shape)


class PVTBackbone(Backbone):
    """A timm ``PyramidVisionTransformerV2``, any size, for images of any size."""

    title = "PVT v2"
    timm_class = PyramidVisionTransformerV2
    final_norm = None
    takes_size = False
    block_linears: ClassVar = {
        "q": "attn.q", "kv": "attn.kv", "proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2",
    }  # fmt: skip
    parameter_groups: ClassVar = {
        "patch_embed": r"patch_embed\.",
        "norms": "norm",
        "merging": r"downsample\.proj\.",
        "convolutions": r"\.(dwconv|sr)\.",
        "linears": "",
    }
    forked_block = ForkedPVTBlock

    def __init__(self, model: PyramidVisionTransformerV2, img_size: tuple[int, int]):
        super().__init__(model, img_size)
        self.patch_embed = model.patch_embed
        self.stages = model.stages

    def _embed(self, images: Tensor) -> Tensor:
        return self.patch_embed(images)

    def _stages(self) -> Iterator[Stage]:
        following = [stage.downsample for stage in self.stages[1:]]
        for stage, embedding in zip(self.stages, [*following, None], strict=True):
            yield stage, partial(_merge, stage.norm, embedding)

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        return _as_tokens(block, x)

    def shape(self) -> dict[str, Any]:
        """``embed_dims``, ``depths``, ``num_heads``, ``sr_ratios`` and ``mlp_ratios`` per stage, and the variant."""
        first = [stage.blocks[0] for stage in self.stages]
        return {
            "family": "pvt_v2",
            "embed_dims": [block.attn.dim for block in first],
            "depths": [len(stage.blocks) for stage in self.stages],
            "num_heads": [block.attn.num_heads for block in first],
            "sr_ratios": [_reduction(block.attn) for block in first],
            "mlp_ratios": [block.mlp.dwconv.in_channels / block.attn.dim for block in first],
            "qkv_bias": any(".attn.q." in name and name.endswith(".bias") for name in self.state_dict()),
            "linear": first[0].attn.pool is not None,
        }


def _as_tokens(block: Callable, x: Tensor) -> Tensor:
    """Call what takes tokens in a row and the size of their map, for a map (B, H, W, C)."""
    _, height, width, _ = x.shape
    return block(x.flatten(1, 2), (height, width)).unflatten(1, (height, width))


def _merge(norm: nn.Module, embedding: nn.Module | None, x: Tensor) -> Tensor:
    """The end of a stage and the way into the next: (B, H, W, C) to (B, H/2, W/2, C')."""
    x = norm(x)
    return x if embedding is None else embedding(x.permute(0, 3, 1, 2))


def _reduction(attention: nn.Module) -> int:
    """How many rows and columns become one for keys and values; ``linear`` attention pools and has no such number."""
    return 1 if attention.pool is not None or attention.sr is None else attention.sr.kernel_size[0]
