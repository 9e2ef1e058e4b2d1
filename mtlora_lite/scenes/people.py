"""Persons: a skeleton of joints, dressed in limbs, with the six parts that PASCAL-Part's coarse labels know.

A pose is a row of angles; everything else (height, skin, hair, clothes) is drawn from the dice.
"""

# ruff: noqa: RUF005  (array + [x, y, z] moves a point; it does not concatenate)
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtlora_lite.scenes.geometry import PROP, Solid, box, ellipsoid, limb, move, rod
from mtlora_lite.scenes.materials import Color, Look, hsv, paint, pick, shade

Rng = np.random.Generator
SIDES = (-1, 1)
HEAD, TORSO, UPPER_ARM, LOWER_ARM, UPPER_LEG, LOWER_LEG = range(1, 7)
SKINS: tuple[Color, ...] = (
    (0.93, 0.75, 0.64),
    (0.86, 0.65, 0.5),
    (0.7, 0.48, 0.34),
    (0.5, 0.33, 0.22),
    (0.34, 0.22, 0.16),
)
HAIRS: tuple[Color, ...] = (
    (0.08, 0.06, 0.05), (0.08, 0.06, 0.05), (0.25, 0.15, 0.08), (0.45, 0.28, 0.13), (0.8, 0.64, 0.35), (0.6, 0.6, 0.6),
)  # fmt: skip
CLOTHES: tuple[Color, ...] = (
    (0.92, 0.92, 0.9), (0.7, 0.12, 0.12), (0.15, 0.28, 0.55), (0.1, 0.1, 0.12), (0.9, 0.72, 0.2), (0.2, 0.45, 0.3),
    (0.5, 0.52, 0.55), (0.85, 0.5, 0.6),
)  # fmt: skip
TROUSERS = ((0.14, 0.2, 0.36), (0.25, 0.33, 0.5), (0.1, 0.1, 0.11), (0.55, 0.47, 0.34), (0.35, 0.36, 0.38))
SHOES = ((0.08, 0.07, 0.07), (0.9, 0.9, 0.88), (0.4, 0.22, 0.12))
TIMBER = Look((0.6, 0.42, 0.25), shade((0.6, 0.42, 0.25), 0.5), "planks", 9.0, 0.6)


@dataclass(frozen=True)
class Pose:
    """Degrees; limbs hang at 0 and swing forward with positive angles. Pairs are (left, right)."""

    thighs: tuple[float, float]
    knees: tuple[float, float]  # bent backwards by
    arms: tuple[float, float]  # swung forward by
    spread: tuple[float, float]  # lifted sideways by
    elbows: tuple[float, float]  # bent forwards by
    lean: float = 0.0
    on_hips: bool = False
    seated: bool = False


POSES = {  # name: (how often, pose)
    "standing": (0.2, Pose((3, -3), (0, 0), (5, -5), (9, 9), (12, 12))),
    "walking": (0.2, Pose((26, -20), (8, 26), (-24, 28), (8, 8), (18, 30), lean=4)),
    "running": (0.1, Pose((52, -30), (50, 62), (-48, 42), (12, 12), (80, 85), lean=14)),
    "arms up": (0.1, Pose((5, -5), (0, 0), (15, 10), (150, 148), (18, 18))),
    "waving": (0.1, Pose((3, -3), (0, 0), (8, 0), (12, 125), (10, 55))),
    "hands on hips": (0.08, Pose((6, -6), (0, 0), (-22, -22), (42, 42), (78, 78), on_hips=True)),
    "reaching": (0.06, Pose((8, -8), (4, 0), (80, 40), (10, 10), (15, 35), lean=6)),
    "arms out": (0.06, Pose((10, -10), (0, 0), (0, 0), (84, 84), (5, 5))),
    "sitting": (0.1, Pose((84, 80), (80, 82), (32, 28), (10, 10), (48, 52), lean=-4, seated=True)),
}


