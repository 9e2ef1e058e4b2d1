"""Things that no class names: they stand about, cast shadows, hide objects, and count as background."""

from collections.abc import Callable, Sequence

import numpy as np

from mtlora_lite.scenes.furniture import WOODS, fabric
from mtlora_lite.scenes.geometry import Solid, box, ellipsoid, limb, ring, rod
from mtlora_lite.scenes.materials import Color, Look, hsv, paint, pick, shade, tinted

Rng = np.random.Generator
GREENS = ((0.22, 0.42, 0.14), (0.3, 0.46, 0.18), (0.16, 0.33, 0.16))


def _crate(rng: Rng) -> list[Solid]:
    color = pick(rng, (*WOODS, hsv(rng.random(), 0.5, 0.6)))
    w, h, d = rng.uniform(0.3, 0.9, 3)
    return [box([0, h / 2, 0], [w, h, d], Look(color, shade(color, 0.6), "planks", 7.0, 0.6))]


def _ball(rng: Rng) -> list[Solid]:
    r = rng.uniform(0.05, 0.22)
    look = Look(hsv(rng.random(), 0.7, 0.8), (0.95, 0.95, 0.95), "bands", 1.2 / r, 0.8, gloss=0.4)
    return [ellipsoid([0, r, 0], [r] * 3, look)]


def _lamp(rng: Rng) -> list[Solid]:
    metal, screen = paint((0.3, 0.28, 0.25), gloss=0.4), paint((0.95, 0.86, 0.66), glow=0.45)
    h = rng.uniform(1.3, 1.7)
    return [
        rod([0, 0, 0], [0, 0.04, 0], 0.17, metal),
        rod([0, 0, 0], [0, h, 0], 0.018, metal),
        rod([0, h - 0.1, 0], [0, h + 0.2, 0], 0.24, screen, 0.15),
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
        size, cover = [rng.uniform(0.13, 0.18), h, rng.uniform(0.18, 0.24)], paint(hsv(rng.random(), 0.6, 0.6))
        solids.append(box([0, y + h / 2, 0], size, cover, yaw=rng.uniform(-0.3, 0.3)))
        y += h
    return solids


def _foliage(rng: Rng, colors: Sequence[Color], scale: float) -> Look:
    green = pick(rng, colors)
    return Look(green, shade(green, 0.35), "leaves", scale, 0.85, phase=float(rng.uniform(0, 8)))


def _tree(rng: Rng) -> list[Solid]:
    """A conifer or a broad-leaved tree, sometimes in autumn."""
    leaf = _foliage(rng, (*GREENS, (0.6, 0.45, 0.15)), 2.2)
    bark = Look((0.36, 0.27, 0.2), (0.18, 0.13, 0.1), "mottled", 3.0, 0.6)
    h = rng.uniform(2.5, 5.0)
    if rng.random() < 0.35:
        skirts = [(0.5 + 0.25 * i * h, 0.6 + (0.25 * i + 0.5) * h, (0.36 - 0.08 * i) * h) for i in range(3)]
        cones = [rod([0, low, 0], [0, high, 0], r, tinted(leaf, 0.75), 0.01) for low, high, r in skirts]
        return [rod([0, 0, 0], [0, 0.8, 0], 0.16, bark), *cones]
    solids = [rod([0, 0, 0], [0, 0.65 * h, 0], 0.07 * h, bark, 0.04 * h)]
    for i in range(6):
        a, out = 2.4 * i, 0.28 * h * (i > 0)
        at = [out * np.cos(a), h * rng.uniform(0.7, 1.0), out * np.sin(a)]
        solids.append(ellipsoid(at, np.array([1, 0.85, 1]) * h * rng.uniform(0.2, 0.32), leaf))
    return solids


def _bush(rng: Rng) -> list[Solid]:
    leaf = _foliage(rng, GREENS, 4.0)
    r = rng.uniform(0.25, 0.6)
    solids = []
    for _ in range(4):
        at, radii = [rng.uniform(-r, r), r * 0.7, rng.uniform(-r, r)], [r, r * rng.uniform(0.7, 1.1), r]
        solids.append(ellipsoid(at, radii, tinted(leaf, float(rng.uniform(0.8, 1.2)))))
    return solids


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
