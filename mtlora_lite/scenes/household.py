"""Tv monitor, bottle and potted plant; fronts towards +x, standing on y = 0."""

# ruff: noqa: RUF005  (array + [x, y, z] moves a point; it does not concatenate)
import numpy as np

from mtlora_lite.scenes.furniture import wood
from mtlora_lite.scenes.geometry import PROP, Solid, box, ellipsoid, limb, move, rod, rotation
from mtlora_lite.scenes.materials import Color, Look, hsv, paint, pick, shade, tinted

Array = np.ndarray
Rng = np.random.Generator
SIDES = (-1, 1)
SHELLS = ((0.05, 0.05, 0.055), (0.05, 0.05, 0.055), (0.6, 0.61, 0.63))
BOTTLE_GLASS: tuple[Color, ...] = (
    (0.1, 0.28, 0.13), (0.1, 0.28, 0.13), (0.35, 0.17, 0.06), (0.55, 0.72, 0.78), (0.5, 0.1, 0.1), (0.12, 0.3, 0.55),
)  # fmt: skip
CAPS = ((0.7, 0.12, 0.12), (0.85, 0.75, 0.4), (0.12, 0.12, 0.13), (0.2, 0.35, 0.75), (0.93, 0.93, 0.93))
LABELS = ((0.93, 0.9, 0.82), (0.8, 0.15, 0.12), (0.95, 0.75, 0.15), (0.2, 0.4, 0.65))
POTS = ((0.7, 0.36, 0.22), (0.7, 0.36, 0.22), (0.9, 0.89, 0.86), (0.25, 0.27, 0.3), (0.3, 0.45, 0.6))
GREENS = ((0.2, 0.45, 0.15), (0.12, 0.35, 0.14), (0.4, 0.55, 0.2))


def tv_monitor(rng: Rng) -> list[Solid]:
    """A flat screen on a foot, perhaps on a low cabinet; something is on, or nothing is."""
    w = rng.uniform(0.75, 1.15)
    h = w * rng.uniform(0.56, 0.66)
    shell = paint(pick(rng, SHELLS), gloss=0.3)
    base, cabinet = 0.12, []
    if rng.random() < 0.4:
        base = rng.uniform(0.35, 0.5) + 0.08
        cabinet = _cabinet(base - 0.1, 1.25 * w, wood(rng))
    led = paint((0.2, 0.9, 0.3), glow=0.9)
    return [
        *cabinet,
        box([0, base - 0.09, 0], [0.24, 0.025, 0.42 * w], shell),
        box([-0.02, base - 0.04, 0], [0.06, 0.14, 0.12], shell),
        box([0, base + h / 2, 0], [0.06, h, w], shell),
        box([-0.05, base + h / 2, 0], [0.08, 0.6 * h, 0.6 * w], shell),
        *_screen(rng, np.array([0.031, base + h / 2, 0]), h - 0.07, w - 0.07),
        box([0.034, base + 0.014, 0.42 * w], [0.004, 0.008, 0.02], led),
    ]


def _cabinet(height: float, width: float, timber: Look) -> list[Solid]:
    """What a television stands on: furniture, but none of the classes."""
    doors = [[0.165, height / 2, s * 0.248 * width] for s in SIDES]
    size = [0.02, height - 0.08, 0.448 * width]
    body = box([-0.05, height / 2, 0], [0.42, height, width], timber, part=PROP)
    return [body, *[box(door, size, tinted(timber, 0.8), part=PROP) for door in doors]]


def _screen(rng: Rng, center: Array, h: float, w: float) -> list[Solid]:
    """Dark glass, clouds of colour, a landscape, or the windows of a desktop."""
    glow, picture = float(rng.uniform(0.5, 0.9)), rng.random()
    if picture < 0.25:
        return [box(center, [0.004, h, w], paint((0.04, 0.045, 0.06), gloss=1.0))]
    top, low = hsv(rng.uniform(0.5, 0.7), 0.5, 0.85), paint(hsv(rng.random(), 0.6, 0.45), 0.3, glow)
    scene = Look(top, hsv(rng.random(), 0.5, 0.7), "patches", 4.0, 0.7, 0.5, glow, float(rng.uniform(0, 8)))
    solids = [box(center, [0.004, h, w], scene)]
    if picture < 0.6:
        solids.append(box(center - [0, 0.3 * h, 0], [0.007, 0.4 * h, w], low))
    elif picture < 0.8:
        high, wide = h + 0.07, w + 0.07
        page = paint((0.92, 0.93, 0.95), 0.2, glow)
        solids.append(box(center + [0.001, 0.03, -0.12 * wide], [0.007, 0.5 * high, 0.45 * wide], page))
        menu = box(
            center + [0.002, -0.26 * high, 0.2 * wide], [0.007, 0.24 * high, 0.36 * wide], paint(low.color, 0.2, glow)
        )
        solids.append(menu)
    return solids


