"""VPT: visual prompt tuning. Trained tokens take part in the attention; every weight of the backbone stays frozen.

Shallow: one set of prompts, which passes through the first stage. Deep: every block has prompts of its own. How they
meet the windows of a Swin is in ``backbones/prompts``. Prompts change what is computed from the start, and there is no
weight that they could be folded into.

Source: Jia et al., ECCV 2022, arXiv 2203.12119, eq. 4 and 5.
"""

from dataclasses import dataclass

from mtlora_lite.backbones import Backbone
from mtlora_lite.backbones.prompts import insert_prompts
from mtlora_lite.methods.common import group_size, linears, train_only


@dataclass(frozen=True)
class VPTOptions:
    """Options of VPT.

    Attributes:
        prompts: tokens per set.
        deep: whether every block has a set.
        dropout: probability of dropping a number of a prompt.
        train: which groups of the backbone are trained besides the prompts.
    """

    prompts: int = 50
    deep: bool = False
    dropout: float = 0.1
    train: tuple[str, ...] = ()


def adapt(backbone: Backbone, tasks: tuple[str, ...], options: VPTOptions) -> None:
    """Insert the prompts and set what is trained."""
    insert_prompts(backbone, options.prompts, options.deep, options.dropout)
    train_only(backbone, options.train)


def count(backbone: Backbone, tasks: tuple[str, ...], options: VPTOptions) -> int:
    """P · C of the first stage or (deep) Σ P · C over all blocks, and the trained groups."""
    widths = [width for _, _, _, width in linears(backbone, ("proj",))]  # of the blocks
    return options.prompts * sum(widths if options.deep else widths[:1]) + group_size(backbone, options.train)
