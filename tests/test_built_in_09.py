"""The maps of errors that notebook 09 builds: averaged, they are the package's scores, and 255 counts nowhere."""

import pytest
import torch
import torch.nn.functional as F
from test_notebooks import building_cell

import mtlora_lite as ml
from mtlora_lite.tasks import TASKS
from mtlora_lite.viz import read_logits

SIZE = (7, 9)


@pytest.fixture(scope="module")
def errors():
    """The function that the building cell of the notebook defines."""
    scope = {"torch": torch, "TASKS": TASKS, "read_logits": read_logits}
    exec(building_cell("09", "builds-errors"), scope)
    return scope["errors"]


def drawn(task):
    """Logits (C, H, W) and a label with pixels that have none, where the task knows such."""
    row = TASKS[task]
    logits = 3 * torch.randn(row.channels, *SIZE)
    target = {
        "classes": lambda: torch.randint(row.channels, (1, *SIZE)),
        "binary": lambda: torch.randint(2, (1, *SIZE)),
        "directions": lambda: F.normalize(torch.randn(3, *SIZE), dim=0),
        "metres": lambda: 10 * torch.rand(1, *SIZE),
    }[row.target]()
    unknown = torch.rand(SIZE) < 0.3 if row.target != "binary" else torch.zeros(SIZE, dtype=torch.bool)
    return logits, target.masked_fill(unknown, 255), unknown


def score(task, logits, target):
    meters = ml.build_metrics(task, protocol="standard")
    meters.update({task: logits[None]}, {task: target[None]})
    return meters.compute()[task]


@pytest.mark.parametrize("task", TASKS)
def test_nothing_is_wrong_where_nobody_knows(errors, task):
    logits, target, unknown = drawn(task)
    assert torch.equal(errors(task, logits, target).isnan(), unknown)


def test_its_mean_angle_is_the_packages_score(errors):
    logits, target, _ = drawn("normals")
    assert errors("normals", logits, target).nanmean().item() == pytest.approx(
        score("normals", logits, target)["mean"], abs=0.02
    )


def test_its_mean_error_of_saliency_is_the_packages_score(errors):
    logits, target, _ = drawn("sal")
    assert errors("sal", logits, target).mean().item() == pytest.approx(score("sal", logits, target)["MAE"])


def test_its_depth_errors_are_metres(errors):
    logits, target, _ = drawn("depth")
    squares = errors("depth", logits.abs(), target).square()
    assert squares.nanmean().sqrt().item() == pytest.approx(score("depth", logits.abs(), target)["rmse"])


@pytest.mark.parametrize("task", ["semseg", "human_parts"])
def test_classes_are_right_or_wrong(errors, task):
    logits, target, unknown = drawn(task)
    wrong = errors(task, logits, target)
    assert torch.equal(wrong[~unknown] == 1, (logits.argmax(0) != target[0])[~unknown])
    right = F.one_hot(torch.where(unknown, 0, target[0]), logits.shape[0]).movedim(-1, 0).float()
    assert errors(task, right, target).nansum() == 0
