"""Predictions on photos and videos: a picture of each, and beside it what a model sees in it, task by task."""

import json
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mtlora_lite.extras import require
from mtlora_lite.film import Film
from mtlora_lite.graphs import Predictor, is_program, read_onnx, read_program
from mtlora_lite.model import MultiTaskModel, known_tasks
from mtlora_lite.paths import command, data_dir
from mtlora_lite.photos import PhotoError, load_photo
from mtlora_lite.runs import LAST, METRICS_FILE
from mtlora_lite.sources import Source, find_sources, targets_of
from mtlora_lite.transforms import eval_transform
from mtlora_lite.unpickle import WEIGHT_SUFFIXES
from mtlora_lite.videos import Frame, count_frames, is_video, read_frames, write_gif, write_video
from mtlora_lite.viz import prediction_grid, save_png

DEMO_CHECKPOINT = "demo_mtlora"

T = TypeVar("T")


@dataclass(frozen=True)
class PredictConfig:
    """Predict all tasks for photos and videos.

    A photo becomes a PNG, a video an MP4 without sound (needs the extra video), an animated GIF a GIF: the picture,
    and beside it what the model sees in it. Of a folder everything is taken, in the folders below too.

    Attributes:
        photos: photos (JPEG, PNG, WebP, TIFF, ...), videos (MP4, MOV, MKV, ...), animated GIFs, and folders of them.
        checkpoint: folder written by training or export, an .onnx or .pt2 file written by export, or owner/name on the
            Hugging Face hub; if not given, the model that comes with the package.
        tasks: only these; if not given, all that the model has.
        out: folder for the pictures, one NAME.png, NAME.mp4 or NAME.gif each, in folders as they were found.
        fps: frames to take from each second of a video; if not given, all.
        batch_size: photos or frames that are predicted at once.
        device: cpu, cuda, mps, ...; if not given, the accelerator where there is one.
    """

    photos: tuple[Path, ...]
    checkpoint: Path | None = None
    tasks: tuple[str, ...] = ()
    out: Path = Path("runs/predictions")
    fps: float | None = None
    batch_size: int = 8
    device: str | None = None


def predict(config: PredictConfig) -> tuple[list[Path], list[str]]:
    """Write a picture or a film of each source; returns these, and a sentence for each that could not be used."""
    _check(config)
    predictor = open_predictor(config.checkpoint or data_dir() / DEMO_CHECKPOINT, find_device(config.device))
    tasks = known_tasks(config.tasks, predictor.tasks) if config.tasks else predictor.tasks
    sources, problems = find_sources(config.photos, config.out)
    if any(is_video(source.path) for source in sources):
        require("Reading and writing videos", "av")  # said before anything is done, not in the middle
    pictures = []
    work = list(zip(sources, targets_of(sources, config.out), strict=True))
    with tqdm(total=len(work), desc="predict", unit="file", leave=False) as bar:
        for moving, run in groupby(work, lambda pair: pair[0].moving):
            draw = _draw_films if moving else _draw_photos
            for result in draw(predictor, tasks, run, config):
                bar.update()
                if isinstance(result, PhotoError):
                    problems.append(str(result))
                else:
                    pictures.append(result)
    return pictures, problems


def _check(config: PredictConfig) -> None:
    if not config.photos:
        raise ValueError(
            f"No photo given. Name image files, videos or folders: {command()} predict PHOTO.jpg CLIP.mp4 FOLDER"
        )
    if config.batch_size < 1:
        raise ValueError(f"--batch-size is at least 1, got {config.batch_size}.")
    if config.fps is not None and not config.fps > 0:
        raise ValueError(f"--fps is more than 0, got {config.fps}.")


# ------------------------------------------------------------------------------------------------------------ models


def load_checkpoint(folder: Path) -> MultiTaskModel:
    """A saved model, from its folder or from that of the run that wrote it, which knows how it scored."""
    if not (folder / LAST).is_dir():
        return MultiTaskModel.from_pretrained(folder)
    model = MultiTaskModel.from_pretrained(folder / LAST)
    if model.results is None and (folder / METRICS_FILE).is_file():
        model.results = json.loads((folder / METRICS_FILE).read_text())
    return model


