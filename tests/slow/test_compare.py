"""A comparison whose process is killed."""

import os
import signal
import time
from pathlib import Path

import child
import pytest

WORDS = [
    "compare", "--methods", "decoders_only", "bitfit", "--baseline", "decoders_only", "--tasks", "semseg", "depth",
    "--img-size", 64, "--train-count", 14, "--val-count", 4, "--steps", 5000, "--batch-size", 4, "--seeds", 1, "--jobs",
    2, "--decoder-options", "expansion=1",
]  # fmt: skip


def children(parent):
    """Processes by number whose parent this is; the fourth word of a process's stat, the second after its name."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_comparison_that_is_killed_leaves_nobody_training_and_what_they_did_is_saved(tmp_path, number):
    log = tmp_path / "log.txt"
    process = child.start(child.cli.main, [str(word) for word in [*WORDS, "--out", tmp_path / "out"]], log=log)
    end = time.monotonic() + child.WAIT
    while len(list(tmp_path.glob("out/*/log.jsonl"))) < 2:
        assert process.is_alive(), log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)
    workers = children(process.pid)
    assert len(workers) >= 2
    os.kill(process.pid, number)
    assert child.finish(process) == -number
    end = time.monotonic() + 60
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < end, f"{workers} go on"
        time.sleep(0.1)
    assert len(list(tmp_path.glob("out/*/checkpoints/*"))) >= 2
