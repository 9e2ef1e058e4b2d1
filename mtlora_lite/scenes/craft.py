"""Aeroplane and boat, in metres, nose and bow towards +x: one may leave the ground, the other floats on y = 0."""

import numpy as np

from mtlora_lite.scenes.geometry import Solid, box, ellipsoid, limb, move, polyhedron, prism, ring, rod, rotation
from mtlora_lite.scenes.materials import CHROME, GLASS, RUBBER, STEEL, Color, Look, paint, pick
from mtlora_lite.scenes.vehicles import glazing

Rng = np.random.Generator
SIDES = (-1, 1)
LIVERIES = ((0.75, 0.1, 0.1), (0.1, 0.25, 0.55), (0.95, 0.7, 0.1), (0.15, 0.45, 0.35), (0.3, 0.3, 0.35))
SKINS = ((0.93, 0.93, 0.94), (0.75, 0.77, 0.8), (0.93, 0.93, 0.94))
HULLS: tuple[Color, ...] = (
    (0.93, 0.93, 0.92), (0.93, 0.93, 0.92), (0.15, 0.3, 0.55), (0.7, 0.15, 0.12), (0.2, 0.45, 0.4), (0.5, 0.32, 0.18),
)  # fmt: skip
TRIMS = ((0.1, 0.2, 0.45), (0.65, 0.12, 0.1), (0.12, 0.12, 0.14))
SAILS = ((0.96, 0.95, 0.91), (0.96, 0.95, 0.91), (0.75, 0.2, 0.15), (0.2, 0.35, 0.6))
DECK = Look((0.68, 0.5, 0.32), (0.4, 0.27, 0.16), "planks", 4.0, 0.7)
WHITE = paint((0.94, 0.94, 0.93), gloss=0.3, grain=0.04)


def aeroplane(rng: Rng) -> list[Solid]:
    """An airliner with engines under its wings, or a light aircraft with a propeller; standing or in the air."""
    accent = paint(pick(rng, LIVERIES), gloss=0.4, grain=0.03)
    skin = paint(pick(rng, SKINS), gloss=0.5, grain=0.03)
    if rng.random() < 0.65:
        nose, y = 5.5, 2.0
        solids = [*_fuselage(0.85, nose, -6.2, y, skin, accent), *_airliner(0.85, y, skin, accent)]
    else:
        nose, y = 2.6, 1.35
        solids = [*_fuselage(0.6, nose, -3.6, y, skin, accent), *_light_aircraft(rng, 0.6, nose, y, skin, accent)]
    if rng.random() < 0.6:
        return solids + _undercarriage(nose - 1.3, y)
    attitude = rotation(pitch=rng.uniform(0, 0.22), roll=rng.uniform(-0.3, 0.3))
    return move(solids, attitude, [0, rng.uniform(2.5, 6.0), 0])


def _fuselage(r: float, nose: float, tail: float, y: float, skin: Look, accent: Look) -> list[Solid]:
    """Tube, nose, cockpit, fin and tailplane around the axis at height ``y``."""
    cockpit = [nose - 0.9, y + 0.42 * r, 0] if r > 0.7 else [0.9, y + 0.75 * r, 0]
    fin = [(tail - 0.3, y), (tail + 1.7, y), (tail + 0.3, y + 2.9 * r), (tail - 0.7, y + 2.9 * r)]
    return [
        limb([0.35 * tail, y, 0], [nose - 1.2, y, 0], r, 0.9 * r, skin),
        limb([0.3 * tail, y, 0], [tail, y + 0.5 * r, 0], r, 0.25 * r, skin),
        ellipsoid([nose - 1.2, y - 0.1 * r, 0], [1.6, 0.85 * r, 0.85 * r], skin),
        ellipsoid(cockpit, [0.75, 0.4 * r, 0.6 * r], GLASS),
        prism(fin, 0.16, accent),
        *_wings([tail + 1.2, y + 0.35 * r, 0.1], (1.2, 0.6), 0.9, 2.6 * r + 0.2, 0.14, skin),
    ]


def _wings(root, chords: tuple[float, float], sweep: float, span: float, thick: float, look: Look) -> list[Solid]:
    """A left and a right wing: the plan view, laid on its side, tips slightly raised."""
    (x, y, z), (chord, tip) = root, chords
    plan = [(x - chord, 0), (x, 0), (x - sweep, span), (x - sweep - tip, span)]
    taper = 0.35 * thick / span
    return [prism(plan, thick, look, taper, at=(0, y, s * z), lean=rotation(roll=s * 1.48)) for s in SIDES]


def _airliner(r: float, y: float, skin: Look, accent: Look) -> list[Solid]:
    """Swept wings, a row of windows, two engines."""
    windows = Look(GLASS.color, skin.color, "panes", 1.8, 1.0, gloss=0.4)
    solids = _wings([1.8, y - 0.45 * r, 0.4], (2.6, 0.8), 3.0, 6.2, 0.3, paint((0.62, 0.64, 0.67), gloss=0.4))
    solids.append(box([0.2, y + 0.25, 0], [7.0, 0.2, 1.96 * r], windows))
    solids.append(box([-0.3, y - 0.12, 0], [7.6, 0.16, 2.01 * r], accent))
    for z in (-2.6, 2.6):
        solids.append(rod([1.5, y - 1.0, z], [-0.3, y - 0.95, z], 0.46, skin, 0.36))
        solids.append(rod([1.55, y - 1.0, z], [1.4, y - 1.0, z], 0.36, RUBBER))
    return solids


