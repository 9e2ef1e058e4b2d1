"""SSF: what every layer computes is scaled and shifted, channel by channel; the layers themselves stay frozen.

What a layer then computes::

    y = γ ⊙ (W x + b) + β  =  (γ ⊙ W) x + (γ ⊙ b + β)

So the trained numbers fold into weight and bias, and a merged model is a plain one. A layer without a bias (patch
merging) gets a scale alone: a plain backbone has no place for its shift, and the shift of the norm before it reaches
every output that one would.

Source: Lian et al., NeurIPS 2022, arXiv 2210.08823, eq. 3 and 5.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mtlora_lite.adapted import Adapted
from mtlora_lite.backbones import Backbone
from mtlora_lite.methods.common import group_size, train_only

LAYERS = (nn.Linear, nn.LayerNorm, nn.Conv2d)


@dataclass(frozen=True)
class SSFOptions:
    """Options of SSF.

    Attributes:
        train: which groups of the backbone are trained besides scales and shifts.
    """

    train: tuple[str, ...] = ()


class ScaleShift(Adapted):
    """A frozen layer whose output is scaled and shifted per channel.

    Args:
        base: a linear layer, norm or convolution; it is frozen in place and kept as ``self.base``.

    Shapes: those of the layer.
    """

    def __init__(self, base: nn.Module):
        super().__init__(base)
        channels = base.weight.shape[:1]
        self.ssf_scale = nn.Parameter(base.weight.new_ones(channels))
        self.ssf_shift = None if base.bias is None else nn.Parameter(base.weight.new_zeros(channels))
        for size in ("in_channels", "out_channels", "kernel_size"):  # which others ask a convolution for
            if hasattr(base, size):
                setattr(self, size, getattr(base, size))

    def folded(self) -> dict[str, Tensor]:
        """γ ⊙ W and γ ⊙ b + β."""
        weight, bias = self.base.weight, self.base.bias
        folded = {"weight": weight * _per_channel(self.ssf_scale, weight)}
        return folded if bias is None else folded | {"bias": torch.addcmul(self.ssf_shift, self.ssf_scale, bias)}

    def forward(self, x: Tensor) -> Tensor:
        """γ ⊙ base(x) + β."""
        y = self.base(x)
        if self.merged:
            return y  # the layer already does both
        trailing = y.ndim - 2 if isinstance(self.base, nn.Conv2d) else 0  # dimensions after the channels
        scale = self.ssf_scale.reshape(-1, *[1] * trailing)
        return y * scale if self.ssf_shift is None else torch.addcmul(self.ssf_shift.reshape(scale.shape), y, scale)


def _per_channel(scale: Tensor, weight: Tensor) -> Tensor:
    return scale.reshape(-1, *[1] * (weight.ndim - 1))


def adapt(backbone: Backbone, tasks: tuple[str, ...], options: SSFOptions) -> None:
    """Put a scale and a shift behind every linear layer, norm and convolution, and set what is trained."""
    for name, layer in _layers(backbone):
        parent, _, attribute = name.rpartition(".")
        setattr(backbone.get_submodule(parent), attribute, ScaleShift(layer))
    train_only(backbone, options.train)


def count(backbone: Backbone, tasks: tuple[str, ...], options: SSFOptions) -> int:
    """Two numbers per output of every layer, one where it has no bias, and the trained groups."""
    inserted = sum((1 + (layer.bias is not None)) * len(layer.weight) for _, layer in _layers(backbone))
    return inserted + group_size(backbone, options.train)


def _layers(backbone: Backbone) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in backbone.named_modules() if isinstance(module, LAYERS)]
