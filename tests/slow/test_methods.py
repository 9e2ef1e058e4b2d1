"""Every method by the commands of a user: trained, interrupted and resumed, scored, exported in every form."""

import json
import re

import pytest
import tiny
import torch
from methods_zoo import ZOO, method_of, options_of, tasks_of, trained
from safetensors.torch import load_file
from taken_away import agree

import mtlora_lite as ml
from mtlora_lite.backbones import build_backbone
from mtlora_lite.cli import main
from mtlora_lite.config import TrainConfig, read_options
from mtlora_lite.engine import train
from mtlora_lite.export import FORMS, ExportConfig, export, merged
from mtlora_lite.methods import METHODS, method_options

each = pytest.mark.parametrize("kind", ZOO)


def words(kind, out, *more):
    """``mtlora train`` of two tasks on a few scenes; single_task has one."""
    tasks = tasks_of(kind)
    options = [f"{key}={json.dumps(value)}" for key, value in options_of(kind, tasks).items() if key != "dropout"]
    return [
        "train", "--method", method_of(kind), "--tasks", *tasks, "--img-size", "64", "--train-count", "8",
        "--val-count", "2", "--batch-size", "4", "--steps", "4", "--save-every", "2", "--out", str(out),
        "--decoder-options", "expansion=1", *(["--options", *options] if options else []), *more,
    ]  # fmt: skip


class Stopped(Exception):
    """What interrupts a run here."""


def stop_after_three(record, model):
    if record["step"] == 3:
        raise Stopped


@each
@pytest.mark.usefixtures("cache")
def test_a_run_that_stopped_half_way_ends_as_one_that_did_not(kind, tmp_path, capsys):
    if kind == "single_task":
        pytest.skip("a run per task: its runs are those of full, and tests/test_engine.py has them")
    assert main(words(kind, tmp_path / "whole")) == 0

    options = read_options(tmp_path / "whole" / "config.json") | {"out": tmp_path / "part"}
    assert options["method"] == method_of(kind)
    with pytest.raises(Stopped):
        train(TrainConfig(**options), on_step=stop_after_three)
    assert main(words(kind, tmp_path / "part", "--resume")) == 0
    for name in ("log.jsonl", "model/model.safetensors"):
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    model = ml.MultiTaskModel.from_pretrained(tmp_path / "part" / "model")
    trains = {name for name, parameter in model.backbone.named_parameters() if parameter.requires_grad}
    stored = load_file(tmp_path / "part" / "model" / "model.safetensors")
    assert {name.removeprefix("backbone.") for name in stored if name.startswith("backbone.")} == trains
    assert main(["eval", str(tmp_path / "part"), "--count", "2"]) == 0


@each
@torch.inference_mode()
def test_every_form_predicts_the_same_or_says_why_there_is_none(kind, tmp_path):
    method, model = METHODS[method_of(kind)], trained(kind)
    model.save_pretrained(tmp_path / "model")
    images = torch.randn(3, 3, 64, 96)
    for name, form in FORMS.items():
        config = ExportConfig(to=name, checkpoint=tmp_path / "model", out=tmp_path / name)
        if name == "official" and not kind.startswith("mtlora"):
            with pytest.raises(ValueError, match="The released code has no"):
                export(config)
        elif form.folds and not method.mergeable:
            with pytest.raises(ValueError, match=r"cannot be folded.* take --to onnx, program or checkpoint"):
                export(config)
        elif form.folds and method.pass_per_task:
            with pytest.raises(ValueError, match=rf"{name} is for one of them, such as --tasks semseg"):
                export(config)
            alone = ExportConfig(to=name, checkpoint=tmp_path / "model", out=tmp_path / name, tasks=("depth",))
            assert set(export(alone).deviations) == ({"depth"} if form.predicts else set())
        elif name == "timm" and kind == "mtlora addition":
            with pytest.raises(ValueError, match="fits into no plain Swin"):
                export(config)
        else:
            result = export(config)
            assert set(result.deviations) == (set(model.tasks) if form.predicts else set())
            assert all(off / span < 1e-4 for off, span in result.deviations.values())
    agree(ml.MultiTaskModel.from_pretrained(tmp_path / "checkpoint")(images), model(images))


def fails(method, family):
    """The sentence that a method has for a family that it does not fit, if it does not."""
    if method == "vpt" and family != "swin":
        return "take a swin_* name"
    if method == "mtlora_plus" and family.startswith("pvt_v2"):
        return "is no linear layer in a PVT v2"
    return None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", tiny.TINY)
def test_every_method_fits_every_family_or_says_why_not(family, method):
    tasks = tasks_of(method)
    arguments = {"tasks": tasks, "img_size": tiny.SIZE, "decoder_options": tiny.HEADS}
    if sentence := fails(method, family):
        with pytest.raises(ValueError, match=re.escape(sentence)):
            ml.build_model(method, backbone=tiny.tiny(family), **arguments)
        return
    model = ml.build_model(method, backbone=tiny.tiny(family), **arguments).eval()
    plain = build_backbone(tiny.tiny(family), img_size=tiny.SIZE).eval()
    found = sum(p.numel() for p in model.backbone.parameters() if p.requires_grad)
    assert found == METHODS[method].count(plain, tasks, method_options(method, {}))
    images = torch.randn(2, 3, *tiny.SIZE)
    if METHODS[method].starts_plain:
        for ours, expected in zip(model.backbone(images, tasks)["semseg"], plain(images, tasks)["semseg"], strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.05 * torch.randn_like(parameter))
    with torch.no_grad():
        expected = model(images)
        agree(model.merge()(images), expected, 1e-4)
        agree(merged(model.unmerge(), tasks[:1])(images), {"semseg": expected["semseg"]}, 1e-4)
    sum(logits.square().mean() for logits in model.train()(images).values()).backward()
    idle = [n for n, p in model.backbone.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert all(method.startswith("mtlora") and "fc2.lora_ta_" in name for name in idle)  # see tests/test_model.py


@pytest.mark.parametrize("method", [name for name in METHODS if name != "single_task"])
def test_every_method_fits_a_swin_with_other_windows_in_every_stage(method):
    model = ml.build_model(method, backbone="swin_s3_tiny_224", tasks=["sal", "depth"], img_size=96, pretrained=False)
    assert model.eval()(torch.randn(1, 3, 96, 96))["depth"].shape == (1, 1, 96, 96)
