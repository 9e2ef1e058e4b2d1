"""Car, bus and train, in metres, nose towards +x, wheels on y = 0.

A bus is a tall box with a row of windows and rubber wheels; a train is longer, has a raked nose, no visible tyres,
and comes with its rails; a car is low, with a cabin narrower than its body.
"""

from dataclasses import dataclass

import numpy as np

from mtlora_lite.scenes.geometry import PROP, Solid, box, ellipsoid, limb, prism, rod
from mtlora_lite.scenes.materials import CHROME, GLASS, RUBBER, STEEL, Color, Look, hsv, paint, pick, shade

Rng = np.random.Generator
SIDES = (-1, 1)
ALLOY = paint((0.5, 0.51, 0.53), gloss=0.5)
LAMP = paint((1.0, 0.97, 0.85), gloss=0.6, glow=0.5)
RED_LAMP = paint((0.75, 0.05, 0.04), gloss=0.5, glow=0.3)
CAR_PAINTS: tuple[Color, ...] = (
    (0.75, 0.07, 0.06), (0.1, 0.2, 0.5), (0.85, 0.86, 0.87), (0.6, 0.62, 0.64), (0.08, 0.08, 0.09), (0.15, 0.4, 0.25),
    (0.9, 0.68, 0.1), (0.25, 0.5, 0.7),
)  # fmt: skip
BUS_PAINTS = ((0.78, 0.08, 0.07), (0.93, 0.67, 0.08), (0.15, 0.35, 0.65), (0.9, 0.9, 0.88), (0.2, 0.5, 0.3))
LIVERIES: tuple[Color, ...] = (
    (0.88, 0.88, 0.86), (0.7, 0.12, 0.1), (0.12, 0.25, 0.5), (0.85, 0.65, 0.12), (0.2, 0.42, 0.3), (0.55, 0.58, 0.6),
)  # fmt: skip
STRIPES = ((0.75, 0.1, 0.1), (0.1, 0.2, 0.5), (0.95, 0.8, 0.1), (0.15, 0.15, 0.17))


def wheel(x: float, z: float, radius: float, width: float, hub: Look) -> list[Solid]:
    """A tyre and a hub that stands a little proud on both sides."""
    return [
        rod([x, radius, z - width / 2], [x, radius, z + width / 2], radius, RUBBER),
        rod([x, radius, z - width / 2 - 0.015], [x, radius, z + width / 2 + 0.015], 0.58 * radius, hub),
    ]


def glazing(color: Color, panes_per_metre: float, phase: float = 0.0) -> Look:
    """A band of windows with posts in the colour of the body."""
    return Look(GLASS.color, shade(color, 0.85), "panes", panes_per_metre, 1.0, gloss=0.7, phase=phase)


@dataclass(frozen=True)
class _CarBody:
    """Where a car's lines run, metres."""

    half: float  # length
    waist: float  # heights
    roof: float
    rear: float  # x of the rear window, below and above
    rear_top: float
    hatch: bool
    width: float = 1.75


def car(rng: Rng) -> list[Solid]:
    """Saloon, hatchback or off-roader."""
    body = paint(pick(rng, CAR_PAINTS), gloss=0.6, grain=0.03)
    tall = float(rng.choice([0.0, 0.0, 0.25]))
    hatch = bool(rng.random() < 0.5 or tall > 0)
    half = rng.uniform(1.8, 2.15)
    rear = -half + (0.1 if hatch else 0.55)
    b = _CarBody(half, 0.88 + tall, 1.42 + 1.3 * tall, rear, rear + (0.25 if hatch else 0.55), hatch)
    radius, side = 0.33 + 0.25 * tall, b.width / 2
    solids = _car_shell(b, body)
    for s in SIDES:
        solids += _car_side(b, s, body)
        for x in (-0.62 * half, 0.64 * half):
            arch = [[x, radius + 0.03, s * (side - 0.22)], [x, radius + 0.03, s * (side + 0.006)]]
            solids.append(rod(*arch, radius + 0.07, paint((0.05, 0.05, 0.05))))
            solids += wheel(x, s * (side - 0.08), radius, 0.22, ALLOY)
    return [*solids, box([half + 0.04, 0.42, 0], [0.02, 0.12, 0.5], paint((0.92, 0.92, 0.9)))]


