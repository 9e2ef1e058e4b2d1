"""TensorBoard gets the numbers that the log has; what is not installed is said, and nothing is asked for by itself."""

import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mtlora_lite.config import TrainConfig
from mtlora_lite.engine import train
from mtlora_lite.extras import MissingExtraError
from mtlora_lite.trackers import choose_trackers

TINY = {
    "tasks": ("semseg", "depth"), "img_size": 64, "train_count": 8, "val_count": 4, "steps": 3, "batch_size": 4,
    "pretrained": False, "options": {"rank": 2, "task_rank": 1}, "decoder_options": {"expansion": 1},
}  # fmt: skip


@pytest.mark.usefixtures("cache")
def test_tensorboard_shows_what_the_log_says(tmp_path):
    train(TrainConfig(**TINY, eval_every=1, trackers=("tensorboard",), out=tmp_path))
    log, evaluations = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("log.jsonl", "evaluations.jsonl")
    )
    events = EventAccumulator(str(tmp_path / "tensorboard/mtlora_lite")).Reload()

    def shown(tag):
        return [(event.step, event.value) for event in events.Scalars(tag)]

    for tag, name in (("loss/total", "total"), ("loss/depth", "depth"), ("lr", "lr")):
        assert shown(tag) == [(line["step"], pytest.approx(line[name])) for line in log]
    assert shown("score/depth/rmse") == [(line["step"], pytest.approx(line["depth"])) for line in evaluations]


@pytest.mark.usefixtures("cache")
def test_none_is_none(tmp_path):
    train(TrainConfig(**TINY, trackers=(), out=tmp_path))
    assert not (tmp_path / "tensorboard").exists()


def test_tensorboard_is_taken_where_it_is_installed_and_wandb_only_when_asked(monkeypatch):
    assert choose_trackers(None) == ("tensorboard",)
    monkeypatch.setattr("mtlora_lite.trackers.find_spec", lambda name: None)
    monkeypatch.setattr("mtlora_lite.extras.find_spec", lambda name: None)
    assert choose_trackers(None) == ()
    with pytest.raises(MissingExtraError, match="Tracking with wandb needs wandb, which is not installed: pip install"):
        choose_trackers(["wandb"])
    with pytest.raises(ValueError, match=r"Unknown tracker 'wandbb'\. Did you mean 'wandb'"):
        choose_trackers(["wandbb"])
