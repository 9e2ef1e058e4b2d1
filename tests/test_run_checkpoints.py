"""Checkpoints of runs appear whole or not at all, tell when they are damaged, and leave one to fall back on."""

import json

import pytest
import torch

from mtlora_lite import checkpoints
from mtlora_lite.checkpoints import STATE_FILE, newest, read, steps, write


def files(step):
    return {"weights.safetensors": {"a": torch.full((3, 4), step), "b": torch.arange(5.0).view(5, 1).t()}}


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of the steps 10 to 40, of which the last two are kept."""
    for step in (10, 20, 30, 40):
        write(tmp_path / "checkpoints", step, files(step), {"step": step, "seconds": 1.5, "nothing": float("nan")})
    return tmp_path / "checkpoints"


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_the_two_newest_are_kept_and_the_newest_is_read(folder):
    assert steps(folder) == [30, 40]
    found = newest(folder)
    assert found.state == {"step": 40, "seconds": 1.5, "nothing": None}
    for name, value in files(40)["weights.safetensors"].items():
        assert torch.equal(found.tensors("weights.safetensors")[name], value)
    assert {path.name for path in folder.iterdir()} == {"step-00000030", "step-00000040"}
    assert newest(folder.parent / "elsewhere") is None


@pytest.mark.parametrize(("name", "position"), [("weights.safetensors", -1), (STATE_FILE, 40), (STATE_FILE, 5)])
def test_a_flipped_bit_is_noticed_and_the_one_before_is_taken(folder, name, position):
    path = folder / "step-00000040" / name
    flip(path, position)
    with pytest.warns(UserWarning, match=rf"{path} is damaged.*The checkpoint before it is taken"):
        assert newest(folder).state["step"] == 30


def test_every_bit_of_the_state_counts(folder):
    """Whatever is flipped in ``state.json``, it is refused, or says the same."""
    path = folder / "step-00000040" / STATE_FILE
    content, state = path.read_bytes(), read(path.parent).state
    accepted = []
    for position in range(len(content)):
        flip(path, position)
        try:
            accepted.append(read(path.parent).state)
        except ValueError as error:
            refused = str(error)
        path.write_bytes(content)
    assert all(found == state for found in accepted)
    assert len(accepted) < len(content) / 2  # white space, for one
    assert str(path) in refused


def test_files_that_are_gone_are_named_and_where_all_is_damaged_nothing_is_taken(folder):
    (folder / "step-00000040/weights.safetensors").unlink()
    with pytest.warns(UserWarning, match=r"step-00000040/weights.safetensors cannot be read \(No such file"):
        assert newest(folder).state["step"] == 30
    flip(folder / "step-00000030/weights.safetensors", 100)
    with (
        pytest.warns(UserWarning, match="step-00000040"),
        pytest.raises(ValueError, match=r"step-00000030/weights.safetensors is damaged.*No other checkpoint is left"),
    ):
        newest(folder)


def test_a_damaged_later_one_makes_room_for_that_of_a_run_that_fell_back(folder):
    flip(folder / "step-00000040/weights.safetensors", -1)
    write(folder, 35, files(35), {"step": 35})
    assert steps(folder) == [30, 35]
    write(folder, 40, files(40), {"step": 40})
    assert steps(folder) == [35, 40]
    assert newest(folder).state["step"] == 40


def test_a_write_that_fails_leaves_what_there_was(folder, monkeypatch):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    wrote = checkpoints._write

    def full(path, content):
        if path.name == STATE_FILE:
            raise OSError(28, "No space left on device")
        return wrote(path, content)

    monkeypatch.setattr(checkpoints, "_write", full)
    with pytest.raises(OSError, match=r"Cannot write to .*No space left on device; .* are free there.*Make room there"):
        write(folder, 50, files(50), {"step": 50})
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_what_a_killed_run_left_half_written_is_no_checkpoint(folder):
    half = folder / "step-00000050.tmp"
    half.mkdir()
    (half / STATE_FILE).write_text(json.dumps({}))
    assert newest(folder).state["step"] == 40
    write(folder, 50, files(50), {"step": 50})
    assert not half.exists()
