"""Every family of backbones: what MTLoRA computes on it, against timm's own passes, and all that is done with it.

What holds for one must hold for all, so the tests run over tiny models of every family; see ``tiny``.
"""

import dataclasses
import json

import pytest
import timm
import torch
from plain import Setting, by_hand, our_name, pyramids
from tiny import RANKS, SIZE, TASKS, TINY, tiny, whole

import mtlora_lite as ml
from mtlora_lite.backbones import FAMILIES, build_backbone
from mtlora_lite.backbones.recompute import keep_activations, recompute_blocks
from mtlora_lite.export import loading_line, merged, save_trunk
from mtlora_lite.folding import fold_for_good
from mtlora_lite.lora import LoRALinear, MTLoRALinear
from mtlora_lite.methods import METHODS, method_options

COMBINE = ("matrix", "matrixv2", "addition", "lora_only")

each_kind = pytest.mark.parametrize("kind", TINY)
each_family = pytest.mark.parametrize("kind", FAMILIES)
each_mode = pytest.mark.parametrize("combine", COMBINE)


def with_merging(kind):
    return FAMILIES[kind.split()[0]].merging_linear is not None


def adapted(kind, method="mtlora", **options):
    """A backbone with unequal ranks and scales and no number at its initial value."""
    backbone = build_backbone(tiny(kind), img_size=SIZE)
    METHODS[method].adapt(backbone, TASKS, method_options(method, RANKS | options))
    for parameter in backbone.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return backbone.eval()


def test_every_family_has_a_tiny_model():
    assert {kind.split()[0] for kind in TINY} == set(FAMILIES)


# ------------------------------------------------------------------------------------------------- what is computed

CASES = [(kind, "mtlora", combine) for kind in TINY for combine in COMBINE]
CASES += [(kind, "mtlora_plus", "matrix") for kind in TINY if with_merging(kind)]


@pytest.mark.parametrize(("kind", "method", "combine"), CASES)
def test_features_and_gradients_are_those_of_plain_passes(kind, method, combine, monkeypatch):
    monkeypatch.setattr("mtlora_lite.backbones.fork.STRIP_TOKENS", 150)  # a few rows, where there may be strips
    backbone, images = adapted(kind, method, combine=combine).double(), torch.randn(2, 3, *SIZE).double()
    task_scale = {task: s if isinstance(s, tuple) else (s,) * 4 for task, s in RANKS["task_scale"].items()}
    setting = Setting(TASKS, RANKS["scale"], task_scale, combine)
    plain = by_hand(tiny(kind).double(), backbone.state_dict(), setting)
    results = []
    for maps in (backbone(images, TASKS), pyramids(plain, images, setting)):
        torch.manual_seed(3)  # a random direction per map, so that no gradient cancels by symmetry
        sum((m * torch.randn_like(m)).sum() for task in TASKS for m in maps[task]).backward()
        results.append([m for task in TASKS for m in maps[task]])
    torch.testing.assert_close(*results, atol=1e-9, rtol=1e-9)

    gradients = {our_name(name): parameter.grad for name, parameter in plain.named_parameters()}
    for name, parameter in backbone.named_parameters():
        if parameter.requires_grad:
            theirs = gradients[name if name in gradients else name.replace(".proj.", ".attn.proj.")]
            ours, theirs = (torch.zeros_like(parameter) if g is None else g for g in (parameter.grad, theirs))
            torch.testing.assert_close(ours, theirs, atol=1e-8, rtol=1e-7, msg=lambda m, at=name: f"{at}: {m}")


