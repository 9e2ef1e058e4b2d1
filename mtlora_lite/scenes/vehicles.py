"""Car, bus, train, aeroplane, boat, bicycle and motorbike, in metres, nose towards +x, wheels on y = 0.

A bus is a tall box with a row of windows and rubber wheels; a train is longer, has a raked nose, no visible tyres,
and comes with its rails; a motorbike has an engine where a bicycle has air.
"""

import numpy as np

from .geometry import PROP, Solid, box, ellipsoid, limb, move, polyhedron, prism, ring, rod, rotation
from .materials import Color, Look, hsv, paint, pick, shade

Rng = np.random.Generator
RUBBER = paint((0.045, 0.045, 0.05))
CHROME = paint((0.7, 0.71, 0.73), gloss=0.8)
STEEL = paint((0.35, 0.36, 0.38), gloss=0.4)
ALLOY = paint((0.5, 0.51, 0.53), gloss=0.5)
GLASS = paint((0.07, 0.1, 0.13), gloss=1.0)
LAMP = paint((1.0, 0.97, 0.85), gloss=0.6, glow=0.5)
RED_LAMP = paint((0.75, 0.05, 0.04), gloss=0.5, glow=0.3)
CAR_COLORS: tuple[Color, ...] = (
    (0.75, 0.07, 0.06), (0.1, 0.2, 0.5), (0.85, 0.86, 0.87), (0.6, 0.62, 0.64), (0.08, 0.08, 0.09), (0.15, 0.4, 0.25),
    (0.9, 0.68, 0.1), (0.25, 0.5, 0.7),
)  # fmt: skip


def _wheel(x: float, z: float, radius: float, width: float, hub: Look = ALLOY) -> list[Solid]:
    """A tyre and a hub that stands a little proud on both sides."""
    return [
        rod([x, radius, z - width / 2], [x, radius, z + width / 2], radius, RUBBER),
        rod([x, radius, z - width / 2 - 0.015], [x, radius, z + width / 2 + 0.015], 0.58 * radius, hub),
    ]


def _glazing(color: Color, panes_per_metre: float, phase: float = 0.0) -> Look:
    return Look(GLASS.color, shade(color, 0.85), "panes", panes_per_metre, 1.0, gloss=0.7, phase=phase)


def car(rng: Rng) -> list[Solid]:
    """Saloon, hatchback or off-roader."""
    color = pick(rng, CAR_COLORS)
    body = paint(color, gloss=0.6, grain=0.03)
    tall = rng.choice([0.0, 0.0, 0.25])
    hatch = rng.random() < 0.5 or tall > 0
    half, waist, roof = rng.uniform(1.8, 2.15), 0.88 + tall, 1.42 + 1.3 * tall
    width = 1.75
    rear = -half + (0.1 if hatch else 0.55)
    wheels, radius = (-0.62 * half, 0.64 * half), 0.33 + 0.25 * tall
    hull = [
        (-half, 0.3),
        (half, 0.3),
        (half, waist - 0.28),
        (half - 0.2, waist - 0.1),
        (0.45 * half, waist),
        (-half + 0.12, waist),
        (-half, waist - 0.2),
    ]
    cabin = [(rear, waist), (0.5 * half, waist), (0.12 * half, roof), (rear + (0.25 if hatch else 0.55), roof)]
    solids = [
        prism(hull, width, body, taper=0.04),
        prism(cabin, width - 0.1, GLASS, taper=0.3),
        prism(
            [
                (rear + (0.2 if hatch else 0.5), roof - 0.04),
                (0.14 * half, roof - 0.04),
                (0.1 * half, roof + 0.03),
                (rear + 0.3 + (0 if hatch else 0.3), roof + 0.03),
            ],
            width - 0.36,
            body,
        ),
        box([0, 0.32, 0], [2 * half + 0.08, 0.16, width - 0.06], paint((0.1, 0.1, 0.11))),
        box([half, waist - 0.42, 0], [0.06, 0.16, 0.8], paint((0.06, 0.06, 0.07), gloss=0.4)),
    ]
    drop = roof - waist
    for s in (-1, 1):
        low, high = s * (width / 2 - 0.07), s * (width / 2 - 0.06 - 0.3 * drop)
        posts = [
            ((0.5 * half, low), (0.12 * half, high)),
            ((-0.22 * half, low), (-0.22 * half, high)),
            ((rear, low), (rear + (0.25 if hatch else 0.55), high)),
        ]
        solids += [rod([x0, waist, z0], [x1, roof, z1], 0.05, body) for (x0, z0), (x1, z1) in posts]
        solids += [
            ellipsoid([half - 0.1, waist - 0.25, s * 0.62], [0.12, 0.1, 0.2], LAMP),
            box([-half, waist - 0.22, s * 0.68], [0.06, 0.2, 0.26], RED_LAMP),
            ellipsoid([0.32 * half, waist + 0.08, s * (width / 2 + 0.07)], [0.07, 0.07, 0.11], body),
            box([-0.2 * half, waist - 0.1, s * (width / 2)], [0.2, 0.04, 0.03], CHROME),
        ]
        for x in wheels:
            solids.append(
                rod(
                    [x, radius + 0.03, s * (width / 2 - 0.22)],
                    [x, radius + 0.03, s * (width / 2 + 0.006)],
                    radius + 0.07,
                    paint((0.05, 0.05, 0.05)),
                )
            )
            solids += _wheel(x, s * (width / 2 - 0.08), radius, 0.22)
    return [*solids, box([half + 0.04, 0.42, 0], [0.02, 0.12, 0.5], paint((0.92, 0.92, 0.9)))]


