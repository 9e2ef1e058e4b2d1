"""The card of a saved model: a ``README.md`` that says what it is, what it scores, and how it is used.

It begins with metadata in YAML, as the Hugging Face hub reads it.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from mtlora_lite.backbones import EMBEDDED
from mtlora_lite.datasets import SCENES
from mtlora_lite.methods import get_method
from mtlora_lite.metrics import headline_names
from mtlora_lite.printing import readable
from mtlora_lite.records import write_atomically
from mtlora_lite.tasks import TASKS

CARD_FILE = "README.md"
TAGS = ("multi-task-learning", "lora", "parameter-efficient-fine-tuning", "dense-prediction")
SHOWN_OPTIONS = ("rank", "task_rank", "combine")
FEEDS = {
    "classes": "image-segmentation", "binary": "image-segmentation", "directions": "surface-normal-estimation",
    "metres": "depth-estimation",
}  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What a card says.

    Attributes:
        name: what to load: a folder's name, or ``owner/name`` on the hub.
        method: a row of ``methods.METHODS``.
        options: its options.
        backbone: what was adapted, in words.
        family: what it is an instance of, "Swin", ...
        img_size: height and width in pixels.
        channels: {task: outputs per pixel}.
        folded: whether the shared updates lie in the weights.
        full: whether the frozen weights are in the file.
        trained: trainable parameters, and those of the whole model.
        size: bytes of the file of weights.
        results: how it scored, as a run's ``metrics.json`` has it; None: not known.
    """

    name: str
    method: str
    options: Mapping[str, Any]
    backbone: str
    family: str
    img_size: Sequence[int]
    channels: Mapping[str, int]
    folded: bool
    full: bool
    trained: tuple[int, int]
    size: int
    results: Mapping[str, Any] | None = None


def write_card(directory: Path, facts: Facts) -> Path:
    """Write the card into a folder, whole or not at all, and return its path; one that was edited is kept."""
    path = directory / CARD_FILE
    text = f"---\n{_metadata(facts).to_yaml()}\n---\n\n{_text(facts)}"
    ModelCard(text)  # reads it as the hub does, and raises where that is not possible
    if not path.exists() or _is_ours(path.read_text(encoding="utf-8", errors="replace")):
        write_atomically(path, lambda temporary: temporary.write_text(text + _seal(text), encoding="utf-8"))
    return path


def _seal(text: str) -> str:
    """A last line that fits no other text, by which an edited card is known."""
    return f"\n<!-- as written by mtlora_lite: {hashlib.sha256(text.encode()).hexdigest()[:16]} -->\n"


def _is_ours(card: str) -> bool:
    text = card.rpartition("\n<!-- as written by mtlora_lite")[0]
    return bool(text) and card == text + _seal(text)


def _metadata(facts: Facts) -> ModelCardData:
    scores = _scores(facts)
    known = {}
    if scores:
        known = {"datasets": [_data_name(facts.results)], "metrics": sorted({metric for _, metric, _ in scores})}
    return ModelCardData(
        library_name="mtlora_lite",
        license="mit" if _is_embedded(facts) else "unknown",
        tags=[*TAGS, facts.family.lower().replace(" ", "-"), *facts.channels],
        model_name=facts.name,
        eval_results=[_eval_result(facts.results, *score) for score in scores] or None,
        **known,
    )


def _eval_result(results: Mapping[str, Any], task: str, metric: str, value: float) -> EvalResult:
    row = TASKS[task]
    data = _data_name(results)
    return EvalResult(
        task_type=FEEDS[row.target], task_name=row.title, dataset_type=data, dataset_name=data,
        dataset_split=results["split"], metric_type=metric, metric_name=f"{metric} ({row.unit})", metric_value=value,
        metric_args={"protocol": results["protocol"]},
    )  # fmt: skip


def _scores(facts: Facts) -> list[tuple[str, str, float]]:
    """(task, headline metric, value) of each task that has been scored."""
    if facts.results is None:
        return []
    metrics = {task: facts.results["metrics"][task] for task in facts.channels if task in facts.results["metrics"]}
    scores = [(task, metric, metrics[task][metric]) for task, metric in headline_names(metrics).items()]
    return [(task, metric, value) for task, metric, value in scores if value is not None]  # None: of no image


