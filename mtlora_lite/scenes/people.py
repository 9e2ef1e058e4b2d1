"""Persons: a skeleton of joints, dressed in limbs, with the six parts that PASCAL-Part's coarse labels know.

A pose is a row of angles; everything else (height, skin, hair, clothes) is drawn from the dice.
"""

from dataclasses import dataclass, replace

import numpy as np

from .geometry import PROP, Solid, box, ellipsoid, limb, move, prism, rod
from .materials import Color, Look, hsv, paint, pick, shade

Rng = np.random.Generator
HEAD, TORSO, UPPER_ARM, LOWER_ARM, UPPER_LEG, LOWER_LEG = range(1, 7)
SKINS: tuple[Color, ...] = (
    (0.93, 0.75, 0.64),
    (0.86, 0.65, 0.5),
    (0.7, 0.48, 0.34),
    (0.5, 0.33, 0.22),
    (0.34, 0.22, 0.16),
)
HAIRS: tuple[Color, ...] = (
    (0.08, 0.06, 0.05),
    (0.08, 0.06, 0.05),
    (0.25, 0.15, 0.08),
    (0.45, 0.28, 0.13),
    (0.8, 0.64, 0.35),
    (0.6, 0.6, 0.6),
)
CLOTHES: tuple[Color, ...] = (
    (0.92, 0.92, 0.9), (0.7, 0.12, 0.12), (0.15, 0.28, 0.55), (0.1, 0.1, 0.12), (0.9, 0.72, 0.2), (0.2, 0.45, 0.3), (0.5, 0.52, 0.55), (0.85, 0.5, 0.6),
)  # fmt: skip
TROUSERS: tuple[Color, ...] = (
    (0.14, 0.2, 0.36),
    (0.25, 0.33, 0.5),
    (0.1, 0.1, 0.11),
    (0.55, 0.47, 0.34),
    (0.35, 0.36, 0.38),
)


@dataclass(frozen=True)
class Pose:
    """Degrees; limbs hang at 0 and swing forward with positive angles. Pairs are (left, right)."""

    thighs: tuple[float, float]
    knees: tuple[float, float]  # bent backwards by
    arms: tuple[float, float]  # swung forward by
    spread: tuple[float, float]  # lifted sideways by
    elbows: tuple[float, float]  # bent forwards by
    lean: float = 0.0
    seat: float = 0.0  # height of what is sat on


POSES = {
    "standing": Pose((3, -3), (0, 0), (5, -5), (9, 9), (12, 12)),
    "walking": Pose((26, -20), (8, 26), (-24, 28), (8, 8), (18, 30), 4),
    "running": Pose((52, -30), (50, 62), (-48, 42), (12, 12), (80, 85), 14),
    "arms up": Pose((5, -5), (0, 0), (15, 10), (150, 148), (18, 18)),
    "waving": Pose((3, -3), (0, 0), (8, 0), (12, 125), (10, 55)),
    "hands on hips": Pose((6, -6), (0, 0), (-22, -22), (42, 42), (78, 78)),
    "reaching": Pose((8, -8), (4, 0), (80, 40), (10, 10), (15, 35), 6),
    "arms out": Pose((10, -10), (0, 0), (0, 0), (84, 84), (5, 5)),
    "sitting": Pose((84, 80), (80, 82), (32, 28), (10, 10), (48, 52), -4, 0.46),
}


def _swing(length: float, forward: float, sideways: float, side: int) -> np.ndarray:
    """The vector of a limb that hangs down, lifted sideways, then swung forward."""
    f, s = np.radians([forward, sideways])
    return length * np.array([np.sin(f) * np.cos(s), -np.cos(f) * np.cos(s), side * np.sin(s)])


def person(rng: Rng, pose: str | None = None) -> list[Solid]:
    """A person facing +x."""
    key = pose or rng.choice(list(POSES), p=[0.2, 0.2, 0.1, 0.1, 0.1, 0.08, 0.06, 0.06, 0.1])
    p, jitter = POSES[key], lambda: rng.normal(0, 4)
    bulk = rng.uniform(0.88, 1.22)
    skin = paint(pick(rng, SKINS, 0.04), gloss=0.08, grain=0.04)
    shirt, sleeve, trousers, shins, shoe = _clothes(rng, skin)
    solids: list[Solid] = []
    hips = np.array([0.0, 0.0, 0.0])
    lowest = np.inf
    for i, side in enumerate((-1, 1)):
        hip = hips + [0, 0, 0.095 * side * bulk]
        thigh = p.thighs[i] + jitter()
        knee = hip + _swing(0.43, thigh, 3, side)
        ankle = knee + _swing(0.43, thigh - p.knees[i], 1, side)
        toe = ankle + [0.13, -0.035, 0.02 * side]
        solids += [
            limb(hip, knee, 0.092 * bulk, 0.064 * bulk, trousers, UPPER_LEG),
            limb(knee, ankle, 0.062 * bulk, 0.042 * bulk, shins, LOWER_LEG),
            limb(ankle + [-0.03, -0.035, 0], toe, 0.045, 0.036, shoe, LOWER_LEG),
        ]
        lowest = min(lowest, ankle[1] - 0.08)
    up = np.array([np.sin(np.radians(p.lean)), np.cos(np.radians(p.lean)), 0.0])
    shoulders, z = hips + 0.53 * up, np.array([0.0, 0.0, 0.05 * bulk])
    solids += [
        ellipsoid(hips + 0.03 * up, [0.12 * bulk, 0.12, 0.165 * bulk], trousers, part=UPPER_LEG),
        *[
            limb(hips + 0.1 * up + z * side, hips + 0.4 * up + 1.5 * z * side, 0.105 * bulk, 0.112 * bulk, shirt, TORSO)
            for side in (-1, 0, 1)
        ],
        limb(shoulders - [0, 0.03, 0.15 * bulk], shoulders + [0, -0.03, 0.15 * bulk], 0.068, 0.068, shirt, TORSO),
    ]
    for i, side in enumerate((-1, 1)):
        shoulder = shoulders + [0, -0.035, 0.2 * side * bulk]
        forward, sideways = p.arms[i] + jitter(), p.spread[i] + jitter()
        elbow = shoulder + _swing(0.29, forward, sideways, side)
        bend = p.elbows[i] if sideways < 60 or forward > 40 else 0
        raise_by = p.elbows[i] if sideways >= 60 else 0
        if key == "hands on hips":
            wrist = hips + [0.03, 0.12, 0.17 * side * bulk]
        else:
            wrist = elbow + _swing(0.25, forward + bend, sideways + raise_by, side)
        hand = wrist + 0.22 * (wrist - elbow)
        solids += [
            limb(shoulder, elbow, 0.058 * bulk, 0.045 * bulk, shirt, UPPER_ARM),
            limb(elbow, wrist, 0.044 * bulk, 0.033, sleeve, LOWER_ARM),
            ellipsoid(hand, [0.05, 0.05, 0.04], skin, part=LOWER_ARM),
        ]
    solids += _head(rng, shoulders, up, skin)
    return _grounded(rng, solids, lowest, p.seat)