def bus(rng: Rng) -> list[Solid]:
    """City bus, coach, school bus or double-decker."""
    color = pick(rng, ((0.78, 0.08, 0.07), (0.93, 0.67, 0.08), (0.15, 0.35, 0.65), (0.9, 0.9, 0.88), (0.2, 0.5, 0.3)))
    stripe = paint(pick(rng, ((0.95, 0.95, 0.93), (0.1, 0.1, 0.12), hsv(rng.random(), 0.8, 0.7))), gloss=0.3)
    body = paint(color, gloss=0.4, grain=0.03)
    half, width = rng.uniform(3.6, 4.8), 2.4
    double = rng.random() < 0.25
    top = 4.2 if double else 3.0
    glazing = _glazing(color, rng.uniform(0.75, 1.0), 0.5)
    outline = [(-half, 0.35), (half, 0.35), (half, 1.3), (half - 0.12, top), (-half, top)]
    solids = [
        prism(outline, width, body),
        box([0, top + 0.02, 0], [1.6 * half, 0.16, 0.8 * width], paint(shade(color, 0.9))),
        box([0, 0.8, 0], [2 * half - 0.3, 0.16, width + 0.03], stripe),
    ]
    for y in (1.95, 3.45) if double else (2.05,):
        solids.append(box([-0.12, y, 0], [2 * half - 0.5, 0.85, width + 0.04], glazing))
        solids.append(box([half - 0.03, y + (0 if double else -0.08), 0], [0.12, 1.0, width - 0.22], GLASS, pitch=0.04))
        solids.append(box([-half, y, 0], [0.06, 0.75, width - 0.5], GLASS))
    solids.append(
        box(
            [half - 0.04, top - 0.24, 0],
            [0.12, 0.24, 1.5],
            Look((0.1, 0.1, 0.08), (1.0, 0.75, 0.1), "spots", 6.0, 0.9, glow=0.7),
        )
    )
    for s in (-1, 1):
        solids += [
            box([0.75 * half, 1.35, s * (width / 2)], [0.9, 1.9, 0.06], GLASS),
            ellipsoid([half, 0.8, s * 0.85], [0.06, 0.15, 0.2], LAMP),
            box([-half, 0.9, s * 0.95], [0.06, 0.4, 0.22], RED_LAMP),
            limb([half - 0.1, 2.6, s * 1.2], [half + 0.25, 2.2, s * 1.42], 0.04, 0.09, RUBBER),
        ]
        for x in (-0.58 * half, 0.5 * half):
            solids.append(rod([x, 0.55, s * (width / 2 - 0.3)], [x, 0.55, s * (width / 2 + 0.008)], 0.62, RUBBER))
            solids += _wheel(x, s * (width / 2 - 0.1), 0.5, 0.28, STEEL)
    return [*solids, box([half, 0.5, 0], [0.1, 0.25, width - 0.1], paint((0.12, 0.12, 0.13)))]


