"""One MTL-LoRA layer: recorded numbers, literal equations, samples one by one, merging, and who tells it the tasks."""

import copy
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.checkpoint import checkpoint

import mtlora_lite as ml
from mtlora_lite.lora import LoRALinear
from mtlora_lite.mtl_lora import MTLLoRALinear, TaskLoRALinear, share_task_ids

FIXTURE = Path(__file__).parents[1].parent / "shared" / "fixtures" / "mtl_lora_a"
TASKS, RANK, UP, SCALE, TEMPERATURE = 4, 3, 2, 1.7, 0.6
IDS = torch.tensor([2, 0, 3, 2, 1])


def layer(lambda_form="full", **options):
    """A layer in which everything that is trained is random, B too."""
    made = MTLLoRALinear(nn.Linear(6, 5), TASKS, RANK, UP, SCALE, TEMPERATURE, lambda_form, **options)
    for parameter in made.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.5)
    return made.eval()


def by_the_formula(layer, x, ids):
    """Every sample by itself, every up-projection by itself."""
    outputs = []
    for sample, task in zip(x, ids.tolist(), strict=True):
        inner = layer.lora_lambda[task]
        inner = torch.diag(inner) if inner.ndim == 1 else inner
        portions = torch.exp(layer.lora_mix[task] / TEMPERATURE)
        portions = portions / portions.sum()
        output = torch.einsum("...i,oi->...o", sample, layer.linear.weight) + layer.linear.bias
        for portion, up in zip(portions, layer.lora_B, strict=True):
            output = output + SCALE * portion * torch.einsum("or,rk,ki,...i->...o", up, inner, layer.lora_A, sample)
        outputs.append(output)
    return torch.stack(outputs)


# ------------------------------------------------------------------------------------------------------- the equations


