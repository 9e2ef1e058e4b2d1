"""Every method's count of trained parameters beside the published one, and why the two differ.

The published totals are those of the MTLoRA paper's table 1: PASCAL-Context, Swin-T, four tasks, fusion and decoders
included. Those that are not ``checked`` have not been held against it. What a baseline consisted of is nowhere said in
full; what is said here of it is what its number can be made of.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from mtlora_lite.config import PAPER_TASKS
from mtlora_lite.extras import MissingExtraError
from mtlora_lite.methods import METHODS
from mtlora_lite.model import build_model
from mtlora_lite.printing import aligned
from mtlora_lite.references import PUBLISHED_GAINS

BACKBONE, IMG_SIZE = "swin_tiny_patch4_window7_224", 448
WIDTH = 100  # columns of a page
_MILLION = 1e6
_GAINS = {point.method: point for point in PUBLISHED_GAINS}


@dataclass(frozen=True)
class Published:
    """What has been published of a method.

    Attributes:
        options: with which ours comes nearest to it.
        printed: its name in print, as ``references.PUBLISHED_GAINS`` has it; None: nothing has been.
        why: why ours is another one.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    printed: str | None = None
    why: str = ""

    @property
    def millions(self) -> float | None:
        """Trained parameters; None where nothing has been published."""
        return None if self.printed is None else _GAINS[self.printed].trainable

    @property
    def checked(self) -> bool:
        """Whether the number was read from the source."""
        return self.printed is not None and _GAINS[self.printed].verified


PUBLISHED: dict[str, tuple[Published, ...]] = {
    "mtlora": tuple(Published({"rank": rank}, f"MTLoRA r{rank}") for rank in (16, 32, 64)),
    "mtlora_plus": tuple(Published({"rank": rank}) for rank in (16, 32, 64)),
    "lora": (
        Published({}, "LoRA", why=(
            "published seems to be a LoRA per task: 2.87 - 2.54 = 0.33 M = 4 · 82 k (rank 3 on qkv and proj would be "
            "4 · 79,488, and 2.86 M in all; which rank and layers it was is not known). Here all tasks share one, "
            "of rank 16 on every layer of a block; lora_per_task has one each"
        )),
    ),
    "adapter": (
        Published({}, "Adapter", why=(
            "published seems to be a set per task: 4 · 2,167,584 for a quarter of the width after attention and after "
            "MLP, and 2.54 M, make 11.21 M, which is near and not the same. Here one set serves all tasks, and the "
            "norms learn, as in the source"
        )),
    ),
    "vpt": (
        Published({}, "VPT-shallow", why=(
            "published fits prompts per task: 4 · 50 · 96 + 2.54 M. Here one set serves all tasks"
        )),
        Published({"deep": True}, "VPT-deep", why=(
            "published fits prompts per task: 4 · 50 · 4,416 + 2.54 M. Here one set per block serves all tasks"
        )),
    ),
    "bitfit": (
        Published({}, "BitFit", why=(
            "published fits biases per task, position tables among them: 4 · 75,546 + 2.54 M. Here one set serves all "
            "tasks, and the tables learn with train=rel_pos"
        )),
    ),
    "decoders_only": (Published({}, "decoders only", why="the same number, cut off and not rounded"),),
    "full": (Published({}, "full fine-tuning", why="published has decoders of 2.54 M"),),
    "single_task": (
        Published({}, "single task", why="published has decoders of 2.54 M, and the four backbones' final norm"),
    ),
}  # fmt: skip
DECODERS = (
    "The total of single-task full fine-tuning says that the decoders of the published baselines have 112.62 - "
    "4 · 27.52 = 2.54 M parameters; ours, which are those of MTLoRA's runs, have 1.95 M. So the baselines were counted "
    "in another setting than MTLoRA. What follows about them is read off their arithmetic."
)
UNCHECKED = "* not checked against the paper's table 1, only for its arithmetic."


@dataclass(frozen=True)
class Counted:
    """One row: a method, and what was published of it.

    Attributes:
        method: a key of ``METHODS``.
        trainable: exact count; None where a package is missing, as ``published.why`` then says.
        published: see there.
    """

    method: str
    trainable: int | None
    published: Published


def count_all(backbone: str = BACKBONE, tasks: Sequence[str] = PAPER_TASKS, img_size: int = IMG_SIZE) -> list[Counted]:
    """Count what every method trains; numbers that were published go along where they are of this setting.

    Raises:
        ValueError: an unknown backbone or task, or a size that does not fit.
    """
    theirs = (backbone.split(".")[0], tuple(sorted(tasks))) == (BACKBONE, tuple(sorted(PAPER_TASKS)))
    rows = []
    for method in METHODS:
        for published in PUBLISHED.get(method, (Published(),)):
            known = published if theirs else Published(published.options)
            try:
                count = _trainable(method, backbone, tasks, img_size, published.options)
            except MissingExtraError as error:
                count, known = None, Published(published.options, why=str(error))
            rows.append(Counted(method, count, known))
    return rows


def _trainable(method: str, backbone: str, tasks: Sequence[str], img_size: int, options: Mapping[str, Any]) -> int:
    """Trained parameters of a model, or of the models of all tasks where there is one for each."""
    groups = [[task] for task in tasks] if method == "single_task" else [tasks]
    with torch.device("meta"):  # shapes without numbers
        models = [
            build_model(method, backbone=backbone, tasks=group, img_size=img_size, pretrained=False, **options)
            for group in groups
        ]
    return sum(p.numel() for model in models for p in model.parameters() if p.requires_grad)


def format_counts(rows: Sequence[Counted]) -> str:
    """The rows as a table and the reasons below it, for people; at most ``WIDTH`` columns."""
    table = [["method", "options", "trainable", "M", "published M", ""]]
    reasons = []
    for row in rows:
        published, options = row.published, " ".join(f"{k}={v}" for k, v in row.published.options.items())
        count = ["-", "-"] if row.trainable is None else [f"{row.trainable:,}", f"{row.trainable / _MILLION:.2f}"]
        there = "-" if published.millions is None else f"{published.millions:.2f}"
        star = "*" if published.millions is not None and not published.checked else ""
        table.append([row.method, options, *count, there, star])
        if published.why:
            reasons.append(f"{f'{row.method} {options}'.strip()}: {published.why}.")
    notes = [DECODERS, *reasons, UNCHECKED] if any(row.published.millions for row in rows) else reasons
    wrapped = [textwrap.fill(note, WIDTH, subsequent_indent="  ", break_on_hyphens=False) for note in notes]
    return "\n".join([*aligned(table), "", *wrapped]).rstrip()