def train(rng: Rng) -> list[Solid]:
    """A raked power car and one or two coaches on rails."""
    livery = pick(
        rng,
        (
            (0.88, 0.88, 0.86),
            (0.7, 0.12, 0.1),
            (0.12, 0.25, 0.5),
            (0.85, 0.65, 0.12),
            (0.2, 0.42, 0.3),
            (0.55, 0.58, 0.6),
        ),
    )
    second = pick(rng, ((0.75, 0.1, 0.1), (0.1, 0.2, 0.5), (0.95, 0.8, 0.1), (0.15, 0.15, 0.17)))
    body, band = paint(livery, gloss=0.4, grain=0.03), paint(second, gloss=0.4, grain=0.03)
    dark = paint((0.09, 0.09, 0.1))
    length, width, top = 7.5, 2.5, 3.5
    rake = rng.uniform(0.5, 2.0)
    solids: list[Solid] = []
    for car_index in range(int(rng.integers(2, 4))):
        rear, front = 3.6 - (car_index + 1) * length, 3.6 - car_index * length - 0.35
        nose = car_index == 0
        outline = [
            (rear, 0.75),
            (front + 0.15 * nose, 0.75),
            (front + 0.15 * nose, 1.5),
            (front - rake * nose, top),
            (rear, top),
        ]
        solids += [
            prism(outline, width, body, taper=0.035),
            box([(rear + front) / 2, 1.15, 0], [front - rear - 0.1, 0.32, width + 0.02], band),
            box(
                [(rear + front - (rake + 1.0) * nose) / 2, 2.3, 0],
                [front - rear - 0.5 - (rake + 0.8) * nose, 0.75, width - 0.02],
                _glazing(livery, 0.8, 0.5),
            ),
            prism(
                [
                    (rear + 0.2, top - 0.05),
                    (front - (rake + 0.15) * nose, top - 0.05),
                    (front - (rake + 0.5) * nose, top + 0.3),
                    (rear + 0.3, top + 0.3),
                ],
                width - 0.4,
                paint((0.4, 0.41, 0.43)),
                taper=0.9,
            ),
            box([(rear + front) / 2, 0.55, 0], [front - rear - 0.8, 0.5, width - 0.4], dark),
        ]
        for x in (rear + 1.2, front - 1.4):
            solids += [rod([x + dx, 0.38, -0.85], [x + dx, 0.38, 0.85], 0.34, STEEL) for dx in (-0.5, 0.5)]
    front = 3.4
    tilt = float(np.arctan2(rake + 0.15, top - 1.5))
    screen = np.array([front - 0.42 * rake + 0.06, 1.5 + 0.5 * (top - 1.5), 0])
    solids += [
        box(screen, [0.1, 0.62 * (top - 1.5), width - 0.6], GLASS, pitch=tilt),
        box([front + 0.05, 0.7, 0], [0.25, 0.5, width - 0.3], dark),
        box([front + 0.02, 1.15, 0], [0.1, 0.36, width], band),
    ]
    for s in (-1, 1):
        solids.append(ellipsoid([front, 1.25, s * 0.85], [0.12, 0.14, 0.2], LAMP))
        solids.append(box([-9, 0.03, s * 0.72], [36, 0.1, 0.09], STEEL, part=PROP))
        mirror_door = [1.6, 1.9, s * (width / 2 - 0.03)]
        solids.append(box(mirror_door, [0.8, 1.9, 0.08], paint(shade(second, 0.8), gloss=0.3)))
    if rng.random() < 0.6:  # a pantograph
        solids += [
            rod([-5, top + 0.3, 0], [-5.6, top + 0.8, 0], 0.04, dark),
            rod([-5.6, top + 0.8, 0], [-5.0, top + 1.2, 0], 0.04, dark),
        ]
        solids.append(box([-5.0, top + 1.22, 0], [0.15, 0.06, 1.5], dark))
    sleeper = Look((0.3, 0.24, 0.2), (0.42, 0.4, 0.38), "panes", 1.2, 1.0)
    return [*solids, box([-9, 0.0, 0], [36, 0.06, 2.3], sleeper, part=PROP)]


