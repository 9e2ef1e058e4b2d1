"""The registry of methods: what is inserted into the frozen backbone, and what is trained.

A method is one row: a name, a frozen dataclass of options with their defaults, and a function that adapts a backbone
and says which of its parameters are trained. Fusion and decoders are always trained.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

from mtlora_lite.backbones import Backbone
from mtlora_lite.methods import adapter, bitfit, dora, full, lora, lora_per_task, mtl_lora, mtlora, ssf, vpt
from mtlora_lite.names import did_you_mean


@dataclass(frozen=True)
class Method:
    """One row of the registry.

    Attributes:
        title: the name shown to people.
        summary: one sentence for tables and ``--help``.
        source: paper and equation.
        options: frozen dataclass; its fields are the options that ``build_model`` accepts for this method.
        adapt: changes a backbone in place for the given tasks and sets what is trained.
        count: how many parameters of a plain backbone and of what is inserted that trains: the formula.
        mergeable: whether a trained backbone is, or can be folded into, one with plain layers.
        starts_plain: whether an adapted backbone starts as exactly the one it was made from.
        pass_per_task: whether an image takes a pass of the backbone for each task.
    """

    title: str
    summary: str
    source: str
    options: type
    adapt: Callable[[Backbone, tuple[str, ...], Any], None]
    count: Callable[[Backbone, tuple[str, ...], Any], int]
    mergeable: bool = True
    starts_plain: bool = True
    pass_per_task: bool = False


_MTLORA = "Agiza et al., CVPR 2024, arXiv 2403.20320"
METHODS: dict[str, Method] = {
    "mtlora": Method(
        "MTLoRA", "shared low-rank updates in every block, private ones where a stage's stream forks",
        _MTLORA, mtlora.MTLoRAOptions, mtlora.adapt, mtlora.count,
    ),
    "mtlora_plus": Method(
        "MTLoRA+", "MTLoRA with the patch merging frozen and adapted as well",
        _MTLORA, mtlora.MTLoRAPlusOptions, mtlora.adapt, mtlora.count,
    ),
    "mtl_lora": Method(
        "MTL-LoRA", "in every layer an update per task, made of shared parts; a pass per task",
        "Yang et al., AAAI 2025, arXiv 2410.09437", mtl_lora.MTLLoRAOptions, mtl_lora.adapt, mtl_lora.count,
        pass_per_task=True,
    ),
    "lora_per_task": Method(
        "LoRA per task", "in every layer an update per task, nothing of it shared; a pass per task",
        "Hu et al., ICLR 2022, arXiv 2106.09685, eq. 3", lora_per_task.LoRAPerTaskOptions, lora_per_task.adapt,
        lora_per_task.count, pass_per_task=True,
    ),
    "lora": Method(
        "LoRA", "one low-rank update in every layer, the same for all tasks",
        "Hu et al., ICLR 2022, arXiv 2106.09685, eq. 3", lora.LoRAOptions, lora.adapt, lora.count,
    ),
    "dora": Method(
        "DoRA", "low-rank updates of the direction of weights, and their lengths; needs peft",
        "Liu et al., ICML 2024, arXiv 2402.09353, eq. 5", dora.DoRAOptions, dora.adapt, dora.count,
    ),
    "adapter": Method(
        "Bottleneck adapters", "small perceptrons after the attention and the MLP of every block",
        "Houlsby et al., ICML 2019, arXiv 1902.00751", adapter.AdapterOptions, adapter.adapt, adapter.count,
        mergeable=False,
    ),
    "vpt": Method(
        "VPT", "trained tokens in the windows of the first stage, or (deep) of every block",
        "Jia et al., ECCV 2022, arXiv 2203.12119", vpt.VPTOptions, vpt.adapt, vpt.count,
        mergeable=False, starts_plain=False,
    ),
    "ssf": Method(
        "SSF", "a scale and a shift per channel after every layer",
        "Lian et al., NeurIPS 2022, arXiv 2210.08823, eq. 3", ssf.SSFOptions, ssf.adapt, ssf.count,
    ),
    "bitfit": Method(
        "BitFit", "the biases of the backbone learn and nothing else of it",
        "Ben Zaken et al., ACL 2022, arXiv 2106.10199", bitfit.BitFitOptions, bitfit.adapt, bitfit.count,
    ),
    "decoders_only": Method(
        "Decoders only", "the backbone stays as pre-trained; only fusion and decoders learn",
        "linear-probing baseline of the MTLoRA paper, table 1", full.NoOptions, full.freeze_backbone,
        full.count_nothing,
    ),
    "full": Method(
        "Multi-task full fine-tuning", "one backbone for all tasks, every weight trained",
        "baseline of the MTLoRA paper, table 1", full.NoOptions, full.train_backbone, full.count_all,
    ),
    "single_task": Method(
        "Single-task full fine-tuning", "one whole model per task, every weight trained",
        "reference of Δm in the MTLoRA paper, table 1", full.NoOptions, full.train_backbone_for_one_task,
        full.count_all,
    ),
}  # fmt: skip


def get_method(name: str) -> Method:
    """Look a method up by its name; an unknown one raises ``ValueError`` naming the nearest and all that exist."""
    if name not in METHODS:
        raise ValueError(f"Unknown method {name!r}.{did_you_mean(name, METHODS)} Methods: {', '.join(METHODS)}.")
    return METHODS[name]


def method_options(name: str, given: Mapping[str, Any]) -> Any:
    """The options of method ``name`` with ``given`` put in; an unknown option raises ``ValueError``."""
    options = get_method(name).options
    known = [field.name for field in dataclasses.fields(options)]
    for key in given:
        if key not in known:
            own = ", ".join(known) or "none"
            raise ValueError(f"Method {name!r} has no option {key!r}.{did_you_mean(key, known)} Its options: {own}.")
    hints = get_type_hints(options)
    words = {key: (value,) for key, value in given.items() if isinstance(value, str) and _is_list(hints[key])}
    return options(**{key: _tuples(value) for key, value in (given | words).items()})


def _is_list(hint: Any) -> bool:
    """Whether an option is a list, or a list or nothing."""
    return any((get_origin(each) or each) is tuple for each in (hint, *get_args(hint)))


def _tuples(value: Any) -> Any:
    """Lists as tuples, also inside mappings: options read from JSON equal those that were written."""
    if isinstance(value, Mapping):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(value) if isinstance(value, list) else value
