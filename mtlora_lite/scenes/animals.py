"""Cat, dog, horse, cow, sheep and bird, and what makes each unmistakable.

What tells them apart must survive at 64 pixels and in any colour: a cat is a round head with pointed ears and a long
tail; a dog has a muzzle and hanging or tall ears; a horse is legs, neck and mane; a cow is a box with horns, udder and
patches; a sheep is a cloud on thin dark legs; a bird has two legs and a beak.
"""

# ruff: noqa: RUF005  (array + [x, y, z] moves a point; it does not concatenate)
from dataclasses import replace

import numpy as np

from mtlora_lite.scenes.anatomy import (
    BLACK,
    SIDES,
    Array,
    Build,
    along,
    head,
    legs,
    pointed_ears,
    side_ears,
    sitting,
    tail,
    trunk,
    turned,
)
from mtlora_lite.scenes.geometry import Solid, box, ellipsoid, limb, rod
from mtlora_lite.scenes.materials import Look, hsv, paint, pick, shade, tinted

Rng = np.random.Generator
# height, length, hip, chest, thigh, shin, neck, skull, muzzle, tail
CAT = Build(
    0.27, 0.34, 0.075, 0.075, 0.036, 0.022, (0.10, 45, 0.06, 0.05), 0.078, (0.075, -18, 0.045, 0.028), (0.36, 0.02)
)
DOG = Build(
    0.55, 0.56, 0.10, 0.135, 0.06, 0.032, (0.20, 50, 0.10, 0.075), 0.098, (0.22, -12, 0.07, 0.04), (0.34, 0.025)
)
HORSE = Build(1.55, 1.35, 0.33, 0.34, 0.15, 0.06, (0.85, 52, 0.27, 0.14), 0.17, (0.52, -52, 0.15, 0.09), (0.9, 0.09))
COW = Build(1.40, 1.45, 0.37, 0.38, 0.13, 0.075, (0.50, 18, 0.27, 0.19), 0.20, (0.42, -42, 0.18, 0.13), (0.95, 0.03))
SHEEP = Build(
    0.80, 0.72, 0.25, 0.25, 0.06, 0.035, (0.24, 38, 0.14, 0.11), 0.095, (0.21, -38, 0.085, 0.05), (0.12, 0.05)
)

CAT_COATS = ((0.85, 0.52, 0.22), (0.55, 0.5, 0.45), (0.13, 0.12, 0.12), (0.72, 0.68, 0.62), (0.5, 0.38, 0.27))
DOG_COATS = ((0.72, 0.5, 0.26), (0.42, 0.26, 0.14), (0.1, 0.09, 0.09), (0.88, 0.82, 0.7), (0.6, 0.38, 0.2))
HORSE_COATS = ((0.42, 0.22, 0.1), (0.58, 0.32, 0.15), (0.14, 0.1, 0.09), (0.75, 0.73, 0.7), (0.5, 0.36, 0.22))
HORSE_HAIR = ((0.06, 0.05, 0.04), (0.2, 0.12, 0.07), (0.82, 0.75, 0.6))
COW_PATCHES = ((0.06, 0.05, 0.05), (0.06, 0.05, 0.05), (0.4, 0.2, 0.1))
COW_BROWNS = ((0.5, 0.28, 0.14), (0.35, 0.2, 0.12), (0.7, 0.55, 0.38))
WOOL = ((0.93, 0.9, 0.83), (0.88, 0.82, 0.7), (0.93, 0.91, 0.87), (0.35, 0.29, 0.25))
SHEEP_FACES = ((0.08, 0.07, 0.07), (0.08, 0.07, 0.07), (0.85, 0.78, 0.68))
PLUMAGE = ((0.55, 0.38, 0.25), (0.5, 0.53, 0.6), (0.12, 0.12, 0.14), (0.92, 0.92, 0.9), (0.2, 0.4, 0.75))
BEAKS = ((0.95, 0.65, 0.12), (0.9, 0.45, 0.1), (0.2, 0.18, 0.16))


def _phase(rng: Rng) -> float:
    """Where in the noise a coat is cut from."""
    return float(rng.uniform(0, 8))


