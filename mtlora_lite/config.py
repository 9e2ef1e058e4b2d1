"""What a run is made of, as one frozen dataclass with the paper's runs as presets, and the parts built from it."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from torch.utils.data import Dataset

from mtlora_lite.backbones import as_image_size
from mtlora_lite.balancing import BALANCERS, WEIGHTINGS
from mtlora_lite.datasets import ON_ERROR, SCENES, Scenes
from mtlora_lite.decoders import DECODERS
from mtlora_lite.methods import method_options
from mtlora_lite.metrics import PROTOCOLS
from mtlora_lite.model import MultiTaskModel, build_model
from mtlora_lite.names import check_known, check_numbers, did_you_mean
from mtlora_lite.prepared import layout_of, reader_of
from mtlora_lite.records import as_json
from mtlora_lite.tasks import TASKS, check_tasks
from mtlora_lite.transforms import AUGMENTATIONS, eval_transform, train_transform

PRECISIONS = ("fp32", "bf16", "fp16")
LEAST = {
    "steps": 1, "epochs": 1, "batch_size": 1, "workers": 0, "train_count": 1, "val_count": 1, "eval_every": 1,
    "accumulate": 1, "save_every": 1,
}  # fmt: skip
# The recipe's loss weights, but for depth: the scenes reach to 58 m, and at the recipe's weight of 1 (for rooms) the
# gradient of depth on the shared weights is several times that of any other task. A tenth makes it one among equals.
SCENES_WEIGHTS = {"depth": 0.1}


@dataclass(frozen=True)
class Setting:
    """What runs that are compared with each other have in common: images, backbone, decoder, length, evaluation.

    Attributes:
        data: "scenes" for the embedded set, or a folder with PASCAL-Context or NYUD, raw or prepared.
        tasks: what to predict.
        backbone: a timm name (swin_*, swinv2_*, pvt_v2_*) or an embedded one, or a file of Swin weights.
        img_size: side of the square training images, in pixels.
        train_split: list of ids (a folder) or part of the scenes to train on.
        train_count: number of scenes to train on (embedded set only).
        val_count: number of scenes to evaluate on (embedded set only).
        steps: optimiser steps.
        epochs: passes over the training images; if given, they set the number of steps.
        batch_size: images per step, over all processes and passes.
        workers: processes that load images beside this one.
        augment: what is done to training images: flip, rotate (with zoom; flip and rotate are the paper's on
            PASCAL-Context), scale (flip and scale are the paper's on NYUD), crop, jitter.
        drop_path: stochastic depth rate of the backbone's last block.
        decoder: which decoder.
        decoder_options: its options.
        decoder_lr_factor: by how much more fusion and decoders learn than the backbone: they start from nothing.
        loss_weights: weights of the tasks' losses that replace the usual ones, e.g. depth=0.2.
        on_error: "skip" leaves out every image of which a file is missing or broken, and says how many.
        protocol: how to score: standard, or paper for the conventions of the paper's released evaluation.
        boundary: score edges by the BSDS benchmark too (odsF, oisF), which takes about a second an image.
    """

    data: str = SCENES
    tasks: tuple[str, ...] = tuple(TASKS)
    backbone: str = "swin_scenes_tiny"
    img_size: int = 128
    train_split: str = "train"
    train_count: int = 1200
    val_count: int = 200
    steps: int = 600
    epochs: int | None = None
    batch_size: int = 16
    workers: int = 0
    augment: tuple[str, ...] = ("flip",)
    drop_path: float = 0.05
    decoder: str = "hrnet"
    decoder_options: Mapping[str, Any] = field(default_factory=dict)
    decoder_lr_factor: float = 1.0
    loss_weights: Mapping[str, float] = field(default_factory=dict)
    on_error: str = "raise"
    protocol: str = "standard"
    boundary: bool = False

    def __post_init__(self) -> None:
        """Say what cannot be, before anything is rendered, read or built."""
        check_tasks(self.tasks)
        as_image_size(self.img_size)
        for kind, name, known in (
            ("protocol", self.protocol, PROTOCOLS), ("on_error", self.on_error, ON_ERROR),
            ("decoder", self.decoder, DECODERS), *(("augmentation", name, AUGMENTATIONS) for name in self.augment),
        ):  # fmt: skip
            check_known(kind, name, known)
        check_numbers(self, LEAST, positive=("decoder_lr_factor",))
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path is a probability, from 0 to below 1, not {self.drop_path}.")
        for task, weight in self.loss_weights.items():
            if task not in self.tasks:
                raise ValueError(f"loss_weights names {task!r}, but the tasks are {', '.join(self.tasks)}.")
            if not 0 <= weight < math.inf:
                raise ValueError(f"The loss weight of {task} is a number from 0 on, not {weight}.")


@dataclass(frozen=True)
class TrainConfig(Setting):
    """Train a model and evaluate it.

    Attributes:
        out: folder for the log, the metrics and the checkpoint.
        method: what is adapted and what is trained, a row of the method registry.
        options: the method's options, such as rank and task_rank.
        pretrained: start from the backbone's pre-trained weights.
        val_split: list of ids (a folder) or part of the scenes to evaluate on.
        eval_every: epochs between evaluations, of which the best model is kept too; if not given, only at the end.
        reference: what Δm is relative to: the file that single_task wrote, or the name of published results.
        lr: peak learning rate.
        seed: of weights, order and augmentation.
        weighting: how the tasks' losses are weighed beside their fixed weights: fixed (not at all), uncertainty, dwa.
        balance: how the tasks' gradients on shared parameters become one, such as pcgrad or upgrad (needs torchjd); if
            not given, they are summed.
        accumulate: passes that a step is split into, one after another: the same training in less memory.
        precision: fp32, bf16 or fp16: the format in which most of the model computes, scores included.
        checkpointing: compute the backbone's blocks twice rather than keep what they computed: less memory, more time.
        ema: decay of a moving average of the weights, such as 0.999, which is then what is scored and saved as the
            model; if not given, the weights themselves.
        compile: let torch.compile make faster code of the model, which takes minutes at the start.
        save_every: steps between checkpoints, beside those at evaluations and at the end.
        trackers: where else the numbers go: tensorboard, wandb; if not given, to TensorBoard where it is installed.
        resume: go on from the newest checkpoint in the folder.
    """

    out: Path = Path("runs/train")
    method: str = "mtlora"
    options: Mapping[str, Any] = field(default_factory=dict)
    pretrained: bool = True
    val_split: str = "val"
    eval_every: int | None = None
    reference: str | None = None
    lr: float = 1e-3
    seed: int = 0
    weighting: str = "fixed"
    balance: str | None = None
    accumulate: int = 1
    precision: str = "fp32"
    checkpointing: bool = False
    ema: float | None = None
    compile: bool = False
    save_every: int | None = None
    trackers: tuple[str, ...] | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        """Say what cannot be, before anything is rendered, read or built."""
        super().__post_init__()
        method_options(self.method, self.options)
        check_numbers(self, {}, positive=("lr",))
        for kind, name, known in (
            ("precision", self.precision, PRECISIONS), ("weighting", self.weighting, WEIGHTINGS),
            ("balancer", self.balance, (None, *BALANCERS)),
        ):  # fmt: skip
            check_known(kind, name, known)
        if self.balance and (self.compile or self.precision == "fp16"):
            raise ValueError("balance takes a gradient per task, which neither compile nor precision fp16 can give.")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise ValueError(f"ema is the decay of a moving average, from 0 to below 1, not {self.ema}.")

    def num_steps(self, images: int) -> int:
        """Optimiser steps over that many training images."""
        return self.steps if self.epochs is None else self.epochs * self.steps_per_epoch(images)

    def steps_per_epoch(self, images: int) -> int:
        """Whole batches in one pass; an incomplete last one is left out."""
        return images // self.batch_size

    def all_loss_weights(self) -> dict[str, float]:
        """The weights of the losses that differ from the recipe's."""
        usual = SCENES_WEIGHTS if self.data == SCENES else {}
        return {task: weight for task, weight in usual.items() if task in self.tasks} | dict(self.loss_weights)


# What may be another where a run goes on: none of it changes what is learned, and the latter only its last digits.
FREE_OPTIONS = ("out", "workers", "save_every", "eval_every", "checkpointing", "trackers", "resume")
ROUNDING_OPTIONS = ("accumulate", "compile")


def changed_options(before: Mapping[str, Any], config: TrainConfig) -> list[str]:
    """The options, but for the free ones, that differ from an earlier run's as JSON holds them.

    One that the earlier run did not know yet had its default.
    """
    now, before = as_json(dataclasses.asdict(config)), as_json(dataclasses.asdict(TrainConfig())) | before
    names = [option.name for option in dataclasses.fields(TrainConfig) if option.name not in FREE_OPTIONS]
    return [name for name in names if before[name] != now[name]]


# The runs of the MTLoRA paper (Agiza et al., CVPR 2024, arXiv 2403.20320, sec. 4, and its released configuration):
# 300 epochs, and 5e-4 * batch / 512 for the learning rate. Warm-up, decay, clipping and loss weights are the engine's.
_PAPER = {
    "backbone": "swin_tiny_patch4_window7_224.ms_in1k", "img_size": 448, "epochs": 300, "batch_size": 32,
    "lr": 5e-4 * 32 / 512, "drop_path": 0.2, "eval_every": 5, "protocol": "paper", "workers": 4,
    "options": {"rank": 64, "task_rank": 4},
}  # fmt: skip
PAPER_TASKS = ("semseg", "normals", "sal", "human_parts")
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        **_PAPER, "tasks": PAPER_TASKS, "augment": ("flip", "rotate"), "reference": "paper_swin_tiny",
        "out": Path("runs/paper"),
    },
    "nyud": {
        **_PAPER, "tasks": ("semseg", "normals", "edge", "depth"), "augment": ("flip", "scale"),
        "out": Path("runs/nyud"),
    },
    # Minutes on a laptop. The decoder is the paper's for a backbone of a third its width; no dropout, for so few steps
    # cannot overfit; the learning rate is the best of 0.5, 1.5 and 4.5e-3 on "val", which is why "test" is scored.
    "demo": {
        "options": {"rank": 8, "task_rank": 4, "dropout": 0.0}, "lr": 1.5e-3, "batch_size": 8, "train_count": 1000,
        "decoder_options": {"channels": (16, 32, 64, 64), "expansion": 1}, "val_split": "test",
        "out": Path("runs/demo/mtlora"),
    },
}  # fmt: skip


