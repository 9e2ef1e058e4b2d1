"""A model in training, on one process or many: it takes optimiser steps, and can be saved and restored between them.

Accelerate brings the devices, the number formats and the processes; DDP averages the gradients over these. What the
numbers mean is kept in hand here: which images a step sees (``batches.py``), and that losses are divided by the counts
of the whole batch (``losses.py``).
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mtlora_lite import distributed, randomness
from mtlora_lite.backbones.recompute import keep_activations, recompute_blocks
from mtlora_lite.balancing import Balancer, build_weighting, combine
from mtlora_lite.checkpoints import Checkpoint, Tensors
from mtlora_lite.config import TrainConfig, build_from_config
from mtlora_lite.losses import MultiTaskLoss
from mtlora_lite.model import MultiTaskModel
from mtlora_lite.recipe import CLIP_NORM, build_optimizer, lr_factor, set_lr

WEIGHTS, AVERAGED, OPTIMIZER = "weights.safetensors", "averaged.safetensors", "optimizer.safetensors"
WEIGHTING = "weighting.safetensors"
Batch = Mapping[str, Any]


def connect(precision: str = "fp32", **settings: Any) -> Accelerator:
    """Return Accelerate's handle on the device and the other processes.

    Args:
        precision: the format in which most is computed.
        **settings: what else the handle is to be made with, see ``trackers.settings``.

    Raises:
        ValueError: this device does not know the precision.
    """
    device = torch.accelerator.current_accelerator(check_available=True)
    # Accelerate connects processes without GPUs only when it is told that there are none; on a Mac's they never meet.
    cpu = device is None or (device.type == "mps" and "LOCAL_RANK" in os.environ)
    if cpu and precision == "fp16":
        raise ValueError("precision fp16 needs a GPU, and there is none here: choose fp32 or bf16.")
    AcceleratorState._reset_state()  # or the precision of the first run in this process would stay for ever
    ddp = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    mixed = "no" if precision == "fp32" else precision
    return Accelerator(cpu=cpu, mixed_precision=mixed, kwargs_handlers=[ddp], **settings)


class Trainer:
    """The model, optimiser and moving average of a run.

    Attributes:
        model: the model itself, on the device it trains on.
        accelerator: Accelerate's handle.

    Args:
        config: the run.
        accelerator: from ``connect``.
    """

    def __init__(self, config: TrainConfig, accelerator: Accelerator) -> None:
        self.config, self.accelerator = config, accelerator
        set_seed(config.seed)
        model = build_from_config(config).to(accelerator.device)
        if distributed.num_processes() > 1 and accelerator.device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        # The average copies the model as it is built: what is wrapped around it below serves training alone.
        average = get_ema_multi_avg_fn(config.ema) if config.ema is not None else None
        self.average = AveragedModel(model, multi_avg_fn=average) if average else None
        if config.checkpointing:
            recompute_blocks(model.backbone)
        self.model = model.train()
        self.criterion = MultiTaskLoss(config.tasks, config.all_loss_weights())
        self.weighting = build_weighting(config.weighting, len(config.tasks)).to(accelerator.device)
        learned = nn.ModuleDict({"model": model, "weighting": self.weighting})
        self.balancer = Balancer(config.balance, model, config.tasks, self.weighting) if config.balance else None
        self.optimizer = accelerator.prepare_optimizer(build_optimizer(learned, config.lr, config.decoder_lr_factor))
        with _hidden(idle_parameters(model) if distributed.num_processes() > 1 else []):
            self._runner = accelerator.prepare_model(torch.compile(model) if config.compile else model)
        set_seed(config.seed, device_specific=True)  # from here on: dropout, which differs between processes

    @property
    def judged(self) -> MultiTaskModel:
        """The model that is scored and kept: the moving average, where there is one."""
        return self.average.module if self.average else self.model

    # ------------------------------------------------------------------------------------------------------ one step

    def step(self, number: int, steps: int, passes: Sequence[Batch], stop: int = 0) -> tuple[dict[str, float], int]:
        """Take an optimiser step.

        Args:
            number: of the step, from 1.
            steps: how many there are, over which the learning rate's schedule stretches.
            passes: this process's images, in as many batches as the step has passes.
            stop: a number that the processes want to agree on: the largest that any of them gives is returned.

        Returns:
            The record of the step (step, lr, total, the loss of each task), of the whole batch; and that number.

        Raises:
            FloatingPointError: a loss is not finite; the message names the task and the images. The state is the one
                before the step.
        """
        before = self._before()
        lr = self.config.lr * lr_factor(number - 1, steps)
        set_lr(self.optimizer, lr)
        self.optimizer.zero_grad(set_to_none=True)
        try:
            own = self._backward([self._on_device(batch) for batch in passes])  # (passes, 1 + tasks)
        except torch.OutOfMemoryError:
            self._restore(before)
            raise
        values, stop = self._agree(own, stop)
        if not all(map(math.isfinite, values)):
            self._restore(before)
            raise FloatingPointError(self._what_is_not_finite(values, own, passes))
        self.accelerator.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        self.optimizer.step()
        if self.accelerator.device.type != "cuda":  # there the norms have been converted to ones that do it themselves
            distributed.average(_statistics(self.model))
        if self.average:
            self.average.update_parameters(self.model)
        self.weighting.end_step(torch.tensor(values[1:]))
        return dict(zip(("step", "lr", "total", *self.config.tasks), (number, lr, *values), strict=True)), stop

    def _backward(self, passes: Sequence[Batch]) -> Tensor:
        """Add up the gradients of all passes; returns their shares of the batch's losses, (passes, 1 + tasks)."""
        counts = self._counts(passes)
        losses = []
        for index, batch in enumerate(passes, start=1):
            exchanged = index == len(passes) and not self.balancer  # by DDP, once a step
            with nullcontext() if exchanged else self.accelerator.no_sync(self._runner):
                _, by_task = self.criterion(self._runner(batch["image"]), batch, counts)
                weighed = combine(self.criterion.weights, self.weighting.factors(), by_task)
                penalty = self.weighting.penalty() / (len(passes) * distributed.num_processes())
                self._add_gradients(weighed, penalty)
            losses.append(torch.stack([sum(weighed) + penalty, *by_task.values()]).detach())
        if self.balancer:
            self.balancer.finish(distributed.total)
        else:  # of what DDP does not know
            distributed.average([p.grad for p in self.weighting.parameters() if p.grad is not None])
        return torch.stack(losses)

    def _add_gradients(self, weighed: Sequence[Tensor], penalty: Tensor) -> None:
        if not self.balancer:
            total = sum(weighed) + penalty
            self.accelerator.backward(total * distributed.num_processes())  # DDP takes the mean of the gradients
            return
        self.balancer.backward(weighed)
        if penalty.requires_grad:
            penalty.backward()

    def _counts(self, passes: Sequence[Batch]) -> dict[str, Tensor]:
        """The counts that the losses are divided by, over all passes and processes, in one exchange."""
        counts = [self.criterion.counts(batch) for batch in passes]
        tasks = self.config.tasks
        flat = distributed.total(torch.stack([torch.cat([of[task] for task in tasks]) for of in counts]).sum(0))
        return dict(zip(tasks, flat.split([len(counts[0][task]) for task in tasks]), strict=True))

    def _agree(self, own: Tensor, stop: int) -> tuple[list[float], int]:
        """The losses of the whole batch, and the largest of the processes' ``stop``."""
        processes = distributed.num_processes()
        wishes = own.new_zeros(processes)
        wishes[distributed.process_index()] = stop
        values = distributed.total(torch.cat([own.sum(0), wishes])).tolist()
        return values[:-processes], int(max(values[-processes:]))

    def _on_device(self, batch: Batch) -> Batch:
        wanted = ("image", *self.config.tasks)
        return {name: batch[name].to(self.accelerator.device, non_blocking=True) for name in wanted}

    def _what_is_not_finite(self, values: Sequence[float], own: Tensor, passes: Sequence[Batch]) -> str:
        names = ("total", *self.config.tasks)
        index = next(i for i in (*range(1, len(values)), 0) if not math.isfinite(values[i]))
        guilty = own[:, index].isfinite().logical_not().tolist()
        own_ids = [
            str(meta["id"]) for batch, wrong in zip(passes, guilty, strict=True) if wrong for meta in batch["meta"]
        ]
        ids = ", ".join(name for names in distributed.gathered(own_ids) for name in names)
        return f"The {names[index]} loss is {values[index]} on the images {ids}: try a lower lr."

    def _before(self) -> tuple[Tensors, list[Tensor]]:
        """What a step changes before its losses are known."""
        return randomness.state(self.accelerator.device), [values.clone() for values in _statistics(self.model)]

    def _restore(self, before: tuple[Tensors, list[Tensor]]) -> None:
        randomness.restore(before[0], self.accelerator.device)
        for values, old in zip(_statistics(self.model), before[1], strict=True):
            values.copy_(old)

    # --------------------------------------------------------------------------------------------- save and restore

    def tensors(self) -> dict[str, Tensors]:
        """Everything that goes on changing, by file and name; all processes have to call this."""
        files: dict[str, Tensors] = {WEIGHTS: _changing(self.model), OPTIMIZER: self._optimizer_tensors()}
        if self.average:
            files[AVERAGED] = _changing(self.average.module) | {"n_averaged": self.average.n_averaged}
        if weighting := self.weighting.state_dict():
            files[WEIGHTING] = weighting
        everybodys = distributed.gathered(randomness.state(self.accelerator.device))
        return files | {_random_file(index): own for index, own in enumerate(everybodys)}

    def state(self) -> dict[str, Any]:
        """What goes on changing and is no tensor."""
        return {"scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else None}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Become what a checkpoint of an equal run holds."""
        _load(self.model, checkpoint.tensors(WEIGHTS))
        if self.average:
            averaged = checkpoint.tensors(AVERAGED)
            self.average.n_averaged.copy_(averaged.pop("n_averaged"))
            _load(self.average.module, averaged)
        if self.weighting.state_dict():
            self.weighting.load_state_dict(checkpoint.tensors(WEIGHTING))
        self._load_optimizer(checkpoint.tensors(OPTIMIZER))
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(checkpoint.state["scaler"])
        own = _random_file(distributed.process_index())
        if checkpoint.has(own):  # there is none where there are more processes now: these keep their seeds
            randomness.restore(checkpoint.tensors(own), self.accelerator.device)

    def _names(self) -> list[str]:
        """The names of the trained parameters, in the optimiser's order."""
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        names |= {parameter: f"weighting.{name}" for name, parameter in self.weighting.named_parameters()}
        return [names[parameter] for group in self.optimizer.param_groups for parameter in group["params"]]

    def _optimizer_tensors(self) -> Tensors:
        state = self.optimizer.state_dict()["state"]  # {index: {kind: tensor}}
        names = self._names()
        return {f"{names[index]}/{kind}": value for index, own in state.items() for kind, value in own.items()}

    def _load_optimizer(self, tensors: Tensors) -> None:
        index = {name: position for position, name in enumerate(self._names())}
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            name, _, kind = key.rpartition("/")
            state.setdefault(index[name], {})[kind] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})

    def finish(self) -> MultiTaskModel:
        """Give the model as it was built, in evaluation mode, on the CPU; there is no training afterwards."""
        self.accelerator.unwrap_model(self._runner, keep_fp32_wrapper=False)
        keep_activations(self.model.backbone)
        return self.judged.cpu().eval()


