"""Bicycle and motorbike: two wheels in a row. Where one has an engine, the other has air."""

# ruff: noqa: RUF005  (array + [x, y, z] moves a point; it does not concatenate)
import numpy as np

from mtlora_lite.scenes.geometry import Solid, box, ellipsoid, limb, prism, ring, rod
from mtlora_lite.scenes.materials import CHROME, RUBBER, STEEL, Color, Look, hsv, paint, pick
from mtlora_lite.scenes.vehicles import LAMP, RED_LAMP

Array = np.ndarray
Rng = np.random.Generator
SIDES = (-1, 1)
FRAMES = ((0.08, 0.08, 0.09), (0.85, 0.85, 0.85), (0.75, 0.1, 0.1), (0.15, 0.35, 0.6))
TANKS: tuple[Color, ...] = (
    (0.75, 0.08, 0.07), (0.08, 0.08, 0.1), (0.12, 0.25, 0.55), (0.93, 0.5, 0.08), (0.85, 0.86, 0.87),
    (0.15, 0.45, 0.25),
)  # fmt: skip


def _spokes(hub: Array, radius: float, angles: Array, thickness: float, look: Look) -> list[Solid]:
    """Rods across the wheel."""
    arms = [radius * np.array([np.cos(angle), np.sin(angle), 0]) for angle in angles]
    return [rod(hub - arm, hub + arm, thickness, look) for arm in arms]


def bicycle(rng: Rng) -> list[Solid]:
    """A diamond frame between two thin wheels; flat or dropped handlebars, sometimes a basket."""
    frame = paint(pick(rng, (hsv(rng.random(), 0.8, 0.65), *FRAMES)), gloss=0.5)
    r = 0.35
    rear, front, crank = np.array([-0.52, r, 0]), np.array([0.55, r, 0]), np.array([-0.08, r - 0.05, 0])
    seat, head = np.array([-0.22, 0.86, 0]), np.array([0.36, 0.88, 0])
    grip = [0.12, -0.12, 0] if rng.random() < 0.4 else [-0.12, 0.02, 0]
    start = rng.uniform(0, np.pi)
    solids = [
        *_frame(rear, front, crank, seat, head, frame),
        *_handlebars(head + [-0.03, 0.14, 0], grip),
        *_pedals(crank),
    ]
    for hub in (rear, front):
        solids += [
            ring(hub, [0, 0, 1], r, r - 0.045, 0.04, RUBBER),
            ring(hub, [0, 0, 1], r - 0.045, r - 0.062, 0.025, CHROME),
            *_spokes(hub, r - 0.05, start + np.arange(4) * np.pi / 4, 0.0045, paint((0.62, 0.63, 0.65), gloss=0.3)),
        ]
    if rng.random() < 0.35:
        wicker = Look((0.6, 0.45, 0.28), (0.3, 0.2, 0.1), "checker", 25.0, 0.8)
        solids.append(box(head + [0.2, -0.02, 0], [0.24, 0.2, 0.28], wicker))
    return solids


def _frame(rear: Array, front: Array, crank: Array, seat: Array, head: Array, look: Look) -> list[Solid]:
    """Two triangles, a fork, a saddle."""
    tube = 0.021
    return [
        rod(crank, seat, tube, look),
        rod(crank, head - [0, 0.08, 0], 1.2 * tube, look),
        rod(seat - [0, 0.06, 0], head, tube, look),
        rod(rear, crank, 0.8 * tube, look),
        rod(rear, seat, 0.8 * tube, look),
        rod(front, head, tube, look),
        rod(head, head + [-0.03, 0.14, 0], 0.8 * tube, CHROME),
        limb(seat + [0, 0.02, 0], seat + [-0.02, 0.1, 0], 0.018, 0.018, CHROME),
        ellipsoid(seat + [-0.02, 0.12, 0], [0.14, 0.035, 0.07], RUBBER),
    ]


def _handlebars(stem: Array, grip: list[float]) -> list[Solid]:
    ends = [stem + [0.02, 0.02, s * 0.26] for s in SIDES]
    return [rod(stem, end, 0.016, CHROME) for end in ends] + [
        limb(end, end + grip, 0.022, 0.022, RUBBER) for end in ends
    ]


