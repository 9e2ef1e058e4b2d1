"""What a run costs: trained parameters, the time and memory of a training step, the time of a prediction.

Times are medians: on a CPU of processor time with one thread, which other programs disturb little, on a GPU of wall
time. Memory is what a step needs beside the weights: on a CPU what autograd keeps between forward and backward, and
gradients and the optimiser's two averages of every trained number; on a GPU the peak above what was there before, with
gradients in it, and the two averages.
"""

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

from mtlora_lite.config import TrainConfig, build_from_config, training_set
from mtlora_lite.losses import MultiTaskLoss
from mtlora_lite.recipe import build_optimizer
from mtlora_lite.transforms import collate

COST_FILE = "cost.json"
ROUNDS = 5
AVERAGES = 2  # that the optimiser holds of each trained number


def device_name() -> str:
    """Where runs are trained and measured: the GPU by its name, or CPU."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def measure(config: TrainConfig) -> dict[str, float]:
    """Measure what a training run's model costs, on a batch of its training images.

    Returns:
        ``trainable`` (numbers), ``step ms`` and ``predict ms`` of a batch, ``memory MB`` of a training step.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = build_from_config(config).to(device)
    images = training_set(config)
    batch = collate([images[index % len(images)] for index in range(config.batch_size)])
    batch = {name: value.to(device) for name, value in batch.items() if isinstance(value, Tensor)}
    criterion = MultiTaskLoss(config.tasks, config.all_loss_weights())
    optimizer = build_optimizer(model, config.lr)

    def step() -> None:
        criterion(model.train()(batch["image"]), batch)[0].backward()
        optimizer.step()
        optimizer.zero_grad()

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    record = {"trainable": sum(parameter.numel() for parameter in trained), "step ms": _milliseconds(step, device)}
    size = trained[0].element_size() * record["trainable"]
    kept = peak_bytes(step) if device == "cuda" else kept_bytes(model, step) + size
    record["memory MB"] = (kept + AVERAGES * size) / 1e6
    model.eval().merge()
    with torch.inference_mode():
        record["predict ms"] = _milliseconds(lambda: model(batch["image"]), device)
    torch.set_num_threads(threads)
    return record


def _milliseconds(step: Callable[[], object], device: str) -> float:
    """The median over some calls, after one that does not count."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    times = []
    for _ in range(ROUNDS + 1):
        start = clock()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(1e3 * (clock() - start))
    return median(times[1:])


def kept_bytes(model: nn.Module, step: Callable[[], object]) -> int:
    """What autograd keeps for the backward pass: every storage once, those of parameters and buffers aside."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    return sum(kept.values())


def peak_bytes(step: Callable[[], object]) -> int:
    """The most that a step allocates on the card above what was there before."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    return torch.cuda.max_memory_allocated() - before
