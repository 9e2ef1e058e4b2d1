"""What holds for every method of the registry, and what is particular to some."""

import importlib.util

import pytest
import torch
import torch.nn.functional as F
from methods_zoo import HEADS, SHAPE, SIZE, TASKS, ZOO, fresh, method_of, options_of, plain_copy, tasks_of, trained
from safetensors.torch import load_file
from taken_away import agree
from torch import nn

import mtlora_lite as ml
from mtlora_lite.adapted import INSERTED, Adapted
from mtlora_lite.backbones import build_backbone
from mtlora_lite.backbones.recompute import keep_activations, recompute_blocks
from mtlora_lite.counts import parameter_report
from mtlora_lite.decoders import DECODERS
from mtlora_lite.export import merged, save_trunk
from mtlora_lite.folding import is_merged
from mtlora_lite.lora import LoRALinear
from mtlora_lite.methods import METHODS, method_options
from mtlora_lite.methods.adapter import AdapterLinear
from mtlora_lite.methods.dora import DoRALinear
from mtlora_lite.methods.ssf import ScaleShift

each = pytest.mark.parametrize("kind", ZOO)
PER_TASK = [kind for kind in ZOO if METHODS[method_of(kind)].pass_per_task]
each_per_task = pytest.mark.parametrize("kind", PER_TASK)


@pytest.fixture
def images():
    return torch.randn(2, 3, *SIZE)


def loss(logits):
    return sum(each.square().mean() for each in logits.values())


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_every_method_is_looked_at():
    assert {method_of(kind) for kind in ZOO} == set(METHODS)


# ------------------------------------------------------------------------------------------------- what holds for all


@each
def test_what_is_trained_is_what_the_formula_says(kind):
    tasks, method = tasks_of(kind), METHODS[method_of(kind)]
    plain = build_backbone(SHAPE, img_size=SIZE, pretrained=False)
    formula = method.count(plain, tasks, method_options(method_of(kind), options_of(kind, tasks)))
    found = sum(p.numel() for p in fresh(kind).backbone.parameters() if p.requires_grad)
    assert found == formula
    assert (formula > 0) is (kind != "decoders_only")


@pytest.mark.parametrize("kind", [kind for kind in ZOO if kind != "mtlora addition"])
def test_a_model_starts_as_the_plain_backbone_where_the_method_says_so(kind, images):
    model = fresh(kind)
    expected, found = plain_copy(model)(images), model(images)
    same = all(torch.allclose(found[task], expected[task], rtol=1e-5, atol=1e-5) for task in model.tasks)
    assert same is METHODS[method_of(kind)].starts_plain