def bottle(rng: Rng) -> list[Solid]:
    """Wine, beer or water: body, shoulder, neck, cap, label."""
    glass, cap = paint(pick(rng, BOTTLE_GLASS), gloss=1.0), paint(pick(rng, CAPS), gloss=0.4)
    label = Look(pick(rng, LABELS), hsv(rng.random(), 0.7, 0.4), "bands", 11.0, 0.8, 0.1)
    r, body = rng.uniform(0.036, 0.046), rng.uniform(0.15, 0.2)
    neck, slope = rng.uniform(0.015, 0.018), rng.uniform(0.04, 0.07)
    top = body + slope + rng.uniform(0.05, 0.09)
    return [
        rod([0, 0.006, 0], [0, body, 0], r, glass),
        rod([0, 0, 0], [0, 0.007, 0], r * 0.9, glass, r),
        rod([0, body, 0], [0, body + slope, 0], r, glass, neck),
        rod([0, body + slope, 0], [0, top, 0], neck, glass),
        rod([0, top - 0.02, 0], [0, top + 0.012, 0], neck * 1.22, cap),
        rod([0, 0.22 * body, 0], [0, 0.75 * body, 0], r * 1.025, label),
        ellipsoid([0, body, 0], [r, 0.3 * slope, r], glass),
    ]


def potted_plant(rng: Rng) -> list[Solid]:
    """Broad leaves, blades, a bush or flowers over a pot, turned by the golden angle from one to the next."""
    pot = paint(pick(rng, POTS), gloss=0.15)
    green = pick(rng, GREENS)
    leaf = Look(green, shade(green, 0.5), "leaves", 14.0, 0.6, gloss=0.15, phase=float(rng.uniform(0, 8)))
    r, h = rng.uniform(0.13, 0.17), rng.uniform(0.22, 0.3)
    solids = [
        rod([0, 0, 0], [0, h, 0], 0.7 * r, pot, r),
        rod([0, h - 0.045, 0], [0, h, 0], 1.12 * r, pot),
        rod([0, h, 0], [0, h + 0.006, 0], 0.95 * r, paint((0.18, 0.12, 0.08))),
    ]
    count, brightest, grow = _PLANTS[rng.choice(list(_PLANTS))]
    turns = rng.uniform(0, 2 * np.pi) + 2.4 * np.arange(count)
    for i, turn in enumerate(turns):
        out = np.array([np.cos(turn), 0, np.sin(turn)])
        solids += grow(rng, np.array([0, h, 0]), out, i, tinted(leaf, float(rng.uniform(0.75, brightest))))
    return solids


def _tuft(rng: Rng, root: Array, out: Array, i: int, leaf: Look) -> list[Solid]:
    return [ellipsoid(root + 0.13 * out + [0, 0.12 + 0.3 * (i / 12), 0], [0.1, 0.09, 0.1], leaf)]


def _blade(rng: Rng, root: Array, out: Array, i: int, leaf: Look) -> list[Solid]:
    tip = root + out * rng.uniform(0.08, 0.26) + [0, rng.uniform(0.4, 0.62), 0]
    return [limb(root + out * 0.05, tip, 0.026, 0.006, leaf)]


def _stalk(rng: Rng, root: Array, out: Array, i: int, leaf: Look) -> tuple[Array, Solid]:
    tip = root + out * rng.uniform(0.13, 0.24) + [0, 0.14 + 0.036 * i, 0]
    return tip, limb(root, tip, 0.008, 0.007, leaf)


def _broad_leaf(rng: Rng, root: Array, out: Array, i: int, leaf: Look) -> list[Solid]:
    tip, stalk = _stalk(rng, root, out, i, leaf)
    flat = ellipsoid([0.08, 0, 0], [0.13, 0.012, 0.075], leaf, pitch=rng.uniform(-0.5, 0.25))
    return [stalk, *move([flat], rotation(-np.arctan2(out[2], out[0])), tip)]


def _flower(rng: Rng, root: Array, out: Array, i: int, leaf: Look) -> list[Solid]:
    tip, stalk = _stalk(rng, root, out, i, leaf)
    petal = paint(hsv(rng.choice([0.0, 0.93, 0.14, 0.8]), 0.75, 0.9))
    if rng.random() >= 0.65:
        return [stalk, ellipsoid(tip, [0.09, 0.012, 0.05], leaf)]
    return [
        stalk,
        ellipsoid(tip, [0.06, 0.035, 0.06], petal),
        ellipsoid(tip + [0, 0.025, 0], [0.022] * 3, paint((0.95, 0.8, 0.2))),
        ellipsoid((root + tip) / 2 + out * 0.04, [0.07, 0.012, 0.05], leaf),
    ]


# kind: (how many, brightest tone, how one is made)
_PLANTS = {
    "broad": (9, 1.3, _broad_leaf),
    "blades": (11, 1.3, _blade),
    "bush": (13, 1.25, _tuft),
    "flowers": (9, 1.3, _flower),
}
