"""Which images a run sees, when, on which process, and how they are augmented: a function of its seed alone.

An optimiser step takes ``batch_size`` images in total, however many processes and passes it is split into::

    epoch    a permutation of all images, drawn from (seed, epoch); an incomplete last batch is left out
    step     the next ``batch_size`` images of it
    process  every P-th of these
    pass     one of ``accumulate`` equal pieces of a process's share

So a step sees the same images on a laptop and on eight GPUs. An image is augmented with random numbers drawn from
(seed, epoch, image): neither the order of loading nor the number of workers matters, and a run that goes on at step k
needs to load nothing of the steps before it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from mtlora_lite.distributed import num_processes, process_index
from mtlora_lite.interrupts import leave_to_parent
from mtlora_lite.transforms import Sample, collate

Draw = tuple[int, int]  # an image in an epoch: (epoch, index)


class Draws(Sampler[list[Draw]]):
    """The images of every pass of this process, one pass after another, for some steps of a run.

    Args:
        images: number of training images.
        steps: which steps, counted from 0.
        batch_size: images per step, over all processes and passes.
        accumulate: passes per step.
        seed: of the order.

    Raises:
        ValueError: there are fewer images than a step takes, or a step cannot be split evenly.
    """

    def __init__(self, images: int, steps: range, batch_size: int, accumulate: int = 1, seed: int = 0) -> None:
        if images < batch_size:
            raise ValueError(f"The {images} training images do not fill a batch of {batch_size}: lower batch_size.")
        self.images, self.steps, self.batch_size, self.seed = images, steps, batch_size, seed
        self.pass_size = images_per_pass(batch_size, accumulate)

    def __iter__(self) -> Iterator[list[Draw]]:
        per_epoch = self.images // self.batch_size
        known, order = None, []
        for step in self.steps:
            epoch, place = divmod(step, per_epoch)
            if epoch != known:
                known, order = epoch, self._order(epoch)
            batch = order[place * self.batch_size : (place + 1) * self.batch_size]
            own = batch[process_index() :: num_processes()]
            for start in range(0, len(own), self.pass_size):
                yield [(epoch, index) for index in own[start : start + self.pass_size]]

    def __len__(self) -> int:
        return len(self.steps) * (self.batch_size // num_processes() // self.pass_size)

    def _order(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(_mixed(self.seed, epoch, 0))
        return torch.randperm(self.images, generator=generator).tolist()


class DrawnImages(Dataset):
    """A data set whose random augmentation is that of (seed, epoch, image); indexed by draws."""

    def __init__(self, images: Dataset, seed: int) -> None:
        self.images, self.seed = images, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, draw: Draw) -> Sample:
        epoch, index = draw
        with _random_numbers_of(_mixed(self.seed, epoch, 1 + index)):
            return self.images[index]


def images_per_pass(batch_size: int, accumulate: int) -> int:
    """Return how many images one process takes at a time; a batch that does not split evenly is a ``ValueError``."""
    if batch_size < 1 or accumulate < 1:
        raise ValueError(f"batch_size and accumulate are at least 1, not {batch_size} and {accumulate}.")
    parts = num_processes() * accumulate
    if batch_size % parts:
        raise ValueError(
            f"A batch of {batch_size} images does not split evenly into {num_processes()} process(es) with "
            f"{accumulate} pass(es) each: choose a batch_size that is a multiple of {parts}, or another accumulate."
        )
    return batch_size // parts


def training_loader(images: Dataset, draws: Draws, workers: int = 0) -> DataLoader:
    """Return the passes of a run on this process, loaded ahead by ``workers`` processes."""
    return DataLoader(
        DrawnImages(images, draws.seed), batch_sampler=draws, collate_fn=collate, num_workers=workers,
        worker_init_fn=leave_to_parent, pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # of its own: a loader draws a number for its workers, and not from the run's
    )  # fmt: skip


def _mixed(*numbers: int) -> int:
    """One 64-bit seed out of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def _random_numbers_of(seed: int) -> Iterator[None]:
    """Let torch's random numbers on the CPU be those of a seed, and put them back as they were."""
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(before)
