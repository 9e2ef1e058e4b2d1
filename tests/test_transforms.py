"""Image and targets move together: flips undo themselves, normals turn with the picture, labels keep their values."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mtlora_lite.datasets import PascalContext
from mtlora_lite.tasks import TASKS
from mtlora_lite.transforms import (
    AUGMENTATIONS,
    Crop,
    HorizontalFlip,
    IgnoreAbsentParts,
    Jitter,
    Resize,
    RotateScale,
    ToTensors,
    collate,
    eval_transform,
    train_transform,
)

SHARED = Path(__file__).parents[1].parent / "shared"
HEIGHT, WIDTH = 36, 48


def random_sample(seed=0, shape=(HEIGHT, WIDTH)):
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(*shape, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    normals[rng.random(shape) < 0.2] = 255
    return {
        "image": rng.integers(0, 256, (*shape, 3), dtype=np.uint8),
        "semseg": rng.choice([0, 5, 20, 255], shape).astype(np.uint8),
        "human_parts": rng.integers(0, 7, shape, dtype=np.uint8),
        "sal": rng.integers(0, 2, shape, dtype=np.uint8),
        "normals": normals.astype(np.float32),
        "edge": rng.integers(0, 2, shape, dtype=np.uint8),
        "depth": np.where(rng.random(shape) < 0.2, 255, rng.uniform(1, 50, shape)).astype(np.float32),
        "meta": {"id": "a", "size": shape},
    }


def radial_sample(shape=(40, 64)):
    """A picture that only depends on the distance from the centre, and normals that point away from it."""
    height, width = shape
    y, x = np.mgrid[:height, :width]
    x, y = x - (width - 1) / 2, (height - 1) / 2 - y  # y up
    radius = np.hypot(x, y)
    normals = np.stack([x / radius, y / radius, np.ones(shape)], axis=-1) / math.sqrt(2)
    image = np.repeat((127 + 100 * np.cos(radius / 6))[..., None], 3, axis=-1)
    return {"image": image.astype(np.uint8), "normals": normals.astype(np.float32)}, radius


def assert_same(a, b, **tolerance):
    assert a.keys() == b.keys()
    for key in a.keys() - {"meta"}:
        torch.testing.assert_close(a[key], b[key], **tolerance, msg=lambda text, key=key: f"{key}: {text}")


def test_two_flips_are_none():
    sample = ToTensors()(random_sample())
    flip = HorizontalFlip(probability=1)
    assert_same(flip(flip(sample)), sample, rtol=0, atol=0)


def test_a_flip_mirrors_directions_and_keeps_what_is_invalid():
    sample = random_sample()
    flipped = HorizontalFlip(probability=1)(ToTensors()(sample))
    expected = sample["normals"][:, ::-1].copy()
    expected[..., 0] = np.where(expected[..., 0] == 255, 255, -expected[..., 0])
    np.testing.assert_array_equal(flipped["normals"].permute(1, 2, 0), expected)
    np.testing.assert_array_equal(flipped["depth"][0], sample["depth"][:, ::-1])


def test_a_quarter_turn_is_rot90_and_turns_the_normals():
    sample = random_sample(shape=(32, 32))
    turned = RotateScale.apply(ToTensors()(sample), math.pi / 2, 1.0)
    for task in ("semseg", "human_parts", "sal", "edge", "depth"):
        np.testing.assert_array_equal(turned[task][0], np.rot90(sample[task]), err_msg=task)
    x, y, z = np.moveaxis(np.rot90(sample["normals"]), -1, 0)
    expected = np.where(x == 255, 255, np.stack([-y, x, z]))  # right becomes up, up becomes left
    np.testing.assert_allclose(turned["normals"], expected, atol=2e-4)
    np.testing.assert_allclose(turned["image"].permute(1, 2, 0), np.rot90(sample["image"]), atol=1)


@pytest.mark.parametrize("angle", [-20, 13])
def test_what_is_round_stays_as_it_is_under_rotation(angle):
    sample, radius = radial_sample()
    turned = RotateScale.apply(ToTensors()(sample), math.radians(angle), 1.0)
    inside = torch.from_numpy((radius < 18) & (radius > 4))
    image_error = (turned["image"].float() - ToTensors()(sample)["image"].float()).abs()[:, inside]
    assert image_error.max() < 6
    cosine = (turned["normals"] * ToTensors()(sample)["normals"]).sum(0)[inside]
    assert torch.rad2deg(torch.acos(cosine.clamp(-1, 1))).max() < 2


def test_what_is_zoomed_in_comes_nearer_and_what_is_zoomed_out_gets_a_frame():
    sample = random_sample() | {"depth": np.full((HEIGHT, WIDTH), 6, np.float32)}
    sample = ToTensors()(sample | {"semseg": np.full((HEIGHT, WIDTH), 5, np.uint8)})
    near = RotateScale.apply(sample, 0.0, 1.25)
    assert (near["depth"] == 6 / 1.25).all()
    assert (near["semseg"] == 5).all()
    far = RotateScale.apply(sample, 0.0, 0.75)
    frame = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    frame[5:-5, 6:-6] = False  # 0.75 of 36 x 48 leaves 4.5 and 6 pixels at either side
    inner = torch.zeros_like(frame)
    inner[5:-5, 7:-7] = True
    frame[4], frame[-5] = False, False
    assert (far["depth"][0, frame] == 255).all()
    assert (far["normals"][:, frame] == 255).all()
    assert (far["semseg"][0, frame] == 0).all()
    assert (far["image"][:, frame] == 0).sum() > 0.9 * 3 * frame.sum()  # but for what the cubic kernel spills
    assert (far["depth"][0, inner] == 8).all()
    assert (far["semseg"][0, inner] == 5).all()


@pytest.mark.parametrize(
    ("transform", "angle"), [(Resize((29, 60)), 0.0), (lambda sample: RotateScale.apply(sample, 0.3, 0.9), 0.3)]
)
def test_interpolated_normals_are_blind_to_invalid_neighbours(transform, angle):
    sample = random_sample()
    sample["normals"][:] = [0.6, 0.0, 0.8]
    sample["normals"][10:20, 15:30] = 255
    moved = transform(ToTensors()(sample))["normals"]
    valid = (moved != 255).all(0)
    assert torch.equal(valid, (moved != 255).any(0))
    assert 0.5 < valid.float().mean() < 0.95
    expected = torch.tensor([0.6 * math.cos(angle), 0.6 * math.sin(angle), 0.8])
    torch.testing.assert_close(moved[:, valid], expected[:, None].expand(3, valid.sum()), rtol=0, atol=1e-5)


def test_the_image_is_clipped_where_the_cubic_kernel_overshoots():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 4:] = 255
    resized = Resize(64)(ToTensors()({"image": image}))["image"].float()
    assert (resized[..., 40:] > 250).all()
    assert (resized[..., :24] < 5).all()


def test_a_parts_map_that_lost_its_parts_is_ignored():
    for values, expected in (([0, 0], 255), ([0, 255], 255), ([0, 3], None)):
        parts = torch.tensor(values, dtype=torch.uint8).view(1, 1, 2)
        result = IgnoreAbsentParts()({"human_parts": parts})["human_parts"]
        assert torch.equal(result, parts if expected is None else torch.full_like(parts, expected))


@pytest.mark.parametrize("transform", [eval_transform((32, 24)), train_transform((32, 24), tuple(AUGMENTATIONS))])
def test_a_batch_has_the_shapes_of_the_task_table(transform):
    batch = collate([transform(random_sample(seed, (30 + seed, 41))) for seed in range(3)])
    assert batch["image"].shape == (3, 3, 32, 24)
    assert batch["image"].dtype == torch.float32
    assert [meta["size"] for meta in batch["meta"]] == [(30, 41), (31, 41), (32, 41)]
    for task, row in TASKS.items():
        assert batch[task].shape == (3, row.target_channels, 32, 24)
        if row.target == "classes":
            assert batch[task].dtype == torch.uint8


def test_the_same_seed_augments_the_same_and_leaves_the_arrays_alone():
    transform, sample = train_transform(32, tuple(AUGMENTATIONS)), random_sample()
    before = {key: value.copy() for key, value in sample.items()}
    first, second, third = (torch.manual_seed(seed) and transform(sample) for seed in (5, 5, 6))
    assert_same(first, second, rtol=0, atol=0)
    assert not torch.equal(first["semseg"], third["semseg"])
    for key in before.keys() - {"meta"}:
        np.testing.assert_array_equal(sample[key], before[key])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_no_augmentation_invents_a_label_or_breaks_a_target(name):
    transform = train_transform((37, 29), (name,))
    for seed in range(12):
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        sample = random_sample(seed, tuple(rng.integers(20, 60, 2)))
        moved = transform(sample)
        for task in ("semseg", "human_parts", "sal", "edge"):
            assert set(moved[task].unique().tolist()) <= {*np.unique(sample[task]).tolist(), 0}, task
        valid = (moved["normals"] != 255).all(0)
        assert torch.equal(valid, (moved["normals"] != 255).any(0))
        torch.testing.assert_close(moved["normals"][:, valid].norm(dim=0), torch.ones(valid.sum()))
        depth = moved["depth"][moved["depth"] != 255]
        assert depth.min() >= 1 / 1.5 - 1e-6
        assert depth.max() <= 50 / 0.75


def test_what_augments_is_what_was_asked_for():
    sample = random_sample()
    assert_same(train_transform((HEIGHT, WIDTH), ())(sample), eval_transform((HEIGHT, WIDTH))(sample), rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"'rotat'\. Augmentations: flip, rotate, scale, crop, jitter"):
        train_transform(32, ("rotat",))


def test_the_scales_of_nyud_are_three():
    sample = ToTensors()(random_sample() | {"depth": np.full((HEIGHT, WIDTH), 6, np.float32)})
    seen = set()
    for seed in range(30):
        torch.manual_seed(seed)
        seen |= set(AUGMENTATIONS["scale"](sample)["depth"].unique().tolist())
    assert sorted(seen) == pytest.approx([6 / 1.5, 6 / 1.2, 6.0])


def test_a_crop_is_a_window_of_image_and_targets_alike_and_comes_nearer():
    sample = ToTensors()(random_sample(shape=(40, 60)))
    torch.manual_seed(3)
    cut = Crop(smallest=0.5)(sample)
    height, width = cut["image"].shape[-2:]
    assert 20 <= height < 40
    assert abs(height * 60 - width * 40) <= 60  # its proportions, to a pixel
    windows = sample["image"].unfold(1, height, 1).unfold(2, width, 1).permute(1, 2, 0, 3, 4)
    ((top, left),) = (windows == cut["image"]).all(-1).all(-1).all(-1).nonzero().tolist()
    for task in TASKS:
        window = sample[task][:, top : top + height, left : left + width]
        expected = torch.where(window == 255, window, window * height / 40) if task == "depth" else window
        torch.testing.assert_close(cut[task], expected, rtol=0.02 if task == "depth" else 0, atol=0)


def test_jitter_changes_nothing_but_the_colours():
    sample = ToTensors()(random_sample())
    torch.manual_seed(0)
    changed = Jitter()(sample)
    assert not torch.equal(changed["image"], sample["image"])
    assert changed["image"].dtype == torch.uint8
    assert_same({**changed, "image": sample["image"]}, sample, rtol=0, atol=0)


def test_targets_keep_their_own_size_where_they_are_scored_at_it():
    transform = eval_transform(32, resize_targets=False)
    samples = [transform(random_sample(seed, (30 + seed, 41))) for seed in range(2)]
    batch = collate(samples)
    assert batch["image"].shape == (2, 3, 32, 32)
    assert [target.shape for target in batch["normals"]] == [(3, 30, 41), (3, 31, 41)]


@pytest.mark.skipif(not SHARED.is_dir(), reason="real PASCAL files are not beside the checkout")
@pytest.mark.parametrize(("task", "split"), [("semseg", "all"), ("human_parts", "parts")])
def test_labels_at_448_agree_with_the_released_loader(task, split):
    reference = json.loads((SHARED / f"fixtures/real_files/{task}.json").read_text())["images"]
    dataset = PascalContext(SHARED / "realdata", split, task, eval_transform(448))
    for image_id, expected in reference.items():
        label = dataset[dataset.ids.index(image_id)][task].numpy()
        assert hashlib.sha256(label.tobytes()).hexdigest() == expected["val448_sha256_uint8_row_major"]
