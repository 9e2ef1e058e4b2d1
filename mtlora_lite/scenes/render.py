"""From solids to pixels: camera, visibility, shadows, light, lens.

Visibility is exact and per pixel centre, so the labels are too. The photograph is made from two sets of rays: the
pixel centres, and the pixel corners between them. Half of each pixel's colour comes from its centre and an eighth
from each corner (a *quincunx*): smooth outlines for twice the price instead of four times.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtlora_lite.scenes.geometry import Solid, cross
from mtlora_lite.scenes.materials import albedo, noise

Array = np.ndarray
FARTHEST = 58.0  # metres; what lies behind is sky


@dataclass(frozen=True)
class Camera:
    """A pinhole camera; ``axes`` has rows right, up, towards the viewer; ``tangent`` is that of half its short side."""

    position: Array
    axes: Array
    tangent: float

    @classmethod
    def looking(cls, position: Array, target: Array, tangent: float, roll: float = 0.0) -> "Camera":
        """A camera at ``position`` that has ``target`` in its centre."""
        back = np.asarray(position, np.float64) - target
        back /= np.linalg.norm(back)
        right = cross([0.0, 1.0, 0.0], back)
        right /= np.linalg.norm(right)
        up = cross(back, right)
        tilted = [np.cos(roll) * right + np.sin(roll) * up, np.cos(roll) * up - np.sin(roll) * right, back]
        return cls(np.asarray(position, np.float32), np.asarray(tilted, np.float32), tangent)

    def rays(self, height: int, width: int, corners: bool = False) -> Array:
        """World directions (3, H, W), or (3, H+1, W+1) through the corners; one metre deep, so that t is depth."""
        unit = 2 * self.tangent / min(height, width)  # a pixel at one metre
        extra, shift = (1, 0.0) if corners else (0, 0.5)
        u = (np.arange(width + extra) + shift - width / 2) * unit
        v = (height / 2 - np.arange(height + extra) - shift) * unit
        u, v = np.broadcast_arrays(u[None, :], v[:, None])
        local = np.stack([u, v, -np.ones_like(u)]).astype(np.float32)
        return np.tensordot(self.axes.T, local, 1)

    def project(self, points: Array) -> tuple[Array, Array, Array]:
        """World points (..., 3, N) to tangents right and up of the axis, and depths."""
        right, up, back = np.moveaxis(self.axes @ (points - self.position[:, None]), -2, 0)
        depth = -back
        safe = np.maximum(depth, 1e-3)
        return right / safe, up / safe, depth


@dataclass(frozen=True)
class Light:
    """A sun, the light that comes from everywhere, and the sky.

    Attributes:
        direction: unit vector towards the sun.
        sun, ambient: linear-light colours.
        zenith, horizon: sky colours, sRGB.
        clouds: 0..1, share of the sky that is cloudy.
        haze: share of the horizon's colour mixed in per metre.
        phase: which clouds.
    """

    direction: Array
    sun: Array
    ambient: Array
    zenith: Array
    horizon: Array
    clouds: float
    haze: float
    phase: float


@dataclass(frozen=True)
class Scene:
    """What there is to see, as a table of solids.

    Attributes:
        solids: S of them; the first ``stage`` (ground, walls) cast no shadow.
        corners: (S, 3, 8) of their boxes.
        class_ids: (S,) VOC class.
        instances: (S,) which thing the solid belongs to.
        parts: (S,) human part.
    """

    solids: Sequence[Solid]
    stage: int
    corners: Array
    class_ids: Array
    instances: Array
    parts: Array
    camera: Camera
    light: Light


def visible(scene: Scene, rays: Array) -> tuple[Array, Array]:
    """Depth (H, W) and index of the nearest solid (H, W), -1 where there is none nearer than ``FARTHEST``.

    Each solid is cast only inside the screen box of its eight corners.
    """
    _, height, width = rays.shape
    depth = np.full((height, width), FARTHEST, np.float32)
    owner = np.full((height, width), -1, np.int32)
    origin = scene.camera.position[:, None]
    for index, (top, bottom, left, right) in enumerate(_screen_boxes(scene, height, width)):
        if top >= bottom or left >= right:
            continue
        window = np.s_[top:bottom, left:right]
        t = scene.solids[index].hit(origin, rays[:, *window].reshape(3, -1)).reshape(bottom - top, right - left)
        nearer = t < depth[window]
        np.copyto(depth[window], t, where=nearer)
        np.copyto(owner[window], index, where=nearer)
    return depth, owner


def _screen_boxes(scene: Scene, height: int, width: int) -> list[list[int]]:
    """Rows and columns (top, bottom, left, right) that each solid can touch, one pixel of margin included."""
    u, v, depth = scene.camera.project(scene.corners)  # (S, 8)
    pixel = min(height, width) / (2 * scene.camera.tangent)
    left, right = u.min(1) * pixel + width / 2, u.max(1) * pixel + width / 2
    top, bottom = height / 2 - v.max(1) * pixel, height / 2 - v.min(1) * pixel
    boxes = np.stack([top - 1, bottom + 2, left - 1, right + 2], 1)
    boxes[depth.min(1) < 0.05] = [0, height, 0, width]  # reaches behind the camera: no box, look everywhere
    boxes[depth.max(1) < 0.05] = 0
    limits = [height, height, width, width]
    return np.clip(boxes, 0, limits).astype(int).tolist()


def surface(solids: Sequence[Solid], owner: Array, points: Array) -> tuple[Array, Array]:
    """Normals and object coordinates, both (3, N), of points (3, N); one visit per solid."""
    normals, local = np.zeros_like(points), np.zeros_like(points)
    order = np.argsort(owner, kind="stable")
    ids, starts = np.unique(owner[order], return_index=True)
    for index, at in zip(ids, np.split(order, starts[1:]), strict=True):
        solid, p = solids[index], points[:, at]
        normals[:, at] = solid.normal(p)
        local[:, at] = solid.to_object @ (p - solid.origin[:, None])
    return normals, local


def lit(scene: Scene, points: Array) -> Array:
    """Whether the sun reaches each point (3, N).

    Seen from the sun every solid covers a box; points are sorted along the box's first side, so that a solid is
    tested against a slice of them instead of all.
    """
    free = np.ones(points.shape[1], bool)
    sun = scene.light.direction
    across = cross(sun, [0.0, 1.0, 0.0])
    frame = np.stack([across, cross(across, sun), sun]).astype(np.float32)
    box = frame @ scene.corners[scene.stage :]  # (S, 3, 8): across the sunlight, and along it
    low, high = box.min(2), box.max(2)
    u, v, along = frame @ points
    order = np.argsort(u)
    first, last = np.searchsorted(u[order], [low[:, 0], high[:, 0]])
    toward = sun.astype(np.float32)[:, None]
    for index, solid in enumerate(scene.solids[scene.stage :]):
        at = order[first[index] : last[index]]
        at = at[(v[at] > low[index, 1]) & (v[at] < high[index, 1]) & free[at] & (along[at] < high[index, 2])]
        if len(at):
            free[at] = ~np.isfinite(solid.hit(points[:, at], toward))
    return free


def sky(rays: Array, light: Light) -> Array:
    """Linear-light sky colours (3, N): a gradient, and clouds on a plane far above."""
    up = rays[1] / np.sqrt((rays * rays).sum(0))
    rise = np.clip(up * 1.6, 0.0, 1.0) ** 0.7
    horizon, zenith = np.array([light.horizon, light.zenith], np.float32)[:, :, None]
    colour = horizon + (zenith - horizon) * rise
    if light.clouds > 0:
        plane = np.stack([rays[0], 0 * up, rays[2]]) / np.maximum(rays[1] + 0.15, 0.02) * 0.45 + light.phase
        cover = np.clip((noise(plane.astype(np.float32)) - 1 + light.clouds) * 3.0, 0, 1) * np.clip(up * 8, 0, 1)
        colour = colour + (0.95 - colour) * cover * 0.85
    return colour**2.2


def crevices(depth: Array, reach: int) -> Array:
    """Ambient light that arrives (H, W) in 0.55..1: less where the surroundings are nearer than the pixel itself.

    The difference to the blurred depth is a good enough guess of how deep a pixel sits (Luft et al. 2006).
    """
    near = 1.0 / depth  # blurring the inverse keeps far backgrounds from washing over outlines
    sunk = _box_blur(near, reach) / near - 1.0
    return 1.0 - np.clip(sunk * 6.0, 0.0, 0.45)


def _box_blur(image: Array, reach: int) -> Array:
    """Mean over (2 reach + 1)² pixels, by running sums."""
    side = 2 * reach + 1
    for _ in ("down", "across"):
        total = np.cumsum(np.pad(image, ((reach + 1, reach), (0, 0)), mode="edge"), axis=0, dtype=np.float64)
        image = ((total[side:] - total[:-side]) / side).T
    return image.astype(np.float32)


@dataclass(frozen=True)
class Samples:
    """What N rays met.

    Attributes:
        rays: (3, N) directions.
        owner: (N,) index of the solid, -1 for the sky.
        depth: (N,) metres.
        open_sky: (N,) share of the ambient light that arrives.
    """

    rays: Array
    owner: Array
    depth: Array
    open_sky: Array

    @classmethod
    def of(cls, rays: Array, owner: Array, depth: Array, where: Array) -> "Samples":
        """Those pixels of a grid (H, W) that are marked in ``where`` (H, W)."""
        open_sky = crevices(depth, reach=max(2, min(depth.shape) // 24))
        return cls(rays[:, where], owner[where], depth[where], open_sky[where])

    def __add__(self, other: "Samples") -> "Samples":
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Samples(*[np.concatenate(pair, axis=-1) for pair in pairs])

    def __getitem__(self, at: Array) -> "Samples":
        return Samples(*[values[..., at] for values in vars(self).values()])


def shade(scene: Scene, samples: Samples, pixel: float) -> tuple[Array, Array]:
    """Colours in linear light and world normals, both (3, N); ``pixel`` is the width of one at a depth of one metre."""
    colour, normals = np.zeros((2, *samples.rays.shape), np.float32)
    blank, seen = np.flatnonzero(samples.owner < 0), np.flatnonzero(samples.owner >= 0)
    colour[:, blank] = sky(samples.rays[:, blank], scene.light)
    hits = samples[seen]
    points = scene.camera.position[:, None] + hits.depth * hits.rays
    normals[:, seen], local = surface(scene.solids, hits.owner, points)
    base = albedo([s.look for s in scene.solids], hits.owner, local, hits.depth * pixel)
    colour[:, seen] = _illuminate(scene, hits, points, normals[:, seen], base)
    return colour, normals


def _illuminate(scene: Scene, hits: Samples, points: Array, n: Array, base: Array) -> Array:
    """Sun with shadows, ambient from above, highlight, glow, haze; all (3, N)."""
    light = scene.light
    sun = light.direction.astype(np.float32)
    facing = np.clip(sun @ n, 0.0, 1.0)
    day = np.flatnonzero(facing > 0)
    reaches = np.zeros_like(facing)
    reaches[day] = lit(scene, points[:, day] + n[:, day] * (1e-3 + 1e-3 * hits.depth[day]))  # off the own surface
    ambient = (0.62 + 0.38 * n[1]) * hits.open_sky
    strength = np.array([light.sun, light.ambient], np.float32)  # (2, 3)
    colour = base * (strength.T @ np.stack([facing * reaches, ambient]))
    gloss, glow = np.array([(s.look.gloss, s.look.glow) for s in scene.solids], np.float32)[hits.owner].T
    shiny = np.flatnonzero(gloss > 0)
    colour[:, shiny] += _highlight(light, n[:, shiny], hits.rays[:, shiny], reaches[shiny]) * gloss[shiny]
    colour += (base - colour) * glow
    veil = 1.0 - np.exp(-light.haze * hits.depth)
    return colour + (light.horizon.astype(np.float32)[:, None] ** 2.2 - colour) * veil


def _highlight(light: Light, n: Array, rays: Array, reaches: Array) -> Array:
    """Blinn-Phong for the sun, and the sky mirrored at grazing angles (Schlick)."""
    view = -rays / np.sqrt((rays * rays).sum(0))
    half = view + light.direction.astype(np.float32)[:, None]
    half /= np.sqrt((half * half).sum(0))
    spark = np.clip((n * half).sum(0), 0, 1) ** 60 * reaches
    grazing = 0.06 + 0.6 * (1 - np.clip((n * view).sum(0), 0, 1)) ** 4
    return spark + grazing * np.clip(0.4 + n[1], 0, 1) * light.horizon.astype(np.float32)[:, None] ** 2.2


def photograph(scene: Scene, rng: np.random.Generator, height: int, width: int) -> tuple[Array, dict[str, Array]]:
    """Take the picture.

    Corners between pixels of one solid take the mean of those pixels; only outlines are worth a second look.

    Returns:
        The picture (H, W, 3) uint8, and at pixel centres ``depth`` (H, W), ``owner`` (H, W): the index of the solid
        or -1, ``normals`` (H, W, 3) in world coordinates.
    """
    at_centers, at_corners = scene.camera.rays(height, width), scene.camera.rays(height, width, corners=True)
    depth, owner = visible(scene, at_centers)
    corner_depth, corner_owner = visible(scene, at_corners)
    quads = _four_around(owner)  # (4, H+1, W+1)
    outline = (quads != quads[0]).any(0)
    samples = Samples.of(at_centers, owner, depth, np.ones_like(owner, bool))
    samples += Samples.of(at_corners, corner_owner, corner_depth, outline)
    colour, normals = shade(scene, samples, pixel=2 * scene.camera.tangent / min(height, width))
    count = height * width
    centers = colour[:, :count].T.reshape(height, width, 3)
    corners = _four_around(centers).mean(0)
    corners[outline] = colour[:, count:].T
    around = corners[:-1, :-1] + corners[1:, :-1] + corners[:-1, 1:] + corners[1:, 1:]
    buffers = {"depth": depth, "owner": owner, "normals": normals[:, :count].T.reshape(height, width, 3)}
    return develop(0.5 * centers + 0.125 * around, rng), buffers


def _four_around(image: Array) -> Array:
    """The four pixels that meet in each corner: (H, W, ...) -> (4, H+1, W+1, ...)."""
    p = np.pad(image, [(1, 1), (1, 1)] + [(0, 0)] * (image.ndim - 2), mode="edge")
    return np.stack([p[:-1, :-1], p[1:, :-1], p[:-1, 1:], p[1:, 1:]])


def develop(linear: Array, rng: np.random.Generator) -> Array:
    """A photograph (H, W, 3) uint8 of linear light: exposure, white balance, soft shoulder, blur, grain."""
    level = np.median(linear.mean(2)) + 0.25 * linear.mean()
    gain = (0.3 / max(float(level), 0.02)) ** 0.55 * rng.uniform(0.85, 1.25)
    tint = 1.0 + rng.normal(0.0, 0.03, 3)
    photo = linear * (gain * tint).astype(np.float32)
    grey = photo.mean(2, keepdims=True)
    photo = np.maximum(grey + (photo - grey) * float(rng.uniform(1.0, 1.35)), 0)  # saturation
    photo = (photo * (1 + photo / 4.0) / (1 + photo * 0.6)).clip(0, 1) ** (1 / 2.2)
    if rng.random() < 0.4:
        weight = float(rng.uniform(0.05, 0.2))  # of the four neighbours: a slightly soft lens
        padded = np.pad(photo, ((1, 1), (1, 1), (0, 0)), mode="edge")
        cross = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
        photo = (1 - weight) * photo + weight / 4 * cross
    grain = rng.standard_normal(photo.shape, np.float32) * float(rng.uniform(0.003, 0.012))
    return np.rint((photo + grain).clip(0, 1) * 255).astype(np.uint8)
