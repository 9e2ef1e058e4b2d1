"""What a task is: one row of a table per dense prediction task.

Everything that differs between tasks (outputs, target, loss, headline metric, colours) stands here as
data, so that no other file needs an ``if task == ...``. Losses, metrics, decoders and figures look their
part up by the words in these rows; a new task is a new row.

Targets, everywhere in the package:

==============  ==================  ===========================================================
target kind     shape               values
==============  ==================  ===========================================================
``classes``     (B, 1, H, W)        integer class ids, 255 = ignore
``binary``      (B, 1, H, W)        0 or 1
``directions``  (B, 3, H, W)        unit vectors, 255 in all three channels = invalid
``metres``      (B, 1, H, W)        metres, 255 = invalid
==============  ==================  ===========================================================
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

#: What a target holds where it says nothing: neither losses nor scores look there.
IGNORE_INDEX = 255

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv monitor",
)  # fmt: skip
PART_CLASSES = ("background", "head", "torso", "upper arm", "lower arm", "upper leg", "lower leg")


def voc_palette(num_colors: int = 256) -> tuple[tuple[int, int, int], ...]:
    """The PASCAL VOC colours: the bits of the class id, spread over the high bits of red, green and blue."""

    def color(index: int) -> tuple[int, int, int]:
        rgb = [0, 0, 0]
        for bit in range(8):  # three bits of the id at a time, from the highest colour bit down
            for channel in range(3):
                rgb[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
        return tuple(rgb)

    return tuple(color(index) for index in range(num_colors))


# Paul Tol's "bright" scheme: distinguishable with the common forms of colour blindness.
PART_PALETTE = (
    (0, 0, 0), (238, 102, 119), (68, 119, 170), (34, 136, 51), (204, 187, 68), (102, 204, 238), (170, 51, 119),
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """One dense prediction task.

    Attributes:
        key: the name used in code, files and on the command line.
        title: the name shown to people.
        target: the kind of target, see the table at the top of this file.
        channels: outputs per pixel (PASCAL-Context; other data sets may override it, e.g. NYUD semseg 40).
        loss: key into ``losses.LOSSES``.
        loss_weight: the paper recipe's weight in the total loss.
        metric: headline metric, a key of what ``build_metrics(...).compute()[task]`` returns.
        higher_is_better: direction of that metric; Δm takes its sign from here.
        unit: what the metric is measured in, for tables.
        color: the task's colour in every figure (Okabe-Ito, colour-blind-safe).
        classes: class names in the order of ids; empty where the target has none.
        palette: an RGB colour per class id; empty where the target has none.
    """

    key: str
    title: str
    target: str
    channels: int
    loss: str
    loss_weight: float
    metric: str
    higher_is_better: bool
    unit: str
    color: str
    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()

    @property
    def target_channels(self) -> int:
        """Channels of the target map: three for directions, one for everything else."""
        return 3 if self.target == "directions" else 1


_ROWS = (
    Task("semseg", "Semantic segmentation", "classes", 21, "cross_entropy", 1.0, "mIoU", True, "%", "#0072B2",
         VOC_CLASSES, voc_palette(21)),
    Task("human_parts", "Human parts", "classes", 7, "cross_entropy", 2.0, "mIoU", True, "%", "#E69F00",
         PART_CLASSES, PART_PALETTE),
    Task("sal", "Saliency", "binary", 1, "balanced_bce", 5.0, "mIoU", True, "%", "#009E73"),
    Task("normals", "Surface normals", "directions", 3, "direction_l1", 10.0, "mean", False, "°", "#CC79A7"),
    Task("edge", "Edges", "binary", 1, "edge_bce", 50.0, "F_1px", True, "%", "#D55E00"),
    Task("depth", "Depth", "metres", 1, "l1", 1.0, "rmse", False, "m", "#56B4E9"),
)  # fmt: skip
#: Every task by its key.
TASKS: dict[str, Task] = {task.key: task for task in _ROWS}


def get_task(key: str) -> Task:
    """Look a task up by its key; an unknown key raises ``ValueError`` naming the nearest and all that exist."""
    if key in TASKS:
        return TASKS[key]
    near = get_close_matches(str(key), TASKS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"Unknown task {key!r}.{hint} Tasks: {', '.join(TASKS)}.")


def check_tasks(keys: str | Iterable[str]) -> tuple[str, ...]:
    """Return ``keys`` as a tuple of known, distinct task keys in the given order, or raise ``ValueError``."""
    if isinstance(keys, str):
        keys = (keys,)
    keys = tuple(keys)
    if not keys:
        raise ValueError(f"No task given. Tasks: {', '.join(TASKS)}.")
    for key in keys:
        get_task(key)
    repeated = sorted({key for key in keys if keys.count(key) > 1})
    if repeated:
        raise ValueError(f"Each task can be given once; repeated: {', '.join(repeated)}.")
    return keys


def task_channels(keys: Iterable[str], overrides: Mapping[str, int] | None = None) -> dict[str, int]:
    """Outputs per pixel of each task, with ``overrides`` (e.g. ``{"semseg": 40}`` for NYUD) applied."""
    overrides = overrides or {}
    return {key: overrides.get(key, get_task(key).channels) for key in check_tasks(keys)}