@dataclass(frozen=True)
class Clothes:
    """What is worn where; the skin is a look like any other."""

    skin: Look
    shirt: Look
    sleeve: Look
    trousers: Look
    shins: Look
    shoe: Look


def person(rng: Rng) -> list[Solid]:
    """A person facing +x, somewhere between slim and stout, in one of the poses."""
    share = [often for often, _ in POSES.values()]
    _, pose = POSES[rng.choice(list(POSES), p=share)]
    bulk = rng.uniform(0.88, 1.22)
    wear = _clothes(rng)
    up = np.array([np.sin(np.radians(pose.lean)), np.cos(np.radians(pose.lean)), 0.0])
    legs, lowest = _legs(rng, pose, bulk, wear)
    solids = [
        *legs,
        *_torso(up, bulk, wear),
        *_arms(rng, pose, 0.53 * up, bulk, wear),
        *_head(rng, 0.53 * up, up, wear.skin),
    ]
    solids = move(solids, np.eye(3), [0, -lowest, 0])
    return solids + _bench(rng, -lowest - 0.1) if pose.seated else solids


def _clothes(rng: Rng) -> Clothes:
    skin = paint(pick(rng, SKINS, 0.04), gloss=0.08, grain=0.04)
    color = pick(rng, CLOTHES)
    stripes = rng.random() < 0.25
    shirt = Look(color, pick(rng, CLOTHES), "bands", 9.0, 0.9) if stripes else paint(color, grain=0.2)
    sleeve = shirt if rng.random() < 0.5 else skin
    trousers = paint(pick(rng, TROUSERS), grain=0.25)
    shins = skin if rng.random() < 0.25 else trousers
    return Clothes(skin, shirt, sleeve, trousers, shins, paint(pick(rng, SHOES)))


def _swing(length: float, forward: float, sideways: float, side: int) -> np.ndarray:
    """The vector of a limb that hangs down, lifted sideways, then swung forward."""
    f, s = np.radians([forward, sideways])
    return length * np.array([np.sin(f) * np.cos(s), -np.cos(f) * np.cos(s), side * np.sin(s)])


def _jitter(rng: Rng) -> float:
    """Nobody holds a pose to the degree."""
    return rng.normal(0, 4)


def _legs(rng: Rng, pose: Pose, bulk: float, wear: Clothes) -> tuple[list[Solid], float]:
    """Legs below hips at the origin, and how far down the lower sole is."""
    solids, soles = [], []
    for i, side in enumerate(SIDES):
        hip = np.array([0, 0, 0.095 * side * bulk])
        thigh = pose.thighs[i] + _jitter(rng)
        knee = hip + _swing(0.43, thigh, 3, side)
        ankle = knee + _swing(0.43, thigh - pose.knees[i], 1, side)
        solids += [
            limb(hip, knee, 0.092 * bulk, 0.064 * bulk, wear.trousers, UPPER_LEG),
            limb(knee, ankle, 0.062 * bulk, 0.042 * bulk, wear.shins, LOWER_LEG),
            limb(ankle + [-0.03, -0.035, 0], ankle + [0.13, -0.035, 0.02 * side], 0.045, 0.036, wear.shoe, LOWER_LEG),
        ]
        soles.append(ankle[1] - 0.08)
    return solids, min(soles)


def _torso(up: np.ndarray, bulk: float, wear: Clothes) -> list[Solid]:
    """Pelvis, three columns side by side that make a flat chest, shoulders."""
    pelvis = ellipsoid(0.03 * up, [0.12 * bulk, 0.12, 0.165 * bulk], wear.trousers, part=UPPER_LEG)
    flank, end = np.array([0.0, 0.0, 0.05 * bulk]), np.array([0, 0, 0.15 * bulk])
    columns = [(0.1 * up + f * flank, 0.4 * up + 1.5 * f * flank) for f in (-1, 0, 1)]
    collar = 0.53 * up - [0, 0.03, 0]
    return [
        pelvis,
        *[limb(low, high, 0.105 * bulk, 0.112 * bulk, wear.shirt, TORSO) for low, high in columns],
        limb(collar - end, collar + end, 0.068, 0.068, wear.shirt, TORSO),
    ]


