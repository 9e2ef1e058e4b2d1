"""The report of a training run: that it says what the run's files say, shows its figures, and its commands run."""

import dataclasses
import json
import math
import re
import shlex

import pytest
from PIL import Image

import mtlora_lite as ml
from mtlora_lite.cli import main
from mtlora_lite.config import TrainConfig
from mtlora_lite.engine import train
from mtlora_lite.metrics import headline, headline_names
from mtlora_lite.references import Reference, get_reference, write_reference
from mtlora_lite.report import loss_curves, score_curves, write_report
from mtlora_lite.tasks import TASKS

pytestmark = pytest.mark.usefixtures("cache")

TASKS_HERE = ("semseg", "normals")


@pytest.fixture(scope="module")
def run(tmp_path_factory, cache):
    """The configuration of a short run with two evaluations and a reference, and the model that it trained."""
    folder = tmp_path_factory.mktemp("report")
    write_reference(folder / "before.json", Reference(
        {"semseg": 4.0, "normals": 40.0}, {"semseg": "mIoU", "normals": "mean"}, "standard", "models of yesterday"
    ))  # fmt: skip
    config = TrainConfig(
        tasks=TASKS_HERE, img_size=64, steps=4, batch_size=4, train_count=8, val_count=8, eval_every=1, lr=2e-3, seed=3,
        options={"rank": 2, "task_rank": 1}, reference=str(folder / "before.json"), out=folder / "run",
    )  # fmt: skip
    return config, train(config).model


@pytest.fixture(scope="module")
def report(run):
    return write_report(*run).read_text()


def rows(report):
    """{first cell: the other cells} of all tables."""
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in report.splitlines() if line[:1] == "|"]
    return {first: rest for first, *rest in lines}


def test_it_says_how_each_task_scored_beside_the_reference(run, report):
    result, reference = json.loads((run[0].out / "metrics.json").read_text()), get_reference(run[0].reference)
    for task, value in headline(result["metrics"]).items():
        row, before = TASKS[task], reference.scores[task]
        gain = ml.delta_m({task: value}, {task: before})
        arrow = "↑" if row.higher_is_better else "↓"
        expected = [f"{headline_names(result['metrics'])[task]} {arrow}", f"{value:.2f} {row.unit}"]
        assert rows(report)[row.title] == [*expected, f"{before:.2f} {row.unit}", f"{gain:+.1f} %"]
    assert f"Δm {result['delta_m']:+.2f} % over models of yesterday (standard protocol)." in report


def test_it_says_what_was_trained(run, report):
    count = ml.parameter_report(run[1]).loc["total"]
    found = rows(report)
    assert found["trained parameters"] == [f"{count['trainable']:,} of {count.sum():,}"]
    assert found["options"] == ["rank 2, task_rank 1"]
    assert found["training"] == ["4 steps of 4 images, peak lr 0.002, seed 3"]
    assert found["scored on"] == ["8 images, split val of scenes"]


def test_its_tables_line_up_as_plain_text(report):
    for block in re.findall(r"(?:^\|.*\n)+", report, re.MULTILINE):
        assert len({len(line) for line in block.splitlines()}) == 1


def test_every_figure_that_it_shows_is_there_and_none_is_left_over(run, report):
    folder = run[0].out
    shown = set(re.findall(r"!\[.+\]\((.+)\)", report))
    assert shown == {"report/losses.png", "report/scores.png", "report/predictions.png"}
    assert {f"report/{path.name}" for path in (folder / "report").iterdir()} == shown
    for name in shown:
        with Image.open(folder / name) as image:
            assert min(image.size) > 100


def test_without_a_reference_and_with_one_evaluation_it_leaves_out_what_there_is_not(run, tmp_path):
    once = dataclasses.replace(run[0], reference=None, eval_every=None, steps=2, out=tmp_path)
    text = write_report(once, train(once).model).read_text()
    assert "Δm" not in text
    assert "scores.png" not in text
    assert len(rows(text)["Surface normals"]) == 2


def test_the_commands_that_it_names_run(run, report, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (80, 70), "teal").save("PHOTO.jpg")
    (block,) = re.findall(r"```bash\n(.*?)\n```", report, re.DOTALL)
    for line in block.splitlines():
        words = shlex.split(line)
        start = next(index for index, word in enumerate(words) if word in ("predict", "eval"))
        assert main([*words[start:], *(["--count", "2"] if words[start] == "eval" else [])]) == 0
    assert "Surface normals" in capsys.readouterr().out


def test_the_thick_line_of_a_loss_is_its_running_mean():
    log = [{"step": step, "depth": float(step)} for step in range(1, 101)]
    every, mean = loss_curves(log, ["depth"]).axes[0].lines
    assert list(every.get_ydata()) == [float(step) for step in range(1, 101)]
    assert list(mean.get_xdata()) == list(range(4, 101))  # windows of 100 / 25 steps
    assert mean.get_ydata()[0] == pytest.approx(2.5)
    assert mean.get_ydata()[-1] == pytest.approx(98.5)


def test_a_step_whose_images_show_nothing_of_a_task_has_no_point():
    values = [4.0, 0.0, 2.0, 1.0] * 25  # the second of four shows nobody
    log = [{"step": step, "human_parts": value} for step, value in enumerate(values, 1)]
    axes = loss_curves(log, ["human_parts"]).axes[0]
    every, mean = (line.get_ydata() for line in axes.lines)
    assert list(every[[0, 2, 3]]) == [4.0, 2.0, 1.0]
    assert math.isnan(every[1])
    assert mean == pytest.approx([7 / 3] * 97)  # any four steps have three values
    assert axes.get_yscale() == "log"  # like all others


def test_a_task_of_which_no_step_shows_anything_has_an_empty_panel():
    axes = loss_curves([{"step": step, "human_parts": 0.0} for step in (1, 2)], ["human_parts"]).axes[0]
    assert all(math.isnan(value) for line in axes.lines for value in line.get_ydata())


def test_scores_are_drawn_over_the_steps_with_the_reference():
    evaluations = [{"step": 5, "edge": 40.0}, {"step": 10, "edge": 50.0}]
    reference = Reference({"edge": 45.0}, {"edge": "F_1px"}, "standard", "here")
    axes = score_curves(evaluations, {"edge": "F_1px"}, reference).axes[0]
    scores, line = axes.lines
    assert list(zip(scores.get_xdata(), scores.get_ydata(), strict=True)) == [(5, 40.0), (10, 50.0)]
    assert set(line.get_ydata()) == {45.0}
    assert axes.get_ylabel() == "F_1px, % ↑"


@pytest.mark.parametrize("tasks", [("sal",), ("sal", "depth", "edge", "normals"), tuple(ml.TASKS)], ids=len)
def test_there_is_a_panel_for_each_task_and_no_empty_one(tasks):
    log = [{"step": step, **dict.fromkeys(tasks, 1.0 / step)} for step in range(1, 4)]
    panels = [axes.get_title() for axes in loss_curves(log, tasks).axes if axes.axison]
    assert panels == [ml.TASKS[task].title for task in tasks]