def _text(facts: Facts) -> str:
    method = get_method(facts.method)
    titles = ", ".join(TASKS[task].title.lower() for task in facts.channels)
    passes = "A pass per task" if method.pass_per_task else "One pass"
    return "\n\n".join([
        f"# {facts.name}",
        f"{method.title} ({method.source}): {method.summary}. {passes} over an image of {_pixels(facts)} "
        f"gives {titles}.",
        _score_table(facts),
        _fact_table(facts),
        f"## Use\n\nWith the package mtlora_lite installed:\n\n```python\n{usage(facts.name)}```",
        f"## Licence\n\n{_licence(facts)}",
    ]) + "\n"  # fmt: skip


def usage(name: str) -> str:
    """Code that loads a model of that name and draws what it sees in ``photo.jpg``."""
    return (
        "import mtlora_lite as ml\n"
        "from mtlora_lite.predict import predict_photo\n"
        "from mtlora_lite.viz import prediction_grid, save_png\n\n"
        f'model = ml.MultiTaskModel.from_pretrained("{name}")\n'
        'image, logits = predict_photo(model, "photo.jpg")  # {task: (1, channels, height, width)}\n'
        'save_png(prediction_grid(image, logits), "seen.png")\n'
    )


def _score_table(facts: Facts) -> str:
    if facts.results is None:
        return "How it scores has not been recorded."
    results = facts.results
    lines = ["| task | metric | value |", "|---|---|---:|"]
    for task, metric, value in _scores(facts):
        row = TASKS[task]
        lines.append(f"| {row.title} | {metric} {'↑' if row.higher_is_better else '↓'} | {value:.2f} {row.unit} |")
    if results.get("delta_m") is not None:
        lines.append(f"| Δm | over {_without_folders(results['reference'])} ↑ | {results['delta_m']:+.2f} % |")
    where = f"{results['images']} images of {_data_name(results)}, split {results['split']}"
    return "\n".join([*lines, "", f"Scored on {where}, by the {results['protocol']} protocol."])


def _fact_table(facts: Facts) -> str:
    trained, total = facts.trained
    options = "".join(f", {key}={facts.options[key]}" for key in SHOWN_OPTIONS if key in facts.options)
    weights = "with all weights" if facts.full else f"without the frozen weights, which are those of {facts.backbone}"
    rows = {
        "method": f"`{facts.method}`{options}",
        "backbone": f"{facts.backbone}, {_pixels(facts)}",
        "outputs per pixel": ", ".join(f"{task} {count}" for task, count in facts.channels.items()),
        "trainable parameters": f"{trained:,} of {total:,}",
        "file": f"{readable(facts.size)}, {weights}",
    }
    if facts.folded:
        rows["merged"] = "the shared updates lie in the weights, for good"
    return "\n".join(["| | |", "|---|---|", *(f"| {title} | {value} |" for title, value in rows.items())])


def _licence(facts: Facts) -> str:
    if _is_embedded(facts):
        return "MIT: backbone and images were made by the mtlora_lite project."
    return (
        "Not stated. The weights come from a backbone and from images that have licences of their own: say here what "
        "holds, and set `license` above."
    )


def _is_embedded(facts: Facts) -> bool:
    """Whether everything that the weights were made from is this project's own."""
    return facts.backbone in EMBEDDED and facts.results is not None and facts.results["data"] == SCENES


def _data_name(results: Mapping[str, Any]) -> str:
    """What the data is called, and not where it lies on somebody's disk."""
    return "rendered scenes of mtlora_lite" if results["data"] == SCENES else Path(results["data"]).name


def _without_folders(text: str) -> str:
    return re.sub(r"(?:[A-Za-z]:)?[/\\](?:[^\s,]*[/\\])", "", text)


def _pixels(facts: Facts) -> str:
    return f"{facts.img_size[1]} x {facts.img_size[0]} pixels"