def _arms(rng: Rng, pose: Pose, shoulders: np.ndarray, bulk: float, wear: Clothes) -> list[Solid]:
    """A lifted arm bends its elbow upwards, a hanging one forwards."""
    solids = []
    for i, side in enumerate(SIDES):
        shoulder = shoulders + [0, -0.035, 0.2 * side * bulk]
        forward, sideways = pose.arms[i] + _jitter(rng), pose.spread[i] + _jitter(rng)
        elbow = shoulder + _swing(0.29, forward, sideways, side)
        bend = pose.elbows[i] if sideways < 60 or forward > 40 else 0
        lift = pose.elbows[i] if sideways >= 60 else 0
        wrist = elbow + _swing(0.25, forward + bend, sideways + lift, side)
        if pose.on_hips:
            wrist = np.array([0.03, 0.12, 0.17 * side * bulk])
        solids += [
            limb(shoulder, elbow, 0.058 * bulk, 0.045 * bulk, wear.shirt, UPPER_ARM),
            limb(elbow, wrist, 0.044 * bulk, 0.033, wear.sleeve, LOWER_ARM),
            ellipsoid(wrist + 0.22 * (wrist - elbow), [0.05, 0.05, 0.04], wear.skin, part=LOWER_ARM),
        ]
    return solids


def _head(rng: Rng, shoulders: np.ndarray, up: np.ndarray, skin: Look) -> list[Solid]:
    """Neck, face, and what is on top: short or long hair, a cap, or nothing."""
    at = shoulders + 0.22 * up + [0.015, 0, 0]
    solids = [rod(shoulders - 0.02 * up, at, 0.058, skin, 0.055, part=HEAD)]

    def add(offset: Sequence[float], radii: Sequence[float], look: Look) -> None:
        solids.append(ellipsoid(at + offset, radii, look, part=HEAD))

    add([0, 0, 0], [0.108, 0.135, 0.092], skin)
    add([0.108, -0.015, 0], [0.022, 0.025, 0.018], skin)  # nose
    add([0.098, -0.065, 0], [0.012, 0.009, 0.03], paint((0.6, 0.25, 0.25)))  # mouth
    for s in SIDES:
        add([0.096, 0.022, s * 0.036], [0.014, 0.013, 0.016], paint((0.05, 0.04, 0.04)))  # eye
        add([0, -0.005, s * 0.093], [0.025, 0.035, 0.016], skin)  # ear
    hair = paint(pick(rng, HAIRS), grain=0.3, scale=20)
    style = rng.random()
    if style < 0.9:
        add([-0.022, 0.035, 0], [0.112, 0.125, 0.105], hair)
        add([0.03, 0.1, 0], [0.085, 0.055, 0.092], hair)
    if style < 0.35:
        solids.append(limb(at + [-0.05, 0, 0], at + [-0.07, -0.2, 0], 0.1, 0.07, hair, HEAD))
    elif style > 0.75:
        cap = paint(hsv(rng.random(), 0.6, 0.6))
        add([-0.01, 0.075, 0], [0.118, 0.1, 0.11], cap)
        add([0.11, 0.07, 0], [0.09, 0.012, 0.085], cap)
    return solids


def _bench(rng: Rng, top: float) -> list[Solid]:
    """Something to sit on, of height ``top``: a crate or a bench, which is no part of the person."""
    if rng.random() < 0.5:
        return [box([0.02, top / 2, 0], [0.46, top, 0.52], TIMBER, part=PROP)]
    width = rng.uniform(0.5, 1.3)
    legs = [box([x, top / 2, 0], [0.06, top, width - 0.1], TIMBER, part=PROP) for x in (-0.14, 0.18)]
    return [box([0.02, top - 0.03, 0], [0.44, 0.06, width], TIMBER, part=PROP), *legs]