def cat(rng: Rng) -> list[Solid]:
    """Tabby, ginger, black, grey or brown, often with a white bib and paws; sitting or standing."""
    b = CAT.individual(rng, 0.08)
    stripes = 0.8 if rng.random() < 0.6 else 0.15
    color = pick(rng, CAT_COATS)
    coat = Look(color, shade(color, 0.3), "stripes", 9.0, stripes, phase=_phase(rng))
    white = paint((0.93, 0.91, 0.88))
    bib, foot = (white, white) if rng.random() < 0.5 else (tinted(coat, 1.15), coat)
    solids, chest = _cat_body(b, rng, coat, bib, foot)
    at = chest + along(b.neck[0], b.neck[1] + 15)
    pink = paint((0.75, 0.42, 0.4))
    face, tip = head(b, at, coat, bib, pink)
    for s in SIDES:
        iris = paint(hsv(rng.uniform(0.15, 0.4), 0.7, 0.8), glow=0.3)
        whisker = tip + [-0.005, 0.01 * rng.uniform(-1, 1), s * 0.1]
        face += [
            ellipsoid(at + [0.058, 0.018, s * 0.034], [0.02, 0.019, 0.018], iris),
            ellipsoid(at + [0.075, 0.018, s * 0.036], [0.006, 0.014, 0.006], BLACK),
            rod(tip + [-0.01, 0, s * 0.015], whisker, 0.0025, white, 0.001),
        ]
    face += pointed_ears(at, 0.042, 0.075, 0.085, coat)
    face += pointed_ears(at + [0.014, 0.0, 0], 0.026, 0.075, 0.065, pink)
    return [*solids, limb(chest, at, b.neck[2], b.neck[3], coat), *turned(face, at, rng.uniform(-0.9, 0.9))]


def _cat_body(b: Build, rng: Rng, coat: Look, bib: Look, foot: Look) -> tuple[list[Solid], Array]:
    """Everything behind the neck, and where the neck begins."""
    length, radius = b.tail
    radii = (1.2 * radius, radius)
    if rng.random() < 0.55:
        solids, chest = sitting(b, coat, foot)
        solids.append(ellipsoid(chest + [0.03, -0.06, 0], [0.055, 0.085, 0.055], bib))
        return solids + tail(np.array([-0.5 * b.length, 0.03, 0.02]), length, 12, 42, radii, coat, 4), chest
    solids = [*trunk(b, coat), *legs(b, rng, coat, foot, hoof=False)]
    root = np.array([-b.length / 2 - 0.06, b.height - 0.05, 0])
    up, bend = rng.uniform(35, 75), rng.uniform(5, 22)
    return solids + tail(root, length, up, bend, radii, coat, 4), b.breast()


def dog(rng: Rng) -> list[Solid]:
    """Retriever to shepherd: a real muzzle, hanging or tall ears, a tail held up, a collar, often a tongue."""
    b = DOG.individual(rng, 0.14)
    coat = _dog_coat(rng)
    dark = tinted(coat, 0.5) if rng.random() < 0.7 else coat
    light = paint(shade(coat.color, 1.25))
    solids, chest = _dog_body(b, rng, coat, light)
    at = chest + along(b.neck[0] + 0.06, b.neck[1])
    face, tip = head(b, at, coat, light if rng.random() < 0.5 else coat, BLACK)
    if rng.random() < 0.6:
        face += [ellipsoid(at + [-0.02, -0.03, s * 0.105], [0.052, 0.105, 0.022], dark, roll=s * 0.22) for s in SIDES]
    else:
        face += pointed_ears(at, 0.045, 0.09, 0.12, dark)
    if rng.random() < 0.5:
        face.append(ellipsoid(tip + [0.0, -0.055, 0], [0.022, 0.045, 0.02], paint((0.85, 0.35, 0.38))))
    collar = paint(hsv(rng.random(), 0.8, 0.75), gloss=0.2)
    throat = chest + 0.72 * (at - chest)
    return [
        *solids,
        limb(chest, at, b.neck[2], b.neck[3], coat),
        rod(throat, throat + 0.14 * (at - chest), b.neck[3] * 1.2, collar),
        *turned(face, at, rng.uniform(-0.7, 0.7)),
    ]


