"""The widgets, without a browser: what a press or a move makes them draw."""

import subprocess
import sys

import pytest
from ipywidgets import IntSlider, ToggleButton, ToggleButtons
from matplotlib.figure import Figure

from mtlora_lite.tasks import TASKS
from mtlora_lite.widgets import choice, slider, task_picker

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


def test_the_package_itself_needs_no_widgets():
    code = "import sys, mtlora_lite; sys.exit(int('ipywidgets' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
