"""Cat, dog, horse, cow, sheep and bird: one skeleton with different numbers, and what makes each unmistakable.

What tells them apart must survive at 64 pixels and in any colour: a cat is a round head with pointed ears and a long
tail; a dog has a muzzle and hanging or tall ears; a horse is legs, neck and mane; a cow is a box with horns, udder and
patches; a sheep is a cloud on thin dark legs.
"""

from dataclasses import dataclass, replace

import numpy as np

from .geometry import Solid, box, ellipsoid, limb, move, rod, rotation
from .materials import Color, Look, hsv, paint, pick, shade, tinted

Rng = np.random.Generator
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
    tail: tuple[float, float, float]  # length, angle, radius


CAT = Build(
    0.27, 0.34, 0.075, 0.075, 0.036, 0.022, (0.10, 45, 0.06, 0.05), 0.078, (0.075, -18, 0.045, 0.028), (0.36, 55, 0.02)
)
DOG = Build(
    0.55, 0.56, 0.10, 0.135, 0.06, 0.032, (0.20, 50, 0.10, 0.075), 0.098, (0.22, -12, 0.07, 0.04), (0.34, 40, 0.025)
)
HORSE = Build(
    1.55, 1.35, 0.33, 0.34, 0.15, 0.06, (0.85, 52, 0.27, 0.14), 0.17, (0.52, -52, 0.15, 0.09), (0.9, -70, 0.09)
)
COW = Build(
    1.40, 1.45, 0.37, 0.38, 0.13, 0.075, (0.50, 18, 0.27, 0.19), 0.20, (0.42, -42, 0.18, 0.13), (0.95, -84, 0.03)
)
SHEEP = Build(
    0.80, 0.72, 0.25, 0.25, 0.06, 0.035, (0.24, 38, 0.14, 0.11), 0.095, (0.21, -38, 0.085, 0.05), (0.12, -60, 0.05)
)


def _along(length: float, degrees: float) -> np.ndarray:
    """A step forward and up."""
    return length * np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), 0.0])


def _trunk(b: Build, coat: Look, belly: Look) -> list[Solid]:
    y_hip, y_chest = b.height - b.hip, b.height - b.chest
    hip, chest = np.array([-b.length / 2, y_hip, 0]), np.array([b.length / 2, y_chest, 0])
    middle = (hip + chest) / 2 - [0, 0.08 * b.height, 0]
    return [
        limb(hip, chest, b.hip, b.chest, coat),
        ellipsoid(middle, [0.5 * b.length, 0.95 * b.chest, 0.98 * b.chest], belly),
    ]


def _standing_legs(b: Build, rng: Rng, coat: Look, foot: Look, hoof: bool) -> list[Solid]:
    """Four legs in a stride; knees bend backwards behind and stay straight in front."""
    stride = rng.uniform(0.0, 0.55) * rng.choice([-1, 1])
    solids = []
    for x, radius, bend in ((-b.length / 2 - 0.1 * b.hip, b.hip, 1), (b.length / 2 + 0.1 * b.chest, b.chest, 0)):
        for side in (-1, 1):
            swing = stride * side * (1 if bend else -1) * 0.32 * b.height
            top = np.array([x, b.height - 1.15 * radius, side * 0.62 * radius])
            end = np.array([x + swing, 1.1 * b.shin, side * 0.6 * radius])
            knee = (0.52 * top + 0.48 * end) + [(-0.09 if bend else 0.03) * b.height, 0, 0]
            solids += [limb(top, knee, b.thigh, 1.15 * b.shin, coat), limb(knee, end, 1.1 * b.shin, 0.9 * b.shin, coat)]
            if hoof:
                solids.append(
                    rod(end - [0, 1.1 * b.shin, 0], end + [0, b.shin, 0], 1.35 * b.shin, foot, r1=1.0 * b.shin)
                )
            else:
                solids.append(
                    ellipsoid(end + [0.5 * b.shin, -0.2 * b.shin, 0], np.array([1.6, 0.9, 1.1]) * b.shin, foot)
                )
    return solids


