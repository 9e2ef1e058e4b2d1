"""A run that is killed again and again, at any moment, is in the end the run that nobody touched."""

import os
import random
import signal
import time

import child
import pytest

KILLS = 20
STEPS = 150
WORDS = [
    "train", "--tasks", "semseg", "depth", "--img-size", 64, "--train-count", 14, "--val-count", 4, "--steps", STEPS,
    "--batch-size", 4, "--no-pretrained", "--decoder-options", "expansion=1", "--drop-path", 0.3, "--options", "rank=3",
    'task_rank={"semseg": 1, "depth": 2}', "scale=3", "dropout=0.2", "--augment", "flip", "rotate", "jitter",
    "--ema", "0.9", "--save-every", "1", "--eval-every", "4",
]  # fmt: skip


def lines(out):
    return (out / "log.jsonl").read_text().count("\n") if (out / "log.jsonl").exists() else 0


@pytest.mark.usefixtures("cache")
def test_twenty_kills_at_random_moments_change_no_bit(tmp_path):
    draw = random.Random(0)
    whole, out, log = tmp_path / "whole", tmp_path / "run", tmp_path / "log.txt"
    assert child.run(*WORDS, "--out", whole, log=log) == 0
    steps, half_written = [], 0
    for _ in range(KILLS):
        more = ["--out", out, "--resume", "--workers", draw.choice((0, 0, 2))]
        process = child.start(child.cli.main, [str(word) for word in [*WORDS, *more]], log=log)
        awaited = lines(out) + draw.randint(0, 5)
        while lines(out) < awaited:
            assert process.is_alive(), log.read_text()
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.5))  # in a step, while a checkpoint is written, evaluating, ...
        os.kill(process.pid, signal.SIGKILL)
        assert child.finish(process) == -signal.SIGKILL
        steps.append(lines(out))
        half_written += any((out / "checkpoints").glob("*.tmp"))
    print(f"killed after the steps {steps}, {half_written} times while a checkpoint was written")
    assert child.run(*WORDS, "--out", out, "--resume", log=log) == 0
    for name in ("log.jsonl", "evaluations.jsonl", "model/model.safetensors"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
