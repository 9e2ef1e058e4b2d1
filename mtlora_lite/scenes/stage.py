"""Where things stand: eight settings, their grounds, walls and lights."""

from dataclasses import dataclass

import numpy as np

from mtlora_lite.scenes.furniture import WOODS, picture_frame
from mtlora_lite.scenes.geometry import Solid, box, ellipsoid, move, rotation
from mtlora_lite.scenes.materials import Color, Look, paint, pick, shade
from mtlora_lite.scenes.render import Light

Rng = np.random.Generator


@dataclass(frozen=True)
class Setting:
    """A kind of place.

    Attributes:
        members: VOC classes that may be met there.
        grounds: names in ``GROUNDS``.
        clutter: names in ``CLUTTER``.
        walls: how likely there is a wall behind everything; ``indoors`` always has one, and no sky.
    """

    members: tuple[str, ...]
    grounds: tuple[str, ...]
    clutter: tuple[str, ...]
    walls: float = 0.0
    indoors: bool = False


SETTINGS: dict[str, Setting] = {
    "room": Setting(
        ("chair", "sofa", "dining table", "tv monitor", "potted plant", "cat", "dog", "person", "person"),
        ("boards", "tiles", "carpet", "checker"), ("crate", "ball", "lamp", "stool"), indoors=True,
    ),
    "tabletop": Setting(
        ("bottle", "bottle", "potted plant", "tv monitor"),
        ("boards", "cloth", "stone"), ("cup", "ball", "books"), indoors=True,
    ),
    "street": Setting(
        ("bus", "car", "car", "motorbike", "bicycle", "person", "person", "dog"),
        ("asphalt", "paving"), ("tree", "lamppost", "crate", "cone", "bush"), walls=0.6,
    ),
    "meadow": Setting(
        ("cow", "horse", "sheep", "dog", "person", "person", "bird"),
        ("grass", "dry grass", "earth"), ("tree", "bush", "rock", "fence"), walls=0.1,
    ),
    "garden": Setting(
        ("bird", "cat", "dog", "potted plant", "chair", "dining table", "bicycle", "person", "person", "bird"),
        ("grass", "paving", "earth"), ("bush", "tree", "ball", "rock"), walls=0.5,
    ),
    "water": Setting(("boat", "boat", "bird"), ("water",), ("buoy",)),
    "railway": Setting(("train", "person", "person"), ("gravel",), ("tree", "lamppost", "bush"), walls=0.25),
    "airfield": Setting(("aeroplane", "person", "car"), ("concrete", "grass", "asphalt"), ("cone", "tree"), walls=0.1),
}  # fmt: skip

# name: (colours, darkening of the pattern's colour, pattern, cells per metre, amount, gloss)
GROUNDS: dict[str, tuple] = {
    "boards": (WOODS, 0.55, "planks", 6.0, 0.75, 0.08),
    "tiles": (((0.75, 0.7, 0.63), (0.55, 0.35, 0.27), (0.82, 0.82, 0.8)), 0.55, "tiles", 2.4, 0.7, 0.12),
    "carpet": (
        ((0.55, 0.48, 0.42), (0.45, 0.2, 0.2), (0.3, 0.35, 0.42), (0.7, 0.66, 0.58)), 0.65, "wool", 7.0, 0.6, 0.0,
    ),
    "checker": (((0.85, 0.84, 0.8), (0.8, 0.72, 0.6)), 0.35, "checker", 1.8, 0.85, 0.15),
    "cloth": (((0.85, 0.84, 0.8), (0.7, 0.25, 0.22), (0.3, 0.42, 0.6)), 0.6, "checker", 14.0, 0.6, 0.0),
    "stone": (((0.7, 0.69, 0.67), (0.3, 0.3, 0.31), (0.8, 0.77, 0.72)), 0.6, "mottled", 9.0, 0.6, 0.15),
    "asphalt": (((0.33, 0.33, 0.35), (0.27, 0.27, 0.28), (0.42, 0.41, 0.41)), 0.65, "mottled", 2.0, 0.6, 0.0),
    "paving": (((0.62, 0.6, 0.57), (0.55, 0.48, 0.42)), 0.6, "tiles", 1.6, 0.8, 0.0),
    "grass": (((0.33, 0.5, 0.17), (0.27, 0.44, 0.16), (0.42, 0.53, 0.22)), 0.45, "grass", 2.2, 0.85, 0.0),
    "dry grass": (((0.66, 0.58, 0.32), (0.58, 0.54, 0.28)), 0.55, "grass", 2.2, 0.8, 0.0),
    "earth": (((0.5, 0.38, 0.27), (0.6, 0.5, 0.38)), 0.6, "grass", 1.4, 0.8, 0.0),
    "water": (((0.16, 0.34, 0.45), (0.2, 0.4, 0.42), (0.14, 0.27, 0.42)), 1.7, "waves", 1.1, 0.6, 0.8),
    "gravel": (((0.5, 0.47, 0.44), (0.42, 0.4, 0.38)), 0.45, "wool", 3.0, 0.8, 0.0),
    "concrete": (((0.62, 0.62, 0.61), (0.54, 0.54, 0.55)), 0.75, "tiles", 0.3, 0.5, 0.0),
}  # fmt: skip
WALLS: tuple[Color, ...] = (
    (0.86, 0.83, 0.76), (0.72, 0.77, 0.78), (0.8, 0.72, 0.6), (0.6, 0.68, 0.6), (0.75, 0.6, 0.55), (0.5, 0.56, 0.64),
    (0.9, 0.9, 0.88),
)  # fmt: skip
BRICKS = ((0.58, 0.3, 0.22), (0.66, 0.42, 0.32), (0.7, 0.65, 0.58))
HEDGES = ((0.2, 0.36, 0.14), (0.28, 0.42, 0.2))


