"""What is read off a trained model is what plain linear algebra says of its dense ΔW."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import mtlora_lite as ml
from mtlora_lite.analysis import (
    effective_rank,
    gradient_conflict,
    overlap,
    spectra,
    subspace_overlap,
    thin_svd,
    truncated,
    updates,
)
from mtlora_lite.lora import LoRALinear
from mtlora_lite.losses import MultiTaskLoss
from mtlora_lite.mtl_lora import PerTaskLinear

TASKS = ("semseg", "sal", "depth")
RANKS = {"semseg": 1, "sal": 2, "depth": 3}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = ml.build_model(
        backbone="swin_scenes_tiny", tasks=TASKS, img_size=64, pretrained=False, rank=3, task_rank=RANKS, scale=1.7,
        task_scale={"semseg": 0.5, "sal": 2.0, "depth": 3.0}, decoder_options={"expansion": 1},
    ).eval()  # fmt: skip
    for name, parameter in model.named_parameters():
        if "lora_" in name and "_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def dense(model, update):
    """ΔW as the layer itself gives it."""
    layer = model.backbone.get_submodule(update.layer)
    delta = layer.delta_weight() if update.stream == "shared" else layer.delta_weight(update.stream)
    return delta.detach().double()


def batch(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randn(2, 3, 64, 64, generator=generator),
        "semseg": torch.randint(0, 21, (2, 1, 64, 64), generator=generator),
        "sal": torch.randint(0, 2, (2, 1, 64, 64), generator=generator),
        "depth": 1 + torch.rand(2, 1, 64, 64, generator=generator),
    }


def test_every_update_is_found_once(model):
    found = [(update.layer, update.stream) for update in updates(model)]
    assert len(set(found)) == len(found)
    adapted = [name for name, layer in model.backbone.named_modules() if isinstance(layer, LoRALinear)]
    assert {layer for layer, stream in found if stream == "shared"} == set(adapted)
    assert sum(stream == "sal" for _, stream in found) == 4 * 3  # proj, fc1 and fc2 of four forks


def test_the_thin_decomposition_is_that_of_the_dense_update(model):
    for update in updates(model):
        u, values, v = thin_svd(update)
        delta = dense(model, update)
        torch.testing.assert_close(u * values @ v.t(), delta, atol=1e-6, rtol=1e-5)
        expected = torch.linalg.svdvals(delta)
        torch.testing.assert_close(values, expected[: len(values)], atol=1e-6, rtol=1e-5)
        assert (expected[len(values) :] < 1e-6).all()
        torch.testing.assert_close(u.t() @ u, torch.eye(len(values), dtype=torch.float64))
        torch.testing.assert_close(v.t() @ v, torch.eye(len(values), dtype=torch.float64))


@pytest.mark.parametrize(
    ("values", "rank"), [((2.0, 2.0, 2.0), 3.0), ((5.0, 0.0, 0.0), 1.0), ((3.0, 1.0), 4 / 3**0.75)]
)
def test_effective_rank_counts_directions(values, rank):
    assert effective_rank(torch.tensor(values)) == pytest.approx(rank)


def test_an_update_of_nothing_has_no_rank():
    assert np.isnan(effective_rank(torch.zeros(3)))


def test_spectra_have_a_row_per_update(model):
    table = spectra(model)
    assert len(table) == len(updates(model))
    for (_, row), update in zip(table.iterrows(), updates(model), strict=True):
        delta = dense(model, update)
        weight = model.backbone.get_submodule(update.layer).linear.weight.double()
        assert row["rank"] == (3 if update.stream == "shared" else RANKS[update.stream])
        assert row["relative norm"] == pytest.approx(float(delta.norm() / weight.norm()), rel=1e-5)
        assert 1 <= row["effective rank"] <= row["rank"] + 1e-9


def test_overlap_is_one_of_a_thing_with_itself_and_by_chance_r_over_n():
    torch.manual_seed(0)
    bases = [torch.linalg.qr(torch.randn(60, 6)).Q for _ in range(200)]
    assert subspace_overlap(bases[0], bases[0]) == pytest.approx(1)
    turned = bases[0] @ torch.linalg.qr(torch.randn(6, 6)).Q  # the same subspace in other words
    assert subspace_overlap(bases[0], turned) == pytest.approx(1)
    assert subspace_overlap(bases[0][:, :2], bases[0]) == pytest.approx(1)
    assert subspace_overlap(bases[0][:, :3], bases[0][:, 3:]) == pytest.approx(0, abs=1e-6)
    by_chance = np.mean([subspace_overlap(bases[0], other) for other in bases[1:]])
    assert by_chance == pytest.approx(6 / 60, abs=0.01)


@pytest.mark.parametrize("side", ["in", "out"])
def test_overlap_of_streams_is_the_mean_over_their_layers(model, side):
    table = overlap(model, side=side)
    assert list(table.index) == list(table.columns) == ["shared", *TASKS]
    assert np.diag(table) == pytest.approx(1)
    values = []
    for update in updates(model):
        if update.stream == "sal":
            other = next(each for each in updates(model) if (each.layer, each.stream) == (update.layer, "depth"))
            bases = []
            for each in (update, other):
                u, _, vt = torch.linalg.svd(dense(model, each))
                count = RANKS[each.stream]
                bases.append(vt[:count].t() if side == "in" else u[:, :count])
            values.append(float((bases[0].t() @ bases[1]).square().sum() / 2))
    assert table.loc["sal", "depth"] == pytest.approx(np.mean(values), rel=1e-4)
    assert table.to_numpy() == pytest.approx(table.to_numpy().T, rel=1e-12)  # processors round the two otherwise
    with pytest.raises(ValueError, match="side is 'in'"):
        overlap(model, side="left")


def test_conflict_is_the_cosine_of_the_gradients(model):
    data, weights = batch(), {"depth": 0.3}
    found = gradient_conflict(model, data, loss_weights=weights)
    criterion, gradients = MultiTaskLoss(TASKS, weights), []
    for task in TASKS:
        model.zero_grad()
        _, losses = criterion(model(data["image"]), {t: data[t] for t in TASKS})
        (criterion.weights[task] * losses[task]).backward()
        parts = [
            p.grad if p.grad is not None else torch.zeros_like(p)
            for name, p in model.named_parameters()
            if "lora_ta_" in name
        ]
        gradients.append(torch.cat([part.flatten() for part in parts]).double())
    model.zero_grad()
    for i, one in enumerate(TASKS):
        assert found.norm[one] == pytest.approx(float(gradients[i].norm()), rel=1e-4)
        for j, other in enumerate(TASKS):
            expected = float(F.cosine_similarity(gradients[i], gradients[j], dim=0))
            assert found.cosine.loc[one, other] == pytest.approx(expected, abs=1e-4)
    assert all(parameter.grad is None for parameter in model.parameters())  # nothing is left behind


def test_private_parameters_are_no_ground_for_conflict(model):
    """On one task's own weights the gradient of another is zero."""
    own = [p for name, p in model.named_parameters() if "lora_ts_" in name and name.endswith(".sal")]
    found = gradient_conflict(model, batch(), own)
    assert found.norm["sal"] > 0
    assert found.norm["depth"] == found.norm["semseg"] == 0
    assert found.cosine.loc["sal", "depth"] == 0


