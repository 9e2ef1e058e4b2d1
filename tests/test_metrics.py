"""Metrics against independent references: the reference numbers, torchmetrics' own classes, loops in numpy."""

import json
import math
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.ndimage import binary_dilation
from torchmetrics.classification import BinaryFBetaScore, MulticlassJaccardIndex
from torchmetrics.regression import MeanSquaredError

from mtlora_lite.metrics import PROTOCOLS, MetricSet, build_metrics, delta_m, headline, headline_names
from mtlora_lite.metrics.binary import FAMILY_THRESHOLDS, PAPER_LOSS
from mtlora_lite.tasks import IGNORE_INDEX, TASKS

FIXTURES = Path(__file__).parents[1].parent / "shared" / "fixtures" / "metrics"
needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the reference numbers are not beside this checkout")
TWICE = "maxF (paper's Beta maxF: sigmoid twice)"
MEAN_F = "maxF (paper's maxF: F1 of the images' mean precision and recall)"


def fixture_metrics(name: str, task: str, dataset: str = "pascal", protocol: str = "paper") -> MetricSet:
    """Our meter after one reference meter's three batches."""
    data = load_file(FIXTURES / "data.safetensors")
    metrics = build_metrics([task], dataset, protocol)
    for i in range(3):
        metrics.update({task: data[f"{name}.logits.{i}"]}, {task: data[f"{name}.label.{i}"]})
    return metrics


def fixture_scores(name: str, task: str, dataset: str = "pascal", protocol: str = "paper") -> dict[str, float]:
    return fixture_metrics(name, task, dataset, protocol).compute()[task]


def expected_scores() -> dict:
    return json.loads((FIXTURES / "expected.json").read_text())


def random_batch(batch: int = 3, size: tuple[int, int] = (20, 24), seed: int = 0) -> tuple[dict, dict]:
    """Predictions that are somewhat right, and targets of all tasks with some pixels ignored."""
    rng = np.random.default_rng(seed)
    shape = (batch, 1, *size)
    normals = rng.normal(size=(batch, 3, *size)) + np.array([0, 0, 2]).reshape(1, 3, 1, 1)
    targets = {
        "semseg": rng.integers(0, 21, shape),
        "human_parts": rng.integers(0, 7, shape),
        "sal": (rng.random(shape) < 0.4).astype(np.uint8),
        "normals": normals / np.linalg.norm(normals, axis=1, keepdims=True),
        "edge": (rng.random(shape) < 0.05).astype(np.uint8),
        "depth": rng.uniform(1, 5, shape),
    }
    logits = {key: rng.normal(size=(batch, task.channels, *size)) for key, task in TASKS.items()}
    for key in ("semseg", "human_parts"):
        logits[key] += 2 * (targets[key] == np.arange(TASKS[key].channels).reshape(1, -1, 1, 1))
    for key in ("sal", "edge"):
        logits[key] += 2 * targets[key] - 1.0
    logits["normals"] = logits["normals"] * 0.3 + targets["normals"] * 2
    logits["depth"] = targets["depth"] + 0.3 * logits["depth"]
    for key in ("semseg", "human_parts", "normals", "depth"):
        targets[key][:, :, :3] = IGNORE_INDEX
    return {k: torch.tensor(v).float() for k, v in logits.items()}, {k: torch.tensor(v) for k, v in targets.items()}


def score(logits: dict, targets: dict, tasks=tuple(TASKS), protocol: str = "standard") -> dict:
    metrics = build_metrics(tasks, protocol=protocol)
    metrics.update(logits, targets)
    return metrics.compute()


# --- the reference numbers -------------------------------------------------------------------------------------------


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "task", "dataset"),
    [("semseg21", "semseg", "pascal"), ("semseg40", "semseg", "nyud"), ("human_parts", "human_parts", "pascal")],
)
def test_class_scores_agree_with_the_reference(name, task, dataset):
    expected = expected_scores()["official"][name]
    scores = fixture_scores(name, task, dataset)
    assert scores.pop("mIoU") == pytest.approx(100 * expected["mIoU"])
    assert list(scores.values()) == pytest.approx([100 * iou for iou in expected["jaccards_all_categs"]])


@needs_fixtures
def test_standard_protocol_leaves_absent_classes_out_of_the_mean():
    paper = fixture_scores("semseg21", "semseg")
    standard = fixture_scores("semseg21", "semseg", protocol="standard")
    assert [name for name, value in standard.items() if math.isnan(value)] == ["IoU/sheep"]  # class 17
    assert standard["mIoU"] == pytest.approx(paper["mIoU"] * 21 / 20)


