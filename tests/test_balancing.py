"""Weightings against their formulas, balancers against plain backward, closed forms and what their papers promise."""

import copy
import math

import pytest
import torch
from torch import nn

import mtlora_lite as ml
from mtlora_lite.balancing import BALANCERS, WEIGHTINGS, Balancer, build_weighting, combine
from mtlora_lite.extras import MissingExtraError

TASKS = ("semseg", "depth", "edge")


class Toy(nn.Module):
    """A shared layer and a private one per task, named as those of a model are."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(6, 5)
        self.frozen = nn.Linear(5, 5).requires_grad_(False)
        self.decoders = nn.ModuleDict({task: nn.Linear(5, 2) for task in TASKS})

    def forward(self, x):
        shared = self.frozen(torch.tanh(self.backbone(x)))
        return {task: decoder(shared).square().mean() * 3**i for i, (task, decoder) in enumerate(self.decoders.items())}


@pytest.fixture
def toy():
    torch.manual_seed(1)
    return Toy()


def gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}


def rows(model, x):
    """The Jacobian of the losses on the shared parameters, (T, N), by autograd alone."""
    losses = model(x)
    shared = list(model.backbone.parameters())
    found = [torch.autograd.grad(loss, shared, retain_graph=True) for loss in losses.values()]
    return torch.stack([torch.cat([grad.flatten() for grad in each]) for each in found])


def balanced(name, model, *batches):
    """The gradient on the shared parameters, (N,), of one step with a pass per batch."""
    balancer = Balancer(name, model, TASKS)
    for x in batches:
        balancer.backward(model(x).values())
    balancer.finish()
    return torch.cat([parameter.grad.flatten() for parameter in model.backbone.parameters()])


# ---------------------------------------------------------------------------------------------------------- balancers


def test_the_sum_of_the_gradients_is_the_gradient_of_the_sum(toy):
    x, plain = torch.randn(7, 6), copy.deepcopy(toy)
    sum(plain(x).values()).backward()
    balanced("sum", toy, x)
    torch.testing.assert_close(gradients(toy), gradients(plain))
    assert toy.frozen.weight.grad is None


@pytest.mark.parametrize("name", BALANCERS)
def test_what_belongs_to_one_task_keeps_its_own_gradient(toy, name):
    x, plain = torch.randn(7, 6), copy.deepcopy(toy)
    sum(plain(x).values()).backward()
    combined = balanced(name, toy, x)
    assert torch.isfinite(combined).all()
    assert combined.any()
    for key, grad in gradients(toy).items():
        if key.startswith("decoders."):
            torch.testing.assert_close(grad, gradients(plain)[key])


def test_pcgrad_projects_two_gradients_in_conflict_as_its_paper_says(toy):
    del toy.decoders["edge"]
    x = torch.randn(7, 6)
    a, b = rows(toy, x)
    b = b - 2 * (a @ b).clamp(min=0) * a / (a @ a) - 0.1 * a  # now they are in conflict, whatever they were
    balancer = Balancer("pcgrad", toy, TASKS[:2])
    for parameter, part in zip(balancer.shared, split(torch.stack([a, b]), balancer.shared), strict=True):
        parameter.jac = part
    balancer.finish()
    found = torch.cat([parameter.grad.flatten() for parameter in balancer.shared])
    expected = a - (a @ b) / (b @ b) * b + b - (a @ b) / (a @ a) * a
    torch.testing.assert_close(found, expected)


def split(jacobian, parameters):
    sizes = [parameter.numel() for parameter in parameters]
    parts = jacobian.split(sizes, dim=1)
    return [part.reshape(-1, *parameter.shape).clone() for part, parameter in zip(parts, parameters, strict=True)]


def test_upgrad_hurts_no_task_where_the_plain_sum_does():
    model, x = None, torch.randn(7, 6)
    for seed in range(200):  # the first toy whose summed gradient points against that of a task
        torch.manual_seed(seed)
        model = Toy()
        jacobian = rows(model, x)
        if (jacobian @ jacobian.sum(0)).min() < -1e-3:
            break
    assert (jacobian @ jacobian.sum(0)).min() < -1e-3
    assert (jacobian @ balanced("upgrad", model, x)).min() > -1e-4


def test_a_step_in_two_passes_is_a_step_in_one(toy):
    a, b = torch.randn(4, 6), torch.randn(4, 6)
    other = copy.deepcopy(toy)
    whole = Balancer("upgrad", other, TASKS)
    whole.backward([one + two for one, two in zip(other(a).values(), other(b).values(), strict=True)])
    whole.finish()
    balanced("upgrad", toy, a, b)
    torch.testing.assert_close(gradients(toy), gradients(other))


def test_every_step_begins_anew(toy):
    x = torch.randn(7, 6)
    first = balanced("upgrad", toy, x)
    toy.zero_grad(set_to_none=True)
    torch.testing.assert_close(balanced("upgrad", toy, x), first)


def test_several_processes_sum_what_each_has_found(toy):
    x, double = torch.randn(7, 6), copy.deepcopy(toy)
    balanced("sum", toy, x)
    balancer = Balancer("sum", double, TASKS)
    balancer.backward(double(x).values())
    balancer.finish(lambda values: 2 * values)
    for name, grad in gradients(double).items():
        torch.testing.assert_close(grad, 2 * gradients(toy)[name])


def test_in_a_model_the_private_updates_and_decoders_are_private_and_the_rest_is_shared():
    model = ml.build_model(
        backbone="swin_scenes_tiny",
        tasks=TASKS,
        img_size=64,
        rank=2,
        task_rank={"semseg": 1, "depth": 3, "edge": 2},
        scale=1.7,
    )
    balancer = Balancer("upgrad", model, TASKS)
    names = {id(p): name for name, p in model.named_parameters()}
    private = {names[id(p)] for p in balancer.private}
    assert all("lora_ts_" in name or name.startswith("decoders.") for name in private)
    shared = {names[id(p)] for p in balancer.shared}
    assert shared | private == {name for name, p in model.named_parameters() if p.requires_grad}
    assert any("lora_ta_" in name for name in shared)
    assert not any("lora_ts_" in name or name.startswith("decoders.") for name in shared)
    losses = [value.square().mean() for value in model(torch.randn(2, 3, 64, 64)).values()]
    balancer.backward(losses)
    balancer.finish()
    assert all(p.grad is not None for p in balancer.shared)


def test_rows_that_a_task_owns_of_a_shared_tensor_keep_their_own_gradient():
    """In MTL-LoRA Λ and the mixture have a row per task: PCGrad would put other tasks' gradients into it."""
    torch.manual_seed(0)
    model = ml.build_model(
        "mtl_lora", backbone="swin_scenes_tiny", tasks=TASKS, img_size=64, pretrained=False, rank=3, num_up=2,
        scale=1.7, dropout=0.0, drop_path=0.0,
    )  # fmt: skip
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    images = torch.randn(2, 3, 64, 64)

    def losses():  # one pulls the other way, or there were nothing to project
        values = model.eval()(images).values()
        return [sign * value.square().mean() for sign, value in zip((1, -1, 1), values, strict=True)]

    torch.stack(losses()).sum().backward()
    own = {name: p.grad.clone() for name, p in model.named_parameters() if name.endswith(("lora_lambda", "lora_mix"))}
    assert own
    model.zero_grad()
    balancer = Balancer("pcgrad", model, TASKS)
    balancer.backward(losses())
    balancer.finish()
    for name, grad in own.items():
        torch.testing.assert_close(model.get_parameter(name).grad, grad, atol=1e-6, rtol=1e-4)


