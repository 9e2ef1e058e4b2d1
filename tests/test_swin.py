"""The adapted Swin against timm's own, plain one."""

import pytest
import timm
import torch

from mtlora_lite.backbones import build_backbone
from mtlora_lite.lora import LoRALinear, MTLoRALinear
from mtlora_lite.methods import METHODS, method_options

TASKS = ("semseg", "normals", "edge")


def adapted(swin, method="mtlora", **options):
    backbone = build_backbone(swin, img_size=tuple(swin.patch_embed.img_size))
    METHODS[method].adapt(backbone, TASKS, method_options(method, {"rank": 3, "task_rank": 2} | options))
    return backbone.eval()


def plain_features(swin, images):
    """Features after patch merging, from timm's own modules: stage by stage, merging of the next stage applied."""
    x, features = swin.patch_embed(images), []
    for index, stage in enumerate(swin.layers):
        x = stage.blocks(x)
        if index + 1 < len(swin.layers):
            x = swin.layers[index + 1].downsample(x)
        features.append(x.permute(0, 3, 1, 2))
    return features


# 64x96: stages of 16x24, 8x12, 4x6, 2x3 tokens; windows of 4 tile 16x24 but not 2x3 or 4x6; of 5 they tile nothing.
@pytest.mark.parametrize("combine", ["matrix", "matrixv2", "lora_only"])
@pytest.mark.parametrize("window", [4, 5, 7])
def test_zero_init_is_the_plain_swin_for_every_task(small_swin, window, combine):
    images = torch.randn(2, 3, 64, 96)
    expected = plain_features(small_swin(window_size=window), images)
    pyramids = adapted(small_swin(window_size=window), combine=combine)(images, TASKS)
    for task in TASKS:
        for ours, plain in zip(pyramids[task], expected, strict=True):
            torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)


def test_one_stream_without_adapters(small_swin):
    images = torch.randn(2, 3, 64, 96)
    pyramids = build_backbone(small_swin(), img_size=(64, 96))(images, TASKS)
    for features, plain in zip(pyramids["edge"], plain_features(small_swin(), images), strict=True):
        torch.testing.assert_close(features, plain)


def test_layers_are_adapted_where_the_paper_says(small_swin):
    backbone = adapted(small_swin(), "mtlora_plus")
    kinds = {name: type(module) for name, module in backbone.named_modules() if isinstance(module, LoRALinear)}
    depths = (2, 1, 2, 2)
    for stage, depth in enumerate(depths):
        for block in range(depth):
            prefix, last = f"layers.{stage}.blocks.{block}", block == depth - 1
            forked = MTLoRALinear if last else LoRALinear
            assert kinds.pop(f"{prefix}.attn.qkv") is LoRALinear
            assert kinds.pop(f"{prefix}.proj" if last else f"{prefix}.attn.proj") is forked
            assert kinds.pop(f"{prefix}.mlp.fc1") is forked
            assert kinds.pop(f"{prefix}.mlp.fc2") is forked
    assert set(kinds.values()) == {LoRALinear}
    assert list(kinds) == [f"layers.{stage}.downsample.reduction" for stage in (1, 2, 3)]


def test_rank_and_scale_per_stage_and_task(small_swin):
    backbone = adapted(
        small_swin(), "mtlora_plus", rank=(8, 7, 6, 5), scale=(1.0, 2.0, 3.0, 4.0),
        task_rank={"semseg": 4, "normals": (1, 2, 3, 4), "edge": 2},
        task_scale={"semseg": 0.5, "normals": 1.5, "edge": 2},
    )  # fmt: skip
    last = [stage.blocks[-1].mlp.fc1 for stage in backbone.layers]
    assert [layer.lora_ta_A.shape[0] for layer in last] == [8, 7, 6, 5]
    assert [layer.lora_ts_A["normals"].shape[0] for layer in last] == [1, 2, 3, 4]
    assert last[2].scale == 3.0
    assert last[2].task_scale == {"semseg": 0.5, "normals": 1.5, "edge": 2}
    # the merging that timm keeps in stage 1 belongs to the end of the paper's stage 0
    assert [stage.downsample.reduction.lora_ta_A.shape[0] for stage in list(backbone.layers)[1:]] == [8, 7, 6]


