"""What four-legged animals have in common: a trunk, legs that stand or sit, a head, ears, a tail.

An animal faces +x and stands on y = 0. All of its proportions are the numbers of one ``Build``; the same bones with
other numbers are another species.
"""

# ruff: noqa: RUF005  (array + [x, y, z] moves a point; it does not concatenate)
from dataclasses import dataclass, replace

import numpy as np

from mtlora_lite.scenes.geometry import Solid, ellipsoid, limb, move, rod, rotation
from mtlora_lite.scenes.materials import Look, paint

Array = np.ndarray
Rng = np.random.Generator
SIDES = (-1, 1)
BLACK = paint((0.04, 0.035, 0.035), gloss=0.25)


@dataclass(frozen=True)
class Build:
    """A four-legged body in metres and degrees."""

    height: float  # of the back
    length: float  # hips to chest
    hip: float  # radii along the trunk
    chest: float
    thigh: float  # radii of the leg, top to bottom
    shin: float
    neck: tuple[float, float, float, float]  # length, angle, radius at the chest, at the head
    skull: float
    muzzle: tuple[float, float, float, float]  # length, angle, radius at the skull, at the nose
    tail: tuple[float, float]  # length, radius

    def individual(self, rng: Rng, spread: float) -> "Build":
        """The same species, another animal: length, girth, height and muzzle vary on their own."""
        length, hip, chest, height = (self.length, self.hip, self.chest, self.height)
        f = rng.uniform(1 - spread, 1 + spread, 4)
        muzzle = (self.muzzle[0] * f[3], *self.muzzle[1:])
        return replace(
            self, length=length * f[0], hip=hip * f[1], chest=chest * f[1], height=height * f[2], muzzle=muzzle
        )

    def breast(self, below: float = 1.0) -> Array:
        """Where the neck of a standing animal begins, ``below`` chest radii under its back."""
        return np.array([self.length / 2, self.height - below * self.chest, 0])


def along(length: float, degrees: float) -> Array:
    """A step forward and up."""
    return length * np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), 0.0])


def trunk(b: Build, coat: Look) -> list[Solid]:
    """From the hips to the chest, with a belly."""
    hip, chest = np.array([-b.length / 2, b.height - b.hip, 0]), b.breast()
    belly = (hip + chest) / 2 - [0, 0.08 * b.height, 0]
    return [
        limb(hip, chest, b.hip, b.chest, coat),
        ellipsoid(belly, [0.5 * b.length, 0.95 * b.chest, 0.98 * b.chest], coat),
    ]


def legs(b: Build, rng: Rng, coat: Look, foot: Look, hoof: bool) -> list[Solid]:
    """Four legs in a stride; knees bend backwards behind and stay straight in front."""
    stride = rng.uniform(0.0, 0.55) * rng.choice([-1, 1])
    solids = []
    for x, radius, bend in ((-b.length / 2 - 0.1 * b.hip, b.hip, 1), (b.length / 2 + 0.1 * b.chest, b.chest, 0)):
        for side in SIDES:
            swing = stride * side * (1 if bend else -1) * 0.32 * b.height
            top = np.array([x, b.height - 1.15 * radius, side * 0.62 * radius])
            end = np.array([x + swing, 1.1 * b.shin, side * 0.6 * radius])
            knee = (0.52 * top + 0.48 * end) + [(-0.09 if bend else 0.03) * b.height, 0, 0]
            solids += [limb(top, knee, b.thigh, 1.15 * b.shin, coat), limb(knee, end, 1.1 * b.shin, 0.9 * b.shin, coat)]
            solids.append(_hoof(end, b.shin, foot) if hoof else _paw(end + [0, -0.2 * b.shin, 0], b.shin, foot))
    return solids


def _hoof(at: Array, size: float, look: Look) -> Solid:
    return rod(at - [0, 1.1 * size, 0], at + [0, size, 0], 1.35 * size, look, r1=1.0 * size)