@each_kind
def test_zero_init_is_the_plain_model_for_every_task(kind):
    """Features are what timm hands to the next stage, or takes out of the last one."""
    model, images, seen = tiny(kind), torch.randn(2, 3, *SIZE), []
    stages = model.layers if hasattr(model, "layers") else model.stages
    for stage in stages[1:]:
        stage.downsample.register_forward_hook(lambda _, x, y: seen.append(y))
    stages[-1].register_forward_hook(lambda _, x, y: seen.append(y.movedim(1, -1) if kind.startswith("pvt") else y))
    with torch.no_grad():
        model.forward_features(images)
        for combine in ("matrix", "matrixv2", "lora_only"):
            backbone = build_backbone(tiny(kind), img_size=SIZE)
            METHODS["mtlora"].adapt(backbone, TASKS, method_options("mtlora", RANKS | {"combine": combine}))
            for maps in backbone.eval()(images, TASKS).values():
                assert tuple(m.shape[1] for m in maps) == backbone.feature_channels
                assert [tuple(m.shape[2:]) for m in maps] == [(8, 12), (4, 6), (2, 3), (2, 3)]
                ours = [m.movedim(1, -1) for m in maps]
                torch.testing.assert_close(ours, seen, atol=1e-5, rtol=1e-5)


@each_kind
def test_every_update_reaches_the_features(kind):
    """A layer that is called around its module would make its update a dead number."""
    backbone, images = adapted(kind), torch.randn(1, 3, *SIZE)
    maps = backbone(images, TASKS)
    sum(m.square().sum() for task in TASKS for m in maps[task]).backward()
    dead = [name for name, p in backbone.named_parameters() if "lora_" in name and (p.grad is None or not p.grad.any())]
    unused = [name for name in dead if f".{len(RANKS['rank']) - 1}." in name and ".fc2.lora_ta_" in name]
    assert dead == unused  # in `matrix` nothing reads the shared stream after the last fork
    assert len(dead) == 2


@each_kind
@torch.no_grad()
def test_a_subset_of_the_tasks_has_the_same_features(kind):
    backbone, images = adapted(kind), torch.randn(2, 3, *SIZE)
    everything, some = backbone(images, TASKS), backbone(images, ("normals", "semseg"))
    for task, maps in some.items():
        torch.testing.assert_close(maps, everything[task], atol=1e-5, rtol=1e-5)


@each_kind
@each_mode
@torch.no_grad()
def test_projecting_at_once_is_projecting_the_features(kind, combine):
    backbone, images = adapted(kind, combine=combine), torch.randn(2, 3, *SIZE)
    matrices = [torch.randn(3, c, c_in) for c, c_in in zip((2, 3, 4, 5), backbone.feature_channels, strict=True)]
    features, found = backbone(images, TASKS), backbone(images, TASKS, matrices)
    for index, task in enumerate(TASKS):
        for level, maps in enumerate(features[task]):
            expected = torch.einsum("bchw,dc->bdhw", maps, matrices[level][index])
            torch.testing.assert_close(found[task][level], expected, atol=1e-3, rtol=1e-4)


@each_kind
def test_each_stream_draws_its_own_drop_path_mask(kind):
    backbone = adapted(kind).train()
    for _, block in backbone.blocks():
        block.drop_path1 = block.drop_path2 = timm.layers.DropPath(0.5)
    x = backbone(torch.randn(8, 3, *SIZE), TASKS)
    assert not torch.allclose(x["semseg"][-1], x["normals"][-1])


# --------------------------------------------------------------------------------------------- what is done with it


@each_family
def test_layers_are_adapted_where_the_paper_says(kind):
    backbone = adapted(kind)
    last = dict(backbone.blocks())  # of each stage
    for index, block in backbone.blocks():
        found = {
            name.split(".")[-1]: module for name, module in block.named_modules() if isinstance(module, LoRALinear)
        }
        assert set(found) == set(backbone.block_linears)
        forked = {name for name, module in found.items() if isinstance(module, MTLoRALinear)}
        assert forked == (set(backbone.fork_targets) if block is last[index] else set())


