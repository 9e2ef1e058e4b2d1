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
        assert expected[len(values) :].max() < 1e-6
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
    assert table.loc["sal", "depth"] == table.loc["depth", "sal"] == pytest.approx(np.mean(values), rel=1e-4)
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
