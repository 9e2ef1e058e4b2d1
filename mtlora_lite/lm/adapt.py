"""Low-rank updates into the language models of transformers, whose samples each belong to a task.

In use::

    model = AutoModelForCausalLM.from_pretrained("my/llama")
    inject_mtl_lora(model, num_tasks=8, rank=8, num_up=3)
    model(input_ids, labels=labels, task_ids=[0, 3])
    model.generate(input_ids, task_ids=[0, 3])

The model stays what it is, of its own class as far as anybody can tell; it has ``task_ids`` in the signature of
``forward``, so that Trainer keeps that column, and all else that calls a model works as before.

Source: Yang et al., AAAI 2025, arXiv 2410.09437.
"""

import copy
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.hooks import add_hook_to_module
from torch import Tensor, nn

from mtlora_lite.lm.adaptation import METHODS, Adaptation, find_targets, linear_names
from mtlora_lite.lm.files import check_base, check_shapes, check_type, read_adapters, read_tensors, write_adapters
from mtlora_lite.mtl_lora import PerTaskLinear, TaskIds, read_task_ids, share_task_ids


def inject_mtl_lora(
    model: nn.Module,
    num_tasks: int,
    targets: Sequence[str] | None = None,
    rank: int = 8,
    num_up: int = 3,
    scale: float = 2.0,
    temperature: float = 0.1,
    lambda_form: str = "full",
    dropout: float = 0.0,
) -> nn.Module:
    """Adapt a language model in place by MTL-LoRA, and return it; nothing else of it is trained.

    The defaults are those of the released commonsense runs (alpha 16 at rank 8).

    Args:
        model: any causal or sequence-to-sequence model of transformers.
        num_tasks: T; task ids are 0 to T - 1.
        targets: names of linears, or ends of them; without them a row of ``TARGETS``.
        rank: r.
        num_up: n, number of shared up-projections.
        scale: factor of the updates, alpha / rank in other packages.
        temperature: τ of the mixture.
        lambda_form: ``full`` or ``diagonal``.
        dropout: of what enters the updates.

    Raises:
        ValueError: the model is unknown, no language model, or adapted already, a target is not in it, or an option is
            out of range.
    """
    return adapt(
        model,
        Adaptation(
            "mtl_lora", num_tasks, find_targets(model, targets), rank, scale, dropout, num_up, temperature, lambda_form
        ),
    )


def inject_lora(
    model: nn.Module,
    targets: Sequence[str] | None = None,
    rank: int = 8,
    scale: float = 2.0,
    dropout: float = 0.0,
) -> nn.Module:
    """Adapt a language model in place by one LoRA for all tasks; it takes ``task_ids`` and has no use for them."""
    return adapt(model, Adaptation("lora", 1, find_targets(model, targets), rank, scale, dropout))


def inject_task_lora(
    model: nn.Module,
    num_tasks: int,
    targets: Sequence[str] | None = None,
    rank: int = 8,
    scale: float = 2.0,
    dropout: float = 0.0,
) -> nn.Module:
    """Adapt a language model in place by a LoRA per task; the tasks share nothing that is trained."""
    return adapt(model, Adaptation("task_lora", num_tasks, find_targets(model, targets), rank, scale, dropout))


def adapt(model: nn.Module, adaptation: Adaptation) -> nn.Module:
    """Adapt a language model in place as ``adaptation`` says, and return it."""
    _check_plain(model)
    if adaptation.method not in METHODS:
        raise ValueError(f"Unknown method {adaptation.method!r}. Methods: {', '.join(METHODS)}.")
    chosen = _chosen(model, adaptation.targets)
    trained = frozenset(name for name, parameter in model.named_parameters() if parameter.requires_grad)
    layers = {name: adaptation.layer(linear) for name, linear in chosen.items()}  # wrong options end here
    model.requires_grad_(False)
    for name, layer in layers.items():
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, layer)
        for parameter in layer.parameters():
            parameter.requires_grad_(parameter is not layer.linear.weight and parameter is not layer.linear.bias)
        layer.train(model.training)
    _become(model, _adapted_class(type(model)))
    model.adaptation, model.task_ids, model.trained_before = adaptation, share_task_ids(model), trained
    # what Trainer's checkpoints leave out, as the frozen weights are where they were
    model._keys_to_ignore_on_save = {name for name in model.state_dict() if "lora_" not in name}
    return model


