"""Fusion and decoders: parameter counts, the published form's numbers, and what must not change them."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from mtlora_lite.decoders import DECODERS, build_decoder
from mtlora_lite.fusion import ProjectFusion, concat_at_finest, mix_at_finest
from mtlora_lite.tasks import TASKS

FIXTURES = Path(__file__).parents[1].parent / "shared" / "fixtures"
SWIN_T = (192, 384, 768, 768)
TINY = (6, 8, 10, 12)


def num_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def pyramid(channels=TINY, size: int = 8, batch: int = 2) -> list[torch.Tensor]:
    """Maps at strides 8, 16, 32, 32 of an image of 8 * size pixels."""
    generator = torch.Generator().manual_seed(0)
    sizes = (size, size // 2, size // 4, size // 4)
    return [torch.randn(batch, c, s, s, generator=generator) for c, s in zip(channels, sizes, strict=True)]


@pytest.mark.parametrize(
    ("task", "head"), [("semseg", 317_541), ("human_parts", 302_407), ("normals", 298_083), ("sal", 295_921)]
)
def test_hrnet_has_the_published_number_of_parameters(task, head):
    decoder = build_decoder("hrnet", SWIN_T, TASKS[task].channels)
    assert num_parameters(decoder.fusion) == 183_168
    assert num_parameters(decoder.head) == head


def test_aspp_has_the_state_dict_of_the_published_head():
    head = build_decoder("aspp", TINY, num_outputs=5).head
    shapes = {name: tuple(p.shape) for name, p in head.named_parameters()}
    total = sum(TINY)
    for branch in (1, 2, 3):
        assert shapes[f"0.convs.{branch}.0.weight"] == (256, total, 3, 3)
        assert head[0].convs[branch][0].dilation == (12 * branch, 12 * branch)
    convs = {
        "0.convs.0.0.weight": (256, total, 1, 1),
        "0.convs.4.1.weight": (256, total, 1, 1),
        "0.project.0.weight": (256, 1280, 1, 1),
        "1.weight": (256, 256, 3, 3),
        "4.weight": (5, 256, 1, 1),
        "4.bias": (5,),
    }
    assert convs.items() <= shapes.items()
    norms = [*(f"0.convs.{i}.1" for i in range(4)), "0.convs.4.2", "0.project.1", "2"]
    assert {name for name in shapes if name.endswith("bias")} == {f"{norm}.bias" for norm in norms} | {"4.bias"}
    assert head[0].project[3].p == 0.5


@pytest.mark.parametrize("name", DECODERS)
def test_output_shape_and_a_gradient_for_every_parameter(name):
    decoder = build_decoder(name, TINY, num_outputs=3)
    maps = [m.requires_grad_() for m in pyramid()]
    logits = decoder(maps)
    side = 64 if name == "deconv" else 8
    assert logits.shape == (2, 3, side, side)
    logits.square().mean().backward()
    for owner, parameter in [*decoder.named_parameters(), *((f"map {i}", m) for i, m in enumerate(maps))]:
        assert parameter.grad is not None, owner
        assert parameter.grad.isfinite().all(), owner


@pytest.mark.parametrize("name", DECODERS)
def test_no_leak_between_the_images_of_a_batch(name):
    decoder = build_decoder(name, TINY, num_outputs=3).eval()
    maps = pyramid(batch=3)
    together = decoder(maps)
    alone = torch.cat([decoder([m[i : i + 1] for m in maps]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_projecting_before_resizing_equals_projecting_after():
    torch.manual_seed(0)
    fusion = ProjectFusion(TINY, (3, 4, 5, 6), bias=True)
    maps = pyramid()
    late = [
        conv(F.interpolate(m, size=8, mode="bilinear", align_corners=False))
        for conv, m in zip(fusion.convs, maps, strict=True)
    ]
    torch.testing.assert_close(fusion(maps), torch.cat(late, dim=1))


@pytest.mark.parametrize("sizes", [(8, 4, 2, 2), (9, 5, 3, 2), (4, 4, 4, 4)])
def test_mixing_before_resizing_equals_mixing_after_in_outputs_and_gradients(sizes):
    conv = nn.Conv2d(sum(TINY), 7, kernel_size=1).double()
    maps = [torch.randn(2, c, s, s + 1, dtype=torch.float64) for c, s in zip(TINY, sizes, strict=True)]
    results = []
    for mixed in (lambda m: conv(concat_at_finest(m)), lambda m: mix_at_finest(m, conv.weight.flatten(1), conv.bias)):
        leaves = [m.clone().requires_grad_() for m in maps]
        output = mixed(leaves)
        direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        results.append([output, *torch.autograd.grad(output, [*leaves, *conv.parameters()], direction)])
    torch.testing.assert_close(*results, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", DECODERS)
def test_decoding_projected_maps_equals_the_decoder_in_outputs_and_gradients(name, training):
    decoder = build_decoder(name, TINY, num_outputs=3).double().train(training)
    for module in decoder.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics and weights that are not those of an initialisation
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
        elif isinstance(module, nn.Dropout2d | nn.Dropout):
            module.p = 0.0
    maps = [m.double() for m in pyramid(batch=3)]
    results = []
    for run in (decoder, lambda m: decoder.decode(decoder.fusion.project(m))):
        leaves = [m.clone().requires_grad_() for m in maps]
        output = run(leaves)
        direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        results.append([output, *torch.autograd.grad(output, [*leaves, *decoder.parameters()], direction)])
    torch.testing.assert_close(*results, atol=1e-10, rtol=1e-9)


def test_maps_are_concatenated_in_order_at_the_finest_size():
    maps = [torch.full((1, 1, size, size), float(level)) for level, size in enumerate((8, 4, 2, 2))]
    fused = concat_at_finest(maps)
    torch.testing.assert_close(fused, torch.arange(4.0).view(1, 4, 1, 1).expand(1, 4, 8, 8))


def test_wrong_names_and_widths_are_refused():
    with pytest.raises(ValueError, match=r"Unknown decoder 'hrnt'\. Decoders: hrnet, segformer, aspp, deconv"):
        build_decoder("hrnt", TINY, 3)
    with pytest.raises(ValueError, match="4 maps need as many channels"):
        build_decoder("hrnet", TINY, 3, channels=(4, 6))


def load_published(decoder: nn.Module, state: dict[str, torch.Tensor], task: str) -> None:
    """Load the published form's parameters: the keys map one to one."""
    mapped = {f"fusion.convs.{i}.weight": state[f"downsampler.{task}.downsample_{i}.weight"] for i in range(4)}
    prefix = f"decoders.decoders.{task}.last_layer."
    mapped |= {key.replace(prefix, "head."): value for key, value in state.items() if key.startswith(prefix)}
    decoder.load_state_dict(mapped, strict=True)


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the reference numbers are not beside this checkout")
@pytest.mark.parametrize("case", ["m1_matrix", "m2_plus"])
def test_agrees_with_the_reference_maps(case):
    state = load_file(FIXTURES / case / "official_state_dict.safetensors")
    outputs = load_file(FIXTURES / case / "outputs.safetensors")
    config = json.loads((FIXTURES / case / "config.json").read_text())
    for task in config["tasks_in_order"]:
        tokens = [outputs[f"features.stage{s}.task.{task}"] for s in range(4)]  # (B, N, C)
        maps = [t.transpose(1, 2).unflatten(2, (int(t.shape[1] ** 0.5), -1)) for t in tokens]  # (B, C, H, W)
        in_channels = [m.shape[1] for m in maps]
        decoder = build_decoder("hrnet", in_channels, TASKS[task].channels, channels=config["decoder_channels"]).eval()
        load_published(decoder, state, task)
        torch.testing.assert_close(decoder(maps), outputs[f"decoder_map.{task}"], atol=1e-5, rtol=0)


def test_an_option_of_another_decoder_is_refused():
    with pytest.raises(ValueError, match=r"'aspp' has no option 'expansion'. Its options: none"):
        build_decoder("aspp", (4, 8), 1, expansion=2)
    with pytest.raises(ValueError, match=r"'hrnet' has no option 'width'. Its options: channels, expansion"):
        build_decoder("hrnet", (4, 8), 1, width=2)