def _wings(
    x: float, y: float, z: float, chord: float, tip: float, sweep: float, span: float, thick: float, look: Look
) -> list[Solid]:
    """A left and a right wing: the plan view, laid on its side, tips slightly raised."""
    outline = [(x - chord, 0), (x, 0), (x - sweep, span), (x - sweep - tip, span)]
    return [
        prism(outline, thick, look, taper=0.35 * thick / span, at=(0, y, s * z), lean=rotation(roll=s * 1.48))
        for s in (-1, 1)
    ]


def aeroplane(rng: Rng) -> list[Solid]:
    """An airliner with engines under its wings, or a light aircraft with a propeller; standing or in the air."""
    livery = pick(rng, ((0.75, 0.1, 0.1), (0.1, 0.25, 0.55), (0.95, 0.7, 0.1), (0.15, 0.45, 0.35), (0.3, 0.3, 0.35)))
    white = paint(pick(rng, ((0.93, 0.93, 0.94), (0.75, 0.77, 0.8), (0.93, 0.93, 0.94))), gloss=0.5, grain=0.03)
    accent = paint(livery, gloss=0.4, grain=0.03)
    grey = paint((0.62, 0.64, 0.67), gloss=0.4)
    airliner = rng.random() < 0.65
    r, nose, y = (0.85, 5.5, 2.0) if airliner else (0.6, 2.6, 1.35)
    tail = -6.2 if airliner else -3.6
    solids = [
        limb([0.35 * tail, y, 0], [nose - 1.2, y, 0], r, 0.9 * r, white),
        limb([0.3 * tail, y, 0], [tail, y + 0.5 * r, 0], r, 0.25 * r, white),
        ellipsoid([nose - 1.2, y - 0.1 * r, 0], [1.6, 0.85 * r, 0.85 * r], white),
        ellipsoid(
            [nose - 0.9 if airliner else 0.9, y + (0.42 if airliner else 0.75) * r, 0], [0.75, 0.4 * r, 0.6 * r], GLASS
        ),
        prism([(tail - 0.3, y), (tail + 1.7, y), (tail + 0.3, y + 2.9 * r), (tail - 0.7, y + 2.9 * r)], 0.16, accent),
        *_wings(tail + 1.2, y + 0.35 * r, 0.1, 1.2, 0.6, 0.9, 2.6 * r + 0.2, 0.14, white),
    ]
    if airliner:
        solids += _wings(1.8, y - 0.45 * r, 0.4, 2.6, 0.8, 3.0, 6.2, 0.3, grey)
        solids.append(
            box([0.2, y + 0.25, 0], [7.0, 0.2, 1.96 * r], Look(GLASS.color, white.color, "panes", 1.8, 1.0, gloss=0.4))
        )
        solids.append(box([-0.3, y - 0.12, 0], [7.6, 0.16, 2.01 * r], accent))
        for s in (-1, 1):
            solids += [
                rod([1.5, y - 1.0, s * 2.6], [-0.3, y - 0.95, s * 2.6], 0.46, white, 0.36),
                rod([1.55, y - 1.0, s * 2.6], [1.4, y - 1.0, s * 2.6], 0.36, RUBBER),
            ]
    else:
        solids += _wings(
            1.0,
            y + (0.8 * r if rng.random() < 0.5 else -0.5 * r),
            0.1,
            1.3,
            1.0,
            0.15,
            4.6,
            0.2,
            white if rng.random() < 0.5 else accent,
        )
        solids.append(ellipsoid([nose + 0.35, y, 0], [0.22, 0.16, 0.16], accent))
        solids += [limb([nose + 0.3, y, 0], [nose + 0.3, y + s * 0.85, s * 0.3], 0.07, 0.04, RUBBER) for s in (-1, 1)]
        solids.append(box([-0.2, y, 0], [4.2, 0.16, 2.02 * r], accent))
    if rng.random() < 0.6:
        for x, z in ((nose - 1.3, 0.0), (-0.4, 0.9), (-0.4, -0.9)):
            solids += [
                rod([x, 0.3, z], [x, y, z], 0.07, STEEL),
                rod([x, 0.3, z - 0.15], [x, 0.3, z + 0.15], 0.3, RUBBER),
            ]
        return solids
    # airborne: the whole craft climbs, banks and leaves the ground
    return move(
        solids, rotation(pitch=rng.uniform(0, 0.22), roll=rng.uniform(-0.3, 0.3)), [0, rng.uniform(2.5, 6.0), 0]
    )


