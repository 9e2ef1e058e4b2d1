"""Analytic ray casting: where does a ray meet a solid, and which way does the surface face there?

A ray is a point and a direction, ``o + t d``; to cast it at a solid is to solve for the smallest ``t > 0``. Four
formulas are enough for a zoo: a sphere, a convex polyhedron, a frustum (cylinders and cones), a tube (tyres), and
the *round cone*, the hull of two balls, of which limbs, necks and trunks are made.

The formulas stay short because of one trick: **the shape never moves, the ray does.** Every solid lives in a local
space in which its equation is simplest (the sphere has radius 1 and sits at 0), and carries the affine map that
leads there. A ray taken through that map stays a ray with the *same t*, so an ellipsoid is the sphere's formula
seen through a stretched map, and distances never need converting back. Normals come home through the transpose
(a normal is a covector: it must stay orthogonal to the transformed tangents).

All solids but the tube are convex, so the first hit is the *entry*, and a camera or a shadow ray is expected to
start outside. Vectors are component-first, ``(3, N)``: one contiguous row per coordinate is what NumPy likes best.
Either of ``o`` and ``d`` may be ``(3, 1)``: camera rays share their origin, shadow rays their direction.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

Array = np.ndarray
PROP = -1  # "part" of a solid that comes along with an object without belonging to it: rails, a crate to sit on
TINY = 1e-9


# --- the formulas: local ray -> t of the entry (N,), inf where the ray misses -------------------------------------


def _dot(a: Array, b: Array) -> Array:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _first(*candidates: Array) -> Array:
    """The smallest of several t; NaN (no real root) counts as a miss."""
    best = candidates[0]
    for t in candidates[1:]:
        best = np.fmin(best, t)
    return np.where(best > 0, best, np.inf)


def _ball(o: Array, d: Array, height: float, radius: float) -> Array:
    """|o + t d - c|² = r² with c = (0, height, 0); a negative discriminant becomes NaN."""
    x, y, z = o[0], o[1] - height, o[2]
    a, b = _dot(d, d), x * d[0] + y * d[1] + z * d[2]
    return (-b - np.sqrt(b * b - a * (x * x + y * y + z * z - radius * radius))) / a


def _cone(o: Array, d: Array, r0: float, slope: float, low: float, high: float, sign: float = -1.0) -> Array:
    """x² + z² = (r0 + slope y)² between two heights; ``sign`` picks the entry (-1) or the exit (+1)."""
    g = r0 + slope * o[1]
    a = d[0] * d[0] + d[2] * d[2] - slope * slope * d[1] * d[1]
    b = o[0] * d[0] + o[2] * d[2] - slope * g * d[1]
    c = o[0] * o[0] + o[2] * o[2] - g * g
    t = (-b + sign * np.sqrt(b * b - a * c)) / (a + TINY)
    y = o[1] + t * d[1]
    return np.where((y >= low) & (y <= high) & (t > 0), t, np.inf)


def _either(choice: Array, yes: float, no: float) -> Array:
    return np.where(choice, np.float32(yes), np.float32(no))


def _cap(o: Array, d: Array, low: float, high: float, r_low: float, r_high: float, hole: float = 0.0) -> Array:
    """The flat end that the ray enters through: the lower one if it climbs, the upper one if it descends."""
    climbs = d[1] > 0
    t = (_either(climbs, low, high) - o[1]) / (d[1] + TINY)
    x, z, r = o[0] + t * d[0], o[2] + t * d[2], _either(climbs, r_low, r_high)
    q = x * x + z * z
    return np.where((q <= r * r) & (q >= hole * hole) & (t > 0), t, np.inf)


def hit_sphere(o: Array, d: Array, size: Any) -> Array:
    """Unit sphere."""
    return _first(_ball(o, d, 0.0, 1.0))


def hit_polyhedron(o: Array, d: Array, planes: Array) -> Array:
    """Half-spaces n·p <= h, rows (nx, ny, nz, h): the ray is inside between its last entry and its first exit."""
    speed = planes[:, :3] @ d  # (K, N): how fast the ray approaches each plane
    speed = np.where(np.abs(speed) < TINY, TINY, speed)
    t = (planes[:, 3:] - planes[:, :3] @ o) / speed
    enter = np.where(speed < 0, t, -np.inf).max(0)  # (N,)
    leave = np.where(speed > 0, t, np.inf).min(0)
    return np.where((enter < leave) & (enter > 0), enter, np.inf)


def hit_frustum(o: Array, d: Array, size: Sequence[float]) -> Array:
    """Radius r0 at y = 0, r1 at y = h, flat ends: a cylinder, a cone, a wheel."""
    r0, r1, h = size
    return _first(_cone(o, d, r0, (r1 - r0) / h, 0.0, h), _cap(o, d, 0.0, h, r0, r1))


def hit_tube(o: Array, d: Array, size: Sequence[float]) -> Array:
    """A ring of outer radius r0, inner radius r1, |y| <= w: its inside is met where the ray *leaves* the hole."""
    r0, r1, w = size
    inside = _cone(o, d, r1, 0.0, -w, w, sign=1.0)
    return _first(_cone(o, d, r0, 0.0, -w, w), inside, _cap(o, d, -w, w, r0, r0, hole=r1))


def hit_round_cone(o: Array, d: Array, size: Sequence[float]) -> Array:
    """The hull of a ball r0 at y = 0 and a ball r1 at y = h: two balls and the cone that touches both.

    A ball rolling from one end to the other has radius r0 - k y. It touches its envelope at the angle whose sine
    is k, which tilts the touching circles off the ball centres: hence the limits ``k r`` and the factor 1 / cos.
    """
    r0, r1, h = size
    k = (r0 - r1) / h
    cos = math.sqrt(1.0 - k * k)
    side = _cone(o, d, r0 / cos, -k / cos, k * r0, h + k * r1)
    return _first(side, _ball(o, d, 0.0, r0), _ball(o, d, h, r1))


# --- the normals: local point on the surface (3, N) -> direction (3, N), not yet unit ------------------------------


def _normal_sphere(p: Array, size: Any) -> Array:
    return p


def _normal_polyhedron(p: Array, planes: Array) -> Array:
    face = (planes[:, :3] @ p - planes[:, 3:]).argmax(0)  # the plane the point lies on
    return planes[face, :3].T


def _normal_frustum(p: Array, size: Sequence[float]) -> Array:
    r0, r1, h = size
    slope = (r1 - r0) / h
    q = np.hypot(p[0], p[2])
    side = np.stack([p[0], -slope * q, p[2]]) / np.maximum(q, TINY)
    end = _either(p[1] > h / 2, 1.0, -1.0)
    flat = np.minimum(p[1], h - p[1]) < np.abs(q - r0 - slope * p[1])
    return np.where(flat, np.stack([0 * q, end, 0 * q]), side)


def _normal_tube(p: Array, size: Sequence[float]) -> Array:
    r0, r1, w = size
    q = np.hypot(p[0], p[2])
    outward = _either(q > (r0 + r1) / 2, 1.0, -1.0) / np.maximum(q, TINY)
    flat = w - np.abs(p[1]) < np.minimum(np.abs(q - r0), np.abs(q - r1))
    return np.where(flat, np.stack([0 * q, np.sign(p[1]), 0 * q]), np.stack([p[0] * outward, 0 * q, p[2] * outward]))


def _normal_round_cone(p: Array, size: Sequence[float]) -> Array:
    """Away from the centre of the rolling ball that touches here; at the ends it stops rolling."""
    r0, r1, h = size
    k = (r0 - r1) / h
    center = np.clip(p[1] - np.hypot(p[0], p[2]) * k / math.sqrt(1.0 - k * k), 0.0, h)
    return np.stack([p[0], p[1] - center, p[2]])


SHAPES: dict[str, tuple[Callable, Callable]] = {
    "sphere": (hit_sphere, _normal_sphere),
    "polyhedron": (hit_polyhedron, _normal_polyhedron),
    "frustum": (hit_frustum, _normal_frustum),
    "tube": (hit_tube, _normal_tube),
    "round_cone": (hit_round_cone, _normal_round_cone),
}


# --- a solid: a shape, its map, its looks --------------------------------------------------------------------------


@dataclass(frozen=True)
class Solid:
    """A shape in the world.

    Attributes:
        shape: key into ``SHAPES``.
        size: what the shape's formulas want to know.
        box: (2, 3) lowest and highest local coordinates.
        to_local: (3, 3) world offset from ``center`` -> local coordinates.
        center: (3,) world position of the local origin.
        look: the surface's material (opaque here).
        part: human part id, 0 for none, ``PROP`` for what is not the object itself.
        to_object, origin: world -> the coordinates the solid was modelled in, so that textures stick to it.
    """

    shape: str
    size: Any
    box: Array
    to_local: Array
    center: Array
    look: Any
    part: int = 0
    to_object: Array = field(default_factory=lambda: np.eye(3, dtype=np.float32))
    origin: Array = field(default_factory=lambda: np.zeros(3, np.float32))

    def hit(self, origin: Array, direction: Array) -> Array:
        """Depths t (N,) at which rays (3, N) or (3, 1) first meet the solid; inf where they miss."""
        local = self.to_local @ (origin - self.center[:, None])
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):  # NaN is how a root says "I miss"
            return SHAPES[self.shape][0](local, self.to_local @ direction, self.size)

    def normal(self, points: Array) -> Array:
        """Unit normals (3, N) at world points (3, N) on the surface."""
        local = self.to_local @ (points - self.center[:, None])
        n = self.to_local.T @ SHAPES[self.shape][1](local, self.size)
        return n / np.sqrt(_dot(n, n) + 1e-20)


def corners(solids: Sequence[Solid]) -> Array:
    """World corners (S, 3, 8) of the boxes around solids: what screen and shadow boxes are made from."""
    boxes = np.stack([s.box for s in solids])  # (S, 2, 3)
    x, y, z = np.indices((2, 2, 2)).reshape(3, 8)
    local = np.stack([boxes[:, x, 0], boxes[:, y, 1], boxes[:, z, 2]], axis=1)  # (S, 3, 8)
    to_world = np.linalg.inv(np.stack([s.to_local for s in solids]))
    return to_world @ local + np.stack([s.center for s in solids])[:, :, None]


def move(solids: Sequence[Solid], turn: Array, position: Sequence[float], scale: float = 1.0) -> list[Solid]:
    """The same solids scaled, then rotated by ``turn`` (3, 3), then shifted: how a finished object is placed."""
    shift, back = _f32(position), _f32(turn.T / scale)
    return [
        replace(
            s,
            to_local=s.to_local @ back,
            center=_f32(turn @ s.center * scale) + shift,
            to_object=s.to_object @ back,
            origin=_f32(turn @ s.origin * scale) + shift,
        )
        for s in solids
    ]


# --- constructors, in the object frame: x forward, y up, z to the right --------------------------------------------


def _f32(values: Any) -> Array:
    return np.asarray(values, np.float32)


def _floats(*values: float) -> tuple[float, ...]:
    """Python floats: a NumPy float64 among the sizes would widen every float32 array it meets."""
    return tuple(map(float, values))


def cross(a: Array, b: Array) -> Array:
    """The cross product of two (3,) vectors; ``np.cross`` takes ten times as long over so few numbers."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def rotation(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Array:
    """Radians; pitch (about z, nose up) acts first, then roll (about x), then yaw (about y)."""
    (cy, cp, cr), (sy, sp, sr) = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cp, -sp, 0], [sp, cp, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return _f32(about_y @ about_x @ about_z)


def _upright(a: Array, b: Array) -> tuple[Array, float]:
    """Rows = an orthonormal frame whose y axis runs from a to b, and the distance."""
    axis = b - a
    length = float(np.sqrt(axis @ axis)) + 1e-6
    y = axis / length
    helper = np.array([0.0, 0.0, 1.0]) if abs(y[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    x = cross(y, helper)
    x /= np.sqrt(x @ x)
    return _f32(np.stack([x, y, cross(x, y)])), length


def ellipsoid(
    center: Sequence[float], radii: Sequence[float], look: Any, pitch=0.0, yaw=0.0, roll=0.0, part=0
) -> Solid:
    """An ellipsoid with the given radii along its own x, y, z."""
    to_local = rotation(yaw, pitch, roll).T / _f32(radii)[:, None]
    return Solid("sphere", None, _f32([[-1] * 3, [1] * 3]), to_local, _f32(center), look, part)


def limb(a: Sequence[float], b: Sequence[float], r0: float, r1: float, look: Any, part: int = 0) -> Solid:
    """The hull of a ball of radius r0 at a and one of radius r1 at b."""
    frame, h = _upright(_f32(a), _f32(b))
    h = max(h, 1.02 * abs(r0 - r1) + 1e-4)  # closer than that, one ball would swallow the other
    r = max(r0, r1)
    return Solid("round_cone", _floats(r0, r1, h), _f32([[-r, -r0, -r], [r, h + r1, r]]), frame, _f32(a), look, part)


def rod(a: Sequence[float], b: Sequence[float], r0: float, look: Any, r1: float | None = None, part: int = 0) -> Solid:
    """A cylinder from a to b, or a frustum where r1 differs; ends are flat."""
    frame, h = _upright(_f32(a), _f32(b))
    r1 = r0 if r1 is None else r1
    r = max(r0, r1)
    return Solid("frustum", _floats(r0, r1, h), _f32([[-r, 0, -r], [r, h, r]]), frame, _f32(a), look, part)


def ring(center: Sequence[float], axis: Sequence[float], outer: float, inner: float, width: float, look: Any) -> Solid:
    """A tube around ``axis``: tyres and rims."""
    frame, _ = _upright(_f32([0, 0, 0]), _f32(axis))
    w = width / 2
    reach = _f32([[-outer, -w, -outer], [outer, w, outer]])
    return Solid("tube", _floats(outer, inner, w), reach, frame, _f32(center), look)


def polyhedron(planes: Array, low, high, look: Any, center=(0, 0, 0), to_local=None, part: int = 0) -> Solid:
    """The convex body n·p <= h of rows (nx, ny, nz, h), with its lowest and highest corner."""
    planes = np.asarray(planes, np.float64)
    planes = _f32(planes / np.linalg.norm(planes[:, :3], axis=1, keepdims=True))
    to_local = _f32(np.eye(3) if to_local is None else to_local)
    return Solid("polyhedron", planes, _f32([low, high]), to_local, _f32(center), look, part)


def box(center: Sequence[float], size: Sequence[float], look: Any, pitch=0.0, yaw=0.0, roll=0.0, part=0) -> Solid:
    """A cuboid of full extents ``size``."""
    half = np.asarray(size) / 2
    planes = np.concatenate([np.c_[np.eye(3), half], np.c_[-np.eye(3), half]])
    return polyhedron(planes, -half, half, look, center, rotation(yaw, pitch, roll).T, part)


def prism(outline: Sequence[Sequence[float]], width: float, look: Any, taper=0.0, at=(0, 0, 0), lean=None) -> Solid:
    """A convex outline in x-y (counter-clockwise) extruded to ``width`` along z, centred on z = 0, shifted to ``at``.

    ``taper`` is what either side loses per unit of y, counted from the lowest point. ``lean`` (3, 3) rotates the
    whole about ``at``; with it an x-y outline becomes a plan view.
    """
    points = np.asarray(outline, np.float64)
    edges = np.roll(points, -1, axis=0) - points
    normals = np.c_[edges[:, 1], -edges[:, 0], np.zeros(len(points))]
    low, high, half = points.min(0), points.max(0), width / 2
    walls = np.c_[normals, (normals[:, :2] * points).sum(1)]
    sides = [[0, taper, side, half + taper * low[1]] for side in (1.0, -1.0)]
    reach = half + max(0.0, -taper * (high[1] - low[1]))
    to_local = None if lean is None else lean.T
    return polyhedron(np.concatenate([walls, sides]), [*low, -reach], [*high, reach], look, at, to_local)
