"""Pictures: the colours mean what the legend says, and figures hold what they were given."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from mtlora_lite import viz
from mtlora_lite.photos import normalize
from mtlora_lite.tasks import TASKS, task_channels

SIZE = 128
CELL = 128  # pixels of a picture in a figure of the usual size at 100 dots per inch


def pixels(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100, format="png")
    return np.asarray(Image.open(buffer).convert("RGB")).astype(int)


def constant_targets(count=2):
    shape = (count, 1, SIZE, SIZE)
    return {
        "semseg": torch.full(shape, 15, dtype=torch.uint8),
        "human_parts": torch.full(shape, 2, dtype=torch.uint8),
        "sal": torch.ones(shape, dtype=torch.uint8),
        "normals": torch.tensor([0.6, 0.0, 0.8]).view(1, 3, 1, 1).expand(count, 3, SIZE, SIZE),
        "edge": torch.zeros(shape, dtype=torch.uint8),
        "depth": torch.full(shape, 4.0),
    }


def logits_of(targets):
    """Logits of which the reading is the target."""
    result = {}
    for task, channels in task_channels(targets).items():
        target = targets[task].float()
        if TASKS[task].target == "classes":
            target = 9.0 * (torch.arange(channels).view(1, -1, 1, 1) == target)
        elif TASKS[task].target == "binary":
            target = 40 * target - 20
        result[task] = 3 * target if TASKS[task].target == "directions" else target
    return result


def test_reading_logits_gives_what_a_target_holds():
    targets = constant_targets()
    for task, logits in logits_of(targets).items():
        values = viz.read_logits(task, logits)
        assert values.shape == targets[task].shape
        torch.testing.assert_close(values.float(), targets[task].float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("task", "values", "color"),
    [
        ("semseg", np.array([[15]]), (192, 128, 128)),
        ("human_parts", np.array([[1]]), (238, 102, 119)),
        ("sal", np.array([[1]]), (255, 255, 255)),
        ("edge", np.array([[0.2]]), (51, 51, 51)),
        ("normals", np.array([[[0.0, 0.0, 1.0]]]), (128, 128, 255)),
        ("normals", np.array([[[-1.0, 0.0, 0.0]]]), (0, 128, 128)),
    ],
)
def test_colors(task, values, color):
    assert viz.colorize(task, values).tolist() == [[list(color)]]


def test_near_is_brighter_than_far_and_the_range_is_kept():
    picture = viz.colorize("depth", np.geomspace(1, 50, 30)[None], (1, 50)).astype(int).sum(-1)[0]
    assert (np.diff(picture) <= 0).mean() > 0.9
    assert picture[0] - picture[-1] > 200
    outside = viz.colorize("depth", np.array([[0.1, 1.0, 50.0, 200.0]]), (1, 50))[0]
    assert outside[0].tolist() == outside[1].tolist()
    assert outside[2].tolist() == outside[3].tolist()


@pytest.mark.parametrize("task", [task for task, row in TASKS.items() if row.target != "binary"])
def test_what_has_no_label_is_striped_in_colors_of_no_task(task):
    target = constant_targets()[task][0].clone()
    target[:, :64] = 255
    picture = viz.colorize(task, target)
    stripes = {tuple(color) for color in picture[:64].reshape(-1, 3).tolist()}
    assert stripes == set(viz.STRIPES)
    assert not stripes & {tuple(color) for color in picture[64:].reshape(-1, 3).tolist()}
    everything = viz.colorize(task, torch.full_like(target, 255))
    assert {tuple(color) for color in everything.reshape(-1, 3).tolist()} == set(viz.STRIPES)


def test_tensors_and_arrays_look_the_same():
    for task, target in constant_targets(1).items():
        array = target[0].permute(1, 2, 0).numpy()
        array = array[..., 0] if array.shape[-1] == 1 else array
        np.testing.assert_array_equal(viz.colorize(task, target[0], (1, 9)), viz.colorize(task, array, (1, 9)))


def test_a_grid_shows_each_map_in_its_place():
    targets = constant_targets()
    images = normalize(torch.full((2, 3, SIZE, SIZE), 77, dtype=torch.uint8))
    shown = pixels(viz.prediction_grid(images, logits_of(targets), targets))
    top, left = 60 + CELL // 2, 10 + CELL // 2
    for row in range(2):
        y = top + row * (CELL + 3)
        assert shown[y, left].tolist() == [77, 77, 77]
        for column, (task, target) in enumerate(targets.items()):
            x = left + CELL + 26 + column * (2 * CELL + 3 + 26)
            expected = viz.colorize(task, target[row], viz.depth_limits(targets["depth"]))[0, 0]
            np.testing.assert_allclose(shown[y, x], expected, atol=1, err_msg=f"label of {task}")
            np.testing.assert_allclose(shown[y, x + CELL + 3], expected, atol=1, err_msg=f"prediction of {task}")


def test_a_grid_may_lack_labels_predictions_or_tasks():
    targets = constant_targets(1)
    images = torch.zeros(1, 3, SIZE, SIZE)
    both = viz.prediction_grid(images, logits_of(targets), targets).get_size_inches()[0]
    labels = viz.prediction_grid(images, None, targets).get_size_inches()[0]
    predictions = viz.prediction_grid(images, logits_of(targets)).get_size_inches()[0]
    assert labels == predictions == pytest.approx(both - 6 * 1.31)
    squeezed = {task: target[:, 0] if target.shape[1] == 1 else target for task, target in targets.items()}
    assert viz.prediction_grid(images, None, squeezed, tasks=["sal"]).get_size_inches()[0] < 3.2
    with pytest.raises(ValueError, match="no target of edge"):
        viz.prediction_grid(images, None, {"sal": targets["sal"]}, tasks=["sal", "edge"])
    with pytest.raises(ValueError, match="No task given"):
        viz.prediction_grid(images)


def test_figures_are_made_in_threads_and_without_pyplot(tmp_path):
    targets = constant_targets(1)
    images = torch.zeros(1, 3, SIZE, SIZE)
    with ThreadPoolExecutor(2) as pool:
        figures = list(pool.map(lambda _: viz.prediction_grid(images, None, targets), range(2)))
    paths = [viz.save_png(figure, tmp_path / "new" / f"{i}.png") for i, figure in enumerate(figures)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    from matplotlib import pyplot

    assert not pyplot.get_fignums()


def test_a_stored_picture_keeps_the_colours_of_small_patches():
    """A legend's patch is a hundredth of a percent of what the colours are chosen for, and is not to be lost."""
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    light = np.random.default_rng(0).normal(1, 0.2, (300, 600, 1))  # a photograph: a sky over earth, finely shaded
    shades = np.clip(light * np.where(np.arange(300)[:, None, None] < 150, (0.5, 0.6, 0.8), (0.6, 0.5, 0.4)), 0, 1)
    figure = Figure(figsize=(6, 3), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(shades)
    axes.set_axis_off()
    patches = {(5 + 20 * i, 5): color for i, color in enumerate(("#800000", "#004000", "#808000", "#117733"))}
    for (x, y), color in patches.items():
        axes.add_patch(Rectangle((x, y), 12, 8, facecolor=color))
    stored = viz.picture(figure, dpi=100, colors=128)
    seen = np.asarray(Image.open(io.BytesIO(stored.data)).convert("RGB")).astype(int)[10:, 10:]  # within the margin
    for (x, y), color in patches.items():
        wanted = np.round(255 * np.array(to_rgb(color))).astype(int)
        assert np.abs(seen[y + 4, x + 6] - wanted).max() <= 40, color