def ground(rng: Rng, name: str) -> Solid:
    """The plane y = 0, the top of a very large slab."""
    colors, darken, pattern, scale, amount, gloss = GROUNDS[name]
    color = pick(rng, colors)
    scale, phase = scale * rng.uniform(0.8, 1.25), float(rng.uniform(0, 8))
    look = Look(color, shade(color, darken), pattern, scale, amount, gloss, phase=phase)
    return box([0, -0.5, 0], [240, 1, 240], look)


def wall_look(rng: Rng, indoors: bool) -> Look:
    """Paint, wallpaper, bricks or tiles inside; bricks, plaster, a facade with windows or a hedge outside."""
    phase = float(rng.uniform(0, 8))
    color, red, green = pick(rng, WALLS), pick(rng, BRICKS), pick(rng, HEDGES)
    bricks = Look(red, shade(red, 1.5), "bricks", 9.0, 0.6, phase=phase)
    if indoors:
        plain = paint(color, grain=0.15, scale=1.5)
        lines = "stripes" if rng.random() < 0.2 else "panes"
        paper = Look(color, shade(color, 0.8), lines, rng.uniform(2, 6), 0.7, phase=phase)
        options = [plain, plain, paper, bricks, Look(color, shade(color, 0.75), "tiles", 4.0, 0.5)]
    else:
        options = [
            bricks,
            paint(color, grain=0.4, scale=0.7),
            Look(color, (0.13, 0.17, 0.22), "facade", 0.4, 0.95, phase=phase),
            Look(red, (0.15, 0.18, 0.22), "facade", 0.45, 0.95, phase=phase),
            Look(green, shade(green, 0.35), "leaves", 2.5, 0.9, phase=phase),
        ]
    return options[rng.integers(len(options))]


def light(rng: Rng, indoors: bool, azimuth: float) -> Light:
    """Sun from behind the camera or its side, overcast or clear; a lamp from above indoors."""
    turn = azimuth + rng.uniform(-1.75, 1.75)
    rise = rng.uniform(0.75, 1.3) if indoors else rng.uniform(0.4, 1.2)
    direction = np.array([np.cos(turn) * np.cos(rise), np.sin(rise), np.sin(turn) * np.cos(rise)])
    warm = rng.uniform(0, 1)
    overcast = 0.0 if rng.random() < 0.7 else rng.uniform(0.3, 0.85)
    sun = np.array([1.0, 0.96 - 0.1 * warm, 0.9 - 0.25 * warm]) * (1.1 if indoors else 1.9) * (1 - 0.75 * overcast)
    ambient = np.array([0.52, 0.5, 0.47]) if indoors else np.array([0.38, 0.44, 0.54]) * (1 + 0.4 * overcast)
    zenith = np.array([0.24, 0.45, 0.78]) * (1 - overcast) + np.array([0.62, 0.66, 0.7]) * overcast
    horizon = np.array([0.74, 0.84, 0.93]) * (1 - overcast) + np.array([0.82, 0.84, 0.85]) * overcast
    if warm > 0.85 and overcast == 0:  # evening
        horizon, sun = np.array([0.95, 0.74, 0.5]), sun * np.array([1.0, 0.8, 0.55])
    clouds = 0.0 if indoors else float(rng.choice([0.0, rng.uniform(0.3, 0.6)]))
    haze = 0.0 if indoors else rng.uniform(0.0005, 0.004)
    return Light(direction, sun, ambient, zenith, horizon, clouds, haze, phase=rng.uniform(0, 9))


def hills(rng: Rng, center: np.ndarray, forward: float) -> list[list[Solid]]:
    """Far ridges in the direction ``forward`` (radians), each a thing of its own."""
    ridges = []
    for _ in range(int(rng.integers(1, 4))):
        a, far = forward + rng.uniform(-0.6, 0.6), rng.uniform(38, 46)
        green = pick(rng, ((0.35, 0.45, 0.28), (0.45, 0.48, 0.3), (0.4, 0.42, 0.45)))
        look = Look(green, shade(green, 0.6), "leaves", 0.5, 0.6, phase=float(rng.uniform(0, 8)))
        at = center + far * np.array([np.cos(a), 0, np.sin(a)])
        ridges.append([ellipsoid([at[0], -0.5, at[2]], [7, rng.uniform(2.0, 6.5), rng.uniform(10, 20)], look, yaw=-a)])
    return ridges


def wall(rng: Rng, indoors: bool, outward: float, offset: float, scale: float) -> list[list[Solid]]:
    """A wall ``offset`` metres from the origin in the direction ``outward`` (radians), and what hangs on it."""
    turn = rotation(-outward - np.pi / 2)  # the wall's z axis faces the room
    height = 60.0 if indoors else rng.uniform(2.2, 9.0)
    at = offset * np.array([np.cos(outward), 0, np.sin(outward)])
    look = wall_look(rng, indoors)
    things = [move([box([0, height / 2 - 0.2, -0.1], [90, height, 0.2], look)], turn, at)]
    if indoors:
        skirting = paint(shade(look.color, rng.choice([0.45, 1.25])), gloss=0.1)
        things.append(move([box([0, 0.06 * scale, 0.01], [90, 0.12 * scale, 0.03], skirting)], turn, at))
        if rng.random() < 0.6:
            frame = picture_frame(rng, rng.uniform(0.5, 1.1), rng.uniform(0.4, 0.8))
            spot = np.array([rng.uniform(-1, 1) * scale, rng.uniform(1.5, 1.9) * scale, 0.02])
            things.append(move(move(frame, np.eye(3), spot, scale), turn, at))
    return things