def _sitting(b: Build, coat: Look, foot: Look) -> tuple[list[Solid], np.ndarray]:
    """Rump on the ground, chest up on straight forelegs; returns the chest too."""
    rump = np.array([-0.32 * b.length, 1.05 * b.hip, 0])
    chest = np.array([0.16 * b.length, 0.92 * b.height, 0])
    solids = [limb(rump, chest, 1.25 * b.hip, 1.0 * b.chest, coat)]
    for side in (-1, 1):
        paw = np.array([0.34 * b.length, 0.9 * b.shin, side * 0.5 * b.chest])
        solids += [
            limb(chest + [0.02, -0.4 * b.chest, side * 0.5 * b.chest], paw, b.thigh, 0.95 * b.shin, coat),
            ellipsoid(paw + [0.5 * b.shin, 0, 0], np.array([1.6, 0.9, 1.1]) * b.shin, foot),
            ellipsoid(
                rump + [0.12 * b.length, 0, side * 0.8 * b.hip],
                [1.15 * b.hip, 1.05 * b.hip, 0.55 * b.hip],
                coat,
                pitch=0.5,
            ),
            limb(
                [-0.1 * b.length, b.shin, side * 1.15 * b.hip],
                [0.2 * b.length, b.shin, side * 1.15 * b.hip],
                b.shin,
                b.shin,
                foot,
            ),
        ]
    return solids, chest


def _head(
    b: Build, at: np.ndarray, look: Look, snout: Look, nose: Look, tilt: float = 0.0
) -> tuple[list[Solid], np.ndarray]:
    """Skull, muzzle, nose and eyes; returns the tip of the nose too."""
    length, angle, r0, r1 = b.muzzle
    tip = at + _along(length, angle + tilt) + [0, -0.1 * b.skull, 0]
    solids = [
        ellipsoid(at, [1.05 * b.skull, b.skull, 0.95 * b.skull], look),
        limb(at + _along(0.2 * length, angle + tilt), tip, r0, r1, snout),
        ellipsoid(tip + _along(0.75 * r1, angle + tilt) + [0, 0.35 * r1, 0], np.array([0.5, 0.45, 0.6]) * r1, nose),
    ]
    out = _along(0.72 * b.skull, angle + tilt + 48)
    for side in (-1, 1):
        solids.append(ellipsoid(at + out + [0, 0, side * 0.58 * b.skull], [0.15 * b.skull] * 3, BLACK))
    return solids, tip


def _pointed_ears(at: np.ndarray, size: float, spread: float, height: float, look: Look) -> list[Solid]:
    """Two upright cones."""
    return [
        rod(
            at + [-0.1 * spread, 0.55 * spread, s * 0.55 * spread],
            at + [0, 0.55 * spread + height, s * 0.85 * spread],
            size,
            look,
            0.002,
        )
        for s in (-1, 1)
    ]


def _side_ears(at: np.ndarray, length: float, drop: float, look: Look) -> list[Solid]:
    """Two leaves to the sides, hanging by ``drop`` radians."""
    return [
        ellipsoid(
            at + [0, -0.5 * length * np.sin(drop), s * 0.9 * length * np.cos(drop)],
            [0.4 * length, 0.22 * length, length * 0.8],
            look,
            roll=s * drop,
        )
        for s in (-1, 1)
    ]


def _curve(
    start: np.ndarray, length: float, angle: float, bend: float, r0: float, r1: float, look: Look, steps: int = 3
) -> list[Solid]:
    """A tail backwards from ``start``: limbs, each turned by ``bend`` degrees against the one before."""
    solids, at = [], start
    radii = np.linspace(r0, r1, steps + 1)
    for i in range(steps):
        end = at + _along(length / steps, 180 - angle - i * bend)
        solids.append(limb(at, end, radii[i], radii[i + 1], look))
        at = end
    return solids


def _face_turned(solids: list[Solid], pivot: np.ndarray, yaw: float) -> list[Solid]:
    """The head looks aside."""
    turn = rotation(yaw)
    return move(solids, turn, pivot - turn @ pivot)


def _scaled(b: Build, rng: Rng, spread: float = 0.1) -> Build:
    """An individual: limbs, trunk and muzzle vary on their own."""
    f = rng.uniform(1 - spread, 1 + spread, 4)
    muzzle = (b.muzzle[0] * f[3], *b.muzzle[1:])
    return replace(
        b, length=b.length * f[0], hip=b.hip * f[1], chest=b.chest * f[1], height=b.height * f[2], muzzle=muzzle
    )


def _coat(rng: Rng, colors: tuple[Color, ...], pattern: str, second: Color, scale: float, amount: float) -> Look:
    return Look(pick(rng, colors), second, pattern, scale, amount, phase=float(rng.uniform(0, 8)))


