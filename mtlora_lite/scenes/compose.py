"""A scene: somebody chose a place, put something in it, walked around it and took a photograph.

That is also the order of the code. The main object is made first; the camera is set up so that it fills a given
share of the picture; then companions and clutter are strewn over the ground *in view*, where they neither touch one
another nor vanish; walls go up behind everything; the light is switched on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mtlora_lite.scenes import animals, craft, cycles, furniture, household, people, vehicles
from mtlora_lite.scenes.clutter import CLUTTER
from mtlora_lite.scenes.geometry import PROP, Solid, corners, cross, move, rotation
from mtlora_lite.scenes.render import Camera, Light, Scene
from mtlora_lite.scenes.stage import SETTINGS, Setting, ground, hills, light, wall
from mtlora_lite.tasks import VOC_CLASSES

Rng = np.random.Generator
BACKGROUND = 0
HEADING = np.pi  # the camera stands on the +x side of the main object and looks along -x


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
    "aeroplane": Kind(craft.aeroplane, 65, 45, (-8, 22), 1.35),
    "bicycle": Kind(cycles.bicycle, 80, 42, (2, 22)),
    "bird": Kind(animals.bird, 70, 55, (0, 25)),
    "boat": Kind(craft.boat, 75, 55, (3, 20), 1.1),
    "bottle": Kind(household.bottle, 0, 180, (2, 24)),
    "bus": Kind(vehicles.bus, 55, 35, (1, 18), 1.1),
    "car": Kind(vehicles.car, 60, 75, (3, 22)),
    "cat": Kind(animals.cat, 50, 55, (2, 24)),
    "chair": Kind(furniture.chair, 45, 75, (8, 30)),
    "cow": Kind(animals.cow, 65, 50, (1, 16)),
    "dining table": Kind(furniture.dining_table, 45, 60, (12, 34)),
    "dog": Kind(animals.dog, 60, 50, (2, 22)),
    "horse": Kind(animals.horse, 70, 50, (1, 14)),
    "motorbike": Kind(cycles.motorbike, 75, 45, (3, 20)),
    "person": Kind(people.person, 25, 95, (-2, 16)),
    "potted plant": Kind(household.potted_plant, 0, 180, (4, 26)),
    "sheep": Kind(animals.sheep, 65, 50, (1, 18)),
    "sofa": Kind(furniture.sofa, 15, 50, (8, 26)),
    "train": Kind(vehicles.train, 42, 24, (3, 20), 1.5),
    "tv monitor": Kind(household.tv_monitor, 0, 50, (2, 20)),
}


@dataclass
class Thing:
    """Something with a label of its own: an object, a wall, a rock."""

    class_id: int
    solids: list[Solid]
    reach: float = 0.0  # radius of its footprint
    spot: np.ndarray = field(default_factory=lambda: np.zeros(2))  # x, z


@dataclass(frozen=True)
class Shot:
    """What kind of picture to take.

    Attributes:
        fill: lowest and highest share of the picture's short side that the main object takes.
        shift: how far off centre it may be, in half-widths.
        companions: further objects to try to place.
        clutter: background things to try to place.
        occlude: probability of something standing in front of the main object.
        misplace: probability of a place where it does not belong, so that the place cannot give it away.
    """

    fill: tuple[float, float]
    shift: float
    companions: int = 0
    clutter: int = 0
    occlude: float = 0.0
    misplace: float = 0.0


@dataclass(frozen=True)
class _Spot:
    """Where a further thing may go: share of the picture it takes, and distance in units of the main object's."""

    share: tuple[float, float]
    distance: tuple[float, float]


_BESIDE = _Spot((0.16, 0.6), (0.45, 2.2))
_ANYWHERE = _Spot((0.05, 0.7), (0.8, 3.5))
_IN_FRONT = _Spot((0.25, 0.7), (0.35, 0.7))


