"""The folder of a run: what lies in it, whose it is, and how it is cut back to where a checkpoint was taken."""

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mtlora_lite.disk import writing_to
from mtlora_lite.distributed import on_main
from mtlora_lite.records import append_json, write_atomically

CONFIG_FILE, LOG_FILE, EVALUATIONS_FILE, METRICS_FILE = "config.json", "log.jsonl", "evaluations.jsonl", "metrics.json"
REFERENCE_FILE = "reference.json"
LAST, BEST = "model", "best"  # folders of models
CHECKPOINTS = "checkpoints"
REPORT_FILE, FIGURES, TENSORBOARD = "report.md", "report", "tensorboard"
LOCK_FILE = ".lock"
REMEDY = "Choose a folder that can be written to with --out, or make room there."

Record = dict[str, Any]


def holds_run(out: Path) -> bool:
    """Return whether a run has left anything in a folder that a new one would lose."""
    return any((out / name).exists() for name in (LOG_FILE, CHECKPOINTS, METRICS_FILE, LAST, BEST))


def check_free(out: Path) -> None:
    """Raise ``ValueError`` if a new run would overwrite another one."""
    if holds_run(out):
        raise ValueError(f"{out} holds a run already: go on with it by --resume, or choose another folder by --out.")


def check_begun(out: Path) -> None:
    """Raise ``ValueError`` if a run without checkpoints has come so far that to begin again would lose something."""
    if any((out / name).exists() for name in (METRICS_FILE, LAST, BEST)):
        raise ValueError(
            f"{out} holds a trained model but no checkpoint to go on from: choose another folder by --out."
        )


def clear(out: Path) -> None:
    """Remove what a run has left in a folder, and nothing else."""
    for name in (CONFIG_FILE, LOG_FILE, EVALUATIONS_FILE, METRICS_FILE, REPORT_FILE):
        (out / name).unlink(missing_ok=True)
    for name in (LAST, BEST, CHECKPOINTS, FIGURES, TENSORBOARD):
        shutil.rmtree(out / name, ignore_errors=True)


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Make the folder of a run and keep every other run out of it meanwhile, however this one ends.

    Raises:
        ValueError: another run is at work there.
        OSError: it cannot be written to.
    """
    lock = FileLock(out / LOCK_FILE, timeout=0)

    def acquire() -> None:
        with writing_to(out, REMEDY):
            out.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout as error:
                raise ValueError(
                    f"Another run is writing to {out}: wait for it, or choose another folder by --out."
                ) from error

    on_main(acquire)
    try:
        yield
    finally:
        lock.release()  # nothing, on processes that do not hold it


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add a line to a file of a run."""
    with writing_to(path.parent, REMEDY):
        append_json(path, record)


def read_metrics(out: Path) -> Record:
    """Read ``metrics.json``; in scores a null, which stands there for what is no number, is NaN again."""
    record = json.loads((out / METRICS_FILE).read_text())
    scores = record["metrics"].items()
    numbers = {t: {name: math.nan if value is None else value for name, value in own.items()} for t, own in scores}
    return record | {"metrics": numbers}


def cut_back(path: Path, step: int) -> list[Record]:
    """Drop the lines of later steps from a file of JSON lines, and return what is left."""
    if not path.is_file():
        return []
    lines = path.read_text().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]  # a run that was killed may leave half a line
    kept = [line for line in whole if json.loads(line)["step"] <= step]
    if kept != lines:
        with writing_to(path.parent, REMEDY):
            write_atomically(path, lambda temporary: temporary.write_text("".join(kept)))
    return [json.loads(line) for line in kept]
