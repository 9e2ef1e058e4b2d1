"""Models taken away by the command a user would type: what is written predicts the same, elsewhere and without us."""

import dataclasses
import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from taken_away import MODELS, SHAPE, TASKS, agree, make
from timm.models.swin_transformer import SwinTransformer

import mtlora_lite as ml
from mtlora_lite import export as exporting
from mtlora_lite.cli import main
from mtlora_lite.export import ExportConfig, export, merged
from mtlora_lite.unpickle import read_state_dict

SHARED = Path(__file__).parents[1].parent / "shared"
OFFICIAL = SHARED / "fixtures/m1_matrix/ckpt_official.pth"

each_model = pytest.mark.parametrize("kind", MODELS)


@pytest.fixture
def images():
    return torch.randn(3, 3, 64, 96)


@pytest.fixture
def saved(tmp_path):
    """A function that saves a model of some kind, and returns it with its folder."""

    def save(kind):
        model = make(kind)
        return model, model.save_pretrained(tmp_path / kind)

    return save


# ------------------------------------------------------------------------------------------------------------ merged


@each_model
@torch.inference_mode()
def test_merged_predicts_the_same_from_its_folder_alone(kind, saved, images, tmp_path, monkeypatch):
    model, folder = saved(kind)
    result = export(ExportConfig(to="merged", checkpoint=folder, out=tmp_path / "out"))
    found = ml.MultiTaskModel.from_pretrained(tmp_path / "out")
    agree(found(images), model(images))
    shared = [name for name, _ in found.named_parameters() if "lora_ta_" in name]
    forked = [f"{name}.lora_ta_{side}" for name, module in model.named_modules() for side in "AB"
              if hasattr(module, "lora_ts_A") and kind in ("matrix", "plus")]  # fmt: skip
    assert sorted(shared) == sorted(forked)
    assert result.deviations.keys() == set(TASKS)
    assert max(off / span for off, span in result.deviations.values()) < 1e-5


@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "addition"])
@torch.inference_mode()
def test_merged_keeps_the_chosen_tasks_only(kind, saved, images, tmp_path):
    model, folder = saved(kind)
    for tasks in (("depth",), ("normals", "semseg")):
        arguments = ["export", "--to", "merged", "--checkpoint", str(folder), "--out", str(tmp_path / "out")]
        assert main([*arguments, "--tasks", *tasks]) == 0
        found = ml.MultiTaskModel.from_pretrained(tmp_path / "out")
        assert found.tasks == tasks
        agree(found(images), model(images, tasks))
        other = set(TASKS) - set(tasks)
        assert not [name for name in found.state_dict() if other & set(name.split("."))]


def test_addition_cannot_leave_a_task_out(saved, tmp_path):
    _, folder = saved("addition")
    with pytest.raises(ValueError, match=r"none can be left out: take semseg, normals, depth"):
        export(ExportConfig(to="merged", checkpoint=folder, out=tmp_path / "out", tasks=("depth",)))
    assert not (tmp_path / "out").exists()


@torch.inference_mode()
def test_merged_needs_no_pretrained_weights_and_says_how_large_it_is(tmp_path, monkeypatch, capsys, images):
    """The demo's model: its adapters need the embedded backbone, what is written of it does not."""
    monkeypatch.chdir(tmp_path)
    assert main(["export", "--to", "merged", "--tasks", "sal", "depth"]) == 0
    said = capsys.readouterr().out
    assert "Wrote runs/exported/merged: " in said
    assert "MB (what it was made of: 3.6 MB, and with the frozen weights 13.6 MB)" in said
    expected = exporting.load_checkpoint(exporting.data_dir() / exporting.DEMO_CHECKPOINT)
    images = torch.randn(2, 3, 128, 128)
    expected = expected(images, ["sal", "depth"])
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("asked for a backbone by its name"))
    agree(ml.MultiTaskModel.from_pretrained("runs/exported/merged")(images), expected)


@torch.inference_mode()
def test_what_is_merged_already_can_be_merged_and_taken_away_again(saved, images, tmp_path):
    model, _ = saved("matrixv2")
    once = merged(model)
    assert not any(layer.merged for layer in model.modules() if hasattr(layer, "merged"))  # the model is as it was
    twice = merged(once, ["depth"])
    agree(twice(images), model(images, ["depth"]))
    agree(merged(model.merge())(images), model(images))
    assert once.merge() is once.unmerge()
    agree(once.train().eval()(images), model(images))
    once.save_pretrained(tmp_path / "once")
    export(ExportConfig(to="merged", checkpoint=tmp_path / "once", out=tmp_path / "twice", tasks=("depth",)))
    agree(ml.MultiTaskModel.from_pretrained(tmp_path / "twice")(images), model(images, ["depth"]))
    with pytest.raises(ValueError, match="the checkpoint that this model was made of"):
        export(ExportConfig(to="official", checkpoint=tmp_path / "once", out=tmp_path / "once.pth"))


