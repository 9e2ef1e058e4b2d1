"""A scene: somebody chose a place, put something in it, walked around it and took a photograph.

That is also the order of the code. The main object is made first; the camera is set up so that it fills a given
share of the picture; then companions and clutter are strewn over the ground *in view*, where they neither touch one
another nor vanish; walls go up behind everything; the light is switched on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..tasks import VOC_CLASSES
from . import animals, indoor, people, vehicles
from .geometry import PROP, Solid, corners, cross, move, rotation
from .render import Camera, Light, Scene
from .stage import CLUTTER, SETTINGS, Setting, ground, hills, light, wall

Rng = np.random.Generator
BACKGROUND = 0


@dataclass(frozen=True)
class Kind:
    """How a class is built and photographed.

    Attributes:
        build: draws one, front towards +x, standing on y = 0.
        views: degrees either way of the side (90) or front (0) view around which it is seen.
        around: that favoured view.
        rise: degrees, lowest and highest elevation of the camera.
        zoom: how much closer to go, for shapes that leave much of their box empty.
    """

    build: Callable[[Rng], list[Solid]]
    around: float = 60.0
    views: float = 60.0
    rise: tuple[float, float] = (2.0, 22.0)
    zoom: float = 1.0


KINDS: dict[str, Kind] = {
    "aeroplane": Kind(vehicles.aeroplane, 65, 45, (-8, 22), 1.35),
    "bicycle": Kind(vehicles.bicycle, 80, 42, (2, 22)),
    "bird": Kind(animals.bird, 70, 55, (0, 25)),
    "boat": Kind(vehicles.boat, 75, 55, (3, 20), 1.1),
    "bottle": Kind(indoor.bottle, 0, 180, (2, 24)),
    "bus": Kind(vehicles.bus, 55, 35, (1, 18), 1.1),
    "car": Kind(vehicles.car, 60, 75, (3, 22)),
    "cat": Kind(animals.cat, 50, 55, (2, 24)),
    "chair": Kind(indoor.chair, 45, 75, (8, 30)),
    "cow": Kind(animals.cow, 65, 50, (1, 16)),
    "dining table": Kind(indoor.dining_table, 45, 60, (12, 34)),
    "dog": Kind(animals.dog, 60, 50, (2, 22)),
    "horse": Kind(animals.horse, 70, 50, (1, 14)),
    "motorbike": Kind(vehicles.motorbike, 75, 45, (3, 20)),
    "person": Kind(people.person, 25, 95, (-2, 16)),
    "potted plant": Kind(indoor.potted_plant, 0, 180, (4, 26)),
    "sheep": Kind(animals.sheep, 65, 50, (1, 18)),
    "sofa": Kind(indoor.sofa, 15, 50, (8, 26)),
    "train": Kind(vehicles.train, 42, 24, (3, 20), 1.5),
    "tv monitor": Kind(indoor.tv_monitor, 0, 50, (2, 20)),
}


@dataclass
class Thing:
    """Something with a label of its own: an object, a wall, a rock."""

    class_id: int
    solids: list[Solid]
    reach: float = 0.0  # radius of its footprint
    spot: np.ndarray = field(default_factory=lambda: np.zeros(2))  # x, z


def compose(
    rng: Rng,
    main: str,
    companions: int,
    fill: tuple[float, float],
    clutter: int,
    shift: float,
    occlude: float = 0.0,
    misplace: float = 0.0,
) -> Scene:
    """Set up a scene around one object.

    Args:
        main: class in the centre.
        companions: further objects to try to place.
        fill: lowest and highest share of the picture's short side that the main object takes.
        clutter: background things to try to place.
        shift: how far off centre the main object may be, in half-widths.
        occlude: probability of something standing in front of it.
        misplace: probability of a place where the object does not belong, so that the place cannot give it away.
    """
    kind = KINDS[main]
    setting = _setting(rng, main, misplace)
    first = _thing(rng, main, rotation(np.radians(_view(rng, kind))))
    camera, forward = _camera(rng, kind, first, kind.zoom * rng.uniform(*fill), shift)
    things = [first]
    for name in rng.choice(setting.members, companions):
        _place(rng, things, camera, KINDS[name], VOC_CLASSES.index(name), (0.16, 0.6), (0.45, 2.2))
    for name in rng.choice(setting.clutter, clutter):
        _place(rng, things, camera, Kind(CLUTTER[name], 0, 180), BACKGROUND, (0.05, 0.7), (0.8, 3.5))
    if rng.random() < occlude:
        _place(
            rng,
            things,
            camera,
            Kind(CLUTTER[rng.choice(setting.clutter)], 0, 180),
            BACKGROUND,
            (0.25, 0.7),
            (0.35, 0.7),
        )
    stage = _surroundings(rng, setting, things, camera, forward)
    return _assemble(stage, things, camera, light(rng, setting.indoors, forward + np.pi))


def _setting(rng: Rng, main: str, misplace: float) -> Setting:
    anywhere = rng.random() < misplace
    names = [name for name, setting in SETTINGS.items() if anywhere or main in setting.members]
    return SETTINGS[rng.choice(names)]


def _view(rng: Rng, kind: Kind) -> float:
    """Degrees that the object's front is turned away from the camera, which looks along -x."""
    return rng.choice([-1, 1]) * (kind.around + rng.uniform(-kind.views, kind.views))