def test_an_unknown_balancer_or_nothing_shared_is_said(toy):
    with pytest.raises(ValueError, match=r"Unknown balancer 'PC-Grad'\. .*pcgrad, upgrad"):
        Balancer("PC-Grad", toy, TASKS)
    toy.backbone.requires_grad_(False)
    with pytest.raises(ValueError, match="no trained parameter is shared"):
        Balancer("pcgrad", toy, TASKS)


def test_without_torchjd_it_says_how_to_install_it(toy, monkeypatch):
    monkeypatch.setattr("mtlora_lite.extras.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="needs torchjd, which is not installed: pip install torchjd"):
        Balancer("pcgrad", toy, TASKS)


# --------------------------------------------------------------------------------------------------------- weightings


def total(weighting, losses):
    return (weighting.factors() * losses).sum() + weighting.penalty()


def test_fixed_changes_nothing():
    losses = torch.tensor([1.0, 2.0, 4.0])
    assert total(build_weighting("fixed", 3), losses) == losses.sum()


def test_uncertainty_is_its_formula_and_learns_to_divide_by_the_loss():
    weighting, losses = build_weighting("uncertainty", 3), torch.tensor([0.5, 2.0, 8.0])
    nn.init.normal_(weighting.log_variance)
    s = weighting.log_variance.detach()
    torch.testing.assert_close(total(weighting, losses), (0.5 * torch.exp(-s) * losses + 0.5 * s).sum())
    optimizer = torch.optim.LBFGS(weighting.parameters(), max_iter=100)

    def closure():
        optimizer.zero_grad()
        value = total(weighting, losses)
        value.backward()
        return value

    optimizer.step(closure)
    torch.testing.assert_close(weighting.log_variance.exp(), losses, rtol=1e-3, atol=1e-3)  # variance = loss


def test_dwa_is_its_formula_over_epochs_and_counts_the_task_that_stands_still_more():
    weighting = build_weighting("dwa", 2)
    epochs = [[[4.0, 4.0], [2.0, 4.0]], [[2.0, 4.0], [1.0, 3.0]], [[1.0, 3.0]]]
    for epoch in epochs[:2]:
        torch.testing.assert_close(weighting.factors(), torch.ones(2))
        for losses in epoch:
            weighting.end_step(torch.tensor(losses))
        weighting.end_epoch()
    ratios = [1.5 / 3.0, 3.5 / 4.0]
    powers = [math.exp(ratio / 2) for ratio in ratios]
    torch.testing.assert_close(weighting.factors(), torch.tensor([2 * power / sum(powers) for power in powers]))
    assert weighting.factors()[1] > 1 > weighting.factors()[0]


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_weighting_goes_on_where_it_was_saved(name):
    steps = torch.rand(3, 4, 2) + 0.1  # epochs, steps, tasks
    whole, before, after = (build_weighting(name, 2) for _ in range(3))
    for number, epoch in enumerate(steps):
        for index, losses in enumerate(epoch):
            if (number, index) == (2, 1):
                after.load_state_dict(before.state_dict())
            whole.end_step(losses)
            (after if (number, index) >= (2, 1) else before).end_step(losses)
        whole.end_epoch()
        (after if number == 2 else before).end_epoch()
    assert torch.equal(whole.factors(), after.factors())


def test_a_loss_that_is_zero_for_an_epoch_gives_no_nan():
    weighting = build_weighting("dwa", 2)
    for losses in ([1.0, 0.0], [0.5, 0.0]):
        weighting.end_step(torch.tensor(losses))
        weighting.end_epoch()
    assert torch.isfinite(weighting.factors()).all()


def test_weighed_losses_are_the_recipes_weights_times_the_factors():
    losses = {"semseg": torch.tensor(2.0), "depth": torch.tensor(3.0)}
    found = combine({"depth": 0.1, "semseg": 1.0}, torch.tensor([0.5, 4.0]), losses)
    torch.testing.assert_close(torch.stack(found), torch.tensor([1.0, 1.2]))


def test_an_unknown_weighting_is_named():
    with pytest.raises(ValueError, match=r"Unknown weighting 'uncertain'\. Did you mean 'uncertainty'"):
        build_weighting("uncertain", 2)
