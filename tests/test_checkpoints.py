"""Weights from files of others: read without running anything in them, told apart, fitted; and an unreachable hub."""

import argparse
import os
import pickle
import re
import socket
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from timm.models.swin_transformer import SwinTransformer, checkpoint_filter_fn

from mtlora_lite.backbones import build_backbone, checkpoints, swin_shape
from mtlora_lite.backbones.checkpoints import hub_weights
from mtlora_lite.model import MultiTaskModel, build_model
from mtlora_lite.unpickle import read_state_dict

WEIGHTS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([3, 4])}
BOTH_FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])


def save(content, path, zipped=True):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


class Calls:
    """Pickles as a call of anything."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@BOTH_FORMATS
@pytest.mark.parametrize(
    "attack",
    [
        lambda marker: Calls(os.system, f"echo > {marker}"),
        lambda marker: Calls(subprocess.check_call, ["touch", str(marker)]),
        lambda marker: Calls(exec, f"open({str(marker)!r}, 'w')"),
        lambda marker: Calls(os.mkdir, str(marker)),
    ],
    ids=["os.system", "subprocess", "exec", "os.mkdir"],
)
def test_nothing_in_a_file_runs(tmp_path, attack, zipped):
    marker = tmp_path / "ran"
    path = save({"model": WEIGHTS, "config": attack(marker)}, tmp_path / "evil.pth", zipped)
    try:
        torch.testing.assert_close(read_state_dict(path), WEIGHTS)
    except ValueError as refusal:
        assert "tries to run code" in str(refusal)  # noqa: PT017 (either answer is right, running is not)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # it would have


@BOTH_FORMATS
def test_whatever_lies_beside_the_weights_is_passed_over(tmp_path, zipped, monkeypatch):
    absent = types.ModuleType("a_package_of_theirs")
    exec("class Node(dict):\n    pass", absent.__dict__)
    monkeypatch.setitem(sys.modules, absent.__name__, absent)
    node = absent.Node(BASE=[""], TASKS=absent.Node(names=("semseg",), seen={"x"}))
    node.frozen = True  # both entries and attributes, as in a yacs node
    beside = {"config": node, "args": argparse.Namespace(lr=1e-3), "best": np.float64(0.5), "epoch": 3}
    path = save(
        {"model": WEIGHTS, "optimizer": {"state": {0: {"step": torch.ones(())}}}} | beside, tmp_path / "c.pth", zipped
    )
    monkeypatch.delitem(sys.modules, absent.__name__)
    read = read_state_dict(path)
    assert list(read) == list(WEIGHTS)
    assert all(torch.equal(read[name], WEIGHTS[name]) and read[name].dtype == WEIGHTS[name].dtype for name in WEIGHTS)


def halved(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: halved(save(WEIGHTS, path)), "cut off"),
        (lambda path: halved(save(WEIGHTS, path, zipped=False)), "cut off"),
        (lambda path: path.touch(), "cut off"),
        (lambda path: path.write_text("<html>404</html>"), "cut off"),
        (lambda path: path.write_bytes(pickle.dumps(WEIGHTS["a"].numpy())), "cut off"),
        (lambda path: save([1, 2], path), "holds no weights"),
        (lambda path: save({"model": {"a": 1.0}}, path), "holds no weights"),
        (lambda path: save({}, path), "holds no weights"),
    ],
    ids=["zip cut", "legacy cut", "empty", "web page", "no torch file", "list", "numbers", "nothing"],
)  # fmt: skip
def test_a_file_that_is_no_checkpoint_is_named_in_one_sentence(tmp_path, make, says):
    make(path := tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}.*{says}") as caught:
        read_state_dict(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"no file .*other\.safetensors"):
        read_state_dict(tmp_path / "other.safetensors")


def original_layout(swin):
    """The state dict of a timm Swin as the original repository writes it."""
    state = {
        re.sub(r"^layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", name): value
        for name, value in swin.state_dict().items()
    }
    buffers = {name: value for name, value in swin.named_buffers() if "relative_position_index" in name}
    masks = {f"{name}.attn_mask": m.attn_mask for name, m in swin.named_modules() if getattr(m, "shift_size", 0)}
    return state | buffers | {k: v for k, v in masks.items() if v is not None} | {"head.weight": torch.zeros(7, 96)}


def write(swin, kind, folder):
    if kind == "safetensors":
        save_file(swin.state_dict(), folder / "model.safetensors")
        return str(folder / "model.safetensors")
    content = {"timm": swin.state_dict(), "original": {"model": original_layout(swin)}}[kind]
    return str(save(content, folder / "swin.pth"))


@pytest.mark.parametrize("kind", ["original", "timm", "safetensors"])
def test_a_file_is_the_backbone_that_it_was_written_from(small_swin, tmp_path, kind):
    swin, images = small_swin((128, 128)), torch.randn(1, 3, 128, 128)
    read = build_backbone(write(swin, kind, tmp_path), img_size=128, drop_path=0.0).eval()
    expected = build_backbone(swin, img_size=128)
    with torch.no_grad():
        for ours, theirs in zip(read(images, ("sal",))["sal"], expected(images, ("sal",))["sal"], strict=True):
            assert torch.equal(ours, theirs)


def test_windows_fit_any_image_as_timm_fits_them(small_swin, tmp_path):
    path = write(small_swin((128, 128)), "original", tmp_path)
    for size, windows in ((256, [(4, 4)] * 4), ((64, 96), [(4, 4), (4, 4), (4, 4), (2, 3)])):
        read = build_backbone(path, img_size=size)
        assert [tuple(stage.blocks[0].attn.window_size) for stage in read.layers] == windows
        theirs = SwinTransformer(img_size=size, num_classes=0, **swin_shape(torch.load(path)["model"]))
        state = checkpoint_filter_fn({k: v for k, v in torch.load(path)["model"].items() if k[:4] != "head"}, theirs)
        ours = read.state_dict()
        assert all(torch.equal(ours[name], state[name]) for name in ours)


def test_a_shape_builds_the_same_architecture_again(small_swin):
    swin = small_swin((64, 96))
    shape = build_backbone(swin, img_size=(64, 96)).shape()
    again = build_backbone(shape, img_size=(64, 96), pretrained=False)
    build_backbone(swin, img_size=(64, 96)).load_state_dict(again.state_dict())  # strict, so names and shapes agree
    with pytest.raises(ValueError, match="pretrained=False"):
        build_backbone(shape, img_size=(64, 96))


def test_a_model_on_a_file_is_saved_with_or_without_it(small_swin, tmp_path):
    path = tmp_path / "model.safetensors"
    swin, images = small_swin((128, 128)), torch.randn(1, 3, 64, 96)
    model = build_model(
        backbone=write(swin, "safetensors", tmp_path), tasks=("sal",), img_size=(64, 96), rank=2,
        decoder_options={"expansion": 1},
    ).eval()  # fmt: skip
    adapters, full = model.save_pretrained(tmp_path / "adapters"), model.save_pretrained(tmp_path / "full", full=True)
    assert MultiTaskModel.from_pretrained(adapters).config == model.config
    moved = path.rename(tmp_path / "moved.safetensors")
    with pytest.raises(FileNotFoundError, match=re.escape(str(path))):
        MultiTaskModel.from_pretrained(adapters)
    alone = MultiTaskModel.from_pretrained(full)
    again = MultiTaskModel.from_pretrained(alone.save_pretrained(tmp_path / "again"))
    with torch.no_grad():
        for read in (MultiTaskModel.from_pretrained(adapters, backbone=str(moved)), alone, again):
            assert torch.equal(read(images)["sal"], model(images)["sal"])


def test_a_file_of_something_else_is_told_apart(small_swin, tmp_path):
    with pytest.raises(ValueError, match=r"no plain Swin: its first tensor is a\b.*load_official"):
        build_backbone(str(save(WEIGHTS, tmp_path / "toy.pth")), img_size=64)
    state = small_swin((64, 64)).state_dict()
    state["absolute_pos_embed"] = torch.zeros(1, 256, 12)
    del state["patch_embed.norm.bias"]
    with pytest.raises(ValueError, match=r"1 missing \(patch_embed\.norm\.bias\), 1 unknown \(absolute_pos_embed\)"):
        build_backbone(str(save(state, tmp_path / "ape.pth")), img_size=64)
    with pytest.raises(FileNotFoundError, match=r"moved\.pth"):
        build_backbone(str(tmp_path / "moved.pth"), img_size=64)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A server in place of the hub that takes calls and never answers; nothing is cached yet."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(constants, "ENDPOINT", address)  # as HF_ENDPOINT would set it
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(checkpoints, "HUB_TIMEOUT", 0.3)
        yield address


@pytest.mark.parametrize("offline", [False, True])
def test_a_hub_that_does_not_answer_costs_one_timeout_and_the_error_says_both_ways_out(hub, monkeypatch, offline):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=rf"{hub}.*backbone='path/to/weights.pth'.*pretrained=False") as caught:
        build_backbone("swin_tiny_patch4_window7_224", img_size=224)
    assert time.monotonic() - start < 10  # the hub's own client tries for half a minute, or for minutes
    assert "\n" not in str(caught.value)


def test_weights_fetched_before_need_no_hub(hub, tmp_path):
    name = "swin_tiny_patch4_window7_224"
    repository = tmp_path / f"models--timm--{name}.ms_in1k"
    cached = repository / "snapshots" / "0" / "model.safetensors"
    for path, text in ((repository / "refs" / "main", "0"), (cached, "")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    assert hub_weights(name) == str(cached)
    assert hub_weights("swin_scenes_tiny") is None  # lies in data/, the hub has nothing of it
