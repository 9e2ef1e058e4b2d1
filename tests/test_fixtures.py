"""The core against numbers of the paper's released implementation (random weights, recorded outputs)."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mtlora_lite.losses import MultiTaskLoss
from mtlora_lite.official import load_official, official_name

FIXTURES = Path(__file__).parents[1].parent / "shared" / "fixtures"
CASES = {"m1_matrix": "ckpt_official.pth", "m2_plus": "official_state_dict.safetensors"}

pytestmark = pytest.mark.skipif(not FIXTURES.is_dir(), reason=f"reference numbers are not at {FIXTURES}")


@pytest.fixture(scope="module", params=CASES)
def case(request):
    folder = FIXTURES / request.param
    config = json.loads((folder / "config.json").read_text())
    model = load_official(
        folder / CASES[request.param],
        scale=tuple(config["shared_scale_per_stage"]),
        task_scale=config["task_scale_per_stage_effective"],
        img_size=config["img_size"],
    )
    return {
        "config": config,
        "model": model,
        "names": {official_name(name, "hrnet"): name for name in model.state_dict()},
        "images": load_file(folder / "input.safetensors")["image_int8"].float() / 32,
        "outputs": load_file(folder / "outputs.safetensors"),
        "targets": load_file(folder / "targets.safetensors"),
        "golden": json.loads((folder / "train_golden.json").read_text()),
    }


def test_logits_and_features_agree(case):
    model, outputs = case["model"], case["outputs"]
    with torch.no_grad():
        logits = model(case["images"])
        pyramids = model.backbone(case["images"], model.tasks)
    for task in model.tasks:
        stride = case["config"]["logits_stride"][task]
        torch.testing.assert_close(logits[task][..., ::stride, ::stride], outputs[f"logits.{task}"], atol=1e-5, rtol=0)
        for stage, features in enumerate(pyramids[task]):
            tokens = features.flatten(2).transpose(1, 2)[:, :: case["config"]["feature_token_stride"][stage]]
            torch.testing.assert_close(tokens, outputs[f"features.stage{stage}.task.{task}"], atol=1e-5, rtol=0)


def test_losses_and_gradients_agree(case):
    model, golden = case["model"], case["golden"]["float32"]
    model.zero_grad()
    criterion = MultiTaskLoss(model.tasks, case["config"]["loss_weights"])
    total, losses = criterion(model(case["images"]), {task: case["targets"][task] for task in model.tasks})
    total.backward()
    assert total.item() == pytest.approx(golden["losses"]["total"], rel=1e-5)
    for task, loss in losses.items():
        assert loss.item() == pytest.approx(golden["losses"][task], rel=1e-5)

    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    expected = {case["names"][name]: (name, norm) for name, norm in golden["grad_norms"].items()}
    assert set(gradients) == set(expected)
    for ours, (name, norm) in expected.items():
        if norm is None:
            assert gradients[ours] is None or not gradients[ours].any(), ours
            continue
        assert gradients[ours].norm().item() == pytest.approx(norm, rel=1e-4, abs=1e-7), ours
        gradient = gradients[ours].flatten().double()
        probe = (gradient * torch.cos(0.1 * torch.arange(len(gradient), dtype=torch.float64))).sum().item()
        assert probe == pytest.approx(golden["grad_cos_probe"][name], rel=1e-3, abs=1e-4 * norm + 1e-7), ours


def test_parameter_counts_agree(case):
    parameters = list(case["model"].parameters())
    assert sum(p.numel() for p in parameters if p.requires_grad) == case["config"]["trainable_parameter_count"]
    assert sum(p.numel() for p in parameters) == case["config"]["total_parameter_count"]
