"""The whole model: isolation of tasks, gradients, freezing, counts, merging, saving."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import torchinfo

import mtlora_lite as ml
from mtlora_lite.decoders import DECODERS
from mtlora_lite.losses import MultiTaskLoss
from mtlora_lite.methods import METHODS
from mtlora_lite.model import resize_logits

TASKS = ("semseg", "human_parts", "sal", "normals", "edge", "depth")
COMBINE = ("matrix", "matrixv2", "addition", "lora_only")
RANKS = {"semseg": 3, "human_parts": 2, "sal": 1, "normals": 4, "edge": 2, "depth": 1}
ODD = {"rank": (5, 4, 3, 2), "scale": (1.5, 2.0, 0.5, 3.0), "task_rank": RANKS, "task_scale": 0.7, "dropout": 0.0}
SMALL_HEADS = {"channels": (4, 5, 6, 7), "expansion": 2}


@pytest.fixture
def build(small_swin):
    """A function that builds a small model whose low-rank updates are not zero."""

    def make(method="mtlora", tasks=TASKS, **options):
        odd = {key: value for key, value in ODD.items() if method.startswith("mtlora")}
        if isinstance(odd.get("task_rank"), dict):
            odd["task_rank"] = {task: RANKS.get(task, 1) for task in tasks}
        arguments = {"decoder_options": SMALL_HEADS} | odd | options
        model = ml.build_model(method, backbone=small_swin(), tasks=tasks, img_size=(64, 96), **arguments)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.2)
        return model.eval()

    return make


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 96)


def targets(batch=2, size=(64, 96)):
    normals = torch.nn.functional.normalize(torch.randn(batch, 3, *size), dim=1)
    return {
        "semseg": torch.randint(0, 21, (batch, 1, *size)),
        "human_parts": torch.randint(0, 7, (batch, 1, *size)),
        "sal": torch.randint(0, 2, (batch, 1, *size)),
        "normals": normals,
        "edge": torch.randint(0, 2, (batch, 1, *size)),
        "depth": 1 + torch.rand(batch, 1, *size),
    }


def test_one_pass_gives_every_task_at_the_size_of_the_image(build, images):
    logits = build()(images)
    assert {task: tuple(value.shape) for task, value in logits.items()} == {
        "semseg": (2, 21, 64, 96), "human_parts": (2, 7, 64, 96), "sal": (2, 1, 64, 96),
        "normals": (2, 3, 64, 96), "edge": (2, 1, 64, 96), "depth": (2, 1, 64, 96),
    }  # fmt: skip


@pytest.mark.parametrize("combine", COMBINE)
def test_leaving_tasks_out_changes_no_other_output(build, images, combine):
    model = build(combine=combine)
    with torch.no_grad():
        everything, some = model(images), model(images, ("edge", "semseg"))
    assert list(some) == ["edge", "semseg"]
    for task, logits in some.items():
        torch.testing.assert_close(logits, everything[task])


@pytest.mark.parametrize("decoder", list(DECODERS))
def test_the_model_is_its_decoders_after_its_backbone(build, images, decoder):
    options = (
        {} if decoder == "aspp" else {"channels": (4, 5, 6, 7)} if decoder in ("hrnet", "deconv") else {"width": 6}
    )
    model = build("mtlora_plus", decoder=decoder, decoder_options=options)
    some = ("edge", "semseg")
    with torch.no_grad():
        pyramids, found = model.backbone(images, some), model(images, some)
    for task in some:
        decoder = model.decoders[task]
        expected = resize_logits(decoder.head(decoder.fusion(pyramids[task])), (64, 96))
        torch.testing.assert_close(found[task], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("combine", ["matrix", "matrixv2"])
def test_the_loss_of_one_task_leaves_the_others_private_updates_alone(build, images, combine):
    model = build(combine=combine)
    model(images)["sal"].square().mean().backward()
    for name, parameter in model.named_parameters():
        if "lora_ts_" in name:
            touched = parameter.grad is not None and bool(parameter.grad.any())
            assert touched is name.endswith(".sal"), name


def expected_without_gradient(model, combine):
    """``matrix`` and ``addition`` do not use the last stage's shared output: facts of the method, not of this code."""
    last = len(model.backbone.layers[3].blocks) - 1
    prefix = f"backbone.layers.3.blocks.{last}."
    return {
        "matrix": {prefix + "mlp.fc2.lora_ta_A", prefix + "mlp.fc2.lora_ta_B"},
        "addition": {prefix + "mlp.fc2.lora_norm.weight", prefix + "mlp.fc2.lora_norm.bias"},
    }.get(combine, set())


