"""TensorBoard and wandb get what the log has; what is not installed is said, and wandb comes only when asked for."""

import json
import struct

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


def wandb_records(path):
    """What a ``.wandb`` file holds: messages in LevelDB's log format, which wandb reads only to upload them."""
    messages = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    data, at, piece, block = path.read_bytes(), 7, b"", 32768
    while at + 7 <= len(data):
        if block - at % block < 7:  # what is left of a block is padding
            at += block - at % block
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        piece += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last piece of one
            yield messages.Record.FromString(piece)
            piece = b""


@pytest.mark.usefixtures("cache")
def test_wandb_gets_what_the_log_says_and_keeps_it_in_the_folder_of_the_run(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not in the lock; make test-latest has it")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "first_run"
    train(TrainConfig(**TINY, eval_every=3, trackers=("wandb",), out=out))
    (path,) = out.glob("wandb/offline-run-*/*.wandb")
    assert [each.name for each in tmp_path.iterdir()] == ["first_run"]
    records = list(wandb_records(path))
    lines = [{item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
             for record in records if record.WhichOneof("record_type") == "history"]  # fmt: skip
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["loss/total"] for line in lines if "loss/total" in line] == [
        pytest.approx(each["total"]) for each in log
    ]
    (score,) = [line["score/depth/rmse"] for line in lines if "score/depth/rmse" in line]
    assert score == pytest.approx(json.loads((out / "evaluations.jsonl").read_text())["depth"])
    (run,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert (run.project, run.display_name) == ("mtlora_lite", "first_run")


@pytest.mark.usefixtures("cache")
def test_none_is_none(tmp_path):
    train(TrainConfig(**TINY, trackers=(), out=tmp_path))
    assert not (tmp_path / "tensorboard").exists()


def test_tensorboard_is_taken_where_it_is_installed_and_wandb_only_when_asked(monkeypatch):
    assert choose_trackers(None) == ("tensorboard",)
    monkeypatch.setattr("mtlora_lite.trackers.find_spec", lambda name: None)
    monkeypatch.setattr("mtlora_lite.extras.find_spec", lambda name: None)  # as if nothing were installed
    assert choose_trackers(None) == ()
    with pytest.raises(MissingExtraError, match="Tracking with wandb needs wandb, which is not installed: pip install"):
        choose_trackers(["wandb"])
    with pytest.raises(ValueError, match=r"Unknown tracker 'wandbb'\. Did you mean 'wandb'"):
        choose_trackers(["wandbb"])
