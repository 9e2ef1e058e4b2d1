"""The BSDS boundary benchmark for one image: thin the predicted edges, match them with the true ones one to one.

A soft edge map is reduced to its ridges (non-maximum suppression). At each threshold the ridges that exceed it are
thinned, and matched one to one with the true edge pixels within a tolerance. How many find a partner at each
threshold is all that ``odsF`` and ``oisF`` are made of.

Source: Martin, Fowlkes, Malik, "Learning to detect natural image boundaries", PAMI 2004, section 3 and appendix B.
The benchmark solves a sparse assignment problem in which staying alone costs far more than any distance; the number
of pairs in its solution is that of a maximum matching, which is found here exactly.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np
from scipy import ndimage

THRESHOLDS = np.arange(1, 100) / 100  # the benchmark's 0.01 ... 0.99
ORIENTATION_SCALE = 2.0  # pixels; the standard deviation of the Gaussian under which a ridge's direction is read
RIDGE_SLACK = 1.01  # a ridge may be this factor below its neighbours, or saturated edges would fall apart


def boundary_counts(probability: np.ndarray, truth: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Count predicted, true and matched edge pixels of one image.

    Args:
        probability: (H, W), 0 to 1.
        truth: (H, W), bool. It is thinned too: enlarging a label doubles pixels that no line could match one to one.
        tolerance: the distance over which pixels match, as a share of the image's diagonal.

    Returns:
        Matched and predicted pixels at each of ``THRESHOLDS``, (thresholds,) each, and the number of true pixels.
    """
    level = np.searchsorted(THRESHOLDS, ridges(probability.astype(float)), side="right")  # (H, W), thresholds reached
    pixels, present = thin(level, len(THRESHOLDS))  # (N, 2), (N, thresholds)
    true_pixels, _ = thin(truth.astype(int), 1)
    radius = tolerance * np.hypot(*truth.shape)
    neighbours = _pixels_within(radius, pixels, true_pixels, truth.shape)
    near = np.isin(np.arange(len(pixels)), list(neighbours))
    # From the highest threshold down, because there pixels mostly come and seldom go.
    sets = (set(np.flatnonzero(near & column).tolist()) for column in present.T[::-1])
    matched = np.fromiter(matching_sizes(neighbours, sets), int)[::-1]
    return matched, present.sum(0), len(true_pixels)


def ridges(probability: np.ndarray) -> np.ndarray:
    """Return ``probability`` (H, W) where no neighbour across the edge exceeds it, and 0 elsewhere.

    Across an edge the map curves down most: that is the direction of the Hessian's smallest eigenvalue.
    """
    yy, xy, xx = (
        ndimage.gaussian_filter(probability, ORIENTATION_SCALE, order, mode="nearest")
        for order in ((2, 0), (1, 1), (0, 2))
    )
    angle = (np.arctan2(2 * xy, xx - yy) + np.pi) / 2  # (H, W), from the x axis
    y, x = np.indices(probability.shape)
    neighbours = (
        ndimage.map_coordinates(
            probability, (y + side * np.sin(angle), x + side * np.cos(angle)), order=1, mode="nearest"
        )
        for side in (-1, 1)
    )
    return np.where(RIDGE_SLACK * probability >= np.maximum(*neighbours), probability, 0)


