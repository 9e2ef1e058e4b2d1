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
from mtlora_lite.config import SCENES_WEIGHTS, TrainConfig, build_from_config, preset, validation_set
from mtlora_lite.engine import _forecast, train, train_single_tasks
from mtlora_lite.evaluation import evaluate
from mtlora_lite.metrics import PROTOCOLS
from mtlora_lite.recipe import decay_groups, lr_factor
from mtlora_lite.records import as_json
from mtlora_lite.tasks import TASKS
from mtlora_lite.transforms import eval_transform

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
    files = {name for name in files if not name.startswith("tensorboard/")}  # see test_trackers.py
    written = {".lock", "config.json", "log.jsonl", "evaluations.jsonl", "metrics.json", "report.md"}
    written |= {"report/losses.png", "report/predictions.png", "model/README.md"}
    last = {f"{name}.safetensors" for name in ("weights", "optimizer", "random-0")} | {"state.json"}
    assert files == written | {"model/config.json", "model/model.safetensors"} | {
        f"checkpoints/step-00000003/{name}" for name in last
    }
    config = strict((result.directory / "config.json").read_text())
    assert config == as_json(dataclasses.asdict(TrainConfig(**TINY, out=result.directory)))
    log = [strict(line) for line in (result.directory / "log.jsonl").read_text().splitlines()]
    assert log == result.log
    assert [set(record) for record in log] == [{"step", "lr", "total", *TASKS}] * 3
    for record in log:
        weights = {task: row.loss_weight for task, row in TASKS.items()} | SCENES_WEIGHTS
        assert record["total"] == pytest.approx(sum(weights[task] * record[task] for task in TASKS), rel=1e-5)
    metrics = strict((result.directory / "metrics.json").read_text())
    assert metrics["metrics"] == as_json(result.metrics)
    told = {"data": "scenes", "split": "val", "images": 6, "protocol": "standard", "delta_m": None, "reference": None}
    assert {key: metrics[key] for key in told} == told


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
    assert TrainConfig(data="some/folder").all_loss_weights() == {}
    assert TrainConfig(tasks=("sal", "edge")).all_loss_weights() == {}
    assert TrainConfig(loss_weights={"sal": 2.0}).all_loss_weights() == SCENES_WEIGHTS | {"sal": 2.0}
    own = TINY | {"tasks": ("depth", "edge"), "loss_weights": {"depth": 3.0, "edge": 7.0}, "steps": 1}
    (record,) = train(TrainConfig(**own, out=tmp_path)).log
    assert record["total"] == pytest.approx(3 * record["depth"] + 7 * record["edge"], rel=1e-5)
    with pytest.raises(ValueError, match="loss_weights names 'sal', but the tasks are depth, edge"):
        train(TrainConfig(**own | {"loss_weights": {"sal": 1.0}}, out=tmp_path / "other"))


def test_every_step_is_reported_as_it_happens(tmp_path):
    seen = []
    result = train(TrainConfig(**TINY, out=tmp_path), on_step=lambda record, _: seen.append(record))
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


def test_decoders_may_learn_at_a_multiple_of_the_rate(tmp_path):
    """Every part of a step of AdamW is proportional to the rate: the first one goes three times as far."""
    before = dict(build_from_config(TrainConfig(**TINY)).named_parameters())
    after = [
        dict(
            train(
                TrainConfig(**TINY | {"steps": 1, "lr": 1.0, "decoder_lr_factor": factor}, out=tmp_path / str(factor))
            ).model.named_parameters()
        )
        for factor in (1.0, 3.0)
    ]
    moved = 0
    for name, start in before.items():
        one, three = ((values[name] - start).detach() for values in after)
        factor = 3 if name.startswith("decoders.") else 1
        torch.testing.assert_close(three, factor * one, rtol=1e-3, atol=1e-6)
        moved += name.startswith("decoders.") and bool(one.any())
    assert moved


def test_groups_say_how_much_they_learn():
    model = build_from_config(TrainConfig(**TINY))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = decay_groups(model, 3.0)
    assert sorted(group["lr_factor"] for group in groups) == [1, 1, 3, 3]
    for group in groups:
        assert {names[id(p)].startswith("decoders.") for p in group["params"]} == {group["lr_factor"] == 3}


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


