"""What an image costs by every method, relative to MTLoRA: inference as it is deployed, and a training step.

    OMP_NUM_THREADS=1 python tests/benchmarks/methods.py [--size 224] [--rounds 5]

Swin-T and HRNet heads, the paper's four tasks, two images, options as they come. All methods live in one process and
take turns, round by round; a ratio is the median over the rounds of two times of the same round, and a time is that of
this process alone (``time.process_time``), so that a busy machine changes little. Methods that can be merged for all
tasks at once are merged for inference.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent))
from model import BACKBONE, ORDER, forward_step, targets, training_step

import mtlora_lite as ml
from mtlora_lite.methods import METHODS
from mtlora_lite.study.cost import kept_bytes

TASKS, BATCH, BASELINE = ORDER[:4], 2, "mtlora"
SPECIAL = {"vpt deep": ("vpt", {"deep": True})}  # beside a row per method


def build(method: str, size: int, **options: object) -> ml.MultiTaskModel:
    """A model that has learned something, so that nothing is zero."""
    torch.manual_seed(0)
    tasks = TASKS[:1] if method == "single_task" else TASKS
    model = ml.build_model(method, backbone=BACKBONE, tasks=tasks, img_size=size, pretrained=False, **options)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.01 * torch.randn_like(parameter))
    return model.eval()


def medians(steps: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median over the rounds of the time of each step relative to the baseline's of the same round."""
    ratios = {name: [] for name in steps}
    for step in steps.values():
        step()  # the first call is slower
    for _ in tqdm(range(rounds), disable=None):
        times = {}
        for name, step in steps.items():
            start = time.process_time()
            step()
            times[name] = time.process_time() - start
        for name, seconds in times.items():
            ratios[name].append(seconds / times[BASELINE])
    return {name: statistics.median(each) for name, each in ratios.items()}


def main() -> None:
    """Print a row per method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images = torch.randn(BATCH, 3, arguments.size, arguments.size)
    labels = targets(BATCH, arguments.size, "cpu")
    rows = {name: (name, {}) for name in METHODS} | SPECIAL
    models = {name: build(method, arguments.size, **options) for name, (method, options) in rows.items()}
    training = {name: training_step(model, images, labels, "fp32") for name, model in models.items()}
    train = medians(training, arguments.rounds)
    kept = {name: kept_bytes(model, training[name]) for name, model in models.items()}
    predicting = {name: forward_step(model.eval().merge(), images, "fp32") for name, model in models.items()}
    infer = medians(predicting, arguments.rounds)
    print(f"{'':16}inference  training step  activations kept, relative to {BASELINE}")
    for name in models:
        print(f"{name:16}{infer[name]:9.2f}{train[name]:15.2f}{kept[name] / kept[BASELINE]:18.2f}")


if __name__ == "__main__":
    main()