def test_what_is_written_says_how_the_model_scored_on_its_tasks(saved, tmp_path):
    """Of the folder that training writes: the model, and beside it the scores."""
    model, folder = saved("matrix")
    (tmp_path / "run").mkdir()
    folder.rename(tmp_path / "run" / "model")
    scores = {
        "metrics": {"semseg": {"mIoU": 31.5}, "normals": {"mean": 23.1}, "depth": {"rmse": 5.75}}, "delta_m": 7.25,
        "reference": "r", "data": "scenes", "split": "test", "images": 200, "protocol": "standard",
    }  # fmt: skip
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(scores))
    for tasks, shown in ((model.tasks, "+7.25 %"), (("depth",), None)):
        result = export(ExportConfig(to="merged", checkpoint=tmp_path / "run", out=tmp_path / "out", tasks=tasks))
        card = (result.path / "README.md").read_text()
        assert "| Depth | rmse ↓ | 5.75 m |" in card
        assert "the shared updates lie in the weights, for good" in card
        assert shown in card if shown else ("Δm" not in card and "semseg" not in card)  # Δm is a mean over all tasks


# -------------------------------------------------------------------------------------------------------------- timm


def shared_stream(model, images):
    """What comes out of each stage on the shared stream, (B, C, H, W)."""
    seen = []
    for stage in model.backbone.layers:
        stage.blocks[-1].register_forward_hook(lambda *call: seen.append(call[-1]))
    model(images)
    return [(output[0] if isinstance(output, tuple) else output).permute(0, 3, 1, 2) for output in seen]


@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "addition"])
@torch.inference_mode()
def test_a_plain_swin_of_timm_has_the_shared_stream(kind, images, tmp_path):
    model = make(kind)
    exporting.save_trunk(model, tmp_path / "trunk.safetensors")
    swin = SwinTransformer(img_size=(64, 96), num_classes=0, **SHAPE).eval()
    timm.models.load_checkpoint(swin, str(tmp_path / "trunk.safetensors"))  # strict
    features = swin.forward_intermediates(images, intermediates_only=True)
    for found, expected in zip(features, shared_stream(model, images), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    exporting.save_trunk(model.merge(), tmp_path / "merged.safetensors")
    unmerged, again = (load_file(tmp_path / f"{name}.safetensors") for name in ("trunk", "merged"))
    torch.testing.assert_close(unmerged, again)


@torch.inference_mode()
def test_timm_builds_it_from_the_file_as_the_command_says(tmp_path, monkeypatch, capsys):
    """A Swin that timm knows by name: the line that is printed is run."""
    monkeypatch.chdir(tmp_path)
    tasks, name = ["sal", "depth"], "swin_tiny_patch4_window7_224"
    model = ml.build_model(backbone=name, tasks=tasks, img_size=64, pretrained=False, rank=2, task_rank=1).eval()
    for pname, parameter in model.named_parameters():
        if "lora_ta_B" in pname:
            parameter.data.normal_(std=0.02)
    model.save_pretrained("mine")
    assert main(["export", "--to", "timm", "--checkpoint", "mine", "--out", "trunk.safetensors"]) == 0
    line = capsys.readouterr().out.splitlines()[-1].strip()
    trunk = eval(line, {"timm": timm}).eval()
    images = torch.randn(2, 3, 64, 64)
    expected = shared_stream(model, images)
    features = trunk.forward_intermediates(images, intermediates_only=True)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)
    pyramid = timm.create_model(
        name, img_size=64, features_only=True, pretrained=True,
        pretrained_cfg_overlay={"file": "trunk.safetensors", "num_classes": 0},
    ).eval()  # fmt: skip
    features = [level.permute(0, 3, 1, 2) for level in pyramid(images)]
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_addition_fits_no_plain_swin_and_a_trunk_has_no_tasks(saved, tmp_path):
    _, folder = saved("addition")
    with pytest.raises(ValueError, match="fits into no plain Swin"):
        export(ExportConfig(to="timm", checkpoint=folder, out=tmp_path / "trunk.safetensors"))
    with pytest.raises(ValueError, match="--tasks has no meaning for timm"):
        export(ExportConfig(to="timm", checkpoint=folder, tasks=("depth",)))


# -------------------------------------------------------------------------------------------------------- the check


