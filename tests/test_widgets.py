"""The widgets, without a browser: what a press or a move makes them draw."""

import subprocess
import sys

import pytest
from ipywidgets import HTML, Button, IntProgress, IntSlider, SelectionSlider, ToggleButton, ToggleButtons
from matplotlib.figure import Figure

from mtlora_lite.config import TrainConfig
from mtlora_lite.live import State
from mtlora_lite.tasks import TASKS
from mtlora_lite.widgets import LiveTraining, choice, slider, task_picker

PNG = b"\x89PNG"


@pytest.fixture
def draw():
    """A drawing function that remembers what it was asked for."""

    def function(choice):
        function.asked.append(choice)
        figure = Figure(figsize=(1, 1))
        figure.text(0, 0, str(choice))
        return figure

    function.asked = []
    return function


def parts(widget, kind):
    children = getattr(widget, "children", ())
    return [child for child in children if isinstance(child, kind)] + [p for c in children for p in parts(c, kind)]


def test_the_picker_draws_the_pressed_tasks_in_the_order_of_the_tasks(draw):
    picker = task_picker(draw, ("semseg", "depth", "edge"))
    buttons = parts(picker, ToggleButton)
    assert [button.description for button in buttons] == [TASKS[t].title for t in ("semseg", "depth", "edge")]
    assert all(button.tooltip for button in buttons)  # without one, browsers show "null"
    buttons[2].value = True
    buttons[1].value = True
    buttons[0].value = False
    assert draw.asked == [["semseg"], ["semseg", "edge"], ["semseg", "depth", "edge"], ["depth", "edge"]]


def test_the_picker_asks_for_a_choice_when_nothing_is_pressed_and_keeps_its_height(draw):
    picker = task_picker(draw, ("semseg", "depth"), height=123)
    frame = picker.children[1]
    before = frame.children[0].value
    parts(picker, ToggleButton)[0].value = False
    assert "Choose" in frame.children[0].value
    assert draw.asked == [["semseg"]]
    parts(picker, ToggleButton)[1].value = True
    assert frame.children[0].value[:4] == PNG
    assert frame.children[0].value != before
    assert frame.layout.height == "123px"


def test_the_picker_turns_an_unknown_task_down():
    with pytest.raises(ValueError, match="Did you mean 'depth'"):
        task_picker(lambda tasks: Figure(), ("dept",))


def test_the_slider_draws_when_it_is_let_go_and_only_then(draw):
    widget = slider(draw, "rank", 8, start=3, height=123)
    (bar,) = parts(widget, IntSlider)
    assert (bar.description, bar.min, bar.max, bar.continuous_update) == ("rank", 0, 8, False)
    before = widget.children[1].children[0].value
    bar.value = 5
    assert draw.asked == [3, 5]
    assert widget.children[1].children[0].value[:4] == PNG
    assert widget.children[1].children[0].value != before
    assert widget.children[1].layout.height == "123px"


def test_of_several_options_one_is_chosen_and_drawn(draw):
    widget = choice(draw, ("hrnet", "aspp"), height=123)
    (buttons,) = parts(widget, ToggleButtons)
    before = widget.children[1].children[0].value
    buttons.value = "aspp"
    assert draw.asked == ["hrnet", "aspp"]
    assert widget.children[1].children[0].value[:4] == PNG
    assert widget.children[1].children[0].value != before


@pytest.fixture
def panel(cache, tmp_path):
    """Live training of two of three tasks."""
    config = TrainConfig(
        tasks=("semseg", "depth"), img_size=64, train_count=8, val_count=2, steps=3, batch_size=4, pretrained=False,
        options={"rank": 4, "task_rank": 1, "scale": 1.7}, decoder_options={"expansion": 1}, trackers=(), out=tmp_path,
    )  # fmt: skip
    return LiveTraining(config, ("semseg", "edge", "depth"), ranks=(1, 4, 6), shown=(1,), height=123)


def test_live_training_runs_what_is_chosen_once_however_often_it_is_pressed(panel, tmp_path):
    train, stop, go_on = parts(panel, Button)
    (rank,), (bar,), tasks = parts(panel, SelectionSlider), parts(panel, IntProgress), parts(panel, ToggleButton)
    assert ([task.value for task in tasks], rank.value) == ([True, False, True], 4)
    assert (train.disabled, stop.disabled, go_on.disabled) == (False, True, True)
    rank.value, tasks[1].value, tasks[0].value = 6, True, False
    train.click()
    run = panel.run
    train.click()
    assert panel.run is run
    assert (train.disabled, rank.disabled, tasks[0].disabled, stop.disabled) == (True, True, True, False)
    assert run.wait(60) == State.FINISHED
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    assert (run.config.tasks, run.config.options["rank"], run.config.options["scale"]) == (("edge", "depth"), 6, 1.7)
    assert (train.disabled, rank.disabled, tasks[0].disabled, stop.disabled) == (False, False, False, True)
    assert (bar.value, bar.max, bar.bar_style) == (3, 3, "success")
    assert parts(panel, HTML)[0].value == run.status()
    train.click()
    assert panel.run.wait(60) == State.FINISHED
    assert panel.run.config.out == tmp_path / "2"


def test_live_training_stops_and_goes_on(panel):
    train, stop, go_on = parts(panel, Button)
    train.click()
    stop.click()
    assert panel.run.wait(60) == State.STOPPED
    assert (train.disabled, stop.disabled, go_on.disabled) == (False, True, False)
    assert "everything is saved" in parts(panel, HTML)[0].value
    stopped = panel.run
    go_on.click()
    assert panel.run is stopped
    assert stopped.wait(60) == State.FINISHED
    assert go_on.disabled


def test_live_training_shows_what_is_chosen_before_it_runs_and_what_goes_wrong(panel, monkeypatch):
    train, stop, _ = parts(panel, Button)
    (rank,), tasks, frame = parts(panel, SelectionSlider), parts(panel, ToggleButton), panel.children[-1]
    shown = [frame.children[0].value]
    for change in (lambda: setattr(rank, "value", 1), lambda: setattr(tasks[1], "value", True)):
        change()
        shown.append(frame.children[0].value)
    assert len(set(shown)) == 3
    assert all(picture[:4] == PNG for picture in shown)
    for task in tasks:
        task.value = False
    assert train.disabled
    assert "Choose" in frame.children[0].value
    tasks[0].value = True

    def fail(*_, **__):
        raise OSError("no <room> left")

    monkeypatch.setattr("mtlora_lite.live.train", fail)
    train.click()
    assert panel.run.wait(60) == State.FAILED
    assert parts(panel, HTML)[0].value == "The run has failed: OSError: no &lt;room&gt; left"
    assert (train.disabled, stop.disabled, parts(panel, IntProgress)[0].bar_style) == (False, True, "danger")


def test_the_package_itself_needs_no_widgets():
    code = "import sys, mtlora_lite; sys.exit(int('ipywidgets' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