def _pedals(crank: Array) -> list[Solid]:
    solids = [rod(crank - [0, 0, 0.03], crank - [0, 0, 0.04], 0.09, STEEL)]
    for s in SIDES:
        pedal = crank + [s * 0.12, -s * 0.12, s * 0.09]
        solids.append(rod(crank + [0, 0, s * 0.05], pedal, 0.014, CHROME))
        solids.append(box(pedal + [0, 0, s * 0.05], [0.1, 0.03, 0.1], RUBBER))
    return solids


def motorbike(rng: Rng) -> list[Solid]:
    """Fat tyres, a coloured tank, an engine with its exhaust, a headlamp; sometimes a windscreen and a fairing."""
    body, black = paint(pick(rng, TANKS), gloss=0.7, grain=0.03), paint((0.07, 0.07, 0.075), gloss=0.2)
    r = 0.32
    rear, front, head = np.array([-0.68, r, 0]), np.array([0.72, r, 0]), np.array([0.4, 0.92, 0])
    solids = [*_motorbike_body(rear, front, head, body, black), *_motorbike_sides(front, head, black)]
    for hub in (rear, front):
        solids += [
            ring(hub, [0, 0, 1], r, 0.19, 0.15, RUBBER),
            ring(hub, [0, 0, 1], 0.2, 0.165, 0.1, CHROME),
            rod(hub - [0, 0, 0.07], hub + [0, 0, 0.07], 0.08, STEEL),
            *_spokes(hub, 0.18, np.array([0.3, 1.35, 2.4]), 0.022, STEEL),
        ]
    if rng.random() < 0.5:
        screen = paint((0.25, 0.3, 0.34), gloss=0.9)
        solids.append(prism([(0.4, 0.95), (0.62, 0.9), (0.42, 1.3)], 0.36, screen, taper=0.2))
    if rng.random() < 0.35:
        solids.append(prism([(-0.1, 0.4), (0.42, 0.4), (0.62, 0.8), (0.3, 0.86)], 0.38, body))
    return solids


def _motorbike_body(rear: Array, front: Array, head: Array, body: Look, black: Look) -> list[Solid]:
    """Tank, seat, engine, headlamp, mudguard: all that lies in the middle."""
    seat = np.array([-0.35, 0.78, 0])
    return [
        ellipsoid([0.12, 0.88, 0], [0.33, 0.16, 0.16], body, pitch=0.12),
        limb(seat + [0.25, 0.02, 0], seat + [-0.25, 0.05, 0], 0.09, 0.11, black),
        limb(seat + [-0.3, 0.05, 0], seat + [-0.52, 0.12, 0], 0.1, 0.05, body),
        box([0.03, 0.5, 0], [0.42, 0.34, 0.3], STEEL),
        box([0.03, 0.34, 0], [0.5, 0.16, 0.34], black),
        rod([0.1, 0.5, 0], [0.24, 0.78, 0], 0.14, CHROME),
        rod([-0.02, 0.5, 0], [-0.12, 0.76, 0], 0.13, CHROME),
        limb([-0.05, 0.45, 0], rear, 0.07, 0.05, black),
        ellipsoid(head + [0.14, -0.02, 0], [0.12, 0.12, 0.12], black),
        ellipsoid(head + [0.2, -0.02, 0], [0.08, 0.09, 0.09], LAMP),
        ellipsoid(front + [0.0, 0.82 * front[1], 0], [0.24, 0.09, 0.085], body),
        box(seat + [-0.55, 0.06, 0], [0.05, 0.07, 0.12], RED_LAMP),
    ]


def _motorbike_sides(front: Array, head: Array, black: Look) -> list[Solid]:
    """Fork, handlebar, mirror and exhaust, left and right."""
    solids = []
    for s in SIDES:
        solids += [
            rod(front + [0, 0, s * 0.11], head + [0.02, 0.0, s * 0.11], 0.032, CHROME),
            limb(head + [0, 0.12, s * 0.05], head + [-0.08, 0.2, s * 0.36], 0.022, 0.022, CHROME),
            limb(head + [-0.08, 0.2, s * 0.3], head + [-0.14, 0.2, s * 0.42], 0.03, 0.03, black),
            rod(head + [-0.02, 0.2, s * 0.3], head + [0.0, 0.34, s * 0.34], 0.01, black),
            ellipsoid(head + [0.0, 0.37, s * 0.34], [0.02, 0.045, 0.07], black),
            limb([0.0, 0.3, s * 0.18], [-0.75, 0.34, s * 0.22], 0.045, 0.065, CHROME),
        ]
    return solids
