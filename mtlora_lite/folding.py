"""Corrections folded into the weights for good: what is left of a backbone that is only to predict.

``merge()`` can be undone and keeps both weights; here what the correction was computed from goes. A layer that all
tasks read alike (LoRA, DoRA, SSF, the updates of a single task) becomes the plain layer it was made from; one that
cannot be folded (adapters, updates of several tasks) stays as it is. In a forked layer of MTLoRA it depends on how
shared and private meet:

=============  =================================================================================
``matrix``     tasks read W, the shared stream W + ΔW: both are needed, the layer stays as it is
``matrixv2``   all read W + ΔW: the shared update is folded, the private ones stay
``addition``   there is no shared update in a forked layer: it stays as it is
``lora_only``  no layer is forked: the backbone becomes a plain one of timm
=============  =================================================================================
"""

from torch import Tensor, nn

from mtlora_lite.adapted import Adapted
from mtlora_lite.lora import MTLoRALinear


class PrivateLoRALinear(MTLoRALinear):
    """A forked layer whose shared update lies in W for good; made from a merged layer, whose modules it takes over.

    Shapes: as ``MTLoRALinear``.
    """

    def __init__(self, layer: MTLoRALinear):
        nn.Module.__init__(self)
        self.__dict__.update(layer.__dict__)  # the layer itself is not used any more
        self.lora_ta_A = self.lora_ta_B = None
        self._unmerged = None

    def folded(self) -> dict[str, Tensor]:
        """Nothing: there is nothing left to fold."""
        return {}

    def merge(self) -> None:
        """Do nothing: there is nothing left to fold."""

    def _plus_update(self, base: Tensor, x: Tensor) -> Tensor:
        return base


def fold_for_good(backbone: nn.Module) -> None:
    """Fold every correction that no task has to do without, in place, and drop what it was computed from."""
    for name, layer in list(backbone.named_modules()):
        if isinstance(layer, Adapted):
            layer.merge()
            if layer.merged:
                folded = PrivateLoRALinear(layer) if isinstance(layer, MTLoRALinear) else layer.plain
                parent, _, attribute = name.rpartition(".")
                setattr(backbone.get_submodule(parent), attribute, folded)


def is_merged(model: nn.Module) -> bool:
    """Whether any update of a model is merged, in a way that can be undone."""
    return any(layer.merged for layer in model.modules() if isinstance(layer, Adapted))
