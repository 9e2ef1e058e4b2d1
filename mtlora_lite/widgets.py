"""Widgets for the notebooks; each draws with a plain function from a choice to a figure.

The picture is an image widget and no captured output: it is replaced at once, without flicker, keeps its height, and
looks the same in JupyterLab, in a served page and in an editor.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING, Any

from ipywidgets import (
    HTML,
    Box,
    Button,
    HBox,
    Image,
    IntProgress,
    IntSlider,
    Layout,
    SelectionSlider,
    ToggleButton,
    ToggleButtons,
    ValueWidget,
    VBox,
    Widget,
)  # fmt: skip

from mtlora_lite.config import TrainConfig
from mtlora_lite.live import LiveRun, State, held_out, live_figure, next_folder
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
    buttons = _task_buttons(tasks, tasks[:1])
    show, picture = _picture(height)

    def redraw(_: object = None) -> None:
        picked = list(_pressed(buttons))
        show(draw(picked) if picked else None)

    redraw()
    for button in buttons.values():
        button.observe(redraw, "value")
    return VBox([_row(buttons.values()), picture])


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


class LiveTraining(VBox):
    """Choose tasks and a rank, press Train, and watch losses and predictions while the model trains.

    The run goes on in a thread of its own, so that the notebook stays free. Stop lets it finish the step in hand and
    save everything; Go on takes it up again. Every press of Train begins a run in a folder of its own.

    Attributes:
        run: the run that was started last, see ``live.LiveRun``; None before the first.

    Args:
        config: of the runs, with the tasks that are pressed at the start and the rank as an option; they lie in ``out``
            /1, /2, ...
        tasks: the tasks to choose from.
        ranks: the ranks to choose from.
        shown: which validation images are looked at.
        height: of the picture, in pixels of the screen.
    """

    def __init__(
        self, config: TrainConfig, tasks: Sequence[str], *, ranks: Sequence[int] = (1, 2, 4, 8, 16, 32),
        shown: Sequence[int] = (0,), height: int = 480,
    ) -> None:  # fmt: skip
        self.config, self.run = config, None
        self._batch = held_out(dataclasses.replace(config, tasks=check_tasks(tasks)), shown)
        self._tasks = _task_buttons(tasks, config.tasks)
        self._rank = SelectionSlider(
            options=list(ranks), value=config.options["rank"], description="rank", continuous_update=False
        )
        self._train, self._stop, self._go_on = (
            Button(description=words, tooltip=tip, button_style=style, icon=icon, layout=Layout(width="100px"))
            for words, tip, style, icon in (
                ("Train", "Begin a run", "primary", "play"), ("Stop", "Save and stop", "warning", "stop"),
                ("Go on", "Go on where it was stopped", "", "step-forward"),
            )
        )  # fmt: skip
        self._stop.disabled = self._go_on.disabled = True
        self._bar = IntProgress(0, 0, config.steps, layout=Layout(width="200px", margin="2px 2px 2px 16px"))
        self._status = HTML(layout=Layout(height="58px", overflow="hidden"))  # two lines, also where one would do
        (self._show, picture), self._one_voice = _picture(height), Lock()
        self._train.on_click(self._begin)
        self._go_on.on_click(lambda _: self._start())
        self._stop.on_click(self._halt)
        for control in (*self._tasks.values(), self._rank):
            control.observe(self._preview, "value")
        controls = _row([self._rank, self._train, self._stop, self._go_on, self._bar])
        super().__init__([_row(self._tasks.values()), controls, self._status, picture])
        self._preview()

    def chosen(self) -> TrainConfig:
        """The run that a press of Train would begin, but for its folder."""
        options = {**self.config.options, "rank": self._rank.value}
        return dataclasses.replace(self.config, tasks=_pressed(self._tasks), options=options)

    def _preview(self, _: object = None) -> None:
        """Show what is chosen: no curves yet, and labels."""
        if self._runs():
            return  # a click that came before the buttons were grey
        chosen = bool(_pressed(self._tasks))
        self._train.disabled = not chosen
        self._say("Press Train." if chosen else "")
        self._show(self._figure(LiveRun(self.chosen(), self._batch)) if chosen else None)

    def _begin(self, _: Button) -> None:
        if self._runs():
            return  # a second click
        self.run = LiveRun(
            dataclasses.replace(self.chosen(), out=next_folder(self.config.out)), self._batch, self._refresh
        )
        self._start()

    def _runs(self) -> bool:
        return self.run is not None and self.run.state == State.RUNNING

    def _start(self) -> None:
        try:
            self.run.start()
        except RuntimeError as error:
            self._say(str(error))
        else:
            self._refresh(self.run)

    def _halt(self, _: Button) -> None:
        self.run.stop()
        self._stop.disabled = True
        self._say(self.run.status())

    def _refresh(self, run: LiveRun) -> None:
        """Show where a run stands; its own thread calls this, too."""
        with self._one_voice:  # who comes last shows the newest state
            running = run.state == State.RUNNING
            for control in (*self._tasks.values(), self._rank, self._train):
                control.disabled = running
            self._stop.disabled = not running or run.stopping
            self._go_on.disabled = run.state != State.STOPPED
            self._bar.value = run.log[-1]["step"] if run.log else 0
            self._bar.bar_style = {State.FINISHED: "success", State.FAILED: "danger"}.get(run.state, "")
            self._say(run.status())
            self._show(self._figure(run))

    def _figure(self, run: LiveRun) -> "Figure":
        trained, total = (f"{number / 1e6:.2f}" for number in run.parameters)
        title = f"Rank {run.config.options['rank']}: {trained} of {total} million numbers are trained"
        return live_figure(self._batch, run.config.tasks, run.log, run.logits, steps=run.config.steps, title=title)

    def _say(self, words: str) -> None:
        self._status.value = escape(words)


def _redrawn(control: ValueWidget, draw: Callable[[Any], "Figure"], height: int) -> VBox:
    """A control with one value, and below it what ``draw`` makes of the value."""
    show, picture = _picture(height)
    show(draw(control.value))
    control.observe(lambda change: show(draw(change.new)), "value")
    return VBox([control, picture])


def _task_buttons(tasks: Sequence[str], pressed: Sequence[str]) -> dict[str, ToggleButton]:
    """A button for each task, underlined in its colour."""
    buttons = {}
    for row in map(get_task, check_tasks(tasks)):
        buttons[row.key] = ToggleButton(
            row.key in pressed, description=row.title, tooltip=f"With or without: {row.title}",
            layout=Layout(width="auto", border_bottom=f"4px solid {row.color}"),
        )  # fmt: skip
    return buttons


def _pressed(buttons: Mapping[str, ToggleButton]) -> tuple[str, ...]:
    return tuple(task for task, button in buttons.items() if button.value)


def _row(widgets: Iterable[Widget]) -> HBox:
    return HBox(list(widgets), layout=Layout(flex_flow="row wrap", align_items="center"))


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