def _dog_coat(rng: Rng) -> Look:
    patched = rng.random() < 0.35
    second = pick(rng, ((0.92, 0.9, 0.86), (0.12, 0.1, 0.09)))
    color = pick(rng, DOG_COATS)
    coat = Look(color, second, "patches", 2.2, 0.9, phase=_phase(rng))
    return coat if patched else replace(coat, pattern="mottled", second=shade(color, 0.6), amount=0.5)


def _dog_body(b: Build, rng: Rng, coat: Look, light: Look) -> tuple[list[Solid], Array]:
    """Everything behind the neck, and where the neck begins."""
    length, radius = b.tail
    if rng.random() < 0.35:
        solids, chest = sitting(b, coat, light)
        solids.append(ellipsoid(chest + [0.05, -0.1, 0], [0.09, 0.15, 0.09], light))
        return solids + tail(np.array([-0.55 * b.length, 0.05, 0]), length, 25, 15, (1.4 * radius, radius), coat), chest
    solids = [*trunk(b, coat), *legs(b, rng, coat, light, hoof=False)]
    root = np.array([-b.length / 2 - 0.08, b.height - 0.06, 0])
    return solids + tail(root, length, rng.uniform(20, 60), -25, (1.5 * radius, 0.8 * radius), coat), b.breast()


def horse(rng: Rng) -> list[Solid]:
    """Bay, chestnut, black or grey; a long neck with a mane, a long face, a tail of hair; sometimes grazing."""
    b = HORSE.individual(rng, 0.06)
    color = pick(rng, HORSE_COATS)
    coat = Look(color, shade(color, 0.6), "mottled", 1.2, 0.5, gloss=0.12, phase=_phase(rng))
    hair = paint(pick(rng, HORSE_HAIR), grain=0.3)
    solids = [*trunk(b, coat), *legs(b, rng, coat, paint((0.12, 0.1, 0.08)), hoof=True)]
    grazing = rng.random() < 0.2
    angle = -32 if grazing else rng.uniform(38, 62)
    chest = b.breast(0.75)
    at = chest + along(b.neck[0], angle)
    solids += [limb(chest, at, b.neck[2], b.neck[3], coat), *_mane(b, chest, at, angle, hair)]
    face, _ = head(b, at, coat, coat, tinted(coat, 0.4), tilt=-15 if grazing else 0)
    if rng.random() < 0.5:  # a blaze down the face
        low, out = at + along(b.muzzle[0] * 0.8, b.muzzle[1]), along(0.105, b.muzzle[1] + 90)
        face.append(limb(at + out * 1.2, low + out * 0.75, 0.05, 0.03, paint((0.93, 0.91, 0.88))))
    face += pointed_ears(at, 0.05, 0.14, 0.19, coat)
    face.append(ellipsoid(at + [0.08, 0.13, 0], [0.13, 0.08, 0.06], hair, pitch=-0.6))
    solids += turned(face, at, rng.uniform(-0.4, 0.4))
    rump = np.array([-b.length / 2 - 0.8 * b.hip, b.height - 0.55 * b.hip, 0])
    return solids + tail(rump, b.tail[0], rng.uniform(-62, -48), -12, (0.07, 0.11), hair)


def _mane(b: Build, chest: Array, at: Array, angle: float, hair: Look) -> list[Solid]:
    """Tufts along the crest of the neck."""
    crest = along(0.95, angle + 90)
    share = np.linspace(0.05, 1.0, 5)
    roots = [chest + f * (at - chest) + crest * (b.neck[2] + f * (b.neck[3] - b.neck[2])) for f in share]
    return [ellipsoid(root, [0.17, 0.12, 0.05], hair, pitch=np.radians(angle) - 0.3) for root in roots]


