"""The picture of a frame: every tile in its place and of its colours, whatever the frame's shape."""

import numpy as np
import pytest
import torch

from mtlora_lite.film import LEGEND, LONGER_SIDE, MARGIN, TITLE, Film
from mtlora_lite.tasks import TASKS


def logits(task, shape=(8, 8), depth=2.0):
    """Of one answer everywhere: class 15, probability 1, straight at the viewer, or a depth."""
    values = torch.zeros(TASKS[task].channels, *shape)
    values[{"semseg": 15, "human_parts": 1, "normals": 2}.get(task, 0)] = {"depth": depth}.get(task, 9.0)
    return values


def tile(page, film, index):
    """The inside of a tile."""
    top = MARGIN // 2 + index // film.columns * film.cell[0] + TITLE
    left = MARGIN + index % film.columns * film.cell[1]
    return page[top : top + film.tile[0], left : left + film.tile[1]]


@pytest.mark.parametrize("shape", [(120, 160), (160, 90), (7, 500)])
def test_every_tile_is_in_its_place_and_of_its_colour(shape):
    film = Film(tuple(TASKS), shape)
    page = film.draw(np.full((*shape, 3), (200, 30, 30), np.uint8), {task: logits(task) for task in TASKS})
    assert page.shape == (*film.shape, 3)
    assert not any(side % 2 for side in film.shape)
    assert max(film.tile) == LONGER_SIDE
    expected = [(200, 30, 30), TASKS["semseg"].palette[15], TASKS["human_parts"].palette[1], (255, 255, 255),
                (128, 128, 255), (255, 255, 255)]  # fmt: skip
    for index, color in enumerate(expected):
        assert np.abs(tile(page, film, index).astype(int) - color).max() <= 1


def test_legends_lie_below_and_name_what_is_seen():
    film = Film(("semseg", "sal"), (64, 64))
    frame = np.zeros((64, 64, 3), np.uint8)
    background = torch.zeros(21, 8, 8)
    background[0] = 1
    with_person, without = (film.draw(frame, {"semseg": values, "sal": logits("sal")})
                            for values in (logits("semseg"), background))  # fmt: skip
    below = slice(MARGIN // 2 + TITLE + film.tile[0], MARGIN // 2 + TITLE + film.tile[0] + LEGEND)
    colors = {tuple(color) for color in with_person[below].reshape(-1, 3).tolist()}
    assert TASKS["semseg"].palette[15] in colors
    assert (without[below] == 255).all()


def test_the_colours_of_depth_stay_those_of_the_first_frame():
    film = Film(("depth",), (32, 32))
    frame = np.zeros((32, 32, 3), np.uint8)
    ramp = torch.linspace(1, 4, 64).view(1, 8, 8)
    film.draw(frame, {"depth": ramp})
    limits = film.limits
    near, far = (tile(film.draw(frame, {"depth": logits("depth", depth=depth)}), film, 1) for depth in (1.0, 9.0))
    assert film.limits == limits
    assert near.mean() > far.mean() + 50  # bright is near
