"""What a whole run will take, from what a few of its images take: for people who are about to wait for it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch.utils.data import Dataset, Subset

from mtlora_lite.batches import images_per_pass
from mtlora_lite.config import TrainConfig, training_set, validation_set
from mtlora_lite.evaluation import evaluate
from mtlora_lite.printing import quietly
from mtlora_lite.study.cost import AVERAGES, kept_bytes, peak_bytes
from mtlora_lite.trainer import Trainer, connect
from mtlora_lite.transforms import collate

FEW = 2  # images of a pass that is timed on a CPU; a GPU, which is fast with many only, gets a whole pass


@dataclass(frozen=True)
class Forecast:
    """What a run will take.

    Attributes:
        steps: optimiser steps.
        trained: images that these see.
        scored: images that all evaluations see.
        training: seconds that an image takes in a step.
        reading: seconds to read and augment one; with workers this happens meanwhile, on other cores.
        scoring: seconds to read, predict and score one.
        image_bytes: memory of an image in a pass.
        fixed_bytes: memory of weights, gradients and the optimiser's averages.
    """

    steps: int
    trained: int
    scored: int
    training: float
    reading: float
    scoring: float
    image_bytes: float
    fixed_bytes: int

    def hours(self) -> dict[str, float]:
        """Hours of each kind of work, one after another."""
        work = {"reading": self.trained * self.reading, "training": self.trained * self.training}
        return {name: seconds / 3600 for name, seconds in {**work, "scoring": self.scored * self.scoring}.items()}

    def memory(self, images: int) -> float:
        """Bytes that training takes with so many images in a pass."""
        return self.fixed_bytes + images * self.image_bytes


def forecast(
    config: TrainConfig, train_images: int | None = None, val_images: int | None = None, *, rounds: int = 2
) -> Forecast:
    """Measure what an image takes in training, reading and scoring, and say what the run takes; it is not begun.

    On a CPU processor time of one thread is measured, on a GPU wall time.

    Args:
        config: the run.
        train_images: how many it will train on; None: as many as there are. So a sample can stand for the whole.
        val_images: how many it will be scored on, likewise.
        rounds: measurements of each kind, of which the median counts.

    Raises:
        ValueError: as ``train``.
    """
    accelerator = connect(config.precision)
    on_gpu = accelerator.device.type == "cuda"
    pass_size = images_per_pass(config.batch_size, config.accumulate) if on_gpu else FEW
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    trainer = Trainer(replace(config, batch_size=pass_size, accumulate=1), accelerator)
    images, judged = training_set(config), validation_set(config)
    batch = collate([images[index % len(images)] for index in range(pass_size)])  # what scenes read once they keep
    after = iter(range(pass_size, pass_size + rounds))
    read = _seconds(lambda: images[next(after) % len(images)], rounds, on_gpu)
    steps = config.num_steps(train_images or len(images))

    def step() -> None:
        trainer.step(1, steps, [batch])

    kept = peak_bytes(step) if on_gpu else kept_bytes(trainer.model, step)
    train = _seconds(step, rounds, on_gpu) / pass_size
    few = _first(judged, pass_size)

    def score() -> None:
        with accelerator.autocast(), quietly():
            evaluate(trainer.judged, few, batch_size=pass_size, protocol=config.protocol, boundary=config.boundary)

    score()
    scoring = _seconds(score, rounds, on_gpu) / len(few)
    torch.set_num_threads(threads)
    scored = _evaluations(config, steps, train_images or len(images)) * (val_images or len(judged))
    return Forecast(
        steps, steps * config.batch_size, scored, train, read, scoring, kept / pass_size, _fixed_bytes(trainer)
    )


def _evaluations(config: TrainConfig, steps: int, images: int) -> int:
    """How often a run is scored: every so many epochs, and at the end."""
    every = (config.eval_every or 0) * config.steps_per_epoch(images)
    return steps // every + bool(steps % every) if every else 1


def _first(dataset: Dataset, count: int) -> Subset:
    few = Subset(dataset, range(min(count, len(dataset))))
    few.name = dataset.name  # by which it is scored
    return few


def _fixed_bytes(trainer: Trainer) -> int:
    parameters = list(trainer.model.parameters())
    numbers = sum(p.numel() * (1 + (1 + AVERAGES) * p.requires_grad) for p in parameters)  # with its gradient
    return numbers * parameters[0].element_size()


def _seconds(work: Callable[[], object], rounds: int, on_gpu: bool) -> float:
    """The median over some calls; what comes first is slow, and has been called before."""
    clock = time.perf_counter if on_gpu else time.process_time
    times = []
    for _ in range(rounds):
        start = clock()
        work()
        if on_gpu:
            torch.cuda.synchronize()
        times.append(clock() - start)
    return median(times)
