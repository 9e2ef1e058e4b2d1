"""The command line: ``mtlora`` or ``python -m mtlora_lite``. Options are the fields of the commands' dataclasses."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import tyro

from mtlora_lite import compare as comparing
from mtlora_lite import demo as demonstrating
from mtlora_lite import predict as predicting
from mtlora_lite.datasets import BrokenFileError
from mtlora_lite.engine import SCENES, TrainConfig, evaluate, train, validation_set, write_json
from mtlora_lite.metrics import headline
from mtlora_lite.model import REPORT_ROWS, MultiTaskModel, build_model, parameter_report
from mtlora_lite.tasks import TASKS

PAPER_RANKS = (16, 32, 64)
PAPER_TASKS = ("semseg", "normals", "sal", "human_parts")


@dataclass(frozen=True)
class EvalConfig:
    """Score a checkpoint.

    Attributes:
        checkpoint: folder written by training.
        data: "scenes" for the embedded set, or a folder in the PASCAL_MT layout.
        split: list of ids (a folder) or part of the scenes.
        count: number of scenes (embedded set only).
        protocol: "standard", or "paper" for the conventions of the released evaluation.
        out: also write the scores to this JSON file.
    """

    checkpoint: Path
    data: str = SCENES
    split: str = "val"
    count: int = 200
    protocol: str = "standard"
    out: Path | None = None


@dataclass(frozen=True)
class ParamsConfig:
    """Count parameters: without --method those of the paper's six configurations, else of the model described.

    Attributes:
        method: a row of the method registry.
        backbone: a timm Swin name or an embedded one.
        tasks: what is predicted.
        img_size: side of the images in pixels.
        options: the method's options, e.g. rank=64 task_rank=4.
    """

    method: str | None = None
    backbone: str = "swin_tiny_patch4_window7_224"
    tasks: tuple[str, ...] = PAPER_TASKS
    img_size: int = 448
    options: Mapping[str, Any] = field(default_factory=dict)


def run_demo(config: demonstrating.DemoConfig) -> int:
    """Train MTLoRA and decoders-only on the embedded scenes in a few minutes and show what came of it."""
    demonstrating.demo(config)
    return 0


def run_train(config: TrainConfig) -> int:
    """Train a model and evaluate it."""
    result = train(config)
    print(format_scores(result.metrics))
    print(f"\nWrote {config.out}/config.json, log.jsonl, metrics.json and model/ ({result.seconds:.0f} s of training).")
    print(f"Next: mtlora predict PHOTO.jpg --checkpoint {config.out}")
    return 0


def run_eval(config: EvalConfig) -> int:
    """Score a checkpoint on a split."""
    model = predicting.load_checkpoint(config.checkpoint)
    where = TrainConfig(
        data=config.data, tasks=model.tasks, img_size=model.config.img_size[0], val_split=config.split,
        val_count=config.count,
    )  # fmt: skip
    data = validation_set(where)
    scores = evaluate(model, data, protocol=config.protocol)
    print(f"{config.data}, split {config.split}, {len(data)} images, protocol {config.protocol}")
    print(format_scores(scores))
    if config.out:
        record = {"data": config.data, "split": config.split, "images": len(data), "protocol": config.protocol}
        write_json(config.out, record | {"metrics": scores})
    return 0


def run_predict(config: predicting.PredictConfig) -> int:
    """Predict all tasks for photos."""
    return predicting.report(*predicting.predict(config))


def run_params(config: ParamsConfig) -> int:
    """Count trainable and frozen parameters."""
    print(published_counts() if config.method is None else parameter_report(_model(config, config.options)).to_string())
    return 0


def run_compare(config: comparing.CompareConfig) -> int:
    """Compare methods: same images and steps, several seeds, each with its own best learning rate."""
    print(comparing.format_table(comparing.compare(config), config.base.tasks))
    print(f"\nWrote {config.out}/table.json.")
    return 0


def published_counts() -> str:
    """Trainable parameters of the paper's six configurations, a row per group."""
    columns = {}
    for method in ("mtlora", "mtlora_plus"):
        for rank in PAPER_RANKS:
            report = parameter_report(_model(ParamsConfig(method), {"rank": rank}))
            column = report["trainable"].drop("total")
            column["trainable"], column["model"] = report.loc["total", "trainable"], report.loc["total"].sum()
            columns[f"{method} r{rank}"] = column
    table = pd.DataFrame(columns).fillna(0).astype(int)
    order = [title for title in (*(title for title, _ in REPORT_ROWS), "trainable", "model") if title in table.index]
    return table.loc[order].map(lambda count: f"{count:,}").to_string()


def _model(config: ParamsConfig, options: Mapping[str, Any]) -> MultiTaskModel:
    return build_model(
        config.method, backbone=config.backbone, tasks=config.tasks, img_size=config.img_size, pretrained=False,
        **options,
    )  # fmt: skip


def format_scores(scores: Mapping[str, Mapping[str, float]]) -> str:
    """One line per task: its headline metric first, then the others that are no per-class values."""
    rows = []
    for task, value in headline(scores).items():
        row = TASKS[task]
        others = {k: v for k, v in scores[task].items() if k != row.metric and not k.startswith("IoU/")}
        rest = "  ".join(f"{name} {number:.3g}" for name, number in others.items())
        rows.append(f"{row.title:24}{row.metric:>6} {value:7.2f} {row.unit:3}{rest}")
    return "\n".join(rows)


# ---------------------------------------------------------------------------------------------------- the command line

COMMANDS = {
    "demo": run_demo,
    "train": run_train,
    "eval": run_eval,
    "predict": run_predict,
    "compare": run_compare,
    "params": run_params,
}
# What goes wrong for reasons a user can mend: said in one line. Anything else is a bug and shows its traceback.
USER_ERRORS = (ValueError, FileNotFoundError, BrokenFileError, FloatingPointError)


def _registry() -> tyro.constructors.ConstructorRegistry:
    """How a mapping of options is written on the command line: KEY=VALUE, with VALUE in JSON or a plain word."""
    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def options(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
        if info.type_origin is not Mapping:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs="*",
            metavar="[KEY=VALUE [KEY=VALUE ...]]",
            instance_from_str=lambda words: dict(_option(word) for word in words),
            is_instance=lambda value: isinstance(value, Mapping),
            str_from_instance=lambda value: [f"{key}={json.dumps(item)}" for key, item in value.items()],
        )

    return registry


def _option(word: str) -> tuple[str, Any]:
    key, equals, value = word.partition("=")
    if not (key and equals):
        raise ValueError(f"An option is written KEY=VALUE, got {word!r}.")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    try:
        return tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="mtlora",
            description="Parameter-efficient multi-task learning for dense vision. Start with: mtlora demo",
            args=arguments,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.PositionalRequiredArgs),
            registry=_registry(),
        )
    except USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