def test_where_the_shared_rank_is_zero_the_rest_of_what_is_shared_is_compared():
    torch.manual_seed(0)
    model = ml.build_model(
        backbone="swin_scenes_tiny", tasks=TASKS, img_size=64, pretrained=False, rank=0, task_rank=RANKS, scale=1.7,
        decoder_options={"expansion": 1},
    ).eval()  # fmt: skip
    found = gradient_conflict(model, batch())
    shared = [p for name, p in model.backbone.named_parameters() if p.requires_grad and "lora_" not in name]
    expected = gradient_conflict(model, batch(), shared)
    assert (found.norm > 0).all()
    assert found.cosine.equals(expected.cosine)


def test_a_lora_per_task_has_nothing_on_which_tasks_could_pull():
    with pytest.raises(ValueError, match="trains nothing that its tasks share"):
        gradient_conflict(per_task_model("lora_per_task"), batch())


def test_what_each_task_weighs_for_itself_is_no_ground_for_conflict():
    model = per_task_model("mtl_lora")
    shared = [p for name, p in model.backbone.named_parameters() if name.endswith(("lora_A", "lora_B"))]
    assert gradient_conflict(model, batch()).norm.equals(gradient_conflict(model, batch(), shared).norm)


def test_cut_to_its_whole_rank_a_model_is_what_it_was(model):
    images = batch()["image"]
    with torch.no_grad():
        before = model(images)
        with truncated(model, 3) as same:
            torch.testing.assert_close(same(images), before, atol=1e-4, rtol=1e-4)