def test_what_predicts_something_else_is_not_passed_over(saved, tmp_path, monkeypatch):
    _, folder = saved("matrix")
    worse = dataclasses.replace(
        exporting.FORMS["merged"], write=lambda model, path: make("matrix").save_pretrained(path)
    )  # another model, with other random weights
    monkeypatch.setitem(exporting.FORMS, "merged", worse)
    with pytest.raises(ValueError, match="predicts something else than the model for semseg, normals, depth"):
        export(ExportConfig(to="merged", checkpoint=folder, out=tmp_path / "out"))


# ------------------------------------------------------------------------------------------------------ the paper's


@pytest.mark.skipif(not OFFICIAL.is_file(), reason="the released checkpoint is not beside the checkout")
@torch.inference_mode()
def test_a_released_checkpoint_becomes_ours_and_goes_back(tmp_path, capsys):
    options = ["--img-size", "128", "--scale", "4.0"]
    assert main(["export", "--from-official", str(OFFICIAL), "--out", str(tmp_path / "ours"), *options]) == 0
    model = ml.MultiTaskModel.from_pretrained(tmp_path / "ours")
    expected = ml.load_official(OFFICIAL, img_size=128)
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    for task, logits in expected(images).items():
        assert torch.equal(model(images)[task], logits)
    back = ["--to", "official", "--checkpoint", str(tmp_path / "ours"), "--out", str(tmp_path / "back.pth")]
    assert main(["export", *back]) == 0
    first, second = (read_state_dict(path) for path in (OFFICIAL, tmp_path / "back.pth"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (
        main(["export", "--from-official", str(OFFICIAL), "--to", "merged", "--out", str(tmp_path / "m"), *options])
        == 0
    )
    agree(ml.MultiTaskModel.from_pretrained(tmp_path / "m")(images), expected(images))


@torch.inference_mode()
def test_a_checkpoint_with_everything_can_be_trained_on(tmp_path, images):
    model = ml.build_model(backbone="swin_scenes_tiny", tasks=["sal"], img_size=64, rank=2, task_rank=1).eval()
    model.save_pretrained(tmp_path / "adapters")
    result = export(ExportConfig(to="checkpoint", checkpoint=tmp_path / "adapters", out=tmp_path / "all"))
    again = ml.MultiTaskModel.from_pretrained(tmp_path / "all")
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name, parameter in again.named_parameters() if parameter.requires_grad} == trained
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(again(images)["sal"], model(images)["sal"])
    assert result.size > (tmp_path / "adapters/model.safetensors").stat().st_size


# --------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Say what to write. Forms: --to merged, onnx, program, timm, checkpoint, official."),
        (["--to", "onxn"], "Unknown form 'onxn'. Did you mean 'onnx'?"),
        (["--from-official", "a.pth", "--checkpoint", "b"], "one of the two"),
        (["--to", "merged", "--checkpoint", "nowhere"], "nowhere holds no saved model"),
        (["--to", "merged", "--checkpoint", "FOLDER", "--tasks", "sal"], "no task 'sal'. Its tasks: semseg, depth"),
        (["--to", "merged", "--checkpoint", "FOLDER", "--tasks", "sla"], "Unknown task 'sla'. Did you mean 'sal'"),
        (["--to", "official", "--checkpoint", "FOLDER", "--tasks", "depth"], "--tasks has no meaning for official"),
        (["--to", "merged", "--checkpoint", "FOLDER", "--out", "FOLDER"], "is what is read"),
        (["--to", "merged", "--checkpoint", "RUN", "--out", "RUN"], "is what is read"),
        (["--to", "merged", "--checkpoint", "FOLDER", "--out", "FILE"], "is a file, and a folder is to be written"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments, message, checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in checkpoint.rglob("*")}
    (tmp_path / "file").touch()
    places = {"FOLDER": checkpoint / "model", "RUN": checkpoint, "FILE": tmp_path / "file"}
    assert main(["export", *(str(places.get(word, word)) for word in arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert {path: path.stat().st_mtime_ns for path in checkpoint.rglob("*")} == before
    assert not (tmp_path / "runs").exists()


def test_a_missing_package_is_said_with_the_command_that_gets_it(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mtlora_lite.extras.find_spec", lambda name: None if name.startswith("onnx") else object())
    assert main(["export", "--to", "onnx", "--checkpoint", str(checkpoint), "--out", str(tmp_path / "a.onnx")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install onnx onnxscript onnxruntime" in line
    assert not any(tmp_path.glob("*.onnx*"))


def test_a_folder_as_out_gets_the_file(checkpoint, tmp_path):
    result = export(ExportConfig(to="timm", checkpoint=checkpoint, out=tmp_path))
    assert result.path == tmp_path / "trunk.safetensors"
    assert [path.name for path in tmp_path.iterdir()] == ["trunk.safetensors"]
