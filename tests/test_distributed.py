"""Training and evaluation on several real processes are training and evaluation on one."""

import json
import math
import socket
import subprocess
import sys

import child
import pytest
import torch

import mtlora_lite as ml
from mtlora_lite import distributed
from mtlora_lite.batches import Draws, training_loader
from mtlora_lite.config import TrainConfig, build_from_config, training_set, validation_set
from mtlora_lite.engine import train
from mtlora_lite.evaluation import evaluate
from mtlora_lite.losses import MultiTaskLoss
from mtlora_lite.tasks import TASKS
from mtlora_lite.trainer import connect, idle_parameters

# All that is random in a step is off: what is left has to be the same.
TASK_RANK = dict(zip(TASKS, (1, 2, 3, 1, 2, 4), strict=True))
PLAIN = {
    "img_size": 64, "train_count": 24, "val_count": 5, "steps": 5, "batch_size": 8, "pretrained": False, "augment": (),
    "drop_path": 0.0, "lr": 3e-3, "decoder_options": {"expansion": 1},
    "options": {"rank": 3, "task_rank": TASK_RANK, "scale": 3.0, "dropout": 0.0},
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("cache")


def train_and_score(out, accumulate=1):
    """Train, score on five images and on one, and write what this process got."""
    config = TrainConfig(**PLAIN, out=out, accumulate=accumulate)
    result = train(config)
    scores = {"5": result.metrics}
    for count, protocol in ((5, "paper"), (1, "standard")):
        images = validation_set(TrainConfig(**PLAIN | {"val_count": count}, protocol=protocol))
        scores[f"{count} {protocol}"] = evaluate(result.model, images, batch_size=1, protocol=protocol)
    path = out.parent / f"{out.name}-{distributed.process_index()}.json"
    path.write_text(json.dumps({"log": result.log, "scores": scores}))
    distributed.disconnect()


@pytest.fixture(scope="module")
def runs(tmp_path_factory, cache):
    """{name: what each process got} of one process, two passes, and two processes."""
    folder = tmp_path_factory.mktemp("runs")
    hooks = (child.freeze_norms, child.add_an_idle_parameter)
    for name, accumulate in (("one", 1), ("passes", 2)):
        log = folder / "log.txt"
        assert child.finish(child.start(train_and_score, folder / name, accumulate, log=log, hooks=hooks)) == 0
    assert child.together(train_and_score, folder / "two", count=2, folder=folder, hooks=hooks) == [0, 0]
    written = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    return folder, written


def close(a, b, tolerance):
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        return all(close(a[key], b[key], tolerance) for key in a)
    return math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-9) or (math.isnan(a) and math.isnan(b))


def test_the_halves_of_a_batch_weigh_differently(cache):
    """Or the next test would prove nothing: valid pixels and negatives are spread unevenly over processes."""
    config = TrainConfig(**PLAIN)
    images, criterion = training_set(config), MultiTaskLoss(TASKS)
    uneven = dict.fromkeys(("human_parts", "sal"), 0.0)
    for batch in training_loader(images, Draws(len(images), range(config.steps), 8)):
        halves = [criterion.counts({task: batch[task][part::2] for task in TASKS}) for part in range(2)]
        for task in uneven:
            first, second = (half[task][0].item() for half in halves)
            uneven[task] = max(uneven[task], abs(first - second) / max(first, second))
    assert uneven["human_parts"] > 0.3
    assert uneven["sal"] > 0.03


@pytest.mark.parametrize("other", ["passes-0", "two-0", "two-1"])
def test_two_passes_and_two_processes_train_as_one(runs, other):
    one, split = runs[1]["one-0"], runs[1][other]
    assert len(one["log"]) == len(split["log"]) == PLAIN["steps"]
    assert one["log"][-1]["total"] < 0.9 * one["log"][0]["total"]
    for expected, record in zip(one["log"], split["log"], strict=True):
        assert close(expected, record, 1e-4), (expected, record)
    for key, scores in one["scores"].items():  # of which others jump where a pixel crosses a threshold
        assert close(ml.headline(scores), ml.headline(split["scores"][key]), 3e-3), key


def test_every_process_gets_the_same_scores(runs):
    assert runs[1]["two-0"] == runs[1]["two-1"]


def score_fixed_model(path):
    """Score a model that is the same everywhere on five images, two or three a process, and on one."""
    torch.manual_seed(0)
    model = build_from_config(TrainConfig(**PLAIN))
    connect()
    scores = {}
    for count in (5, 1):
        for protocol in ("standard", "paper"):
            images = validation_set(TrainConfig(**PLAIN | {"val_count": count}, protocol=protocol))
            scores[f"{count} {protocol}"] = evaluate(model, images, batch_size=1, protocol=protocol)
    path.with_name(f"{path.name}-{distributed.process_index()}.json").write_text(json.dumps(scores))
    distributed.disconnect()


def test_evaluation_is_exact_where_processes_have_unlike_numbers_of_images_or_none(tmp_path):
    score = score_fixed_model
    assert child.finish(child.start(score, tmp_path / "one", log=tmp_path / "log.txt")) == 0
    assert child.together(score, tmp_path / "two", count=2, folder=tmp_path) == [0, 0]
    one, first, second = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one-0", "two-0", "two-1"))
    for got in (first, second):
        for key, scores in one.items():
            assert close(scores, got[key], 1e-12), key


def test_only_the_main_process_writes_and_speaks(runs):
    folder, _ = runs
    assert "train mtlora" in (folder / "0.txt").read_text()
    assert (folder / "1.txt").read_text() == ""
    lines = (folder / "two/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, PLAIN["steps"] + 1))


def test_an_error_is_told_once_and_ends_all_processes(tmp_path):
    words = ["train", "--batch-size", "3", "--train-count", "4", "--val-count", "1", "--img-size", "64"]
    arguments = [*words, "--no-pretrained", "--out", str(tmp_path / "run")]
    assert child.together(child.cli.main, arguments, count=2, folder=tmp_path) == [2, 2]
    assert "error: A batch of 3 images does not split evenly into 2 process(es)" in (tmp_path / "0.txt").read_text()
    assert "error" not in (tmp_path / "1.txt").read_text()


@pytest.mark.parametrize("combine", ["matrix", "addition"])
def test_idle_parameters_are_those_that_never_get_a_gradient(combine, cache):
    model = build_from_config(TrainConfig(**PLAIN | {"options": PLAIN["options"] | {"combine": combine}}))
    model.spare = torch.nn.Parameter(torch.ones(2))
    names = {parameter: name for name, parameter in model.named_parameters()}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    idle = {names[parameter] for parameter in idle_parameters(model)}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    sum(out.square().sum() for out in model.train()(torch.randn(2, 3, 64, 64)).values()).backward()
    assert idle == {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert "spare" in idle


# A notebook's launcher forks a kernel that has computed before, with all threads.
FORKED = """
import os, signal, sys
import torch
from mtlora_lite.trainer import connect

torch.set_num_threads(2)
torch.ones(10**6).exp().sum()
child = os.fork()
if child == 0:
    signal.alarm(60)  # ends it, should it wait for threads that are not there
    connect()
    torch.ones(10**6).exp().sum()
    os._exit(0)
sys.exit(os.waitpid(child, 0)[1])
"""


def test_a_fork_of_a_process_that_has_used_threads_can_compute():
    assert subprocess.run([sys.executable, "-c", FORKED], check=False).returncode == 0


def test_a_free_port_can_be_listened_on_and_is_no_other_ones():
    with socket.create_server(("127.0.0.1", int(distributed.free_port()))) as server:
        assert distributed.free_port() != str(server.getsockname()[1])