@needs_fixtures
def test_saliency_agrees_with_the_reference():
    expected = expected_scores()
    official, honest = expected["official"]["sal"], expected["true_sal_beta_maxF_numpy_float64"]
    scores = fixture_scores("sal", "sal")
    assert scores["mIoU"] == pytest.approx(100 * official["mIoU"])
    assert scores["mIoU@0.5"] == pytest.approx(100 * official["detail_no_beta"]["mIoU_per_threshold"][6])
    assert scores["maxF"] == pytest.approx(100 * honest["maxF"])
    assert scores[TWICE] == pytest.approx(100 * official["Beta maxF"])
    assert scores[MEAN_F] == pytest.approx(100 * official["maxF"])


@needs_fixtures
def test_saliency_agrees_with_the_reference_at_every_threshold_and_image():
    detail = expected_scores()["official"]["sal"]["detail_no_beta"]
    meter = fixture_metrics("sal", "sal").meters["sal"]
    assert (100 * meter.iou / meter.images)[FAMILY_THRESHOLDS].tolist() == pytest.approx(
        [100 * iou for iou in detail["mIoU_per_threshold"]]
    )
    precision, recall = ((mean / meter.images)[FAMILY_THRESHOLDS] for mean in (meter.precision, meter.recall))
    mean_f = 2 * precision * recall / (precision + recall)
    assert mean_f.tolist() == pytest.approx(detail["F_per_threshold"])
    data = load_file(FIXTURES / "data.safetensors")
    logits, labels = (torch.cat([data[f"sal.{kind}.{i}"] for i in range(3)]) for kind in ("logits", "label"))
    for image, expected in enumerate(detail["jaccard_per_image_and_threshold"]):
        meter.reset()
        meter.update(logits[image : image + 1], labels[image : image + 1])
        assert meter.iou[FAMILY_THRESHOLDS].tolist() == pytest.approx(expected)


@needs_fixtures
def test_one_image_at_a_time_is_no_image_per_row():
    """Where the released code takes the rows of a single image for images, we score what it does in pairs."""
    expected = expected_scores()["sal_batch_of_one_oddity"]["official_same_image_twice"]
    data = load_file(FIXTURES / "data.safetensors")
    logits, label = data["sal.logits.1"][2:3], data["sal.label.1"][2:3]
    for copies in (1, 2):
        pair = [{"sal": maps.repeat(copies, 1, 1, 1)} for maps in (logits, label)]
        scores = score(*pair, tasks=["sal"], protocol="paper")["sal"]
        assert [scores[name] for name in ("mIoU", TWICE, MEAN_F)] == pytest.approx(
            [100 * expected[name] for name in ("mIoU", "Beta maxF", "maxF")]
        )


@needs_fixtures
def test_normals_agree_with_the_reference():
    expected = expected_scores()
    honest, official = expected["true_normals_numpy_float64"], expected["official"]["normals"]
    metrics = fixture_metrics("normals", "normals")
    scores = metrics.compute()["normals"]
    assert metrics.meters["normals"].pixels == honest["n_valid_pixels"] == official["valid_pixels"]["v1"]
    assert scores["mean"] == pytest.approx(honest["mean"], rel=1e-6)
    assert scores["rmse"] == pytest.approx(honest["rmse"], rel=1e-6)
    assert scores["median"] == pytest.approx(honest["median"], abs=1e-3)
    for limit in ("11.25", "22.5", "30"):
        assert scores[f"within_{limit}"] == pytest.approx(honest[f"within_{limit}_percent"])
        assert scores[f"within_{limit}"] == pytest.approx(official["detail_v1"][limit], rel=1e-3)
    # The released meters' own rounding (v1) is wider than ours.
    misnamed = scores["rmse (paper's name for mean)"]
    assert misnamed == pytest.approx(official["rmse_v2"], rel=1e-6) == pytest.approx(official["mean_v2"])
    assert misnamed == pytest.approx(official["rmse"], rel=1e-4) == pytest.approx(official["mean"], rel=1e-4)


@needs_fixtures
def test_depth_agrees_with_the_reference():
    expected = expected_scores()["official"]["depth"]
    metrics = fixture_metrics("depth", "depth")
    scores = metrics.compute()["depth"]
    assert metrics.meters["depth"].pixels == expected["n_valid"]
    assert scores["rmse"] == pytest.approx(expected["rmse"], rel=1e-6)
    assert scores["log_rmse"] == pytest.approx(expected["log_rmse"], rel=1e-6)