def cow(rng: Rng) -> list[Solid]:
    """Black or brown and white in patches, or one brown; horns, a pink muzzle, an udder, a tasselled tail."""
    b = COW.individual(rng, 0.06)
    coat, pink = _cow_coat(rng), paint((0.85, 0.6, 0.55))
    solids = [*trunk(b, coat), *legs(b, rng, coat, paint((0.15, 0.12, 0.1)), hoof=True)]
    solids.append(box([-0.05, b.height - 0.32, 0], [b.length * 1.12, 0.56, 0.52], coat))  # square shoulders and hips
    solids += _udder(np.array([-0.3 * b.length, b.height - 2 * b.hip - 0.02, 0]), pink)
    grazing = rng.random() < 0.3
    angle = -48 if grazing else rng.uniform(2, 30)
    chest = b.breast(0.85)
    at = chest + along(b.neck[0] + 0.1, angle)
    solids.append(limb(chest, at, b.neck[2], b.neck[3], coat))
    face, tip = head(b, at, coat, coat, paint((0.25, 0.15, 0.14)), tilt=-12 if grazing else 0)
    face += [ellipsoid(tip, [0.14, 0.13, 0.16], pink), *side_ears(at + [-0.05, 0.08, 0], 0.22, 0.2, coat), *_horns(at)]
    solids += turned(face, at, rng.uniform(-0.6, 0.6))
    rump = np.array([-b.length / 2 - 0.9 * b.hip, b.height - 0.2, 0])
    tassel = ellipsoid(rump + [-0.14, -b.tail[0], 0], [0.05, 0.15, 0.05], paint((0.1, 0.08, 0.08)))
    return [*solids, *tail(rump, b.tail[0], -78, -3, (0.03, 0.02), coat, 2), tassel]


def _cow_coat(rng: Rng) -> Look:
    phase = _phase(rng)
    if rng.random() < 0.75:
        return Look((0.92, 0.9, 0.86), pick(rng, COW_PATCHES), "patches", 1.1, 1.0, phase=phase)
    brown = pick(rng, COW_BROWNS)
    return Look(brown, shade(brown, 0.7), "mottled", 1.0, 0.6, phase=phase)


def _udder(at: Array, pink: Look) -> list[Solid]:
    corners = [(x, z) for x in (-0.07, 0.08) for z in (-0.07, 0.07)]
    teats = [rod(at + [x, -0.08, z], at + [x, -0.22, z], 0.028, pink, 0.02) for x, z in corners]
    return [ellipsoid(at, [0.2, 0.15, 0.16], pink), *teats]


def _horns(at: Array) -> list[Solid]:
    horn = paint((0.85, 0.8, 0.68), gloss=0.2)
    solids = []
    for s in SIDES:
        root, bow = at + [-0.02, 0.16, s * 0.12], at + [0.02, 0.24, s * 0.27]
        solids += [limb(root, bow, 0.045, 0.035, horn), limb(bow, bow + [0.06, 0.16, s * 0.03], 0.035, 0.012, horn)]
    return solids


def sheep(rng: Rng) -> list[Solid]:
    """A cloud of wool: white, cream or dark, on four sticks, with a small dark or pale face and ears to the side."""
    b = SHEEP.individual(rng, 0.08)
    color = pick(rng, WOOL, 0.03)
    wool = Look(color, shade(color, 0.55), "wool", 9.0, 0.65, phase=_phase(rng))
    skin = paint(pick(rng, SHEEP_FACES))
    center, radii = np.array([0.0, b.height - 0.27, 0.0]), np.array([0.62 * b.length, 0.27, 0.27])
    solids = [ellipsoid(center, radii, wool), *legs(b, rng, skin, BLACK, hoof=True)]
    for i in range(22):  # curls, spread over the body by the golden angle
        y = 1 - (i + 0.5) / 11
        around = np.sqrt(1 - y * y) * np.array([np.cos(2.4 * i), 0, np.sin(2.4 * i)]) + [0, 0.85 * y, 0]
        solids.append(ellipsoid(center + radii * around * 0.85, [rng.uniform(0.10, 0.14)] * 3, wool))
    chest = np.array([b.length / 2, b.height - 0.2, 0])
    at = chest + along(b.neck[0], -50 if rng.random() < 0.3 else b.neck[1])
    solids.append(limb(chest, at, b.neck[2], b.neck[3], wool))
    face, _ = head(b, at, skin, skin, BLACK)
    face += side_ears(at + [-0.02, 0.02, 0], 0.12, 0.3, skin)
    face.append(ellipsoid(at + [-0.04, 0.08, 0], [0.09, 0.065, 0.085], wool))
    solids += turned(face, at, rng.uniform(-0.7, 0.7))
    return [*solids, ellipsoid(center + [-0.68 * b.length, 0.03, 0], [0.08, 0.11, 0.08], wool)]


