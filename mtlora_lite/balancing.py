"""How the tasks' losses, or their gradients, are weighed against each other while a model trains.

A *weighting* finds a factor for each loss; a *balancer* looks at the tasks' gradients on the parameters that they share
and combines them to one. Both come on top of the fixed weights of the recipe (``losses.MultiTaskLoss``).

==================  ==================================================================================
weighting           factor of the loss of task t
==================  ==================================================================================
``fixed``           1: the recipe's weights alone
``uncertainty``     ½ exp(-s_t), with ½ s_t added to the total; the s_t are trained. Kendall et al. 2018,
                    arXiv 1705.07115, section 3.3
``dwa``             T softmax(r / 2)_t, where r_t is the mean loss of the last epoch over that of the one
                    before; 1 in the first two epochs. Liu et al. 2019, arXiv 1803.10704, equation 7
==================  ==================================================================================

Balancers are those of torchjd (https://torchjd.org), among them ``pcgrad`` (Yu et al. 2020, arXiv 2001.06782) and
``upgrad`` (Quinton and Rey 2024, arXiv 2406.16232); ``sum`` is what training does without one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mtlora_lite.adapted import private_names
from mtlora_lite.extras import require
from mtlora_lite.names import check_known

if TYPE_CHECKING:
    from torchjd.aggregation import Aggregator

DWA_TEMPERATURE = 2.0  # the paper's
# Those of torchjd that combine gradients without options of their own, by our names.
BALANCERS = {
    "pcgrad": "PCGrad", "upgrad": "UPGrad", "dualproj": "DualProj", "mgda": "MGDA", "imtl_g": "IMTLG",
    "aligned_mtl": "AlignedMTL", "config": "ConFIG", "graddrop": "GradDrop", "sum": "Sum",
}  # fmt: skip

# --------------------------------------------------------------------------------------------------------- weightings


class FixedWeighting(nn.Module):
    """The recipe's weights alone: every factor is 1. The other weightings are this one with something learned.

    Args:
        num_tasks: of the losses, whose order is that of all vectors here.
    """

    def __init__(self, num_tasks: int) -> None:
        super().__init__()
        self.num_tasks = num_tasks

    def factors(self) -> Tensor:
        """The factor of each loss, (T,)."""
        return torch.ones(self.num_tasks)

    def penalty(self) -> Tensor:
        """What is added to the weighed sum of the losses, once a step."""
        return torch.zeros(())

    def end_step(self, losses: Tensor) -> None:
        """Take note of the losses (T,) of a whole step."""

    def end_epoch(self) -> None:
        """Take note that the training images have been passed once."""


class UncertaintyWeighting(FixedWeighting):
    """A trained log-variance per task: tasks that stay noisy count less (Kendall et al. 2018, section 3.3)."""

    def __init__(self, num_tasks: int) -> None:
        super().__init__(num_tasks)
        self.log_variance = nn.Parameter(torch.zeros(num_tasks))

    def factors(self) -> Tensor:
        """½ exp(-s), (T,)."""
        return 0.5 * torch.exp(-self.log_variance)

    def penalty(self) -> Tensor:
        """½ sum of s: without it all variances would grow without bound."""
        return 0.5 * self.log_variance.sum()


class DynamicWeightAverage(FixedWeighting):
    """Tasks whose loss falls more slowly from epoch to epoch count more (Liu et al. 2019, equation 7)."""

    def __init__(self, num_tasks: int) -> None:
        super().__init__(num_tasks)
        self.register_buffer("sums", torch.zeros(num_tasks, dtype=torch.float64))  # of the epoch that goes on
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("means", torch.zeros(2, num_tasks, dtype=torch.float64))  # of the two epochs before
        self.register_buffer("epochs", torch.zeros((), dtype=torch.long))

    def factors(self) -> Tensor:
        """T softmax(r / temperature), (T,); 1 as long as there are not two epochs to compare."""
        if self.epochs < 2:
            return super().factors().to(self.sums.device)
        before, last = self.means.clamp(min=torch.finfo(torch.float64).tiny)
        return self.num_tasks * torch.softmax(last / before / DWA_TEMPERATURE, 0).float()

    def end_step(self, losses: Tensor) -> None:
        """Add the losses (T,) of a step to those of the epoch."""
        self.sums += losses.detach()
        self.steps += 1

    def end_epoch(self) -> None:
        """Turn the epoch that goes on into the last one."""
        self.means.copy_(torch.stack([self.means[1], self.sums / self.steps.clamp(min=1)]))
        self.sums.zero_()
        self.steps.zero_()
        self.epochs += 1


WEIGHTINGS: dict[str, Callable[[int], FixedWeighting]] = {
    "fixed": FixedWeighting,
    "uncertainty": UncertaintyWeighting,
    "dwa": DynamicWeightAverage,
}


def build_weighting(name: str, num_tasks: int) -> FixedWeighting:
    """Look a weighting up by its name; an unknown one raises ``ValueError`` naming those that exist."""
    check_known("weighting", name, WEIGHTINGS)
    return WEIGHTINGS[name](num_tasks)


# ---------------------------------------------------------------------------------------------------------- balancers


class Balancer:
    """Combines the tasks' gradients on the parameters that they share to one gradient, by an aggregator of torchjd.

    Parameters of a single task (its updates, its decoder) keep their own gradient. A step may have several passes:
    ``backward`` adds up, ``finish`` combines.

    Args:
        name: of the aggregator, one of ``BALANCERS``.
        model: its trained parameters; what ``private_names`` names is a task's own, all others are shared.
        tasks: in the order of the losses.
        weighting: whose parameters keep their own gradient, too.

    Raises:
        ValueError: an unknown name, or nothing that is shared.
        MissingExtraError: torchjd is not installed.
    """

    def __init__(
        self, name: str, model: nn.Module, tasks: Sequence[str], weighting: FixedWeighting | None = None
    ) -> None:
        self.aggregator = build_aggregator(name)
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        private = private_names(model, tasks)
        self.private = [p for name, p in trained if name in private]
        self.shared = [p for name, p in trained if name not in private]
        self.private += weighting.parameters() if weighting else []
        if not self.shared:
            raise ValueError("There are no gradients to balance: no trained parameter is shared by the tasks.")

    def backward(self, losses: Iterable[Tensor]) -> None:
        """Add the gradients of weighed losses, scalars, one per task, of one pass."""
        losses = list(losses)
        for row, loss in enumerate(losses):
            keep = row + 1 < len(losses)
            grads = torch.autograd.grad(loss, [*self.shared, *self.private], retain_graph=keep, allow_unused=True)
            for parameter, grad in zip(self.shared, grads, strict=False):
                self._add_row(parameter, row, len(losses), grad)
            for parameter, grad in zip(self.private, grads[len(self.shared) :], strict=True):
                if grad is not None:
                    parameter.grad = grad if parameter.grad is None else parameter.grad + grad

    @staticmethod
    def _add_row(parameter: Tensor, row: int, rows: int, grad: Tensor | None) -> None:
        """Add a task's gradient to its row of the parameter's Jacobian, (T, *parameter.shape), where torchjd has it."""
        if getattr(parameter, "jac", None) is None:
            parameter.jac = parameter.new_zeros(rows, *parameter.shape)
        if grad is not None:
            parameter.jac[row] += grad

    def finish(self, total: Callable[[Tensor], Tensor] = lambda values: values) -> None:
        """Combine the tasks' gradients to ``grad`` of the shared parameters, and forget them.

        Args:
            total: sums a tensor over all processes; one process needs none.
        """
        from torchjd.autojac import jac_to_grad

        for parameter in self.shared:
            parameter.jac = total(parameter.jac)
        for parameter in self.private:
            if parameter.grad is not None:
                parameter.grad = total(parameter.grad)
        jac_to_grad(self.shared, self.aggregator)  # frees the Jacobians


def build_aggregator(name: str) -> "Aggregator":
    """Look an aggregator of torchjd up by its name, one of ``BALANCERS``."""
    check_known("balancer", name, BALANCERS)
    require("Balancing gradients", "torchjd")
    from torchjd import aggregation

    return getattr(aggregation, BALANCERS[name])()


def combine(weights: Mapping[str, float], factors: Tensor, losses: Mapping[str, Tensor]) -> list[Tensor]:
    """The losses weighed by the recipe's weights and a weighting's factors, in the order of ``losses``."""
    factors = factors.to(next(iter(losses.values())).device)
    return [weights[task] * factor * loss for factor, (task, loss) in zip(factors, losses.items(), strict=True)]