@needs_fixtures
def test_edges_have_the_references_only_score():
    expected = expected_scores()["official"]["edge"]
    assert fixture_scores("edge", "edge")[PAPER_LOSS] == pytest.approx(expected["loss"], rel=1e-6)


# --- independent references ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["semseg", "human_parts"])
def test_miou_equals_torchmetrics(task):
    logits, targets = random_batch()
    reference = MulticlassJaccardIndex(TASKS[task].channels, ignore_index=IGNORE_INDEX)
    value = reference(logits[task], targets[task][:, 0]).item()
    assert score(logits, targets)[task]["mIoU"] == pytest.approx(100 * value, rel=1e-5)


def test_saliency_f_and_mae_equal_torchmetrics_and_numpy():
    logits, targets = random_batch()
    probability = logits["sal"].sigmoid()
    best = max(BinaryFBetaScore(0.3**0.5, step / 20)(probability, targets["sal"]).item() for step in range(1, 20))
    scores = score(logits, targets)["sal"]
    assert scores["maxF"] == pytest.approx(100 * best, rel=1e-5)
    assert scores["MAE"] == pytest.approx(np.abs(probability.numpy() - targets["sal"].numpy()).mean(), rel=1e-5)


def test_saliency_iou_of_empty_images():
    """Empty and predicted empty is 1, empty but predicted full is 0: on average one half at every threshold."""
    logits = torch.cat([torch.full((1, 1, 8, 8), -9.0), torch.full((1, 1, 8, 8), 9.0)])
    scores = score({"sal": logits}, {"sal": torch.zeros(2, 1, 8, 8)}, tasks=["sal"], protocol="paper")["sal"]
    assert scores["mIoU"] == scores["mIoU@0.5"] == 50
    assert math.isnan(scores["maxF"])  # no positive has been seen


@pytest.mark.parametrize(("negative", "positive", "expected"), [(0.01, 0.1, 0), (0.91, 0.97, 25), (0.1, 0.22, 100)])
def test_saliency_thresholds_run_from_02_to_09(negative, positive, expected):
    """A split at 0.05 ... 0.15 or at 0.95 is not tried; a quarter of the pixels is salient."""
    salient = torch.zeros(1, 1, 8, 8)
    salient[..., :4, :4] = 1
    logits = torch.where(salient == 1, positive, negative).logit()
    assert score({"sal": logits}, {"sal": salient}, tasks=["sal"])["sal"]["mIoU"] == expected


def edge_reference(probability: np.ndarray, edge: np.ndarray) -> float:
    """The best F_1px by explicit dilation of every thresholded image."""
    square, best = np.ones((3, 3)), 0.0
    for step in range(1, 20):
        predicted = probability > np.float32(step / 20)
        right = sum((p & binary_dilation(e, square)).sum() for p, e in zip(predicted, edge, strict=True))
        found = sum((e & binary_dilation(p, square)).sum() for p, e in zip(predicted, edge, strict=True))
        if right:
            precision, recall = right / predicted.sum(), found / edge.sum()
            best = max(best, 2 * precision * recall / (precision + recall))
    return 100 * best


def test_edges_equal_explicit_dilation():
    logits, targets = random_batch()
    expected = edge_reference(logits["edge"].sigmoid()[:, 0].numpy(), targets["edge"][:, 0].numpy().astype(bool))
    assert score(logits, targets)["edge"]["F_1px"] == pytest.approx(expected)


@pytest.mark.parametrize(("shift", "expected"), [(0, 100), (1, 100), (2, 0)])
def test_edges_tolerate_one_pixel_and_no_more(shift, expected):
    edge = torch.zeros(1, 1, 9, 9)
    edge[..., 3] = 1
    logits = {"edge": 20 * edge.roll(shift, dims=-1) - 10}
    assert score(logits, {"edge": edge}, tasks=["edge"])["edge"]["F_1px"] == expected


def test_normals_equal_numpy():
    logits, targets = random_batch()
    prediction, truth = logits["normals"].double().numpy()[:, :, 3:], targets["normals"].numpy()[:, :, 3:]
    cosine = (prediction * truth).sum(1) / np.linalg.norm(prediction, axis=1)
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    scores = score(logits, targets)["normals"]
    assert scores["mean"] == pytest.approx(angle.mean(), rel=1e-5)
    assert scores["rmse"] == pytest.approx(np.sqrt((angle**2).mean()), rel=1e-5)
    assert scores["median"] == pytest.approx(np.median(angle), abs=1e-3)
    for limit in (11.25, 22.5, 30):
        assert scores[f"within_{limit}"] == pytest.approx(100 * (angle < limit).mean(), abs=1e-9)