def _check_plain(model: nn.Module) -> None:
    """Raise ``ValueError`` unless this is a language model that is not adapted."""
    if isinstance(model, _Adapted):
        raise ValueError("This model is adapted already: load it anew to adapt it otherwise.")
    if not hasattr(model, "generate"):
        raise ValueError(
            f"This {type(model).__name__} is no causal or sequence-to-sequence model: load it by AutoModelForCausalLM "
            "or AutoModelForSeq2SeqLM."
        )


def _chosen(model: nn.Module, targets: Sequence[str]) -> dict[str, nn.Linear]:
    """The linears that targets name."""
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    chosen = {}
    for target in targets or [""]:
        found = {name: linears[name] for name in linears if target and f".{name}".endswith(f".{target}")}
        if not found:
            raise ValueError(f"No linear layer is named {target!r} or ends so. There are: {linear_names(model)}.")
        chosen |= found
    owners: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), set()).add(name)
    for name, linear in chosen.items():
        if others := owners[id(linear.weight)] - {f"{name}.weight"}:
            raise ValueError(f"{name} cannot be adapted: it shares its weight with {', '.join(sorted(others))}.")
        if linear.weight.is_meta and hasattr(linear, "_hf_hook"):
            raise ValueError(
                f"{name} cannot be adapted: its weight is offloaded. Load the model so that it fits on its devices: in "
                "bfloat16, or on more of them."
            )
    return {name: linears[name] for name in linears if name in chosen}


def _become(model: nn.Module, kind: type) -> None:
    """Give a model another class, whose ``forward`` takes the place of the former one in what was put around that."""
    model.__class__ = kind
    if vars(model).pop("_original_forward", None):  # Trainer left autocast around it, which is not put back
        del model.forward
    if hook := vars(model).get("_hf_hook"):  # the model is spread over devices
        model._old_forward = kind.forward.__get__(model)
        add_hook_to_module(model, hook)


# ------------------------------------------------------------------------------------------- what an adapted model does


class _Adapted:
    """What an adapted model does besides what its own class does.

    Attributes:
        adaptation: how it is adapted.
        task_ids: of the call that is under way.
        trained_before: names of the parameters that required gradients before it was adapted.
    """

    adaptation: Adaptation
    task_ids: TaskIds
    trained_before: frozenset[str]

    def save_pretrained(
        self,
        save_directory: Any,
        is_main_process: bool = True,
        state_dict: Mapping[str, Tensor] | None = None,
        **_: Any,
    ) -> None:
        """Write the adapters alone, see ``lm.save_adapters``; what else may be asked is for whole models.

        Under FSDP and ZeRO a process holds pieces of the tensors, and Trainer gives the ``state_dict`` that it gathers.
        """
        if is_main_process:
            write_adapters(self, self.adaptation, Path(save_directory), state_dict)

    @contextmanager
    def _of(self, task_ids: Any, samples: int | None) -> Iterator[None]:
        """Let the layers know the tasks of ``samples`` samples."""
        if not self.adaptation.knows_tasks or (task_ids is None and self.task_ids.current is not None):
            yield  # no need to know, or ``generate`` has said it
            return
        if task_ids is None:
            raise ValueError(
                f"This model is adapted to {self.adaptation.num_tasks} tasks: call it with task_ids, one per sample or "
                "one for all."
            )
        ids = read_task_ids(task_ids, self.adaptation.num_tasks)
        if samples is not None and len(ids) not in (1, samples):
            raise ValueError(
                f"There are {len(ids)} task_ids for {samples} samples: give one per sample or one for all."
            )
        with self.task_ids.of(ids):
            if torch.is_grad_enabled():
                self._bind_checkpoints()
            yield

    def _bind_checkpoints(self) -> None:
        """Let blocks that are computed again in the backward pass have the ids of their own forward pass."""
        for module in self.modules():
            function = vars(module).get("_gradient_checkpointing_func")
            if function is not None and not isinstance(function, _BoundCheckpoint):
                module._gradient_checkpointing_func = _BoundCheckpoint(function, self.task_ids)

    def __reduce__(self) -> tuple:
        """The class is made when it is needed, and so it is for a copy."""
        return _empty, (type(self).__mro__[2],), self.__dict__


@dataclass(frozen=True)
class _BoundCheckpoint:
    """Activation checkpointing of a block that needs task ids.

    Attributes:
        checkpoint: called with a function and its arguments.
        task_ids: of the model.
    """

    checkpoint: Callable
    task_ids: TaskIds

    def __call__(self, function: Callable, *args: Any, **kwargs: Any) -> Any:
        """The result of the function, now and when it is computed again."""
        return self.checkpoint(self.task_ids.bound(function), *args, **kwargs)


