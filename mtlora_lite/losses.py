"""One loss per kind of task, and their weighted sum (MTLoRA, arXiv 2403.20320, section 4).

Every loss is a sum over the valid pixels of the batch divided by a count. The count goes through ``total``
first, the one place where a run on several processes differs from a run on one: hand in a function that sums
counts over the processes and every process divides by the same number. A batch without a single valid
pixel costs 0 and has a gradient of zero, never NaN.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlora_lite.targets import match_target, positives, task_entry, valid_pixels
from mtlora_lite.tasks import IGNORE_INDEX, check_tasks, get_task

Total = Callable[[Tensor], Tensor]

EDGE_POSITIVE_WEIGHT = 0.95  # about the share of pixels that are no edge; fixed by the recipe
# Predictions shorter than this stay as short as they are in proportion, so that the gradient of the
# normalisation, 1 / length, has a bound: a prediction of exactly zero must not throw the training off.
MIN_LENGTH = 1e-3


def _own(counts: Tensor) -> Tensor:
    """One process: its own counts are the total."""
    return counts


def cross_entropy(logits: Tensor, target: Tensor, total: Total = _own) -> Tensor:
    """Softmax cross-entropy, mean over the pixels that are not ignored; logits (B, C, H, W), class ids."""
    classes = match_target("classes", logits, target)[:, 0].long()  # (B, H, W)
    loss = F.cross_entropy(logits.float(), classes, ignore_index=IGNORE_INDEX, reduction="sum")
    return loss / total((classes != IGNORE_INDEX).sum()).clamp(min=1)


def _weighted_bce(logits: Tensor, positive: Tensor, positive_weight: Tensor | float) -> Tensor:
    """Sum of binary cross-entropies, positives weighted by w and negatives by 1 - w."""
    truth = positive.to(torch.float32)
    weight = positive_weight * truth + (1 - positive_weight) * (1 - truth)
    return F.binary_cross_entropy_with_logits(logits.float(), truth, weight, reduction="sum")


def balanced_bce(logits: Tensor, target: Tensor, total: Total = _own) -> Tensor:
    """Class-balanced binary cross-entropy, mean over all pixels; logits (B, 1, H, W), targets 0 or 1.

    Positives weigh w and negatives 1 - w, with w the share of negatives in the whole batch. Source:
    holistically-nested edge detection, Xie and Tu 2015 (arXiv 1504.06375), equation 2.
    """
    positive = positives(match_target("binary", logits, target))
    negatives, pixels = total(torch.stack([(~positive).sum(), positive.new_tensor(positive.numel(), dtype=torch.long)]))
    return _weighted_bce(logits, positive, negatives / pixels) / pixels


def edge_bce(logits: Tensor, target: Tensor, total: Total = _own) -> Tensor:
    """As ``balanced_bce`` with the fixed weight ``EDGE_POSITIVE_WEIGHT``; logits (B, 1, H, W), targets 0 or 1."""
    positive = positives(match_target("binary", logits, target))
    pixels = total(positive.new_tensor(positive.numel(), dtype=torch.long))
    return _weighted_bce(logits, positive, EDGE_POSITIVE_WEIGHT) / pixels


def _valid_l1(prediction: Tensor, target: Tensor, total: Total) -> Tensor:
    """Mean absolute difference over the channels of the valid pixels."""
    valid = valid_pixels(target)  # (B, 1, H, W)
    difference = torch.where(valid, (prediction - target).abs(), 0.0)
    return difference.sum() / (total(valid.sum()).clamp(min=1) * target.shape[1])


def direction_l1(logits: Tensor, target: Tensor, total: Total = _own) -> Tensor:
    """L1 between the normalised prediction and the unit target, mean over valid pixels and channels; (B, 3, H, W)."""
    target = match_target("directions", logits, target).float()
    return _valid_l1(F.normalize(logits.float(), dim=1, eps=MIN_LENGTH), target, total)


def l1(logits: Tensor, target: Tensor, total: Total = _own) -> Tensor:
    """L1 in the target's unit (metres), mean over the valid pixels; (B, 1, H, W)."""
    return _valid_l1(logits.float(), match_target("metres", logits, target).float(), total)


LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
    "balanced_bce": balanced_bce,
    "edge_bce": edge_bce,
    "direction_l1": direction_l1,
    "l1": l1,
}


class MultiTaskLoss(nn.Module):
    """The weighted sum of the tasks' losses, L = sum over tasks of w_t L_t.

    Args:
        tasks: keys of the tasks to train.
        weights: weights that replace the recipe's, ``{task: w}``; tasks not named keep the recipe's.
        total: sums counts over all processes, for a training run on several; one process needs none.

    Raises:
        ValueError: for an unknown task, or a weight of a task that is not trained.
    """

    def __init__(
        self, tasks: str | Iterable[str], weights: Mapping[str, float] | None = None, total: Total = _own
    ) -> None:
        super().__init__()
        self.tasks = check_tasks(tasks)
        if unused := sorted(set(weights or {}) - set(self.tasks)):
            raise ValueError(f"Weights given for {', '.join(unused)}, but the tasks are {', '.join(self.tasks)}.")
        self.weights = {task: get_task(task).loss_weight for task in self.tasks} | dict(weights or {})
        self.total = total

    def forward(self, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted total and each task's unweighted loss.

        Args:
            logits: (B, C_task, H, W) per task, as the model returns them.
            targets: a batch, or any mapping that holds the tasks' targets.

        Raises:
            ValueError: if a task has no prediction or no target, or their shapes do not fit.
        """
        losses = {}
        for task in self.tasks:
            prediction, target = task_entry(logits, task, "prediction"), task_entry(targets, task, "target")
            losses[task] = LOSSES[get_task(task).loss](prediction, target, self.total)
        return sum(self.weights[task] * loss for task, loss in losses.items()), losses
