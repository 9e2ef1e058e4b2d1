"""Adapters on disk: tensors as safetensors, and beside them in JSON how the model is adapted and which one it is."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from mtlora_lite.lm.adaptation import Adaptation
from mtlora_lite.mtl_lora import PerTaskLinear
from mtlora_lite.records import write_atomically, write_json

# The name of the first is that of a whole model's, because Trainer resumes from a file of that name alone.
WEIGHTS_FILE, RECORD_FILE = "model.safetensors", "adapters.json"
SAMPLED = 4096  # weights of every adapted layer that the fingerprint looks at

State = Mapping[str, torch.Tensor]
Linears = Mapping[str, nn.Linear]  # that are adapted, by their names in the model before that


def write_adapters(model: nn.Module, adaptation: Adaptation, folder: Path, state: State | None = None) -> Path:
    """Write the adapters of a model that was adapted so, and return the folder.

    Args:
        model: its own state is written, unless another is given.
        adaptation: how it was adapted.
        folder: made if it does not exist.
        state: whole tensors, by their names in the model, where those in the model are pieces.

    Raises:
        ValueError: an adapter is missing in the state, or a piece of one.
    """
    state = model.state_dict() if state is None else state
    linears = {name: layer.linear for name, layer in model.named_modules() if isinstance(layer, PerTaskLinear)}
    tensors = {}
    for name, shape in _shapes(adaptation, linears).items():
        if name not in state or state[name].shape != shape:
            found = f"{name} is {tuple(state[name].shape)} and not {tuple(shape)}" if name in state else f"no {name}"
            raise ValueError(f"The adapters are not whole, {found}: give save_pretrained the gathered state_dict.")
        tensors[name] = state[name].detach().contiguous().cpu()
    weights = {name: state.get(f"{name}.linear.weight", linear.weight) for name, linear in linears.items()}
    base = {"model": model.config._name_or_path, "model_type": model.config.model_type} | _base(weights)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECORD_FILE, {"adaptation": asdict(adaptation), "base": base})
    write_atomically(folder / WEIGHTS_FILE, lambda path: save_file(tensors, path))
    return folder


def read_adapters(folder: Path) -> dict[str, Any]:
    """The record of a folder of adapters: ``adaptation``, and ``base``, the model they are for."""
    path = folder / RECORD_FILE
    if not path.is_file():
        raise ValueError(f"{folder} holds no adapters of a language model: there is no {RECORD_FILE}.")
    try:
        record = json.loads(path.read_text())
        adaptation = record["adaptation"] | {"targets": tuple(record["adaptation"]["targets"])}
        return record | {"adaptation": Adaptation(**adaptation)}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not as lm.save_adapters writes it ({error}).") from None


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """The adapters of a folder, by the names that they have in the model."""
    try:
        return load_file(folder / WEIGHTS_FILE)
    except (FileNotFoundError, SafetensorError) as error:
        raise ValueError(f"{folder / WEIGHTS_FILE} cannot be read: {error}.") from None


def _shapes(adaptation: Adaptation, linears: Linears) -> dict[str, torch.Size]:
    """The shapes of the adapters that linears get, by the names that they have in the model."""
    shapes = {}
    for name, linear in linears.items():
        with torch.device("meta"):
            layer = adaptation.layer(nn.Linear(linear.in_features, linear.out_features, bias=False))
        shapes |= {f"{name}.{own}": tensor.shape for own, tensor in layer.state_dict().items() if "lora_" in own}
    return shapes


def check_type(folder: Path, record: dict[str, Any], model: nn.Module) -> None:
    """Raise ``ValueError`` if the adapters are for another type of model."""
    wanted, found = record["base"]["model_type"], model.config.model_type
    if wanted != found:
        raise ValueError(f"The adapters in {folder} are for a model of type {wanted}, this is of type {found}.")


def check_shapes(folder: Path, tensors: State, adaptation: Adaptation, linears: Linears) -> None:
    """Raise ``ValueError`` if adapters do not fit to the linears of a model."""
    here = _shapes(adaptation, linears)
    if odd := sorted(here.keys() ^ tensors.keys()):
        where = "this model" if odd[0] in here else folder
        raise ValueError(f"The adapters in {folder} are for another shape of model: {odd[0]} is in {where} alone.")
    for name, shape in here.items():
        if tensors[name].shape != shape:
            raise ValueError(
                f"The adapters in {folder} are for another shape of model: {name} is {tuple(tensors[name].shape)} "
                f"there, and {tuple(shape)} here."
            )


def check_base(folder: Path, record: dict[str, Any], linears: Linears) -> None:
    """Raise ``ValueError`` if adapters were trained on other frozen weights than those of the linears."""
    base, found = record["base"], _base({name: linear.weight for name, linear in linears.items()})
    if found != {key: base[key] for key in found}:
        raise ValueError(
            f"The adapters in {folder} are for other weights than these: trained on {base['model'] or 'some'} in "
            f"{base['dtype']} (fingerprint {base['fingerprint'][:12]}), loaded on weights in {found['dtype']} "
            f"(fingerprint {found['fingerprint'][:12]})."
        )


def _base(weights: State) -> dict[str, str]:
    """What tells frozen weights from others: a SHA-256 over some of each, and their precision."""
    digest, dtype = hashlib.sha256(), ""
    for name, weight in weights.items():
        flat = weight.detach().flatten()
        digest.update(name.encode())
        digest.update(flat[:: max(1, flat.numel() // SAMPLED)].float().cpu().numpy().tobytes())
        dtype = str(weight.dtype).removeprefix("torch.")
    return {"fingerprint": digest.hexdigest(), "dtype": dtype}