def test_normals_at_the_ends_of_the_scale():
    """Right, opposite and undecided predictions are 0, 180 and 90 degrees off, to float precision."""
    truth = torch.nn.functional.normalize(torch.tensor([[0.3, -0.5, 0.7]]).T.view(1, 3, 1, 1).expand(1, 3, 4, 4), dim=1)
    for factor, angle in ((2.0, 0.0), (-0.1, 180.0), (0.0, 90.0)):
        scores = score({"normals": factor * truth}, {"normals": truth}, tasks=["normals"])["normals"]
        assert scores["mean"] == pytest.approx(angle, abs=1e-4)
        assert scores["median"] == pytest.approx(angle, abs=1e-3)


def test_depth_equals_torchmetrics_and_numpy():
    logits, targets = random_batch()
    prediction, truth = logits["depth"][:, :, 3:], targets["depth"][:, :, 3:].float()
    scores = score(logits, targets)["depth"]
    assert scores["rmse"] == pytest.approx(
        MeanSquaredError(squared=False)(prediction.flatten(), truth.flatten()).item(), rel=1e-5
    )
    ratio = torch.maximum(prediction / truth, truth / prediction).numpy()
    for power in (1, 2, 3):
        assert scores[f"delta{power}"] == pytest.approx(100 * (ratio < 1.25**power).mean())


# --- properties ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_batches_and_processes_only_add_up(protocol):
    """Image by image, as one batch, and as the sum of two processes' states: the same scores."""
    logits, targets = random_batch(batch=4)
    whole, single, *ranks = (build_metrics(TASKS, protocol=protocol) for _ in range(4))
    whole.update(logits, targets)
    for i in range(4):
        image = [{task: maps[task][i : i + 1] for task in TASKS} for maps in (logits, targets)]
        single.update(*image)
        ranks[i % 2].update(*image)
    for task in TASKS:
        first, second = (rank.meters[task] for rank in ranks)
        for name, reduction in first._reductions.items():
            setattr(first, name, reduction(torch.stack([getattr(first, name), getattr(second, name)])))
    expected = whole.compute()
    for task in TASKS:
        assert single.compute()[task] == pytest.approx(expected[task], rel=1e-6, nan_ok=True)
        assert ranks[0].compute()[task] == pytest.approx(expected[task], rel=1e-6, nan_ok=True)


def rank_scores(rank: int, rendezvous: Path) -> dict:
    """What one of two processes computes that have seen two and three of five images."""
    torch.distributed.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=2)
    logits, targets = random_batch(batch=5)
    metrics = build_metrics(TASKS, boundary=True)
    for i in range(rank, 5, 2):
        metrics.update(*({task: maps[task][i : i + 1] for task in TASKS} for maps in (logits, targets)))
    scores = metrics.compute()
    torch.distributed.destroy_process_group()
    return scores


def test_two_processes_agree_with_one(tmp_path):
    with ProcessPoolExecutor(2, get_context("fork")) as pool:
        ranks = list(pool.map(rank_scores, range(2), [tmp_path / "rendezvous"] * 2))
    whole = build_metrics(TASKS, boundary=True)
    whole.update(*random_batch(batch=5))
    for task, expected in whole.compute().items():
        for scores in ranks:
            assert scores[task] == pytest.approx(expected, rel=1e-6, nan_ok=True)


@pytest.mark.parametrize("task", ["semseg", "human_parts", "normals", "depth"])
def test_predictions_at_ignored_pixels_do_not_matter(task):
    logits, targets = random_batch()
    before = score(logits, targets)[task]
    logits[task][:, :, :3] = torch.randn_like(logits[task][:, :, :3])
    assert score(logits, targets)[task] == pytest.approx(before, nan_ok=True)


@pytest.mark.parametrize("task", ["semseg", "human_parts", "sal", "edge", "depth"])
def test_targets_without_their_channel_are_the_same(task):
    logits, targets = random_batch()
    expected = score(logits, targets)[task]
    flat = score(logits, {key: target[:, 0] for key, target in targets.items()}, tasks=[task])[task]
    assert flat == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("task", ["semseg", "human_parts", "normals", "depth"])
def test_nothing_valid_is_nan_and_an_ignored_batch_changes_nothing(task, protocol):
    logits, targets = random_batch()
    ignored = {task: torch.full_like(targets[task], IGNORE_INDEX)}
    metrics = build_metrics([task], protocol=protocol)
    metrics.update(logits, ignored)
    assert all(math.isnan(value) for value in metrics.compute()[task].values())
    metrics.update(logits, targets)
    assert metrics.compute()[task] == pytest.approx(score(logits, targets, [task], protocol)[task], nan_ok=True)
    metrics.reset()
    metrics.update(logits, ignored)
    assert all(math.isnan(value) for value in metrics.compute()[task].values())