def thin(level: np.ndarray, maps: int) -> tuple[np.ndarray, np.ndarray]:
    """Thin the nested binary maps ``level > 0``, ``level > 1``, ... to lines of one pixel.

    All maps are thinned at once, each as one bit of the pixels' bytes, which takes no longer than thinning a few.

    Source: Guo and Hall, "Parallel thinning with two-subiteration algorithms", CACM 1989, algorithm A1.

    Returns:
        The pixels left in any map, (N, 2), and in which, (N, maps) bool.
    """
    padded = np.pad(level, 1)
    pixels = np.flatnonzero(padded)
    bits = np.zeros((padded.size, -(-maps // 8)), np.uint8)
    bits[pixels] = np.packbits(np.arange(maps) < padded.ravel()[pixels, None], axis=1)
    row = padded.shape[1]
    around = np.array([[1], [1 - row], [-row], [-row - 1], [-1], [row - 1], [row], [row + 1]])
    active = pixels
    while len(active):
        changed = []
        for turn in (0, 4):  # from one side, then from the opposite one
            removed = bits[active] & _removable(*np.roll(bits[active + around], turn, axis=0))
            bits[active] ^= removed
            changed.append(active[removed.any(axis=1)])
        # What could not be removed stays so until one of its neighbours is.
        touched = np.unique(np.concatenate(changed) + around)
        active = touched[bits[touched].any(axis=1)]
    present = np.unpackbits(bits[pixels], axis=1, count=maps).astype(bool)
    left = present.any(axis=1)
    return np.stack(np.unravel_index(pixels[left], padded.shape), axis=1) - 1, present[left]


def _removable(e, ne, n, nw, w, sw, s, se) -> np.ndarray:
    """Bits that Guo and Hall's first subiteration removes, from those of the eight neighbours (N, bytes each)."""
    runs = ~e & (ne | n), ~n & (nw | w), ~w & (sw | s), ~s & (se | e)  # where a run of neighbours begins
    pairs, shifted_pairs = (e | ne, n | nw, w | sw, s | se), (ne | n, nw | w, sw | s, se | e)
    connects_nothing = np.bitwise_xor.reduce(runs) & ~_two_of(*runs)  # exactly one run
    is_no_end = _two_of(*pairs) & _two_of(*shifted_pairs)
    has_room = ~(np.bitwise_and.reduce(pairs) & np.bitwise_and.reduce(shifted_pairs))
    return connects_nothing & is_no_end & has_room & ~(e & (ne | n | ~se))


def _two_of(a, b, c, d) -> np.ndarray:
    """Bits that at least two of the four hold."""
    return (a & b) | (c & d) | ((a | b) & (c | d))


def _pixels_within(radius: float, pixels: np.ndarray, true_pixels: np.ndarray, shape) -> dict[int, list[int]]:
    """``{number of a predicted pixel: numbers of the true ones within the radius, the nearest first}``."""
    reach = int(radius)
    offsets = np.argwhere(np.ones((2 * reach + 1,) * 2)) - reach
    squares = (offsets**2).sum(1)
    order = np.argsort(squares, kind="stable")
    offsets = offsets[order[squares[order] <= radius**2]]  # (offsets, 2)
    number = np.full(np.add(shape, 2 * reach), -1)
    number[tuple(pixels.T + reach)] = np.arange(len(pixels))
    found = number[tuple((true_pixels + offsets[:, None] + reach).transpose(2, 0, 1))]  # (offsets, true pixels)
    neighbours: dict[int, list[int]] = {}
    which, true = np.nonzero(found >= 0)
    for pixel, neighbour in zip(found[which, true].tolist(), true.tolist(), strict=True):
        neighbours.setdefault(pixel, []).append(neighbour)
    return neighbours


def matching_sizes(neighbours: Mapping[int, Collection[int]], sets: Iterable[set[int]]) -> Iterator[int]:
    """Yield the size of a maximum matching for each set of predicted pixels, each starting from the one before.

    Source: Kuhn 1955; a search that fails has seen pixels that no later search of the same set can use either.
    """
    reachable = len(set().union(*neighbours.values()))
    owner: dict[int, int] = {}  # of a true pixel
    partner: dict[int, int] = {}  # of a predicted pixel
    for present in sets:
        for gone in partner.keys() - present:
            del owner[partner.pop(gone)]
        closed: set[int] = set()  # true pixels from which no free one can be reached
        for pixel in present - partner.keys():
            if len(partner) == reachable:
                break
            _find_partner(pixel, neighbours, owner, partner, closed)
        yield len(partner)


def _find_partner(pixel: int, neighbours, owner: dict[int, int], partner: dict[int, int], closed: set[int]) -> None:
    """Match one more pixel if any exchange of partners allows it; breadth first, so that few have to change."""
    reached: dict[int, int] = {}  # true pixel -> the predicted pixel it was reached from
    frontier = [pixel]
    while frontier:
        following = []
        for current in frontier:
            for true in neighbours[current]:
                if true in reached or true in closed:
                    continue
                reached[true] = current
                if true not in owner:
                    _exchange(true, reached, owner, partner)
                    return
                following.append(owner[true])
        frontier = following
    closed.update(reached)


def _exchange(true: int | None, reached: dict[int, int], owner: dict[int, int], partner: dict[int, int]) -> None:
    """Hand a free true pixel back along the path on which it was reached; each pixel passes on the one it had."""
    while true is not None:
        pixel = reached[true]
        owner[true] = pixel
        partner[pixel], true = true, partner.get(pixel)
