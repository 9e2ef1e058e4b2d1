"""The embedded backbone: its weights load through timm like any others, and are what their record says."""

import json

import pytest
import timm
import torch

import mtlora_lite as ml
from mtlora_lite.backbones import EMBEDDED, build_backbone
from mtlora_lite.backbones.embedded import NUM_CLASSES, weights_file
from mtlora_lite.paths import data_dir
from mtlora_lite.pretrain import PretrainConfig, accuracy, augment, record_file
from mtlora_lite.scenes import render_crop

each_backbone = pytest.mark.parametrize("name", EMBEDDED)


def record_of(name):
    return json.loads((data_dir() / record_file(name)).read_text())


@pytest.fixture(scope="module")
def held_out():
    """Crops of a seed that neither training nor the record's accuracy used."""
    crops = [render_crop(PretrainConfig.seed + 2, index, 64) for index in range(200)]
    images = torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image, _ in crops])
    return images, torch.tensor([label - 1 for _, label in crops])


@each_backbone
def test_it_recognises_new_crops_as_well_as_its_record_says(name, held_out):
    model = timm.create_model(name, pretrained=True)
    assert accuracy(model, *held_out) == pytest.approx(record_of(name)["held_out_accuracy"], abs=8)  # of 200: ±2.5 std


@each_backbone
def test_the_record_adds_up(name):
    record = record_of(name)
    confusion = torch.tensor(record["confusion"])
    assert confusion.shape == (NUM_CLASSES, NUM_CLASSES)
    assert confusion.sum() == record["config"]["held_out"]
    assert 100 * confusion.diagonal().sum() / confusion.sum() == pytest.approx(record["held_out_accuracy"])
    assert record["config"].get("model", "swin_scenes_tiny") == name  # the first record is older than the option
    assert record["parameters"] == sum(parameter.numel() for parameter in timm.create_model(name).parameters())
    assert record["parameters"] <= 3_000_000
    assert [row["epoch"] for row in record["log"]] == list(range(1, record["config"]["epochs"] + 1))


@each_backbone
def test_the_weights_are_small_enough_to_commit(name):
    assert (data_dir() / weights_file(name)).stat().st_size <= 6e6


def test_at_another_size_only_the_clamped_window_tables_are_resized():
    """At 64 pixels the last stage has 2x2 tokens, so its window is 2; at 128 it is 4 and the tables grow."""
    at_64 = timm.create_model("swin_scenes_tiny", pretrained=True, num_classes=0).state_dict()
    at_128 = build_backbone("swin_scenes_tiny", img_size=128).state_dict()
    assert at_64["layers.3.blocks.0.attn.relative_position_bias_table"].shape == (9, 8)
    for name, value in at_128.items():
        if name.startswith("layers.3.") and name.endswith("bias_table"):
            known, fitted = at_64[name].view(3, 3, 8), value.view(7, 7, 8)
            assert torch.equal(fitted[2:5, 2:5], known)  # the offsets -1, 0, 1
            assert torch.equal(fitted[0, 6], known[0, 2])  # farther ones as the farthest known
            assert torch.equal(fitted[3, 0], known[1, 0])
        else:
            assert torch.equal(value, at_64[name]), name


def test_windows_that_are_not_square_have_the_rows_and_columns_of_those_that_are():
    """At 64 x 96 pixels the last stage has 2 x 3 tokens: offsets of -1 to 1 down, and of -2 to 2 across."""
    name = "layers.3.blocks.0.attn.relative_position_bias_table"
    square = build_backbone("swin_scenes_tiny", img_size=64).state_dict()[name].view(3, 3, -1)
    wide = build_backbone("swin_scenes_tiny", img_size=(64, 96)).state_dict()[name].view(3, 5, -1)
    assert torch.equal(wide[:, 1:4], square)
    assert torch.equal(wide[:, 0], square[:, 0])  # the farthest that is known
    assert torch.equal(wide[:, 4], square[:, 2])


def test_tables_shrink_to_smaller_windows():
    at_64 = timm.create_model("swin_scenes_tiny", pretrained=True, num_classes=0).state_dict()
    name = "layers.2.blocks.0.attn.relative_position_bias_table"  # window 4 at 64 pixels, 2 at 32
    at_32 = build_backbone("swin_scenes_tiny", img_size=32).state_dict()
    assert torch.equal(at_32[name].view(3, 3, 4), at_64[name].view(7, 7, 4)[2:5, 2:5])


def test_pretrained_and_random_weights_differ():
    options = {"backbone": "swin_scenes_tiny", "tasks": ["sal"], "img_size": 64}
    pretrained, random = (ml.build_model(pretrained=choice, **options) for choice in (True, False))
    assert pretrained.frozen_hash() != random.frozen_hash()
    assert pretrained.frozen_hash() == ml.build_model(**options, rank=2).frozen_hash()


def test_adapters_are_saved_alone_and_other_frozen_weights_are_refused(tmp_path):
    model = ml.build_model(backbone="swin_scenes_tiny", tasks=["sal"], img_size=64, rank=2).eval()
    images = torch.randn(1, 3, 64, 64)
    expected = model(images)["sal"]
    model.save_pretrained(tmp_path / "adapters")
    model.save_pretrained(tmp_path / "full", full=True)
    sizes = {name: (tmp_path / name / "model.safetensors").stat().st_size for name in ("adapters", "full")}
    assert sizes["adapters"] < 0.5 * sizes["full"]
    for name in sizes:
        assert torch.equal(ml.MultiTaskModel.from_pretrained(tmp_path / name)(images)["sal"], expected)

    config = tmp_path / "adapters" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"frozen_sha256": "0"}))
    with pytest.raises(ValueError, match="other frozen weights than 'swin_scenes_tiny'"):
        ml.MultiTaskModel.from_pretrained(tmp_path / "adapters")


def test_augmentation_keeps_shape_and_range(held_out):
    images = augment(held_out[0][:8])
    assert images.shape == (8, 3, 64, 64)
    assert images.min() >= -2.2  # black and white, normalised
    assert images.max() <= 2.7
