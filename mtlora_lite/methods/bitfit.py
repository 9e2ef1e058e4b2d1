"""BitFit: of all that is in the backbone, only the biases learn; nothing is inserted.

Source: Ben Zaken et al., ACL 2022, arXiv 2106.10199.
"""

from dataclasses import dataclass

from mtlora_lite.backbones import Backbone


@dataclass(frozen=True)
class BitFitOptions:
    """Options of BitFit.

    Attributes:
        train: which groups of the backbone are trained besides the biases. ``rel_pos``, the relative position bias
            tables, are biases of the attention by their name and are counted as such by some.
    """

    train: tuple[str, ...] = ()


def adapt(backbone: Backbone, tasks: tuple[str, ...], options: BitFitOptions) -> None:
    """Train the biases of linear layers, convolution and norms."""
    backbone.check_groups(options.train)
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(_learns(backbone, name, options))


def count(backbone: Backbone, tasks: tuple[str, ...], options: BitFitOptions) -> int:
    """One number per output of every layer with a bias and of every norm, and the trained groups."""
    return sum(p.numel() for name, p in backbone.named_parameters() if _learns(backbone, name, options))


def _learns(backbone: Backbone, name: str, options: BitFitOptions) -> bool:
    return name.endswith("bias") or backbone.parameter_group(name) in options.train