@pytest.mark.parametrize(
    ("targets", "forks"), [(("qkv",), False), (("proj",), True), (("fc2",), True), (("qkv", "fc1"), True)]
)
def test_any_choice_of_targets_runs_and_forks_where_it_can(small_swin, targets, forks):
    backbone = adapted(small_swin(), targets=targets)
    for name, parameter in backbone.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    pyramids = backbone(torch.randn(1, 3, 64, 96), TASKS)
    same = torch.equal(pyramids["semseg"][0], pyramids["edge"][0])
    assert same is not forks


CASES = [("mtlora", combine) for combine in ("matrix", "matrixv2", "addition", "lora_only")] + [
    ("mtlora_plus", "matrix"), ("mtlora_plus", "matrixv2"), ("full", ""),
]  # fmt: skip


@pytest.fixture(params=CASES, ids="-".join)
def odd(request, small_swin):
    """A backbone in float64 with unequal ranks and scales, no number at its initial value, and no randomness left."""
    method, combine = request.param
    options = {
        "rank": (3, 4, 2, 5),
        "scale": (2.0, 1.5, 0.5, 3.0),
        "task_rank": {"semseg": (2, 3, 1, 4), "normals": 5, "edge": 1},
        "task_scale": {"semseg": 0.7, "normals": 1.7, "edge": 2.5},
        "combine": combine,
        "dropout": 0.0,
    }
    backbone = build_backbone(small_swin(window_size=5), img_size=(64, 96))
    METHODS[method].adapt(backbone, TASKS, method_options(method, options if combine else {}))
    for parameter in backbone.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return backbone.double().train()


def maps_and_gradients(backbone, run, tasks):
    """The maps of a run, task by task, and the gradients of a fixed random direction of them."""
    generator = torch.Generator().manual_seed(2)
    maps = [m for task in tasks for m in run()[task]]
    total = sum((m * torch.randn(m.shape, generator=generator, dtype=m.dtype)).sum() for m in maps)
    trained = [p for p in backbone.parameters() if p.requires_grad]
    return maps, torch.autograd.grad(total, trained, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("tasks", [TASKS, ("edge", "semseg")], ids=len)
def test_strips_change_nothing(odd, monkeypatch, tasks):
    tasks = TASKS if odd.tasks_feed_shared else tasks  # there none can be left out
    images, results = torch.randn(2, 3, 64, 96, dtype=torch.float64), []
    for tokens in (1, 150, 10**6):  # two rows, a few, all: 16 rows of 24, 8 of 12, 4 of 6, 2 of 3 in a batch of 2
        monkeypatch.setattr("mtlora_lite.backbones.fork.STRIP_TOKENS", tokens)
        results.append(maps_and_gradients(odd, lambda: odd(images, tasks), tasks))
    torch.testing.assert_close(results[1:], results[:1] * 2, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("merged", [False, True], ids=["", "merged"])
def test_projecting_at_once_is_projecting_the_features(odd, monkeypatch, merged):
    monkeypatch.setattr("mtlora_lite.backbones.fork.STRIP_TOKENS", 150)
    odd.train(not merged)
    if merged:
        for module in odd.modules():
            if isinstance(module, LoRALinear):
                module.merge()
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    matrices = [
        torch.randn(3, c, c_in, dtype=torch.float64) for c, c_in in zip((2, 3, 4, 5), odd.feature_channels, strict=True)
    ]

    def late():
        return {
            task: [torch.einsum("bchw,dc->bdhw", m, p[index]) for m, p in zip(maps, matrices, strict=True)]
            for index, (task, maps) in enumerate(odd(images, TASKS).items())
        }

    expected = maps_and_gradients(odd, late, TASKS)
    found = maps_and_gradients(odd, lambda: odd(images, TASKS, matrices), TASKS)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


def test_strips_share_the_drop_path_masks_of_a_sample(small_swin, monkeypatch):
    """Of each sample either all rows pass the last block of a stage or none do."""
    monkeypatch.setattr("mtlora_lite.backbones.fork.STRIP_TOKENS", 1)
    backbone = adapted(small_swin(drop_path_rate=0.5, depths=(1, 1, 1, 1)), dropout=0.0).train()
    block = backbone.layers[3].blocks[0]
    x = torch.randn(64, 6, 4, 96)
    block._attn = lambda normed: normed  # so that every row has something to add
    shared, streams = block(x, TASKS, lambda stream: stream)
    passed = torch.stack([shared, *streams]) != x  # (1 + T, B, H, W, C)
    rows = passed.flatten(3).any(-1)  # (1 + T, B, H)
    assert torch.equal(rows.any(-1), rows.all(-1))
    assert 0.65 < rows.all(-1).float().mean() < 0.85  # one of two paths with probability 1/2 each: 3/4
    assert not torch.equal(rows[1], rows[2])


def test_each_stream_draws_its_own_drop_path_mask(small_swin):
    backbone = adapted(small_swin(drop_path_rate=0.9)).train()
    features = backbone(torch.randn(8, 3, 64, 96), TASKS)
    assert not torch.equal(features["semseg"][-1], features["edge"][-1])  # equal weights, unequal masks


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "swin_s3_tiny_224", "swin_scenes_tiny"])
def test_timm_names_build_at_another_size(name):
    backbone = build_backbone(name, img_size=(96, 64), pretrained=False).eval()
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, 96, 64), ("depth",))["depth"]
    assert [tuple(f.shape[-2:]) for f in features] == [(12, 8), (6, 4), (3, 2), (3, 2)]
    assert tuple(f.shape[1] for f in features) == backbone.feature_channels