def preset(name: str) -> TrainConfig:
    """Return a run by its name, a key of ``PRESETS``; what is not the paper's, such as ``data``, is the default."""
    if name not in PRESETS:
        raise ValueError(f"Unknown preset {name!r}. Presets: {', '.join(PRESETS)}.")
    return TrainConfig(**PRESETS[name])


def read_options(path: Path) -> dict[str, Any]:
    """The options of a run in a JSON file: the ``config.json`` that every run writes, or a part of one.

    Raises:
        ValueError: no such file, no JSON, an option that does not exist, or a value of another type than it has.
    """
    try:
        content = json.loads(Path(path).read_text())
    except OSError as error:
        raise ValueError(
            f"Cannot read {path} ({error.strerror}): name the config.json of a run, or one like it."
        ) from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(f'{path} does not hold options, which look like {{"method": "mtlora", "steps": 600}}.')
    hints = get_type_hints(TrainConfig)
    for name in content:
        if name not in hints:
            raise ValueError(
                f"{path}: there is no option {name!r}.{did_you_mean(name, hints)} See: mtlora train --help."
            )
    return {name: _typed(value, hints[name], f"{path}: {name}") for name, value in content.items()}


def read_option(word: str) -> tuple[str, Any]:
    """An option as people write it, ``KEY=VALUE`` with the value in JSON or a plain word; else ``ValueError``."""
    key, equals, value = word.partition("=")
    if not (key and equals):
        raise ValueError(f"An option is written KEY=VALUE, got {word!r}.")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def _typed(value: Any, hint: Any, what: str) -> Any:
    """A value from JSON as the type of its option: JSON has no tuples and no paths."""
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin is UnionType:
        return None if value is None else _typed(value, arguments[0], what)
    if origin is tuple and isinstance(value, list):
        return tuple(_typed(each, arguments[0], what) for each in value)
    if origin is Mapping and isinstance(value, dict):
        return value
    accepted = {Path: str, float: (int, float)}.get(origin, origin)
    if (
        origin in (tuple, Mapping)
        or not isinstance(value, accepted)
        or (isinstance(value, bool) and origin is not bool)
    ):
        raise ValueError(f"{what} is {json.dumps(value)}, but should be {_IN_WORDS[origin]}.")
    return origin(value)