def test_cut_updates_are_the_nearest_of_their_rank_and_come_back_bit_by_bit(model):
    state = {name: value.clone() for name, value in model.state_dict().items()}
    expected = {}
    for update in updates(model):
        u, s, vt = torch.linalg.svd(dense(model, update), full_matrices=False)
        expected[update.layer, update.stream] = u[:, :1] * s[:1] @ vt[:1]
    with truncated(model, 1):
        for update in updates(model):
            torch.testing.assert_close(
                dense(model, update), expected[update.layer, update.stream], atol=1e-6, rtol=1e-5
            )
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_an_update_of_a_rank_above_a_layers_width_is_read_and_cut_like_any_other():
    """Rank 64 is the default, and the embedded Swin begins 32 wide."""
    torch.manual_seed(0)
    model = ml.build_model(
        "lora", backbone="swin_scenes_tiny", tasks=("sal",), img_size=64, pretrained=False, rank=64, scale=1.7,
        targets=("qkv",), decoder_options={"expansion": 1},
    ).eval()  # fmt: skip
    for name, parameter in model.named_parameters():
        if "lora_ta_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    test_the_thin_decomposition_is_that_of_the_dense_update(model)
    wide = updates(model)[0]
    u, values, v = thin_svd(wide)
    assert len(wide.down) == 64 > len(values) == u.shape[1] == v.shape[1] == 32
    before, best = dense(model, wide), (u[:, :5] * values[:5]) @ v[:, :5].t()
    with truncated(model, 5):
        torch.testing.assert_close(dense(model, wide), best, atol=1e-5, rtol=1e-4)
    assert torch.equal(dense(model, wide), before)


def test_only_the_streams_that_are_named_are_cut(model):
    with truncated(model, 0, ["sal"]):
        zero = {update.stream for update in updates(model) if not dense(model, update).any()}
    assert zero == {"sal"}


def test_what_cannot_be_is_refused(model):
    with pytest.raises(ValueError, match="from 0 on, not to -1"), truncated(model, -1):
        pass
    plain = ml.build_model("decoders_only", backbone="swin_scenes_tiny", tasks=["sal"], img_size=64, pretrained=False)
    with pytest.raises(ValueError, match="'decoders_only' has no low-rank updates"):
        updates(plain)
    with pytest.raises(ValueError, match="trains nothing that its tasks share"):
        gradient_conflict(plain, {key: value for key, value in batch().items() if key in ("image", "sal")})
    model.merge()
    with pytest.raises(ValueError, match=r"call unmerge\(\) before they are cut"), truncated(model, 1):
        pass
    model.unmerge()


# ------------------------------------------------------------------------------- methods with an update per task


PER_TASK = {
    "mtl_lora": {"rank": 4, "num_up": 2, "scale": 1.7, "temperature": 0.6},
    "mtl_lora diagonal": {"rank": 3, "num_up": 3, "scale": 0.5, "lambda_form": "diagonal"},
    "lora_per_task": {"rank": RANKS, "scale": {"semseg": 0.5, "sal": 2.0, "depth": 3.0}},
}
each_per_task = pytest.mark.parametrize("kind", PER_TASK)


def per_task_model(kind):
    torch.manual_seed(0)
    model = ml.build_model(
        kind.split()[0], backbone="swin_scenes_tiny", tasks=TASKS, img_size=64, pretrained=False, dropout=0.0,
        decoder_options={"expansion": 1}, targets=("qkv", "proj"), **PER_TASK[kind],
    ).eval()  # fmt: skip
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


@torch.no_grad()
def probed(layer, ids, number):
    """ΔW of a task as the forward pass shows it: what the layer adds to each unit vector."""
    units = torch.eye(layer.linear.in_features)
    with ids.of(number):
        return (layer(units) - layer.linear(units)).t().double()


def bases_of(delta, count, side):
    u, _, vt = torch.linalg.svd(delta, full_matrices=False)
    return u[:, :count] if side == "out" else vt[:count].t()


@each_per_task
def test_every_layer_has_an_update_per_task_which_is_what_it_adds(kind):
    model = per_task_model(kind)
    found, table = updates(model), spectra(model)
    layers = [name for name, layer in model.backbone.named_modules() if hasattr(layer, "linear")]
    assert [(update.layer, update.stream) for update in found] == [(name, task) for name in layers for task in TASKS]
    for (_, row), update in zip(table.iterrows(), found, strict=True):
        layer = model.backbone.get_submodule(update.layer)
        delta = probed(layer, model.backbone.task_ids, TASKS.index(update.stream))
        torch.testing.assert_close((update.up @ update.down).double(), delta, atol=1e-5, rtol=1e-4)
        values = torch.linalg.svdvals(delta)[: row["rank"]]
        assert row["rank"] == (RANKS[update.stream] if kind == "lora_per_task" else PER_TASK[kind]["rank"])
        assert row["singular values"] == pytest.approx(values.tolist(), rel=1e-3, abs=1e-5)
        assert row["relative norm"] == pytest.approx(float(delta.norm() / layer.linear.weight.norm()), rel=1e-4)


