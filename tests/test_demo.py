"""The demo in small: what it writes, that its number follows from its table, and that its model can be used."""

import json
import re
import signal

import numpy as np
import pytest
import torch
from PIL import Image

import mtlora_lite as ml
from mtlora_lite import demo as demo_module
from mtlora_lite.cli import main
from mtlora_lite.config import validation_set
from mtlora_lite.demo import BASELINE, METHOD, PICTURES, DemoConfig
from mtlora_lite.engine import train
from mtlora_lite.interrupts import Interrupted, Request
from mtlora_lite.predict import load_checkpoint

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def demo(tmp_path_factory, cache):
    """The folder of a short run, and what it printed."""
    out = tmp_path_factory.mktemp("demo") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr("builtins.print", lambda *words, **_: printed.append(" ".join(map(str, words))))
        assert main(["demo", "--steps", "3", "--train-count", "16", "--val-count", "8", "--out", str(out)]) == 0
    return out, "\n".join(printed)


@pytest.fixture(scope="module")
def metrics(demo):
    return json.loads((demo[0] / "metrics.json").read_text())


def test_delta_m_follows_from_the_table(metrics):
    assert isinstance(metrics["delta_m"], float)
    scores = {method: ml.headline(row["metrics"]) for method, row in metrics["methods"].items()}
    assert set(scores) == {METHOD, BASELINE}
    assert metrics["delta_m"] == pytest.approx(ml.delta_m(scores[METHOD], scores[BASELINE]))
    assert metrics["delta_m_of"] == f"{METHOD} over {BASELINE}"
    assert metrics["images"] == 8


def test_the_table_is_printed(demo, metrics):
    _, printed = demo
    for task, row in ml.TASKS.items():
        (line,) = (line for line in printed.splitlines() if line.startswith(f"{row.title} ({row.metric}"))
        expected = [f"{values['metrics'][task][row.metric]:.2f}" for values in metrics["methods"].values()]
        assert line.split()[-2:] == expected
    assert f"{metrics['delta_m']:+.2f}" in printed
    for values in metrics["methods"].values():
        assert f"{values['trainable']:,}" in printed
    assert re.search(r"Next: .* predict PHOTO\.jpg --checkpoint \S*mtlora", printed)


def test_both_methods_train_on_the_same_images_and_say_what_they_train(demo, metrics):
    configs = {m: json.loads((demo[0] / m / "config.json").read_text()) for m in metrics["methods"]}
    differing = {key for key in configs[METHOD] if configs[METHOD][key] != configs[BASELINE][key]}
    assert {"method", "options", "out"} <= differing <= {"method", "options", "out", "lr"}
    trainable = {method: row["trainable"] for method, row in metrics["methods"].items()}
    assert trainable[METHOD] > trainable[BASELINE] > 0
    assert metrics["seconds"] > sum(row["train_seconds"] for row in metrics["methods"].values())


def test_the_picture_shows_every_image_and_task(demo):
    with Image.open(demo[0] / "predictions.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert picture.height > PICTURES * 128
    assert picture.width > 13 * 128  # the image, and label and prediction of six tasks
    assert pixels.std() > 30


def test_the_checkpoint_scores_and_predicts_what_the_demo_says(demo, metrics, tmp_path, capsys):
    model = load_checkpoint(demo[0] / METHOD)
    data = validation_set(DemoConfig(val_count=8).run(METHOD))
    scores = ml.evaluate(model, data)
    assert ml.headline(scores) == pytest.approx(ml.headline(metrics["methods"][METHOD]["metrics"]))
    photo = data.root / "JPEGImages" / f"{data.ids[0]}.jpg"
    assert main(["predict", str(photo), "--checkpoint", str(demo[0] / METHOD), "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / photo.stem}.png\n"


def test_the_checkpoint_holds_adapters_and_no_frozen_weights(demo, metrics):
    size = (demo[0] / METHOD / "model" / "model.safetensors").stat().st_size
    model = load_checkpoint(demo[0] / METHOD)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    assert size < 4 * (metrics["methods"][METHOD]["trainable"] + 0.1 * frozen)
    assert torch.isfinite(next(model.parameters())).all()


def test_a_demo_that_was_stopped_goes_on_and_one_that_was_not_begins_again(tmp_path, capfd):
    words = ["demo", "--train-count", "16", "--val-count", "8", "--out", str(tmp_path), "--steps"]

    def stopped(config, **_):
        return train(config, request=Request(signal.SIGINT) if config.method == METHOD else None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mtlora_lite.demo.train", stopped)
        with pytest.raises(Interrupted):
            demo_module.demo(DemoConfig(out=tmp_path, steps=3, train_count=16, val_count=8))
    log = tmp_path / BASELINE / "log.jsonl"
    written = log.stat().st_mtime_ns
    capfd.readouterr()

    assert main([*words, "3"]) == 0
    said = "".join(capfd.readouterr())
    assert log.stat().st_mtime_ns == written
    assert f"Going on in {tmp_path / METHOD} after step 1 of 3." in said
    steps = [json.loads(line)["step"] for line in (tmp_path / METHOD / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]

    assert main([*words, "3"]) == 0
    assert "Going on" not in "".join(capfd.readouterr())
    assert log.stat().st_mtime_ns > written

    (tmp_path / "metrics.json").unlink()  # as if it had been stopped
    assert main([*words, "2"]) == 0
    assert "Going on" not in "".join(capfd.readouterr())