def bird(rng: Rng) -> list[Solid]:
    """A plump songbird, a pigeon, a parrot or a gull on thin legs; one in three has its wings spread."""
    main = pick(rng, (hsv(rng.random(), 0.65, 0.7), *PLUMAGE))
    back = Look(main, shade(main, 0.5), "spots", 18.0, 0.5, phase=_phase(rng))
    belly = paint(pick(rng, ((0.95, 0.9, 0.8), (0.85, 0.4, 0.2), (0.93, 0.8, 0.3), shade(main, 1.3))))
    beak = paint(pick(rng, BEAKS), gloss=0.2)
    leg, lift = rng.uniform(0.05, 0.11), rng.uniform(15, 40)
    body = np.array([0.0, leg + 0.085, 0.0])
    front, rear = body + along(0.08, lift), body - along(0.075, lift)
    at, tip = front + along(rng.uniform(0.06, 0.11), 60), rear - along(0.12, lift * 0.7)
    solids = [
        limb(rear, front, 0.055, 0.072, back),
        ellipsoid(body + [0.035, -0.015, 0], [0.088, 0.078, 0.072], belly, pitch=np.radians(lift)),
        limb(front, at, 0.062, 0.05, back),
        *_bird_head(rng, at, back, beak),
        limb(rear, tip, 0.035, 0.018, tinted(back, 0.7)),
        ellipsoid((rear + 2 * tip) / 3, [0.1, 0.012, 0.045], tinted(back, 0.6), pitch=np.radians(lift * 0.7)),
        *_wings(body, lift, rng.random() < 0.33, back),
    ]
    for s in SIDES:
        foot = np.array([0.01, 0.006, s * 0.03])
        solids += [
            rod(body + [0, -0.05, s * 0.03], foot, 0.007, beak),
            rod(foot, foot + [0.045, -0.002, 0], 0.007, beak),
        ]
    return solids


def _bird_head(rng: Rng, at: Array, look: Look, beak: Look) -> list[Solid]:
    tip = at + [rng.uniform(0.095, 0.14), -0.02, 0]
    solids = [ellipsoid(at, [0.058, 0.055, 0.052], look), rod(at + [0.04, -0.005, 0], tip, 0.023, beak, 0.002)]
    for s in SIDES:
        solids += [
            ellipsoid(at + [0.032, 0.015, s * 0.042], [0.013] * 3, paint((0.95, 0.93, 0.85))),
            ellipsoid(at + [0.036, 0.016, s * 0.048], [0.009] * 3, BLACK),
        ]
    return turned(solids, at, rng.uniform(-0.6, 0.6))


def _wings(body: Array, lift: float, spread: bool, back: Look) -> list[Solid]:
    wing, tips = tinted(back, 0.75), tinted(back, 0.5)
    if not spread:
        pitch = np.radians(lift * 0.8)
        return [ellipsoid(body + [-0.035, 0.01, s * 0.06], [0.115, 0.05, 0.022], wing, pitch=pitch) for s in SIDES]
    solids = []
    for s in SIDES:
        inner, outer = body + [-0.01, 0.11, s * 0.17], body + [-0.05, 0.17, s * 0.27]
        solids.append(ellipsoid(inner, [0.075, 0.012, 0.17], wing, roll=-s * 0.55, yaw=s * 0.2))
        solids.append(ellipsoid(outer, [0.05, 0.01, 0.12], tips, roll=-s * 0.5, yaw=s * 0.6))
    return solids