_IN_WORDS = {
    str: "text", Path: "text", int: "a whole number", float: "a number", bool: "true or false", tuple: "a list",
    Mapping: "an object",
}  # fmt: skip

# ------------------------------------------------------------------------------------------ from a run to its parts


def build_from_config(config: TrainConfig) -> MultiTaskModel:
    """The untrained model of a run, with as many classes as its data set has."""
    own = {} if config.data == SCENES else layout_of(config.data).channels
    return build_model(
        config.method,
        backbone=config.backbone,
        tasks=config.tasks,
        img_size=config.img_size,
        pretrained=config.pretrained,
        drop_path=config.drop_path,
        decoder=config.decoder,
        decoder_options=config.decoder_options,
        channels={task: count for task, count in own.items() if task in config.tasks},
        **config.options,
    )


def training_set(config: TrainConfig) -> Dataset:
    """The training images of a run."""
    transform = train_transform(config.img_size, config.augment)
    return _dataset(config, config.train_split, config.train_count, transform)


def validation_set(config: TrainConfig) -> Dataset:
    """The validation images of a run."""
    transform = eval_transform(config.img_size, resize_targets=config.protocol == "paper")
    return _dataset(config, config.val_split, config.val_count, transform)


def _dataset(config: TrainConfig, split: str, count: int, transform: Callable) -> Dataset:
    if config.data == SCENES:
        return Scenes(split, config.tasks, size=config.img_size, count=count, transform=transform)
    return reader_of(config.data)(config.data, split, config.tasks, transform, on_error=config.on_error)
