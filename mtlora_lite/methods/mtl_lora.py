"""MTL-LoRA in vision: every targeted layer has an update per task that is made of shared parts, see ``mtl_lora``.

MTL-LoRA comes from language models, where a sample belongs to one task. Here every image is asked about all tasks, so
it takes a pass of the backbone for each of them; which task a pass is for follows from the tasks that are requested.

Source: Yang et al., AAAI 2025, arXiv 2410.09437; settings of its image-text runs: two up-projections, τ = 0.8.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from mtlora_lite.adapted import Adapted
from mtlora_lite.backbones import Backbone
from mtlora_lite.methods.common import (
    PerStage,
    group_size,
    linears,
    per_stage,
    train_only,
    wanted_targets,
)
from mtlora_lite.mtl_lora import LAMBDA_FORMS, MTLLoRALinear


@dataclass(frozen=True)
class MTLLoRAOptions:
    """Options of MTL-LoRA.

    Attributes:
        rank: rank of the updates, one number or one per stage.
        num_up: up-projections, which all tasks share and each mixes in its own way.
        scale: factor of the updates, one number or one per stage; it is applied as it is.
        temperature: of the mixture; the lower, the more a task keeps to one up-projection from the start.
        lambda_form: a task's transformation between A and B: full (a matrix) or diagonal.
        dropout: probability of dropping an input of A.
        targets: which layers are adapted; None: all linear layers of the blocks.
        train: which groups of the backbone are trained besides the updates; those are shared.
    """

    rank: PerStage = 16
    num_up: int = 2
    scale: PerStage = 4.0
    temperature: float = 0.8
    lambda_form: str = "full"
    dropout: float = 0.05
    targets: tuple[str, ...] | None = None
    train: tuple[str, ...] = ()

    def __post_init__(self):
        if self.lambda_form not in LAMBDA_FORMS:
            raise ValueError(f"Unknown lambda_form {self.lambda_form!r}. There are: {', '.join(LAMBDA_FORMS)}.")


class VisionMTLLoRALinear(MTLLoRALinear, Adapted):
    """The layer of MTL-LoRA, which of a single task can be folded like any other.

    Shapes: as ``MTLLoRALinear``.
    """

    base_name = "linear"
    per_task = ("lora_lambda", "lora_mix")  # of which each task has a row

    @property
    def mergeable(self) -> bool:
        """With one task there is one weight, with more there is none that serves all."""
        return self.num_tasks == 1

    def folded(self) -> dict[str, Tensor]:
        """W + ΔW of the only task."""
        return {"weight": self.linear.weight + self.delta_weight(0)}

    def merge(self, task: int | None = None) -> None:
        """Fold ΔW of a task into the weight, by default of the only one; where there are more, do nothing."""
        if task is not None or self.mergeable:
            super().merge(task or 0)


def adapt(backbone: Backbone, tasks: tuple[str, ...], options: MTLLoRAOptions) -> None:
    """Insert the updates into every targeted layer and set what is trained."""
    rank, scale = (per_stage(getattr(options, name), backbone.num_stages, name) for name in ("rank", "scale"))
    ids = backbone.pass_per_task(tasks)

    def make(linear: nn.Linear, stage: int) -> VisionMTLLoRALinear:
        layer = VisionMTLLoRALinear(
            linear, len(tasks), rank[stage], options.num_up, scale[stage], options.temperature, options.lambda_form,
            options.dropout,
        )  # fmt: skip
        layer.ids = ids
        return layer

    backbone.adapt(wanted_targets(backbone, options.targets), make)
    train_only(backbone, options.train)


def count(backbone: Backbone, tasks: tuple[str, ...], options: MTLLoRAOptions) -> int:
    """Σ r in + n out r + T r² (diagonal: T r) + T n over the targeted layers, and the trained groups."""
    ranks = per_stage(options.rank, backbone.num_stages, "rank")
    total = group_size(backbone, options.train)
    for _, stage, inputs, outputs in linears(backbone, wanted_targets(backbone, options.targets)):
        rank = ranks[stage]
        own = rank**2 if options.lambda_form == "full" else rank
        total += rank * inputs + options.num_up * outputs * rank + len(tasks) * (own + options.num_up)
    return total
