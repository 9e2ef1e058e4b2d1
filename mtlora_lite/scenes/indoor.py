"""Chair, sofa, dining table, tv monitor, bottle and potted plant; fronts towards +x, standing on y = 0.

One seat with legs and a back is a chair; a wide upholstered one with arms is a sofa; a top without a back is a table.
"""

import numpy as np

from .geometry import PROP, Solid, box, ellipsoid, limb, move, prism, rod, rotation
from .materials import Color, Look, hsv, paint, pick, shade, tinted

Rng = np.random.Generator
WOODS: tuple[Color, ...] = (
    (0.55, 0.36, 0.2),
    (0.36, 0.22, 0.13),
    (0.72, 0.54, 0.34),
    (0.9, 0.88, 0.84),
    (0.16, 0.13, 0.12),
)
FABRICS: tuple[Color, ...] = (
    (0.55, 0.18, 0.16), (0.2, 0.3, 0.45), (0.5, 0.48, 0.45), (0.75, 0.68, 0.55), (0.25, 0.36, 0.28), (0.35, 0.24, 0.18), (0.8, 0.6, 0.2),
)  # fmt: skip


def wood(rng: Rng) -> Look:
    """Boards with some grain."""
    color = pick(rng, WOODS)
    return Look(color, shade(color, 0.6), "planks", 9.0, 0.5, gloss=0.12, phase=float(rng.uniform(0, 8)))


def fabric(rng: Rng) -> Look:
    """Plain, striped or checked upholstery."""
    color = pick(rng, FABRICS)
    pattern, amount = (("mottled", 0.3), ("mottled", 0.3), ("stripes", 0.6), ("checker", 0.4))[rng.integers(4)]
    return Look(color, shade(color, 0.6 if rng.random() < 0.5 else 1.6), pattern, 7.0, amount)


def chair(rng: Rng) -> list[Solid]:
    """Kitchen chair with slats, upholstered dining chair, arm chair of wood, or a swivel chair."""
    frame, cloth = wood(rng), fabric(rng)
    w, d, y, top = rng.uniform(0.42, 0.5), 0.45, 0.46, rng.uniform(0.9, 1.08)
    lean = rng.uniform(0.03, 0.1)
    kind = rng.choice(["slats", "panel", "swivel", "slats"])
    if kind == "swivel":
        steel = paint((0.2, 0.2, 0.22), gloss=0.4)
        solids = [rod([0, 0.1, 0], [0, y, 0], 0.035, steel)]
        for a in np.arange(5) * 2 * np.pi / 5 + rng.uniform(0, 1):
            foot = 0.28 * np.array([np.cos(a), 0, np.sin(a)])
            solids += [
                limb([0, 0.12, 0], foot + [0, 0.06, 0], 0.03, 0.02, steel),
                ellipsoid(foot + [0, 0.03, 0], [0.03] * 3, steel),
            ]
        solids += [
            box([0, y, 0], [d, 0.09, w], cloth), limb([-0.2, y, 0], [-0.26, y + 0.25, 0], 0.03, 0.03, steel),
            box([-0.25, y + 0.38, 0], [0.07, 0.42, w * 0.92], cloth, pitch=lean),
        ]  # fmt: skip
        for s in (-1, 1):
            solids += [
                box([-0.02, y + 0.2, s * w / 2], [0.25, 0.035, 0.05], steel),
                rod([-0.05, y, s * w / 2], [-0.05, y + 0.2, s * w / 2], 0.018, steel),
            ]
        return solids
    seat = cloth if kind == "panel" or rng.random() < 0.4 else frame
    solids = [box([0, y, 0], [d, 0.055 if seat is frame else 0.09, w], seat)]
    back = np.array([-d / 2 - lean, top, 0])
    arms = rng.random() < 0.25
    for s in (-1, 1):
        z = s * (w / 2 - 0.025)
        solids += [
            rod([d / 2 - 0.03, 0, z], [d / 2 - 0.03, y, z], 0.021, frame, 0.026),
            rod([-d / 2 - 0.03, 0, z], [-d / 2 + 0.02, y, z], 0.021, frame, 0.026),
            rod([-d / 2 + 0.02, y, z], back + [0, 0, z], 0.025, frame),
        ]
        if arms:
            solids += [
                box([0, y + 0.22, z], [d, 0.035, 0.05], frame),
                rod([d / 2 - 0.05, y, z], [d / 2 - 0.05, y + 0.22, z], 0.02, frame),
            ]
    if kind == "panel":
        solids.append(
            box(
                [-d / 2 - lean / 2 + 0.01, (y + top) / 2 + 0.06, 0],
                [0.06, (top - y) * 0.8, w - 0.03],
                cloth,
                pitch=lean / (top - y),
            )
        )
    else:
        rail = back + [0.012, -0.04, 0]
        solids.append(box(rail, [0.03, 0.09, w], frame))
        if rng.random() < 0.5:
            solids += [
                rod([-d / 2 + 0.015, y, z], rail + [0, 0, z], 0.011, frame) for z in np.linspace(-0.32, 0.32, 4) * w
            ]
        else:
            solids += [
                box([-d / 2 - lean * f + 0.015, y + f * (top - y), 0], [0.025, 0.065, w], frame) for f in (0.35, 0.62)
            ]
    solids.append(rod([d / 2 - 0.03, 0.2, -w / 2], [d / 2 - 0.03, 0.2, w / 2], 0.012, frame))
    return solids


