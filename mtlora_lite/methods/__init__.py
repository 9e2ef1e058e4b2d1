"""The registry of methods: what is inserted into the frozen backbone, and what is trained.

A method is one row: a name, a frozen dataclass of options with their defaults, and a function that adapts a backbone
and says which of its parameters are trained. Fusion and decoders are always trained.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mtlora_lite.backbones import Backbone
from mtlora_lite.methods import full, mtlora
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
    """

    title: str
    summary: str
    source: str
    options: type
    adapt: Callable[[Backbone, tuple[str, ...], Any], None]


_MTLORA = "Agiza et al., CVPR 2024, arXiv 2403.20320"
METHODS: dict[str, Method] = {
    "mtlora": Method(
        "MTLoRA", "shared low-rank updates in every block, private ones where a stage's stream forks",
        _MTLORA, mtlora.MTLoRAOptions, mtlora.adapt,
    ),
    "mtlora_plus": Method(
        "MTLoRA+", "MTLoRA with the patch merging frozen and adapted as well",
        _MTLORA, mtlora.MTLoRAPlusOptions, mtlora.adapt,
    ),
    "decoders_only": Method(
        "Decoders only", "the backbone stays as pre-trained; only fusion and decoders learn",
        "linear-probing baseline of the MTLoRA paper, table 1", full.NoOptions, full.freeze_backbone,
    ),
    "full": Method(
        "Multi-task full fine-tuning", "one backbone for all tasks, every weight trained",
        "baseline of the MTLoRA paper, table 1", full.NoOptions, full.train_backbone,
    ),
    "single_task": Method(
        "Single-task full fine-tuning", "one whole model per task, every weight trained",
        "reference of Δm in the MTLoRA paper, table 1", full.NoOptions, full.train_backbone_for_one_task,
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
    return options(**{key: _tuples(value) for key, value in given.items()})


def _tuples(value: Any) -> Any:
    """Lists as tuples, also inside mappings: options read from JSON equal those that were written."""
    if isinstance(value, Mapping):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(value) if isinstance(value, list) else value
