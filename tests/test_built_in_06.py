"""What notebook 06 builds, the losses and the IoU, is what the package computes."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from mtlora_lite.losses import LOSSES
from mtlora_lite.metrics import build_metrics
from mtlora_lite.tasks import IGNORE_INDEX, TASKS

(NOTEBOOK,) = (Path(__file__).parents[1] / "notebooks").glob("06_*.ipynb")
IGNORING = [task for task, row in TASKS.items() if row.target != "binary"]


def built(tag):
    """The names that the cell with a tag defines."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    (text,) = ("".join(cell["source"]) for cell in cells if tag in cell["metadata"].get("tags", ()))
    scope = {"torch": torch, "F": F}
    exec(text, scope)
    return scope


def example(task, seed):
    """Random logits and a target (2, C, 5, 7), a third of it ignored where the task knows that."""
    generator, row = torch.Generator().manual_seed(seed), TASKS[task]
    logits = 3 * torch.randn(2, row.channels, 5, 7, generator=generator)
    draw = torch.rand(2, row.target_channels, 5, 7, generator=generator)
    target = {
        "classes": lambda: (row.channels * draw).long(),
        "binary": lambda: (draw < 0.2).long(),
        "directions": lambda: F.normalize(2 * draw - 1, dim=1),
        "metres": lambda: 1 + 10 * draw,
    }[row.target]()
    if task in IGNORING:
        hidden = torch.rand(2, 1, 5, 7, generator=generator) < 1 / 3
        target = torch.where(hidden, IGNORE_INDEX, target)
    return logits, target


def agree(task, logits, target):
    """Hold the two losses and their gradients against each other; the gradient is returned."""
    losses, gradients = [], []
    for loss in (built("builds-losses")["mine"][task], LOSSES[TASKS[task].loss]):
        x = logits.clone().requires_grad_()
        losses.append(loss(x, target))
        gradients.append(torch.autograd.grad(losses[-1], x)[0])
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients)
    return losses[0], gradients[0]


@pytest.mark.parametrize("task", TASKS)
def test_the_losses_of_the_notebook_equal_those_of_the_package(task):
    for seed in range(3):
        loss, gradient = agree(task, *example(task, seed))
        assert loss > 0
        assert gradient.any()


@pytest.mark.parametrize("task", IGNORING)
def test_ignored_pixels_have_no_gradient_and_a_batch_of_them_costs_nothing(task):
    logits, target = example(task, seed=3)
    _, gradient = agree(task, logits, target)
    hidden = (target == IGNORE_INDEX).all(1, keepdim=True).expand_as(gradient)
    assert hidden.any()
    assert not gradient[hidden].any()
    loss, gradient = agree(task, logits, torch.full_like(target, IGNORE_INDEX))
    assert loss == 0
    assert not gradient.any()


def test_the_normals_loss_stays_tame_near_zero():
    logits, target = example("normals", seed=4)
    logits[:, :, :2] *= 1e-4
    logits[:, :, 0] = 0
    agree("normals", logits, target)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_the_balance_of_saliency_is_the_batch_s_own(share):
    logits, target = example("sal", seed=5)
    agree("sal", logits, (torch.rand(target.shape, generator=torch.Generator().manual_seed(6)) < share).long())


@pytest.mark.parametrize("task", ["semseg", "human_parts"])
def test_the_iou_of_the_notebook_equals_the_package_s(task):
    notebook, (logits, target) = built("builds-iou"), example(task, seed=7)
    target[target == 2] = 1  # class 2 is absent from the labels,
    logits[:, 2:4] = -100  # and neither it nor class 3 is ever predicted
    confusion = notebook["confusion_matrix"](logits.argmax(1), target[:, 0], TASKS[task].channels)
    iou = 100 * notebook["iou"](confusion)
    assert confusion.sum() == (target != IGNORE_INDEX).sum()
    assert iou[2].isnan()
    for protocol, mean in (("standard", iou.nanmean()), ("paper", iou.nan_to_num(0).mean())):
        metrics = build_metrics(task, protocol=protocol)
        metrics.update({task: logits}, {task: target})
        scores = metrics.compute()[task]
        assert scores.pop("mIoU") == pytest.approx(mean.item(), rel=1e-5)
        expected = iou if protocol == "standard" else iou.nan_to_num(0)
        assert list(scores.values()) == pytest.approx(expected.tolist(), rel=1e-5, nan_ok=True)
