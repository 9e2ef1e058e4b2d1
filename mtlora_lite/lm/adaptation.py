"""How a language model of transformers is adapted: the method, its options, and which linears."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from mtlora_lite.mtl_lora import MTLLoRALinear, PerTaskLinear, TaskLoRALinear

_SPLIT = ("q_proj", "k_proj", "v_proj", "o_proj")
_OUT = ("q_proj", "k_proj", "v_proj", "out_proj")
_FUSED = ("query_key_value", "dense")
_T5 = ("q", "k", "v", "o")

# The linears of attention, by the model_type of transformers.
TARGETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    dict.fromkeys(
        ("llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "olmo2", "smollm3"), _SPLIT
    )
    | dict.fromkeys(("bart", "mbart", "pegasus", "m2m_100", "opt", "gpt_neo", "gptj"), _OUT)
    | dict.fromkeys(("gpt_neox", "bloom", "falcon"), _FUSED)
    | dict.fromkeys(("t5", "mt5", "longt5"), _T5)
    | {"phi": ("q_proj", "k_proj", "v_proj", "dense"), "phi3": ("qkv_proj", "o_proj")}
)
METHODS = ("mtl_lora", "lora", "task_lora")


@dataclass(frozen=True)
class Adaptation:
    """How a language model is adapted: all that is needed to do the same to another copy of it.

    Attributes:
        method: ``mtl_lora``; ``lora``, one update for all tasks; or ``task_lora``, one for each.
        num_tasks: T; task ids are 0 to T - 1.
        targets: names of the linears that are adapted, or ends of such names.
        rank: of every update.
        scale: factor of every update, applied as is (alpha / rank of other packages).
        dropout: of what enters the updates.
        num_up: number of shared up-projections (MTL-LoRA only).
        temperature: of their mixture (MTL-LoRA only).
        lambda_form: ``full`` or ``diagonal`` (MTL-LoRA only).
    """

    method: str
    num_tasks: int
    targets: tuple[str, ...]
    rank: int
    scale: float
    dropout: float = 0.0
    num_up: int = 1
    temperature: float = 1.0
    lambda_form: str = "full"

    def layer(self, base: nn.Linear) -> PerTaskLinear:
        """One linear, adapted."""
        if self.method == "mtl_lora":
            return MTLLoRALinear(
                base, self.num_tasks, self.rank, self.num_up, self.scale, self.temperature, self.lambda_form,
                self.dropout,
            )  # fmt: skip
        # one update for all tasks is one per task where there is a single task
        return TaskLoRALinear(base, self.num_tasks if self.knows_tasks else 1, self.rank, self.scale, self.dropout)

    @property
    def knows_tasks(self) -> bool:
        """Whether the update of a sample depends on its task."""
        return self.method != "lora"


def find_targets(model: nn.Module, targets: Sequence[str] | None = None) -> tuple[str, ...]:
    """The targets themselves, or those that are usual for this type of model.

    Raises:
        ValueError: none were given, and the type of the model is not in ``TARGETS``.
    """
    if targets is not None:
        return (targets,) if isinstance(targets, str) else tuple(targets)
    kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    if kind not in TARGETS:
        raise ValueError(
            f"Which linears to adapt in a model of type {kind!r} is not known here (it is for {', '.join(TARGETS)}): "
            f"give targets. Its linears: {linear_names(model)}."
        )
    return TARGETS[kind]


def linear_names(model: nn.Module) -> str:
    """The last parts of the names of all linears, each once."""
    last = (name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, nn.Linear))
    return ", ".join(dict.fromkeys(last)) or "none (torch.nn.Linear is what can be adapted)"
