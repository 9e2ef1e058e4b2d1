"""mtlora_lite: parameter-efficient multi-task learning for dense vision, to read, run, extend and reproduce."""

from mtlora_lite.datasets import PascalContext, Scenes
from mtlora_lite.engine import TrainConfig, evaluate, train
from mtlora_lite.losses import MultiTaskLoss
from mtlora_lite.metrics import build_metrics, delta_m, headline
from mtlora_lite.model import MultiTaskModel, build_model, parameter_report
from mtlora_lite.tasks import IGNORE_INDEX, TASKS

__all__ = [
    "IGNORE_INDEX",
    "TASKS",
    "MultiTaskLoss",
    "MultiTaskModel",
    "PascalContext",
    "Scenes",
    "TrainConfig",
    "build_metrics",
    "build_model",
    "delta_m",
    "evaluate",
    "headline",
    "parameter_report",
    "train",
]
