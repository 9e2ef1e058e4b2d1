"""The released code's checkpoints: every key of its configurations, there and back, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from timm.models.swin_transformer import SwinTransformer

from mtlora_lite.backbones.checkpoints import COMPUTED_BUFFERS
from mtlora_lite.model import MultiTaskModel, build_model
from mtlora_lite.official import load_official, official_name, official_state_dict, save_official
from mtlora_lite.unpickle import read_state_dict

FIXTURES = Path(__file__).parents[1].parent / "shared" / "fixtures"
KEYS = FIXTURES / "keys_swin_t_448.json"
RELEASED = [name for name in json.loads(KEYS.read_text()) if name != "_about"] if KEYS.is_file() else []
needs_fixtures = pytest.mark.skipif(not RELEASED, reason=f"reference numbers are not at {FIXTURES}")
SHAPE = {"embed_dim": 12, "depths": [1, 2, 1, 1], "num_heads": [2, 3, 4, 6], "window_size": [4, 4, 4, 2]}
OPTIONS = {
    "rank": (3, 4, 5, 2), "task_rank": {"semseg": (1, 2, 3, 4), "edge": 2}, "scale": (1.5, 0.5, 2.0, 3.0),
    "task_scale": {"semseg": (2.5, 1.5, 0.5, 1.0), "edge": 0.7},
}  # fmt: skip


@pytest.fixture
def build():
    """A function that makes a small model at 64 pixels whose every number is random."""

    def make(method="mtlora", decoder="hrnet", combine="matrix", **overrides):
        model = build_model(
            method, backbone=SwinTransformer(img_size=64, num_classes=0, **SHAPE), tasks=("semseg", "edge"),
            img_size=64, pretrained=False, decoder=decoder, channels={"semseg": 5}, combine=combine,
            decoder_options={"channels": [3, 4, 5, 6], "expansion": 2} if decoder == "hrnet" else {},
            **(OPTIONS | overrides),
        )  # fmt: skip
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.uniform_(0.05, 0.2)  # variances of BatchNorm have to be positive
        return model.eval()

    return make


def as_called(combine="matrix"):
    return {"scale": OPTIONS["scale"], "task_scale": OPTIONS["task_scale"], "combine": combine, "img_size": 64}


@needs_fixtures
@pytest.mark.parametrize("name", RELEASED)
def test_released_configurations_convert_with_no_key_left_over(name):
    reference = json.loads(KEYS.read_text())[name]
    with torch.device("meta"):  # names and shapes only
        state = {key: torch.empty(s, dtype=getattr(torch, dtype)) for key, (s, _, dtype) in reference["keys"].items()}
        model = load_official(state)
    written = {key: [list(value.shape), str(value.dtype)] for key, value in official_state_dict(model).items()}
    assert written == {key: [shape, f"torch.{dtype}"] for key, (shape, _, dtype) in reference["keys"].items()}

    trained = {official_name(key, "hrnet"): p.numel() for key, p in model.named_parameters() if p.requires_grad}
    assert set(trained) == {key for key, (_, kind, _) in reference["keys"].items() if kind == "trainable"}
    assert sum(trained.values()) == reference["trainable_parameter_count"]
    assert sum(p.numel() for p in model.parameters()) == reference["total_parameter_count"]
    assert model.config.method == ("mtlora_plus" if reference["mtlora_plus"] else "mtlora")
    assert model.config.options["rank"] == tuple(reference["shared_rank_per_stage"])
    assert model.config.options["task_rank"] == {k: tuple(v) for k, v in reference["task_rank_per_stage"].items()}


@needs_fixtures
@pytest.mark.parametrize(("case", "size"), [("m1_matrix", 128), ("m2_plus", 64)])
def test_what_was_read_is_written_back_bit_for_bit(case, size, tmp_path):
    original = load_file(FIXTURES / case / "official_state_dict.safetensors")
    path = save_official(load_official(original, img_size=size), tmp_path / "run" / "back.pth")
    written = read_state_dict(path)
    assert set(written) == set(original)
    for name, value in original.items():
        assert written[name].dtype == value.dtype, name
        assert torch.equal(written[name], value), name


@pytest.mark.parametrize(
    ("method", "decoder", "combine"),
    [
        ("mtlora", "aspp", "matrix"),
        ("mtlora_plus", "hrnet", "matrixv2"),
        ("mtlora", "hrnet", "addition"),
        ("mtlora_plus", "hrnet", "lora_only"),
    ],
)
def test_every_mode_and_head_comes_back_as_it_was(build, tmp_path, method, decoder, combine):
    model, images = build(method, decoder, combine), torch.randn(2, 3, 64, 64)
    again = load_official(save_official(model, tmp_path / "ckpt.pth"), **as_called(combine))
    assert not again.training
    assert again.config.method == method
    for (name, ours), (also, theirs) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert name == also
        assert ours.requires_grad is theirs.requires_grad
    with torch.no_grad():
        expected, got = model(images), again(images)
    assert list(expected) == list(got)
    assert all(torch.equal(expected[task], got[task]) for task in expected)


def test_names_are_those_of_the_released_code(build):
    block, head = "backbone.layers.1.blocks.1", "decoders.decoders.semseg"
    aspp = set(official_state_dict(build("mtlora", "aspp")))
    assert {f"{head}.0.convs.0.0.weight", f"{head}.0.convs.3.1.running_var", f"{head}.0.convs.4.1.weight",
            f"{head}.0.project.1.bias", f"{head}.1.weight", f"{head}.2.weight", f"{head}.4.bias"} <= aspp  # fmt: skip
    assert not any(name.startswith("downsampler") for name in aspp)
    addition = set(official_state_dict(build(combine="addition")))
    assert {f"{block}.attn.proj.lora_norm.weight", f"{block}.mlp.fc2.lora_tasks_B.edge"} <= addition
    assert f"{block}.mlp.fc1.lora_shared_A" not in addition
    assert {f"{block}.attn.qkv.lora_shared_A", "backbone.layers.1.blocks.0.mlp.fc1.lora_shared_A"} <= addition
    lora_only = set(official_state_dict(build(combine="lora_only")))
    assert f"{block}.attn.proj.lora_shared_B" in lora_only
    assert not any("lora_tasks" in name for name in lora_only)


@pytest.mark.parametrize(("given", "made"), [("matrix", "addition"), ("addition", "matrix"), ("matrix", "lora_only")])
def test_a_file_of_another_mode_is_refused(build, given, made):
    with pytest.raises(ValueError, match=f"not trained with combine='{given}': give .*'{made}'"):
        load_official(official_state_dict(build(combine=made)), **as_called(given))


def test_a_converted_checkpoint_is_saved_and_built_again_by_itself(build, tmp_path):
    model = load_official(official_state_dict(build()), **as_called())
    again = MultiTaskModel.from_pretrained(model.save_pretrained(tmp_path / "model"))
    assert again.config == model.config
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def without(state, part):
    return {name: value for name, value in state.items() if part not in name}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda s: without(s, "fc1.linear.bias"), r"5 missing \(backbone\.layers\.0\.blocks\.0\.mlp\.fc1\.linear"),
        (lambda s: s | {"backbone.absolute_pos_embed": torch.zeros(1)}, r"1 unknown \(backbone\.absolute_pos_embed\)"),
        (lambda s: s | {"decoders.decoders.edge.last_layer.0.weight": torch.zeros(7, 18, 1, 1)}, r"\(7, 18, 1, 1\)"),
        (lambda s: without(s, "decoders.decoders.edge.last_layer.3"), "all tasks need the same one of hrnet, aspp"),
        (lambda s: without(s, "lora_"), "no updates in it"),
        (lambda s: without(s, "decoders."), "no decoders in it.*build_model"),
        (lambda s: without(s, "layers."), "no updates in it"),
        (lambda s: without(s, "patch_embed"), "no weights of a Swin"),
        (lambda s: {name.replace("edge", "flow"): value for name, value in s.items()}, "Unknown task 'flow'"),
        (lambda s: {"epoch": 3}, "The state dict holds no weights"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(build, spoil, says):
    with pytest.raises(ValueError, match=says):
        load_official(spoil(official_state_dict(build())), **as_called())


def test_a_smaller_image_than_the_windows_were_made_for_is_refused(build):
    state = official_state_dict(build())
    with pytest.raises(ValueError, match="img_size it was trained at"):
        load_official(state, **as_called() | {"img_size": 32})
    larger = load_official(state, **as_called() | {"img_size": 128})
    kept = {name: value for name, value in official_state_dict(larger).items() if not name.endswith(COMPUTED_BUFFERS)}
    assert all(torch.equal(value, state[name]) for name, value in kept.items())


def test_what_the_released_code_lacks_is_not_written(build, tmp_path):
    with pytest.raises(ValueError, match=r"'mtlora' with decoder 'deconv'.*hrnet or aspp"):
        save_official(build(decoder="deconv"), tmp_path / "ckpt.pth")
    with pytest.raises(ValueError, match=r"model\.unmerge\(\)"):
        save_official(build().merge(), tmp_path / "ckpt.pth")
