"""Adapters on disk: tensors as safetensors, and beside them in JSON how the model is adapted and which one it is."""

import hashlib
import json
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


def write_adapters(model: nn.Module, adaptation: Adaptation, folder: Path) -> Path:
    """Write the adapters of a model that was adapted so, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in _adapters(model).items()}
    base = {"model": model.config._name_or_path, "model_type": model.config.model_type} | _base(model)
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


def _adapters(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if "lora_" in name}


def check_type(folder: Path, record: dict[str, Any], model: nn.Module) -> None:
    """Raise ``ValueError`` if the adapters are for another type of model."""
    wanted, found = record["base"]["model_type"], model.config.model_type
    if wanted != found:
        raise ValueError(f"The adapters in {folder} are for a model of type {wanted}, this is of type {found}.")


def check_shapes(folder: Path, tensors: dict[str, torch.Tensor], model: nn.Module) -> None:
    """Raise ``ValueError`` if the adapters do not fit into an adapted model."""
    here = _adapters(model)
    if odd := sorted(here.keys() ^ tensors.keys()):
        where = "this model" if odd[0] in here else folder
        raise ValueError(f"The adapters in {folder} are for another shape of model: {odd[0]} is in {where} alone.")
    for name, tensor in here.items():
        if tensor.shape != tensors[name].shape:
            raise ValueError(
                f"The adapters in {folder} are for another shape of model: {name} is {tuple(tensors[name].shape)} "
                f"there, and {tuple(tensor.shape)} here."
            )


def check_base(folder: Path, record: dict[str, Any], model: nn.Module) -> None:
    """Raise ``ValueError`` if the adapters were trained on other frozen weights than those of an adapted model."""
    base, found = record["base"], _base(model)
    if found != {key: base[key] for key in found}:
        raise ValueError(
            f"The adapters in {folder} are for other weights than these: trained on {base['model'] or 'some'} in "
            f"{base['dtype']} (fingerprint {base['fingerprint'][:12]}), loaded on weights in {found['dtype']} "
            f"(fingerprint {found['fingerprint'][:12]})."
        )


def _base(model: nn.Module) -> dict[str, str]:
    """What tells the frozen weights from others: a SHA-256 over some of every adapted layer's, and their precision."""
    digest, dtype = hashlib.sha256(), ""
    for name, layer in model.named_modules():
        if isinstance(layer, PerTaskLinear):
            weight = layer.linear.weight.detach().flatten()
            some = weight[:: max(1, weight.numel() // SAMPLED)].float().cpu()
            digest.update(name.encode())
            digest.update(some.numpy().tobytes())
            dtype = str(weight.dtype).removeprefix("torch.")
    return {"fingerprint": digest.hexdigest(), "dtype": dtype}
