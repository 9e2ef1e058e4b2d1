"""What the methods share: options that differ between stages, tasks and layers, what is trained, and counting it."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from torch import nn

from mtlora_lite.adapted import INSERTED
from mtlora_lite.backbones import Backbone

PerStage = float | Sequence[float]
PerTask = PerStage | Mapping[str, PerStage]
PerTarget = PerStage | Mapping[str, PerStage]


def per_stage(value: PerStage, num_stages: int, what: str) -> tuple[float, ...]:
    """One number per stage out of one number or a sequence of ``num_stages``; anything else is a ``ValueError``."""
    values = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,) * num_stages
    if len(values) != num_stages or not all(isinstance(each, (int, float)) for each in values):
        raise ValueError(f"{what} is one number or one per stage: the backbone has {num_stages} stages, got {values}.")
    return values


def per_key_and_stage(
    value: PerStage | Mapping[str, PerStage], kind: str, keys: Sequence[str], num_stages: int, what: str
) -> dict[str, tuple[float, ...]]:
    """``{key: one number per stage}`` out of one number, one per stage, or a mapping from the keys to either.

    Args:
        value: the option.
        kind: what the keys are, for messages: task, target.
        keys: all of which a mapping has to name, and no other.
        num_stages: of the backbone.
        what: the option's name.

    Raises:
        ValueError: other keys, or another number of stages.
    """
    if not isinstance(value, Mapping):
        value = dict.fromkeys(keys, value)
    if set(value) != set(keys):
        raise ValueError(f"{what} needs one entry per {kind} ({', '.join(keys)}), got {', '.join(value) or 'none'}.")
    return {key: per_stage(value[key], num_stages, f"{what}[{key!r}]") for key in keys}


def wanted_targets(backbone: Backbone, targets: Sequence[str] | None) -> tuple[str, ...]:
    """The layers that an option ``targets`` means in this backbone; None: all linear layers of its blocks."""
    return tuple(backbone.block_linears) if targets is None else tuple(targets)


def train_only(backbone: Backbone, groups: Sequence[str]) -> None:
    """Train what was inserted into a backbone and these groups of its own parameters, and freeze the rest.

    Raises:
        ValueError: the backbone has no such group.
    """
    backbone.check_groups(groups)
    for name, parameter in backbone.named_parameters():
        group = backbone.parameter_group(name)
        parameter.requires_grad_(group in groups or group in INSERTED)


def adapt_each(backbone: Backbone, targets: Sequence[str], make: Callable[[str, nn.Linear, int], nn.Module]) -> None:
    """Replace every layer of the targets by ``make(target, layer, stage)``; ``ValueError`` as ``backbone.adapt``."""
    if not targets:
        backbone.adapt((), make)  # says what there is
    for target in targets:
        backbone.adapt((target,), lambda linear, stage, target=target: make(target, linear, stage))


# ---------------------------------------------------------------------------------------------------------- counting


def linears(backbone: Backbone, targets: Sequence[str]) -> Iterator[tuple[str, int, int, int]]:
    """(target, stage, inputs, outputs) of every layer of the targets in a plain backbone, first to last."""
    found = []

    def note(target: str, linear: nn.Linear, stage: int) -> nn.Linear:
        found.append((target, stage, linear.in_features, linear.out_features))
        return linear

    adapt_each(backbone, targets, note)
    return iter(found)


def group_size(backbone: Backbone, groups: Sequence[str]) -> int:
    """Parameters of these groups in a plain backbone."""
    return sum(p.numel() for name, p in backbone.named_parameters() if backbone.parameter_group(name) in groups)
