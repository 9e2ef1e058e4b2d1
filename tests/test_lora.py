"""One adapted layer: identities, literal equations, merging. Scales and ranks differ everywhere on purpose."""

import pytest
import torch
from torch import nn

from mtlora_lite.lora import LoRALinear, MTLoRALinear, forked_mlp

RANKS = {"semseg": 3, "depth": 1, "edge": 2}
SCALES = {"semseg": 0.7, "depth": -1.3, "edge": 2.0}


def random_(module):
    """Give B (zeros at the start) and everything else that is trained random values."""
    for parameter in module.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.3)
    return module


def multi_task_layer(combine="matrix", **options):
    return random_(MTLoRALinear(nn.Linear(6, 5), 4, RANKS, 1.7, SCALES, combine=combine, **options)).eval()


def task_updates(layer, inputs):
    """s_t B_t A_t x_t, one task at a time."""
    return [SCALES[t] * x @ layer.lora_ts_A[t].T @ layer.lora_ts_B[t].T for t, x in zip(RANKS, inputs, strict=True)]


def test_a_fresh_layer_is_the_layer_it_adapts():
    base, x = nn.Linear(6, 5), torch.randn(2, 3, 6)
    expected = base(x)
    assert torch.equal(LoRALinear(base, 4, 2.5)(x), expected)
    shared, tasks = MTLoRALinear(base, 4, RANKS, 2.5)(x)
    assert torch.equal(shared, expected)
    assert all(torch.equal(task, expected) for task in tasks)


def test_update_is_scale_times_b_a():
    layer, x = random_(LoRALinear(nn.Linear(6, 5), 4, 2.5)), torch.randn(2, 3, 6)
    weight = layer.linear.weight + 2.5 * layer.lora_ta_B @ layer.lora_ta_A
    torch.testing.assert_close(layer(x), x @ weight.T + layer.linear.bias)
    torch.testing.assert_close(layer.delta_weight(), weight - layer.linear.weight)


def test_only_the_update_is_trained_and_the_base_stays_equal_to_the_bit():
    layer = random_(LoRALinear(nn.Linear(6, 5), 4, 2.5))
    before = [parameter.clone() for parameter in layer.linear.parameters()]
    optimizer = torch.optim.SGD([p for p in layer.parameters() if p.requires_grad], lr=1.0)
    layer(torch.randn(8, 6)).square().sum().backward()
    optimizer.step()
    assert {name for name, p in layer.named_parameters() if p.requires_grad} == {"lora_ta_A", "lora_ta_B"}
    assert all(torch.equal(a, b) for a, b in zip(before, layer.linear.parameters(), strict=True))


def test_merging_three_times_changes_nothing_and_unmerging_restores_every_bit():
    layer, x = random_(LoRALinear(nn.Linear(6, 5), 4, 2.5)).eval(), torch.randn(2, 6)
    expected, weight = layer(x), layer.linear.weight.clone()
    for _ in range(3):
        layer.merge()
        torch.testing.assert_close(layer(x), expected)
    assert not torch.equal(layer.linear.weight, weight)
    for _ in range(2):
        layer.unmerge()
        assert torch.equal(layer.linear.weight, weight)
    assert torch.equal(layer(x), expected)


def test_a_merged_layer_refuses_to_train():
    layer = LoRALinear(nn.Linear(6, 5), 4)
    layer.eval()
    layer.merge()
    with pytest.raises(RuntimeError, match=r"unmerge\(\)"):
        layer.train()


@pytest.mark.parametrize("forked", [False, True], ids=["fork: one input", "each task its own input"])
@pytest.mark.parametrize("combine", ["matrix", "matrixv2", "addition"])
def test_combine_modes_as_the_equations_say(combine, forked):
    layer, x = multi_task_layer(combine), torch.randn(2, 3, 6)
    x_tasks = torch.randn(3, 2, 3, 6) if forked else None
    base = layer.linear(x)
    update = 0 if combine == "addition" else 1.7 * x @ layer.lora_ta_A.T @ layer.lora_ta_B.T
    private = task_updates(layer, x_tasks if forked else [x] * 3)
    expected_tasks = torch.stack([base + (update if combine == "matrixv2" else 0) + own for own in private])
    expected = base + (layer.lora_norm(expected_tasks.sum(0)) if combine == "addition" else update)

    shared, tasks = layer(x, x_tasks)
    torch.testing.assert_close(shared, expected)
    torch.testing.assert_close(tasks, expected_tasks)


def test_leaving_tasks_out_changes_no_other():
    layer, x, x_tasks = multi_task_layer(), torch.randn(2, 6), torch.randn(3, 2, 6)
    shared, tasks = layer(x, x_tasks)
    fewer_shared, fewer = layer(x, x_tasks[[2, 0]], ("edge", "semseg"))
    torch.testing.assert_close(fewer, tasks[[2, 0]])
    assert torch.equal(fewer_shared, shared)


