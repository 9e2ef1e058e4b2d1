"""Losses: the reference numbers, hand-computed values, and batches in which nothing counts."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mtlora_lite.losses import LOSSES, MultiTaskLoss
from mtlora_lite.tasks import IGNORE_INDEX, TASKS

FIXTURES = Path(__file__).parents[1].parent / "shared" / "fixtures" / "losses"
needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the reference numbers are not beside this checkout")
# The reference gives a zero prediction a gradient of 5e8; ours is bounded, so only the value can agree.
UNSAFE_GRADIENT = "normals_zero_prediction_pixel"


def batch(seed: int = 0, size: tuple[int, int] = (6, 8)) -> tuple[dict, dict]:
    """Random predictions and targets of all tasks, some of the pixels ignored."""
    rng = np.random.default_rng(seed)
    logits = {key: torch.tensor(rng.normal(size=(2, task.channels, *size))).float() for key, task in TASKS.items()}
    normals = rng.normal(size=(2, 3, *size))
    targets = {
        "semseg": rng.integers(0, 21, (2, 1, *size)),
        "human_parts": rng.integers(0, 7, (2, 1, *size)),
        "sal": rng.integers(0, 2, (2, 1, *size)),
        "normals": normals / np.linalg.norm(normals, axis=1, keepdims=True),
        "edge": rng.integers(0, 2, (2, 1, *size)),
        "depth": rng.uniform(1, 5, (2, 1, *size)),
    }
    for key in ("semseg", "human_parts", "normals", "depth"):
        targets[key][:, :, :2] = IGNORE_INDEX
    return logits, {key: torch.tensor(target) for key, target in targets.items()}


def loss_of(task: str, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return LOSSES[TASKS[task].loss](logits, target)


@needs_fixtures
def test_agrees_with_the_reference_losses_and_gradients():
    data = load_file(FIXTURES / "data.safetensors")
    cases = json.loads((FIXTURES / "expected.json").read_text())["cases"]
    for case, expected in cases.items():
        logits = data[f"{case}.logits"].float().requires_grad_()
        loss = loss_of(expected["task"], logits, data[f"{case}.label"])
        loss.backward()
        value = 0.0 if expected["loss"] == "NaN" else expected["loss"]
        assert loss.item() == pytest.approx(value, rel=1e-5, abs=1e-9), case
        if expected["loss"] != "NaN":
            assert loss.item() == pytest.approx(expected["loss_float64"], rel=1e-5, abs=1e-9), case
        if case != UNSAFE_GRADIENT:
            for norm in (expected["grad_l2"], expected["grad_l2_float64"]):
                assert logits.grad.norm().item() == pytest.approx(norm, rel=1e-5, abs=1e-9), case


@needs_fixtures
def test_agrees_with_the_reference_total():
    data = load_file(FIXTURES / "data.safetensors")
    expected = json.loads((FIXTURES / "expected.json").read_text())["multi_task_total"]
    logits = {task: data[f"{case}.logits"].float() for task, case in expected["case_of_task"].items()}
    targets = {task: data[f"{case}.label"] for task, case in expected["case_of_task"].items()}
    criterion = MultiTaskLoss(expected["case_of_task"])
    assert criterion.weights == expected["weights"]
    total, losses = criterion(logits, targets)
    assert total.item() == pytest.approx(expected["total"], rel=1e-6)
    assert {task: loss.item() for task, loss in losses.items()} == pytest.approx(expected["per_task"], rel=1e-6)


def test_balanced_bce_by_hand():
    # Three negatives and one positive: w = 3/4 on the positive, 1/4 on each negative; log(1 + e^0) = log 2.
    target = torch.tensor([0, 0, 0, 1]).view(1, 1, 2, 2)
    expected = (0.75 + 3 * 0.25) * np.log(2) / 4
    assert loss_of("sal", torch.zeros(1, 1, 2, 2), target).item() == pytest.approx(expected)
    expected = (0.95 + 3 * 0.05) * np.log(2) / 4
    assert loss_of("edge", torch.zeros(1, 1, 2, 2), target).item() == pytest.approx(expected)


@pytest.mark.parametrize("task", ["semseg", "human_parts", "normals", "depth"])
def test_what_is_predicted_at_ignored_pixels_does_not_matter(task):
    logits, targets = batch()
    before = loss_of(task, logits[task], targets[task])
    logits[task][:, :, :2] += torch.randn_like(logits[task][:, :, :2])
    assert torch.equal(loss_of(task, logits[task], targets[task]), before)


@pytest.mark.parametrize("task", TASKS)
def test_dtype_and_missing_channel_of_a_target_do_not_matter(task):
    logits, targets = batch()
    expected = loss_of(task, logits[task], targets[task])
    floating = loss_of(task, logits[task], targets[task].float())
    torch.testing.assert_close(floating, expected)
    if TASKS[task].target in ("classes", "binary"):
        assert torch.equal(loss_of(task, logits[task], targets[task].to(torch.uint8)), expected)
    if TASKS[task].target_channels == 1:
        assert torch.equal(loss_of(task, logits[task], targets[task][:, 0]), expected)


@pytest.mark.parametrize("task", ["semseg", "human_parts", "normals", "depth"])
def test_a_batch_without_valid_pixels_costs_nothing(task):
    logits, targets = batch()
    prediction = logits[task].requires_grad_()
    loss = loss_of(task, prediction, torch.full_like(targets[task], IGNORE_INDEX))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(prediction.grad, torch.zeros_like(prediction))


def test_a_predicted_normal_of_length_zero_has_a_bounded_gradient():
    logits, targets = batch()
    prediction = torch.zeros_like(logits["normals"]).requires_grad_()
    loss_of("normals", prediction, targets["normals"]).backward()
    assert prediction.grad.abs().max() < 100


def test_only_the_direction_of_a_predicted_normal_counts():
    logits, targets = batch()
    lengths = torch.rand(2, 1, 6, 8) * 10 + 0.1
    scaled = loss_of("normals", logits["normals"] * lengths, targets["normals"])
    torch.testing.assert_close(scaled, loss_of("normals", logits["normals"], targets["normals"]))


def test_the_total_weighs_and_the_parts_do_not():
    logits, targets = batch()
    total, losses = MultiTaskLoss(TASKS, weights={"edge": 3.0})(logits, targets)
    weights = {key: task.loss_weight for key, task in TASKS.items()} | {"edge": 3.0}
    for task, loss in losses.items():
        torch.testing.assert_close(loss, loss_of(task, logits[task], targets[task]))
    assert total.item() == pytest.approx(sum(weights[task] * loss.item() for task, loss in losses.items()))


@pytest.mark.parametrize("sizes", [(1, 1), (1, 3), (0, 2)])
def test_pieces_with_the_counts_of_the_whole_add_up_to_the_whole(sizes):
    """What passes and processes rely on. The pieces hold unlike numbers of valid pixels and of negatives."""
    logits, targets = (
        {task: torch.cat([maps[task]] * 2) for task in TASKS} for maps in batch()
    )  # fmt: skip
    targets["semseg"][0], targets["depth"][0, :, :4], targets["sal"][0] = IGNORE_INDEX, IGNORE_INDEX, 0
    edges = [0, sizes[0], sum(sizes)]
    pieces = [[{t: maps[t][a:b] for t in TASKS} for maps in (logits, targets)] for a, b in itertools.pairwise(edges)]
    whole = [{t: maps[t][: edges[-1]] for t in TASKS} for maps in (logits, targets)]
    criterion = MultiTaskLoss(TASKS, weights={"edge": 3.0})
    own = [criterion.counts(target) for _, target in pieces]
    counts = {task: own[0][task] + own[1][task] for task in TASKS}
    assert {task: value.tolist() for task, value in criterion.counts(whole[1]).items()} == {
        task: value.tolist() for task, value in counts.items()
    }
    total, losses = criterion(*whole)
    parts = [criterion(*piece, counts) for piece in pieces]
    torch.testing.assert_close(parts[0][0] + parts[1][0], total)
    for task in TASKS:
        torch.testing.assert_close(parts[0][1][task] + parts[1][1][task], losses[task])


@pytest.mark.parametrize("task", TASKS)
def test_shapes_that_do_not_fit_are_refused(task):
    logits, targets = batch()
    with pytest.raises(ValueError, match="resize the prediction"):
        loss_of(task, logits[task], targets[task][..., ::2, ::2])
    with pytest.raises(ValueError, match="has shape"):
        loss_of(task, logits[task], targets[task].repeat(1, 2, 1, 1))
    if TASKS[task].target != "classes":
        with pytest.raises(ValueError, match="A prediction of"):
            loss_of(task, logits[task].repeat(1, 2, 1, 1), targets[task])


def test_missing_and_unknown_tasks_are_named():
    logits, targets = batch()
    criterion = MultiTaskLoss(["sal", "depth"])
    with pytest.raises(ValueError, match="No target for the task 'depth'; given: sal"):
        criterion(logits, {"sal": targets["sal"]})
    with pytest.raises(ValueError, match="No prediction for the task 'sal'"):
        criterion({}, targets)
    with pytest.raises(ValueError, match="Weights given for edge"):
        MultiTaskLoss(["sal"], weights={"edge": 1.0})