@each_family
def test_trained_numbers_follow_the_formula(kind):
    """TA: r (in + out) of every linear layer; TS: the sum of the task ranks, of the forked ones."""
    backbone, plain = adapted(kind), build_backbone(tiny(kind), img_size=SIZE)
    last, expected = dict(plain.blocks()), 0
    for index, block in plain.blocks():
        for name, path in plain.block_linears.items():
            ranks = [RANKS["rank"][index]]
            if block is last[index] and name in plain.fork_targets:
                ranks += [r[index] if isinstance(r, tuple) else r for r in RANKS["task_rank"].values()]
            expected += sum(ranks) * sum(block.get_submodule(path).weight.shape)
    counted = dict.fromkeys(("lora", *backbone.parameter_groups), 0)
    frozen = dict(counted)
    for name, parameter in backbone.named_parameters():
        (counted if parameter.requires_grad else frozen)[backbone.parameter_group(name)] += parameter.numel()
    assert counted["lora"] == expected
    assert {group for group, count in frozen.items() if count} == {"linears", "convolutions"} & frozen.keys()
    assert sum(counted.values()) + sum(frozen.values()) == expected + sum(p.numel() for p in plain.parameters())


@each_family
def test_the_report_counts_every_number_once(kind):
    model = whole(kind)
    report = ml.parameter_report(model)
    assert report.loc["total"].sum() == sum(parameter.numel() for parameter in model.parameters())
    assert report.loc["total", "trainable"] == sum(p.numel() for p in model.parameters() if p.requires_grad)
    attention = [name for name, path in model.backbone.block_linears.items() if path.startswith("attn.")]
    counted = sum(p.numel() for name, p in model.named_parameters() if "lora_ta_" in name and "mlp" not in name)
    assert report.loc[f"TA-LoRA {' + '.join(attention)}", "trainable"] == counted
    assert report.loc["patch embedding", "trainable"] > 0
    assert report.loc["patch merging", "trainable"] > 0


@each_family
@each_mode
@torch.no_grad()
def test_merging_changes_nothing_and_can_be_undone(kind, combine):
    model, images = whole(kind, combine=combine), torch.randn(2, 3, *SIZE)
    before, state = model(images), {name: value.clone() for name, value in model.state_dict().items()}
    for task, logits in model.merge()(images).items():
        torch.testing.assert_close(logits, before[task], atol=1e-4, rtol=1e-4)
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, state[name])]
    assert changed
    assert all(torch.equal(value, state[name]) for name, value in model.unmerge().state_dict().items())


@each_family
@each_mode
@torch.no_grad()
def test_a_merged_model_needs_nothing_but_its_folder(kind, combine, tmp_path):
    model, images = whole(kind, combine=combine), torch.randn(2, 3, *SIZE)
    tasks = TASKS if combine == "addition" else TASKS[1:]
    merged(model, tasks).save_pretrained(tmp_path)
    found = ml.MultiTaskModel.from_pretrained(tmp_path)
    assert found.tasks == tasks
    for task, logits in found(images).items():
        torch.testing.assert_close(logits, model(images)[task], atol=1e-4, rtol=1e-4)
    backbone = adapted(kind, combine="lora_only")
    fold_for_good(backbone)
    assert backbone.state_dict().keys() == build_backbone(tiny(kind), img_size=SIZE).state_dict().keys()


@each_kind
@torch.no_grad()
def test_a_shape_builds_the_same_model_again(kind):
    backbone, images = build_backbone(tiny(kind), img_size=SIZE), torch.randn(1, 3, *SIZE)
    shape = json.loads(json.dumps(backbone.shape()))
    again = build_backbone(shape, img_size=SIZE, pretrained=False).eval()
    again.load_state_dict(backbone.state_dict())  # strict, so names and shapes agree
    assert again.shape() == shape
    torch.testing.assert_close(again(images, TASKS), backbone(images, TASKS), atol=0, rtol=0)


@each_family
@torch.no_grad()
def test_saved_and_loaded_is_the_same_model(kind, tmp_path):
    model, images = whole(kind), torch.randn(1, 3, *SIZE)
    model.save_pretrained(tmp_path)
    again = ml.MultiTaskModel.from_pretrained(tmp_path, backbone=tiny(kind))
    assert again.config == dataclasses.replace(model.config, backbone=None)
    for task, logits in again(images).items():
        assert torch.equal(logits, model(images)[task])