def test_merging_folds_only_what_no_task_reads_unfolded():
    x = torch.randn(2, 6)
    for combine, folds in {"matrix": False, "matrixv2": True, "addition": False}.items():
        layer = multi_task_layer(combine)
        weight, (shared, tasks) = layer.linear.weight.clone(), layer(x)
        layer.merge()
        assert torch.equal(layer.linear.weight, weight) is not folds
        merged_shared, merged_tasks = layer(x)
        torch.testing.assert_close(merged_shared, shared)
        torch.testing.assert_close(merged_tasks, tasks)


def test_dropout_reaches_the_shared_input_of_a_only():
    layer, x, own = multi_task_layer(dropout=1.0).train(), torch.randn(2, 6), torch.randn(3, 2, 6)
    shared, tasks = layer(x, own)
    torch.testing.assert_close(shared, layer.linear(x))  # the whole update is dropped, W x is not
    torch.testing.assert_close(tasks, layer.linear(x) + torch.stack(task_updates(layer, own)))  # x_t is never dropped
    torch.testing.assert_close(layer(x)[1], layer.linear(x).expand(3, -1, -1))  # at the fork, x is


def test_a_rank_below_one_is_refused():
    with pytest.raises(ValueError, match="from 0 on, not -1"):
        LoRALinear(nn.Linear(6, 5), -1)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("own", [True, False], ids=["each task its own input", "one input"])
@pytest.mark.parametrize("combine", ["matrix", "matrixv2"])
def test_the_forked_mlp_is_its_layers_one_after_the_other(combine, own, training):
    layers = [
        random_(MTLoRALinear(nn.Linear(*sizes), 4, RANKS, 1.7, SCALES, dropout=0.0, combine=combine))
        for sizes in ((6, 24), (24, 5))
    ]
    fc1, fc2 = (layer.double().train(training) for layer in layers)
    inputs = [torch.randn(2, 3, 6, dtype=torch.float64), torch.randn(3, 2, 3, 6, dtype=torch.float64)][: 1 + own]

    def plain(x, x_tasks=None):
        hidden, hidden_tasks = fc1(x, x_tasks)
        return fc2(torch.tanh(hidden), torch.tanh(hidden_tasks))

    def fast(x, x_tasks=None):
        return forked_mlp(fc1, torch.tanh, fc2, x, x_tasks, (fc1.updates(fc1.tasks), fc2.updates(fc2.tasks)))

    trained = [p for layer in (fc1, fc2) for p in layer.parameters() if p.requires_grad]
    results = []
    for run in (plain, fast):
        leaves = [x.clone().requires_grad_() for x in inputs]
        outputs = run(*leaves)
        generator = torch.Generator().manual_seed(1)
        total = sum((o * torch.randn(o.shape, generator=generator, dtype=o.dtype)).sum() for o in outputs)
        results.append([*outputs, *torch.autograd.grad(total, [*leaves, *trained])])
    torch.testing.assert_close(*results, atol=1e-12, rtol=1e-12)


def test_more_tasks_do_not_keep_more_of_the_hidden_layer_for_the_backward_pass():
    def kept(tasks):
        """Numbers as large as a task's hidden layer that autograd keeps, in units of it."""
        sizes, ranks = (6, 512), dict.fromkeys(tasks, 2)
        fc1, fc2 = (random_(MTLoRALinear(nn.Linear(*s), 4, ranks, 1.7, dropout=0.0)) for s in (sizes, sizes[::-1]))
        storages = {}

        def pack(tensor):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        x, x_tasks = torch.randn(64, 6, requires_grad=True), torch.randn(len(tasks), 64, 6)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            forked_mlp(fc1, torch.tanh, fc2, x, x_tasks, (fc1.updates(tasks), fc2.updates(tasks)))
        return sum(storages.values()) // (4 * 64 * 512)

    assert kept(tuple("abcdef")) == kept(tuple("a"))


@pytest.mark.parametrize("combine", ["matrix", "matrixv2"])
def test_rank_zero_is_no_update(combine):
    """Without the shared one, W x + b; without a task's own, what the tasks start from; the others are as before."""
    x, x_tasks = torch.randn(2, 7, 6), torch.randn(3, 2, 7, 6)
    whole = multi_task_layer(combine)
    private = MTLoRALinear(whole.linear, 0, RANKS, 1.7, SCALES, combine=combine).eval()
    private.load_state_dict(
        {name: value for name, value in whole.state_dict().items() if "lora_ta_" not in name}, strict=False
    )
    plain = whole.linear(x)
    shared, outputs = private(x, x_tasks)
    torch.testing.assert_close(shared, plain)
    for output, update in zip(outputs, task_updates(whole, x_tasks), strict=True):
        torch.testing.assert_close(output, plain + update)
    ranks = RANKS | {"depth": 0}
    some = MTLoRALinear(whole.linear, 4, ranks, 1.7, SCALES, combine=combine).eval()
    some.load_state_dict({n: v for n, v in whole.state_dict().items() if not n.endswith(".depth")}, strict=False)
    expected, got = whole(x, x_tasks), some(x, x_tasks)
    torch.testing.assert_close(got[0], expected[0])
    torch.testing.assert_close(got[1][[0, 2]], expected[1][[0, 2]])
    torch.testing.assert_close(got[1][1], expected[0] if combine == "matrixv2" else plain)