@pytest.mark.parametrize("task", TASKS)
def test_a_diverged_model_scores_badly(task):
    logits, targets = random_batch()
    value = headline(score({task: torch.full_like(logits[task], torch.nan)}, targets, [task]))[task]
    assert math.isnan(value) or value < 10


def test_every_headline_metric_exists_and_only_the_paper_protocol_has_aliases():
    logits, targets = random_batch()
    standard, paper = (score(logits, targets, protocol=protocol) for protocol in ("standard", "paper"))
    assert set(headline(standard)) == set(TASKS)
    aliases = {name for task in TASKS for name in set(paper[task]) - set(standard[task])}
    assert aliases == {"rmse (paper's name for mean)", TWICE, MEAN_F, PAPER_LOSS}
    assert headline(standard) == pytest.approx(headline(paper))  # every class occurs in this batch


def test_the_headline_of_edges_is_the_best_score_that_was_asked_for():
    logits, targets = random_batch()
    metrics = build_metrics(["edge", "sal"], boundary=True)
    metrics.update(logits, targets)
    fast, full = score(logits, targets, ["edge", "sal"], "paper"), metrics.compute()
    assert headline_names(fast) == {"edge": "F_1px", "sal": "mIoU"}
    assert headline_names(full) == {"edge": "odsF", "sal": "mIoU"}
    assert headline(full) == {"edge": full["edge"]["odsF"], "sal": full["sal"]["mIoU"]}
    assert {name: full["edge"][name] for name in fast["edge"]} == fast["edge"]


def test_errors_name_what_is_wrong():
    logits, targets = random_batch()
    with pytest.raises(ValueError, match="semseg: the target holds the class 30, but there are only 21 classes"):
        score(logits, {"semseg": torch.full((3, 1, 20, 24), 30)}, tasks=["semseg"])
    with pytest.raises(ValueError, match="resize the prediction"):
        score(logits, {"depth": targets["depth"][..., ::2]}, tasks=["depth"])
    with pytest.raises(ValueError, match="No target for the task 'sal'"):
        score(logits, {"depth": targets["depth"]}, tasks=["sal"])
    with pytest.raises(ValueError, match=r"Unknown protocol 'papers'\. Did you mean 'paper'\? There are: paper, "):
        build_metrics(["sal"], protocol="papers")
    with pytest.raises(ValueError, match="Unknown data set 'coco'"):
        build_metrics(["sal"], dataset="coco")


# --- Δm --------------------------------------------------------------------------------------------------------------

SINGLE = {"semseg": 67.21, "human_parts": 61.93, "sal": 62.35, "normals": 17.97}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((68.19, 58.99, 64.48, 17.03), 1.35),  # MTLoRA, rank 16; its printed columns give 1.34
        ((67.90, 59.84, 65.40, 16.60), 2.55),  # rank 64
        ((67.56, 60.24, 65.21, 16.64), 2.45),  # full fine-tuning; the paper prints 2.23
        ((67.21, 61.93, 62.35, 17.97), 0.0),
    ],
)
def test_delta_m_of_the_papers_rows(row, expected):
    assert delta_m(dict(zip(SINGLE, row, strict=True)), SINGLE) == pytest.approx(expected, abs=0.0125)


def test_delta_m_by_hand():
    # Saliency 10 % better, depth error 30 % larger: worse.
    assert delta_m({"sal": 55.0, "depth": 1.3}, {"sal": 50.0, "depth": 1.0}) == pytest.approx((10 - 30) / 2)


@needs_fixtures
def test_delta_m_agrees_with_the_reference():
    compared = {
        "semseg": "mIoU",
        "human_parts": "mIoU",
        "sal": "mIoU",
        "normals": "mean",
        "depth": "rmse",
        "edge": "odsF",
    }
    for row in json.loads((FIXTURES / "delta_m.json").read_text())["rows"]:
        multi, single = ({t: v[compared[t]] for t, v in row[side].items()} for side in ("eval", "single_task"))
        assert delta_m(multi, single) == pytest.approx(100 * row["official_value"])


def test_delta_m_names_what_it_cannot_use():
    with pytest.raises(ValueError, match="in only one of them: normals"):
        delta_m({task: SINGLE[task] for task in ("semseg", "human_parts", "sal")}, SINGLE)
    with pytest.raises(ValueError, match="0 for sal"):
        delta_m(SINGLE, SINGLE | {"sal": 0.0})