@pytest.mark.parametrize(
    ("method", "combine"),
    [*(("mtlora", mode) for mode in COMBINE), ("mtlora_plus", "matrix"), ("decoders_only", ""), ("full", "")],
)
def test_every_trained_parameter_gets_a_gradient_and_no_other(build, images, method, combine):
    model = build(method, **({"combine": combine} if combine else {}))
    MultiTaskLoss(TASKS)(model(images), targets())[0].backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert trained - reached == expected_without_gradient(model, combine)
    assert reached <= trained


@pytest.mark.parametrize("method", [name for name in METHODS if name != "single_task"])
def test_frozen_weights_are_equal_to_the_bit_after_a_step(build, images, method):
    model = build(method).train()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    MultiTaskLoss(TASKS)(model(images), targets())[0].backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert torch.equal(parameter, before[name]), name
    linears = [name for name in before if name.endswith(("fc1.linear.weight", "qkv.linear.weight"))]
    wrapped = ("mtlora", "mtlora_plus", "mtl_lora", "lora", "lora_per_task")
    assert len(linears) == (14 if method in wrapped else 0)


@pytest.mark.parametrize("combine", COMBINE)
@pytest.mark.parametrize("method", ["mtlora", "mtlora_plus"])
def test_merged_equals_unmerged_and_comes_back(build, images, method, combine):
    model = build(method, combine=combine)
    weights = {name: parameter.clone() for name, parameter in model.named_parameters()}
    with torch.no_grad():
        expected = model(images)
        for _ in range(2):
            merged = model.merge()(images)
    for task in TASKS:
        torch.testing.assert_close(merged[task], expected[task], atol=2e-4, rtol=1e-4)
    model.unmerge().unmerge()
    assert all(torch.equal(parameter, weights[name]) for name, parameter in model.named_parameters())


def test_merging_leaves_only_the_forked_layers_of_matrix_mode_apart(build):
    model = build().merge()
    apart = [n for n, layer in model.backbone.named_modules() if hasattr(layer, "merged") and not layer.merged]
    assert len(apart) == 4 * 3  # proj, fc1, fc2 of the last block of each stage
    assert not any("qkv" in name for name in apart)


@pytest.mark.parametrize("decoder", list(DECODERS))
def test_every_decoder_runs_and_sums_up_in_the_report(build, images, decoder):
    model = build(decoder=decoder, decoder_options={}).train()
    logits = model(images)
    assert logits["semseg"].shape == (2, 21, 64, 96)
    report = ml.parameter_report(model)
    assert report.loc["total"].sum() == sum(parameter.numel() for parameter in model.parameters())
    assert report.loc["total", "trainable"] == sum(p.numel() for p in model.parameters() if p.requires_grad)


# facts of the paper's released configurations: Swin-T, 448 pixels, four tasks, task rank 4
PUBLISHED = {
    ("mtlora", 16): (423_936, 706_560, 0, 1_599_546, 4_953_146, 30_871_418),
    ("mtlora", 32): (847_872, 1_413_120, 0, 1_599_546, 6_083_642, 32_001_914),
    ("mtlora", 64): (1_695_744, 2_826_240, 0, 1_599_546, 8_344_634, 34_262_906),
    ("mtlora_plus", 16): (423_936, 706_560, 64_512, 51_258, 3_469_370, 30_935_930),
    ("mtlora_plus", 32): (847_872, 1_413_120, 129_024, 51_258, 4_664_378, 32_130_938),
    ("mtlora_plus", 64): (1_695_744, 2_826_240, 258_048, 51_258, 7_054_394, 34_520_954),
}