@each_per_task
@pytest.mark.parametrize("side", ["in", "out"])
def test_overlap_of_tasks_is_that_of_their_dense_updates(kind, side):
    model = per_task_model(kind)
    table = overlap(model, side=side, directions=2)
    assert list(table.index) == list(table.columns) == list(TASKS)  # nothing is shared, so there is no such stream
    values, counts = [], [min(2, RANKS[task]) if kind == "lora_per_task" else 2 for task in ("sal", "semseg")]
    for name in dict.fromkeys(update.layer for update in updates(model)):
        layer = model.backbone.get_submodule(name)
        deltas = [probed(layer, model.backbone.task_ids, TASKS.index(task)) for task in ("sal", "semseg")]
        one, other = (bases_of(delta, count, side) for delta, count in zip(deltas, counts, strict=True))
        values.append(float((one.t() @ other).square().sum() / min(counts)))
    both = [table.loc["sal", "semseg"], table.loc["semseg", "sal"]]
    assert both == pytest.approx([np.mean(values)] * 2, rel=1e-3)


def test_tasks_of_mtl_lora_read_one_subspace_and_weigh_it_differently():
    model = per_task_model("mtl_lora")
    assert overlap(model).to_numpy() == pytest.approx(1, abs=1e-4)
    assert overlap(model, directions=1).loc["sal", "depth"] < 0.9
    assert overlap(model, side="out").loc["sal", "depth"] < 0.97


def test_the_update_of_one_task_is_cut_where_it_is_its_own():
    model = per_task_model("lora_per_task")
    layer, ids = next(layer for layer in model.backbone.modules() if hasattr(layer, "linear")), model.backbone.task_ids
    before = [probed(layer, ids, number) for number in range(3)]
    with truncated(model, 1, ["depth"]):
        now = [probed(layer, ids, number) for number in range(3)]
    u, s, vt = torch.linalg.svd(before[2], full_matrices=False)
    torch.testing.assert_close(now[2], u[:, :1] * s[:1] @ vt[:1], atol=1e-5, rtol=1e-4)
    assert torch.equal(now[0], before[0])
    assert torch.equal(now[1], before[1])
    with pytest.raises(ValueError, match="share A and B"), truncated(per_task_model("mtl_lora"), 1):
        pass


@pytest.fixture(scope="module")
def llama():
    """A function from a method to a small language model whose updates do something."""
    transformers = pytest.importorskip(
        "transformers", reason="transformers is not installed: pip install 'mtlora-lite[lm]'"
    )
    from mtlora_lite.lm.adapt import adapt
    from mtlora_lite.lm.adaptation import Adaptation

    shape = {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.LlamaConfig(vocab_size=50, num_key_value_heads=2, **shape)

    def make(method):
        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(config)
        if method:
            adapt(model, Adaptation(method, 3, ("q_proj", "v_proj"), 4, 1.7, num_up=2, temperature=0.6))
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.3)
        return model.eval()

    return make


@pytest.mark.parametrize("method", ["mtl_lora", "task_lora", "lora"])
def test_language_models_are_read_too(llama, method):
    model = llama(method)
    streams = ["shared"] if method == "lora" else ["sort", "sum", "next"]
    found = updates(model, streams) if method != "lora" else updates(model)
    layers = [name for name, layer in model.named_modules() if isinstance(layer, PerTaskLinear)]
    assert [(update.layer, update.stream) for update in found] == [(name, task) for name in layers for task in streams]
    for update in found:
        layer = model.get_submodule(update.layer)
        delta = probed(layer, model.task_ids, streams.index(update.stream))
        torch.testing.assert_close((update.up @ update.down).double(), delta, atol=1e-5, rtol=1e-4)
    table = spectra(model)
    assert set(table["stream"]) == ({"shared"} if method == "lora" else {"task 0", "task 1", "task 2"})
    assert list(overlap(model, tasks=streams if method != "lora" else None)) == streams


def test_a_language_model_needs_adapters_and_as_many_names_as_tasks(llama):
    with pytest.raises(ValueError, match="adapted to 3 tasks, but 2 names"):
        updates(llama("mtl_lora"), ["sort", "sum"])
    with pytest.raises(ValueError, match="This LlamaForCausalLM is not adapted"):
        overlap(llama(None))