# ------------------------------------------------------------------------------------- evaluations, references, presets


@pytest.fixture(scope="module")
def alone(tmp_path_factory, cache):
    """Single-task runs of two tasks."""
    config = TINY | {"tasks": ("sal", "normals"), "method": "single_task", "options": {}, "loss_weights": {"sal": 2.0}}
    return train_single_tasks(TrainConfig(**config, out=tmp_path_factory.mktemp("alone")))


def test_single_task_runs_write_what_delta_m_reads(alone, tmp_path):
    assert set(alone.scores) == {"sal", "normals"}
    path = alone.source.rpartition("from ")[2] + "/reference.json"
    settings = TINY | {"tasks": ("normals", "sal"), "reference": path}
    result = train(TrainConfig(**settings, out=tmp_path))
    assert result.delta_m == pytest.approx(ml.delta_m(ml.headline(result.metrics), alone.scores))
    written = strict((tmp_path / "metrics.json").read_text())
    assert written["reference"] == alone.source
    assert written["delta_m"] == pytest.approx(result.delta_m)
    with pytest.raises(ValueError, match="no result for edge"):
        train(TrainConfig(**TINY | {"tasks": ("edge",), "reference": path, "steps": 10**6}, out=tmp_path / "edge"))
    with pytest.raises(ValueError, match="scored by the standard protocol"):
        train(TrainConfig(**settings | {"protocol": "paper", "steps": 10**6}, out=tmp_path / "paper"))