def _hull(length: float, width: float, height: float, look: Look, y: float = 0.0) -> Solid:
    """Pointed bow, flared sides, flat transom."""
    half, w = length / 2, width / 2
    bow = w * length * 0.46
    planes = [
        [0, 1, 0, height], [0, -1, 0, 0.25 * height], [-1, -0.15, 0, half],
        [0, -0.45, 1, w - 0.45 * height], [0, -0.45, -1, w - 0.45 * height],
        [w, -0.6 * w, 0.46 * length, bow - 0.6 * w * height], [w, -0.6 * w, -0.46 * length, bow - 0.6 * w * height],
    ]  # fmt: skip
    return polyhedron(np.array(planes), [-half - 0.2, -0.25 * height, -w], [half, height, w], look, center=(0, y, 0))


def boat(rng: Rng) -> list[Solid]:
    """A sailing boat, a motor cruiser or a fishing boat, floating on y = 0."""
    color = pick(
        rng,
        (
            (0.93, 0.93, 0.92),
            (0.93, 0.93, 0.92),
            (0.15, 0.3, 0.55),
            (0.7, 0.15, 0.12),
            (0.2, 0.45, 0.4),
            (0.5, 0.32, 0.18),
        ),
    )
    hull, trim = (
        paint(color, gloss=0.3, grain=0.06),
        paint(pick(rng, ((0.1, 0.2, 0.45), (0.65, 0.12, 0.1), (0.12, 0.12, 0.14)))),
    )
    deck = Look((0.68, 0.5, 0.32), (0.4, 0.27, 0.16), "planks", 4.0, 0.7)
    white = paint((0.94, 0.94, 0.93), gloss=0.3, grain=0.04)
    kind = rng.choice(["sail", "sail", "cruiser", "fishing"])
    length, width, height = rng.uniform(5.2, 6.6), 1.9, rng.uniform(0.75, 1.0)
    solids = [
        _hull(length, width, height, hull),
        _hull(length * 1.01, width * 1.02, 0.12, trim, height - 0.1),
        _hull(length * 0.9, width * 0.82, 0.1, deck, height - 0.02),
    ]
    if kind == "sail":
        sail = paint(
            pick(rng, ((0.96, 0.95, 0.91), (0.96, 0.95, 0.91), (0.75, 0.2, 0.15), (0.2, 0.35, 0.6))), grain=0.05
        )
        top = height + rng.uniform(5.5, 7.0)
        swing = rotation(yaw=rng.uniform(0.1, 0.5) * rng.choice([-1, 1]))
        mast = np.array([0.45, 0, 0])
        solids += [
            rod(mast + [0, height, 0], mast + [0, top, 0], 0.06, CHROME),
            prism([(-2.7, height + 0.75), (-0.08, height + 0.65), (-0.08, top - 0.2)], 0.06, sail, at=mast, lean=swing),
            rod(mast + [0, height + 0.65, 0], mast + swing @ [-2.75, height + 0.7, 0], 0.05, CHROME),
            prism(
                [(0.1, height + 0.6), (length / 2 - 0.6, height + 0.35), (0.14, top - 1.0)],
                0.05,
                sail,
                at=mast + [0, 0, 0.02],
            ),
            prism([(-1.2, height), (0.2, height), (-0.1, height + 0.45), (-1.2, height + 0.5)], 1.0, white, taper=0.3),
        ]
    elif kind == "cruiser":
        roof = height + 1.15
        solids += [
            prism([(-0.9, height), (1.3, height), (0.4, roof), (-0.8, roof)], 1.5, GLASS, taper=0.2),
            prism([(-1.5, roof), (0.5, roof), (0.35, roof + 0.12), (-1.5, roof + 0.12)], 1.35, white),
            prism([(-1.0, height), (1.9, height), (1.4, height + 0.42), (-1.0, height + 0.5)], 1.55, white, taper=0.15),
            rod([-1.2, roof, 0], [-1.35, roof + 0.8, 0], 0.04, CHROME),
            box([-length / 2 - 0.1, 0.45, 0], [0.4, 0.8, 0.4], trim),
        ]
    else:
        solids += [
            box([-0.9, height + 0.75, 0], [1.3, 1.5, 1.2], white),
            box([-0.9, height + 1.05, 0], [1.34, 0.45, 1.24], _glazing((0.94, 0.94, 0.93), 2.0)),
            box([-0.9, height + 1.55, 0], [1.6, 0.12, 1.4], trim),
            rod([0.5, height, 0], [0.5, height + 3.0, 0], 0.06, deck),
            rod([0.5, height + 2.8, 0], [length / 2 - 0.4, height + 0.6, 0], 0.025, RUBBER),
            ring([-0.2, height + 0.6, 0.64], [0, 0, 1], 0.24, 0.13, 0.1, paint((0.95, 0.4, 0.1))),
            *[ellipsoid([x, height - 0.25, s * 0.86], [0.13, 0.2, 0.1], RUBBER) for x in (-1.6, 0.2) for s in (-1, 1)],
        ]
    return solids


