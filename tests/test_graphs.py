"""Models as files that run without this package: an ONNX graph and a program of torch.export."""

import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from taken_away import TASKS, agree, make

from mtlora_lite.cli import main
from mtlora_lite.export import ExportConfig, export
from mtlora_lite.graphs import OPSET, is_program, read_onnx
from mtlora_lite.paths import data_dir
from mtlora_lite.predict import open_predictor

SHALLOW = (1, 1, 1, 1)  # blocks per stage: tracing takes its time
CPU = torch.device("cpu")


@pytest.fixture
def saved(tmp_path):
    """A function that saves a model of some kind, and returns it with its folder."""

    def save(kind):
        model = make(kind, SHALLOW)
        return model, model.save_pretrained(tmp_path / kind)

    return save


def same_pictures(folder, file, tmp_path, *options):
    """Photos look the same through a folder and a file made of it."""
    photos = [str(data_dir() / f"sample/JPEGImages/00000{index}.jpg") for index in range(3)]
    for checkpoint, out in ((folder, "one"), (file, "other")):
        assert main(["predict", *photos, *options, "--checkpoint", str(checkpoint), "--out", str(tmp_path / out)]) == 0
    for path in sorted((tmp_path / "one").iterdir()):
        with Image.open(path) as one, Image.open(tmp_path / "other" / path.name) as other:
            difference = np.abs(np.asarray(one, int) - np.asarray(other, int))
        assert (difference > 3).mean() < 1e-3  # a pixel between two classes may fall to either side


@torch.inference_mode()
def test_onnx_agrees_for_any_number_of_images_and_says_what_it_is(saved, tmp_path):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    model, folder = saved("matrix")
    result = export(ExportConfig(to="onnx", checkpoint=folder, out=tmp_path / "model.onnx"))
    onnx.checker.check_model(str(result.path), full_check=True)
    assert [(entry.domain, entry.version) for entry in onnx.load(result.path).opset_import] == [("", OPSET)]
    session = onnxruntime.InferenceSession(result.path, providers=["CPUExecutionProvider"])
    assert [(entry.name, entry.shape) for entry in session.get_inputs()] == [("images", ["batch", 3, 64, 96])]
    assert [(entry.name, entry.shape[1:]) for entry in session.get_outputs()] == [
        ("semseg", [21, 64, 96]), ("normals", [3, 64, 96]), ("depth", [1, 64, 96])
    ]  # fmt: skip
    for count in (1, 2, 5):
        images = torch.randn(count, 3, 64, 96)
        outputs = session.run(None, {"images": images.numpy()})
        agree(dict(zip(TASKS, map(torch.from_numpy, outputs), strict=True)), model(images), 1e-4)
    about = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
    assert about["image"]["mean"] == [0.485, 0.456, 0.406]
    assert about["image"]["size"] == [64, 96]
    assert about["tasks"]["semseg"]["classes"][15] == "person"
    assert list(about["tasks"]) == list(TASKS)
    predictor = read_onnx(result.path, torch.device("cpu"))
    images = torch.randn(1, 3, 64, 96)
    agree(predictor(images, ["depth"]), model(images, ["depth"]), 1e-4)
    with pytest.raises(ValueError, match=r"no task 'sal'. Its tasks: semseg, normals, depth"):
        predictor(images, ["sal"])
    same_pictures(folder, result.path, tmp_path)


LOAD_PROGRAM = """
import json, sys, numpy as np, torch
program = torch.export.load("model.pt2")
images = torch.from_numpy(np.load("images.npy"))
with torch.inference_mode():
    logits = program.module()(images)
np.savez("logits.npz", **{task: value.numpy() for task, value in logits.items()})
assert not [name for name in sys.modules if name.split(".")[0] in ("mtlora_lite", "timm")]
"""


@torch.inference_mode()
def test_a_program_runs_in_a_process_without_this_package(saved, tmp_path):
    model, folder = saved("plus")
    arguments = ["--checkpoint", str(folder), "--tasks", "normals", "depth", "--out", str(tmp_path / "model.pt2")]
    assert main(["export", "--to", "program", *arguments]) == 0
    images = torch.randn(5, 3, 64, 96)
    np.save(tmp_path / "images.npy", images.numpy())
    alone = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", LOAD_PROGRAM], cwd=tmp_path, env=alone, check=True)
    found = {task: torch.from_numpy(value) for task, value in np.load(tmp_path / "logits.npz").items()}
    agree(found, model(images, ["normals", "depth"]))
    assert is_program(tmp_path / "model.pt2")
    assert not is_program(folder / "model.safetensors")
    (tmp_path / "model.pt2").rename(tmp_path / "model.onnx")  # it is known by what it is, not by its name
    predictor = open_predictor(tmp_path / "model.onnx", CPU)
    assert (predictor.tasks, predictor.img_size) == (("normals", "depth"), (64, 96))
    agree(predictor(images[:1], ["depth"]), model(images[:1], ["depth"]))
    same_pictures(folder, tmp_path / "model.onnx", tmp_path, "--tasks", "normals", "depth")


def test_programs_and_graphs_of_others_are_not_taken_for_ours(tmp_path):
    program = torch.export.export(torch.nn.ReLU(), (torch.zeros(2),))
    torch.export.save(program, tmp_path / "other.pt2")
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [value], [
        onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])])  # fmt: skip
    opset = onnx.helper.make_operatorsetid("", OPSET)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10), tmp_path / "other.onnx")
    for name in ("other.pt2", "other.onnx"):
        with pytest.raises(ValueError, match=f"{name} does not say what it predicts"):
            open_predictor(tmp_path / name, CPU)


def test_what_is_no_model_says_so(tmp_path):
    (tmp_path / "page.onnx").write_text("<html>")
    with pytest.raises(ValueError, match="is no ONNX graph"):
        open_predictor(tmp_path / "page.onnx", CPU)
    torch.save({"model": {}}, tmp_path / "ckpt.pth")
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("a", "b")
    for name in ("ckpt.pth", "archive.zip"):
        with pytest.raises(ValueError, match="is a file of weights"):
            open_predictor(tmp_path / name, CPU)
    with pytest.raises(FileNotFoundError, match="holds no saved model"):
        open_predictor(tmp_path / "nowhere.onnx", CPU)
