"""Runs that are killed, interrupted, refused or out of room lose nothing, and go on the same to the bit."""

import dataclasses
import json
import os
import re
import shutil
import signal
import time

import child
import pytest
from safetensors.torch import load_file

from mtlora_lite import checkpoints
from mtlora_lite.cli import main
from mtlora_lite.config import FREE_OPTIONS, TrainConfig, changed_options
from mtlora_lite.engine import train

STEPS = 7
# Everything that is random is on: augmentation, dropout, drop path.
WORDS = [
    "train", "--tasks", "semseg", "normals", "--img-size", "64", "--train-count", "12", "--val-count", "4",
    "--steps", STEPS, "--batch-size", "4", "--no-pretrained", "--decoder-options", "expansion=1", "--drop-path", "0.3",
    "--options", "rank=3", 'task_rank={"semseg": 1, "normals": 2}', "scale=3", "dropout=0.2", "--lr", "5e-3",
    "--augment", "flip", "rotate", "crop", "jitter", "--ema", "0.5", "--accumulate", "2", "--save-every", "2",
    "--eval-every", "1",
]  # fmt: skip

pytestmark = pytest.mark.usefixtures("cache")


def resumable(out):
    """The folder of a run as it must be, however often it was stopped: {file: content}, times aside."""
    texts = {name: (out / name).read_text() for name in ("log.jsonl", "evaluations.jsonl")}
    metrics = json.loads((out / "metrics.json").read_text())
    return texts | {"metrics": metrics | {"seconds": 0}, "model": (out / "model/model.safetensors").read_bytes()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache):
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    assert child.run(*WORDS, "--out", folder / "run", log=folder / "log.txt") == 0
    return folder / "run"


@pytest.fixture
def copy(whole, tmp_path):
    """A copy of it, to spoil."""
    return shutil.copytree(whole, tmp_path / "copy")