def _corners(solids: Sequence[Solid]) -> np.ndarray:
    """World corners (3, 8 S) of all boxes."""
    return np.concatenate(list(corners(solids)), axis=1)


def _thing(rng: Rng, name: str, turn: np.ndarray) -> Thing:
    """An object at the origin."""
    solids = move(KINDS[name].build(rng), turn, [0, 0, 0])
    own = _corners([s for s in solids if s.part != PROP])
    return Thing(VOC_CLASSES.index(name), solids, float(np.hypot(own[0], own[2]).max()))


def _camera(rng: Rng, kind: Kind, thing: Thing, fill: float, shift: float) -> tuple[Camera, float]:
    """A camera on the +x side, so far away that every corner of the object lies within ``fill``; and its heading."""
    tangent = np.tan(np.radians(rng.uniform(17, 30)))
    box = _corners([s for s in thing.solids if s.part != PROP])
    low, high = box.min(1), box.max(1)
    center, rise = (low + high) / 2, np.radians(rng.uniform(*kind.rise))
    back = np.array([np.cos(rise), np.sin(rise), 0.0])
    frame = np.stack([[0, 0, -1], cross(back, [0, 0, -1.0]), back])
    u, v, w = frame @ (box - center[:, None])
    distance = float((np.maximum(np.abs(u), np.abs(v)) / (fill * tangent) + w).max())
    distance = min(max(distance, w.max() + 0.1), 40.0)
    position = center + distance * back
    position[1] = max(position[1], 0.12 * (high[1] - low[1]), 0.05)
    slack = shift * tangent * distance
    target = center + frame[0] * rng.uniform(-slack, slack) + frame[1] * rng.uniform(-slack, slack) * 0.6
    return Camera.looking(position, target, float(tangent), float(rng.normal(0, 0.02))), np.pi


def _place(
    rng: Rng,
    things: list[Thing],
    camera: Camera,
    kind: Kind,
    class_id: int,
    fill: tuple[float, float],
    range_: tuple[float, float],
) -> None:
    """Put one more thing into view, unless a few tries find no free spot where it is neither tiny nor in the way."""
    solids = move(kind.build(rng), rotation(np.radians(_view(rng, kind))), [0, 0, 0])
    box = _corners(solids)
    size = float(np.ptp(box, axis=1).max())
    reach = float(np.hypot(box[0], box[2]).max())
    eye, right, back = camera.position, camera.axes[0], camera.axes[2]
    heading = -back[[0, 2]] / np.hypot(back[0], back[2])
    main_distance = float(np.hypot(eye[0], eye[2]))
    for _ in range(8):
        distance = size / (2 * camera.tangent * rng.uniform(*fill))
        distance = float(np.clip(distance, range_[0] * main_distance, range_[1] * main_distance))
        lateral = rng.uniform(-0.95, 0.95) * camera.tangent * distance
        spot = eye[[0, 2]] + distance * heading + lateral * right[[0, 2]]
        share = size / (2 * camera.tangent * distance)
        clear = all(np.hypot(*(spot - t.spot)) > 0.85 * (reach + t.reach) for t in things)
        if clear and 0.07 < share < 1.6 and distance > reach + 0.1 and distance < 45:
            things.append(Thing(class_id, move(solids, np.eye(3), [spot[0], 0, spot[1]]), reach, spot))
            return


def _surroundings(rng: Rng, setting: Setting, things: list[Thing], camera: Camera, forward: float) -> list[Thing]:
    """Ground, then walls behind everything or hills on the horizon."""
    stage = [[ground(rng, rng.choice(setting.grounds))]]
    origin = np.zeros(3)
    spread = _corners([s for t in things for s in t.solids if s.part != PROP])
    scale = float(np.clip(np.ptp(spread[1]) / 1.5, 0.15, 1.0))

    def offset(angle: float, gap: float) -> float:
        outward = np.array([np.cos(angle), 0, np.sin(angle)])
        return float(max((outward @ spread).max(), outward @ camera.position)) + gap

    if setting.indoors or rng.random() < setting.walls:
        angle = forward + rng.uniform(-0.45, 0.45)
        gap = rng.uniform(0.1, 1.6) * (scale if setting.indoors else 4.0)
        stage += wall(rng, setting.indoors, angle, min(offset(angle, gap), 45.0), origin, scale)
        if setting.indoors:
            for side in (-np.pi / 2, np.pi / 2):
                if rng.random() < 0.6:
                    stage += wall(
                        rng, True, angle + side, offset(angle + side, rng.uniform(0.2, 2.0) * scale), origin, scale
                    )
    elif rng.random() < 0.6:
        stage += hills(rng, camera.position * [1, 0, 1], forward)
    return [Thing(BACKGROUND, solids) for solids in stage]


def _assemble(stage: list[Thing], things: list[Thing], camera: Camera, lights: Light) -> Scene:
    """Flatten things into tables; what merely came along with an object becomes a background thing."""
    rows = []
    for instance, thing in enumerate([*stage, *things]):
        for solid in thing.solids:
            prop = solid.part == PROP
            rows.append((solid, BACKGROUND if prop else thing.class_id, 2 * instance + prop, max(solid.part, 0)))
    solids, class_ids, instances, parts = zip(*rows, strict=True)
    _, instances = np.unique(instances, return_inverse=True)
    count = sum(len(t.solids) for t in stage)
    return Scene(solids, count, corners(solids), np.array(class_ids), instances, np.array(parts), camera, lights)