def _light_aircraft(rng: Rng, r: float, nose: float, y: float, skin: Look, accent: Look) -> list[Solid]:
    """Straight wings above or below, and a propeller."""
    height = y + (0.8 * r if rng.random() < 0.5 else -0.5 * r)
    wings = _wings([1.0, height, 0.1], (1.3, 1.0), 0.15, 4.6, 0.2, skin if rng.random() < 0.5 else accent)
    hub = np.array([nose + 0.3, y, 0])
    blades = [limb(hub, [nose + 0.3, y + s * 0.85, s * 0.3], 0.07, 0.04, RUBBER) for s in SIDES]
    spinner = ellipsoid([nose + 0.35, y, 0], [0.22, 0.16, 0.16], accent)
    return [*wings, spinner, *blades, box([-0.2, y, 0], [4.2, 0.16, 2.02 * r], accent)]


def _undercarriage(front: float, y: float) -> list[Solid]:
    solids = []
    for x, z in ((front, 0.0), (-0.4, 0.9), (-0.4, -0.9)):
        solids.append(rod([x, 0.3, z], [x, y, z], 0.07, STEEL))
        solids.append(rod([x, 0.3, z - 0.15], [x, 0.3, z + 0.15], 0.3, RUBBER))
    return solids


def boat(rng: Rng) -> list[Solid]:
    """A sailing boat, a motor cruiser or a fishing boat, floating on y = 0."""
    hull, trim = paint(pick(rng, HULLS), gloss=0.3, grain=0.06), paint(pick(rng, TRIMS))
    kind = rng.choice(["sail", "sail", "cruiser", "fishing"])
    length, width, deck = rng.uniform(5.2, 6.6), 1.9, rng.uniform(0.75, 1.0)
    solids = [
        _hull(length, width, deck, hull),
        _hull(length * 1.01, width * 1.02, 0.12, trim, deck - 0.1),
        _hull(length * 0.9, width * 0.82, 0.1, DECK, deck - 0.02),
    ]
    if kind == "sail":
        return solids + _rigging(rng, length, deck)
    return solids + (_cruiser(length, deck, trim) if kind == "cruiser" else _fishing_boat(length, deck, trim))


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


def _rigging(rng: Rng, length: float, deck: float) -> list[Solid]:
    """Mast, boom, mainsail, foresail and a low cabin."""
    sail = paint(pick(rng, SAILS), grain=0.05)
    top = deck + rng.uniform(5.5, 7.0)
    swing = rotation(yaw=rng.uniform(0.1, 0.5) * rng.choice(SIDES))
    mast = np.array([0.45, 0, 0])
    foot, boom = [0.45, deck + 0.65, 0], mast + swing @ [-2.75, deck + 0.7, 0]
    main = [(-2.7, deck + 0.75), (-0.08, deck + 0.65), (-0.08, top - 0.2)]
    jib = [(0.1, deck + 0.6), (length / 2 - 0.6, deck + 0.35), (0.14, top - 1.0)]
    cabin = [(-1.2, deck), (0.2, deck), (-0.1, deck + 0.45), (-1.2, deck + 0.5)]
    return [
        rod([0.45, deck, 0], [0.45, top, 0], 0.06, CHROME),
        prism(main, 0.06, sail, at=mast, lean=swing),
        rod(foot, boom, 0.05, CHROME),
        prism(jib, 0.05, sail, at=(0.45, 0, 0.02)),
        prism(cabin, 1.0, WHITE, taper=0.3),
    ]


def _cruiser(length: float, deck: float, trim: Look) -> list[Solid]:
    """A glazed cabin under a hard top, an antenna, an outboard motor."""
    roof = deck + 1.15
    glass = [(-0.9, deck), (1.3, deck), (0.4, roof), (-0.8, roof)]
    hard_top = [(-1.5, roof), (0.5, roof), (0.35, roof + 0.12), (-1.5, roof + 0.12)]
    coaming = [(-1.0, deck), (1.9, deck), (1.4, deck + 0.42), (-1.0, deck + 0.5)]
    return [
        prism(glass, 1.5, GLASS, taper=0.2),
        prism(hard_top, 1.35, WHITE),
        prism(coaming, 1.55, WHITE, taper=0.15),
        rod([-1.2, roof, 0], [-1.35, roof + 0.8, 0], 0.04, CHROME),
        box([-length / 2 - 0.1, 0.45, 0], [0.4, 0.8, 0.4], trim),
    ]


def _fishing_boat(length: float, deck: float, trim: Look) -> list[Solid]:
    """A wheelhouse, a mast with its stay, a life ring, fenders."""
    fenders = [(x, s * 0.86) for x in (-1.6, 0.2) for s in SIDES]
    return [
        box([-0.9, deck + 0.75, 0], [1.3, 1.5, 1.2], WHITE),
        box([-0.9, deck + 1.05, 0], [1.34, 0.45, 1.24], glazing((0.94, 0.94, 0.93), 2.0)),
        box([-0.9, deck + 1.55, 0], [1.6, 0.12, 1.4], trim),
        rod([0.5, deck, 0], [0.5, deck + 3.0, 0], 0.06, DECK),
        rod([0.5, deck + 2.8, 0], [length / 2 - 0.4, deck + 0.6, 0], 0.025, RUBBER),
        ring([-0.2, deck + 0.6, 0.64], [0, 0, 1], 0.24, 0.13, 0.1, paint((0.95, 0.4, 0.1))),
        *[ellipsoid([x, deck - 0.25, z], [0.13, 0.2, 0.1], RUBBER) for x, z in fenders],
    ]