@each_family
@torch.no_grad()
def test_the_trunk_is_a_plain_model_of_timm(kind, tmp_path):
    model, images = whole(kind), torch.randn(2, 3, *SIZE)
    path = save_trunk(model, tmp_path / "trunk.safetensors")
    trunk = _run(loading_line(model, path)).eval()
    stages = trunk.layers if hasattr(trunk, "layers") else trunk.stages
    ours, theirs = (
        [block for _, block in model.backbone.blocks()],
        [block for stage in stages for block in stage.blocks],
    )
    seen = {"ours": [], "theirs": []}
    for name, blocks in zip(seen, (ours, theirs), strict=True):
        for block in blocks:
            block.register_forward_hook(
                lambda _, x, y, name=name: seen[name].append((y[0] if isinstance(y, tuple) else y).flatten())
            )
    trunk.forward_features(images)
    model(images)
    assert len(seen["ours"]) == len(theirs)
    torch.testing.assert_close(seen["ours"], seen["theirs"], atol=1e-3, rtol=1e-4)


def _run(line):
    names = {"timm": timm}
    exec(line, names)
    return names["trunk"]


@each_family
def test_computing_blocks_twice_has_the_same_gradients(kind):
    backbone, images = adapted(kind).train(), torch.randn(1, 3, *SIZE)

    def gradients():
        torch.manual_seed(4)
        maps = backbone(images, TASKS)
        total = sum(m.square().sum() for task in TASKS for m in maps[task])
        trained = [p for p in backbone.parameters() if p.requires_grad]
        return torch.autograd.grad(total, trained, allow_unused=True, materialize_grads=True)

    expected = gradients()
    recompute_blocks(backbone)
    assert all(torch.equal(*pair) for pair in zip(gradients(), expected, strict=True))
    keep_activations(backbone)
    assert all("forward" not in vars(block) for _, block in backbone.blocks())


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("name", ["resnet50", "vit_base_patch16_224", "swinv2_cr_tiny_224"])
def test_other_families_are_refused_by_name(name):
    with pytest.raises(ValueError, match=rf"'{name}' is of no supported family.*swin_\*, swinv2_\*, pvt_v2_\*"):
        build_backbone(name, img_size=224)


def test_other_families_are_refused_as_modules():
    with pytest.raises(ValueError, match=r"ResNet is not supported.*swin_\*, swinv2_\*, pvt_v2_\*"):
        build_backbone(timm.create_model("resnet10t", num_classes=0), img_size=64)


def test_mtlora_plus_says_what_it_needs():
    with pytest.raises(ValueError, match=r"no linear layer in a PVT v2: take mtlora, which"):
        adapted("pvt_v2", "mtlora_plus")
    with pytest.raises(
        ValueError, match=r"'reduction' matches no layer of a PVT v2\. Targets: q, kv, proj, fc1, fc2\."
    ):
        adapted("pvt_v2", targets=("reduction",))
    with pytest.raises(ValueError, match=r"Unknown group 'heads' in train. Groups of a PVT v2: .*convolutions"):
        adapted("pvt_v2", train=("heads",))


def test_convolutions_inside_of_blocks_are_trained_when_named():
    backbone = adapted("pvt_v2", train=("convolutions",))
    trained = {name for name, p in backbone.named_parameters() if p.requires_grad and "lora_" not in name}
    assert {name.split(".")[-2] for name in trained} == {"dwconv", "sr"}


@pytest.mark.parametrize("kind", ["swinv2", "pvt_v2"])
def test_images_of_another_size_are_refused(kind):
    with pytest.raises(ValueError, match=r"64x64 but the model was built for 64x96"):
        adapted(kind)(torch.randn(1, 3, 64, 64), TASKS)
    with pytest.raises(ValueError, match=r"not a multiple of 32"):
        build_backbone(tiny(kind), img_size=(64, 100))
    if kind == "swinv2":
        with pytest.raises(ValueError, match=r"was built for \(64, 96\) pixels"):
            build_backbone(tiny(kind), img_size=64)
