"""Fusion: the four maps of one task's pyramid become one map, at the size of the finest."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def resize(features: Tensor, size: Sequence[int]) -> Tensor:
    """Bring a map (B, C, h, w) to a height and width, bilinearly."""
    return F.interpolate(features, size=tuple(size), mode="bilinear", align_corners=False)


def concat_at_finest(maps: Sequence[Tensor]) -> Tensor:
    """Resize all maps (B, C_i, H_i, W_i) bilinearly to the first one's size and concatenate their channels."""
    size = maps[0].shape[-2:]
    return torch.cat([maps[0], *(resize(m, size) for m in maps[1:])], dim=1)  # (B, sum C_i, H_0, W_0)


def mix_at_finest(maps: Sequence[Tensor], matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 1x1 convolution of ``concat_at_finest(maps)``, level by level and before anything is resized.

    It mixes channels and bilinear interpolation mixes positions, with weights that sum to one: the two commute. So
    most of the products are made at a quarter or a sixteenth of the positions.

    Args:
        maps: (B, C_i, H_i, W_i), finest first.
        matrix: (C_out, sum C_i).
        bias: (C_out).
    """
    finest, *coarser = zip(maps, matrix.split([m.shape[1] for m in maps], dim=1), strict=True)
    mixed = _mix(*finest, bias)  # (B, C_out, H_0, W_0)
    sums: dict[Sequence[int], Tensor] = {}  # maps of one size are resized together
    for m, columns in coarser:
        size = m.shape[-2:]
        sums[size] = sums[size] + _mix(m, columns) if size in sums else _mix(m, columns)
    for coarse in sums.values():
        mixed = mixed + resize(coarse, mixed.shape[-2:])
    return mixed


def _mix(features: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(features.movedim(1, -1), matrix, bias).movedim(-1, 1)  # channels last, as the backbone has them


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
