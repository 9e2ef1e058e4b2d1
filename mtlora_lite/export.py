"""A trained model in the form in which it is taken away, and the paper's released checkpoints in and out.

============== ==================================== ===================================================================
form           what is written                      what it is
============== ==================================== ===================================================================
``merged``     a folder                             the model of the chosen tasks alone, shared updates in the weights
``onnx``       a file                               the same as an ONNX graph
``program``    a file                               the same as a program of ``torch.export``
``timm``       a file                               the shared stream alone as weights of a plain model of timm
``checkpoint`` a folder                             everything, also the frozen weights; can be trained on
``official``   a file                               the layout of the paper's released code
============== ==================================== ===================================================================
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from mtlora_lite.adapted import Adapted
from mtlora_lite.backbones import EMBEDDED, is_weights_file, timm_state_dict
from mtlora_lite.backbones.checkpoints import check_fit
from mtlora_lite.folding import fold_for_good, is_merged
from mtlora_lite.graphs import write_onnx, write_program
from mtlora_lite.methods import get_method
from mtlora_lite.model import WEIGHTS_FILE, MultiTaskModel, build_from, known_tasks
from mtlora_lite.names import did_you_mean
from mtlora_lite.official import load_official, save_official
from mtlora_lite.paths import command, data_dir
from mtlora_lite.predict import DEMO_CHECKPOINT, load_checkpoint, open_predictor
from mtlora_lite.printing import aligned, readable
from mtlora_lite.records import write_atomically
from mtlora_lite.runs import LAST

DEFAULT_FOLDER = Path("runs/exported")
CHECKED_IMAGES = 3  # not the number that a graph was traced with
TOLERANCE = 1e-4  # of the range of a task's logits, by which a form may differ from its model


@dataclass(frozen=True)
class ExportConfig:
    """Take a model away: merged, as ONNX, as a torch.export program, as a timm backbone; or convert the paper's.

    The forms that --to names:

    merged: a folder with a model of the chosen tasks alone. Shared updates are folded into the weights wherever no
    task reads the unfolded ones, and nothing else is needed to load it. Methods with an update per task in every layer
    (lora_per_task, mtl_lora) are merged for one task; adapters and prompts cannot be.

    onnx: the merged model as one ONNX file, an output per task, for any number of images (needs the extra onnx).

    program: the merged model as one file of torch.export (.pt2), which loads without this package.

    timm: the shared stream as weights of a plain model that timm loads. The private updates of the tasks do not fit
    into it and are left out, and so are the decoders: a backbone to build on, not the model.

    checkpoint: a folder with everything, frozen weights too, that can be trained on.

    official: a .pth in the layout of the paper's released code.

    Attributes:
        to: the form to write; if not given, checkpoint for what --from-official reads.
        checkpoint: folder written by training, or owner/name on the Hugging Face hub; if not given, the model that
            comes with the package.
        from_official: a checkpoint of the paper's released code (.pth) in place of --checkpoint.
        tasks: only these (merged, onnx, program; timm where tasks share no weights); if not given, all of the model.
        out: what to write; if not given, a name of its own in runs/exported.
        scale: of --from-official: factor of the shared updates, one per stage if they differ.
        task_scale: of --from-official: factor of each task's private update, if they differ from scale, TASK=FACTOR.
        combine: of --from-official: how shared and private updates meet; like the scales it leaves no trace in a file.
        img_size: of --from-official: side of the images in pixels.
    """

    to: str | None = None
    checkpoint: Path | None = None
    from_official: Path | None = None
    tasks: tuple[str, ...] = ()
    out: Path | None = None
    scale: tuple[float, ...] = (4.0,)
    task_scale: Mapping[str, float] = field(default_factory=dict)
    combine: str = "matrix"
    img_size: int = 448


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        form: a key of ``FORMS``.
        path: the file or folder.
        model: the model that it was made of.
        size: bytes of what was written.
        source_size: bytes of the weights of the model as they were stored, and with the frozen ones.
        deviations: {task: largest absolute difference of logits between what was written and the model, and the range
            of these logits}; empty for forms that do not predict.
    """

    form: str
    path: Path
    model: MultiTaskModel
    size: int
    source_size: tuple[int, int]
    deviations: Mapping[str, tuple[float, float]]


def export(config: ExportConfig) -> Exported:
    """Write a model in another form, and compare what was written with the model.

    Raises:
        ValueError: an unknown form or task, two sources, or a model that does not fit the form.
        MissingExtraError: the form needs a package that is not installed.
    """
    name = _form_name(config)
    form, model = FORMS[name], _source(config)
    tasks = _chosen_tasks(name, model, config.tasks)
    path = _target(config, form)
    path.parent.mkdir(parents=True, exist_ok=True)
    alone = form.predicts or tasks != model.tasks
    form.write(merged(model, tasks) if alone else model, path)
    deviations = deviation(model, path, tasks) if form.predicts else {}
    return Exported(name, path, model, _size(path), (_stored_size(config), _weights_size(model)), deviations)


