"""Chair, sofa and dining table, fronts towards +x, standing on y = 0.

One seat with legs and a back is a chair; a wide upholstered one with arms is a sofa; a top without a back is a table.
"""

# ruff: noqa: RUF005  (array + [x, y, z] moves a point; it does not concatenate)
import numpy as np

from mtlora_lite.scenes.geometry import Solid, box, ellipsoid, limb, prism, rod
from mtlora_lite.scenes.materials import Color, Look, hsv, paint, pick, shade, tinted

Array = np.ndarray
Rng = np.random.Generator
SIDES = (-1, 1)
WOODS = ((0.55, 0.36, 0.2), (0.36, 0.22, 0.13), (0.72, 0.54, 0.34), (0.9, 0.88, 0.84), (0.16, 0.13, 0.12))
FABRICS: tuple[Color, ...] = (
    (0.55, 0.18, 0.16), (0.2, 0.3, 0.45), (0.5, 0.48, 0.45), (0.75, 0.68, 0.55), (0.25, 0.36, 0.28), (0.35, 0.24, 0.18),
    (0.8, 0.6, 0.2),
)  # fmt: skip
FRUITS = ((0.85, 0.2, 0.12), (0.95, 0.6, 0.1), (0.5, 0.7, 0.2))
CHINA = paint((0.95, 0.95, 0.93), gloss=0.3)


def wood(rng: Rng) -> Look:
    """Boards with some grain."""
    color = pick(rng, WOODS)
    return Look(color, shade(color, 0.6), "planks", 9.0, 0.5, gloss=0.12, phase=float(rng.uniform(0, 8)))


def fabric(rng: Rng) -> Look:
    """Plain, striped or checked upholstery."""
    color = pick(rng, FABRICS)
    pattern, amount = (("mottled", 0.3), ("mottled", 0.3), ("stripes", 0.6), ("checker", 0.4))[rng.integers(4)]
    return Look(color, shade(color, 0.6 if rng.random() < 0.5 else 1.6), pattern, 7.0, amount)


_SEAT, _DEPTH = 0.46, 0.45  # height and depth of a chair's seat


def chair(rng: Rng) -> list[Solid]:
    """Kitchen chair with slats, upholstered dining chair, either with or without arms, or a swivel chair."""
    frame, cloth = wood(rng), fabric(rng)
    w, top, lean = rng.uniform(0.42, 0.5), rng.uniform(0.9, 1.08), rng.uniform(0.03, 0.1)
    kind = rng.choice(["slats", "panel", "swivel", "slats"])
    if kind == "swivel":
        return _swivel_chair(rng, w, lean, cloth)
    upholstered = kind == "panel" or rng.random() < 0.4
    solids = [box([0, _SEAT, 0], [_DEPTH, 0.09 if upholstered else 0.055, w], cloth if upholstered else frame)]
    solids += _chair_frame(w, top, lean, rng.random() < 0.25, frame)
    if kind == "panel":
        high = top - _SEAT
        middle = [-_DEPTH / 2 - lean / 2 + 0.01, (_SEAT + top) / 2 + 0.06, 0]
        return [*solids, box(middle, [0.06, high * 0.8, w - 0.03], cloth, pitch=lean / high)]
    return solids + _slats(w, top, lean, rng.random() < 0.5, frame)


def _chair_frame(w: float, top: float, lean: float, arms: bool, frame: Look) -> list[Solid]:
    """Four legs, of which the rear ones go on as the posts of the back."""
    x, y = _DEPTH / 2, _SEAT
    solids = [rod([x - 0.03, 0.2, -w / 2], [x - 0.03, 0.2, w / 2], 0.012, frame)]
    for z in (0.025 - w / 2, w / 2 - 0.025):
        solids += [
            rod([x - 0.03, 0, z], [x - 0.03, y, z], 0.021, frame, 0.026),
            rod([-x - 0.03, 0, z], [-x + 0.02, y, z], 0.021, frame, 0.026),
            rod([-x + 0.02, y, z], [-x - lean, top, z], 0.025, frame),
        ]
        if arms:
            solids.append(box([0, y + 0.22, z], [_DEPTH, 0.035, 0.05], frame))
            solids.append(rod([x - 0.05, y, z], [x - 0.05, y + 0.22, z], 0.02, frame))
    return solids