def _clothes(rng: Rng, skin: Look) -> tuple[Look, Look, Look, Look, Look]:
    """Shirt, lower sleeve, thigh, shin, shoe."""
    color = pick(rng, CLOTHES)
    stripes = rng.random() < 0.25
    shirt = Look(color, pick(rng, CLOTHES), "bands", 9.0, 0.9) if stripes else paint(color, grain=0.2)
    sleeve = shirt if rng.random() < 0.5 else skin
    trousers = paint(pick(rng, TROUSERS), grain=0.25)
    shins = skin if rng.random() < 0.25 else trousers
    return shirt, sleeve, trousers, shins, paint(pick(rng, ((0.08, 0.07, 0.07), (0.9, 0.9, 0.88), (0.4, 0.22, 0.12))))


def _head(rng: Rng, shoulders: np.ndarray, up: np.ndarray, skin: Look) -> list[Solid]:
    """Neck, face, hair, perhaps a hat."""
    at = shoulders + 0.22 * up + [0.015, 0, 0]
    hair = paint(pick(rng, HAIRS), grain=0.3, scale=20)
    dark = paint((0.05, 0.04, 0.04))
    solids = [
        rod(shoulders - 0.02 * up, at, 0.058, skin, 0.055, part=HEAD),
        ellipsoid(at, [0.108, 0.135, 0.092], skin, part=HEAD),
        ellipsoid(at + [0.108, -0.015, 0], [0.022, 0.025, 0.018], skin, part=HEAD),
        ellipsoid(at + [0.098, -0.065, 0], [0.012, 0.009, 0.03], paint((0.6, 0.25, 0.25)), part=HEAD),
    ]
    for s in (-1, 1):
        solids.append(ellipsoid(at + [0.096, 0.022, s * 0.036], [0.014, 0.013, 0.016], dark, part=HEAD))
        solids.append(ellipsoid(at + [0, -0.005, s * 0.093], [0.025, 0.035, 0.016], skin, part=HEAD))
    style = rng.random()
    if style < 0.9:
        solids.append(ellipsoid(at + [-0.022, 0.035, 0], [0.112, 0.125, 0.105], hair, part=HEAD))
        solids.append(ellipsoid(at + [0.03, 0.1, 0], [0.085, 0.055, 0.092], hair, part=HEAD))
    if style < 0.35:  # long hair
        solids.append(limb(at + [-0.05, 0, 0], at + [-0.07, -0.2, 0], 0.1, 0.07, hair, HEAD))
    elif style > 0.75:
        hat = paint(hsv(rng.random(), 0.6, 0.6))
        solids.append(ellipsoid(at + [-0.01, 0.075, 0], [0.118, 0.1, 0.11], hat, part=HEAD))
        solids.append(ellipsoid(at + [0.11, 0.07, 0], [0.09, 0.012, 0.085], hat, part=HEAD))
    return solids


def _grounded(rng: Rng, solids: list[Solid], lowest: float, seat: float) -> list[Solid]:
    """Feet on y = 0; whoever sits gets a crate, a stool or a bench."""
    solids = move(solids, np.eye(3), [0, -lowest, 0])
    if not seat:
        return solids
    top = -lowest - 0.1
    timber = Look((0.6, 0.42, 0.25), shade((0.6, 0.42, 0.25), 0.5), "planks", 9.0, 0.6)
    if rng.random() < 0.5:
        return [*solids, box([0.02, top / 2, 0], [0.46, top, 0.52], timber, part=PROP)]
    width = rng.uniform(0.5, 1.3)
    legs = [
        prism([(x - 0.03, 0), (x + 0.03, 0), (x + 0.03, top), (x - 0.03, top)], width - 0.1, timber)
        for x in (-0.14, 0.18)
    ]
    bench = [box([0.02, top - 0.03, 0], [0.44, 0.06, width], timber, part=PROP)]
    return [*solids, *bench, *[replace(leg, part=PROP) for leg in legs]]
