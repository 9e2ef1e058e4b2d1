"""The state of every random number generator of a process, as tensors."""

import random

import numpy as np
import torch
from torch import Tensor


def state(device: torch.device) -> dict[str, Tensor]:
    """Return the states of Python's, numpy's and torch's generators, the device's included."""
    version, numbers, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    states = {
        "python": torch.tensor([version, *numbers]),
        "python.gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.tensor([*keys.tolist(), position, has_gauss]),
        "numpy.gauss": torch.tensor([cached], dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    return states if device.type == "cpu" else states | {"device": torch.get_device_module(device).get_rng_state()}


def restore(states: dict[str, Tensor], device: torch.device) -> None:
    """Put every generator into a state that ``state`` returned; one of another kind of device is left as it is."""
    version, *numbers = states["python"].tolist()
    gauss = states["python.gauss"].tolist()
    random.setstate((version, tuple(numbers), gauss[0] if gauss else None))
    *keys, position, has_gauss = states["numpy"].tolist()
    np.random.set_state(("MT19937", np.array(keys, np.uint32), position, has_gauss, states["numpy.gauss"].item()))
    torch.set_rng_state(states["torch"])
    if device.type != "cpu" and "device" in states:
        torch.get_device_module(device).set_rng_state(states["device"])
