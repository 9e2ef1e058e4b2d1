"""Two widgets for the notebooks; each draws with a plain function from a choice to a figure.

The picture is an image widget and no captured output: it is replaced at once, without flicker, keeps its height, and
looks the same in JupyterLab, in a served page and in an editor.
"""

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from ipywidgets import HTML, Box, HBox, Image, IntSlider, Layout, ToggleButton, VBox

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


def rank_slider(draw: Callable[[int], "Figure"], max_rank: int, *, rank: int = 1, height: int = 320) -> VBox:
    """Show a slider from rank 0 to ``max_rank``, and below it what ``draw`` makes of the rank.

    Args:
        draw: maps a rank to a figure.
        max_rank: the right end of the slider.
        rank: where the slider stands at the start.
        height: of the picture, in pixels of the screen, whatever is drawn.
    """
    slider = IntSlider(rank, 0, max_rank, description="rank", continuous_update=False, layout=Layout(width="480px"))
    show, picture = _picture(height)
    show(draw(rank))
    slider.observe(lambda change: show(draw(change.new)), "value")
    return VBox([slider, picture])


def _task_button(task: str) -> ToggleButton:
    """A button underlined in the task's colour."""
    row = get_task(task)
    layout = Layout(width="auto", border_bottom=f"4px solid {row.color}")
    return ToggleButton(description=row.title, layout=layout)


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