@each
def test_what_is_frozen_stays_as_it_is_and_what_is_trained_learns(kind, images):
    model = trained(kind).train()
    before = state(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    loss(model(images)).backward()
    optimizer.step()
    learns = {f"backbone.{name}" for name, p in model.backbone.named_parameters() if p.requires_grad}
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    moved = {name for name in moved if name.startswith("backbone.")}  # what a BatchNorm follows has hardly a gradient
    idle = {name for name in learns - moved if "layers.3.blocks.0.mlp.fc2.lora_" in name}  # see test_model.py
    assert moved == learns - idle
    assert not idle or kind in ("mtlora", "mtlora addition")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of the frozen weights: what a backbone that was pre-trained comes from."""
    return str(save_trunk(fresh("full"), tmp_path_factory.mktemp("weights") / "swin.safetensors"))


@each
def test_adapters_alone_are_saved_and_give_the_same_model(kind, images, weights, tmp_path):
    model = trained(kind, backbone=weights, pretrained=True)
    learns = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert {name for name in stored if name.startswith("backbone.")} == {n for n in learns if n.startswith("backbone.")}
    found = ml.MultiTaskModel.from_pretrained(tmp_path)
    assert {name for name, parameter in found.named_parameters() if parameter.requires_grad} == learns
    assert all(torch.equal(found(images)[task], logits) for task, logits in model(images).items())
    assert found.config == model.config


@each
@torch.inference_mode()
def test_merging_changes_no_output_and_can_be_undone(kind, images):
    tasks = TASKS[:1] if kind in PER_TASK else None  # of several, there is no weight that serves all
    model = trained(kind, tasks)
    before, expected = state(model), model(images)
    for _ in range(2):
        agree(model.merge()(images), expected)
    apart = [name for name, layer in model.named_modules() if isinstance(layer, Adapted) and not layer.merged]
    forked = [name for name in apart if hasattr(model.get_submodule(name), "lora_ts_A")]
    assert apart == forked or not METHODS[method_of(kind)].mergeable
    if any(isinstance(layer, Adapted) for layer in model.modules()):
        assert is_merged(model) is METHODS[method_of(kind)].mergeable
    after = state(model.unmerge().unmerge())
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert torch.equal(model(images)[TASKS[0]], expected[TASKS[0]])


@each
@torch.inference_mode()
def test_a_model_of_some_tasks_alone_predicts_them_as_before(kind, images, tmp_path):
    model = trained(kind)
    for tasks in (model.tasks[:1], model.tasks[:0:-1]):
        if not tasks or (kind == "mtlora addition"):
            continue
        before = state(model)
        merged(model, tasks).save_pretrained(tmp_path)
        found = ml.MultiTaskModel.from_pretrained(tmp_path)
        assert found.tasks == tasks
        agree(found(images), model(images, tasks))
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        inserted = [name for name, _ in found.backbone.named_parameters() if any(p in name for p in INSERTED.values())]
        stays = not METHODS[method_of(kind)].mergeable or (kind in PER_TASK and len(tasks) > 1)
        assert bool(inserted) is (stays or kind in ("mtlora", "mtlora_plus"))


@each
@torch.inference_mode()
def test_the_trunk_is_a_plain_swin_or_there_is_none(kind, images, tmp_path):
    model = trained(kind)
    method = METHODS[method_of(kind)]
    if kind == "mtlora addition" or not method.mergeable or method.pass_per_task:
        with pytest.raises(ValueError, match="fits into no plain Swin"):
            save_trunk(model, tmp_path / "trunk.safetensors")
    if method.pass_per_task:
        model = merged(model, TASKS[1:2])
    if kind == "mtlora addition" or not method.mergeable:
        return
    save_trunk(model, tmp_path / "trunk.safetensors")
    trunk = build_backbone(SHAPE, img_size=SIZE, pretrained=False)
    weights = load_file(tmp_path / "trunk.safetensors")
    trunk.load_state_dict({name: value for name, value in weights.items() if not name.startswith("norm.")})
    task = model.tasks[-1]
    found, expected = trunk.eval()(images, [task])[task], model.backbone(images, [task])[task]
    forked = method_of(kind) in ("mtlora", "mtlora_plus") and "lora_only" not in kind
    for ours, theirs in zip(found, expected, strict=True):
        assert forked or torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", METHODS)
@torch.inference_mode()
def test_every_decoder_takes_what_the_backbone_gives(kind, images):
    options = {"hrnet": HEADS, "segformer": {"width": 4}, "deconv": {"channels": (2, 2, 2, 2), "filters": 4}}
    assert {*options, "aspp"} == set(DECODERS)
    for decoder in options if kind != "mtl_lora" else DECODERS:  # aspp has millions of weights a task
        model = fresh(kind, decoder=decoder, decoder_options=options.get(decoder, {}))
        assert model(images[:1])["semseg"].shape == (1, 21, *SIZE)


@each
def test_the_report_counts_every_group_under_its_name(kind):
    model = fresh(kind)
    report = parameter_report(model)
    assert report.loc["total", "trainable"] == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert report.loc["total"].sum() == sum(p.numel() for p in model.parameters())
    of_linears = report.loc["linear layers", "trainable"]
    assert bool(of_linears) is (method_of(kind) in ("full", "single_task"))
    plain = parameter_report(fresh("decoders_only", model.tasks)).sum(axis=1)
    own = [name for name in report.index if name not in plain.index]
    assert own or kind in ("decoders_only", "full", "single_task")
    biases = report.loc["biases"].sum() if "biases" in own else 0
    of_backbone = ["patch embedding", "relative positions", "norms", "patch merging", "linear layers"]
    assert report.loc[of_backbone].sum().sum() + biases == plain.loc[of_backbone].sum()


@pytest.mark.parametrize("kind", [*PER_TASK, "vpt", "adapter", "ssf"])
def test_computing_blocks_twice_gives_the_same_gradients(kind, images):
    model = trained(kind).train()
    gradients = []
    for switch in (keep_activations, recompute_blocks, keep_activations):
        switch(model.backbone)
        model.zero_grad()
        loss(model(images)).backward()
        gradients.append([p.grad.clone() for p in model.backbone.parameters() if p.grad is not None])
    for once, twice, again in zip(*gradients, strict=True):
        assert torch.equal(once, twice)
        assert torch.equal(once, again)


# ---------------------------------------------------------------------------------------------------- a pass per task


def own_parameters(model, task):
    """The parameters of a task where each has a pass, as views: its own, or its rows of what is stacked."""
    row = model.tasks.index(task)
    for name, parameter in model.backbone.named_parameters():
        if name.endswith(f".{task}"):
            yield parameter
        elif name.endswith(("lora_lambda", "lora_mix")):
            yield parameter[row]


@each_per_task
@torch.inference_mode()
def test_what_is_a_tasks_own_moves_no_other(kind, images):
    model = trained(kind)
    before = model(images)
    for own in own_parameters(model, "normals"):
        own.add_(torch.randn_like(own))
    after = model(images)
    assert torch.equal(before["semseg"], after["semseg"])
    assert torch.equal(before["depth"], after["depth"])
    assert not torch.allclose(before["normals"], after["normals"], atol=1e-3)


@each_per_task
@torch.inference_mode()
def test_tasks_at_once_are_tasks_one_after_the_other(kind, images):
    model = trained(kind)
    together = model(images)
    for task in TASKS:
        agree(model(images, [task]), {task: together[task]})
    turned = model(images, TASKS[::-1])
    assert list(turned) == [*TASKS[::-1]]
    agree(turned, {task: together[task] for task in TASKS[::-1]})
    agree({task: logits[1:] for task, logits in together.items()}, model(images[1:]))


@each_per_task
def test_a_loss_of_one_task_gives_the_others_own_nothing(kind, images):
    model = trained(kind).train()
    model(images)["normals"].square().mean().backward()
    row = TASKS.index("normals")
    for name, parameter in model.backbone.named_parameters():
        if "lora_ts_" in name:
            assert bool(parameter.grad.any()) is name.endswith(".normals")
        elif name.endswith(("lora_lambda", "lora_mix")):
            touched = parameter.grad.flatten(1).abs().sum(1) > 0
            assert touched.tolist() == [index == row for index in range(len(TASKS))]


@torch.inference_mode()
def test_lora_per_task_is_a_lora_model_for_each(images):
    model = trained("lora_per_task")
    alone = trained("lora")
    for task in TASKS:
        options = {key: value[task] for key, value in ZOO["lora_per_task"].items()}
        alone = ml.build_model(
            "lora", backbone=SHAPE, tasks=[task], img_size=SIZE, pretrained=False, decoder_options=HEADS, **options
        ).eval()
        ours = {name: value for name, value in model.state_dict().items() if "lora_ts_" not in name}
        ours |= {
            name.removesuffix(f".{task}").replace("lora_ts_", "lora_ta_"): value
            for name, value in model.state_dict().items()
            if name.endswith(f".{task}")
        }
        alone.load_state_dict({name: ours[name] for name in alone.state_dict()})
        agree(alone(images), {task: model(images)[task]})


# ------------------------------------------------------------------------------------------------ one against another


@torch.inference_mode()
def test_lora_is_mtlora_without_private_updates(images):
    shared = {"rank": (3, 2, 4, 1), "scale": (2.5, 0.5, 3.0, 1.5), "train": ("norms",), "dropout": 0.0}
    common = {"backbone": SHAPE, "tasks": TASKS, "img_size": SIZE, "pretrained": False, "decoder_options": HEADS}
    lora = ml.build_model("lora", **common, **shared).eval()
    mtlora = ml.build_model("mtlora", combine="lora_only", **common, **shared).eval()
    learns = [{name for name, p in model.named_parameters() if p.requires_grad} for model in (lora, mtlora)]
    assert learns[0] == learns[1]
    for parameter in lora.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    mtlora.load_state_dict(lora.state_dict())
    assert all(torch.equal(mtlora(images)[task], logits) for task, logits in lora(images).items())


def peft_layer(base, rank, scale, **options):
    peft = pytest.importorskip("peft")
    holder = nn.Sequential(base)
    config = peft.LoraConfig(r=rank, lora_alpha=scale * rank, target_modules=["0"], **options)
    return peft.inject_adapter_in_model(config, holder)[0]


def test_our_lora_is_pefts(images):
    base, x = nn.Linear(7, 5), torch.randn(2, 3, 7)
    ours, theirs = LoRALinear(base, 3, 2.5), peft_layer(base, 3, 2.5)
    nn.init.normal_(ours.lora_ta_B)
    pairs = [(ours.lora_ta_A, theirs.lora_A["default"].weight), (ours.lora_ta_B, theirs.lora_B["default"].weight)]
    for own, other in pairs:
        other.data.copy_(own.data)
    torch.testing.assert_close(ours(x), theirs(x))
    ours(x).square().sum().backward()
    theirs(x).square().sum().backward()
    for own, other in pairs:
        torch.testing.assert_close(own.grad, other.grad)


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="peft is not installed")
def test_dora_is_its_equation():
    base, x = nn.Linear(7, 5), torch.randn(2, 3, 7)
    layer = DoRALinear(base, 3, 2.5)
    torch.testing.assert_close(layer(x), base(x))
    down, up = layer.peft.lora_A["default"].weight, layer.peft.lora_B["default"].weight
    length = layer.peft.lora_magnitude_vector["default"].weight
    torch.testing.assert_close(length, base.weight.norm(dim=1))
    for parameter in (up, length):
        parameter.data.add_(torch.randn_like(parameter))
    moved = base.weight + 2.5 * up @ down
    weight = length[:, None] * moved / moved.norm(dim=1, keepdim=True)
    torch.testing.assert_close(layer(x), F.linear(x, weight, base.bias))
    torch.testing.assert_close(layer.folded()["weight"], weight)


def test_without_peft_dora_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("mtlora_lite.extras.find_spec", lambda name: None if name == "peft" else object())
    with pytest.raises(ImportError, match="The method dora needs peft, which is not installed: pip install peft"):
        fresh("dora")


# -------------------------------------------------------------------------------------------- what is put in, by itself


def test_an_adapter_is_a_perceptron_around_which_the_output_passes():
    layer, x = AdapterLinear(nn.Linear(7, 6), 2), torch.randn(2, 3, 7)
    assert torch.equal(layer(x), layer.linear(x))
    nn.init.normal_(layer.adapter_up.weight)
    y = layer.linear(x)
    inner = F.gelu(y @ layer.adapter_down.weight.T + layer.adapter_down.bias)
    torch.testing.assert_close(layer(x), y + inner @ layer.adapter_up.weight.T)
    with pytest.raises(ValueError, match="width of at least 1, got 0: choose a smaller ratio"):
        AdapterLinear(nn.Linear(7, 6), 0)


def test_bitfit_trains_every_bias_of_swin_v2_also_those_beside_the_weights_of_qkv():
    with torch.device("meta"):
        model = ml.build_model(
            "bitfit", backbone="swinv2_tiny_window8_256", tasks=("sal",), img_size=256, pretrained=False
        )
    trained = {name for name, parameter in model.backbone.named_parameters() if parameter.requires_grad}
    assert "layers.0.blocks.1.attn.q_bias" in trained
    assert trained == {name for name, _ in model.backbone.named_parameters() if name.split(".")[-1].endswith("bias")}


@pytest.mark.parametrize(
    ("base", "shape", "channels"),
    [
        (nn.Linear(7, 5), (2, 3, 7), -1),
        (nn.Linear(7, 5, bias=False), (2, 3, 7), -1),
        (nn.LayerNorm(5), (2, 3, 5), -1),
        (nn.Conv2d(3, 5, 2, stride=2), (2, 3, 4, 6), 1),
    ],
)
def test_scale_and_shift_are_of_channels_and_fold_into_any_layer(base, shape, channels):
    layer, x = ScaleShift(base), torch.randn(shape)
    for parameter in base.parameters():
        parameter.data.add_(torch.randn_like(parameter))
    assert torch.equal(layer(x), base(x))
    assert (layer.ssf_shift is None) is (base.bias is None)
    nn.init.normal_(layer.ssf_scale)
    expected = base(x).movedim(channels, -1) * layer.ssf_scale
    if layer.ssf_shift is not None:
        nn.init.normal_(layer.ssf_shift)
        expected = expected + layer.ssf_shift
    expected = expected.movedim(-1, channels)
    torch.testing.assert_close(layer(x), expected)
    layer.merge()
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(base(x), expected)
    with pytest.raises(RuntimeError, match="call unmerge"):
        layer.train()


def attention_of_all(attention, tokens, count, mask=None):
    """Attention within windows (B, P + N, C), head by head; the first P = ``count`` have no position and no mask."""
    q, k, v = F.linear(tokens, attention.qkv.weight, attention.qkv.bias).chunk(3, -1)
    width, out = tokens.shape[-1] // attention.num_heads, []
    for head in range(attention.num_heads):
        part = slice(head * width, (head + 1) * width)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / width**0.5
        positions = attention.relative_position_bias_table[attention.relative_position_index, head]
        scores[:, count:, count:] += positions
        if mask is not None:
            scores[:, count:, count:] += mask.repeat(len(tokens) // len(mask), 1, 1)
        out.append(scores.softmax(-1) @ v[..., part])
    return attention.proj(torch.cat(out, -1))


@pytest.mark.parametrize("deep", [False, True])
@torch.inference_mode()
def test_prompts_are_further_tokens_of_a_window(small_swin, deep):
    """A map that is one window, so that attention is over all there is."""
    swin = small_swin((32, 32), window_size=8, depths=(2, 1, 1, 1))
    model = build_backbone(swin, img_size=(32, 32))
    METHODS["vpt"].adapt(model, TASKS, method_options("vpt", {"prompts": 3, "deep": deep}))
    model.eval()
    image = torch.randn(2, 3, 32, 32)
    tokens = model.patch_embed(image).flatten(1, 2)  # (2, 64, C)
    first, second = model.layers[0].blocks
    x = torch.cat([first.prompt_tokens.expand(2, -1, -1), tokens], 1)
    for block in (first, second):
        if deep and block is second:
            x = torch.cat([second.prompt_tokens.expand(2, -1, -1), x[:, 3:]], 1)
        x = x + attention_of_all(block.attn, block.norm1(x), 3)
        x = x + block.mlp(block.norm2(x))
    expected = model.layers[1].downsample(x[:, 3:].unflatten(1, (8, 8))).permute(0, 3, 1, 2)
    torch.testing.assert_close(model(image, ["sal"])["sal"][0], expected, rtol=1e-4, atol=1e-4)


class WithPrompts(nn.Module):
    """In the place of timm's attention: it puts the prompts of a block into each of the windows that timm cuts."""

    def __init__(self, block):
        super().__init__()
        self.attention, self.prompts = block.attn, block.norm1(block.prompt_tokens)

    def forward(self, windows, mask=None):
        prompts = self.prompts.expand(len(windows), -1, -1)
        return attention_of_all(self.attention, torch.cat([prompts, windows], 1), len(self.prompts), mask)[:, 3:]


@pytest.mark.parametrize("window", [4, 5])
@torch.inference_mode()
def test_every_shifted_window_holds_the_prompts(small_swin, window):
    """Deep, on maps of 16x24 to 2x3 tokens, of which some are tiled by the windows and some are not."""
    images, features = torch.randn(2, 3, 64, 96), []
    prompted = build_backbone(small_swin(window_size=window), img_size=(64, 96))
    METHODS["vpt"].adapt(prompted, TASKS, method_options("vpt", {"prompts": 3, "deep": True}))
    plain = build_backbone(small_swin(window_size=window), img_size=(64, 96))
    for (_, block), (_, own) in zip(plain.blocks(), prompted.blocks(), strict=True):
        block.attn = WithPrompts(own)
    features = [model.eval()(images, ["sal"])["sal"] for model in (prompted, plain)]
    for ours, expected in zip(*features, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_options_that_cannot_be_are_refused_in_a_sentence():
    for kind, options, message in (
        ("lora", {"train": ("bias",)}, r"Unknown group 'bias' in train.*patch_embed"),
        ("bitfit", {"train": ("bias",)}, r"Unknown group 'bias' in train"),
        ("lora", {"rank": {"qkv": 2}}, r"rank needs one entry per target \(qkv, proj, fc1, fc2\), got qkv"),
        ("lora_per_task", {"scale": {"sal": 2}}, r"scale needs one entry per task \(semseg, normals, depth\), got sal"),
        ("mtl_lora", {"rank": (1, 2)}, r"rank is one number or one per stage: the backbone has 4 stages, got \(1, 2\)"),
        ("mtl_lora", {"lambda_form": "round"}, r"Unknown lambda_form 'round'. There are: full, diagonal"),
        ("mtl_lora", {"num_up": 0}, r"num_up of at least 1, got 0"),
        ("dora", {"targets": ()}, r"an empty list matches no layer.*qkv"),
        ("adapter", {"after": ("norm",)}, r"Adapters stand after attention and mlp, or one of them; got norm"),
        ("adapter", {"ratio": 100}, r"width of at least 1, got 0: choose a smaller ratio"),
        ("vpt", {"prompts": 0}, r"at least 1 prompt, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            ml.build_model(kind, backbone=SHAPE, tasks=TASKS, img_size=SIZE, pretrained=False, **options)


def test_a_list_of_one_word_may_be_that_word():
    """As the command line gives it: ``--options train=norms`` is no list of letters."""
    assert method_options("mtlora", {"train": "norms"}) == method_options("mtlora", {"train": ["norms"]})
    assert method_options("lora", {"targets": "qkv"}) == method_options("lora", {"targets": ("qkv",)})
    assert method_options("mtlora", {"combine": "addition"}).combine == "addition"
