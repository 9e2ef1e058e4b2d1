"""Training with weighed losses and balanced gradients: the same in passes, on processes and after a stop."""

import json
import shutil

import child
import pytest
import torch

from mtlora_lite import distributed, runs
from mtlora_lite.batches import Draws, training_loader
from mtlora_lite.config import TrainConfig, training_set
from mtlora_lite.engine import train
from mtlora_lite.trainer import Trainer, connect

PLAIN = {
    "tasks": ("semseg", "depth", "edge"), "img_size": 64, "train_count": 8, "val_count": 2, "steps": 6, "batch_size": 4,
    "pretrained": False, "augment": (), "drop_path": 0.0, "lr": 3e-3, "decoder_options": {"expansion": 1},
    "options": {"rank": 3, "task_rank": {"semseg": 1, "depth": 2, "edge": 3}, "scale": 3.0, "dropout": 0.0},
}  # fmt: skip
# Three epochs of two steps, so that dwa has two to compare before the last one.
WAYS = {
    "dwa": {"weighting": "dwa"},
    "uncertainty": {"weighting": "uncertainty"},
    "upgrad": {"balance": "upgrad"},
    "uncertainty and pcgrad": {"weighting": "uncertainty", "balance": "pcgrad"},
}

pytestmark = pytest.mark.usefixtures("cache")


def train_all(folder, accumulate):
    """Every way of weighing, in one process or as one of several; writes the logs."""
    logs = {}
    for way, options in WAYS.items():
        config = TrainConfig(**PLAIN | options, accumulate=accumulate, out=folder / f"{way} {accumulate}")
        logs[way] = train(config).log
    name = f"{accumulate}-{distributed.num_processes()}-{distributed.process_index()}.json"
    (folder / name).write_text(json.dumps(logs))
    distributed.disconnect()


@pytest.fixture(scope="module")
def logs(tmp_path_factory, cache):
    """{"passes-processes-process": {way: log}}."""
    folder = tmp_path_factory.mktemp("ways")
    hooks = (child.freeze_norms,)
    for accumulate in (1, 2):
        started = child.start(train_all, folder, accumulate, log=folder / "log.txt", hooks=hooks)
        assert child.finish(started) == 0, (folder / "log.txt").read_text()[-2000:]
    (folder / "two").mkdir()
    statuses = child.together(train_all, folder / "two", 1, count=2, folder=folder, hooks=hooks)
    assert statuses == [0, 0], (folder / "0.txt").read_text()[-2000:]
    return {path.stem: json.loads(path.read_text()) for path in folder.rglob("[12]-*.json")}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("split", ["2-1-0", "1-2-0", "1-2-1"])
def test_it_is_the_same_in_passes_and_on_processes(logs, split, way):
    whole = logs["1-1-0"][way]
    for expected, found in zip(whole, logs[split][way], strict=True):
        assert found == pytest.approx(expected, rel=1e-4), split


def test_every_way_is_another_training(logs):
    last = [log[-1]["total"] for log in logs["1-1-0"].values()]
    assert len({round(total, 4) for total in last}) == len(WAYS)


def test_the_plain_sum_is_what_training_does_without_a_balancer():
    """Held in the gradients of a step: Adam makes much of the last digits of small ones, and steps drift apart."""
    gradients = {}
    for balance in (None, "sum"):
        trainer = Trainer(TrainConfig(**PLAIN, balance=balance), connect())
        images = training_set(trainer.config)
        for parameter in trainer.model.parameters():
            if parameter.requires_grad and not parameter.any():
                generator = torch.Generator().manual_seed(0)
                parameter.data.normal_(std=0.1, generator=generator)  # every B, which starts at zero
        batch = next(iter(training_loader(images, Draws(len(images), range(1), 4))))
        trainer._backward([batch])
        gradients[balance] = {
            n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None and p.grad.any()
        }
    assert gradients[None].keys() == gradients["sum"].keys()
    for name, expected in gradients[None].items():
        error = (gradients["sum"][name] - expected).abs().max() / expected.abs().max()
        assert error < 1e-4 or expected.abs().max() < 1e-6, name


@pytest.mark.parametrize("way", WAYS)
def test_a_run_goes_on_to_the_bit(way, tmp_path):
    config = TrainConfig(**PLAIN | WAYS[way], save_every=1, out=tmp_path / "run")
    whole = train(config)
    shutil.rmtree(max((tmp_path / "run" / runs.CHECKPOINTS).iterdir()))  # as if it had been killed before the last step
    (tmp_path / "run" / runs.METRICS_FILE).unlink()
    again = train(TrainConfig(**PLAIN | WAYS[way], save_every=1, out=tmp_path / "run", resume=True))
    assert again.log == whole.log
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


def test_what_cannot_be_balanced_is_said():
    for options in ({"compile": True}, {"precision": "fp16"}):
        with pytest.raises(ValueError, match="a gradient per task, which neither compile nor precision fp16"):
            TrainConfig(balance="upgrad", **options)
    with pytest.raises(ValueError, match=r"Unknown balancer 'upgrd'\. Did you mean 'upgrad'"):
        TrainConfig(balance="upgrd")
    with pytest.raises(ValueError, match=r"Unknown weighting 'dwo'\. Did you mean 'dwa'"):
        TrainConfig(weighting="dwo")


def test_nothing_shared_is_nothing_to_balance(tmp_path):
    alone = {"method": "decoders_only", "options": {}, "balance": "upgrad", "out": tmp_path}
    with pytest.raises(ValueError, match="no trained parameter is shared"):
        train(TrainConfig(**PLAIN | alone))
