"""Which images a step sees does not depend on processes, passes, workers or where a run was taken up again."""

import pytest
import torch
from torch.utils.data import Dataset

from mtlora_lite import batches
from mtlora_lite.batches import DrawnImages, Draws, images_per_pass, training_loader

IMAGES, BATCH = 29, 8  # the last five of every epoch are left out


@pytest.fixture
def as_process(monkeypatch):
    """A function that lets this process be one of several."""

    def be(index, count):
        monkeypatch.setattr(batches, "process_index", lambda: index)
        monkeypatch.setattr(batches, "num_processes", lambda: count)

    return be


def steps_of(as_process, count, accumulate, steps=range(7), seed=3):
    """{step: the images that all processes and passes see}, and the sizes of the passes."""
    seen, sizes = {step: [] for step in steps}, set()
    for index in range(count):
        as_process(index, count)
        draws = Draws(IMAGES, steps, BATCH, accumulate, seed)
        passes = list(draws)
        assert len(passes) == len(draws) == len(steps) * accumulate
        for position, own in enumerate(passes):
            seen[steps[position // accumulate]] += own
            sizes.add(len(own))
    return {step: sorted(draws) for step, draws in seen.items()}, sizes


def test_a_step_sees_the_same_images_however_it_is_split(as_process):
    alone, _ = steps_of(as_process, 1, 1)
    for count, accumulate in ((1, 4), (2, 1), (2, 2), (4, 2), (8, 1)):
        assert steps_of(as_process, count, accumulate) == (alone, {BATCH // count // accumulate})


def test_an_epoch_shows_every_image_at_most_once_and_each_epoch_is_another_order(as_process):
    seen, _ = steps_of(as_process, 1, 1)
    epochs = [[draw for step in range(start, start + 3) for draw in seen[step]] for start in (0, 3)]
    for number, epoch in enumerate(epochs):
        assert {of for of, _ in epoch} == {number}
        assert len({index for _, index in epoch}) == 3 * BATCH
    orders = [[index for _, index in epoch] for epoch in epochs]
    assert orders[0] != orders[1]
    assert steps_of(as_process, 1, 1, seed=4)[0] != seen


def test_a_run_taken_up_again_sees_what_it_would_have_seen(as_process):
    whole, _ = steps_of(as_process, 2, 2)
    rest, _ = steps_of(as_process, 2, 2, range(4, 7))
    assert rest == {step: whole[step] for step in range(4, 7)}


def test_what_cannot_be_split_evenly_is_refused(as_process):
    as_process(0, 3)
    with pytest.raises(ValueError, match=r"8 images does not split evenly into 3 process\(es\) with 1 pass\(es\)"):
        images_per_pass(8, 1)
    assert images_per_pass(24, 4) == 2
    with pytest.raises(ValueError, match="at least 1, not 8 and 0"):
        images_per_pass(8, 0)
    with pytest.raises(ValueError, match="The 7 training images do not fill a batch of 8"):
        Draws(7, range(3), 8)


class Random(Dataset):
    """Samples that are nothing but random numbers, and the number of the image."""

    def __len__(self):
        return IMAGES

    def __getitem__(self, index):
        return {"image": torch.rand(1, 2, 2), "meta": {"id": index}}


def numbers(workers, steps=range(5)):
    loader = training_loader(Random(), Draws(IMAGES, steps, BATCH, 1, 3), workers)
    return [(tuple(meta["id"] for meta in batch["meta"]), batch["image"]) for batch in loader]


def test_augmentation_is_a_function_of_seed_epoch_and_image(as_process):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    expected = numbers(workers=0)
    assert torch.equal(torch.get_rng_state(), before)  # a loader takes nothing from the run
    torch.manual_seed(2)
    for workers, steps in ((0, range(5)), (2, range(5)), (2, range(2, 5))):
        for (ids, images), (same_ids, same) in zip(expected[steps.start :], numbers(workers, steps), strict=True):
            assert ids == same_ids
            assert torch.equal(images, same)
    first = DrawnImages(Random(), seed=3)[(0, 5)]["image"]
    for seed, draw in ((3, (1, 5)), (3, (0, 6)), (4, (0, 5))):
        assert not torch.equal(DrawnImages(Random(), seed)[draw]["image"], first)
