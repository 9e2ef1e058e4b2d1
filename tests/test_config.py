"""A run's options in a JSON file: what comes back is what was written, and what is wrong with a file is said."""

import dataclasses
import json
from pathlib import Path

import pytest

from mtlora_lite.cli import main
from mtlora_lite.config import PRESETS, TrainConfig, preset, read_options
from mtlora_lite.records import as_json, write_json

ODD = TrainConfig(
    data="somewhere", tasks=("depth", "edge"), steps=7, epochs=None, augment=(), drop_path=0.0, method="mtlora_plus",
    options={"rank": [1, 2, 3, 4], "task_rank": {"depth": 2}}, pretrained=False, eval_every=3, reference="before.json",
    loss_weights={"depth": 0.5}, boundary=True, lr=1, out=Path("runs/odd"),
)  # fmt: skip


@pytest.mark.parametrize("config", [ODD, TrainConfig(), *map(preset, PRESETS)], ids=["odd", "default", *PRESETS])
def test_what_a_run_writes_is_read_back(config, tmp_path):
    write_json(tmp_path / "config.json", dataclasses.asdict(config))
    found, expected = (dataclasses.asdict(c) for c in (TrainConfig(**read_options(tmp_path / "config.json")), config))
    for name in ("options", "decoder_options"):  # lists and tuples are the same to those who take these
        expected[name] = as_json(expected[name])
    assert found == expected


def test_a_part_of_the_options_is_enough(tmp_path):
    (tmp_path / "mine.json").write_text('{"steps": 12, "tasks": ["sal"], "lr": 1}')
    options = read_options(tmp_path / "mine.json")
    assert options == {"steps": 12, "tasks": ("sal",), "lr": 1.0}
    assert isinstance(options["lr"], float)


WRONG = {
    '{"stepz": 3}': "there is no option 'stepz'. Did you mean 'steps'? See: mtlora train --help.",
    '{"steps": "3"}': 'steps is "3", but should be a whole number.',
    '{"steps": 3.5}': "steps is 3.5, but should be a whole number.",
    '{"steps": true}': "steps is true, but should be a whole number.",
    '{"steps": null}': "steps is null, but should be a whole number.",
    '{"epochs": "many"}': 'epochs is "many", but should be a whole number.',
    '{"lr": "fast"}': 'lr is "fast", but should be a number.',
    '{"lr": false}': "lr is false, but should be a number.",
    '{"boundary": 1}': "boundary is 1, but should be true or false.",
    '{"tasks": "depth"}': 'tasks is "depth", but should be a list.',
    '{"tasks": ["depth", 3]}': "tasks is 3, but should be text.",
    '{"options": [["rank", 4]]}': 'options is [["rank", 4]], but should be an object.',
    '{"out": 5}': "out is 5, but should be text.",
    '{"method": ["mtlora"]}': 'method is ["mtlora"], but should be text.',
    '["steps"]': "does not hold options, which look like",
    '{"steps": 3': "is not JSON: ",
    "steps: 3": "is not JSON: ",
    "": "is not JSON: ",
}


@pytest.mark.parametrize(("text", "said"), WRONG.items())
def test_what_is_wrong_with_a_file_is_said_in_one_line(text, said, tmp_path, capsys):
    file = tmp_path / "mine.json"
    file.write_text(text)
    assert main(["train", "--config", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {file}")
    assert said in line


def test_a_file_that_cannot_be_read_is_said(tmp_path, capsys):
    for path in (tmp_path / "none.json", tmp_path):
        assert main(["train", f"--config={path}"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: Cannot read {path} (")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    assert main(["train", f"--config={tmp_path / 'binary.json'}"]) == 2
    assert "is not JSON" in capsys.readouterr().err


def test_a_file_and_a_preset_are_one_too_many(tmp_path, capsys):
    assert main(["train", "--preset", "demo", "--config", str(tmp_path / "mine.json")]) == 2
    assert "Give --preset or --config, not both" in capsys.readouterr().err


@pytest.mark.usefixtures("cache")
def test_a_run_is_repeated_from_the_file_that_it_wrote(tmp_path):
    small = ["--tasks", "sal", "--img-size", "64", "--steps", "2", "--batch-size", "2", "--train-count", "4"]
    small += ["--val-count", "4", "--options", "rank=2", "task_rank=1", "--decoder-options", "expansion=1"]
    assert main(["train", *small, "--out", str(tmp_path / "first")]) == 0
    again = ["--config", str(tmp_path / "first/config.json"), "--out", str(tmp_path / "second"), "--seed", "0"]
    assert main(["train", *again]) == 0
    first, second = ((tmp_path / run / "log.jsonl").read_text() for run in ("first", "second"))
    assert first == second
    configs = [json.loads((tmp_path / run / "config.json").read_text()) for run in ("first", "second")]
    assert {name for name in configs[0] if configs[0][name] != configs[1][name]} == {"out"}