def bicycle(rng: Rng) -> list[Solid]:
    """A diamond frame between two thin wheels, front wheel slightly turned."""
    frame = paint(
        pick(
            rng,
            (hsv(rng.random(), 0.8, 0.65), (0.08, 0.08, 0.09), (0.85, 0.85, 0.85), (0.75, 0.1, 0.1), (0.15, 0.35, 0.6)),
        ),
        gloss=0.5,
    )
    r, tube = 0.35, 0.021
    rear, front = np.array([-0.52, r, 0]), np.array([0.55, r, 0])
    crank, seat, head = np.array([-0.08, r - 0.05, 0]), np.array([-0.22, 0.86, 0]), np.array([0.36, 0.88, 0])
    solids = [
        rod(crank, seat, tube, frame), rod(crank, head - [0, 0.08, 0], 1.2 * tube, frame),
        rod(seat - [0, 0.06, 0], head, tube, frame), rod(rear, crank, 0.8 * tube, frame), rod(rear, seat, 0.8 * tube, frame),
        rod(front, head, tube, frame), rod(head, head + [-0.03, 0.14, 0], 0.8 * tube, CHROME),
        limb(seat + [0, 0.02, 0], seat + [-0.02, 0.1, 0], 0.018, 0.018, CHROME),
        ellipsoid(seat + [-0.02, 0.12, 0], [0.14, 0.035, 0.07], RUBBER),
    ]  # fmt: skip
    drop = rng.random() < 0.4
    bar = head + [-0.03, 0.14, 0]
    for s in (-1, 1):
        grip = bar + [0.02, 0.02, s * 0.26]
        solids.append(rod(bar, grip, 0.016, CHROME))
        solids.append(limb(grip, grip + ([0.12, -0.12, 0] if drop else [-0.12, 0.02, 0]), 0.022, 0.022, RUBBER))
        pedal = crank + [s * 0.12, -s * 0.12, s * 0.09]
        solids += [
            rod(crank + [0, 0, s * 0.05], pedal, 0.014, CHROME),
            box(pedal + [0, 0, s * 0.05], [0.1, 0.03, 0.1], RUBBER),
        ]
    spoke = paint((0.62, 0.63, 0.65), gloss=0.3)
    start = rng.uniform(0, np.pi)
    for hub in (rear, front):
        solids += [
            ring(hub, [0, 0, 1], r, r - 0.045, 0.04, RUBBER),
            ring(hub, [0, 0, 1], r - 0.045, r - 0.062, 0.025, CHROME),
        ]
        for angle in start + np.arange(4) * np.pi / 4:
            arm = (r - 0.05) * np.array([np.cos(angle), np.sin(angle), 0])
            solids.append(rod(hub - arm, hub + arm, 0.0045, spoke))
    solids.append(rod(crank - [0, 0, 0.03], crank - [0, 0, 0.04], 0.09, STEEL))
    if rng.random() < 0.35:  # a basket
        solids.append(
            box(
                head + [0.2, -0.02, 0],
                [0.24, 0.2, 0.28],
                Look((0.6, 0.45, 0.28), (0.3, 0.2, 0.1), "checker", 25.0, 0.8),
            )
        )
    return solids