def test_every_parameter_has_a_group(small_swin):
    backbone = adapted(small_swin())
    groups = {backbone.parameter_group(name) for name, _ in backbone.named_parameters()}
    assert groups == {"patch_embed", "rel_pos", "norms", "merging", "linears", "lora"}


@pytest.mark.parametrize("pretrained", [False, True])
def test_weights_of_an_unknown_tag_are_refused_with_those_there_are(pretrained):
    with pytest.raises(
        ValueError, match=r"'swin_tiny_patch4_window7_224' has no weights 'nope'\. There are: ms_in1k, "
    ):
        build_backbone("swin_tiny_patch4_window7_224.nope", img_size=64, pretrained=pretrained)
    with pytest.raises(ValueError, match=r"'swin_scenes_tiny' has no weights 'nope'\. There are: none with a tag"):
        build_backbone("swin_scenes_tiny.nope", img_size=64, pretrained=pretrained)


def test_a_shape_of_an_unknown_family_or_part_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"Unknown family 'convnext'\. There are: swin, swinv2, pvt_v2\."):
        build_backbone({"family": "convnext"}, img_size=64, pretrained=False)
    for shape, near in (({"dephts": (2, 2, 2, 2)}, "depths"), ({"family": "pvt_v2", "embed_dim": 32}, "embed_dims")):
        with pytest.raises(ValueError, match=rf"Unknown part of a shape .*Did you mean {near!r}\?.* num_heads, "):
            build_backbone(shape, img_size=64, pretrained=False)


@pytest.mark.parametrize("size", [64.0, (64, 64.5), "64", None, (64, 64, 64), (64,)])
def test_an_image_size_is_one_whole_number_or_two(size):
    with pytest.raises(ValueError, match=r"img_size is a whole number of pixels, or two \(height, width\), not "):
        build_backbone("swin_scenes_tiny", img_size=size, pretrained=False)


def test_an_image_without_a_batch_is_refused_with_its_shape(small_swin):
    with pytest.raises(ValueError, match=r"Images are a batch \(B, 3, H, W\), got \(3, 64, 96\)"):
        build_backbone(small_swin(), img_size=(64, 96))(torch.randn(3, 64, 96), ("edge",))


def test_errors_say_what_exists_and_what_to_do(small_swin):
    with pytest.raises(ValueError, match=r"'query' matches no layer.*qkv, proj, fc1, fc2, reduction"):
        adapted(small_swin(), targets=("query",))
    with pytest.raises(ValueError, match=r"100.*multiple of 32.*\(128, 64\)"):
        build_backbone("swin_scenes_tiny", img_size=(100, 64), pretrained=False)
    with pytest.raises(ValueError, match=r"64x64 but the model was built for 64x96.*img_size=\(64, 64\)"):
        adapted(small_swin())(torch.randn(1, 3, 64, 64), TASKS)
    with pytest.raises(ValueError, match="swin_scenes_tiny"):
        build_backbone("swin_scene_tiny", img_size=64)
    with pytest.raises(ValueError, match="VisionTransformer is not supported"):
        build_backbone(timm.create_model("vit_tiny_patch16_224"), img_size=224)
    with pytest.raises(ValueError, match=r"one per stage: the backbone has 4 stages, got \(1, 2\)"):
        adapted(small_swin(), rank=(1, 2))
    with pytest.raises(ValueError, match=r"one entry per task \(semseg, normals, edge\), got semseg"):
        adapted(small_swin(), task_rank={"semseg": 2})