@functools.cache
def _adapted_class(base: type) -> type:
    """``base`` with task ids; it keeps its name, by which transformers tells what a model can do."""
    own_forward, own_generate = base.forward, base.generate

    @functools.wraps(own_forward)
    def forward(self: Any, *args: Any, task_ids: Any = None, **kwargs: Any) -> Any:
        with self._of(task_ids, _samples(args, kwargs)):
            return own_forward(self, *args, **kwargs)

    @functools.wraps(own_generate)
    def generate(self: Any, *args: Any, task_ids: Any = None, **kwargs: Any) -> Any:
        with self._of(task_ids, _samples(args, kwargs)):
            return own_generate(self, *args, **kwargs)

    for function in (forward, generate):
        function.__signature__ = _with_task_ids(inspect.signature(function))
        del function.__wrapped__  # accelerate would take it for autocast, and unwrap it
    names = {"forward": forward, "generate": generate, "__module__": base.__module__}
    return type(base.__name__, (_Adapted, base), names)


def _with_task_ids(signature: inspect.Signature) -> inspect.Signature:
    """A signature with the keyword ``task_ids`` after all others, but before ``**kwargs``."""
    parameters = list(signature.parameters.values())
    last = len(parameters) - (parameters[-1].kind is inspect.Parameter.VAR_KEYWORD)
    parameters.insert(last, inspect.Parameter("task_ids", inspect.Parameter.KEYWORD_ONLY, default=None))
    return signature.replace(parameters=parameters)


def _samples(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int | None:
    """How many samples a call is about, as far as its first tensor tells."""
    names = ("input_ids", "inputs", "inputs_embeds", "decoder_input_ids")
    for value in (*args[:1], *(kwargs.get(name) for name in names)):
        if isinstance(value, Tensor):
            return len(value)
    return None


def _empty(base: type) -> nn.Module:
    """An adapted model with nothing in it, to be filled by what was pickled."""
    made = _adapted_class(base)
    return made.__new__(made)


def merge_task(model: nn.Module, task: int) -> nn.Module:
    """A model of one task: a plain model of transformers with the updates in its weights, and the same outputs.

    It is a copy, and trains what the model trained before it was adapted; the adapted model stays as it is. With
    ``lora`` every task's is the same.

    Raises:
        ValueError: the model is not adapted, or there is no such task.
    """
    check_adapted(model)
    if model.adaptation.knows_tasks:
        read_task_ids(task, model.adaptation.num_tasks)
    else:
        task = 0
    plain = copy.deepcopy(model)
    for name, layer in list(plain.named_modules()):
        if isinstance(layer, PerTaskLinear):
            layer.merge(task)
            parent, _, last = name.rpartition(".")
            setattr(plain.get_submodule(parent), last, layer.linear)
    for module in plain.modules():
        if isinstance(function := vars(module).get("_gradient_checkpointing_func"), _BoundCheckpoint):
            module._gradient_checkpointing_func = function.checkpoint
    for name, parameter in plain.named_parameters():
        parameter.requires_grad_(name in plain.trained_before)
    _become(plain, type(model).__mro__[2])
    for name in ("adaptation", "task_ids", "trained_before", "_keys_to_ignore_on_save"):
        delattr(plain, name)
    return plain


def check_adapted(model: nn.Module) -> None:
    """Raise ``ValueError`` unless a model was adapted here."""
    if not isinstance(model, _Adapted):
        raise ValueError(f"This {type(model).__name__} is not adapted: call lm.inject_mtl_lora on it first.")


# ------------------------------------------------------------------------------------------------------------- on disk


def save_adapters(model: nn.Module, folder: str | Path) -> Path:
    """Write the adapters of a model, and nothing of the model itself, and return the folder.

    Raises:
        ValueError: the model is not adapted.
    """
    check_adapted(model)
    return write_adapters(model, model.adaptation, Path(folder))


def load_adapters(model: nn.Module, folder: str | Path) -> nn.Module:
    """Adapt a plain model in place by adapters that were saved for it, and return it.

    Raises:
        ValueError: the folder holds no adapters, or they are for other weights or another shape of model.
    """
    _check_plain(model)
    folder = Path(folder)
    record, tensors = read_adapters(folder), read_tensors(folder)
    adaptation = record["adaptation"]
    check_type(folder, record, model)
    linears = _chosen(model, adaptation.targets)
    check_shapes(folder, tensors, adaptation, linears)
    check_base(folder, record, linears)
    adapt(model, adaptation).load_state_dict(tensors, strict=False)
    return model