def sofa(rng: Rng) -> list[Solid]:
    """Two or three seats, arms, cushions."""
    cloth = fabric(rng)
    seats = int(rng.integers(2, 4))
    w, d = 0.62 * seats, 0.85
    arm, high = rng.uniform(0.16, 0.26), rng.uniform(0.78, 0.92)
    darker = tinted(cloth, 0.8)
    solids = [
        box([0, 0.22, 0], [d, 0.24, w + 2 * arm], darker),
        box([-d / 2 + 0.1, (high + 0.12) / 2, 0], [0.2, high - 0.12, w + 2 * arm], cloth),
        limb([-d / 2 + 0.1, high, -w / 2 - arm + 0.1], [-d / 2 + 0.1, high, w / 2 + arm - 0.1], 0.1, 0.1, cloth),
    ]
    for s in (-1, 1):
        z = s * (w / 2 + arm / 2)
        solids += [
            box([0.03, 0.34, z], [d - 0.06, 0.48, arm], cloth),
            limb([-d / 2 + 0.1, 0.58, z], [d / 2 - 0.08, 0.58, z], arm / 2 + 0.01, arm / 2 + 0.01, cloth),
        ]
        solids += [
            rod([x, 0, s * (w / 2 + arm - 0.06)], [x, 0.12, s * (w / 2 + arm - 0.06)], 0.025, paint((0.2, 0.14, 0.1)))
            for x in (-0.35, 0.35)
        ]
    for i in range(seats):
        z = (i - (seats - 1) / 2) * 0.62
        solids += [
            box([0.1, 0.42, z], [d - 0.26, 0.16, 0.6], cloth),
            box([-0.17, 0.68, z], [0.16, 0.4, 0.58], cloth, pitch=0.2),
            ellipsoid([-0.1, 0.68, z], [0.09, 0.19, 0.27], cloth, pitch=0.2),
        ]
    for _ in range(int(rng.integers(0, 3))):
        pillow = fabric(rng)
        solids.append(
            ellipsoid(
                [0.04, 0.62, rng.uniform(-0.4, 0.4) * w],
                [0.09, 0.17, 0.19],
                pillow,
                pitch=0.5,
                yaw=rng.uniform(-0.4, 0.4),
            )
        )
    return solids


