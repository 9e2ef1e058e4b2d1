"""Where the numbers of a run go besides its own files: to TensorBoard where that is installed, to others when asked.

Accelerate knows the trackers; its ``log_with`` takes them by these names.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration

from mtlora_lite.extras import require
from mtlora_lite.names import check_known
from mtlora_lite.runs import TENSORBOARD

TRACKERS = ("tensorboard", "wandb")
PROJECT = "mtlora_lite"


def choose_trackers(names: Sequence[str] | None) -> tuple[str, ...]:
    """The trackers of a run: those named, or TensorBoard if none are named and it is installed.

    Raises:
        ValueError: a name is unknown.
        MissingExtraError: one that was named is not installed.
    """
    if names is None:
        return ("tensorboard",) if find_spec("tensorboard") else ()
    for name in names:
        check_known("tracker", name, TRACKERS)
        require(f"Tracking with {name}", name)
    return tuple(names)


def settings(names: Sequence[str], out: Path) -> dict[str, Any]:
    """What Accelerate's handle is made with so that it keeps these trackers; TensorBoard's files lie in ``out``."""
    files = ProjectConfiguration(project_dir=str(out), logging_dir=str(out / TENSORBOARD))
    return {"log_with": list(names), "project_config": files} if names else {}


def begin(accelerator: Accelerator, options: Mapping[str, Any], out: Path) -> None:
    """Start the trackers of the run in ``out`` with its options, as JSON holds them."""
    if accelerator.log_with:
        plain = {name: value if isinstance(value, (int, float, str)) else str(value) for name, value in options.items()}
        accelerator.init_trackers(PROJECT, plain, {"wandb": {"dir": str(out), "name": out.resolve().name}})


def end(accelerator: Accelerator) -> None:
    """Let the trackers write what they have not written yet."""
    for tracker in accelerator.trackers:
        tracker.finish()
