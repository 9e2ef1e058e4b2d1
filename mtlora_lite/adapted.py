"""What every layer that a method puts in the place of a plain one has in common: it can be folded into that one.

A layer whose correction is linear does the work of two, and one with other weights would do as well. ``merge()`` puts
those weights into the plain layer, ``unmerge()`` takes them out again, to the bit.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# What methods insert, and the piece of a name by which all parameters of it are known.
INSERTED = {"lora": "lora_", "adapters": "adapter_", "prompts": "prompt_", "scale_shift": "ssf_"}


class Adapted(nn.Module):
    """A module in the place of a plain, frozen one whose output it corrects; base class.

    Attributes:
        base_name: the name under which the plain one is kept.
        mergeable: whether weights of the plain one can do what the whole does.
        per_task: names of the parameters of which each task has a row, in the order of the tasks.
    """

    base_name = "base"
    mergeable = True
    per_task: tuple[str, ...] = ()

    def __init__(self, base: nn.Module | None = None):
        super().__init__()
        if base is not None:  # else it is for the derived class to keep one
            self.add_module(self.base_name, base.requires_grad_(False))
        self._unmerged: dict[str, Tensor] | None = None  # the weights as they were, so that unmerge() is exact

    @property
    def plain(self) -> nn.Module:
        """The plain layer; merged, it does what the whole does."""
        return getattr(self, self.base_name)

    @property
    def merged(self) -> bool:
        """Whether the correction is folded into the plain layer."""
        return self._unmerged is not None

    def folded(self) -> dict[str, Tensor]:
        """The weights with which the plain layer alone does what the whole does, by their names in it."""
        raise NotImplementedError

    @torch.no_grad()
    def merge(self) -> None:
        """Fold the correction into the plain layer, so that the whole costs what that one costs; idempotent.

        Where that is not possible (``mergeable``) nothing is done.
        """
        if self.mergeable and not self.merged:
            folded = self.folded()
            self._unmerged = {name: self.plain.get_parameter(name).clone() for name in folded}
            self._set(folded)

    @torch.no_grad()
    def unmerge(self) -> None:
        """Put the original weights back, bit by bit; idempotent."""
        if self.merged:
            self._set(self._unmerged)
            self._unmerged = None

    def _set(self, weights: dict[str, Tensor]) -> None:
        for name, value in weights.items():
            self.plain.get_parameter(name).copy_(value)

    def train(self, mode: bool = True) -> "Adapted":
        """Switch to training or evaluation; a merged layer has nothing to train and raises ``RuntimeError``."""
        if mode and self.merged:
            raise RuntimeError("The update is merged into the weight: call unmerge() before train().")
        return super().train(mode)


def private_names(model: nn.Module, tasks: Sequence[str]) -> set[str]:
    """Names of the parameters that a single task owns, or of which each task owns a row.

    The former have the task in their name, such as ``decoders.depth.head.0.weight``.
    """
    named = {name for name, _ in model.named_parameters() if not set(tasks).isdisjoint(name.split("."))}
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, Adapted)]
    return named | {f"{name}.{own}" for name, layer in layers for own in layer.per_task}