def dining_table(rng: Rng) -> list[Solid]:
    """Round on a pedestal or rectangular on four legs; sometimes a cloth, plates and glasses."""
    timber, y = wood(rng), 0.75
    plate = paint((0.95, 0.95, 0.93), gloss=0.3)
    round_top = rng.random() < 0.35
    if round_top:
        r = rng.uniform(0.5, 0.7)
        solids = [
            rod([0, y - 0.05, 0], [0, y, 0], r, timber),
            rod([0, 0.05, 0], [0, y, 0], 0.07, timber, 0.05),
            rod([0, 0, 0], [0, 0.06, 0], 0.3, timber, 0.22),
        ]
        spots = [0.62 * r * np.array([np.cos(a), 0, np.sin(a)]) for a in np.arange(4) * np.pi / 2]
    else:
        w, d = rng.uniform(1.2, 1.8), rng.uniform(0.75, 0.95)
        solids = [
            box([0, y - 0.025, 0], [d, 0.05, w], timber),
            box([0, y - 0.1, 0], [d - 0.14, 0.1, w - 0.14], tinted(timber, 0.8)),
        ]
        for sx in (-1, 1):
            solids += [
                rod(
                    [sx * (d / 2 - 0.07), 0, s * (w / 2 - 0.07)],
                    [sx * (d / 2 - 0.07), y, s * (w / 2 - 0.07)],
                    0.028,
                    timber,
                    0.04,
                )
                for s in (-1, 1)
            ]
        spots = [np.array([sx * 0.24, 0, z * w]) for sx in (-1, 1) for z in (-0.28, 0.28)]
        if rng.random() < 0.35:
            cloth = fabric(rng)
            solids.append(box([0, y - 0.08, 0], [d + 0.02, 0.19, w * rng.uniform(0.5, 1.01)], cloth))
    lift = np.array([0, y + 0.02, 0])
    if rng.random() < 0.75:
        for spot in spots:
            solids.append(rod(spot + lift - [0, 0.01, 0], spot + lift + [0, 0.012, 0], 0.08, plate, 0.13))
        glass = paint(pick(rng, ((0.75, 0.82, 0.85), (0.6, 0.15, 0.15))), gloss=0.8)
        solids += [
            rod(s * 0.55 + lift + [0.08, 0, 0.05], s * 0.55 + lift + [0.08, 0.12, 0.05], 0.03, glass, 0.038)
            for s in spots[:2]
        ]
    if rng.random() < 0.6:  # a bowl of fruit or a vase with flowers
        fruit = paint(pick(rng, ((0.85, 0.2, 0.12), (0.95, 0.6, 0.1), (0.5, 0.7, 0.2))), gloss=0.3)
        solids.append(rod(lift, lift + [0, 0.08, 0], 0.06, plate, 0.15))
        solids += [
            ellipsoid(lift + [0.07 * np.cos(a), 0.1, 0.07 * np.sin(a)], [0.05] * 3, fruit) for a in (0.3, 2.4, 4.5)
        ]
    return solids