def merged(model: MultiTaskModel, tasks: Sequence[str] | None = None) -> MultiTaskModel:
    """A new model of some tasks alone, with the shared updates folded into the weights for good, see ``folding``.

    It predicts the same, needs no pre-trained weights when it is loaded, and is in evaluation mode.

    Raises:
        ValueError: a task that the model does not have, or one left out where the shared stream reads the streams of
            all tasks (``combine="addition"``).
    """
    tasks = model.tasks if tasks is None else known_tasks(tasks, model.tasks)
    if model.backbone.tasks_feed_shared and set(tasks) != set(model.tasks):
        raise ValueError(
            f"With combine='addition' the shared stream reads the streams of all tasks, so that none can be left out: "
            f"take {', '.join(model.tasks)}, and choose when you predict."
        )
    config, shape = model.config, model.backbone.shape()
    options = {key: _of_tasks(value, tasks, model.tasks) for key, value in config.options.items()}
    alone = build_from(dataclasses.replace(
        config, backbone=shape, tasks=tasks, pretrained=False, options=options,
        channels={task: config.channels[task] for task in tasks},
    ))  # fmt: skip
    state = _state_of_tasks(model, tasks)
    check_fit(state, alone.state_dict(), "The backbone")
    alone.load_state_dict(state)
    fold_for_good(alone.backbone)
    alone.config = dataclasses.replace(alone.config, folded=True)
    alone.results = _results_of(model, tasks)
    return alone.eval()


def _state_of_tasks(model: MultiTaskModel, tasks: Sequence[str]) -> dict[str, Tensor]:
    """The weights as they were before any merging, without what is of other tasks, in names and in rows."""
    was_merged = is_merged(model)
    state = {name: value.detach().cpu().clone() for name, value in model.unmerge().state_dict().items()}
    if was_merged:
        model.merge()
    others = set(model.tasks) - set(tasks)
    state = {name: value for name, value in state.items() if others.isdisjoint(name.split("."))}
    rows = [model.tasks.index(task) for task in tasks]
    for name, layer in model.named_modules():
        for own in layer.per_task if isinstance(layer, Adapted) else ():
            state[f"{name}.{own}"] = state[f"{name}.{own}"][rows]
    return state


def _results_of(model: MultiTaskModel, tasks: Sequence[str]) -> dict[str, Any] | None:
    """How the model scored on these tasks; Δm is a mean over all, so it goes where one is left out."""
    if model.results is None or set(tasks) == set(model.tasks):
        return model.results
    scores = {task: score for task, score in model.results["metrics"].items() if task in tasks}
    return model.results | {"metrics": scores, "delta_m": None}


def _of_tasks(option: object, tasks: Sequence[str], all_tasks: Sequence[str]) -> object:
    """An option of a method, without the tasks that are left out; one that is not per task stays as it is."""
    per_task = isinstance(option, Mapping) and set(option) == set(all_tasks)
    return {task: option[task] for task in tasks} if per_task else option


def save_trunk(model: MultiTaskModel, path: str | Path) -> Path:
    """Write the shared stream as weights of a plain model of timm, and return the path.

    Raises:
        ValueError: the shared stream reads the tasks' (``combine="addition"``) and fits no plain model.
    """
    state, path = timm_state_dict(model.backbone), Path(path)
    line = loading_line(model, Path(path.name))  # without the folders of this machine
    write_atomically(path, lambda temporary: save_file(state, temporary, metadata={"load": line}))
    return path


def loading_line(model: MultiTaskModel, path: Path) -> str:
    """The line of Python that builds the model of timm which a trunk's weights fit."""
    name, backbone = model.config.backbone, model.backbone
    size = "".join(f"{key}={value}, " for key, value in backbone.size_options(model.config.img_size).items())
    if isinstance(name, str) and name not in EMBEDDED and not is_weights_file(name):
        return f'timm.create_model("{name}", {size}num_classes=0, checkpoint_path="{path}")'
    shape = ", ".join(f"{key}={value!r}" for key, value in backbone.shape().items() if key != "family")
    trunk = f"{backbone.timm_class.__module__}.{backbone.timm_class.__name__}({size}num_classes=0, {shape})"
    return f'trunk = {trunk}; timm.models.load_checkpoint(trunk, "{path}")'


# ------------------------------------------------------------------------------------------------------------- forms


@dataclass(frozen=True)
class Form:
    """One row of the table of forms.

    Attributes:
        default: name of what is written where none is given.
        predicts: whether what is written predicts tasks; if so, ``write`` gets the merged model of the chosen ones.
        write: writes a model to a path.
        folder: whether that is a folder.
        folds: whether it is about what was inserted lying in the weights, so that this must be possible.
    """

    default: str
    predicts: bool
    write: Callable[[MultiTaskModel, Path], object]
    folder: bool = False
    folds: bool = False


#: Every form by its name.
FORMS: dict[str, Form] = {
    "merged": Form("merged", True, lambda model, path: model.save_pretrained(path), folder=True, folds=True),
    "onnx": Form("model.onnx", True, write_onnx),
    "program": Form("model.pt2", True, write_program),
    "timm": Form("trunk.safetensors", False, save_trunk, folds=True),
    "checkpoint": Form(
        "checkpoint", False, lambda model, path: model.save_pretrained(path, full=True), folder=True
    ),
    "official": Form("official.pth", False, save_official),
}  # fmt: skip