@pytest.mark.parametrize(("method", "rank"), PUBLISHED)
def test_parameter_report_is_the_published_table(method, rank):
    model = ml.build_model(
        method, backbone="swin_tiny_patch4_window7_224", tasks=("semseg", "normals", "sal", "human_parts"),
        img_size=448, pretrained=False, rank=rank,
    )  # fmt: skip
    rows = ml.parameter_report(model)["trainable"]
    attention, mlp, merging, other, trainable, total = PUBLISHED[method, rank]
    assert rows["TA-LoRA qkv + proj"] == attention
    assert rows["TA-LoRA mlp"] == mlp
    assert rows.get("TA-LoRA merging", 0) == merging
    assert rows["TS-LoRA"] == 276_480
    groups = ["patch embedding", "relative positions", "norms", "patch merging"]
    assert sum(rows[group] for group in groups) == other
    assert rows["patch embedding"] == 4_704 + 192
    assert rows["norms"] == 17_664 + 5_376
    assert rows["fusion"] == 4 * 183_168
    assert rows["decoders"] == 317_541 + 302_407 + 298_083 + 295_921
    assert rows["total"] == trainable
    assert ml.parameter_report(model).loc["total"].sum() == total


def test_torchinfo_counts_the_same(build):
    model = build()
    summary = torchinfo.summary(model, input_size=(1, 3, 64, 96), verbose=0)
    assert summary.trainable_params == ml.parameter_report(model).loc["total", "trainable"]


@pytest.mark.parametrize("method", ["mtlora", "decoders_only", "full"])
def test_saved_and_loaded_is_the_same_model(build, small_swin, images, tmp_path, method):
    model = build(method)
    expected = model(images)
    model.save_pretrained(tmp_path)
    loaded = ml.MultiTaskModel.from_pretrained(tmp_path, backbone=small_swin())
    assert all(torch.equal(logits, expected[task]) for task, logits in loaded(images).items())
    assert loaded.config.options == model.config.options
    assert {n for n, p in loaded.named_parameters() if p.requires_grad} == {
        n for n, p in model.named_parameters() if p.requires_grad
    }


def test_saving_a_merged_model_saves_it_unmerged(build, small_swin, images, tmp_path):
    model = build().merge()
    model.save_pretrained(tmp_path)
    assert any(getattr(layer, "merged", False) for layer in model.modules())
    loaded = ml.MultiTaskModel.from_pretrained(tmp_path, backbone=small_swin())
    torch.testing.assert_close(loaded(images)["edge"], model.unmerge()(images)["edge"])


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("method", ["mtlora", "full"])
@pytest.mark.parametrize("learns", [False, True])
def test_a_model_is_saved_whole_whatever_is_frozen_or_thawed_by_then(tmp_path, method, full, learns):
    model = ml.build_model(
        method, backbone="swin_scenes_tiny", tasks=("sal", "depth"), img_size=64, decoder_options=SMALL_HEADS
    ).eval()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    model.requires_grad_(learns)
    for name, parameter in model.named_parameters():
        if learns or name in trained:  # also weights that the method keeps frozen, where they were thawed
            torch.nn.init.normal_(parameter, std=0.2)
    images = torch.randn(1, 3, 64, 64)
    expected = model(images)
    model.save_pretrained(tmp_path, full=full)
    counted = sum(p.numel() for name, p in model.named_parameters() if learns or name in trained)
    assert f"{counted:,} of " in (tmp_path / "README.md").read_text()
    loaded = ml.MultiTaskModel.from_pretrained(tmp_path)
    assert all(torch.equal(logits, expected[task]) for task, logits in loaded(images).items())


