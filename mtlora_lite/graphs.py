"""A model as one file that runs without this package: an ONNX graph, or a program of ``torch.export``.

Both take normalised images (B, 3, H, W), for any B, and return logits (B, C_task, H, W) per task. What cannot be seen
in a graph travels beside it: size, mean and standard deviation of images, and what the outputs are (``description``).
"""

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlora_lite.extras import require
from mtlora_lite.model import MultiTaskModel, known_tasks
from mtlora_lite.photos import IMAGENET_MEAN, IMAGENET_STD
from mtlora_lite.records import write_atomically
from mtlora_lite.tasks import TASKS

OPSET = 18  # the oldest that torch's exporter writes, for the oldest runtimes
INPUT = "images"
DESCRIPTION = "mtlora_lite.json"  # its name inside a program
TRACED_BATCH = 2  # any but 0 and 1, for which a tracer takes shortcuts


@dataclass(frozen=True)
class Predictor:
    """Anything that predicts: a model, or a file that was made of one.

    Attributes:
        tasks: what it can predict.
        img_size: height and width of the images that it takes.
        run: normalised images (B, 3, H, W) and tasks to {task: logits (B, C_task, H, W)} on the CPU.
    """

    tasks: tuple[str, ...]
    img_size: tuple[int, int]
    run: Callable[[Tensor, Sequence[str]], dict[str, Tensor]]

    def __call__(self, images: Tensor, tasks: Sequence[str] = ()) -> dict[str, Tensor]:
        """Predict these tasks, or all; one that it does not have raises ``ValueError``."""
        with torch.inference_mode():
            return self.run(images, known_tasks(tasks, self.tasks) if tasks else self.tasks)


def description(model: MultiTaskModel) -> dict[str, Any]:
    """What a user of a file must know: the images that it takes, and what each task's outputs are; fit for JSON."""
    return {
        "image": {
            "color": "RGB", "size": list(model.config.img_size), "resize": "bicubic, antialiased", "scale": 1 / 255,
            "mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD),
        },
        "tasks": {task: _describe(task, channels) for task, channels in model.config.channels.items()},
    }  # fmt: skip


def _describe(task: str, channels: int) -> dict[str, Any]:
    row = TASKS[task]
    reading = {
        "classes": "argmax over channels", "binary": "sigmoid", "directions": "divide by the length", "metres": "as is",
    }  # fmt: skip
    named = {"classes": list(row.classes)} if len(row.classes) == channels else {}
    return {"title": row.title, "kind": row.target, "channels": channels, "reading": reading[row.target]} | named


# ---------------------------------------------------------------------------------------------------------- programs


def write_program(model: MultiTaskModel, path: Path) -> None:
    """Write a model as a program of ``torch.export``, whole or not at all."""
    content = {DESCRIPTION: json.dumps(description(model))}
    program = torch.export.export(model.eval(), **_traced_with(model))

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            torch.export.save(program, file, extra_files=content)

    write_atomically(path, write)


def _traced_with(model: MultiTaskModel) -> dict[str, Any]:
    """The images that a model is traced with, and that their number may be another one."""
    images = torch.zeros(TRACED_BATCH, 3, *model.config.img_size)
    return {"args": (images,), "dynamic_shapes": {INPUT: {0: torch.export.Dim("batch")}}}


def is_program(path: Path) -> bool:
    """Whether a file is a program of ``torch.export``: an archive that says of itself that it is a pt2."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        formats = [name for name in archive.namelist() if name.endswith("/archive_format")]
        return any(archive.read(name) == b"pt2" for name in formats)


def read_program(path: Path, device: torch.device) -> Predictor:
    """Read what ``write_program`` wrote; ``ValueError`` for a program of something else."""
    content = {DESCRIPTION: ""}
    program = torch.export.load(path, extra_files=content)
    about = _parsed(content[DESCRIPTION], path)
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    module = program.module()

    def run(images: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
        logits = module(images.to(device))
        return {task: logits[task].cpu() for task in tasks}

    return Predictor(tuple(about["tasks"]), tuple(about["image"]["size"]), run)


# -------------------------------------------------------------------------------------------------------------- ONNX


def write_onnx(model: MultiTaskModel, path: Path) -> None:
    """Write a model as an ONNX graph of opset ``OPSET`` with an output per task, whole or not at all.

    Raises:
        MissingExtraError: onnx, onnxruntime or onnxscript is not installed.
    """
    require("Writing ONNX", "onnx", "onnxscript", "onnxruntime")
    import onnx

    graph = torch.onnx.export(
        model.eval(), dynamo=True, input_names=[INPUT], output_names=list(model.tasks), opset_version=OPSET,
        verbose=False, **_traced_with(model),
    )  # fmt: skip
    content = {key: json.dumps(value) for key, value in description(model).items()}
    graph.model.metadata_props.update(content)

    def write(temporary: Path) -> None:
        graph.save(temporary)
        onnx.checker.check_model(temporary, full_check=True)

    write_atomically(path, write)


def read_onnx(path: Path, device: torch.device) -> Predictor:
    """Read what ``write_onnx`` wrote; ``ValueError`` for a graph of something else, or what is no graph."""
    require(f"Reading {path}", "onnxruntime")
    import onnxruntime

    wanted = ["CUDAExecutionProvider"] if device.type == "cuda" else []
    available = onnxruntime.get_available_providers()
    providers = [name for name in (*wanted, "CPUExecutionProvider") if name in available]
    try:
        session = onnxruntime.InferenceSession(path, providers=providers)
    except Exception as error:  # the runtime's own, without a common base
        raise ValueError(f"{path} is no ONNX graph, nor anything else that can be read as a model.") from error
    about = session.get_modelmeta().custom_metadata_map
    tasks, image = (_parsed(about.get(key, ""), path) for key in ("tasks", "image"))

    def run(images: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
        outputs = session.run(list(tasks), {INPUT: images.numpy()})
        return {task: torch.from_numpy(logits) for task, logits in zip(tasks, outputs, strict=True)}

    return Predictor(tuple(tasks), tuple(image["size"]), run)


def _parsed(text: str, path: Path) -> Mapping[str, Any]:
    if not text:
        raise ValueError(f"{path} does not say what it predicts: only files that this package's export wrote do.")
    return json.loads(text)