def _form_name(config: ExportConfig) -> str:
    """The form that is asked for; ``ValueError`` where none is, or one that there is not."""
    if config.from_official is not None and config.checkpoint is not None:
        raise ValueError("Give one thing to export: --from-official FILE.pth or --checkpoint FOLDER (one of the two).")
    name = config.to or ("checkpoint" if config.from_official else None)
    if name not in FORMS:
        what = f"Unknown form {name!r}.{did_you_mean(name, FORMS)}" if name else "Say what to write."
        raise ValueError(f"{what} Forms: --to {', '.join(FORMS)}.")
    return name


def _chosen_tasks(name: str, model: MultiTaskModel, given: Sequence[str]) -> tuple[str, ...]:
    """The tasks to write; ``ValueError`` where the form has none to choose, or does not fit the model's method.

    A model whose updates differ from task to task in every layer is as many networks, of which one can be folded.
    """
    form, method = FORMS[name], get_method(model.config.method)
    one_of_many = form.folds and method.pass_per_task
    if given and not form.predicts and not one_of_many:
        raise ValueError(f"--tasks has no meaning for {name}: it holds what all tasks share, or everything.")
    tasks = known_tasks(given, model.tasks) if given else model.tasks
    if form.folds and not method.mergeable:
        others = ", ".join(other for other, row in FORMS.items() if row.predicts and not row.folds)
        raise ValueError(
            f"What {model.config.method} inserts cannot be folded into weights, so there is no {name} form: "
            f"take --to {others} or checkpoint."
        )
    if one_of_many and len(tasks) > 1:
        raise ValueError(
            f"With {model.config.method} every task has weights of its own in all layers: {name} is for one of them, "
            f"such as --tasks {tasks[0]}."
        )
    return tasks


def _source(config: ExportConfig) -> MultiTaskModel:
    if config.from_official is None:
        return load_checkpoint(_source_folder(config))
    scale = config.scale[0] if len(config.scale) == 1 else config.scale
    return load_official(
        config.from_official, scale=scale, task_scale=dict(config.task_scale) or None, combine=config.combine,
        img_size=config.img_size,
    )  # fmt: skip


def _source_folder(config: ExportConfig) -> Path:
    return config.checkpoint or data_dir() / DEMO_CHECKPOINT


def _target(config: ExportConfig, form: Form) -> Path:
    """Where to write; never over what is read."""
    path = config.out or DEFAULT_FOLDER / form.default
    if path.is_dir() and not form.folder:
        path /= form.default
    if path.is_file() and form.folder:
        raise ValueError(f"{path} is a file, and a folder is to be written: give another --out.")
    source = config.from_official or _source_folder(config)
    if path.resolve() in (source.resolve(), (source / LAST).resolve()):
        raise ValueError(f"{path} is what is read: give another --out.")
    return path


# ------------------------------------------------------------------------------------------------------ what came out


@torch.inference_mode()
def deviation(model: MultiTaskModel, path: Path, tasks: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Run what was written beside the model on noise, {task: (largest difference, range of the model's logits)}.

    Raises:
        ValueError: they differ by more than rounding.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(CHECKED_IMAGES, 3, *model.config.img_size, generator=generator)
    expected, found = model(images, tasks), open_predictor(path, torch.device("cpu"))(images)
    found = {
        task: ((found[task] - logits).abs().max().item(), (logits.max() - logits.min()).item())
        for task, logits in expected.items()
    }
    if wrong := [task for task, (largest, span) in found.items() if not largest <= TOLERANCE * span]:
        raise ValueError(f"{path} was written, but predicts something else than the model for {', '.join(wrong)}.")
    return found


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _stored_size(config: ExportConfig) -> int:
    """Bytes of the weights that are exported; 0 where they came from elsewhere."""
    source = config.from_official or _source_folder(config)
    files = [source, source / WEIGHTS_FILE, source / LAST / WEIGHTS_FILE]
    return next((file.stat().st_size for file in files if file.is_file()), 0)


def _weights_size(model: MultiTaskModel) -> int:
    return sum(value.numel() * value.element_size() for value in model.state_dict().values())


def summary(result: Exported) -> str:
    """What was written, how large it is beside the model, how far it is off, and what to do with it."""
    stored, whole = map(readable, result.source_size)
    beside = f"what it was made of: {stored}, and with the frozen weights {whole}"
    lines = [f"Wrote {result.path}: {readable(result.size)} ({beside})."]
    if result.deviations:
        rows = [[task, f"{off:.1e}", f"of {span:.1f}"] for task, (off, span) in result.deviations.items()]
        header = "Largest difference to the model's logits, and their range:"
        lines += [header, *aligned(rows), f"Next: {command()} predict PHOTO.jpg --checkpoint {result.path}"]
    if result.form == "timm":
        lines += [
            "This is the shared stream alone. Load it with",
            f"    {loading_line(result.model, result.path)}",
        ]
    return "\n".join(lines)
