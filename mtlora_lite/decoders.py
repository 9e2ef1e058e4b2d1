"""Decoders: from one task's four maps to its outputs per pixel.

A decoder is a fusion followed by a head, and returns logits at the resolution it works at; the model resizes
them to the image. The heads and where they come from:

=============  ==============================================================================
``hrnet``      HRNetV2, Wang et al. 2019 (arXiv 1908.07919); the head of the MTLoRA paper's runs
``segformer``  SegFormer's all-MLP decoder, Xie et al. 2021 (arXiv 2105.15203)
``aspp``       DeepLabv3, Chen et al. 2017 (arXiv 1706.05587)
``deconv``     Simple Baselines, Xiao et al. 2018 (arXiv 1804.06208)
=============  ==============================================================================
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from inspect import signature
from itertools import pairwise

import torch
from torch import Tensor, nn

from mtlora_lite.fusion import ConcatFusion, ProjectFusion, concat_at_finest, mix_at_finest
from mtlora_lite.pieces import pieces_pay

HRNET_CHANNELS = (18, 36, 72, 144)  # the widths of HRNet-W18


class Decoder(nn.Sequential):
    """A fusion and a head under their names: maps (B, C_i, H_i, W_i) -> logits (B, outputs, h, w).

    Called, it is the one after the other; ``decode`` gives the same for less work, and is what the model runs.
    """

    def __init__(self, fusion: nn.Module, head: nn.Sequential):
        super().__init__(OrderedDict(fusion=fusion, head=head))

    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        """The logits of maps that the fusion has projected, ``fusion.project(...)``.

        A head's first 1x1 convolution is made before anything is resized, and in evaluation it does what the BatchNorm
        after it would do; on a CPU evaluation goes image by image.
        """
        first, *rest = self.head
        if not (isinstance(first, nn.Conv2d) and first.kernel_size == (1, 1)):
            return self.head(concat_at_finest(maps))
        matrix, bias = first.weight.flatten(1), first.bias
        if isinstance(rest[0], nn.BatchNorm2d) and not rest[0].training:
            matrix, bias = _with_norm(matrix, bias, rest.pop(0))
        rest = nn.Sequential(*rest)
        if self.training or not pieces_pay(maps[0]):
            return rest(mix_at_finest(maps, matrix, bias))
        images = zip(*(m.split(1) for m in maps), strict=True)
        return torch.cat([rest(mix_at_finest(image, matrix, bias)) for image in images])


def _with_norm(matrix: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The matrix and bias that do what these and then a BatchNorm with fixed statistics do."""
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    shift = -norm.running_mean if bias is None else bias - norm.running_mean
    return factor[:, None] * matrix, factor * shift + norm.bias


def hrnet(
    in_channels: Sequence[int], num_outputs: int, channels: Sequence[int] = HRNET_CHANNELS, expansion: int = 4
) -> Decoder:
    """Project to ``channels``, then a two-layer perceptron per pixel, ``expansion`` times as wide inside."""
    fusion = ProjectFusion(in_channels, channels)
    hidden = expansion * fusion.out_channels
    head = nn.Sequential(
        nn.Conv2d(fusion.out_channels, hidden, kernel_size=1),
        nn.BatchNorm2d(hidden),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, num_outputs, kernel_size=1),
    )
    return Decoder(fusion, head)


def segformer(in_channels: Sequence[int], num_outputs: int, width: int = 256, dropout: float = 0.1) -> Decoder:
    """A linear layer to ``width`` channels per level, then one linear layer over all levels."""
    fusion = ProjectFusion(in_channels, [width] * len(in_channels), bias=True)
    head = nn.Sequential(
        nn.Conv2d(fusion.out_channels, width, kernel_size=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Dropout2d(dropout),
        nn.Conv2d(width, num_outputs, kernel_size=1),
    )
    return Decoder(fusion, head)


def aspp(in_channels: Sequence[int], num_outputs: int) -> Decoder:
    """Atrous spatial pyramid pooling at rates 12, 24 and 36, as torchvision has it.

    Training needs at least two images a batch: the pooled branch has one value per image for its BatchNorm.
    """
    from torchvision.models.segmentation.deeplabv3 import DeepLabHead

    fusion = ConcatFusion(in_channels)
    return Decoder(fusion, DeepLabHead(fusion.out_channels, num_outputs, atrous_rates=(12, 24, 36)))


def deconv(
    in_channels: Sequence[int], num_outputs: int, channels: Sequence[int] = HRNET_CHANNELS, filters: int = 32
) -> Decoder:
    """Project to ``channels``, then three transposed convolutions, each of which doubles height and width."""
    fusion = ProjectFusion(in_channels, channels)
    widths = (fusion.out_channels, filters, filters, filters)
    upsample = [
        nn.Sequential(
            nn.ConvTranspose2d(c_in, c_out, kernel_size=4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(c_out),
            nn.ReLU(inplace=True),
        )
        for c_in, c_out in pairwise(widths)
    ]
    return Decoder(fusion, nn.Sequential(*upsample, nn.Conv2d(filters, num_outputs, kernel_size=1)))


#: Every kind of decoder by its name, as ``(in_channels, num_outputs, **options)``.
DECODERS: dict[str, Callable[..., Decoder]] = {
    "hrnet": hrnet,
    "segformer": segformer,
    "aspp": aspp,
    "deconv": deconv,
}


def build_decoder(name: str, in_channels: Sequence[int], num_outputs: int, **options) -> Decoder:
    """Build the decoder of one task.

    Args:
        name: a key of ``DECODERS``.
        in_channels: channels of the maps, finest first.
        num_outputs: outputs per pixel.
        **options: keyword arguments of the decoder's function, e.g. ``channels`` and ``expansion`` of ``hrnet``.

    Returns:
        A module with children ``fusion`` and ``head`` that takes the list of maps (B, C_i, H_i, W_i) and
        returns (B, num_outputs, h, w), with h and w those of the finest map (``deconv``: eight times those).

    Raises:
        ValueError: for an unknown name, or an option that the decoder does not have.
    """
    if name not in DECODERS:
        raise ValueError(f"Unknown decoder {name!r}. Decoders: {', '.join(DECODERS)}.")
    known = list(signature(DECODERS[name]).parameters)[2:]
    if unknown := [option for option in options if option not in known]:
        its_own = ", ".join(known) or "none"
        raise ValueError(f"Decoder {name!r} has no option {unknown[0]!r}. Its options: {its_own}.")
    return DECODERS[name](in_channels, num_outputs, **options)
