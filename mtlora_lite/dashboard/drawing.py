"""What the page shows, as HTML: a picture, what the models are, and what each of them sees in it.

Nothing here touches a widget or a browser. Whatever a visitor can have written, such as a file's name, is escaped.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from io import BytesIO
from math import isnan

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mtlora_lite.analysis import SHARED
from mtlora_lite.dashboard.models import Compared, Seen
from mtlora_lite.dashboard.pictures import Picture
from mtlora_lite.methods import METHODS
from mtlora_lite.model import resize_logits
from mtlora_lite.tasks import IGNORE_INDEX, TASKS, Task
from mtlora_lite.viz import Range, colorize, depth_limits, read_logits

LONGEST = 256  # pixels of the longer side of what is drawn
WORTH_NAMING = 0.003  # of a map; classes that cover less have no place in the legend
DIGITS = {"m": 2}  # of a score by its unit; else one
LABEL = "label"

Maps = dict[str, Tensor]  # column -> what is to be seen in it, (C, h, w), shaped like a target


# ---------------------------------------------------------------------------------------------------------- pictures


def data_uri(image: Image.Image | np.ndarray, kind: str = "png") -> str:
    """An image as an address that holds it."""
    buffer = BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind)
    return f"data:image/{kind};base64,{b64encode(buffer.getvalue()).decode()}"


def picture_html(picture: Picture) -> str:
    """The picture that is looked at, its title, and a sentence on it."""
    image = picture.image.copy()
    image.thumbnail((2 * LONGEST, 2 * LONGEST))
    title = escape(picture.title)
    return (
        f'<figure class="mt-picture"><img src="{data_uri(image, "jpeg")}" alt="{title}">'
        f"<figcaption><b>{title}</b> {escape(picture.about)}</figcaption></figure>"
    )


def scene_styles(pictures: Sequence[Picture]) -> str:
    """A style sheet that puts each picture on the button of the class ``mt-scene-NUMBER``."""
    rules = (f".mt-scene-{i} {{background-image: url({data_uri(p.image, 'jpeg')})}}" for i, p in enumerate(pictures))
    return f"<style>{' '.join(rules)}</style>"


# ----------------------------------------------------------------------------------------------------------- methods


def methods_html(compared: Mapping[str, Compared], seen: Mapping[str, Seen], rank: int) -> str:
    """A box for each model that has looked: what it is, what it trains, its rank, and the time it took."""
    return f'<div class="mt-methods">{"".join(_method(compared[key], seen[key], rank) for key in seen)}</div>'


def _method(compared: Compared, seen: Seen, rank: int) -> str:
    method = METHODS[compared.model.config.method]
    tasks = "1 task" if len(seen.logits) == 1 else f"{len(seen.logits)} tasks"
    facts = (
        f"<b>{compared.trained:,}</b> trained parameters",
        f"<b>{1000 * seen.seconds:.0f} ms</b> of processor time for {tasks}",
        rank_words(compared.ranks, rank),
    )
    items = "".join(f"<li>{fact}</li>" for fact in facts)
    return f"<section><h3>{method.title}</h3><p>{method.summary}</p><ul>{items}</ul></section>"


def rank_words(ranks: Mapping[str, int], rank: int) -> str:
    """What the slider makes of a model whose streams have updates of some ranks."""
    if not ranks:
        return "no updates that could be cut"
    private = max((own for stream, own in ranks.items() if stream != SHARED), default=None)
    parts = {"shared": ranks.get(SHARED), "private": private}
    return ", ".join(f"{name} rank {min(rank, own)} of {own}" for name, own in parts.items() if own)


# ----------------------------------------------------------------------------------------------------------- results


def results_html(
    picture: Picture, tasks: Sequence[str], compared: Mapping[str, Compared], seen: Mapping[str, Seen]
) -> str:
    """For every task a row: its label, where there is one, and what each model sees."""
    return f'<div class="mt-results">{"".join(_row(picture, TASKS[task], compared, seen) for task in tasks)}</div>'


def _row(picture: Picture, task: Task, compared: Mapping[str, Compared], seen: Mapping[str, Seen]) -> str:
    height, width = shown_size(picture.image)
    maps: Maps = {} if picture.targets is None else {LABEL: picture.targets[task.key][0]}
    for key, one in seen.items():
        maps[compared[key].title] = read_logits(task.key, resize_logits(one.logits[task.key], (height, width)))[0]
    measured = [maps[LABEL]] if LABEL in maps else list(maps.values())
    limits = depth_limits(torch.stack(measured)) if task.target == "metres" else None
    scores = {compared[key].title: one.scores[task.key] for key, one in seen.items() if one.scores}
    figures = "".join(_figure(picture, task, name, values, scores, limits) for name, values in maps.items())
    arrow = "↑" if task.higher_is_better else "↓"
    measure = f" <small>{task.metric}, {task.unit} {arrow}</small>" if scores else ""
    return (
        f'<section style="--task: {task.color}"><h3>{task.title}{measure}</h3>'
        f'<div class="mt-maps" style="--columns: {len(maps)}">{figures}</div>'
        f'<div class="mt-legend">{_LEGENDS[task.target](task, maps, limits)}</div></section>'
    )


def _figure(
    picture: Picture, task: Task, name: str, values: Tensor, scores: Mapping[str, float], limits: Range | None
) -> str:
    height, width = shown_size(picture.image)
    words = escape(f"{task.title} of {picture.title}: {name}", quote=True)
    source = data_uri(colorize(task.key, values, limits))
    caption = f"{name}<br>{score_words(task, name, scores)}"
    return (
        f'<figure><img src="{source}" alt="{words}" style="aspect-ratio: {width}/{height}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def score_words(task: Task, name: str, scores: Mapping[str, float]) -> str:
    """A model's score as the page prints it; the best of several is marked, unless they look the same."""
    if name not in scores:
        return ""
    if isnan(scores[name]):
        return "<span>nothing labelled</span>"
    digits = DIGITS.get(task.unit, 1)
    rounded = {key: round(value, digits) for key, value in scores.items()}
    best = (max if task.higher_is_better else min)(rounded.values())
    unit = task.unit if task.unit == "°" else f" {task.unit}"
    words = f"{scores[name]:.{digits}f}{unit}"
    won = rounded[name] == best and [*rounded.values()].count(best) < len(rounded)
    return f'<b class="mt-best" title="best of these">{words}</b>' if won else f"<b>{words}</b>"


