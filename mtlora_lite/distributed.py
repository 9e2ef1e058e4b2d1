"""Several processes that train one model: who this one is, and sums, results and errors that all of them share.

``torchrun``, ``accelerate launch`` and notebook launchers start such processes, Accelerate connects them. In a process
of its own everything here is the identity.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mtlora_lite.printing import is_quiet

Result = TypeVar("Result")


def _connected() -> bool:
    return dist.is_available() and dist.is_initialized()


def num_processes() -> int:
    """Return how many processes work together."""
    return dist.get_world_size() if _connected() else 1


def process_index() -> int:
    """Return which of them this is, from 0."""
    return dist.get_rank() if _connected() else 0


def is_main() -> bool:
    """Return whether this is the process that writes files and talks to people."""
    # What a launcher says counts before the processes are connected too: an early error is told once.
    return process_index() == 0 if _connected() else os.environ.get("RANK", "0") == "0"


def one_bar() -> dict[str, bool]:
    """Return what a progress bar is to be given so that only the main process draws it, and not where it is quiet.

    There it is nothing: an explicit ``disable=False`` would overrule ``TQDM_DISABLE``.
    """
    return {} if is_main() and not is_quiet() else {"disable": True}


def total(own: Tensor) -> Tensor:
    """Return the sum of every process's tensor; all of them have to call this."""
    if num_processes() == 1:
        return own
    own = own.clone()
    dist.all_reduce(own)
    return own


def gathered(own: Any) -> list[Any]:
    """Return what every process gave, in their order; all of them have to call this."""
    if num_processes() == 1:
        return [own]
    everybodys = [None] * num_processes()
    dist.all_gather_object(everybodys, own)
    return everybodys


def on_main(function: Callable[[], Result]) -> Result:
    """Call a function on the main process, and return its result, or raise its error, on all of them."""
    if num_processes() == 1:
        return function()
    answer: list[Any] = [None, None]
    if is_main():
        try:
            answer[0] = function()
        except Exception as error:  # whatever it is: the others would wait for this process for ever
            answer[1] = error
    dist.broadcast_object_list(answer)
    if answer[1] is not None:
        raise answer[1]
    return answer[0]


def main_first(function: Callable[[], Result]) -> Result:
    """Call a function on every process, on the main one before the others; an error there is raised on all of them."""
    results: list[Result] = []
    on_main(lambda: results.append(function()))
    return results[0] if results else function()


@contextmanager
def one_voice() -> Iterator[None]:
    """Let no process but the main one warn of anything: the others would say the same."""
    with warnings.catch_warnings():
        if not is_main():
            warnings.simplefilter("ignore")
        yield


@torch.no_grad()
def average(tensors: list[Tensor]) -> None:
    """Replace tensors, in place, by their means over all processes, in one exchange."""
    if num_processes() == 1 or not tensors:
        return
    mean = total(torch.cat([tensor.flatten() for tensor in tensors])) / num_processes()
    for tensor, values in zip(tensors, mean.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(values.view_as(tensor))


def disconnect() -> None:
    """Take leave of the other processes, at the very end."""
    if _connected():
        dist.destroy_process_group()