def test_epochs_set_the_steps_and_the_best_and_the_last_model_are_kept(alone, tmp_path):
    path = alone.source.rpartition("from ")[2] + "/reference.json"
    settings = TINY | {"tasks": ("normals", "sal"), "reference": path, "epochs": 5, "eval_every": 2, "lr": 0.02}
    result = train(TrainConfig(**settings, out=tmp_path))
    assert len(result.log) == 5 * (12 // 4)
    lines = [strict(line) for line in (tmp_path / "evaluations.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [6, 12, 15]
    gains = [line["delta_m"] for line in lines]
    assert gains[-1] == pytest.approx(result.delta_m)
    data = validation_set(TrainConfig(**settings))
    for folder, gain in (("best", max(gains)), ("model", gains[-1])):
        model = ml.MultiTaskModel.from_pretrained(tmp_path / folder)
        assert ml.delta_m(ml.headline(evaluate(model, data)), alone.scores) == pytest.approx(gain, rel=1e-4)


def test_evaluations_in_between_do_not_change_the_training(result, tmp_path):
    every = train(TrainConfig(**TINY, eval_every=1, out=tmp_path))
    assert every.log == result.log


def test_the_paper_preset_is_the_papers_recipe():
    paper = preset("paper")
    assert paper.lr == pytest.approx(3.125e-5)
    assert paper.num_steps(4998) == 300 * 156  # whole batches of 32
    assert (paper.img_size, paper.batch_size, paper.drop_path, paper.protocol) == (448, 32, 0.2, "paper")
    assert set(paper.tasks) == {"semseg", "human_parts", "sal", "normals"}
    with pytest.raises(ValueError, match=r"Unknown preset 'papr'\. Presets: paper, nyud, demo"):
        preset("papr")


def test_a_preset_gives_way_to_what_is_typed(tmp_path, capsys):
    sample = str(Path(__file__).parents[1] / "data/sample")
    own = ["--data", sample, "--backbone", "swin_scenes_tiny", "--img-size", "64", "--epochs", "2", "--batch-size", "8"]
    small = ["--options", "rank=2", "--decoder-options", "expansion=1", "--workers", "0", "--eval-every", "1"]
    assert main(["train", "--preset=paper", *own, *small, "--out", str(tmp_path)]) == 0
    config = strict((tmp_path / "config.json").read_text())
    assert config == as_json(dataclasses.asdict(preset("paper"))) | {
        "data": sample, "backbone": "swin_scenes_tiny", "img_size": 64, "epochs": 2,
        "batch_size": 8, "options": {"rank": 2}, "decoder_options": {"expansion": 1}, "workers": 0, "eval_every": 1,
        "out": str(tmp_path),
    }  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} >= {"best", "model", "evaluations.jsonl"}
    gain = strict((tmp_path / "metrics.json").read_text())["delta_m"]
    assert f"Δm {gain:+.2f} % over single-task Swin-T on PASCAL-Context as printed" in capsys.readouterr().out
    assert main(["train", "--preset", "papr"]) == 2
    assert "Unknown preset 'papr'" in capsys.readouterr().err


def test_single_tasks_from_the_command_line_are_a_reference_to_score_against(tmp_path, capsys):
    own = [
        "--tasks",
        "sal",
        "depth",
        "--img-size",
        "64",
        "--train-count",
        "12",
        "--val-count",
        "6",
        "--batch-size",
        "4",
    ]
    small = ["--steps", "1", "--no-pretrained", "--decoder-options", "expansion=1"]
    out = tmp_path / "alone"
    assert main(["train", "--method", "single_task", *own, *small, "--out", str(out)]) == 0
    assert f"--reference {out / 'reference.json'}" in capsys.readouterr().out
    assert (out / "sal/model").is_dir()
    again = ["--count", "6", "--reference", str(out / "reference.json")]
    assert main(["eval", str(out / "depth"), *again]) == 0
    assert "Δm +0.00 % over single_task of swin_scenes_tiny on scenes, split val" in capsys.readouterr().out


def test_images_are_scored_at_their_own_size(result):
    """The prediction for the resized image, brought to each image's size, against the label as it is on disk."""
    root = Path(__file__).parents[1] / "data/sample"
    data = ml.PascalContext(root, "val", TASKS, eval_transform(64, resize_targets=False))
    model = ml.MultiTaskModel.from_pretrained(result.directory / "model")
    scores = evaluate(model, data, batch_size=3)
    meters = ml.build_metrics(TASKS, protocol="standard")
    for sample in data:
        logits = model(sample["image"][None])
        size = sample["semseg"].shape[-2:]
        assert size != (64, 64)
        large = {task: torch.nn.functional.interpolate(out, size, mode="bilinear") for task, out in logits.items()}
        meters.update(large, {task: sample[task][None] for task in large})
    assert ml.headline(scores) == pytest.approx(ml.headline(meters.compute()), rel=1e-5)


def test_a_long_run_says_how_long():
    assert _forecast(seconds=5 * 0.2, steps=600) is None
    assert _forecast(seconds=5 * 14.0, steps=46_800) == (
        "46,800 steps at 14.00 s take about 7.6 days here, evaluations aside."
    )
    assert "6.5 hours" in _forecast(seconds=2.5, steps=46_800)


# ---------------------------------------------------------------------------------------------------------- real files


@pytest.mark.skipif(not SHARED.is_dir(), reason="real PASCAL files are not beside the checkout")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_real_photos_of_which_most_parts_are_missing(protocol, tmp_path, capsys):
    data = ["--data", str(SHARED / "realdata"), "--tasks", "semseg", "human_parts", "--augment", "flip", "rotate"]
    small = ["--steps", "2", "--batch-size", "4", "--img-size", "64", "--no-pretrained", "--out", str(tmp_path)]
    small += ["--protocol", protocol]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["train", *data, *small]) == 0
    said = capsys.readouterr().err
    for split in ("train", "val"):
        assert said.count(f"split '{split}': of ") == 1
    assert said.count("lack human_parts/<id>.mat") == 2
    assert said.count("warning: ") == 2
    record = strict((tmp_path / "metrics.json").read_text())
    assert (record["protocol"], record["split"], record["images"]) == (protocol, "val", 40)
    scores = record["metrics"]
    assert all(0 <= scores[task]["mIoU"] <= 100 for task in ("semseg", "human_parts"))
    absent = {"standard": None, "paper": 0.0}[protocol]  # no aeroplane is in these photos, nor soon predicted
    assert scores["semseg"]["IoU/aeroplane"] in (absent, 0.0)
    assert torch.isfinite(torch.tensor([json.loads(line)["semseg"] for line in (tmp_path / "log.jsonl").open()])).all()
