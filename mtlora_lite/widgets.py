"""Widgets for the notebooks; each draws with a plain function from a choice to a figure.

The picture is an image widget and no captured output: it is replaced at once, without flicker, keeps its height, and
looks the same in JupyterLab, in a served page and in an editor.
"""

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from ipywidgets import HTML, Box, HBox, Image, IntSlider, Layout, ToggleButton, ToggleButtons, ValueWidget, VBox

from mtlora_lite.tasks import check_tasks, get_task

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def task_picker(draw: Callable[[Sequence[str]], "Figure"], tasks: Sequence[str], *, height: int = 320) -> VBox:
    """Show one button per task, and below them what ``draw`` makes of the tasks that are pressed.

    Args:
        draw: maps task keys, in the order of ``tasks``, to a figure.
        tasks: the tasks to choose from; the first one is pressed at the start.
        height: of the picture, in pixels of the screen, whatever is drawn.
    """
    buttons = {task: _task_button(task) for task in check_tasks(tasks)}
    show, picture = _picture(height)

    def redraw(_: object = None) -> None:
        picked = [task for task, button in buttons.items() if button.value]
        show(draw(picked) if picked else None)

    buttons[tasks[0]].value = True
    redraw()
    for button in buttons.values():
        button.observe(redraw, "value")
    return VBox([HBox(list(buttons.values()), layout=Layout(flex_flow="row wrap")), picture])


def slider(draw: Callable[[int], "Figure"], label: str, last: int, *, start: int = 0, height: int = 320) -> VBox:
    """Show a slider over 0 ... ``last``, and below it what ``draw`` makes of the number.

    Args:
        draw: maps a number to a figure; it is called when the slider is let go.
        label: what is chosen, e.g. "rank".
        last: the right end of the slider.
        start: where it stands at the start.
        height: of the picture, in pixels of the screen, whatever is drawn.
    """
    bar = IntSlider(start, 0, last, description=label, continuous_update=False, layout=Layout(width="480px"))
    return _redrawn(bar, draw, height)


def choice(draw: Callable[[str], "Figure"], options: Sequence[str], *, height: int = 320) -> VBox:
    """Show one button per option, of which one is pressed, and below them what ``draw`` makes of it.

    Args:
        draw: maps an option to a figure.
        options: what there is to choose from; the first one is pressed at the start.
        height: of the picture, in pixels of the screen, whatever is drawn.
    """
    buttons = ToggleButtons(options=list(options), style={"button_width": "auto"})
    return _redrawn(buttons, draw, height)


def _redrawn(control: ValueWidget, draw: Callable[[Any], "Figure"], height: int) -> VBox:
    """A control with one value, and below it what ``draw`` makes of the value."""
    show, picture = _picture(height)
    show(draw(control.value))
    control.observe(lambda change: show(draw(change.new)), "value")
    return VBox([control, picture])


def _task_button(task: str) -> ToggleButton:
    """A button underlined in the task's colour."""
    row = get_task(task)
    layout = Layout(width="auto", border_bottom=f"4px solid {row.color}")
    return ToggleButton(description=row.title, tooltip=f"Show or hide: {row.title}", layout=layout)


def _picture(height: int) -> tuple[Callable[["Figure | None"], None], Box]:
    """A frame of fixed height, and a function that puts a figure into it (or, for None, a request to choose)."""
    image = Image(layout=Layout(max_width="100%", max_height="100%", object_fit="scale-down"))
    request = HTML("Choose at least one.")
    frame = Box([image], layout=Layout(height=f"{height}px", overflow="hidden", align_items="flex-start"))

    def show(figure: "Figure | None") -> None:
        if figure is not None:
            image.value = _png(figure)
        frame.children = [request if figure is None else image]

    return show, frame


def _png(figure: "Figure") -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()