def tv_monitor(rng: Rng) -> list[Solid]:
    """A flat screen on a foot, or on a low cabinet; something is on, or nothing is."""
    w = rng.uniform(0.75, 1.15)
    h = w * rng.uniform(0.56, 0.66)
    shell = paint(pick(rng, ((0.05, 0.05, 0.055), (0.05, 0.05, 0.055), (0.6, 0.61, 0.63))), gloss=0.3)
    base = 0.12
    solids: list[Solid] = []
    if rng.random() < 0.4:
        base = rng.uniform(0.35, 0.5) + 0.08
        timber = wood(rng)
        solids = [box([-0.05, base / 2 - 0.05, 0], [0.42, base - 0.1, w * 1.25], timber, part=PROP)]
        solids += [
            box([0.165, base / 2 - 0.05, s * 0.31 * w], [0.02, base - 0.18, w * 0.56], tinted(timber, 0.8), part=PROP)
            for s in (-1, 1)
        ]
    solids += [
        box([0, base - 0.09, 0], [0.24, 0.025, 0.42 * w], shell),
        box([-0.02, base - 0.04, 0], [0.06, 0.14, 0.12], shell),
        box([0, base + h / 2, 0], [0.06, h, w], shell),
        box([-0.05, base + h / 2, 0], [0.08, 0.6 * h, 0.6 * w], shell),
    ]
    center = np.array([0.031, base + h / 2, 0])
    glow = float(rng.uniform(0.5, 0.9))
    picture = rng.random()
    if picture < 0.25:
        solids.append(box(center, [0.004, h - 0.07, w - 0.07], paint((0.04, 0.045, 0.06), gloss=1.0)))
    else:
        top, low = hsv(rng.uniform(0.5, 0.7), 0.5, 0.85), hsv(rng.random(), 0.6, 0.45)
        screen = Look(top, hsv(rng.random(), 0.5, 0.7), "patches", 4.0, 0.7, 0.5, glow, float(rng.uniform(0, 8)))
        solids.append(box(center, [0.004, h - 0.07, w - 0.07], screen))
        if picture < 0.6:  # a landscape
            solids.append(
                box(center - [0, 0.3 * (h - 0.07), 0], [0.007, 0.4 * (h - 0.07), w - 0.07], paint(low, 0.3, glow))
            )
        elif picture < 0.8:  # windows of a desktop
            solids.append(
                box(center + [0.001, 0.03, -0.12 * w], [0.007, 0.5 * h, 0.45 * w], paint((0.92, 0.93, 0.95), 0.2, glow))
            )
            solids.append(box(center + [0.002, -0.26 * h, 0.2 * w], [0.007, 0.24 * h, 0.36 * w], paint(low, 0.2, glow)))
    return [*solids, box([0.034, base + 0.014, 0.42 * w], [0.004, 0.008, 0.02], paint((0.2, 0.9, 0.3), glow=0.9))]


def bottle(rng: Rng) -> list[Solid]:
    """Wine, beer or water: body, shoulder, neck, cap, label."""
    glass = paint(
        pick(
            rng,
            (
                (0.1, 0.28, 0.13),
                (0.1, 0.28, 0.13),
                (0.35, 0.17, 0.06),
                (0.55, 0.72, 0.78),
                (0.5, 0.1, 0.1),
                (0.12, 0.3, 0.55),
            ),
        ),
        gloss=1.0,
    )
    cap = paint(
        pick(rng, ((0.7, 0.12, 0.12), (0.85, 0.75, 0.4), (0.12, 0.12, 0.13), (0.2, 0.35, 0.75), (0.93, 0.93, 0.93))),
        gloss=0.4,
    )
    label = Look(
        pick(rng, ((0.93, 0.9, 0.82), (0.8, 0.15, 0.12), (0.95, 0.75, 0.15), (0.2, 0.4, 0.65))),
        hsv(rng.random(), 0.7, 0.4),
        "bands",
        11.0,
        0.8,
        0.1,
    )
    r, body = rng.uniform(0.036, 0.046), rng.uniform(0.15, 0.2)
    neck, slope = rng.uniform(0.015, 0.018), rng.uniform(0.04, 0.07)
    top = body + slope + rng.uniform(0.05, 0.09)
    return [
        rod([0, 0.006, 0], [0, body, 0], r, glass), rod([0, 0, 0], [0, 0.007, 0], r * 0.9, glass, r),
        rod([0, body, 0], [0, body + slope, 0], r, glass, neck), rod([0, body + slope, 0], [0, top, 0], neck, glass),
        rod([0, top - 0.02, 0], [0, top + 0.012, 0], neck * 1.22, cap),
        rod([0, 0.22 * body, 0], [0, 0.75 * body, 0], r * 1.025, label),
        ellipsoid([0, body, 0], [r, 0.3 * slope, r], glass),
    ]  # fmt: skip