def _car_shell(b: _CarBody, body: Look) -> list[Solid]:
    """Body, glass cabin, roof, bumpers, grille."""
    hull = [(-b.half, 0.3), (b.half, 0.3), (b.half, b.waist - 0.28), (b.half - 0.2, b.waist - 0.1)]
    hull += [(0.45 * b.half, b.waist), (-b.half + 0.12, b.waist), (-b.half, b.waist - 0.2)]
    cabin = [(b.rear, b.waist), (0.5 * b.half, b.waist), (0.12 * b.half, b.roof), (b.rear_top, b.roof)]
    back = (0.2, 0.3) if b.hatch else (0.5, 0.6)
    roof = [(b.rear + back[0], b.roof - 0.04), (0.14 * b.half, b.roof - 0.04)]
    roof += [(0.1 * b.half, b.roof + 0.03), (b.rear + back[1], b.roof + 0.03)]
    return [
        prism(hull, b.width, body, taper=0.04),
        prism(cabin, b.width - 0.1, GLASS, taper=0.3),
        prism(roof, b.width - 0.36, body),
        box([0, 0.32, 0], [2 * b.half + 0.08, 0.16, b.width - 0.06], paint((0.1, 0.1, 0.11))),
        box([b.half, b.waist - 0.42, 0], [0.06, 0.16, 0.8], paint((0.06, 0.06, 0.07), gloss=0.4)),
    ]


def _car_side(b: _CarBody, s: int, body: Look) -> list[Solid]:
    """Window posts, lamps, mirror and handle of one side."""
    side = b.width / 2
    low, high = s * (side - 0.07), s * (side - 0.06 - 0.3 * (b.roof - b.waist))
    posts = ((0.5 * b.half, 0.12 * b.half), (-0.22 * b.half, -0.22 * b.half), (b.rear, b.rear_top))
    return [
        *[rod([x0, b.waist, low], [x1, b.roof, high], 0.05, body) for x0, x1 in posts],
        ellipsoid([b.half - 0.1, b.waist - 0.25, s * 0.62], [0.12, 0.1, 0.2], LAMP),
        box([-b.half, b.waist - 0.22, s * 0.68], [0.06, 0.2, 0.26], RED_LAMP),
        ellipsoid([0.32 * b.half, b.waist + 0.08, s * (side + 0.07)], [0.07, 0.07, 0.11], body),
        box([-0.2 * b.half, b.waist - 0.1, s * side], [0.2, 0.04, 0.03], CHROME),
    ]


def bus(rng: Rng) -> list[Solid]:
    """City bus, coach, school bus or double-decker."""
    color = pick(rng, BUS_PAINTS)
    stripe = paint(pick(rng, ((0.95, 0.95, 0.93), (0.1, 0.1, 0.12), hsv(rng.random(), 0.8, 0.7))), gloss=0.3)
    half, width = rng.uniform(3.6, 4.8), 2.4
    top, decks = (4.2, (1.95, 3.45)) if rng.random() < 0.25 else (3.0, (2.05,))
    windows = glazing(color, rng.uniform(0.75, 1.0), 0.5)
    sign = Look((0.1, 0.1, 0.08), (1.0, 0.75, 0.1), "spots", 6.0, 0.9, glow=0.7)
    outline = [(-half, 0.35), (half, 0.35), (half, 1.3), (half - 0.12, top), (-half, top)]
    solids = [
        prism(outline, width, paint(color, gloss=0.4, grain=0.03)),
        box([0, top + 0.02, 0], [1.6 * half, 0.16, 0.8 * width], paint(shade(color, 0.9))),
        box([0, 0.8, 0], [2 * half - 0.3, 0.16, width + 0.03], stripe),
    ]
    for y in decks:
        screen = y if len(decks) > 1 else y - 0.08
        solids.append(box([-0.12, y, 0], [2 * half - 0.5, 0.85, width + 0.04], windows))
        solids.append(box([half - 0.03, screen, 0], [0.12, 1.0, width - 0.22], GLASS, pitch=0.04))
        solids.append(box([-half, y, 0], [0.06, 0.75, width - 0.5], GLASS))
    solids.append(box([half - 0.04, top - 0.24, 0], [0.12, 0.24, 1.5], sign))
    solids += [solid for s in SIDES for solid in _bus_side(half, width / 2, s)]
    return [*solids, box([half, 0.5, 0], [0.1, 0.25, width - 0.1], paint((0.12, 0.12, 0.13)))]


def _bus_side(half: float, side: float, s: int) -> list[Solid]:
    """Door, lamps, mirror and wheels of one side."""
    solids = [
        box([0.75 * half, 1.35, s * side], [0.9, 1.9, 0.06], GLASS),
        ellipsoid([half, 0.8, s * 0.85], [0.06, 0.15, 0.2], LAMP),
        box([-half, 0.9, s * 0.95], [0.06, 0.4, 0.22], RED_LAMP),
        limb([half - 0.1, 2.6, s * 1.2], [half + 0.25, 2.2, s * 1.42], 0.04, 0.09, RUBBER),
    ]
    for x in (-0.58 * half, 0.5 * half):
        solids.append(rod([x, 0.55, s * (side - 0.3)], [x, 0.55, s * (side + 0.008)], 0.62, RUBBER))
        solids += wheel(x, s * (side - 0.1), 0.5, 0.28, STEEL)
    return solids


