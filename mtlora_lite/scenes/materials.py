"""What surfaces look like: a colour, a second colour, and a pattern that says where the second one shows.

Patterns are functions of the position in the object's own coordinates, so a cow's patches turn with the cow. Their
raw material is one block of 1/f noise, made once and repeated in all directions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

Array = np.ndarray
Color = tuple[float, float, float]
_NOISE_SIZE = 64


@dataclass(frozen=True)
class Look:
    """A material.

    Attributes:
        color: sRGB in 0..1.
        second: the colour the pattern blends in.
        pattern: key into ``PATTERNS``.
        scale: pattern cells per metre.
        amount: how much of ``second`` shows where the pattern is 1.
        gloss: strength of the highlight, 0 = chalk.
        glow: share of the colour that needs no light (screens, lamps).
        phase: shifts the pattern, so that no two cows are alike.
    """

    color: Color
    second: Color = (0.0, 0.0, 0.0)
    pattern: str = "mottled"
    scale: float = 3.0
    amount: float = 0.0
    gloss: float = 0.0
    glow: float = 0.0
    phase: float = 0.0


def paint(color: Color, gloss: float = 0.0, glow: float = 0.0, grain: float = 0.12, scale: float = 6.0) -> Look:
    """One colour, slightly uneven: ``grain`` darkens it in a mottled way."""
    dark = tuple(c * 0.55 for c in color)
    return Look(color, dark, "mottled", scale, grain, gloss, glow)


def shade(color: Color, factor: float) -> Color:
    """The colour made darker (< 1) or lighter (> 1)."""
    return tuple(float(min(1.0, c * factor)) for c in color)


def tinted(look: Look, factor: float) -> Look:
    """The same material, darker or lighter."""
    return replace(look, color=shade(look.color, factor), second=shade(look.second, factor))


def hsv(hue: float, saturation: float, value: float) -> Color:
    """HSV in 0..1 to RGB."""
    k = (np.array([5.0, 3.0, 1.0]) + hue * 6.0) % 6.0
    return tuple(float(v) for v in value * (1 - saturation * np.clip(np.minimum(k, 4 - k), 0, 1)))


def vary(rng: np.random.Generator, color: Color, spread: float = 0.06) -> Color:
    """A colour near ``color``: brightness and channels jittered."""
    jitter = np.asarray(color) * rng.uniform(1 - 2 * spread, 1 + 2 * spread) + rng.normal(0, spread / 3, 3)
    return tuple(float(v) for v in jitter.clip(0.01, 1.0))


def pick(rng: np.random.Generator, colors: Sequence[Color], spread: float = 0.06) -> Color:
    """One of several colours, varied."""
    return vary(rng, colors[rng.integers(len(colors))], spread)


RUBBER = paint((0.045, 0.045, 0.05))
CHROME = paint((0.7, 0.71, 0.73), gloss=0.8)
STEEL = paint((0.35, 0.36, 0.38), gloss=0.4)
GLASS = paint((0.07, 0.1, 0.13), gloss=1.0)


# --- noise ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _noise_block() -> Array:
    """(64, 64, 64) noise with a 1/f^1.8 amplitude spectrum, spread evenly over 0..1, seamless at its faces."""
    white = np.random.default_rng(0).standard_normal((_NOISE_SIZE,) * 3)
    axes = np.meshgrid(*[np.fft.fftfreq(_NOISE_SIZE, 1 / _NOISE_SIZE)] * 3, indexing="ij", sparse=True)
    frequency = np.sqrt(sum(a * a for a in axes))
    envelope = np.where(frequency < 3, 0.0, 1.0 / np.maximum(frequency, 1) ** 1.8)  # below 3: too large to repeat
    rough = np.fft.ifftn(np.fft.fftn(white) * envelope).real
    ranks = rough.ravel().argsort().argsort().reshape(rough.shape)
    return (ranks / ranks.size).astype(np.float32)


def noise(p: Array) -> Array:
    """Smooth noise in 0..1 at points (3, N), features of about one unit: a trilinear look-up in the block."""
    block = _noise_block().ravel()
    q = p * 8.0  # the block's strongest waves are some eight cells long
    cell = np.floor(q).astype(np.int32)
    fx, fy, fz = q - cell
    x0, y0, z0 = cell & (_NOISE_SIZE - 1)
    x1, y1, z1 = (cell + 1) & (_NOISE_SIZE - 1)
    x0, x1, y0, y1 = x0 * _NOISE_SIZE**2, x1 * _NOISE_SIZE**2, y0 * _NOISE_SIZE, y1 * _NOISE_SIZE

    def along_z(row: Array) -> Array:
        near = block[row + z0]
        return near + (block[row + z1] - near) * fz

    def along_y(x: Array) -> Array:
        near = along_z(x + y0)
        return near + (along_z(x + y1) - near) * fy

    near = along_y(x0)
    return near + (along_y(x1) - near) * fx


# --- patterns: position in cells (3, N) -> share of the second colour (N,) in 0..1 ----------------------------------


def _step(value: Array, threshold: float, softness: float) -> Array:
    return np.clip((value - threshold) / softness + 0.5, 0.0, 1.0)


def _random(*cells: Array) -> Array:
    """A number in 0..1 per integer cell."""
    total = sum(c * k for c, k in zip(cells, (12.9898, 78.233, 37.719), strict=False))
    return (np.sin(total) * 43.7585) % 1.0


def _mottled(p: Array) -> Array:
    return noise(p)


def _patches(p: Array) -> Array:
    return _step(noise(p), 0.52, 0.06)


def _spots(p: Array) -> Array:
    return _step(noise(p), 0.74, 0.08)


def _stripes(p: Array) -> Array:
    return _step(np.sin(2 * np.pi * p[0] + 2.5 * noise(p * 0.7)), 0.25, 0.5)


def _bands(p: Array) -> Array:
    return _step(np.sin(2 * np.pi * p[1]), 0.0, 0.3)


def _wool(p: Array) -> Array:
    return _step(noise(p * 1.5), 0.45, 0.5)


def _checker(p: Array) -> Array:
    return (np.floor(p[0]) + np.floor(p[2])) % 2


def _tiles(p: Array) -> Array:
    """1 in the grout, a little in the darker tiles."""
    u, v = p[0] % 1.0, p[2] % 1.0
    grout = (np.minimum(u, v) < 0.06) * 1.0
    return np.maximum(grout, 0.35 * _random(np.floor(p[0]), np.floor(p[2])))


def _planks(p: Array) -> Array:
    """Boards along x, four units long, each with its own tone and grain."""
    board = np.floor(p[2])
    along = p[0] / 4 + 0.37 * board
    gap = ((p[2] % 1.0) < 0.07) | ((along % 1.0) < 0.015)
    grain = noise(np.stack([p[0] * 0.3, board * 5.3, p[2] * 2.0]))
    return np.maximum(gap * 1.0, 0.45 * _random(board, np.floor(along)) + 0.3 * grain)


def _bricks(p: Array) -> Array:
    """Courses of height 1 and length 2.5 along x (or z: walls run along either)."""
    course = np.floor(p[1])
    along = (p[0] + p[2]) / 2.5 + 0.5 * (course % 2)
    mortar = ((p[1] % 1.0) < 0.14) | ((along % 1.0) < 0.06)
    return np.maximum(mortar * 1.0, 0.4 * _random(course, np.floor(along)))


def _panes(p: Array) -> Array:
    """Window panes along x with posts between them."""
    return _step(np.abs(p[0] % 1.0 - 0.5), 0.4, 0.04)


def _facade(p: Array) -> Array:
    """Windows on a house wall: a grid of dark rectangles."""
    u, v = (p[0] + p[2]) % 1.0, p[1] % 1.0
    return ((np.abs(u - 0.5) < 0.26) & (np.abs(v - 0.5) < 0.28)) * (0.75 + 0.25 * noise(p * 2))


def _grass(p: Array) -> Array:
    return 0.55 * noise(p * 3.0) + 0.45 * noise(p * 0.35)


def _waves(p: Array) -> Array:
    return _step(noise(np.stack([p[0] * 0.5, p[1], p[2] * 1.4])), 0.6, 0.5)


def _leaves(p: Array) -> Array:
    return _step(noise(p * 2.0), 0.5, 0.35)


PATTERNS: dict[str, Callable[[Array], Array]] = {
    "mottled": _mottled, "patches": _patches, "spots": _spots, "stripes": _stripes, "bands": _bands, "wool": _wool,
    "checker": _checker, "tiles": _tiles, "planks": _planks, "bricks": _bricks, "panes": _panes, "facade": _facade,
    "grass": _grass, "waves": _waves, "leaves": _leaves,
}  # fmt: skip


def albedo(looks: Sequence[Look], owner: Array, points: Array, footprint: Array) -> Array:
    """Linear-light colour of every pixel.

    Args:
        looks: the material of each solid.
        owner: (N,) index into ``looks``.
        points: (3, N) positions in object coordinates.
        footprint: (N,) metres a pixel covers there; patterns finer than that fade to their mean.
    """
    first = np.array([look.color for look in looks], np.float32)[owner].T  # (3, N)
    second = np.array([look.second for look in looks], np.float32)[owner].T
    amount = np.array([look.amount for look in looks], np.float32)[owner]
    scale = np.array([look.scale for look in looks], np.float32)[owner]
    phase = np.array([look.phase for look in looks], np.float32)[owner]
    kinds = list(PATTERNS)
    kind = np.array([kinds.index(look.pattern) for look in looks])[owner]
    weight = np.zeros(owner.shape, np.float32)
    for k in np.unique(kind[amount > 0]):
        at = np.flatnonzero((kind == k) & (amount > 0))
        raw = PATTERNS[kinds[k]](points[:, at] * scale[at] + phase[at])
        fade = 1.0 / (1.0 + (2.0 * footprint[at] * scale[at]) ** 2)
        weight[at] = 0.4 + (raw - 0.4) * fade
    mixed = first + (second - first) * (weight * amount)
    return mixed**2.2