def _paw(at: Array, size: float, look: Look) -> Solid:
    return ellipsoid(at + [0.5 * size, 0, 0], np.array([1.6, 0.9, 1.1]) * size, look)


def sitting(b: Build, coat: Look, foot: Look) -> tuple[list[Solid], Array]:
    """Rump on the ground, chest up on straight forelegs; returns the chest too."""
    rump = np.array([-0.32 * b.length, 1.05 * b.hip, 0])
    chest = np.array([0.16 * b.length, 0.92 * b.height, 0])
    thigh = np.array([1.15, 1.05, 0.55]) * b.hip
    solids = [limb(rump, chest, 1.25 * b.hip, 1.0 * b.chest, coat)]
    for side in SIDES:
        paw = np.array([0.34 * b.length, 0.9 * b.shin, side * 0.5 * b.chest])
        heel = np.array([-0.1 * b.length, b.shin, side * 1.15 * b.hip])
        solids += [
            limb(chest + [0.02, -0.4 * b.chest, side * 0.5 * b.chest], paw, b.thigh, 0.95 * b.shin, coat),
            _paw(paw, b.shin, foot),
            ellipsoid(rump + [0.12 * b.length, 0, side * 0.8 * b.hip], thigh, coat, pitch=0.5),
            limb(heel, heel + [0.3 * b.length, 0, 0], b.shin, b.shin, foot),
        ]
    return solids, chest


def head(b: Build, at: Array, look: Look, snout: Look, nose: Look, tilt: float = 0.0) -> tuple[list[Solid], Array]:
    """Skull, muzzle, nose and eyes; returns the tip of the muzzle too."""
    length, angle, r0, r1 = b.muzzle
    tip = at + along(length, angle + tilt) + [0, -0.1 * b.skull, 0]
    eyes = at + along(0.72 * b.skull, angle + tilt + 48)
    return [
        ellipsoid(at, [1.05 * b.skull, b.skull, 0.95 * b.skull], look),
        limb(at + along(0.2 * length, angle + tilt), tip, r0, r1, snout),
        ellipsoid(tip + along(0.75 * r1, angle + tilt) + [0, 0.35 * r1, 0], np.array([0.5, 0.45, 0.6]) * r1, nose),
        *[ellipsoid(eyes + [0, 0, s * 0.58 * b.skull], [0.15 * b.skull] * 3, BLACK) for s in SIDES],
    ], tip


def pointed_ears(at: Array, size: float, spread: float, height: float, look: Look) -> list[Solid]:
    """Two upright cones."""
    roots = {s: at + [-0.1 * spread, 0.55 * spread, s * 0.55 * spread] for s in SIDES}
    tips = {s: at + [0, 0.55 * spread + height, s * 0.85 * spread] for s in SIDES}
    return [rod(roots[s], tips[s], size, look, 0.002) for s in SIDES]


def side_ears(at: Array, length: float, drop: float, look: Look) -> list[Solid]:
    """Two leaves to the sides, hanging by ``drop`` radians."""
    down, out = 0.5 * length * np.sin(drop), 0.9 * length * np.cos(drop)
    radii = np.array([0.4, 0.22, 0.8]) * length
    return [ellipsoid(at + [0, -down, s * out], radii, look, roll=s * drop) for s in SIDES]


def tail(
    root: Array, length: float, angle: float, bend: float, radii: tuple[float, float], look: Look, steps: int = 3
) -> list[Solid]:
    """Backwards from ``root`` at ``angle``: limbs, each turned by ``bend`` degrees against the one before."""
    joints = [root]
    for i in range(steps):
        joints.append(joints[-1] + along(length / steps, 180 - angle - i * bend))
    r = np.linspace(*radii, steps + 1)
    return [limb(joints[i], joints[i + 1], r[i], r[i + 1], look) for i in range(steps)]


def turned(solids: list[Solid], pivot: Array, yaw: float) -> list[Solid]:
    """The same about ``pivot``, looking aside."""
    turn = rotation(yaw)
    return move(solids, turn, pivot - turn @ pivot)
