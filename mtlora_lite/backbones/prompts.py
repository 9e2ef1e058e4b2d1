"""Prompts: trained tokens that take part in the attention of every window, beside the tokens of the image.

A Swin's window, with P tokens more::

    [P prompts | N tokens] ── attention ──▶ [P | N]

The prompts of a map are one set: every window sees the same, and what its attention makes of them is averaged over the
windows. They have no position, so the position table says nothing about them and no mask hides them. Patch merging does
not see them, so they end with their stage.

Source: Jia et al., ECCV 2022, arXiv 2203.12119, sec. 3.2 (eq. 4: shallow, eq. 5: deep) and 4.1 (Swin).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock, window_partition, window_reverse
from torch import Tensor, nn

from mtlora_lite.backbones.base import Backbone


class Prompted(NamedTuple):
    """What passes from block to block of a stage.

    Attributes:
        x: the map, (B, H, W, C).
        prompts: (B, P, C).
    """

    x: Tensor
    prompts: Tensor


class PromptedBlock(SwinTransformerBlock):
    """A Swin block whose windows hold prompts; made from a timm block, whose modules it takes over under their names.

    Args:
        block: of timm.
        count: prompts that are trained here and replace any that come in; 0: it takes those that come in.
        dropout: probability of dropping a number of a prompt.
        last: whether the prompts end here.

    Shapes: ``x (B, H, W, C)``, or with prompts (B, P, C), to the same, without prompts if they end here.
    """

    def __init__(self, block: SwinTransformerBlock, count: int, dropout: float, last: bool):
        nn.Module.__init__(self)
        self.__dict__.update(block.__dict__)  # the block itself is not used any more
        self.last, self.prompt_dropout = last, nn.Dropout(dropout)
        self.prompt_tokens = None
        if count:
            self.prompt_tokens = nn.Parameter(self.norm1.weight.new_empty(count, self.dim))
            nn.init.xavier_uniform_(self.prompt_tokens)

    def forward(self, x: Tensor | Prompted) -> Tensor | Prompted:
        """Attention and MLP of tokens and prompts."""
        x, prompts = x if isinstance(x, Prompted) else (x, None)
        if self.prompt_tokens is not None:
            prompts = self.prompt_dropout(self.prompt_tokens.expand(x.shape[0], -1, -1))
        count, size = prompts.shape[1], x.shape[1:3]
        tokens = torch.cat([prompts, x.flatten(1, 2)], 1)  # (B, P + HW, C)
        normed = self.norm1(tokens)
        attended = self._attend(normed[:, count:].unflatten(1, size), normed[:, :count])
        tokens = tokens + self.drop_path1(attended)
        if self.last:
            tokens, count = tokens[:, count:], 0
        tokens = tokens + self.drop_path2(self.mlp(self.norm2(tokens)))
        x = tokens[:, count:].unflatten(1, size)
        return x if self.last else Prompted(x, tokens[:, :count])

    def _attend(self, x: Tensor, prompts: Tensor) -> Tensor:
        """Attention within (shifted) windows of a map (B, H, W, C) that all hold the prompts, (B, P + HW, C)."""
        _, height, width, _ = x.shape
        down, right = self.shift_size
        x = torch.roll(x, (-down, -right), (1, 2))
        x = F.pad(x, (0, 0, 0, -width % self.window_size[1], 0, -height % self.window_size[0]))
        padded = x.shape[1:3]
        windows = window_partition(x, self.window_size).flatten(1, 2)  # (B · windows, N, C)
        each = padded[0] * padded[1] // self.window_area  # windows of an image
        repeated = prompts[:, None].expand(-1, each, -1, -1).flatten(0, 1)
        windows = torch.cat([repeated, windows], 1)  # (B · windows, P + N, C)
        mask = self.get_attn_mask(x) if getattr(self, "dynamic_mask", False) else self.attn_mask
        windows = _attention(self.attn, windows, prompts.shape[1], mask)
        prompts, windows = windows.split([prompts.shape[1], self.window_area], 1)
        x = window_reverse(windows.unflatten(1, self.window_size), self.window_size, *padded)
        x = torch.roll(x[:, :height, :width], (down, right), (1, 2))
        return torch.cat([prompts.unflatten(0, (-1, each)).mean(1), x.flatten(1, 2)], 1)


def _attention(attention: nn.Module, x: Tensor, count: int, mask: Tensor | None) -> Tensor:
    """timm's window attention of x (B · windows, P + N, C), of which P = ``count`` have no position."""
    bias = F.pad(attention._get_rel_pos_bias(), (count, 0, count, 0))  # (1, heads, P + N, P + N)
    if mask is not None:
        mask = F.pad(mask, (count, 0, count, 0))
        images = x.shape[0] // mask.shape[0]
        bias = bias + mask.repeat(images, 1, 1)[:, None]  # (B · windows, heads, P + N, P + N)
    qkv = attention.qkv(x).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    dropped = attention.attn_drop.p if attention.training else 0.0
    x = F.scaled_dot_product_attention(*qkv, attn_mask=bias, dropout_p=dropped)  # (B · windows, heads, P + N, c)
    return attention.proj_drop(attention.proj(x.transpose(1, 2).flatten(2)))


def insert_prompts(backbone: Backbone, count: int, deep: bool, dropout: float) -> None:
    """Put prompts into the first block, from where they pass through the first stage, or (deep) into every block.

    Raises:
        ValueError: the backbone has no Swin blocks, or the count is not positive.
    """
    if count < 1:
        raise ValueError(f"There must be at least 1 prompt, got {count}.")
    if not all(isinstance(block, SwinTransformerBlock) for _, block in backbone.blocks()):
        raise ValueError(f"Prompts are put into the windows of a Swin, not of a {backbone.title}: take a swin_* name.")
    for stage in backbone.layers if deep else backbone.layers[:1]:
        end = len(stage.blocks) - 1
        for index, block in enumerate(stage.blocks):
            own = count if deep or index == 0 else 0
            stage.blocks[index] = PromptedBlock(block, own, dropout, last=deep or index == end)