_COACH, _TRAIN_WIDTH, _TRAIN_TOP = 7.5, 2.5, 3.5
_UNDERSIDE = paint((0.09, 0.09, 0.1))


def train(rng: Rng) -> list[Solid]:
    """A raked power car and one or two coaches on rails."""
    livery, second = pick(rng, LIVERIES), pick(rng, STRIPES)
    rake = rng.uniform(0.5, 2.0)
    solids = []
    for coach in range(int(rng.integers(2, 4))):
        solids += _coach(3.6 - coach * _COACH, rake if coach == 0 else None, livery, second)
    solids += _train_front(3.4, rake, second)
    if rng.random() < 0.6:
        solids += _pantograph(-5.0)
    sleepers = Look((0.3, 0.24, 0.2), (0.42, 0.4, 0.38), "panes", 1.2, 1.0)
    rails = [box([-9, 0.03, s * 0.72], [36, 0.1, 0.09], STEEL, part=PROP) for s in SIDES]
    return [*solids, *rails, box([-9, 0.0, 0], [36, 0.06, 2.3], sleepers, part=PROP)]


def _coach(end: float, rake: float | None, livery: Color, second: Color) -> list[Solid]:
    """One vehicle whose front coupling is at ``end``; ``rake`` is how far the nose of a power car leans back."""
    rear, front, top, width = end - _COACH, end - 0.35, _TRAIN_TOP, _TRAIN_WIDTH
    nose = front if rake is None else front + 0.15
    crown, lean, glass = (front, 0.0, 0.0) if rake is None else (front - rake, rake, rake + 0.8)
    outline = [(rear, 0.75), (nose, 0.75), (nose, 1.5), (crown, top), (rear, top)]
    eaves = crown if rake is None else crown - 0.15
    ridge = crown if rake is None else crown - 0.5
    roof = [(rear + 0.2, top - 0.05), (eaves, top - 0.05), (ridge, top + 0.3), (rear + 0.3, top + 0.3)]
    middle = (rear + front) / 2
    window = (rear + front - (0.0 if rake is None else lean + 1.0)) / 2
    solids = [
        prism(outline, width, paint(livery, gloss=0.4, grain=0.03), taper=0.035),
        box([middle, 1.15, 0], [front - rear - 0.1, 0.32, width + 0.02], paint(second, gloss=0.4, grain=0.03)),
        box([window, 2.3, 0], [front - rear - 0.5 - glass, 0.75, width - 0.02], glazing(livery, 0.8, 0.5)),
        prism(roof, width - 0.4, paint((0.4, 0.41, 0.43)), taper=0.9),
        box([middle, 0.55, 0], [front - rear - 0.8, 0.5, width - 0.4], _UNDERSIDE),
    ]
    axles = [x + dx for x in (rear + 1.2, front - 1.4) for dx in (-0.5, 0.5)]
    return solids + [rod([x, 0.38, -0.85], [x, 0.38, 0.85], 0.34, STEEL) for x in axles]


def _train_front(front: float, rake: float, second: Color) -> list[Solid]:
    """Windscreen, bumper, lamps, and the driver's doors."""
    rise, width = _TRAIN_TOP - 1.5, _TRAIN_WIDTH
    screen = [front - 0.42 * rake + 0.06, 1.5 + 0.5 * rise, 0]
    tilt = float(np.arctan2(rake + 0.15, rise))
    door = paint(shade(second, 0.8), gloss=0.3)
    solids = [
        box(screen, [0.1, 0.62 * rise, width - 0.6], GLASS, pitch=tilt),
        box([front + 0.05, 0.7, 0], [0.25, 0.5, width - 0.3], _UNDERSIDE),
        box([front + 0.02, 1.15, 0], [0.1, 0.36, width], paint(second, gloss=0.4, grain=0.03)),
    ]
    for s in SIDES:
        solids.append(ellipsoid([front, 1.25, s * 0.85], [0.12, 0.14, 0.2], LAMP))
        solids.append(box([1.6, 1.9, s * (width / 2 - 0.03)], [0.8, 1.9, 0.08], door))
    return solids


def _pantograph(x: float) -> list[Solid]:
    knee, low, high = [x - 0.6, _TRAIN_TOP + 0.8, 0], [x, _TRAIN_TOP + 0.3, 0], [x, _TRAIN_TOP + 1.2, 0]
    bow = box([x, _TRAIN_TOP + 1.22, 0], [0.15, 0.06, 1.5], _UNDERSIDE)
    return [rod(low, knee, 0.04, _UNDERSIDE), rod(knee, high, 0.04, _UNDERSIDE), bow]
