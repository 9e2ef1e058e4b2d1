"""The BSDS benchmark: its parts against scikit-image and dense assignment, its scores on drawings known by heart."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, label
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from skimage.draw import line
from skimage.morphology import thin as thin_one

from mtlora_lite.metrics import build_metrics
from mtlora_lite.metrics.boundary import THRESHOLDS, boundary_counts, matching_sizes, ridges, thin

SIZE = (40, 56)


def scribbles(seed: int, lines: int = 5, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Thin true edges, and a soft map that finds them one pixel or two aside, some not, and some that are none."""
    rng = np.random.default_rng(seed)
    truth, drawn = np.zeros(size, bool), np.zeros(size)
    for number in range(lines):
        (a, b), (c, d) = ends = rng.integers(0, size, (2, 2))
        truth[line(a, b, c, d)] = number > 0
        (a, b), (c, d) = np.clip(ends + rng.integers(-2, 3, 2), 0, np.array(size) - 1)
        drawn[line(a, b, c, d)] = rng.uniform(0.3, 1)
    soft = gaussian_filter(drawn, 1.0) * 2 + gaussian_filter(rng.normal(size=size), 1.5) * 0.15
    return thin_one(truth), np.clip(soft, 0, 1)


def assigned(predicted: np.ndarray, truth: np.ndarray, radius: float) -> int:
    """Pairs in the benchmark's own problem, solved densely: the distances, and staying alone at 100 radii."""
    distance = cdist(np.argwhere(predicted), np.argwhere(truth))
    rows, columns = distance.shape
    cost = np.full((rows + columns, rows + columns), 0.0)
    cost[:rows, :columns] = np.where(distance <= radius, distance, 1e9)
    cost[:rows, columns:] = cost[rows:, :columns] = 100 * radius
    chosen, partners = linear_sum_assignment(cost)
    return int(((chosen < rows) & (partners < columns)).sum())


# --- the parts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_thinning_all_maps_at_once_equals_thinning_each(seed):
    rng = np.random.default_rng(seed)
    level = np.digitize(gaussian_filter(rng.normal(size=SIZE), 1.5), np.linspace(-0.4, 0.4, 11))  # 11 nested maps
    pixels, present = thin(level, 11)
    for number, column in enumerate(present.T):
        thinned = np.zeros(SIZE, bool)
        thinned[tuple(pixels[column].T)] = True
        assert np.array_equal(thinned, thin_one(level > number))


@pytest.mark.parametrize("seed", range(3))
def test_matching_stays_maximum_while_pixels_come_and_go(seed):
    rng = np.random.default_rng(seed)
    possible = rng.random((40, 25)) < 0.08
    neighbours = {pixel: np.flatnonzero(row).tolist() for pixel, row in enumerate(possible)}
    sets = [set(np.flatnonzero(rng.random(40) < share).tolist()) for share in (0.2, 0.5, 0.9, 0.6, 1.0, 0.0, 0.7)]
    expected = []
    for present in sets:
        rows = possible[sorted(present)]
        expected.append(rows[linear_sum_assignment(rows, maximize=True)].sum())
    assert list(matching_sizes(neighbours, sets)) == expected


@pytest.mark.parametrize("degrees", [0, 20, 45, 70, 90, 135])
def test_ridges_are_the_middle_of_a_broad_line(degrees):
    y, x = np.indices((41, 41)) - 20
    across = x * np.sin(np.radians(degrees)) + y * np.cos(np.radians(degrees))
    left = ridges(np.exp(-0.5 * (across / 3) ** 2)) > 0.5
    inside = np.hypot(x, y) < 15
    assert np.abs(across[left & inside]).max() <= 1
    pieces, count = label(left & inside, np.ones((3, 3)))
    assert count == 1
    assert np.hypot(*np.ptp(np.argwhere(pieces), axis=0)) > 27


# --- one image -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_counts_equal_the_benchmarks_assignment_problem(seed):
    truth, soft = scribbles(seed)
    tolerance = 0.04
    matched, drawn, lines = boundary_counts(soft, truth, tolerance)
    assert lines == truth.sum()
    for index in range(4, len(THRESHOLDS), 13):
        predicted = thin_one(ridges(soft) >= THRESHOLDS[index])
        assert drawn[index] == predicted.sum()
        assert matched[index] == assigned(predicted, truth, tolerance * np.hypot(*SIZE))
    assert ((matched > 0) & (matched < np.minimum(drawn, lines))).any()  # otherwise this image would show nothing


@pytest.mark.parametrize(("shift", "share"), [(0, 1), (2, 1), (3, 0)])
def test_a_line_matches_within_the_tolerance_and_not_beyond(shift, share):
    truth = np.zeros((30, 40), bool)
    truth[5:25, 10] = True
    soft = 0.9 * np.roll(truth, shift, axis=1)
    matched, drawn, lines = boundary_counts(soft, truth, 0.04 + 1e-9)  # a diagonal of 50: two pixels
    assert lines == drawn[50] == 20
    assert matched[50] == 20 * share
    assert drawn[95] == matched[95] == 0


