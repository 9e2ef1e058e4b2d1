"""Evaluation: a model against a data set, by one of the two protocols of ``metrics``."""

import warnings
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm.auto import tqdm

from mtlora_lite.distributed import num_processes, one_bar, process_index
from mtlora_lite.interrupts import leave_to_parent
from mtlora_lite.metrics import build_metrics
from mtlora_lite.model import MultiTaskModel, resize_logits
from mtlora_lite.targets import task_entry
from mtlora_lite.transforms import collate

Scores = dict[str, dict[str, float]]


@torch.inference_mode()
def evaluate(
    model: MultiTaskModel,
    dataset: Dataset,
    *,
    batch_size: int = 16,
    protocol: str = "standard",
    boundary: bool = False,
    workers: int = 0,
    on_batch: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], None] | None = None,
) -> Scores:
    """Score a model on a data set.

    Where several processes work together, each scores every P-th image, the sums that scores are made of are added up,
    and all of them get the scores of the whole: exactly, for no image is scored twice to fill a batch.

    Args:
        model: the model; put into evaluation mode.
        dataset: samples with an image and a target for each of the model's tasks.
        batch_size: images per pass.
        protocol: ``standard`` or ``paper``, see ``metrics``.
        boundary: score edges by the BSDS benchmark too, see ``metrics``.
        workers: processes that load images beside this one.
        on_batch: called with predictions and targets as they are scored, on the model's device.

    Returns:
        {task: {metric: value}}.
    """
    model.eval()
    device = next(model.parameters()).device
    name = getattr(dataset, "name", "pascal")  # a data set of the caller's own is scored as PASCAL-Context is
    metrics = build_metrics(model.tasks, dataset=name, protocol=protocol, boundary=boundary)
    own = Subset(dataset, range(process_index(), len(dataset), num_processes()))
    loader = DataLoader(
        own, batch_size, collate_fn=collate, num_workers=workers, worker_init_fn=leave_to_parent,
        generator=torch.Generator(),  # of its own: a loader draws a number for its workers, and not from a run's
    )  # fmt: skip
    for batch in tqdm(loader, desc="evaluate", unit="batch", leave=False, **one_bar()):
        logits = {task: value.float() for task, value in model(batch["image"].to(device)).items()}
        # Full maps stay where the model is, and are scored there: 21 scores per pixel are too many to carry about.
        on_device = {task: _to(device, task_entry(batch, task, "target")) for task in logits}
        for predictions, targets in _of_one_size(logits, on_device):
            metrics.update(predictions, targets)
            if on_batch:
                on_batch(predictions, targets)
    if num_processes() > 1:
        metrics.to(device)  # where the processes can exchange them
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*compute.*before the .*update")  # a process may have had no image
        return metrics.compute()


def _to(device: torch.device, target: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
    return [one.to(device) for one in target] if isinstance(target, list) else target.to(device)


def _of_one_size(
    logits: Mapping[str, Tensor], targets: Mapping[str, Tensor | list[Tensor]]
) -> Iterator[tuple[dict, dict]]:
    """Predictions and targets of a batch as they are scored.

    Targets of the predictions' size come all at once. Where images kept their own sizes, they come one by one, and
    the predictions are brought to the target's size.
    """
    if all(isinstance(target, Tensor) and target.shape[-2:] == logits[t].shape[-2:] for t, target in targets.items()):
        yield dict(logits), dict(targets)
        return
    for index in range(len(next(iter(logits.values())))):
        one = {task: target[index][None] for task, target in targets.items()}
        yield {task: resize_logits(logits[task][index : index + 1], one[task].shape[-2:]) for task in one}, one
