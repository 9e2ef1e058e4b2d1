"""The command line: ``mtlora`` or ``python -m mtlora_lite``. Options are the fields of the commands' dataclasses."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from mtlora_lite import demo as demonstrating
from mtlora_lite import export as exporting
from mtlora_lite import predict as predicting
from mtlora_lite import published, study
from mtlora_lite.backbones import SwinBackbone
from mtlora_lite.command_line import Commands, fail, run_one
from mtlora_lite.config import (
    PAPER_TASKS,
    PRESETS,
    SCENES,
    TrainConfig,
    preset,
    read_options,
    validation_set,
)
from mtlora_lite.counts import parameter_report, report_rows
from mtlora_lite.data_commands import DATA_COMMANDS, DataConfig
from mtlora_lite.distributed import is_main
from mtlora_lite.engine import train, train_single_tasks
from mtlora_lite.evaluation import evaluate
from mtlora_lite.lm_commands import LM_COMMANDS, LmConfig, preset_options
from mtlora_lite.methods import METHODS
from mtlora_lite.metrics import headline_names
from mtlora_lite.model import MultiTaskModel, build_model
from mtlora_lite.paths import command
from mtlora_lite.records import write_json
from mtlora_lite.references import gain_over, get_reference
from mtlora_lite.runs import REFERENCE_FILE
from mtlora_lite.tasks import TASKS

PAPER_RANKS = (16, 32, 64)


@dataclass(frozen=True)
class TrainCommand(TrainConfig):
    """Train a model and evaluate it.

    Attributes:
        preset: a whole run by its name: paper or nyud (the paper's), or demo; other options given replace what it says.
        config: options from a JSON file, such as the config.json of an earlier run; other options given replace them.
    """

    preset: str | None = None
    config: Path | None = None

    def run(self) -> TrainConfig:
        """The run itself, wherever its options came from."""
        return TrainConfig(**{option.name: getattr(self, option.name) for option in dataclasses.fields(TrainConfig)})


@dataclass(frozen=True)
class EvalConfig:
    """Score a checkpoint on a split.

    Attributes:
        checkpoint: folder written by training.
        data: "scenes" for the embedded set, or a folder with PASCAL-Context or NYUD, raw or prepared.
        split: list of ids (a folder) or part of the scenes.
        count: number of scenes (embedded set only).
        protocol: "paper" for the conventions of the paper's released evaluation.
        boundary: score edges by the BSDS benchmark too (odsF, oisF), which takes about a second an image.
        reference: what Δm is relative to: the file that single_task wrote, or the name of published results.
        out: also write the scores to this JSON file.
    """

    checkpoint: Path
    data: str = SCENES
    split: str = "val"
    count: int = 200
    protocol: str = "standard"
    boundary: bool = False
    reference: str | None = None
    out: Path | None = None


@dataclass(frozen=True)
class ParamsConfig:
    """Count parameters: without --method those of the paper's six configurations, else those of the model described.

    Attributes:
        method: what is adapted and what is trained.
        all: what every method trains, beside the published number where there is one, and why the two differ.
        backbone: a timm name (swin_*, swinv2_*, pvt_v2_*) or an embedded one.
        tasks: what is predicted.
        img_size: side of the images in pixels.
        options: the method's options, e.g. rank=64 task_rank=4.
    """

    method: str | None = None
    all: bool = False
    backbone: str = published.BACKBONE
    tasks: tuple[str, ...] = PAPER_TASKS
    img_size: int = published.IMG_SIZE
    options: Mapping[str, Any] = field(default_factory=dict)


def run_demo(config: demonstrating.DemoConfig) -> int:
    """Run ``demo``."""
    demonstrating.demo(config)
    return 0


def run_train(command_line: TrainCommand) -> int:
    """Run ``train``."""
    config = command_line.run()
    if config.method == "single_task":
        return _run_single_tasks(config)
    result = train(config)
    if not is_main():
        return 0
    print(format_scores(result.metrics))
    _print_gain(result.metrics, config)
    print(f"\nWrote {config.out}/report.md, metrics.json, model/ and more ({result.seconds:.0f} s of training).")
    print(f"Next: {command()} predict PHOTO.jpg --checkpoint {config.out}")
    return 0


def _run_single_tasks(config: TrainConfig) -> int:
    reference = train_single_tasks(config)
    if not is_main():
        return 0
    for task, value in reference.scores.items():
        row = TASKS[task]
        print(f"{row.title:24}{reference.metrics[task]:>6} {value:7.2f} {row.unit}")
    print(f"\nWrote a folder per task in {config.out}, and {config.out / REFERENCE_FILE}.")
    print(f"Next: {command()} train --reference {config.out / REFERENCE_FILE}, for Δm over these models.")
    return 0


def _print_gain(scores: Mapping[str, Mapping[str, float]], config: TrainConfig | EvalConfig) -> None:
    """Δm and what it is relative to, where a reference was named."""
    if config.reference:
        reference = get_reference(config.reference)
        gain = gain_over(reference, scores, config.protocol)
        print(f"Δm {gain:+z.2f} % over {reference.source} ({reference.protocol} protocol)")


def run_eval(config: EvalConfig) -> int:
    """Run ``eval``."""
    model = predicting.load_checkpoint(config.checkpoint)
    where = TrainConfig(
        data=config.data, tasks=model.tasks, img_size=model.config.img_size[0], val_split=config.split,
        val_count=config.count, protocol=config.protocol,
    )  # fmt: skip
    data = validation_set(where)
    scores = evaluate(model, data, protocol=config.protocol, boundary=config.boundary)
    print(f"{config.data}, split {config.split}, {len(data)} images, protocol {config.protocol}")
    print(format_scores(scores))
    _print_gain(scores, config)
    if config.out:
        record = {"data": config.data, "split": config.split, "images": len(data), "protocol": config.protocol}
        write_json(config.out, record | {"metrics": scores})
    return 0


def run_predict(config: predicting.PredictConfig) -> int:
    """Run ``predict``."""
    return predicting.report(*predicting.predict(config))


def run_params(config: ParamsConfig) -> int:
    """Run ``params``."""
    if config.all:
        if config.method or config.options:
            raise ValueError("--all counts every method with its own options: leave out --method and --options.")
        print(published.format_counts(published.count_all(config.backbone, config.tasks, config.img_size)))
        return 0
    if config.method is None and config != ParamsConfig():
        raise ValueError("The paper's configurations are counted as they are: add --method, or --all, to count others.")
    table = published_counts() if config.method is None else parameter_report(_model(config, config.options))
    print(table.rename_axis(None).map(lambda count: f"{count:,}").to_string())
    return 0


def run_compare(config: study.CompareConfig) -> int:
    """Run ``compare``."""
    print(study.format_table(study.compare(config), config.tasks))
    print(f"\nWrote {config.out}/report.md, pareto.png, table.csv and more.")
    return 0


def run_data(config: DataConfig) -> int:
    """Run ``data`` with nothing after it, which says what there is."""
    return main(["data", "--help"])


def run_lm(config: LmConfig) -> int:
    """Run ``lm`` with nothing after it, which says what there is."""
    return main(["lm", "--help"])


def run_export(config: exporting.ExportConfig) -> int:
    """Run ``export``."""
    print(exporting.summary(exporting.export(config)))
    return 0


def published_counts() -> pd.DataFrame:
    """Trainable parameters of the paper's six configurations: a row per group that any of them trains."""
    columns = {}
    for method in ("mtlora", "mtlora_plus"):
        for rank in PAPER_RANKS:
            report = parameter_report(_model(ParamsConfig(method), {"rank": rank}))
            column = report["trainable"].drop("total")
            column["trainable"], column["model"] = report.loc["total", "trainable"], report.loc["total"].sum()
            columns[f"{method} r{rank}"] = column
    table = pd.DataFrame(columns).fillna(0).astype(int)
    order = (*report_rows(SwinBackbone), "trainable", "model")
    return table.loc[[title for title in order if title in table.index and table.loc[title].any()]]


def _model(config: ParamsConfig, options: Mapping[str, Any]) -> MultiTaskModel:
    return build_model(
        config.method, backbone=config.backbone, tasks=config.tasks, img_size=config.img_size, pretrained=False,
        **options,
    )  # fmt: skip


def format_scores(scores: Mapping[str, Mapping[str, float]]) -> str:
    """One line per task: its headline metric first, then the others that are no per-class values."""
    rows = []
    for task, metric in headline_names(scores).items():
        row = TASKS[task]
        others = {k: v for k, v in scores[task].items() if k != metric and not k.startswith("IoU/")}
        rest = "  ".join(f"{name} {number:.3g}" for name, number in others.items())
        rows.append(f"{row.title:24}{metric:>6} {scores[task][metric]:7.2f} {row.unit:3}{rest}")
    return "\n".join(rows)


# ---------------------------------------------------------------------------------------------------- the command line

COMMANDS: Commands = {
    "demo": (demonstrating.DemoConfig, run_demo),
    "train": (TrainCommand, run_train),
    "eval": (EvalConfig, run_eval),
    "predict": (predicting.PredictConfig, run_predict),
    "compare": (study.CompareConfig, run_compare),
    "params": (ParamsConfig, run_params),
    "data": (DataConfig, run_data),
    "export": (exporting.ExportConfig, run_export),
    "lm": (LmConfig, run_lm),
}
DESCRIPTION = "\n".join([
    "Parameter-efficient multi-task learning for dense vision. Start with: mtlora demo",
    "",
    "Methods:",
    *(f"  {name:14} {method.summary}" for name, method in METHODS.items()),
])  # fmt: skip


def _named_options(arguments: Sequence[str]) -> Mapping[str, Any]:
    """The options of a run that ``--preset NAME`` or ``--config FILE`` names; they are the new defaults."""
    words = [piece for word in arguments for piece in (word.split("=", 1) if word.startswith("--") else [word])]
    named = {option: words[words.index(option) + 1] for option in ("--preset", "--config") if option in words[:-1]}
    if len(named) > 1:
        raise ValueError("Give --preset or --config, not both: each names a whole run.")
    if "--config" in named:
        return read_options(Path(named["--config"]))
    if "--preset" in named:
        preset(named["--preset"])  # an unknown name is an error that names those known
        return PRESETS[named["--preset"]]
    return {}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ["data"] and len(arguments) > 1:
        return run_one(DATA_COMMANDS, arguments[1:], "mtlora data", DataConfig.__doc__)
    try:
        if arguments[:1] == ["lm"] and len(arguments) > 1:
            defaults = {"train": preset_options(arguments)}
            return run_one(LM_COMMANDS, arguments[1:], "mtlora lm", LmConfig.__doc__, defaults)
        options = _named_options(arguments)
    except ValueError as error:
        return fail(error)
    return run_one(COMMANDS, arguments, "mtlora", DESCRIPTION, {"train": options})