def test_killed_in_the_midst_and_while_saving_and_still_the_same_to_the_bit(whole, tmp_path):
    out, log = tmp_path / "run", tmp_path / "log.txt"

    def killed(hook, *more):
        assert child.run(*WORDS, "--out", out, *more, log=log, hooks=[hook]) == -signal.SIGKILL

    killed(child.KillAfterStep(1))
    killed(child.KillAfterStep(5), "--resume")
    assert f"There is nothing to resume in {out}: starting from the beginning." in log.read_text()
    assert len((out / "log.jsonl").read_text().splitlines()) == 5  # one more than the checkpoint of step 4 knows of
    killed(child.KillWhileWriting(6, "optimizer.safetensors"), "--resume")
    assert (out / "checkpoints/step-00000006.tmp").is_dir()
    assert child.run(*WORDS, "--out", out, "--resume", "--workers", "2", log=log) == 0
    assert log.read_text().count(f"Going on in {out} after step 4 of {STEPS}.") == 2
    assert resumable(out) == resumable(whole)
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["step-00000006", "step-00000007"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_is_heard_after_the_step_and_says_how_to_go_on(number, whole, tmp_path):
    out, log = tmp_path / "run", tmp_path / "log.txt"
    process = child.start(main, [*map(str, WORDS), "--out", str(out)], log=log)
    while not (out / "log.jsonl").is_file():
        assert process.is_alive()
        time.sleep(0.05)
    os.kill(process.pid, number)
    assert child.finish(process) == 128 + number
    said = log.read_text()
    stopped = int(re.search(rf"Stopped after step (\d) of {STEPS}; everything is saved\. Go on with: ", said)[1])
    assert said.rstrip().endswith(f"--out {out} --resume")
    assert 1 <= stopped < STEPS
    assert checkpoints.newest(out / "checkpoints").state["step"] == stopped
    lines = (whole / "log.jsonl").read_text().splitlines()
    assert (out / "log.jsonl").read_text().splitlines() == lines[:stopped]


def test_a_full_disk_leaves_the_last_good_checkpoint_and_says_what_to_do(whole, tmp_path):
    out, log = tmp_path / "run", tmp_path / "log.txt"
    assert child.run(*WORDS, "--out", out, log=log, hooks=[child.LimitFilesAfterStep(3, 20_000)]) == 2
    assert re.search(
        r"error: Cannot write to \S+checkpoints \(File too large.*Make room there and go on", log.read_text()
    )
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-00000002"]
    assert checkpoints.newest(out / "checkpoints").state["step"] == 2
    assert (out / "log.jsonl").read_text() == "".join((whole / "log.jsonl").read_text().splitlines(keepends=True)[:3])


def test_a_finished_run_says_so_and_returns_its_result(copy, whole):
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*.safetensors")}
    lines = []
    config = dataclasses.replace(config_of(copy), resume=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mtlora_lite.engine.tqdm.write", lines.append)
        result = train(config)
    assert lines == [f"The run in {copy} is finished, with all of its {STEPS} steps."]
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*.safetensors")} == before
    assert resumable(copy) == resumable(whole)
    assert [json.dumps(record) for record in result.log] == (whole / "log.jsonl").read_text().splitlines()
    assert result.metrics["normals"] == json.loads((whole / "metrics.json").read_text())["metrics"]["normals"]
    for name, value in result.model.state_dict().items():
        if name == "decoders.semseg.head.0.weight":
            saved = load_file(whole / "model/model.safetensors")[name]
            assert (value == saved).all()


def config_of(run, **changes):
    """The configuration of a run as it was written."""
    record = json.loads((run / "config.json").read_text())
    lists = {name: tuple(value) for name, value in record.items() if isinstance(value, list)}
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    record = {name: value for name, value in (record | lists).items() if name in known}
    return TrainConfig(**record | {"out": run} | changes)


def test_a_last_evaluation_that_was_cut_off_is_done_again(copy, whole):
    (copy / "metrics.json").unlink()
    train(config_of(copy, resume=True))
    assert resumable(copy) == resumable(whole)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(copy, whole, capsys):
    path = copy / f"checkpoints/step-{STEPS:08d}/optimizer.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert main([*map(str, WORDS), "--out", str(copy), "--resume"]) == 0
    assert f"warning: {path} is damaged: it is not what was written." in capsys.readouterr().err
    assert resumable(copy) == resumable(whole)


def test_only_what_alters_the_training_keeps_a_run_from_going_on(copy, capsys):
    changed = {
        "seed": 1, "lr": 1e-3, "batch_size": 6, "options": {"rank": 4}, "augment": ("flip",), "method": "mtlora_plus",
        "drop_path": 0.1, "steps": STEPS + 1, "ema": None, "precision": "bf16", "train_count": 13,
    }  # fmt: skip
    for name, value in changed.items():
        with pytest.raises(
            ValueError, match=rf"was started with {name}=.*: resume it with that, or choose another --out"
        ):
            train(config_of(copy, resume=True, **{name: value}))
    free = {"workers": 1, "save_every": 7, "eval_every": 3, "checkpointing": True, "trackers": ()}
    assert {*free, "out", "resume"} == set(FREE_OPTIONS)
    train(config_of(copy, resume=True, **free))
    with pytest.warns(UserWarning, match=f"Until step {STEPS} this run had accumulate=2: last digits may differ"):
        train(config_of(copy, resume=True, accumulate=1))


def test_an_option_that_an_older_run_did_not_know_had_its_default():
    assert changed_options({}, TrainConfig(out=child.Path("elsewhere"), workers=3)) == []
    assert changed_options({"lr": 1e-3}, TrainConfig(lr=2e-3, ema=0.9)) == ["lr", "ema"]


def test_other_frozen_weights_are_refused(copy, monkeypatch):
    monkeypatch.setattr("mtlora_lite.model.MultiTaskModel.frozen_hash", lambda self: "other")
    with pytest.raises(ValueError, match="adapts other frozen weights than swin_scenes_tiny has here"):
        train(config_of(copy, resume=True))


def test_a_new_run_does_not_overwrite_another_one(copy, capsys):
    before = resumable(copy)
    assert main([*map(str, WORDS), "--out", str(copy)]) == 2
    said = capsys.readouterr().err
    assert said == f"error: {copy} holds a run already: go on with it by --resume, or choose another folder by --out.\n"
    assert resumable(copy) == before


def test_a_trained_model_without_checkpoints_is_not_overwritten(copy, whole):
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(
        ValueError, match="holds a trained model but no checkpoint to go on from: choose another folder"
    ):
        train(config_of(copy, resume=True))
    assert resumable(copy) == resumable(whole)


def test_two_runs_at_once_in_one_folder_are_one_too_many(whole, tmp_path):
    out, marker = tmp_path / "run", tmp_path / "marker"
    holder = child.start(child.hold, out, marker, log=tmp_path / "log.txt")
    while not marker.exists():
        assert holder.is_alive()
        time.sleep(0.05)
    with pytest.raises(ValueError, match=f"Another run is writing to {out}: wait for it, or choose another"):
        train(config_of(whole, out=out))
    marker.unlink()
    assert child.finish(holder) == 0


def test_a_folder_that_cannot_be_written_to_is_a_sentence(whole):
    folder = "/sys/mtlora" if child.Path("/sys").is_dir() else "/mtlora"
    with pytest.raises(OSError, match=rf"Cannot write to {folder} \(.*\). Choose a folder that can be written to"):
        train(config_of(whole, out=child.Path(folder)))
