"""The model against the oracle: every task's features and every trained parameter's gradient, in all combine modes."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from official import our_name
from oracle import Setting, task_pyramids
from safetensors.torch import load_file

import mtlora_lite as ml

FIXTURES = Path(__file__).parents[1].parent / "shared" / "fixtures"
TASKS = ("semseg", "sal", "normals")
# Windows of 5 tile neither 16x24 nor 8x12, are cut to 4x5 on 4x6 and to 2x3 on 2x3; no two numbers are alike.
SETTING = Setting(
    tasks=TASKS,
    depths=(2, 1, 2, 2),
    heads=(1, 2, 3, 4),
    window=5,
    scale=(2.0, 1.5, 0.5, 3.0),
    task_scale={"semseg": (0.7, 2.5, 1.2, 0.9), "sal": (1.7, 0.6, 2.2, 3.1), "normals": (0.8, 1.9, 0.4, 2.6)},
    combine="matrix",
)
RANK = (3, 4, 2, 5)
TASK_RANK = {"semseg": (2, 3, 1, 4), "sal": 5, "normals": (1, 2, 4, 2)}
CASES = [
    *(("mtlora", combine) for combine in ("matrix", "matrixv2", "addition", "lora_only")),
    ("mtlora_plus", "matrix"),
    ("mtlora_plus", "matrixv2"),
]


@pytest.fixture(params=CASES, ids="-".join)
def case(request, small_swin):
    """A model with no number at its initial value, in float64, and the setting that describes it to the oracle."""
    method, combine = request.param
    model = ml.build_model(
        method,
        backbone=small_swin((64, 96), window_size=SETTING.window),
        tasks=TASKS,
        img_size=(64, 96),
        pretrained=False,
        rank=RANK,
        task_rank=TASK_RANK,
        scale=SETTING.scale,
        task_scale=SETTING.task_scale,
        combine=combine,
        decoder_options={"channels": (2, 2, 2, 2)},
    )
    for parameter in model.backbone.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model.double().eval(), replace(SETTING, combine=combine)


def oracle_name(name: str) -> str:
    """A forked block keeps its output projection outside of ``attn``."""
    return re.sub(r"(blocks\.\d+)\.proj\.", r"\1.attn.proj.", name)


def test_features_and_gradients_agree_with_the_oracle(case):
    model, setting = case
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    copies = {name: p.detach().clone().requires_grad_() for name, p in model.backbone.named_parameters()}
    expected = task_pyramids({oracle_name(f"backbone.{name}"): p for name, p in copies.items()}, images, setting)
    features = model.backbone(images, TASKS)
    for task in TASKS:
        assert len(features[task]) == len(setting.depths)
        for level, (ours, theirs) in enumerate(zip(features[task], expected[task], strict=True)):
            torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-9, msg=lambda m, at=(task, level): f"{at}: {m}")

    # A random direction per map, so that no gradient cancels by symmetry.
    directions = [torch.randn_like(m) for task in TASKS for m in features[task]]
    for pyramids in (features, expected):
        maps = [m for task in TASKS for m in pyramids[task]]
        sum((m * d).sum() for m, d in zip(maps, directions, strict=True)).backward()
    trained = {name: p for name, p in model.backbone.named_parameters() if p.requires_grad}
    assert any("lora_" in name for name in trained)
    for name, parameter in trained.items():
        ours, theirs = (torch.zeros_like(p) if p.grad is None else p.grad for p in (parameter, copies[name]))
        torch.testing.assert_close(ours, theirs, atol=1e-8, rtol=1e-7, msg=lambda m, at=name: f"{at}: {m}")


def test_the_modes_differ():
    """Guards the test above: on one state dict no two modes give the same features."""
    torch.manual_seed(0)
    setting = replace(SETTING, tasks=("sal",), depths=(1, 1), heads=(1, 2), window=4)
    state = random_state(setting)
    images = torch.randn(1, 3, 32, 32)
    modes = ("matrix", "matrixv2", "addition", "lora_only")
    maps = [task_pyramids(state, images, replace(setting, combine=mode))["sal"][-1] for mode in modes]
    for i, first in enumerate(maps):
        for second in maps[:i]:
            assert (first - second).abs().max() > 1e-3


def random_state(setting: Setting) -> dict[str, torch.Tensor]:
    """A two-stage state dict with all matrices that any mode reads."""
    state = {"patch_embed.proj.weight": torch.randn(8, 3, 4, 4), "patch_embed.proj.bias": torch.randn(8)}
    linears = {"layers.1.downsample.reduction": (32, 16)}
    norms = {"patch_embed.norm": 8, "layers.1.downsample.norm": 32}
    for stage, width in enumerate((8, 16)):
        block = f"layers.{stage}.blocks.0"
        state[f"{block}.attn.relative_position_bias_table"] = torch.randn(49, setting.heads[stage])
        for layer, sizes in {"attn.qkv": (1, 3), "attn.proj": (1, 1), "mlp.fc1": (1, 4), "mlp.fc2": (4, 1)}.items():
            linears[f"{block}.{layer}"] = tuple(width * size for size in sizes)
            norms[f"{block}.{layer}.lora_norm"] = width * sizes[1]
        norms |= {f"{block}.norm1": width, f"{block}.norm2": width}
    for name, (size_in, size_out) in linears.items():
        state |= {f"{name}.linear.weight": torch.randn(size_out, size_in) / size_in**0.5}
        state |= {f"{name}.lora_ta_A": torch.randn(2, size_in), f"{name}.lora_ta_B": torch.randn(size_out, 2) / 4}
        state |= {
            f"{name}.lora_ts_A.sal": torch.randn(3, size_in),
            f"{name}.lora_ts_B.sal": torch.randn(size_out, 3) / 4,
        }
    for name, size in norms.items():
        state |= {f"{name}.weight": torch.randn(size), f"{name}.bias": torch.randn(size)}
    return {f"backbone.{name}": value for name, value in state.items()}


@pytest.mark.skipif(not FIXTURES.is_dir(), reason=f"reference numbers are not at {FIXTURES}")
@pytest.mark.parametrize("name", ["m1_matrix", "m2_plus"])
def test_the_oracle_agrees_with_the_released_code(name):
    folder = FIXTURES / name
    config = json.loads((folder / "config.json").read_text())
    official = load_file(folder / "official_state_dict.safetensors")
    outputs = load_file(folder / "outputs.safetensors")
    setting = Setting(
        tasks=tuple(config["tasks_in_order"]),
        depths=tuple(config["depths"]),
        heads=tuple(config["num_heads"]),
        window=config["window_size"],
        scale=tuple(config["shared_scale_per_stage"]),
        task_scale=config["task_scale_per_stage_effective"],
        combine=config["shared_mode"],
    )
    state = {our_name(key): value for key, value in official.items() if our_name(key)}
    images = load_file(folder / "input.safetensors")["image_int8"].float() / 32
    with torch.no_grad():
        pyramids = task_pyramids(state, images, setting)
    for task, maps in pyramids.items():
        for stage, features in enumerate(maps):
            tokens = features.flatten(2).transpose(1, 2)  # (B, H W, C)
            torch.testing.assert_close(tokens, outputs[f"features.stage{stage}.task.{task}"], atol=1e-5, rtol=1e-5)