def cat(rng: Rng) -> list[Solid]:
    """Tabby, ginger, black, grey or tortoiseshell; sitting, standing, or curled up like a loaf."""
    b = _scaled(CAT, rng, 0.08)
    tabby = rng.random() < 0.6
    color = pick(
        rng, ((0.85, 0.52, 0.22), (0.55, 0.5, 0.45), (0.13, 0.12, 0.12), (0.72, 0.68, 0.62), (0.5, 0.38, 0.27))
    )
    coat = Look(color, shade(color, 0.3), "stripes", 9.0, 0.8 if tabby else 0.15, phase=float(rng.uniform(0, 8)))
    white = paint((0.93, 0.91, 0.88))
    chest_look, foot = (white, white) if rng.random() < 0.5 else (tinted(coat, 1.15), coat)
    if rng.random() < 0.55:
        solids, chest = _sitting(b, coat, foot)
        solids.append(ellipsoid(chest + [0.03, -0.06, 0], [0.055, 0.085, 0.055], chest_look))
        solids += _curve(
            np.array([-0.5 * b.length, 0.03, 0.02]), b.tail[0], 12, 42, b.tail[2] * 1.2, b.tail[2], coat, 4
        )
    else:
        solids = [*_trunk(b, coat, coat), *_standing_legs(b, rng, coat, foot, hoof=False)]
        chest = np.array([b.length / 2, b.height - b.chest, 0])
        up = rng.uniform(35, 75)
        solids += _curve(
            np.array([-b.length / 2 - 0.06, b.height - 0.05, 0]),
            b.tail[0],
            up,
            rng.uniform(5, 22),
            b.tail[2] * 1.2,
            b.tail[2],
            coat,
            4,
        )
    at = chest + _along(b.neck[0], b.neck[1] + 15)
    pink = paint((0.75, 0.42, 0.4))
    head, tip = _head(b, at, coat, chest_look, pink)
    for side in (-1, 1):
        head += [
            ellipsoid(
                at + [0.058, 0.018, side * 0.034],
                [0.02, 0.019, 0.018],
                paint(hsv(rng.uniform(0.15, 0.4), 0.7, 0.8), glow=0.3),
            ),
            ellipsoid(at + [0.075, 0.018, side * 0.036], [0.006, 0.014, 0.006], BLACK),
            rod(
                tip + [-0.01, 0, side * 0.015],
                tip + [-0.005, 0.01 * rng.uniform(-1, 1), side * 0.1],
                0.0025,
                white,
                0.001,
            ),
        ]
    head += _pointed_ears(at, 0.042, 0.075, 0.085, coat) + _pointed_ears(
        at + [0.014, 0.0, 0], 0.026, 0.075, 0.065, pink
    )
    return [*solids, limb(chest, at, b.neck[2], b.neck[3], coat), *_face_turned(head, at, rng.uniform(-0.9, 0.9))]