def open_predictor(path: Path, device: torch.device) -> Predictor:
    """Whatever can predict: a folder that holds a model, an ONNX graph, or a program of ``torch.export``.

    Which of them it is, is read off the file and not off its name.

    Raises:
        FileNotFoundError: there is no such thing.
        ValueError: it is something else.
        MissingExtraError: it is an ONNX graph and onnxruntime is not installed.
    """
    if not path.is_file():
        model = load_checkpoint(path).merge().to(device)
        return Predictor(model.tasks, model.config.img_size, lambda images, tasks: _run(model, device, images, tasks))
    if is_program(path):
        return read_program(path, device)
    if zipfile.is_zipfile(path) or path.suffix in WEIGHT_SUFFIXES:
        raise ValueError(
            f"{path} is a file of weights and no model: give the folder that it lies in. (A released checkpoint of the "
            f"paper becomes a folder by {command()} export --from-official FILE.)"
        )
    return read_onnx(path, device)


def _run(model: MultiTaskModel, device: torch.device, images: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
    return {task: logits.cpu() for task, logits in model(images.to(device), tasks).items()}


def find_device(name: str | None) -> torch.device:
    """The device of that name, or the best there is; ``ValueError`` for one that is not here."""
    there = torch.accelerator.current_accelerator(check_available=True)
    if name is None:
        return there or torch.device("cpu")
    known = ["cpu", *([there.type] if there else [])]
    if name.split(":")[0] not in known:
        raise ValueError(f"There is no device {name!r} here. Devices: {', '.join(known)}.")
    return torch.device(name)


@torch.inference_mode()
def predict_photo(
    model: MultiTaskModel, path: str | Path, tasks: Sequence[str] | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The photo (1, 3, H, W) as the model sees it, resized to its size, and the logits of each task."""
    image = _as_seen(np.asarray(load_photo(path)), model.config.img_size)[None]
    return image, model(image, tasks)


def _as_seen(picture: np.ndarray, size: tuple[int, int]) -> Tensor:
    """RGB (H, W, 3) as a model sees it: normalised (3, h, w)."""
    return eval_transform(size)({"image": picture})["image"]


# ---------------------------------------------------------------------------------------------------------- pictures

Work = tuple[Source, Path]
Result = Path | PhotoError  # what was written, or why nothing was


def _draw_photos(
    predictor: Predictor, tasks: Sequence[str], work: Iterable[Work], config: PredictConfig
) -> Iterator[Result]:
    for batch in _batches(work, config.batch_size):
        images: list[Tensor | PhotoError] = []
        for source, _ in batch:
            try:
                images.append(_as_seen(np.asarray(load_photo(source.path)), predictor.img_size))
            except PhotoError as error:
                images.append(error)
        good = [image for image in images if isinstance(image, Tensor)]
        logits = predictor(torch.stack(good), tasks) if good else {}
        index = 0
        for (_, target), image in zip(batch, images, strict=True):
            if isinstance(image, PhotoError):
                yield image
                continue
            own = {task: values[index : index + 1] for task, values in logits.items()}
            index += 1
            yield save_png(prediction_grid(image[None], own, tasks=list(tasks), cell=2.6), target)


def _draw_films(
    predictor: Predictor, tasks: Sequence[str], work: Iterable[Work], config: PredictConfig
) -> Iterator[Result]:
    for source, target in work:
        write: Callable = write_video if is_video(source.path) else write_gif
        try:
            total = count_frames(source.path, config.fps)
            frames = read_frames(source.path, config.fps)
            bar = tqdm(frames, desc=source.path.name, total=total, unit="frame", leave=False)
            write(target, _draw_frames(predictor, tasks, bar, config.batch_size))
            yield target
        except PhotoError as error:
            yield error


def _draw_frames(
    predictor: Predictor, tasks: Sequence[str], frames: Iterable[Frame], batch_size: int
) -> Iterator[Frame]:
    film = None
    for batch in _batches(frames, batch_size):
        images = torch.stack([_as_seen(picture, predictor.img_size) for _, picture in batch])
        logits = predictor(images, tasks)
        for index, (time, picture) in enumerate(batch):
            film = film or Film(tasks, picture.shape[:2])
            yield time, film.draw(picture, {task: values[index] for task, values in logits.items()})


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


def report(pictures: Sequence[Path], problems: Sequence[str]) -> int:
    """Say what was written and what was not; returns the exit status."""
    for picture in pictures:
        print(f"wrote {picture}")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0
