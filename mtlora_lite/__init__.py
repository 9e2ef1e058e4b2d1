"""mtlora_lite: parameter-efficient multi-task learning for dense vision, to read, run, extend and reproduce."""

from mtlora_lite import lm
from mtlora_lite.config import TrainConfig, preset
from mtlora_lite.counts import parameter_report
from mtlora_lite.datasets import NYUD, PascalContext, Scenes
from mtlora_lite.engine import train
from mtlora_lite.evaluation import evaluate
from mtlora_lite.losses import MultiTaskLoss
from mtlora_lite.metrics import build_metrics, delta_m, headline
from mtlora_lite.model import MultiTaskModel, build_model
from mtlora_lite.mtl_lora import MTLLoRALinear
from mtlora_lite.official import load_official, save_official
from mtlora_lite.tasks import IGNORE_INDEX, TASKS

__all__ = [
    "IGNORE_INDEX",
    "NYUD",
    "TASKS",
    "MTLLoRALinear",
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
    "lm",
    "load_official",
    "parameter_report",
    "preset",
    "save_official",
    "train",
]
