"""DoRA: a low-rank update of a weight's direction, and a trained magnitude per output; the layers are peft's.

A weight W becomes::

    W' = m ⊙ (W + scale · B A) / ‖W + scale · B A‖        (norms of rows, taken as constant in the backward pass)

m starts as the norms of W, so an adapted layer starts as the frozen one.

Source: Liu et al., ICML 2024, arXiv 2402.09353, eq. 5 and sec. 4.3. Implementation: the package ``peft``.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from mtlora_lite.adapted import Adapted
from mtlora_lite.backbones import Backbone
from mtlora_lite.extras import require
from mtlora_lite.methods.common import adapt_each, group_size, linears, train_only, wanted_targets
from mtlora_lite.methods.lora import LoRAOptions, spread

ADAPTER = "default"  # peft's name for the one adapter that there is


@dataclass(frozen=True)
class DoRAOptions(LoRAOptions):
    """Options of DoRA: those of LoRA."""


class DoRALinear(Adapted):
    """A frozen linear layer with a DoRA update, as peft computes it.

    Args:
        base: the layer to adapt; it is frozen in place.
        rank: rows of A.
        scale: factor of B A, applied as is (peft's alpha / rank).
        dropout: probability of dropping an input of A.

    Shapes: ``x (..., in)`` to ``(..., out)``.
    """

    base_name = "peft.base_layer"

    def __init__(self, base: nn.Linear, rank: int, scale: float = 1.0, dropout: float = 0.0):
        from peft import LoraConfig, inject_adapter_in_model

        super().__init__()
        self.peft = base.requires_grad_(False)
        config = LoraConfig(
            r=rank, lora_alpha=scale * rank, lora_dropout=dropout, use_dora=True, target_modules=["peft"]
        )
        inject_adapter_in_model(config, self, adapter_name=ADAPTER)  # replaces self.peft by a layer around it

    @property
    def plain(self) -> nn.Linear:
        """The plain layer; merged, it does what the whole does."""
        return self.peft.get_base_layer()

    def folded(self) -> dict[str, Tensor]:
        """m ⊙ (W + scale · B A) / ‖W + scale · B A‖."""
        moved = self.plain.weight + self.peft.get_delta_weight(ADAPTER)
        magnitude = self.peft.lora_magnitude_vector[ADAPTER].weight
        return {"weight": (magnitude / moved.norm(dim=1))[:, None] * moved}

    def forward(self, x: Tensor) -> Tensor:
        """W' x + b."""
        return self.plain(x) if self.merged else self.peft(x)


def adapt(backbone: Backbone, tasks: tuple[str, ...], options: DoRAOptions) -> None:
    """Insert one update into every targeted layer and set what is trained; raises ``MissingExtraError``."""
    require("The method dora", "peft")
    rank, scale = (spread(backbone, options, name) for name in ("rank", "scale"))

    def make(target: str, linear: nn.Linear, stage: int) -> DoRALinear:
        return DoRALinear(linear, rank[target][stage], scale[target][stage], options.dropout)

    adapt_each(backbone, wanted_targets(backbone, options.targets), make)
    train_only(backbone, options.train)


def count(backbone: Backbone, tasks: tuple[str, ...], options: DoRAOptions) -> int:
    """Σ r (in + out) + out over the targeted layers, and the trained groups."""
    rank = spread(backbone, options, "rank")
    layers = linears(backbone, wanted_targets(backbone, options.targets))
    updates = sum(rank[target][stage] * (a + b) + b for target, stage, a, b in layers)
    return updates + group_size(backbone, options.train)
