"""Fusion: the four maps of one task's pyramid become one map, at the size of the finest."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def concat_at_finest(maps: Sequence[Tensor]) -> Tensor:
    """Resize all maps (B, C_i, H_i, W_i) bilinearly to the first one's size and concatenate their channels."""
    size = maps[0].shape[-2:]
    resized = [F.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in maps[1:]]
    return torch.cat([maps[0], *resized], dim=1)  # (B, sum C_i, H_0, W_0)


class ConcatFusion(nn.Module):
    """All channels of all maps, resized and concatenated; nothing is learned."""

    def __init__(self, in_channels: Sequence[int]) -> None:
        super().__init__()
        self.out_channels = sum(in_channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (B, C_i, H_i, W_i) to (B, sum C_i, H_0, W_0)."""
        return concat_at_finest(maps)


class ProjectFusion(nn.Module):
    """A 1x1 convolution per level, then resize and concatenate.

    Projecting before resizing costs less and is the same function: a 1x1 convolution mixes channels, bilinear
    interpolation mixes positions with weights that sum to one, so the two commute.
    """

    def __init__(self, in_channels: Sequence[int], channels: Sequence[int], bias: bool = False) -> None:
        super().__init__()
        if len(in_channels) != len(channels):
            raise ValueError(f"{len(in_channels)} maps need as many channels to project to, not {tuple(channels)}.")
        self.out_channels = sum(channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(c_in, c_out, kernel_size=1, bias=bias) for c_in, c_out in zip(in_channels, channels, strict=True)
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (B, C_i, H_i, W_i) to (B, sum of channels, H_0, W_0)."""
        return concat_at_finest([conv(m) for conv, m in zip(self.convs, maps, strict=True)])