def test_a_damaged_folder_is_refused_with_its_name(build, small_swin, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        ml.MultiTaskModel.from_pretrained(tmp_path)
    build().save_pretrained(tmp_path / "a")
    with pytest.raises(ValueError, match="backbone="):
        ml.MultiTaskModel.from_pretrained(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    record = json.loads((tmp_path / "b" / "config.json").read_text())
    (tmp_path / "b" / "config.json").write_text(json.dumps(record | {"tasks": ["sal"], "channels": {"sal": 1}}))
    with pytest.raises(ValueError, match=r"one entry per task|does not fit"):
        ml.MultiTaskModel.from_pretrained(tmp_path / "b", backbone=small_swin())


def test_adapters_on_another_kind_of_backbone_are_refused_in_a_sentence(tmp_path):
    ml.build_model(backbone="swin_scenes_tiny", tasks=("sal",), img_size=64).save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"does not fit its config\.json with a PVT v2 of width 32 as the backbone: back"
    ):
        ml.MultiTaskModel.from_pretrained(tmp_path, backbone="pvt_v2_scenes_tiny")


def test_single_task_is_one_model_per_task(small_swin):
    with pytest.raises(ValueError, match=r"one task per model, got sal, depth: build one model for each"):
        ml.build_model("single_task", backbone=small_swin(), tasks=("sal", "depth"), img_size=(64, 96))


@pytest.mark.parametrize("damage", [lambda file: file.write_bytes(file.read_bytes()[:-1000]), Path.unlink])
def test_weights_that_cannot_be_read_are_refused_in_a_sentence(build, small_swin, tmp_path, damage):
    build().save_pretrained(tmp_path)
    damage(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be read .*copy the checkpoint again"):
        ml.MultiTaskModel.from_pretrained(tmp_path, backbone=small_swin())


def test_errors_name_what_exists(build, small_swin):
    with pytest.raises(ValueError, match=r"Unknown method 'mtlor'. Did you mean 'mtlora'"):
        build("mtlor")
    with pytest.raises(ValueError, match=r"no option 'ranks'. Did you mean 'rank'"):
        build(ranks=3)
    with pytest.raises(ValueError, match=r"'decoders_only' has no option 'combine'"):
        build("decoders_only", combine="matrix")
    with pytest.raises(ValueError, match=r"combine mode 'sum'.*matrix, matrixv2, addition, lora_only"):
        build(combine="sum")
    with pytest.raises(ValueError, match=r"Unknown group 'bias'.*patch_embed"):
        build(train=("bias",))
    with pytest.raises(ValueError, match=r"Unknown task 'depht'. Did you mean 'depth'"):
        build(tasks=("depht",))
    with pytest.raises(ValueError, match=r"no task 'depth'. Its tasks: sal"):
        build(tasks=("sal",))(torch.randn(1, 3, 64, 96), ("depth",))
    with pytest.raises(ValueError, match="single_task trains one task per model"):
        build("single_task")


def test_an_exported_graph_takes_any_number_of_images(build, images):
    """Work in pieces is for running on a CPU: a graph must not depend on the number of images it was made with."""
    model = build(tasks=("sal", "depth")).merge()
    count = torch.export.Dim("count", min=1, max=16)
    graph = torch.export.export(model, (images,), dynamic_shapes=({0: count},), strict=False).module()
    more = torch.randn(5, 3, 64, 96)
    with torch.no_grad():
        for task, logits in model(more).items():
            torch.testing.assert_close(graph(more)[task], logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("rank", "task_rank"), [(0, 2), (2, 0), (0, {"semseg": 1, "depth": 0})])
def test_a_model_may_do_without_shared_or_private_updates(rank, task_rank, tmp_path):
    options = {
        "backbone": "swin_scenes_tiny",
        "tasks": ["semseg", "depth"],
        "img_size": 64,
        "decoder_options": {"expansion": 1},
    }
    model = ml.build_model(rank=rank, task_rank=task_rank, dropout=0.0, drop_path=0.0, **options)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(2):
        sum(logits.square().mean() for logits in model(torch.randn(2, 3, 64, 64)).values()).backward()
        optimizer.step()
        optimizer.zero_grad()
    images = torch.randn(1, 3, 64, 64)
    expected = model.eval()(images)
    model.save_pretrained(tmp_path)
    for other in (ml.MultiTaskModel.from_pretrained(tmp_path), model.merge()):
        for task, logits in other(images).items():
            torch.testing.assert_close(logits, expected[task], atol=1e-4, rtol=1e-4)
    report = ml.parameter_report(model)
    assert ("TS-LoRA" in report.index) == (task_rank != 0)
    assert ("TA-LoRA mlp" in report.index) == (rank != 0)