def dog(rng: Rng) -> list[Solid]:
    """Retriever to shepherd: a real muzzle, hanging or tall ears, a tail held up, often a collar and a tongue."""
    b = _scaled(DOG, rng, 0.14)
    coat = _coat(
        rng,
        ((0.72, 0.5, 0.26), (0.42, 0.26, 0.14), (0.1, 0.09, 0.09), (0.88, 0.82, 0.7), (0.6, 0.38, 0.2)),
        "patches" if rng.random() < 0.35 else "mottled", pick(rng, ((0.92, 0.9, 0.86), (0.12, 0.1, 0.09))), 2.2, 0.9,
    )  # fmt: skip
    if coat.pattern == "mottled":
        coat = replace(coat, second=shade(coat.color, 0.6), amount=0.5)
    dark = tinted(coat, 0.5) if rng.random() < 0.7 else coat
    light = paint(shade(coat.color, 1.25))
    if rng.random() < 0.35:
        solids, chest = _sitting(b, coat, light)
        solids.append(ellipsoid(chest + [0.05, -0.1, 0], [0.09, 0.15, 0.09], light))
        solids += _curve(np.array([-0.55 * b.length, 0.05, 0]), b.tail[0], 25, 15, b.tail[2] * 1.4, b.tail[2], coat)
    else:
        solids = [*_trunk(b, coat, coat), *_standing_legs(b, rng, coat, light, hoof=False)]
        chest = np.array([b.length / 2, b.height - b.chest, 0])
        solids += _curve(
            np.array([-b.length / 2 - 0.08, b.height - 0.06, 0]),
            b.tail[0],
            rng.uniform(20, 60),
            -25,
            b.tail[2] * 1.5,
            b.tail[2] * 0.8,
            coat,
        )
    at = chest + _along(b.neck[0] + 0.06, b.neck[1])
    head, tip = _head(b, at, coat, light if rng.random() < 0.5 else coat, BLACK)
    if rng.random() < 0.6:  # hanging ears
        head += [ellipsoid(at + [-0.02, -0.03, s * 0.105], [0.052, 0.105, 0.022], dark, roll=s * 0.22) for s in (-1, 1)]
    else:
        head += _pointed_ears(at, 0.045, 0.09, 0.12, dark)
    if rng.random() < 0.5:
        head.append(ellipsoid(tip + [0.0, -0.055, 0], [0.022, 0.045, 0.02], paint((0.85, 0.35, 0.38))))
    collar = paint(hsv(rng.random(), 0.8, 0.75), gloss=0.2)
    neck = limb(chest, at, b.neck[2], b.neck[3], coat)
    middle = chest + 0.72 * (at - chest)
    band = rod(middle, middle + 0.14 * (at - chest), b.neck[3] * 1.2, collar)
    return [*solids, neck, band, *_face_turned(head, at, rng.uniform(-0.7, 0.7))]


def horse(rng: Rng) -> list[Solid]:
    """Bay, chestnut, black or grey; a long neck with a mane, a long face, a tail of hair; sometimes grazing."""
    b = _scaled(HORSE, rng, 0.06)
    color = pick(rng, ((0.42, 0.22, 0.1), (0.58, 0.32, 0.15), (0.14, 0.1, 0.09), (0.75, 0.73, 0.7), (0.5, 0.36, 0.22)))
    coat = Look(color, shade(color, 0.6), "mottled", 1.2, 0.5, gloss=0.12, phase=float(rng.uniform(0, 8)))
    hair = paint(pick(rng, ((0.06, 0.05, 0.04), (0.2, 0.12, 0.07), (0.82, 0.75, 0.6))), grain=0.3)
    solids = [*_trunk(b, coat, coat), *_standing_legs(b, rng, coat, paint((0.12, 0.1, 0.08)), hoof=True)]
    grazing = rng.random() < 0.2
    angle = -32 if grazing else rng.uniform(38, 62)
    chest = np.array([b.length / 2, b.height - 0.75 * b.chest, 0])
    at = chest + _along(b.neck[0], angle)
    solids.append(limb(chest, at, b.neck[2], b.neck[3], coat))
    side = np.array([-np.sin(np.radians(angle)), np.cos(np.radians(angle)), 0.0])
    for f in np.linspace(0.05, 1.0, 5):  # the mane, tuft by tuft along the crest
        root = chest + f * (at - chest) + side * (b.neck[2] + f * (b.neck[3] - b.neck[2])) * 0.95
        solids.append(ellipsoid(root, [0.17, 0.12, 0.05], hair, pitch=np.radians(angle) - 0.3))
    head, _ = _head(b, at, coat, coat, tinted(coat, 0.4), tilt=-15 if grazing else 0)
    if rng.random() < 0.5:  # a blaze down the face
        low = at + _along(b.muzzle[0] * 0.8, b.muzzle[1])
        out = _along(0.105, b.muzzle[1] + 90)
        head.append(limb(at + out * 1.2, low + out * 0.75, 0.05, 0.03, paint((0.93, 0.91, 0.88))))
    head += _pointed_ears(at, 0.05, 0.14, 0.19, coat)
    head.append(ellipsoid(at + [0.08, 0.13, 0], [0.13, 0.08, 0.06], hair, pitch=-0.6))
    solids += _face_turned(head, at, rng.uniform(-0.4, 0.4))
    rump = np.array([-b.length / 2 - 0.8 * b.hip, b.height - 0.55 * b.hip, 0])
    return solids + _curve(rump, b.tail[0], rng.uniform(-62, -48), -12, 0.07, 0.11, hair, 3)