def _random_file(process: int) -> str:
    return f"random-{process}.safetensors"


def _changing(model: nn.Module) -> dict[str, Tensor]:
    """What of a model is not frozen: trained parameters, and buffers."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def _load(model: nn.Module, tensors: Tensors) -> None:
    expected = _changing(model).keys()
    if tensors.keys() != expected:
        name = sorted(tensors.keys() ^ expected)[0]
        raise ValueError(f"The checkpoint is of another model than this run's: {name} is in only one of them.")
    model.load_state_dict(tensors, strict=False)


def _statistics(model: nn.Module) -> list[Tensor]:
    """The running means and variances of batch norms: what a pass in training mode changes beside gradients."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    return [values for norm in norms for values in (norm.running_mean, norm.running_var)]


def idle_parameters(model: MultiTaskModel) -> list[nn.Parameter]:
    """Trained parameters that no output depends on, and that therefore never get a gradient.

    In ``matrix`` mode these are the shared update of the last stage's last layer: its stream ends there.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    mode = model.training
    image = trained[0].new_zeros(1, 3, *model.config.img_size)
    outputs = model.eval()(image).values()
    gradients = torch.autograd.grad(sum(out.sum() for out in outputs), trained, allow_unused=True)
    model.train(mode)
    return [parameter for parameter, gradient in zip(trained, gradients, strict=True) if gradient is None]


@contextmanager
def _hidden(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Parameters that DDP does not get to see: it would wait for their gradients for ever, or look for them always."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