def _slats(w: float, top: float, lean: float, upright: bool, frame: Look) -> list[Solid]:
    """A top rail, and spindles or cross bars below it."""
    x, y = -_DEPTH / 2, _SEAT
    rail = np.array([x - lean + 0.012, top - 0.04, 0])
    if upright:
        bars = [rod([x + 0.015, y, z], rail + [0, 0, z], 0.011, frame) for z in np.linspace(-0.32, 0.32, 4) * w]
    else:
        steps = [[x - lean * f + 0.015, y + f * (top - y), 0] for f in (0.35, 0.62)]
        bars = [box(step, [0.025, 0.065, w], frame) for step in steps]
    return [box(rail, [0.03, 0.09, w], frame), *bars]


def _swivel_chair(rng: Rng, w: float, lean: float, cloth: Look) -> list[Solid]:
    """A column on five feet."""
    steel, y = paint((0.2, 0.2, 0.22), gloss=0.4), _SEAT
    solids = [rod([0, 0.1, 0], [0, y, 0], 0.035, steel)]
    for a in np.arange(5) * 2 * np.pi / 5 + rng.uniform(0, 1):
        foot = 0.28 * np.array([np.cos(a), 0, np.sin(a)])
        solids.append(limb([0, 0.12, 0], foot + [0, 0.06, 0], 0.03, 0.02, steel))
        solids.append(ellipsoid(foot + [0, 0.03, 0], [0.03] * 3, steel))
    solids += [
        box([0, y, 0], [_DEPTH, 0.09, w], cloth),
        limb([-0.2, y, 0], [-0.26, y + 0.25, 0], 0.03, 0.03, steel),
        box([-0.25, y + 0.38, 0], [0.07, 0.42, w * 0.92], cloth, pitch=lean),
    ]
    for z in (-w / 2, w / 2):
        solids.append(box([-0.02, y + 0.2, z], [0.25, 0.035, 0.05], steel))
        solids.append(rod([-0.05, y, z], [-0.05, y + 0.2, z], 0.018, steel))
    return solids


def sofa(rng: Rng) -> list[Solid]:
    """Two or three seats between arms, and up to two pillows."""
    cloth = fabric(rng)
    seats = int(rng.integers(2, 4))
    arm, high = rng.uniform(0.16, 0.26), rng.uniform(0.78, 0.92)
    w = 0.62 * seats
    side, x = w / 2 + arm, -0.325  # half the whole width; where the back stands
    solids = [
        box([0, 0.22, 0], [0.85, 0.24, 2 * side], tinted(cloth, 0.8)),
        box([x, (high + 0.12) / 2, 0], [0.2, high - 0.12, 2 * side], cloth),
        limb([x, high, 0.1 - side], [x, high, side - 0.1], 0.1, 0.1, cloth),
    ]
    for s in SIDES:
        z, foot = s * (w / 2 + arm / 2), s * (side - 0.06)
        solids.append(box([0.03, 0.34, z], [0.79, 0.48, arm], cloth))
        solids.append(limb([x, 0.58, z], [0.345, 0.58, z], arm / 2 + 0.01, arm / 2 + 0.01, cloth))
        solids += [rod([f, 0, foot], [f, 0.12, foot], 0.025, paint((0.2, 0.14, 0.1))) for f in (-0.35, 0.35)]
    for z in (np.arange(seats) - (seats - 1) / 2) * 0.62:
        solids += [
            box([0.1, 0.42, z], [0.59, 0.16, 0.6], cloth),
            box([-0.17, 0.68, z], [0.16, 0.4, 0.58], cloth, pitch=0.2),
            ellipsoid([-0.1, 0.68, z], [0.09, 0.19, 0.27], cloth, pitch=0.2),
        ]
    for _ in range(int(rng.integers(0, 3))):
        pillow, z = fabric(rng), rng.uniform(-0.4, 0.4) * w
        solids.append(ellipsoid([0.04, 0.62, z], [0.09, 0.17, 0.19], pillow, pitch=0.5, yaw=rng.uniform(-0.4, 0.4)))
    return solids