@pytest.mark.skipif(not FIXTURE.is_dir(), reason=f"reference numbers are not at {FIXTURE}")
def test_outputs_and_gradients_are_those_of_the_released_code():
    config = json.loads((FIXTURE / "config.json").read_text())
    state, inputs, outputs = (
        load_file(FIXTURE / f"{name}.safetensors") for name in ("official_state_dict", "input", "outputs")
    )
    made = MTLLoRALinear(
        nn.Linear(config["in_features"], config["out_features"], bias=False), config["number_of_tasks_T"],
        config["rank_r"], config["number_of_up_projections_n"], config["scaling_alpha_over_r"],
        config["temperature_tau"],
    )  # fmt: skip
    names = {"linear.weight": "weight", "lora_lambda": "lora_lambdas", "lora_B": "lora_B", "lora_mix": "lora_B_w"}
    made.load_state_dict({ours: state[theirs] for ours, theirs in names.items()} | {"lora_A": state["lora_A"][0]})
    x = inputs["x"].requires_grad_()
    result = made(x, inputs["task_ids"])
    torch.testing.assert_close(result, outputs["output"], atol=1e-5, rtol=1e-6)
    result.square().sum().backward()
    norms = {"input": x.grad, "lora_A": made.lora_A.grad} | {
        theirs: getattr(made, ours).grad for ours, theirs in names.items() if theirs != "weight"
    }
    assert made.linear.weight.grad is None
    for name, expected in config["gradient_norms"].items():
        assert norms[name].norm().item() == pytest.approx(expected, rel=1e-5)
        torch.testing.assert_close(norms[name], outputs[f"grad.{name}"].view_as(norms[name]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lambda_form", ["full", "diagonal"])
@pytest.mark.parametrize("leading", [(), (7,), (2, 3, 4)])
def test_output_is_that_of_the_formula(lambda_form, leading):
    made, x = layer(lambda_form), torch.randn(len(IDS), *leading, 6)
    torch.testing.assert_close(made(x, IDS), by_the_formula(made, x, IDS))


def test_a_mixed_batch_is_its_samples_one_by_one():
    made, x = layer(), torch.randn(len(IDS), 7, 6)
    one_by_one = torch.cat([made(sample[None], task) for sample, task in zip(x, IDS.tolist(), strict=True)])
    torch.testing.assert_close(made(x, IDS), one_by_one)
    changed = x.clone()
    changed[1] += 1
    assert torch.equal(made(changed, IDS)[[0, 2, 3, 4]], made(x, IDS)[[0, 2, 3, 4]])


def test_one_id_is_for_all_samples_and_ids_repeat_in_place():
    made, x = layer(), torch.randn(6, 7, 6)
    torch.testing.assert_close(made(x, 3), by_the_formula(made, x, torch.full((6,), 3)))
    torch.testing.assert_close(made(x, [2, 0]), by_the_formula(made, x, torch.tensor([2, 2, 2, 0, 0, 0])))
    torch.testing.assert_close(made(x[0, 0], 1), by_the_formula(made, x[:1, 0], torch.tensor([1]))[0])
    assert made(x[:0], 1).shape == (0, 7, 5)


def test_delta_weight_is_what_the_layer_adds():
    made, x = layer(), torch.randn(3, 6)
    for task in range(TASKS):
        torch.testing.assert_close(made(x, task) - made.linear(x), x @ made.delta_weight(task).T)


# ---------------------------------------------------------------------------------------------------- where it starts


def test_a_fresh_layer_is_the_layer_it_adapts_and_only_b_learns_first():
    base, x = nn.Linear(6, 5), torch.randn(5, 7, 6)
    expected = base(x)
    made = MTLLoRALinear(base, TASKS, RANK, UP, SCALE, TEMPERATURE)
    assert torch.equal(made(x, IDS), expected)
    made(x, IDS).square().sum().backward()
    moved = {name for name, p in made.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {"lora_B"}
    first, second = made.lora_B.grad
    assert not torch.allclose(first, second)  # unequal portions, or the up-projections would stay equal for ever


def test_lambda_starts_as_identity_and_portions_differ():
    made = MTLLoRALinear(nn.Linear(6, 5), 50, RANK, 3, temperature=0.1)
    assert torch.equal(made.lora_lambda, torch.eye(RANK).expand(50, RANK, RANK))
    assert torch.equal(MTLLoRALinear(nn.Linear(6, 5), 2, RANK, 3, lambda_form="diagonal").lora_lambda, torch.ones(2, 3))
    assert made.lora_mix.abs().max() <= 3**-0.5
    assert made.lora_mix.std(1).min() > 0
    assert (made.lora_mix / 0.1).softmax(1).amax(1).mean().item() == pytest.approx(0.84, abs=0.05)


def test_counts_are_those_of_the_formula():
    def count(lambda_form, tasks, rank, up):
        made = MTLLoRALinear(nn.Linear(6, 5), tasks, rank, up, lambda_form=lambda_form)
        return sum(p.numel() for p in made.parameters() if p.requires_grad)

    assert count("full", 4, 3, 2) == 3 * 6 + 2 * 5 * 3 + 4 * 9 + 4 * 2
    assert count("diagonal", 5, 2, 3) == 2 * 6 + 3 * 5 * 2 + 5 * 2 + 5 * 3


def test_llama_2_7b_has_the_published_counts():
    def total(adapt):
        with torch.device("meta"):
            layers = [adapt(nn.Linear(4096, 4096, bias=False)) for _ in range(32 * 4)]
        return sum(p.numel() for made in layers for p in made.parameters() if p.requires_grad)

    assert total(lambda base: MTLLoRALinear(base, 8, 8, 3)) == 16_845_824
    assert total(lambda base: LoRALinear(base, 8)) == 8_388_608


def test_a_lora_per_task_is_that_many_single_ones():
    base, x = nn.Linear(6, 5), torch.randn(len(IDS), 7, 6)
    made = TaskLoRALinear(base, TASKS, RANK, SCALE)
    assert torch.equal(made(x, IDS), base(x))
    assert sum(p.numel() for p in made.parameters() if p.requires_grad) == TASKS * RANK * (6 + 5)
    nn.init.normal_(made.lora_B)
    for sample, output, task in zip(x, made(x, IDS), IDS.tolist(), strict=True):
        single = LoRALinear(base, RANK, SCALE)
        single.load_state_dict({"lora_ta_A": made.lora_A[task], "lora_ta_B": made.lora_B[task]}, strict=False)
        torch.testing.assert_close(output, single(sample))
        torch.testing.assert_close(made.delta_weight(task), single.delta_weight())


# -------------------------------------------------------------------------------------------------------------- merging


def test_merging_a_task_keeps_its_outputs_and_unmerging_restores_every_bit():
    made, x = layer(), torch.randn(3, 6)
    expected, weight = [made(x, task) for task in range(TASKS)], made.linear.weight.clone()
    for task in (1, 1, 3, 0):  # also twice, and one after another
        made.merge(task)
        assert made.merged
        assert made.merged_task == task
        torch.testing.assert_close(made(x), expected[task])
        torch.testing.assert_close(made.linear(x), made(x, task))
    made.unmerge()
    made.unmerge()
    assert not made.merged
    assert torch.equal(made.linear.weight, weight)


def test_a_merged_layer_refuses_other_tasks_and_training():
    made = layer()
    made.merge(0)
    with pytest.raises(ValueError, match="Merged for task 0 alone"):
        made(torch.randn(2, 6), [0, 1])
    with pytest.raises(RuntimeError, match="call unmerge"):
        made.train()
    with pytest.raises(ValueError, match="no task 4"):
        made.merge(4)
    assert made.merged_task == 0


# ------------------------------------------------------------------------------------------- layers deep inside a model


class Deep(nn.Module):
    """Two layers of unequal ranks, which know the tasks only from what they share; perhaps checkpointed."""

    def __init__(self, recompute=False):
        super().__init__()
        self.block = nn.Sequential(layer(), nn.Tanh(), MTLLoRALinear(nn.Linear(5, 6), TASKS, 2, 3, 0.7, 0.3))
        nn.init.normal_(self.block[2].lora_B)
        self.ids, self.recompute = share_task_ids(self), recompute

    def forward(self, x, task_ids):
        with self.ids.of(task_ids, TASKS):
            if self.recompute:
                return checkpoint(self.ids.bound(self.block), x, use_reentrant=False)
            return self.block(x)


def test_layers_deep_inside_a_model_read_what_they_share():
    model, x = Deep(), torch.randn(5, 7, 6)
    first, _, second = model.block
    torch.testing.assert_close(model(x, IDS), second(torch.tanh(first(x, IDS)), IDS))
    with model.ids.of(1, TASKS):
        torch.testing.assert_close(first(x, IDS), by_the_formula(first, x, IDS))  # its own argument wins


def test_recomputed_blocks_have_the_ids_of_their_own_forward():
    plain = Deep()
    again = copy.deepcopy(plain)
    again.recompute = True
    x, other = torch.randn(5, 7, 6), torch.tensor([1, 1, 0, 3, 2])
    for model in (plain, again):
        mine = other.clone()
        loss = model(x, IDS).square().sum() + 3 * model(x.flip(0), mine).square().sum()
        mine.zero_()  # nobody's business any more
        loss.backward()
    for (name, a), b in zip(plain.named_parameters(), again.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad)


def test_forgetting_the_ids_is_one_clear_error_also_in_the_backward_pass():
    model, x = Deep(), torch.randn(5, 6)
    model(x, IDS)
    with pytest.raises(ValueError, match="of 4 tasks and was not told which"):
        model.block(x)
    with model.ids.of(IDS, TASKS):
        out = checkpoint(model.block, x, use_reentrant=False)  # not bound
    with pytest.raises(ValueError, match="has to be bound"):
        out.sum().backward()


def test_calls_in_two_threads_have_each_their_own_ids():
    model, calls = Deep(), [(torch.randn(5, 7, 6), IDS), (torch.randn(3, 7, 6), torch.tensor([1, 3, 0]))]
    expected = [model(*call) for call in calls]
    together = Barrier(2, timeout=10)

    def wait(*_):
        together.wait()

    model.block.register_forward_pre_hook(wait)  # both have said their ids by now
    model.block.register_forward_hook(wait)  # and neither has taken them back
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda call: model(*call), calls))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert model.ids.current is None


def test_blocks_recomputed_in_another_thread_have_the_ids_of_their_own_forward():
    model, x = Deep(recompute=True), torch.randn(5, 7, 6)
    model(x, IDS).square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    loss = model(x, IDS).square().sum()
    with ThreadPoolExecutor(1) as threads:  # as on a GPU, whose backward pass has a thread of its own
        threads.submit(loss.backward).result()
    assert all(p.grad is None or torch.equal(p.grad, gradients[name]) for name, p in model.named_parameters())


def test_compiled_code_reads_the_ids_of_every_call():
    model, x = Deep(), torch.randn(5, 7, 6)
    compiled = torch.compile(model, backend="eager")
    for ids in (IDS, torch.tensor([1, 1, 0, 3, 2])):
        assert torch.equal(compiled(x, ids), model(x, ids))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_of_a_model_shares_ids_among_its_own_layers_alone(clone):
    model, x = Deep(), torch.randn(5, 6)
    with model.ids.of(IDS, TASKS):
        copied = clone(model)
    assert copied.ids is copied.block[0].ids is copied.block[2].ids
    assert copied.ids is not model.ids
    assert copied.ids.current is None
    assert torch.equal(copied(x, IDS), model(x, IDS))


# ------------------------------------------------------------------------------------------------------------ the rest


def test_half_precision_bases_have_adapters_in_float32():
    made = MTLLoRALinear(nn.Linear(6, 5).bfloat16(), TASKS, RANK, UP, SCALE)
    nn.init.normal_(made.lora_B)
    assert {p.dtype for n, p in made.named_parameters() if n.startswith("lora_")} == {torch.float32}
    x = torch.randn(5, 6)
    exact = x.bfloat16().float() @ made.linear.weight.float().T + made.linear.bias.float()
    exact = exact + torch.stack(
        [made.delta_weight(t) @ row for t, row in zip(IDS.tolist(), x.bfloat16().float(), strict=True)]
    )
    assert made(x.bfloat16(), IDS).dtype == torch.bfloat16
    torch.testing.assert_close(made(x.bfloat16(), IDS).float(), exact, rtol=2e-2, atol=2e-2)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer()(x, IDS).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("task_ids", "message"),
    [
        ([0, 4], "There is no task 4: the ids of 4 tasks are 0 to 3"),
        (-1, "There is no task -1"),
        (torch.tensor([0.0, 1.0]), "one integer per sample"),
        (torch.tensor([True, False]), "one integer per sample"),
        ([[0, 1]], "one integer per sample"),
        ([], "one integer per sample"),
        ([0, 1, 2, 3], "4 task_ids do not go into 6 samples"),
    ],
)
def test_wrong_ids_are_refused(task_ids, message):
    with pytest.raises(ValueError, match=message):
        layer()(torch.randn(6, 6), task_ids)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_tasks": 0}, "num_tasks of at least 1, got 0"),
        ({"rank": 0}, "rank of at least 1"),
        ({"num_up": 0}, "num_up of at least 1"),
        ({"temperature": 0.0}, "above 0, got 0.0"),
        ({"lambda_form": "half"}, "Unknown lambda_form 'half'. There are: full, diagonal"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MTLLoRALinear(nn.Linear(6, 5), **({"num_tasks": 2, "rank": 2, "num_up": 2} | options))


def test_the_package_offers_it_and_a_layer_shows_what_it_is():
    assert ml.MTLLoRALinear is MTLLoRALinear
    assert "tasks=4, rank=3, num_up=2, scale=1.7, temperature=0.6, lambda_form=full" in repr(layer())
