"""Fusion: the four maps of one task's pyramid become one map, at the size of the finest."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def resize_to(features: Tensor, size: Sequence[int]) -> Tensor:
    """Bring a map (B, C, h, w) to a height and width, bilinearly."""
    return F.interpolate(features, size=tuple(size), mode="bilinear", align_corners=False)


def concat_at_finest(maps: Sequence[Tensor]) -> Tensor:
    """Resize all maps (B, C_i, H_i, W_i) bilinearly to the first one's size and concatenate their channels."""
    size = maps[0].shape[-2:]
    return torch.cat([maps[0], *(resize_to(m, size) for m in maps[1:])], dim=1)  # (B, sum C_i, H_0, W_0)


def convolve_at_finest(conv: nn.Conv2d, maps: Sequence[Tensor]) -> Tensor:
    """``conv(concat_at_finest(maps))`` for a 1x1 convolution, level by level and before anything is resized.

    A 1x1 convolution mixes channels, bilinear interpolation mixes positions with weights that sum to one: the two
    commute. So most of the products are made at a quarter or a sixteenth of the positions.
    """
    weights = conv.weight.split([m.shape[1] for m in maps], dim=1)
    total = F.conv2d(maps[0], weights[0], conv.bias)
    sums: dict[Sequence[int], Tensor] = {}  # maps of one size are resized together
    for m, weight in zip(maps[1:], weights[1:], strict=True):
        size, mixed = m.shape[-2:], F.conv2d(m, weight)
        sums[size] = sums[size] + mixed if size in sums else mixed
    for coarse in sums.values():
        total = total + resize_to(coarse, maps[0].shape[-2:])
    return total  # (B, C_out, H_0, W_0)


class ConcatFusion(nn.Module):
    """All channels of all maps, resized and concatenated; nothing is learned."""

    def __init__(self, in_channels: Sequence[int]) -> None:
        super().__init__()
        self.out_channels = sum(in_channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (B, C_i, H_i, W_i) to (B, sum C_i, H_0, W_0)."""
        return concat_at_finest(self.project(maps))

    def project(self, maps: Sequence[Tensor]) -> Sequence[Tensor]:
        """The maps as they are."""
        return maps


class ProjectFusion(nn.Module):
    """A 1x1 convolution per level, then resize and concatenate (which costs less than the other way round)."""

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
        return concat_at_finest(self.project(maps))

    def project(self, maps: Sequence[Tensor]) -> Sequence[Tensor]:
        """Maps (B, C_i, H_i, W_i) to maps with the channels that this fusion projects to."""
        return [conv(m) for conv, m in zip(self.convs, maps, strict=True)]
