"""Training runs: what they write, that they repeat themselves, that they learn, and how they stop."""

import dataclasses
import json
import math
import warnings
from pathlib import Path

import pytest
import torch

import mtlora_lite as ml
from mtlora_lite.cli import main
from mtlora_lite.engine import (
    SCENES_WEIGHTS,
    TrainConfig,
    as_json,
    build_from_config,
    decay_groups,
    evaluate,
    loss_weights,
    lr_factor,
    train,
    validation_set,
)
from mtlora_lite.tasks import TASKS

SHARED = Path(__file__).parents[1].parent / "shared"
TINY = {
    "img_size": 64, "train_count": 12, "val_count": 6, "steps": 3, "batch_size": 4, "pretrained": False,
    "options": {"rank": 2, "task_rank": 2}, "decoder_options": {"expansion": 1},
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("cache")


def strict(text):
    """JSON as the standard has it, without NaN and Infinity."""
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


@pytest.fixture(scope="module")
def result(tmp_path_factory, cache):
    return train(TrainConfig(**TINY, out=tmp_path_factory.mktemp("runs") / "new" / "run"))


# ------------------------------------------------------------------------------------------------ what a run leaves


def test_the_run_can_be_read_from_its_folder(result):
    files = {path.relative_to(result.directory).as_posix() for path in result.directory.rglob("*") if path.is_file()}
    assert files == {"config.json", "log.jsonl", "metrics.json", "model/config.json", "model/model.safetensors"}
    config = strict((result.directory / "config.json").read_text())
    assert config == as_json(dataclasses.asdict(TrainConfig(**TINY, out=result.directory)))
    log = [strict(line) for line in (result.directory / "log.jsonl").read_text().splitlines()]
    assert log == result.log
    assert [set(record) for record in log] == [{"step", "lr", "total", *TASKS}] * 3
    for record in log:
        weights = {task: row.loss_weight for task, row in TASKS.items()} | SCENES_WEIGHTS
        assert record["total"] == pytest.approx(sum(weights[task] * record[task] for task in TASKS), rel=1e-5)
    assert strict((result.directory / "metrics.json").read_text())["metrics"] == as_json(result.metrics)


def test_the_saved_model_scores_what_the_run_says_in_batches_of_any_size(result):
    model = ml.MultiTaskModel.from_pretrained(result.directory / "model")
    data = validation_set(TrainConfig(**TINY))
    assert as_json(evaluate(model, data, batch_size=4)) == as_json(result.metrics)
    one_by_one = ml.headline(evaluate(model, data, batch_size=1))
    assert one_by_one == pytest.approx(ml.headline(result.metrics), rel=1e-3)


def test_the_command_line_trains_the_same_and_prints_the_scores(result, tmp_path, capsys):
    options = [f"--{key.replace('_', '-')}={value}" for key, value in TINY.items() if isinstance(value, int)]
    options = [option for option in options if "pretrained" not in option]
    own = ["--no-pretrained", "--options", "rank=2", "task_rank=2", "--decoder-options", "expansion=1"]
    assert main(["train", *options, *own, "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run/log.jsonl").read_text() == (result.directory / "log.jsonl").read_text()
    printed = capsys.readouterr().out
    for task, value in ml.headline(result.metrics).items():
        assert f"{value:.2f} {TASKS[task].unit}" in next(
            line for line in printed.splitlines() if line.startswith(TASKS[task].title)
        )
    assert f"predict PHOTO.jpg --checkpoint {tmp_path / 'run'}" in printed


# ------------------------------------------------------------------------------------------------------ how it trains


def test_the_seed_decides_everything(result, tmp_path):
    assert train(TrainConfig(**TINY, out=tmp_path / "again")).log == result.log
    other = train(TrainConfig(**TINY, out=tmp_path / "other", seed=1)).log
    assert all(other[step]["total"] != result.log[step]["total"] for step in range(3))


def test_losses_of_all_tasks_go_down(tmp_path):
    settings = TINY | {"train_count": 4, "steps": 30, "augment": (), "val_count": 1}
    log = train(TrainConfig(**settings, lr=5e-3, out=tmp_path)).log
    for key in ("total", *TASKS):
        first, last = (sum(record[key] for record in part) for part in (log[:3], log[-3:]))
        assert last < 0.9 * first, key


def test_loss_weights_are_the_recipes_unless_said_otherwise(tmp_path):
    assert loss_weights(TrainConfig(data="some/folder")) == {}
    assert loss_weights(TrainConfig(tasks=("sal", "edge"))) == {}
    assert loss_weights(TrainConfig(loss_weights={"sal": 2.0})) == SCENES_WEIGHTS | {"sal": 2.0}
    own = TINY | {"tasks": ("depth", "edge"), "loss_weights": {"depth": 3.0, "edge": 7.0}, "steps": 1}
    (record,) = train(TrainConfig(**own, out=tmp_path)).log
    assert record["total"] == pytest.approx(3 * record["depth"] + 7 * record["edge"], rel=1e-5)
    with pytest.raises(ValueError, match="Weights given for sal"):
        train(TrainConfig(**own | {"loss_weights": {"sal": 1.0}}, out=tmp_path))


def test_every_step_is_reported_as_it_happens(tmp_path):
    seen = []
    result = train(TrainConfig(**TINY, out=tmp_path), on_step=seen.append)
    assert seen == result.log


def test_weight_decay_is_for_trained_matrices():
    model = build_from_config(TrainConfig(**TINY))
    decayed, free = decay_groups(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    grouped = [[names[id(parameter)] for parameter in group["params"]] for group in (decayed, free)]
    assert sorted(grouped[0] + grouped[1]) == sorted(n for n, p in model.named_parameters() if p.requires_grad)
    assert "weight_decay" not in decayed
    assert free["weight_decay"] == 0
    assert all("lora_" not in name for name in grouped[1])
    assert {name.rsplit(".", 1)[-1] for name in grouped[1]} == {"weight", "bias"}
    assert all("norm" in n or n.endswith("bias") or ".head.1." in n for n in grouped[1])  # head.1: batch norm
    assert not any(name.endswith(".bias") for name in grouped[0])


def test_the_learning_rate_is_the_papers_scaled_to_the_run():
    """300 epochs of the paper: 20 of warm-up from 5e-7, a peak of 5e-4, down to 5e-6 (arXiv 2403.20320, sec. 4)."""
    factors = [lr_factor(epoch, 300) for epoch in range(301)]
    assert factors[0] == pytest.approx(5e-7 / 5e-4)
    assert factors[10] == pytest.approx((5e-7 / 5e-4 + 1) / 2)
    assert factors[20] == 1
    assert factors[160] == pytest.approx((1 + 5e-6 / 5e-4) / 2)
    assert factors[300] == pytest.approx(5e-6 / 5e-4)
    assert max(factors) == 1
    assert all(math.isfinite(lr_factor(step, steps)) for steps in (1, 2, 3) for step in range(steps + 1))


# ------------------------------------------------------------------------------------------------------- how it stops


def test_a_loss_that_is_not_finite_stops_the_run_and_names_task_and_images(tmp_path):
    with pytest.raises(FloatingPointError) as stopped:
        train(TrainConfig(**TINY | {"steps": 20}, lr=1e30, out=tmp_path))
    message = str(stopped.value)
    assert any(f"The {task} loss is" in message for task in TASKS)
    ids = message.split("on the images ")[1].split(":")[0].split(", ")
    assert len(set(ids)) == TINY["batch_size"]
    assert set(ids) <= {f"{index:06d}" for index in range(TINY["train_count"])}


def test_fewer_images_than_a_batch_are_an_error_and_no_endless_loop(tmp_path):
    with pytest.raises(ValueError, match="12 training images do not fill a batch of 13"):
        train(TrainConfig(**TINY | {"batch_size": 13}, out=tmp_path))


def test_what_is_not_finite_is_null_in_json():
    content = {"a": [1.0, float("nan")], "b": (Path("x"), True, None, 3, float("-inf"))}
    assert as_json(content) == {"a": [1.0, None], "b": ["x", True, None, 3, None]}


# ---------------------------------------------------------------------------------------------------------- real files


@pytest.mark.skipif(not SHARED.is_dir(), reason="real PASCAL files are not beside the checkout")
def test_real_photos_of_which_most_parts_are_missing(tmp_path, capsys):
    data = ["--data", str(SHARED / "realdata"), "--tasks", "semseg", "human_parts", "--augment", "flip", "rotate"]
    small = ["--steps", "2", "--batch-size", "4", "--img-size", "64", "--no-pretrained", "--out", str(tmp_path)]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["train", *data, *small]) == 0
    said = capsys.readouterr().err
    for split in ("train", "val"):
        assert said.count(f"split '{split}': of ") == 1
    assert said.count("lack human_parts/<id>.mat") == 2
    assert said.count("warning: ") == 2
    metrics = strict((tmp_path / "metrics.json").read_text())["metrics"]
    assert 0 <= metrics["semseg"]["mIoU"] <= 100
    assert torch.isfinite(torch.tensor([json.loads(line)["semseg"] for line in (tmp_path / "log.jsonl").open()])).all()
