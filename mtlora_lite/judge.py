"""What a run scores now and then, and which models it keeps for that."""

import math
from typing import Any

from mtlora_lite import runs
from mtlora_lite.batches import images_per_pass
from mtlora_lite.config import TrainConfig, validation_set
from mtlora_lite.disk import writing_to
from mtlora_lite.distributed import on_main
from mtlora_lite.evaluation import evaluate
from mtlora_lite.metrics import headline, headline_name
from mtlora_lite.model import MultiTaskModel
from mtlora_lite.references import check_comparable, gain_over, get_reference


class Judge:
    """Scores a run on its validation images now and then, and keeps the last model and the best one.

    Attributes:
        last: what ``metrics.json`` says of the last evaluation.
        step: of the last evaluation; None before the first.
        best: the highest Δm so far.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.images = config, validation_set(config)
        self.reference = get_reference(config.reference) if config.reference else None
        if self.reference:
            planned = {task: headline_name(task, boundary=config.boundary) for task in config.tasks}
            check_comparable(self.reference, planned, config.protocol)  # fails now, or never
        self.last: dict[str, Any] = {}
        self.step: int | None = None
        self.best = -math.inf

    def is_due(self, step: int, steps: int, steps_per_epoch: int) -> bool:
        """Whether there is an evaluation after a step."""
        every = self.config.eval_every and self.config.eval_every * steps_per_epoch
        return step == steps or bool(every and step % every == 0)

    def recall(self, evaluations: list[dict[str, Any]]) -> None:
        """Know of the evaluations of a run that goes on."""
        gains = [line["delta_m"] for line in evaluations if line["delta_m"] is not None]
        self.best = max(gains, default=-math.inf)
        self.step = evaluations[-1]["step"] if evaluations else None

    def numbers(self) -> dict[str, float]:
        """The scores of the last evaluation under names for trackers, and Δm where there is one."""
        scores = {f"score/{task}/{name}": v for task, own in self.last["metrics"].items() for name, v in own.items()}
        return scores | ({} if self.last["delta_m"] is None else {"delta_m": self.last["delta_m"]})

    def __call__(self, step: int, model: MultiTaskModel) -> None:
        """Score the model of a step and keep it; all processes have to call this."""
        config = self.config
        metrics = evaluate(
            model, self.images, batch_size=images_per_pass(config.batch_size, config.accumulate),
            protocol=config.protocol, boundary=config.boundary, workers=config.workers,
        )  # fmt: skip
        gain = gain_over(self.reference, metrics, config.protocol) if self.reference else None
        self.last = {
            "metrics": metrics, "delta_m": gain, "reference": self.reference and self.reference.source,
            "data": config.data, "split": config.val_split, "images": len(self.images), "protocol": config.protocol,
            "step": step,
        }  # fmt: skip
        better = bool(config.eval_every) and gain is not None and gain > self.best
        on_main(lambda: self._keep(model, better))
        self.step, self.best = step, gain if better else self.best

    def _keep(self, model: MultiTaskModel, better: bool) -> None:
        out = self.config.out
        with writing_to(out, runs.REMEDY):
            model.save_pretrained(out / runs.LAST, results=self.last)
            if better:
                model.save_pretrained(out / runs.BEST, results=self.last)
        line = {"step": self.last["step"], "delta_m": self.last["delta_m"]} | headline(self.last["metrics"])
        runs.append(out / runs.EVALUATIONS_FILE, line)  # last: the line says that the models are there
