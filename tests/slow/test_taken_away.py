"""Models taken away, where it takes long: the README's section on it, and every kind of model as graph and program."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from taken_away import MODELS, agree, make

import mtlora_lite as ml
from mtlora_lite.cli import main
from mtlora_lite.export import ExportConfig, export
from mtlora_lite.paths import data_dir
from mtlora_lite.photos import load_photo
from mtlora_lite.predict import load_checkpoint, open_predictor
from mtlora_lite.videos import read_frames, write_video

ROOT = Path(__file__).parents[2]
PHOTOS = [data_dir() / f"sample/JPEGImages/00000{index}.jpg" for index in range(3)]


@torch.inference_mode()
def test_the_readmes_section_runs_as_it_stands(tmp_path, monkeypatch):
    """Its commands, and then its code on what they wrote."""
    monkeypatch.chdir(tmp_path)
    Path("holiday").mkdir()
    for path in PHOTOS:
        shutil.copy(path, "holiday")
    write_video(Path("clip.mp4"), ((index / 10, np.asarray(load_photo(PHOTOS[0]))) for index in range(10)))
    section = (ROOT / "README.md").read_text().split("\n## Take it away\n")[1].split("\n## ")[0]
    commands, *python = re.findall(r"^```(?:bash|python away)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    for line in commands.splitlines():
        assert main(shlex.split(line.removeprefix("mtlora "), comments=True)) == 0
    names = {"ml": ml, "torch": torch}
    assert len(python) == 4
    for block in python:
        assert len(block.splitlines()) <= 10
        exec(block, names)
    model = load_checkpoint(data_dir() / "demo_mtlora")
    expected = model(names["images"], ["semseg", "depth"])
    agree(names["expected"], expected)
    agree(names["logits"], expected)
    agree({task: torch.from_numpy(names[task]) for task in expected}, expected, 1e-4)
    assert names["mean"] == [0.485, 0.456, 0.406]
    assert names["classes"][15] == "person"
    assert [level.shape[1:] for level in names["features"]] == [(32, 32, 32), (64, 16, 16), (128, 8, 8), (256, 4, 4)]
    written = sorted(path.name for path in Path("runs/predictions").iterdir())
    assert written == ["000000.png", "000001.png", "000002.png", "clip.mp4"]
    assert len(list(read_frames(Path("runs/predictions/clip.mp4")))) == 5


@pytest.mark.parametrize("form", ["program", "onnx"])
@pytest.mark.parametrize("kind", MODELS)
@torch.inference_mode()
def test_every_kind_predicts_the_same_from_a_file(kind, form, tmp_path):
    torch.manual_seed(0)
    model = make(kind)
    model.save_pretrained(tmp_path / "model")
    result = export(ExportConfig(to=form, checkpoint=tmp_path / "model", out=tmp_path / "file"))
    predictor = open_predictor(result.path, torch.device("cpu"))
    for count in (1, 4):
        images = torch.randn(count, 3, 64, 96)
        agree(predictor(images), model(images), 1e-4)
