"""The widgets of the page, and what happens when a visitor touches one of them."""

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import wraps
from html import escape
from pathlib import Path

from ipywidgets import HTML, Box, Button, IntSlider, Layout, ToggleButton, VBox

from mtlora_lite.dashboard.drawing import methods_html, picture_html, results_html, scene_styles
from mtlora_lite.dashboard.models import Compared, load_compared
from mtlora_lite.dashboard.pictures import Picture, sample_scenes, sent_picture
from mtlora_lite.dashboard.upload import PhotoUpload
from mtlora_lite.photos import PhotoError
from mtlora_lite.tasks import TASKS

STYLE = Path(__file__).with_name("page.css")
FIRST_SCENE, FIRST_TASKS = 6, ("semseg", "human_parts", "normals", "depth")

INTRODUCTION = """<header><h1>One picture, many predictions</h1>
<p>A vision transformer stays frozen, and small low-rank updates teach it several tasks at once
(<a href="https://arxiv.org/abs/2403.20320" target="_blank" rel="noopener">MTLoRA</a>). Choose a picture, and compare
what differently trained models see in it.</p></header>"""
NOTES = """<footer class="mt-small"><p><b>Rank.</b> The slider cuts every trained update to its strongest directions, as
many as it says, by a singular value decomposition. At 0 the updates are gone; what else was trained stays.</p>
<p><b>Models.</b> They are small (2.7 million weights in the backbone), were trained by one recipe on the same rendered
scenes, and see pictures squeezed to a square of 128 pixels.</p>
<p><b>Scores</b> are of this one picture, which decides nothing: the README compares many pictures and several
seeds. ✓ marks the best of those shown.</p></footer>"""


def _one_line(handler: Callable) -> Callable:
    """A visitor gets a line where something fails that should not; the server's log gets the traceback."""

    @wraps(handler)
    def guarded(self: "Page", *arguments: object) -> None:
        try:
            handler(self, *arguments)
        except PhotoError as error:
            self.say(str(error))
        except Exception as error:
            traceback.print_exc(file=sys.__stderr__)
            self._tell("")
            self.say(f"That did not work ({type(error).__name__}). Choose something else, or load the page again.")

    return guarded


class Page:
    """The page of one visitor: ``widget`` is what is displayed.

    Args:
        compared: {method: model}; None: those of the package.
        scenes: the pictures to choose from; None: those of the sample.
    """

    def __init__(self, compared: dict[str, Compared] | None = None, scenes: Sequence[Picture] | None = None) -> None:
        self.compared = load_compared() if compared is None else compared
        first = next(iter(self.compared.values())).model
        self._size = first.config.img_size
        self.scenes = list(sample_scenes(self._size) if scenes is None else scenes)
        self.picture = self.scenes[min(FIRST_SCENE, len(self.scenes) - 1)]
        self._build(first.tasks)
        self.redraw()

    # -------------------------------------------------------------------------------------------------- the widgets

    def _build(self, tasks: Sequence[str]) -> None:
        self.thumbs = [self._thumb(number, scene) for number, scene in enumerate(self.scenes)]
        self.upload = PhotoUpload(self.send, self.say)
        self.tasks = {task: _toggle(TASKS[task].title, TASKS[task].color, task in FIRST_TASKS) for task in tasks}
        self.methods = {key: _toggle(one.title, "#333333", True) for key, one in self.compared.items()}
        last = max(max(one.ranks.values(), default=0) for one in self.compared.values())
        self.rank = IntSlider(last, 0, last, continuous_update=False, layout=Layout(width="260px"))
        self.rank.add_class("mt-rank")
        for control in (*self.tasks.values(), *self.methods.values(), self.rank):
            control.observe(self.redraw, "value")
        self.message, self.status, self.shown, self.results = HTML(), HTML(), HTML(), HTML()
        style = HTML(f"<style>{STYLE.read_text()}</style>{scene_styles(self.scenes)}")
        picture = _column("mt-picture-column", [
            self.shown, _box(self.thumbs, "mt-thumbs"), self.upload, self.message,
        ])  # fmt: skip
        controls = _box([
            _titled("Tasks", _box(self.tasks.values(), "mt-row")),
            _titled("Methods", _box(self.methods.values(), "mt-row")),
            _titled("Rank", self.rank),
        ], "mt-controls")  # fmt: skip
        seen = _column("mt-seen-column", [controls, self.status, self.results])
        self.widget = _column("mt-page", [style, HTML(INTRODUCTION), _box([picture, seen], "mt-columns"), HTML(NOTES)])

    def _thumb(self, number: int, scene: Picture) -> Button:
        button = Button(tooltip=f"{scene.title}. {scene.about}")
        button.add_class("mt-thumb")
        button.add_class(f"mt-scene-{number}")
        button.on_click(lambda _: self.choose(scene))
        return button

    # ------------------------------------------------------------------------------------------------- what happens

    @_one_line
    def choose(self, picture: Picture) -> None:
        """Look at another picture."""
        self.picture = picture
        self.say("")
        self._draw()

    @_one_line
    def send(self, content: bytes, name: str) -> None:
        """Look at the photo in a file that was sent."""
        self._tell("Reading …", thinking=True)
        try:
            picture = sent_picture(content, name, self._size)
        finally:
            self._tell("")
        self.choose(picture)

    @_one_line
    def redraw(self, _: object = None) -> None:
        """Look again, at other tasks, by other methods or at another rank."""
        self._draw()

    def say(self, sentence: str) -> None:
        """Put a line under the place where photos are sent; none takes it away."""
        self.message.value = f'<p class="mt-message" role="alert">{escape(sentence)}</p>' if sentence else ""

    def _tell(self, words: str, thinking: bool = False) -> None:
        """Say what goes on, in a line that keeps its place where there is nothing to say."""
        kind = "mt-status mt-thinking" if thinking else "mt-status"
        self.status.value = f'<p class="{kind}" role="status">{words}</p>'

    def _draw(self) -> None:
        self._tell("Looking …", thinking=True)
        start = time.perf_counter()
        tasks = [task for task, button in self.tasks.items() if button.value]
        methods = [key for key, button in self.methods.items() if button.value]
        for scene, thumb in zip(self.scenes, self.thumbs, strict=True):
            (thumb.add_class if scene is self.picture else thumb.remove_class)("mt-chosen")
        self.shown.value = picture_html(self.picture)
        if not (tasks and methods):
            self.results.value = f'<p class="mt-empty">Choose at least one {"method" if tasks else "task"}.</p>'
            self._tell("")
            return
        seen = {key: self.compared[key].see(self.picture, tasks, self.rank.value) for key in methods}
        boxes = methods_html(self.compared, seen, self.rank.value)
        self.results.value = boxes + results_html(self.picture, tasks, self.compared, seen)
        self._tell(f"Looked and drawn in {time.perf_counter() - start:.1f} seconds.")


def _toggle(words: str, color: str, pressed: bool) -> ToggleButton:
    layout = Layout(width="auto", border_bottom=f"4px solid {color}")
    return ToggleButton(pressed, description=words, tooltip=f"Show or hide: {words}", layout=layout)


def _box(children: Sequence, name: str) -> Box:
    box = Box(list(children))
    box.add_class(name)
    return box


def _column(name: str, children: Sequence) -> VBox:
    column = VBox(list(children))
    column.add_class(name)
    return column


def _titled(title: str, control: object) -> VBox:
    return VBox([HTML(f"<h2>{title}</h2>"), control])