def cow(rng: Rng) -> list[Solid]:
    """Black or brown and white in patches, or one brown; horns, a broad pink muzzle, an udder, a thin tasselled tail."""
    b = _scaled(COW, rng, 0.06)
    phase = float(rng.uniform(0, 8))
    white, pink = (0.92, 0.9, 0.86), paint((0.85, 0.6, 0.55))
    if rng.random() < 0.75:
        coat = Look(
            white,
            pick(rng, ((0.06, 0.05, 0.05), (0.06, 0.05, 0.05), (0.4, 0.2, 0.1))),
            "patches",
            1.1,
            1.0,
            phase=phase,
        )
    else:
        brown = pick(rng, ((0.5, 0.28, 0.14), (0.35, 0.2, 0.12), (0.7, 0.55, 0.38)))
        coat = Look(brown, shade(brown, 0.7), "mottled", 1.0, 0.6, phase=phase)
    solids = [*_trunk(b, coat, coat), *_standing_legs(b, rng, coat, paint((0.15, 0.12, 0.1)), hoof=True)]
    spine = b.height - 0.32
    solids.append(box([-0.05, spine, 0], [b.length * 1.12, 0.56, 0.52], coat))  # square shoulders and hips
    udder = np.array([-0.3 * b.length, b.height - 2 * b.hip - 0.02, 0])
    solids.append(ellipsoid(udder, [0.2, 0.15, 0.16], pink))
    solids += [
        rod(udder + [x, -0.08, z], udder + [x, -0.22, z], 0.028, pink, 0.02)
        for x in (-0.07, 0.08)
        for z in (-0.07, 0.07)
    ]
    grazing = rng.random() < 0.3
    angle = -48 if grazing else rng.uniform(2, 30)
    chest = np.array([b.length / 2, b.height - 0.85 * b.chest, 0])
    at = chest + _along(b.neck[0] + 0.1, angle)
    solids.append(limb(chest, at, b.neck[2], b.neck[3], coat))
    head, tip = _head(b, at, coat, coat, paint((0.25, 0.15, 0.14)), tilt=-12 if grazing else 0)
    head.append(ellipsoid(tip, [0.14, 0.13, 0.16], pink))
    head += _side_ears(at + [-0.05, 0.08, 0], 0.22, 0.2, coat)
    horn = paint((0.85, 0.8, 0.68), gloss=0.2)
    for s in (-1, 1):
        root, middle = at + [-0.02, 0.16, s * 0.12], at + [0.02, 0.24, s * 0.27]
        head += [
            limb(root, middle, 0.045, 0.035, horn),
            limb(middle, middle + [0.06, 0.16, s * 0.03], 0.035, 0.012, horn),
        ]
    solids += _face_turned(head, at, rng.uniform(-0.6, 0.6))
    rump = np.array([-b.length / 2 - 0.9 * b.hip, b.height - 0.2, 0])
    solids += _curve(rump, b.tail[0], -78, -3, 0.03, 0.02, coat, 2)
    return [*solids, ellipsoid(rump + [-0.14, -b.tail[0], 0], [0.05, 0.15, 0.05], paint((0.1, 0.08, 0.08)))]


def sheep(rng: Rng) -> list[Solid]:
    """A cloud of wool: white, cream or dark, on four sticks, with a small dark or pale face and ears to the side."""
    b = _scaled(SHEEP, rng, 0.08)
    color = pick(rng, ((0.93, 0.9, 0.83), (0.88, 0.82, 0.7), (0.93, 0.91, 0.87), (0.35, 0.29, 0.25)), 0.03)
    wool = Look(color, shade(color, 0.55), "wool", 9.0, 0.65, phase=float(rng.uniform(0, 8)))
    face = paint(pick(rng, ((0.08, 0.07, 0.07), (0.08, 0.07, 0.07), (0.85, 0.78, 0.68))))
    center = np.array([0.0, b.height - 0.27, 0.0])
    radii = np.array([0.62 * b.length, 0.27, 0.27])
    solids = [ellipsoid(center, radii, wool), *_standing_legs(b, rng, face, BLACK, hoof=True)]
    for i in range(22):  # curls, spread over the body by the golden angle
        y = 1 - (i + 0.5) / 11
        around = np.sqrt(1 - y * y) * np.array([np.cos(2.4 * i), 0, np.sin(2.4 * i)])
        solids.append(
            ellipsoid(center + radii * (around + [0, 0.85 * y, 0]) * 0.85, [rng.uniform(0.10, 0.14)] * 3, wool)
        )
    grazing = rng.random() < 0.3
    chest = np.array([b.length / 2, b.height - 0.2, 0])
    at = chest + _along(b.neck[0], -50 if grazing else b.neck[1])
    solids.append(limb(chest, at, b.neck[2], b.neck[3], wool))
    head, _ = _head(b, at, face, face, BLACK)
    head += _side_ears(at + [-0.02, 0.02, 0], 0.12, 0.3, face)
    head += [ellipsoid(at + [-0.04, 0.08, 0], [0.09, 0.065, 0.085], wool)]
    solids += _face_turned(head, at, rng.uniform(-0.7, 0.7))
    return [*solids, ellipsoid(center + [-0.68 * b.length, 0.03, 0], [0.08, 0.11, 0.08], wool)]