def test_a_true_pixel_is_matched_once():
    """Two lines beside one true line: half of them is right, however near they are."""
    truth = np.zeros((30, 40), bool)
    truth[5:25, 10] = True
    soft = np.roll(truth, 1, axis=1) * 0.9 + np.roll(truth, -1, axis=1) * 0.9
    matched, drawn, _ = boundary_counts(soft, truth, 0.04)
    assert drawn[50] == 40
    assert matched[50] == 20


def test_an_enlarged_label_is_one_pixel_wide_again():
    truth = np.zeros((30, 40), bool)
    truth[10, 5:35] = True
    _, _, lines = boundary_counts(np.zeros(SIZE), truth.repeat(2, axis=0), 0.01)
    assert 28 <= lines <= 30


# --- the meter -------------------------------------------------------------------------------------------------------


def boundary_scores(probabilities: list, truths: list, dataset: str = "pascal", batch: int = 8) -> dict[str, float]:
    metrics = build_metrics(["edge"], dataset, "standard", boundary=True)
    logits = torch.tensor(np.stack(probabilities))[:, None].logit(eps=1e-6)
    target = torch.tensor(np.stack(truths))[:, None]
    for start in range(0, len(logits), batch):
        part = slice(start, start + batch)
        metrics.update({"edge": logits[part]}, {"edge": target[part]})
    return metrics.compute()["edge"]


def test_scores_add_up_the_images():
    truths, softs = zip(*map(scribbles, range(5)), strict=True)
    counts = [boundary_counts(soft, truth, 0.0075) for truth, soft in zip(truths, softs, strict=True)]
    matched, drawn, lines = (np.stack(column) for column in zip(*counts, strict=True))  # (images, thresholds) each
    lines = lines[:, None]
    own = (2 * matched / (drawn + lines)).argmax(1)[:, None]
    own_matched, own_drawn = (np.take_along_axis(counts, own, 1).sum() for counts in (matched, drawn))
    scores = boundary_scores(softs, truths, batch=2)
    assert scores["odsF"] == pytest.approx(100 * (2 * matched.sum(0) / (drawn.sum(0) + lines.sum())).max())
    assert scores["oisF"] == pytest.approx(100 * 2 * own_matched / (own_drawn + lines.sum()))
    assert scores["odsF"] < scores["oisF"] < 100


def test_each_image_has_a_threshold_of_its_own_in_ois():
    """Right at 0.4 over wrong at 0.2, and right at 0.9 over wrong at 0.7: no one threshold serves both images."""
    truth = np.zeros(SIZE, bool)
    truth[5:35, 10] = True
    wrong = np.roll(truth, 25, axis=1)
    scores = boundary_scores([0.4 * truth + 0.2 * wrong, 0.9 * truth + 0.7 * wrong], [truth, truth])
    assert scores["oisF"] == 100
    assert scores["odsF"] == pytest.approx(100 * 2 * 60 / (90 + 60))


def test_perfect_diverged_and_empty():
    truth, _ = scribbles(0)
    assert boundary_scores([truth * 1.0], [truth])["odsF"] == 100
    assert boundary_scores([np.full(SIZE, np.nan)], [truth])["odsF"] == 0
    nothing = boundary_scores([truth * 1.0], [np.zeros(SIZE, bool)])
    assert math.isnan(nothing["odsF"])
    assert math.isnan(nothing["oisF"])


def test_an_image_without_edges_costs_ois_nothing_where_nothing_is_drawn():
    truth, _ = scribbles(0)
    scores = boundary_scores([truth * 1.0, np.full(SIZE, 0.3)], [truth, np.zeros(SIZE, bool)])
    assert scores["oisF"] == 100


def test_nyud_tolerates_more():
    truth = np.zeros((200, 200), bool)  # a diagonal of 283 pixels: 2.1 and 3.1 of them
    truth[20:180, 100] = True
    soft = 0.9 * np.roll(truth, 3, axis=1)
    assert boundary_scores([soft], [truth], "pascal")["odsF"] == 0
    assert boundary_scores([soft], [truth], "nyud")["odsF"] == 100


def test_reset_forgets_images_under_way():
    truth, soft = scribbles(0)
    metrics = build_metrics(["edge"], boundary=True)
    target = {"edge": torch.tensor(truth)[None, None]}
    metrics.update({"edge": torch.tensor(soft)[None, None].logit(eps=1e-6)}, target)
    metrics.reset()
    metrics.update({"edge": torch.where(target["edge"], 9.0, -9.0)}, target)
    assert metrics.compute()["edge"]["odsF"] == 100
