"""Bottleneck adapters: small perceptrons with a residual connection, after the attention and the MLP of a block.

What becomes of the output y of either::

    y ── down (width, C) ── GELU ── up (C, width) ──(+)── y + up(GELU(down(y)))
     └───────────────────────────────────────────────┘

``up`` starts at zero, so an adapted backbone starts as the frozen one. What is not linear cannot be folded into a
weight: this method has no merged form.

Source: Houlsby et al., ICML 2019, arXiv 1902.00751, sec. 2; after the MLP alone: Pfeiffer et al., EACL 2021.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from mtlora_lite.adapted import Adapted
from mtlora_lite.backbones import Backbone
from mtlora_lite.methods.common import (
    PerStage,
    adapt_each,
    group_size,
    linears,
    per_stage,
    train_only,
)

PLACES = {"attention": "proj", "mlp": "fc2"}  # the layer whose output an adapter takes


@dataclass(frozen=True)
class AdapterOptions:
    """Options of adapters.

    Attributes:
        ratio: by how much an adapter is narrower than the stream, one number or one per stage.
        after: after which parts of a block: attention, mlp, or both.
        train: which groups of the backbone are trained besides the adapters; the source trains the norms.
    """

    ratio: PerStage = 4
    after: tuple[str, ...] = tuple(PLACES)
    train: tuple[str, ...] = ("norms",)

    def __post_init__(self):
        if not self.after or not set(self.after) <= set(PLACES):
            given = ", ".join(self.after) or "nothing"
            raise ValueError(f"Adapters stand after {' and '.join(PLACES)}, or one of them; got {given}.")
        ratios = self.ratio if isinstance(self.ratio, Sequence) else [self.ratio]
        if not all(isinstance(ratio, (int, float)) and ratio > 0 for ratio in ratios):
            raise ValueError(f"The ratio of adapters is a number above 0, or one per stage; got {self.ratio}.")


class AdapterLinear(Adapted):
    """A frozen linear layer whose output passes an adapter.

    Args:
        base: the layer; it is frozen in place and kept as ``self.linear``.
        width: numbers per token inside the adapter.

    Shapes: ``x (..., in)`` to ``(..., out)``.
    """

    base_name = "linear"
    mergeable = False

    def __init__(self, base: nn.Linear, width: int):
        super().__init__(base)
        if width < 1:
            raise ValueError(f"An adapter needs a width of at least 1, got {width}: choose a smaller ratio.")
        kind = {"device": base.weight.device, "dtype": base.weight.dtype}
        self.adapter_down = nn.Linear(base.out_features, width, **kind)
        self.adapter_up = nn.Linear(width, base.out_features, **kind)
        nn.init.zeros_(self.adapter_up.weight)
        nn.init.zeros_(self.adapter_up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """y + up(GELU(down(y))) of y = W x + b."""
        y = self.linear(x)
        return y + self.adapter_up(F.gelu(self.adapter_down(y)))


def adapt(backbone: Backbone, tasks: tuple[str, ...], options: AdapterOptions) -> None:
    """Insert the adapters and set what is trained."""
    ratio = per_stage(options.ratio, backbone.num_stages, "ratio")

    def make(target: str, linear: nn.Linear, stage: int) -> AdapterLinear:
        return AdapterLinear(linear, int(linear.out_features // ratio[stage]))

    adapt_each(backbone, _targets(options), make)
    train_only(backbone, options.train)


def count(backbone: Backbone, tasks: tuple[str, ...], options: AdapterOptions) -> int:
    """Σ 2 C w + w + C over the adapters, w = C / ratio, and the trained groups."""
    ratio = per_stage(options.ratio, backbone.num_stages, "ratio")
    total = group_size(backbone, options.train)
    for _, stage, _, width in linears(backbone, _targets(options)):
        narrow = int(width // ratio[stage])
        total += 2 * width * narrow + narrow + width
    return total


def _targets(options: AdapterOptions) -> tuple[str, ...]:
    return tuple(PLACES[place] for place in options.after)