def motorbike(rng: Rng) -> list[Solid]:
    """Fat tyres, a coloured tank, an engine with its exhaust, a headlamp."""
    color = pick(
        rng,
        (
            (0.75, 0.08, 0.07),
            (0.08, 0.08, 0.1),
            (0.12, 0.25, 0.55),
            (0.93, 0.5, 0.08),
            (0.85, 0.86, 0.87),
            (0.15, 0.45, 0.25),
        ),
    )
    body, black = paint(color, gloss=0.7, grain=0.03), paint((0.07, 0.07, 0.075), gloss=0.2)
    r = 0.32
    rear, front = np.array([-0.68, r, 0]), np.array([0.72, r, 0])
    head, seat = np.array([0.4, 0.92, 0]), np.array([-0.35, 0.78, 0])
    solids = [
        ellipsoid([0.12, 0.88, 0], [0.33, 0.16, 0.16], body, pitch=0.12),
        limb(seat + [0.25, 0.02, 0], seat + [-0.25, 0.05, 0], 0.09, 0.11, black),
        limb(seat + [-0.3, 0.05, 0], seat + [-0.52, 0.12, 0], 0.1, 0.05, body),
        box([0.03, 0.5, 0], [0.42, 0.34, 0.3], STEEL), box([0.03, 0.34, 0], [0.5, 0.16, 0.34], black),
        rod([0.1, 0.5, 0], [0.24, 0.78, 0], 0.14, CHROME), rod([-0.02, 0.5, 0], [-0.12, 0.76, 0], 0.13, CHROME),
        limb([-0.05, 0.45, 0], rear, 0.07, 0.05, black),
        ellipsoid(head + [0.14, -0.02, 0], [0.12, 0.12, 0.12], black), ellipsoid(head + [0.2, -0.02, 0], [0.08, 0.09, 0.09], LAMP),
        ellipsoid(front + [0.0, r * 0.82, 0], [0.24, 0.09, 0.085], body),
        box(seat + [-0.55, 0.06, 0], [0.05, 0.07, 0.12], RED_LAMP),
    ]  # fmt: skip
    for hub in (rear, front):
        solids += [ring(hub, [0, 0, 1], r, 0.19, 0.15, RUBBER), ring(hub, [0, 0, 1], 0.2, 0.165, 0.1, CHROME)]
        solids.append(rod(hub - [0, 0, 0.07], hub + [0, 0, 0.07], 0.08, STEEL))
        for angle in (0.3, 1.35, 2.4):
            arm = 0.18 * np.array([np.cos(angle), np.sin(angle), 0])
            solids.append(rod(hub - arm, hub + arm, 0.022, STEEL))
    for s in (-1, 1):
        solids += [
            rod(front + [0, 0, s * 0.11], head + [0.02, 0.0, s * 0.11], 0.032, CHROME),
            limb(head + [0, 0.12, s * 0.05], head + [-0.08, 0.2, s * 0.36], 0.022, 0.022, CHROME),
            limb(head + [-0.08, 0.2, s * 0.3], head + [-0.14, 0.2, s * 0.42], 0.03, 0.03, black),
            rod(head + [-0.02, 0.2, s * 0.3], head + [0.0, 0.34, s * 0.34], 0.01, black),
            ellipsoid(head + [0.0, 0.37, s * 0.34], [0.02, 0.045, 0.07], black),
            limb([0.0, 0.3, s * 0.18], [-0.75, 0.34, s * 0.22], 0.045, 0.065, CHROME),
        ]
    if rng.random() < 0.5:
        solids.append(
            prism([(0.4, 0.95), (0.62, 0.9), (0.42, 1.3)], 0.36, paint((0.25, 0.3, 0.34), gloss=0.9), taper=0.2)
        )
    if rng.random() < 0.35:
        solids.append(prism([(-0.1, 0.4), (0.42, 0.4), (0.62, 0.8), (0.3, 0.86)], 0.38, body))
    return solids
