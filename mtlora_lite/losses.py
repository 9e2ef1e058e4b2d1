"""One loss per kind of task, and their weighted sum (MTLoRA, arXiv 2403.20320, section 4).

Every loss is a sum over the pixels of a batch divided by a count of pixels, and the counts depend on the targets
alone. So a loss has two parts, ``counts(target)`` and ``value(logits, target, counts)``, and where a batch is spread
over passes and processes the counts of all of them are added up before the first division: the values of the pieces
then add up to the loss of the whole batch. A batch without a single valid pixel costs 0 and has a gradient of zero,
never NaN.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlora_lite.targets import as_maps, match_target, positives, task_entry, valid_pixels
from mtlora_lite.tasks import IGNORE_INDEX, check_tasks, get_task

EDGE_POSITIVE_WEIGHT = 0.95  # about the share of pixels that are no edge; fixed by the recipe
# Predictions shorter than this stay as short as they are in proportion, so that the gradient of the
# normalisation, 1 / length, has a bound: a prediction of exactly zero must not throw the training off.
MIN_LENGTH = 1e-3


@dataclass(frozen=True)
class Loss:
    """A loss of one kind of target.

    Attributes:
        kind: of target, see ``tasks.py``.
        counts: target (B, C, H, W) to the pixels it is divided by, (counts,), integers that add up over batches.
        value: logits, target and counts to the loss, a scalar.
    """

    kind: str
    counts: Callable[[Tensor], Tensor]
    value: Callable[[Tensor, Tensor, Tensor], Tensor]

    def __call__(self, logits: Tensor, target: Tensor, counts: Tensor | None = None) -> Tensor:
        """The loss of a batch, or with the ``counts`` of a larger batch, this batch's share of the larger one's."""
        target = match_target(self.kind, logits, target)
        return self.value(logits.float(), target, self.counts(target) if counts is None else counts)


def _valid(target: Tensor) -> Tensor:
    return valid_pixels(target).sum().view(1)


def _pixels(target: Tensor) -> Tensor:
    return torch.tensor([target.numel()], device=target.device)


def _negatives_and_pixels(target: Tensor) -> Tensor:
    return torch.cat([(~positives(target)).sum().view(1), _pixels(target)])


def cross_entropy(logits: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    """Softmax cross-entropy, mean over the pixels that are not ignored; logits (B, C, H, W), class ids."""
    loss = F.cross_entropy(logits, target[:, 0].long(), ignore_index=IGNORE_INDEX, reduction="sum")
    return loss / counts[0].clamp(min=1)


def _weighted_bce(logits: Tensor, positive: Tensor, positive_weight: Tensor | float) -> Tensor:
    """Sum of binary cross-entropies, positives weighted by w and negatives by 1 - w."""
    truth = positive.to(torch.float32)
    weight = positive_weight * truth + (1 - positive_weight) * (1 - truth)
    return F.binary_cross_entropy_with_logits(logits, truth, weight, reduction="sum")


def balanced_bce(logits: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    """Class-balanced binary cross-entropy, mean over all pixels; logits (B, 1, H, W), targets 0 or 1.

    Positives weigh w and negatives 1 - w, with w the share of negatives in the whole batch. Source:
    holistically-nested edge detection, Xie and Tu 2015 (arXiv 1504.06375), equation 2.
    """
    negatives, pixels = counts
    return _weighted_bce(logits, positives(target), negatives / pixels) / pixels


def edge_bce(logits: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    """As ``balanced_bce`` with the fixed weight ``EDGE_POSITIVE_WEIGHT``; logits (B, 1, H, W), targets 0 or 1."""
    return _weighted_bce(logits, positives(target), EDGE_POSITIVE_WEIGHT) / counts[0]


def direction_l1(logits: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    """L1 between the normalised prediction and the unit target, mean over valid pixels and channels; (B, 3, H, W)."""
    return l1(F.normalize(logits, dim=1, eps=MIN_LENGTH), target, counts)


def l1(logits: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    """L1 in the target's unit (metres), mean over the valid pixels and the channels; (B, C, H, W)."""
    valid, target = valid_pixels(target), target.float()  # (B, 1, H, W)
    difference = torch.where(valid, (logits - target).abs(), 0.0)
    return difference.sum() / (counts[0].clamp(min=1) * target.shape[1])


#: Every loss by the name that rows of ``tasks.TASKS`` give.
LOSSES: dict[str, Loss] = {
    "cross_entropy": Loss("classes", _valid, cross_entropy),
    "balanced_bce": Loss("binary", _negatives_and_pixels, balanced_bce),
    "edge_bce": Loss("binary", _pixels, edge_bce),
    "direction_l1": Loss("directions", _valid, direction_l1),
    "l1": Loss("metres", _valid, l1),
}


class MultiTaskLoss(nn.Module):
    """The weighted sum of the tasks' losses, L = sum over tasks of w_t L_t.

    Args:
        tasks: keys of the tasks to train.
        weights: weights that replace the recipe's, ``{task: w}``; tasks not named keep the recipe's.

    Raises:
        ValueError: for an unknown task, or a weight of a task that is not trained.
    """

    def __init__(self, tasks: str | Iterable[str], weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.tasks = check_tasks(tasks)
        if unused := sorted(set(weights or {}) - set(self.tasks)):
            raise ValueError(f"Weights given for {', '.join(unused)}, but the tasks are {', '.join(self.tasks)}.")
        self.weights = {task: get_task(task).loss_weight for task in self.tasks} | dict(weights or {})

    def forward(
        self,
        logits: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        counts: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted total and each task's unweighted loss.

        Args:
            logits: (B, C_task, H, W) per task, as the model returns them.
            targets: a batch, or any mapping that holds the tasks' targets.
            counts: those of the whole batch, where this is a piece of it; see ``counts``.

        Raises:
            ValueError: if a task has no prediction or no target, or their shapes do not fit.
        """
        losses = {}
        for task in self.tasks:
            prediction, target = task_entry(logits, task, "prediction"), task_entry(targets, task, "target")
            losses[task] = LOSSES[get_task(task).loss](prediction, target, None if counts is None else counts[task])
        return sum(self.weights[task] * loss for task, loss in losses.items()), losses

    def counts(self, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return each task's counts, (counts,) integers: added up over pieces they are those of the whole batch."""
        return {
            task: LOSSES[get_task(task).loss].counts(as_maps(task_entry(targets, task, "target")))
            for task in self.tasks
        }