def shown_size(image: Image.Image) -> tuple[int, int]:
    """Height and width in pixels at which maps of a picture are drawn."""
    shrink = min(1.0, LONGEST / max(image.size))
    return tuple(max(1, round(side * shrink)) for side in reversed(image.size))


# ------------------------------------------------------------------------------------------------------------ legends


def _class_legend(task: Task, maps: Maps, _: Range | None) -> str:
    """A patch and a name for every class in sight."""
    shares = [np.bincount(values.long().flatten(), minlength=256) / values.numel() for values in maps.values()]
    named = [i for i in range(len(task.classes)) if any(share[i] > WORTH_NAMING for share in shares)]
    patches = [_patch(f"rgb{task.palette[i]}", task.classes[i]) for i in named]
    if any(share[IGNORE_INDEX] for share in shares):
        patches.append(_patch("repeating-linear-gradient(135deg, #d4d4d4 0 2px, #f0f0f0 2px 4px)", "no label"))
    return "".join(patches)


def _patch(background: str, words: str) -> str:
    return f'<span><i style="background: {background}"></i>{words}</span>'


def _binary_legend(task: Task, maps: Maps, _: Range | None) -> str:
    return _scale("0", "linear-gradient(90deg, #000, #fff)", "1, probability")


def _direction_legend(task: Task, maps: Maps, _: Range | None) -> str:
    return f'<img src="{_ball(task.key)}" alt="">a ball in these colours: x right, y up, z to the viewer'


@cache
def _ball(task: str) -> str:
    """A ball seen from the front, which shows every direction that can be seen."""
    y, x = np.mgrid[1:-1:96j, -1:1:96j]
    z = np.sqrt((1 - x**2 - y**2).clip(0))
    ball = colorize(task, np.stack([x, y, z], axis=-1))
    ball[x**2 + y**2 > 1] = 255
    return data_uri(ball)


def _depth_legend(task: Task, maps: Maps, limits: Range | None) -> str:
    colors = colorize(task.key, np.geomspace(*limits, 9)[None], limits)[0]
    stops = ", ".join(f"rgb{tuple(map(int, color))}" for color in colors)
    return _scale(f"{limits[0]:.2g}", f"linear-gradient(90deg, {stops})", f"{limits[1]:.2g} m, on a logarithmic scale")


def _scale(low: str, background: str, high: str) -> str:
    return f'{low}<i class="mt-scale" style="background: {background}"></i>{high}'


_LEGENDS = {
    "classes": _class_legend,
    "binary": _binary_legend,
    "directions": _direction_legend,
    "metres": _depth_legend,
}