def bird(rng: Rng) -> list[Solid]:
    """A plump songbird, a pigeon, a parrot or a gull on thin legs; one in three has its wings spread."""
    hue = rng.random()
    main = pick(
        rng,
        (
            hsv(hue, 0.65, 0.7),
            (0.55, 0.38, 0.25),
            (0.5, 0.53, 0.6),
            (0.12, 0.12, 0.14),
            (0.92, 0.92, 0.9),
            (0.2, 0.4, 0.75),
        ),
    )
    back = Look(main, shade(main, 0.5), "spots", 18.0, 0.5, phase=float(rng.uniform(0, 8)))
    belly = paint(pick(rng, ((0.95, 0.9, 0.8), (0.85, 0.4, 0.2), (0.93, 0.8, 0.3), shade(main, 1.3))))
    beak = paint(pick(rng, ((0.95, 0.65, 0.12), (0.9, 0.45, 0.1), (0.2, 0.18, 0.16))), gloss=0.2)
    leg, lift = rng.uniform(0.05, 0.11), rng.uniform(15, 40)
    body = np.array([0.0, leg + 0.085, 0.0])
    front, rear = body + _along(0.08, lift), body - _along(0.075, lift)
    solids = [
        limb(rear, front, 0.055, 0.072, back),
        ellipsoid(body + [0.035, -0.015, 0], [0.088, 0.078, 0.072], belly, pitch=np.radians(lift)),
    ]
    at = front + _along(rng.uniform(0.06, 0.11), 60)
    solids.append(limb(front, at, 0.062, 0.05, back))
    head = [
        ellipsoid(at, [0.058, 0.055, 0.052], back),
        rod(at + [0.04, -0.005, 0], at + [rng.uniform(0.095, 0.14), -0.02, 0], 0.023, beak, 0.002),
    ]
    for s in (-1, 1):
        head += [
            ellipsoid(at + [0.032, 0.015, s * 0.042], [0.013] * 3, paint((0.95, 0.93, 0.85))),
            ellipsoid(at + [0.036, 0.016, s * 0.048], [0.009] * 3, BLACK),
        ]
    solids += _face_turned(head, at, rng.uniform(-0.6, 0.6))
    tail = rear - _along(0.12, lift * 0.7)
    solids.append(limb(rear, tail, 0.035, 0.018, tinted(back, 0.7)))
    solids.append(
        ellipsoid((rear + 2 * tail) / 3, [0.1, 0.012, 0.045], tinted(back, 0.6), pitch=np.radians(lift * 0.7))
    )
    wing = tinted(back, 0.75)
    spread = rng.random() < 0.33
    for s in (-1, 1):
        if spread:
            solids.append(
                ellipsoid(body + [-0.01, 0.11, s * 0.17], [0.075, 0.012, 0.17], wing, roll=-s * 0.55, yaw=s * 0.2)
            )
            solids.append(
                ellipsoid(
                    body + [-0.05, 0.17, s * 0.27], [0.05, 0.01, 0.12], tinted(back, 0.5), roll=-s * 0.5, yaw=s * 0.6
                )
            )
        else:
            solids.append(
                ellipsoid(body + [-0.035, 0.01, s * 0.06], [0.115, 0.05, 0.022], wing, pitch=np.radians(lift * 0.8))
            )
        foot = np.array([0.01, 0.006, s * 0.03])
        solids += [
            rod(body + [0, -0.05, s * 0.03], foot, 0.007, beak),
            rod(foot, foot + [0.045, -0.002, 0], 0.007, beak),
        ]
    return solids