_TABLE = 0.75  # height


def dining_table(rng: Rng) -> list[Solid]:
    """Round on a pedestal or rectangular on four legs, often laid, sometimes with a bowl of fruit."""
    timber = wood(rng)
    solids, places = _round_table(rng, timber) if rng.random() < 0.35 else _square_table(rng, timber)
    top = np.array([0, _TABLE + 0.02, 0])
    if rng.random() < 0.75:
        solids += [rod(top + p - [0, 0.01, 0], top + p + [0, 0.012, 0], 0.08, CHINA, 0.13) for p in places]
        glass = paint(pick(rng, ((0.75, 0.82, 0.85), (0.6, 0.15, 0.15))), gloss=0.8)
        feet = [top + 0.55 * p + [0.08, 0, 0.05] for p in places[:2]]
        solids += [rod(foot, foot + [0, 0.12, 0], 0.03, glass, 0.038) for foot in feet]
    if rng.random() < 0.6:
        fruit = paint(pick(rng, FRUITS), gloss=0.3)
        solids.append(rod(top, top + [0, 0.08, 0], 0.06, CHINA, 0.15))
        heap = [[0.07 * np.cos(a), 0.1, 0.07 * np.sin(a)] for a in (0.3, 2.4, 4.5)]
        solids += [ellipsoid(top + at, [0.05] * 3, fruit) for at in heap]
    return solids


def _round_table(rng: Rng, timber: Look) -> tuple[list[Solid], list[Array]]:
    """The table, and where people sit at it."""
    r = rng.uniform(0.5, 0.7)
    solids = [
        rod([0, _TABLE - 0.05, 0], [0, _TABLE, 0], r, timber),
        rod([0, 0.05, 0], [0, _TABLE, 0], 0.07, timber, 0.05),
        rod([0, 0, 0], [0, 0.06, 0], 0.3, timber, 0.22),
    ]
    return solids, [0.62 * r * np.array([np.cos(a), 0, np.sin(a)]) for a in np.arange(4) * np.pi / 2]


def _square_table(rng: Rng, timber: Look) -> tuple[list[Solid], list[Array]]:
    """The table, one in three with a cloth, and where people sit at it."""
    w, d = rng.uniform(1.2, 1.8), rng.uniform(0.75, 0.95)
    legs = [(sx * (d / 2 - 0.07), sz * (w / 2 - 0.07)) for sx in SIDES for sz in SIDES]
    solids = [
        box([0, _TABLE - 0.025, 0], [d, 0.05, w], timber),
        box([0, _TABLE - 0.1, 0], [d - 0.14, 0.1, w - 0.14], tinted(timber, 0.8)),
        *[rod([x, 0, z], [x, _TABLE, z], 0.028, timber, 0.04) for x, z in legs],
    ]
    if rng.random() < 0.35:
        cloth = fabric(rng)
        solids.append(box([0, _TABLE - 0.08, 0], [d + 0.02, 0.19, w * rng.uniform(0.5, 1.01)], cloth))
    return solids, [np.array([sx * 0.24, 0, z * w]) for sx in SIDES for z in (-0.28, 0.28)]


def picture_frame(rng: Rng, width: float, height: float) -> list[Solid]:
    """Something to hang on a wall, facing +z."""
    x, y = width / 2, height / 2
    outline = np.array([(-x, -y), (x, -y), (x, y), (-x, y)])
    colors = hsv(rng.random(), 0.4, 0.75), hsv(rng.random(), 0.6, 0.4)
    art = Look(*colors, "patches", 2.2, 1.0, phase=float(rng.uniform(0, 8)))
    return [prism(outline, 0.05, wood(rng)), prism(0.86 * outline, 0.06, art)]
