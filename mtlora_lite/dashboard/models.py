"""The trained models that the page compares, and what one of them sees in a picture."""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from mtlora_lite.analysis import truncated, updates
from mtlora_lite.counts import parameter_report
from mtlora_lite.dashboard.pictures import Picture
from mtlora_lite.methods import METHODS
from mtlora_lite.metrics import build_metrics, headline
from mtlora_lite.model import MultiTaskModel
from mtlora_lite.paths import data_dir
from mtlora_lite.predict import DEMO_CHECKPOINT

# Folders of data/, in the order of their columns: trained by one recipe on the same scenes, see data/README.md.
COMPARED = ("demo_decoders_only", "demo_lora", DEMO_CHECKPOINT)


@dataclass(frozen=True)
class Seen:
    """What a model sees in a picture.

    Attributes:
        logits: {task: (1, C_task, h, w)}, of the model's size.
        scores: the headline metric of each task for this one picture; without labels none, nan where nothing counts.
        seconds: processor time of the forward pass, for all of these tasks at once.
    """

    logits: dict[str, Tensor]
    scores: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Compared:
    """A trained model and what the page says of it."""

    model: MultiTaskModel

    @cached_property
    def title(self) -> str:
        """The method's name."""
        return METHODS[self.model.config.method].title

    @cached_property
    def trained(self) -> int:
        """Trained parameters, decoders included."""
        return int(parameter_report(self.model).loc["total", "trainable"])

    @cached_property
    def ranks(self) -> dict[str, int]:
        """The rank of the updates of each stream, {"shared": 8, "semseg": 4, ...}; of a model without updates none."""
        try:
            return {update.stream: len(update.down) for update in updates(self.model)}
        except ValueError:
            return {}

    @torch.inference_mode()
    def see(self, picture: Picture, tasks: Sequence[str], rank: int) -> Seen:
        """Predict tasks for a picture, merged, with all updates cut to a rank (see ``analysis.truncated``)."""
        with truncated(self.model, rank) if self.ranks else nullcontext():
            self.model.merge()
            try:
                start = time.process_time()
                logits = self.model(picture.seen, tasks)
                seconds = time.process_time() - start
            finally:
                self.model.unmerge()
        return Seen(logits, _scores(logits, picture.targets), seconds)


def _scores(logits: Mapping[str, Tensor], targets: Mapping[str, Tensor] | None) -> dict[str, float]:
    if targets is None:
        return {}
    metrics = build_metrics(logits, protocol="standard")
    metrics.update(logits, targets)
    return headline(metrics.compute())


def load_compared(folder: Path | None = None) -> dict[str, Compared]:
    """The models of ``COMPARED`` by their methods, out of a folder (None: the package's ``data``), warmed up.

    Raises:
        FileNotFoundError: one of them is not there.
        ValueError: one of them cannot be read, or the embedded backbone is not the one it was trained on.
    """
    found = {}
    for name in COMPARED:
        model = MultiTaskModel.from_pretrained((folder or data_dir()) / name)
        with torch.inference_mode():
            model(torch.zeros(1, 3, *model.config.img_size))  # what is slow is only so once, and not for a visitor
        found[model.config.method] = Compared(model)
    return found
