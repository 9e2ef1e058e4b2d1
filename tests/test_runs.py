"""The folder of a run: what belongs to it, and what is left of it at an earlier step."""

import json
import math

import pytest

from mtlora_lite import runs
from mtlora_lite.records import write_json


@pytest.fixture
def out(tmp_path):
    """A folder with all that a run leaves, and a note of its owner's."""
    for name in ("config.json", "log.jsonl", "evaluations.jsonl", "metrics.json", "notes.txt"):
        (tmp_path / name).write_text("{}\n")
    for name in ("model", "best", "checkpoints/step-00000003", "pictures"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    return tmp_path


def test_clearing_removes_the_run_and_nothing_else(out):
    assert runs.holds_run(out)
    runs.clear(out)
    assert sorted(path.name for path in out.iterdir()) == ["notes.txt", "pictures"]
    assert not runs.holds_run(out)
    runs.check_free(out)
    runs.clear(out / "nowhere")


@pytest.mark.parametrize("name", ["log.jsonl", "metrics.json", "model", "best", "checkpoints"])
def test_whatever_a_run_has_left_keeps_a_new_one_out(name, tmp_path):
    (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="holds a run already: go on with it by --resume, or choose another folder"):
        runs.check_free(tmp_path)


def test_cutting_back_drops_later_steps_and_half_a_line(tmp_path):
    path = tmp_path / "log.jsonl"
    for step in range(1, 6):
        runs.append(path, {"step": step, "total": 1 / step})
    whole = path.read_text()
    path.write_text(whole + '{"step": 6, "tot')
    assert [record["step"] for record in runs.cut_back(path, 9)] == [1, 2, 3, 4, 5]
    assert path.read_text() == whole
    assert runs.cut_back(path, 2) == [{"step": 1, "total": 1.0}, {"step": 2, "total": 0.5}]
    assert path.read_text() == "".join(whole.splitlines(keepends=True)[:2])
    assert runs.cut_back(tmp_path / "nothing.jsonl", 2) == []


def test_a_score_of_nothing_is_no_number_again(tmp_path):
    write_json(tmp_path / "metrics.json", {"metrics": {"semseg": {"mIoU": 3.5, "IoU/bus": math.nan}}, "delta_m": None})
    record = runs.read_metrics(tmp_path)
    assert record["delta_m"] is None
    assert record["metrics"]["semseg"]["mIoU"] == 3.5
    assert math.isnan(record["metrics"]["semseg"]["IoU/bus"])
    assert json.loads((tmp_path / "metrics.json").read_text())["metrics"]["semseg"]["IoU/bus"] is None


def test_a_folder_is_free_again_when_its_run_is_over(tmp_path):
    with runs.held(tmp_path / "run"):
        pass
    with pytest.raises(RuntimeError, match="broken"), runs.held(tmp_path / "run"):
        raise RuntimeError("broken")
    with runs.held(tmp_path / "run"):
        assert (tmp_path / "run" / runs.LOCK_FILE).is_file()