def compose(rng: Rng, main: str, shot: Shot) -> Scene:
    """Set up a scene around one object of class ``main``."""
    kind = KINDS[main]
    setting = _setting(rng, main, shot.misplace)
    first = _thing(rng, main)
    camera = _camera(rng, kind, first, kind.zoom * rng.uniform(*shot.fill), shot.shift)
    things = [first]
    for name in rng.choice(setting.members, shot.companions):
        _place(rng, things, camera, KINDS[name], VOC_CLASSES.index(name), _BESIDE)
    for name in rng.choice(setting.clutter, shot.clutter):
        _place(rng, things, camera, _clutter(name), BACKGROUND, _ANYWHERE)
    if rng.random() < shot.occlude:
        _place(rng, things, camera, _clutter(rng.choice(setting.clutter)), BACKGROUND, _IN_FRONT)
    stage = _surroundings(rng, setting, things, camera)
    return _assemble(stage, things, camera, light(rng, setting.indoors, HEADING + np.pi))


def _clutter(name: str) -> Kind:
    return Kind(CLUTTER[name], around=0, views=180)


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


def _own(solids: Sequence[Solid]) -> list[Solid]:
    """Without what merely came along."""
    return [s for s in solids if s.part != PROP]


def _thing(rng: Rng, name: str) -> Thing:
    """An object at the origin."""
    turn = rotation(np.radians(_view(rng, KINDS[name])))
    solids = move(KINDS[name].build(rng), turn, [0, 0, 0])
    box = _corners(_own(solids))
    return Thing(VOC_CLASSES.index(name), solids, float(np.hypot(box[0], box[2]).max()))


def _camera(rng: Rng, kind: Kind, thing: Thing, fill: float, shift: float) -> Camera:
    """A camera on the +x side, so far away that every corner of the object lies within ``fill``."""
    tangent = np.tan(np.radians(rng.uniform(17, 30)))
    box = _corners(_own(thing.solids))
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
    return Camera.looking(position, target, float(tangent), float(rng.normal(0, 0.02)))


def _place(rng: Rng, things: list[Thing], camera: Camera, kind: Kind, class_id: int, spot: _Spot) -> None:
    """Put one more thing into view, unless a few tries find no free place where it is neither tiny nor in the way."""
    solids = move(kind.build(rng), rotation(np.radians(_view(rng, kind))), [0, 0, 0])
    box = _corners(solids)
    size, reach = float(np.ptp(box, axis=1).max()), float(np.hypot(box[0], box[2]).max())
    eye, right, back = (v[[0, 2]] for v in (camera.position, camera.axes[0], camera.axes[2]))  # seen from above
    ahead = -back / np.hypot(*back)
    nearest, farthest = np.array(spot.distance) * float(np.hypot(*eye))
    for _ in range(8):
        distance = size / (2 * camera.tangent * rng.uniform(*spot.share))
        distance = float(np.clip(distance, nearest, farthest))
        at = eye + distance * ahead + rng.uniform(-0.95, 0.95) * camera.tangent * distance * right
        share = size / (2 * camera.tangent * distance)
        free = all(np.hypot(*(at - t.spot)) > 0.85 * (reach + t.reach) for t in things)
        if free and 0.07 < share < 1.6 and reach + 0.1 < distance < 45:
            things.append(Thing(class_id, move(solids, np.eye(3), [at[0], 0, at[1]]), reach, at))
            return


def _surroundings(rng: Rng, setting: Setting, things: list[Thing], camera: Camera) -> list[Thing]:
    """Ground, then walls behind everything or hills on the horizon."""
    stage = [[ground(rng, rng.choice(setting.grounds))]]
    box = _corners(_own([s for t in things for s in t.solids]))
    scale = float(np.clip(np.ptp(box[1]) / 1.5, 0.15, 1.0))

    def clear(angle: float) -> float:
        """How far out in a direction a wall must be to leave all things and the camera on this side of it."""
        outward = np.array([np.cos(angle), 0, np.sin(angle)])
        return float(max((outward @ box).max(), outward @ camera.position))

    if setting.indoors or rng.random() < setting.walls:
        angle = HEADING + rng.uniform(-0.45, 0.45)
        gap = rng.uniform(0.1, 1.6) * (scale if setting.indoors else 4.0)
        stage += wall(rng, setting.indoors, angle, min(clear(angle) + gap, 45.0), scale)
        for side in (angle - np.pi / 2, angle + np.pi / 2):
            if setting.indoors and rng.random() < 0.6:
                stage += wall(rng, True, side, clear(side) + rng.uniform(0.2, 2.0) * scale, scale)
    elif rng.random() < 0.6:
        stage += hills(rng, camera.position * [1, 0, 1], HEADING)
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