def potted_plant(rng: Rng) -> list[Solid]:
    """Broad leaves, blades, a bush or a flower over a pot."""
    pot = paint(
        pick(rng, ((0.7, 0.36, 0.22), (0.7, 0.36, 0.22), (0.9, 0.89, 0.86), (0.25, 0.27, 0.3), (0.3, 0.45, 0.6))),
        gloss=0.15,
    )
    green = pick(rng, ((0.2, 0.45, 0.15), (0.12, 0.35, 0.14), (0.4, 0.55, 0.2)))
    leaf = Look(green, shade(green, 0.5), "leaves", 14.0, 0.6, gloss=0.15, phase=float(rng.uniform(0, 8)))
    r, h = rng.uniform(0.13, 0.17), rng.uniform(0.22, 0.3)
    soil = paint((0.18, 0.12, 0.08))
    solids = [
        rod([0, 0, 0], [0, h, 0], 0.7 * r, pot, r),
        rod([0, h - 0.045, 0], [0, h, 0], 1.12 * r, pot),
        rod([0, h, 0], [0, h + 0.006, 0], 0.95 * r, soil),
    ]
    kind = rng.choice(["broad", "blades", "bush", "flowers"])
    root = np.array([0, h, 0])
    turns = rng.uniform(0, 2 * np.pi) + 2.4 * np.arange(13)
    if kind == "bush":
        for i, a in enumerate(turns):
            at = root + [0.13 * np.cos(a), 0.12 + 0.3 * (i / 12), 0.13 * np.sin(a)]
            solids.append(ellipsoid(at, [0.1, 0.09, 0.1], tinted(leaf, float(rng.uniform(0.75, 1.25)))))
        return solids
    for i, a in enumerate(turns[: 11 if kind == "blades" else 9]):
        out = np.array([np.cos(a), 0, np.sin(a)])
        tone = tinted(leaf, float(rng.uniform(0.75, 1.3)))
        if kind == "blades":
            tip = root + out * rng.uniform(0.08, 0.26) + [0, rng.uniform(0.4, 0.62), 0]
            solids.append(limb(root + out * 0.05, tip, 0.026, 0.006, tone))
            continue
        tip = root + out * rng.uniform(0.13, 0.24) + [0, 0.14 + 0.036 * i, 0]
        solids.append(limb(root, tip, 0.008, 0.007, tone))
        if kind == "broad":
            solids += move(
                [ellipsoid([0.08, 0, 0], [0.13, 0.012, 0.075], tone, pitch=rng.uniform(-0.5, 0.25))], rotation(-a), tip
            )
        else:
            petal = paint(hsv(rng.choice([0.0, 0.93, 0.14, 0.8]), 0.75, 0.9))
            bloom = rng.random() < 0.65
            solids.append(
                ellipsoid(tip, [0.06, 0.035, 0.06] if bloom else [0.09, 0.012, 0.05], petal if bloom else tone)
            )
            if bloom:
                solids.append(ellipsoid(tip + [0, 0.025, 0], [0.022] * 3, paint((0.95, 0.8, 0.2))))
                solids.append(ellipsoid((root + tip) / 2 + out * 0.04, [0.07, 0.012, 0.05], tone))
    return solids


def picture_frame(rng: Rng, width: float, height: float) -> list[Solid]:
    """Something to hang on a wall, facing +z."""
    outline = [(-width / 2, -height / 2), (width / 2, -height / 2), (width / 2, height / 2), (-width / 2, height / 2)]
    art = Look(
        hsv(rng.random(), 0.4, 0.75), hsv(rng.random(), 0.6, 0.4), "patches", 2.2, 1.0, phase=float(rng.uniform(0, 8))
    )
    inner = [(0.86 * x, 0.86 * y) for x, y in outline]
    return [prism(outline, 0.05, wood(rng)), prism(inner, 0.06, art)]
