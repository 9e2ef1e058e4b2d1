"""Where things stand: eight settings, their grounds, walls, lights, and the clutter that no class names."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .geometry import Solid, box, ellipsoid, limb, move, ring, rod, rotation
from .indoor import WOODS, fabric, picture_frame
from .materials import Color, Look, hsv, paint, pick, shade, tinted
from .render import Light

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
    "tabletop": Setting(("bottle", "bottle", "potted plant", "tv monitor"), ("boards", "cloth", "stone"), ("cup", "ball", "books"), indoors=True),
    "street": Setting(
        ("bus", "car", "car", "motorbike", "bicycle", "person", "person", "dog"),
        ("asphalt", "paving"), ("tree", "lamppost", "crate", "cone", "bush"), walls=0.6,
    ),
    "meadow": Setting(("cow", "horse", "sheep", "dog", "person", "person", "bird"), ("grass", "dry grass", "earth"), ("tree", "bush", "rock", "fence"), walls=0.1),
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
        ((0.55, 0.48, 0.42), (0.45, 0.2, 0.2), (0.3, 0.35, 0.42), (0.7, 0.66, 0.58)),
        0.65,
        "wool",
        7.0,
        0.6,
        0.0,
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
}
_WALL_PAINT: tuple[Color, ...] = (
    (0.86, 0.83, 0.76),
    (0.72, 0.77, 0.78),
    (0.8, 0.72, 0.6),
    (0.6, 0.68, 0.6),
    (0.75, 0.6, 0.55),
    (0.5, 0.56, 0.64),
    (0.9, 0.9, 0.88),
)


def ground(rng: Rng, name: str) -> Solid:
    """The plane y = 0, the top of a very large slab."""
    colors, darken, pattern, scale, amount, gloss = GROUNDS[name]
    color = pick(rng, colors)
    look = Look(
        color,
        shade(color, darken),
        pattern,
        scale * rng.uniform(0.8, 1.25),
        amount,
        gloss,
        phase=float(rng.uniform(0, 8)),
    )
    return box([0, -0.5, 0], [240, 1, 240], look)


def wall_look(rng: Rng, indoors: bool) -> Look:
    """Paint, wallpaper or bricks inside; bricks, plaster, a facade with windows, planks or a hedge outside."""
    phase = float(rng.uniform(0, 8))
    color = pick(rng, _WALL_PAINT)
    red = pick(rng, ((0.58, 0.3, 0.22), (0.66, 0.42, 0.32), (0.7, 0.65, 0.58)))
    green = pick(rng, ((0.2, 0.36, 0.14), (0.28, 0.42, 0.2)))
    bricks = Look(red, shade(red, 1.5), "bricks", 9.0, 0.6, phase=phase)
    if indoors:
        options = [
            paint(color, grain=0.15, scale=1.5), paint(color, grain=0.15, scale=1.5),
            Look(color, shade(color, 0.8), "stripes" if rng.random() < 0.2 else "panes", rng.uniform(2, 6), 0.7, phase=phase),
            bricks, Look(color, shade(color, 0.75), "tiles", 4.0, 0.5),
        ]  # fmt: skip
    else:
        options = [
            bricks, paint(color, grain=0.4, scale=0.7), Look(color, (0.13, 0.17, 0.22), "facade", 0.4, 0.95, phase=phase),
            Look(red, (0.15, 0.18, 0.22), "facade", 0.45, 0.95, phase=phase), Look(green, shade(green, 0.35), "leaves", 2.5, 0.9, phase=phase),
        ]  # fmt: skip
    return options[rng.integers(len(options))]


def light(rng: Rng, indoors: bool, azimuth: float) -> Light:
    """Sun from behind the camera or its side, overcast or clear; a lamp from above indoors."""
    turn = azimuth + rng.uniform(-1.75, 1.75)
    rise = rng.uniform(0.75, 1.3) if indoors else rng.uniform(0.4, 1.2)
    direction = np.array([np.cos(turn) * np.cos(rise), np.sin(rise), np.sin(turn) * np.cos(rise)])
    warm = rng.uniform(0, 1)
    overcast = 0.0 if rng.random() < 0.7 else rng.uniform(0.3, 0.85)
    sun = np.array([1.0, 0.96 - 0.1 * warm, 0.9 - 0.25 * warm]) * (1.9 if not indoors else 1.1) * (1 - 0.75 * overcast)
    base = np.array([0.52, 0.5, 0.47]) if indoors else np.array([0.38, 0.44, 0.54]) * (1 + 0.4 * overcast)
    zenith = np.array([0.24, 0.45, 0.78]) * (1 - overcast) + np.array([0.62, 0.66, 0.7]) * overcast
    horizon = np.array([0.74, 0.84, 0.93]) * (1 - overcast) + np.array([0.82, 0.84, 0.85]) * overcast
    if warm > 0.85 and overcast == 0:  # evening
        horizon, sun = np.array([0.95, 0.74, 0.5]), sun * np.array([1.0, 0.8, 0.55])
    clouds = 0.0 if indoors else rng.choice([0.0, rng.uniform(0.3, 0.6)])
    haze = 0.0 if indoors else rng.uniform(0.0005, 0.004)
    return Light(
        direction,
        tuple(sun),
        tuple(base),
        tuple(zenith),
        tuple(horizon),
        float(clouds),
        float(haze),
        float(rng.uniform(0, 9)),
    )


# --- clutter: background things, each a builder like those of the classes -------------------------------------------


def _crate(rng: Rng) -> list[Solid]:
    color = pick(rng, (*WOODS, hsv(rng.random(), 0.5, 0.6)))
    w, h, d = rng.uniform(0.3, 0.9, 3)
    return [box([0, h / 2, 0], [w, h, d], Look(color, shade(color, 0.6), "planks", 7.0, 0.6))]


def _ball(rng: Rng) -> list[Solid]:
    r = rng.uniform(0.05, 0.22)
    return [
        ellipsoid([0, r, 0], [r] * 3, Look(hsv(rng.random(), 0.7, 0.8), (0.95, 0.95, 0.95), "bands", 1.2 / r, 0.8, 0.4))
    ]


def _lamp(rng: Rng) -> list[Solid]:
    metal, shade_look = paint((0.3, 0.28, 0.25), gloss=0.4), paint((0.95, 0.86, 0.66), glow=0.45)
    h = rng.uniform(1.3, 1.7)
    return [
        rod([0, 0, 0], [0, 0.04, 0], 0.17, metal),
        rod([0, 0, 0], [0, h, 0], 0.018, metal),
        rod([0, h - 0.1, 0], [0, h + 0.2, 0], 0.24, shade_look, 0.15),
    ]


def _stool(rng: Rng) -> list[Solid]:
    look = fabric(rng)
    return [rod([0, 0, 0], [0, 0.4, 0], 0.28, look), rod([0, 0.38, 0], [0, 0.43, 0], 0.29, tinted(look, 1.2))]


def _cup(rng: Rng) -> list[Solid]:
    look = paint(hsv(rng.random(), 0.5, 0.85), gloss=0.5)
    return [
        rod([0, 0, 0], [0, 0.09, 0], 0.032, look, 0.042),
        ring([0, 0.045, 0.045], [1, 0, 0], 0.028, 0.018, 0.014, look),
    ]


def _books(rng: Rng) -> list[Solid]:
    solids, y = [], 0.0
    for _ in range(int(rng.integers(2, 5))):
        h = rng.uniform(0.02, 0.04)
        solids.append(
            box(
                [0, y + h / 2, 0],
                [rng.uniform(0.13, 0.18), h, rng.uniform(0.18, 0.24)],
                paint(hsv(rng.random(), 0.6, 0.6)),
                yaw=rng.uniform(-0.3, 0.3),
            )
        )
        y += h
    return solids


def _tree(rng: Rng) -> list[Solid]:
    green = pick(rng, ((0.22, 0.42, 0.14), (0.3, 0.46, 0.18), (0.16, 0.33, 0.16), (0.6, 0.45, 0.15)))
    leaf = Look(green, shade(green, 0.35), "leaves", 2.2, 0.85, phase=float(rng.uniform(0, 8)))
    bark = Look((0.36, 0.27, 0.2), (0.18, 0.13, 0.1), "mottled", 3.0, 0.6)
    h = rng.uniform(2.5, 5.0)
    if rng.random() < 0.35:  # a conifer
        cones = [
            rod(
                [0, 0.5 + 0.25 * i * h, 0],
                [0, 0.6 + (0.25 * i + 0.5) * h, 0],
                (0.36 - 0.08 * i) * h,
                tinted(leaf, 0.75),
                0.01,
            )
            for i in range(3)
        ]
        return [rod([0, 0, 0], [0, 0.8, 0], 0.16, bark), *cones]
    solids = [rod([0, 0, 0], [0, 0.65 * h, 0], 0.07 * h, bark, 0.04 * h)]
    for i in range(6):
        a, out = 2.4 * i, 0.28 * h * (i > 0)
        solids.append(
            ellipsoid(
                [out * np.cos(a), h * rng.uniform(0.7, 1.0), out * np.sin(a)],
                np.array([1, 0.85, 1]) * h * rng.uniform(0.2, 0.32),
                leaf,
            )
        )
    return solids


def _bush(rng: Rng) -> list[Solid]:
    green = pick(rng, ((0.22, 0.42, 0.14), (0.3, 0.46, 0.18), (0.16, 0.33, 0.16)))
    leaf = Look(green, shade(green, 0.35), "leaves", 4.0, 0.85, phase=float(rng.uniform(0, 8)))
    r = rng.uniform(0.25, 0.6)
    return [
        ellipsoid(
            [rng.uniform(-r, r), r * 0.7, rng.uniform(-r, r)],
            [r, r * rng.uniform(0.7, 1.1), r],
            tinted(leaf, float(rng.uniform(0.8, 1.2))),
        )
        for _ in range(4)
    ]


def _rock(rng: Rng) -> list[Solid]:
    r = rng.uniform(0.15, 0.5)
    look = Look((0.5, 0.49, 0.47), (0.28, 0.27, 0.26), "mottled", 3.0, 0.8, phase=float(rng.uniform(0, 8)))
    return [
        ellipsoid([0, r * 0.3, 0], [r, r * 0.7, r * 1.3], look, yaw=rng.uniform(0, 3)),
        ellipsoid([r * 0.7, r * 0.2, 0.1], [r * 0.6, r * 0.5, r * 0.6], look),
    ]


def _fence(rng: Rng) -> list[Solid]:
    color = pick(rng, ((0.5, 0.38, 0.26), (0.9, 0.89, 0.86)))
    look = Look(color, shade(color, 0.6), "mottled", 6.0, 0.5)
    posts = [box([0, 0.55, z], [0.1, 1.1, 0.1], look) for z in (-3, -1.5, 0, 1.5, 3)]
    return [*posts, *[box([0.06, y, 0], [0.04, 0.13, 6.4], look) for y in (0.45, 0.9)]]


def _lamppost(rng: Rng) -> list[Solid]:
    metal = paint((0.28, 0.3, 0.31), gloss=0.2)
    return [
        rod([0, 0, 0], [0, 4.5, 0], 0.09, metal, 0.06),
        limb([0, 4.5, 0], [0.9, 4.7, 0], 0.05, 0.05, metal),
        box([0.95, 4.68, 0], [0.5, 0.1, 0.2], metal),
    ]


def _cone(rng: Rng) -> list[Solid]:
    look = Look((0.95, 0.4, 0.08), (0.95, 0.95, 0.95), "bands", 4.0, 0.9)
    return [box([0, 0.03, 0], [0.42, 0.05, 0.42], look), rod([0, 0.05, 0], [0, 0.7, 0], 0.16, look, 0.03)]


def _buoy(rng: Rng) -> list[Solid]:
    look = Look(hsv(rng.choice([0.0, 0.33, 0.14]), 0.8, 0.75), (0.95, 0.95, 0.95), "bands", 1.5, 0.9)
    return [ellipsoid([0, 0.1, 0], [0.4, 0.35, 0.4], look), rod([0, 0.2, 0], [0, 1.3, 0], 0.2, look, 0.06)]


CLUTTER: dict[str, Callable[[Rng], list[Solid]]] = {
    "crate": _crate, "ball": _ball, "lamp": _lamp, "stool": _stool, "cup": _cup, "books": _books, "tree": _tree,
    "bush": _bush, "rock": _rock, "fence": _fence, "lamppost": _lamppost, "cone": _cone, "buoy": _buoy,
}  # fmt: skip


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


def wall(rng: Rng, indoors: bool, outward: float, offset: float, center: np.ndarray, scale: float) -> list[list[Solid]]:
    """A wall ``offset`` metres from ``center`` in the direction ``outward`` (radians), and what hangs on it."""
    turn = rotation(-outward - np.pi / 2)  # the wall's z axis faces the room
    height = 60.0 if indoors else rng.uniform(2.2, 9.0)
    at = center + offset * np.array([np.cos(outward), 0, np.sin(outward)])
    look = wall_look(rng, indoors)
    things = [move([box([0, height / 2 - 0.2, -0.1], [90, height, 0.2], look)], turn, at)]
    if indoors:
        skirting = paint(shade(look.color, rng.choice([0.45, 1.25])), gloss=0.1)
        things.append(move([box([0, 0.06 * scale, 0.01], [90, 0.12 * scale, 0.03], skirting)], turn, at))
        if rng.random() < 0.6:
            frame = move(
                picture_frame(rng, rng.uniform(0.5, 1.1), rng.uniform(0.4, 0.8)),
                np.eye(3),
                [rng.uniform(-1, 1), rng.uniform(1.5, 1.9), 0],
            )
            things.append(move(move(frame, np.eye(3), [0, 0, 0.02], scale), turn, at))
    return things
