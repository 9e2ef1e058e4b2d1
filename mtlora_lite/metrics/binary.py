"""Meters of the binary tasks: saliency, edges, and edges as the BSDS benchmark scores them."""

import os
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtlora_lite.losses import LOSSES
from mtlora_lite.metrics.boundary import THRESHOLDS as BOUNDARY_THRESHOLDS
from mtlora_lite.metrics.boundary import boundary_counts
from mtlora_lite.metrics.meters import Meter, fraction
from mtlora_lite.targets import match_target, positives
from mtlora_lite.tasks import Task

THRESHOLDS = tuple(step / 20 for step in range(1, 20))  # 0.05 ... 0.95
FAMILY_THRESHOLDS = slice(3, 18)  # those from 0.2 to 0.9
SALIENCY_BETA2 = 0.3  # precision counts more than recall, Achanta et al. 2009
PAPER_LOSS = "loss (paper's only score of edges: sigmoid twice)"
BACKLOG = 4  # images per process that may be under way


def _counts_above(values: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """Pixels per group whose value exceeds each threshold: one histogram instead of a pass per threshold.

    ``values`` and the integer ``group`` have the same shape; returns (num_groups, thresholds).
    """
    bins = len(THRESHOLDS) + 1  # bin k: values that exceed exactly k thresholds
    thresholds = torch.tensor(THRESHOLDS, device=values.device, dtype=values.dtype)
    passed = torch.bucketize(torch.nan_to_num(values, nan=0.0), thresholds)  # a nan exceeds none
    histogram = torch.bincount((group * bins + passed).flatten(), minlength=num_groups * bins)
    return histogram.view(num_groups, bins).flip(1).cumsum(1).flip(1)[:, 1:]


def _f_score(precision: Tensor, recall: Tensor, beta2: float = 1.0) -> Tensor:
    """F = (1 + β²) P R / (β² P + R), 0 where both are 0."""
    return fraction((1 + beta2) * precision * recall, beta2 * precision + recall, empty=0.0)


def _best_f(right: Tensor, predicted: Tensor, found: Tensor, truth: Tensor) -> Tensor:
    """The best F1 over the thresholds in percent, from pooled counts; nan without any true pixel."""
    return 100 * _f_score(fraction(right, predicted, empty=0), fraction(found, truth)).max()


class SaliencyMeter(Meter):
    """Saliency: foreground IoU averaged over images, F over pooled pixels, mean absolute error.

    An image without salient pixels on which nothing is predicted has IoU 1. The paper protocol adds the
    released evaluation's two F scores, which are not the F of the saliency literature.
    """

    def __init__(self, task: Task, channels: int, protocol: str) -> None:
        super().__init__(task, channels, protocol)
        steps = len(THRESHOLDS)
        self._add_sums(images=1, pixels=1, truth=1, hits=steps, predicted=steps)
        self._add_sums(torch.float64, iou=steps, error=1)
        if self.paper:
            self._add_sums(twice_hits=steps, twice_predicted=steps)
            self._add_sums(torch.float64, precision=steps, recall=steps)

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count per image the pixels predicted, and rightly predicted, at each threshold; logits (B, 1, H, W)."""
        salient = positives(match_target(self.task.target, logits, target))
        probability = logits.float().sigmoid()
        hits, predicted = self._hits_and_predicted(probability, salient)  # (B, thresholds)
        truth = salient.sum(dim=(1, 2, 3)).unsqueeze(1).to(self.device)  # (B, 1)
        self._add(images=torch.tensor(len(logits)), pixels=torch.tensor(salient.numel()), truth=truth.sum())
        self._add(hits=hits.sum(0), predicted=predicted.sum(0))
        self._add(iou=fraction(hits, predicted + truth - hits, empty=1).sum(0))
        self._add(error=(probability - salient.float()).abs().sum())
        if self.paper:
            twice_hits, twice_predicted = self._hits_and_predicted(probability.sigmoid(), salient)
            self._add(twice_hits=twice_hits.sum(0), twice_predicted=twice_predicted.sum(0))
            self._add(precision=fraction(hits, predicted, empty=0).sum(0))
            self._add(recall=fraction(hits, truth, empty=0).sum(0))

    def _hits_and_predicted(self, values: Tensor, salient: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels above each threshold, the salient ones and all, per image: (B, thresholds) each."""
        image = torch.arange(len(values), device=values.device).view(-1, 1, 1, 1)
        counts = _counts_above(values, 2 * image + salient, 2 * len(values)).to(self.device)
        counts = counts.view(len(values), 2, -1)  # (B, not salient and salient, thresholds)
        return counts[:, 1], counts.sum(1)

    def compute(self) -> dict[str, float]:
        """``mIoU``, ``mIoU@0.5``, ``maxF`` (β² = 0.3, thresholds 0.05 ... 0.95) in percent, and ``MAE``."""
        iou = 100 * fraction(self.iou, self.images)
        scores = {
            "mIoU": iou[FAMILY_THRESHOLDS].max(),
            "mIoU@0.5": iou[THRESHOLDS.index(0.5)],
            "maxF": self._max_f(self.hits, self.predicted),
            "MAE": fraction(self.error, self.pixels),
        }
        if self.paper:
            mean_f = _f_score(fraction(self.precision, self.images), fraction(self.recall, self.images))
            scores["maxF (paper's Beta maxF: sigmoid twice)"] = self._max_f(self.twice_hits, self.twice_predicted)
            scores["maxF (paper's maxF: F1 of the images' mean precision and recall)"] = (
                100 * mean_f[FAMILY_THRESHOLDS].max()
            )
        return {name: value.item() for name, value in scores.items()}

    def _max_f(self, hits: Tensor, predicted: Tensor) -> Tensor:
        """The best F over the thresholds in percent, precision and recall over all pixels of the data set."""
        precision = fraction(hits, predicted, empty=0)
        return 100 * _f_score(precision, fraction(hits, self.truth), SALIENCY_BETA2).max()


class EdgeMeter(Meter):
    """Edges: the best F over thresholds 0.05 ... 0.95, one threshold for the whole data set, one pixel of tolerance.

    A predicted edge pixel is right if a true one lies in the 3x3 pixels around it, a true one is found if a predicted
    one does. Predictions are not thinned and pixels not matched one to one, so this is not the BSDS benchmark's odsF,
    which ``BoundaryMeter`` measures. The paper protocol adds the one score of edges that the released evaluation has.
    """

    def __init__(self, task: Task, channels: int, protocol: str) -> None:
        super().__init__(task, channels, protocol)
        steps = len(THRESHOLDS)
        self._add_sums(truth=1, found=steps, predicted=steps, right=steps)
        if self.paper:
            self._add_sums(pixels=1)
            self._add_sums(torch.float64, loss=1)

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count the predicted, right and found edge pixels at each threshold; logits (B, 1, H, W)."""
        edge = positives(match_target(self.task.target, logits, target))
        probability = logits.float().sigmoid()
        near_edge = F.max_pool2d(edge.float(), 3, stride=1, padding=1)
        # Dilation and threshold commute: one dilation of the probabilities serves all thresholds.
        near_probability = F.max_pool2d(probability, 3, stride=1, padding=1)
        predicted = _counts_above(probability, near_edge.long(), 2)  # (far and near, thresholds)
        found = _counts_above(near_probability, edge.long(), 2)
        self._add(truth=edge.sum(), predicted=predicted.sum(0), right=predicted[1], found=found[1])
        if self.paper:
            # The loss takes logits and applies the sigmoid itself; the released evaluation hands it probabilities.
            loss = LOSSES["edge_bce"](probability, target)
            self._add(pixels=torch.tensor(edge.numel()), loss=loss * edge.numel())

    def compute(self) -> dict[str, float]:
        """``F_1px`` in percent."""
        scores = {"F_1px": _best_f(self.right, self.predicted, self.found, self.truth).item()}
        return scores | ({PAPER_LOSS: fraction(self.loss, self.pixels).item()} if self.paper else {})


class BoundaryMeter(EdgeMeter):
    """Edges as the BSDS benchmark scores them, beside ``F_1px``; ``boundary`` says how pixels are thinned and matched.

    ``odsF`` is the best F with one threshold for the data set, ``oisF`` that with each image's own; thresholds are
    0.01 ... 0.99, without interpolation between them. An image takes about a second of one processor, so images are
    scored by processes of their own while the model goes on.

    Args:
        tolerance: the distance over which edge pixels match, as a share of the image's diagonal.
    """

    def __init__(self, task: Task, channels: int, protocol: str, tolerance: float) -> None:
        super().__init__(task, channels, protocol)
        self.tolerance = tolerance
        steps = len(BOUNDARY_THRESHOLDS)
        self._add_sums(lines=1, matched=steps, drawn=steps, own_matched=1, own_drawn=1)
        # Processes of all ranks of a machine share its processors.
        self._workers = max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
        self._pool: ProcessPoolExecutor | None = None
        self._waiting: deque[Future] = deque()

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Hand the images to the processes, and wait only for those that have fallen far behind."""
        super().update(logits, target)
        edges = positives(match_target(self.task.target, logits, target))[:, 0].cpu().numpy()
        probabilities = logits.float().sigmoid().nan_to_num(nan=0.0)[:, 0].cpu().numpy()
        self._pool = self._pool or ProcessPoolExecutor(self._workers)
        for image in zip(probabilities, edges, strict=True):
            self._waiting.append(self._pool.submit(boundary_counts, *image, self.tolerance))
        self._collect(BACKLOG * self._workers)

    def sync(self, *args, **kwargs) -> None:
        """Wait for the images under way before states are summed over processes; ``compute`` calls this."""
        self._collect(0)
        super().sync(*args, **kwargs)

    def reset(self) -> None:
        """Forget everything seen, the images under way too."""
        super().reset()
        self._waiting.clear()
        self._close()

    def compute(self) -> dict[str, float]:
        """``F_1px``, ``odsF`` and ``oisF`` in percent."""
        ods = _best_f(self.matched, self.drawn, self.matched, self.lines)
        ois = _best_f(self.own_matched, self.own_drawn, self.own_matched, self.lines)
        return super().compute() | {"odsF": ods.item(), "oisF": ois.item()}

    def _collect(self, remaining: int) -> None:
        """Add up the oldest images until no more than ``remaining`` are under way."""
        while len(self._waiting) > remaining:
            matched, drawn, lines = self._waiting.popleft().result()
            f = 2 * matched / np.maximum(drawn + lines, 1)
            best = len(f) - 1 - f[::-1].argmax()  # of equal ones the highest threshold, which draws least
            counts = {"matched": matched, "drawn": drawn, "lines": lines}
            counts |= {"own_matched": matched[best], "own_drawn": drawn[best]}
            self._add(**{name: torch.as_tensor(count) for name, count in counts.items()})
        if not self._waiting:
            self._close()

    def _close(self) -> None:
        """Let the processes go."""
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None
