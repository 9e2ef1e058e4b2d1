"""Where it pays to work piece by piece."""

import torch
from torch import Tensor


def pieces_pay(x: Tensor) -> bool:
    """Whether work on ``x`` is quicker in pieces: on a CPU, whose cache then holds what one step hands to the next.

    Elsewhere one large call is quicker, and a graph that is being compiled or exported must not depend on the batch.
    """
    return x.device.type == "cpu" and not torch.compiler.is_compiling()
