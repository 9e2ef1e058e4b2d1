"""What many tasks cost: time and memory of MTLoRA beside the plain backbone and single-task full fine-tuning.

    python tests/benchmarks/model.py [--device cuda] [--rounds 7] [--clock processor] [--out data/benchmarks]

Swin-T and HRNet heads, the paper's four tasks first. All candidates of a table live in one process and take turns,
round by round; a ratio is the median over the rounds of two times of the same round, so that a busy machine changes it
little. On a very busy one count only this program's own work: ``OMP_NUM_THREADS=1 ... --clock processor``. Before
anything is timed, the very model that is timed, merged and unmerged, is held against the naive oracle of the tests. On
CUDA every table is printed in float32, bfloat16 and compiled bfloat16.

Memory is, on a CPU, what autograd keeps between forward and backward (every storage once, parameters aside), and on
CUDA the peak of a step above what was allocated before it.
"""

import argparse
import functools
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import date
from itertools import product
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # the helpers of the tests
from oracle import Setting, task_pyramids
from test_oracle import oracle_name

import mtlora_lite as ml
from mtlora_lite.records import write_atomically
from mtlora_lite.study.cost import kept_bytes, peak_bytes
from mtlora_lite.tasks import TASKS

ROOT = Path(__file__).parents[2]
BACKBONE = "swin_tiny_patch4_window7_224"
ORDER = ("semseg", "normals", "sal", "human_parts", "edge", "depth")  # the paper's four, and two more
RANKS = (4, 16, 64, 128)
PRECISIONS = {"cpu": ("fp32",), "cuda": ("fp32", "bf16", "bf16+compile")}
CLASSES = {"semseg": 21, "human_parts": 7}

Step = Callable[[], object]


@functools.cache
def build(method: str, num_tasks: int, size: int, device: str, merged: bool = False, **options) -> ml.MultiTaskModel:
    """A model whose updates are not zero, as after training; equal arguments give the same one."""
    torch.manual_seed(0)
    model = ml.build_model(
        method, backbone=BACKBONE, tasks=ORDER[:num_tasks], img_size=size, pretrained=False, **options
    )
    for name, parameter in model.named_parameters():
        if "lora_" in name and "_B" in name:
            nn.init.normal_(parameter, std=0.01)
    model = model.to(device).eval()
    return model.merge() if merged else model


def targets(batch: int, size: int, device: str) -> dict[str, Tensor]:
    """Random labels of all tasks."""
    made = {"normals": F.normalize(torch.randn(batch, 3, size, size), dim=1)}
    for key in ORDER:
        if key != "normals":
            made[key] = torch.randint(0, CLASSES.get(key, 2), (batch, 1, size, size))
    return {key: value.to(device) for key, value in made.items()}


def check(size: int, device: str) -> float:
    """Largest deviation of the timed model, unmerged and merged, from the oracle; more than 1e-3 is an error."""
    model = build("mtlora", 4, size, device)
    images = torch.randn(1, 3, size, size, device=device)
    state = {oracle_name(name): value for name, value in model.state_dict().items()}
    scale = dict.fromkeys(model.tasks, (4.0,) * 4)
    setting = Setting(model.tasks, (2, 2, 6, 2), (3, 6, 12, 24), 7, (4.0,) * 4, scale, "matrix")
    worst = 0.0
    with torch.no_grad():
        pyramids = task_pyramids(state, images, setting)
        for outputs in (model(images), build("mtlora", 4, size, device, merged=True)(images)):
            for task, logits in outputs.items():
                expected = naive_decoder(model.decoders[task], pyramids[task], size)
                torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-3)
                worst = max(worst, float((logits - expected).abs().max()))
    return worst


def naive_decoder(decoder: nn.Module, maps: list[Tensor], size: int) -> Tensor:
    """The HRNet head as it is written down: resize, project, concatenate, head, resize."""
    resize = functools.partial(F.interpolate, mode="bilinear", align_corners=False)
    resized = [resize(features, size=maps[0].shape[-2:]) for features in maps]
    projected = [F.conv2d(features, conv.weight) for features, conv in zip(resized, decoder.fusion.convs, strict=True)]
    return resize(nn.Sequential(*decoder.head)(torch.cat(projected, dim=1)), size=(size, size))


@contextmanager
def precision(name: str, device: str) -> Iterator[None]:
    """What a step runs in."""
    with nullcontext() if name == "fp32" else torch.autocast(device, torch.bfloat16):
        yield


def forward_step(model: Callable, images: Tensor, kind: str) -> Step:
    """One forward pass without gradients."""
    model = torch.compile(model) if kind.endswith("compile") else model

    def step() -> None:
        with torch.inference_mode(), precision(kind, images.device.type):
            model(images)

    return step


def training_step(model: ml.MultiTaskModel, images: Tensor, labels: dict[str, Tensor], kind: str) -> Step:
    """Forward, losses, backward and AdamW; the memory of the activations is in ``step.saved`` after a call."""
    criterion, forward = ml.MultiTaskLoss(model.tasks), torch.compile(model) if kind.endswith("compile") else model
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-6)

    def step() -> None:
        model.train()
        with precision(kind, images.device.type):
            total, _ = criterion(forward(images), labels)
        total.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def seconds(step: Step, options: argparse.Namespace) -> float:
    """One call."""
    start = CLOCKS[options.clock]()
    step()
    if options.device == "cuda":
        torch.cuda.synchronize()
    return CLOCKS[options.clock]() - start


def take_turns(steps: dict[str, Step], options: argparse.Namespace, title: str) -> dict[str, np.ndarray]:
    """Seconds of every step in every round, after a round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    with tqdm(total=(options.rounds + 1) * len(steps), desc=f"{title:<24}", leave=False) as bar:
        for _ in range(options.rounds + 1):
            for name, step in steps.items():
                times[name].append(seconds(step, options))
                bar.update()
    return {name: np.array(taken[1:]) for name, taken in times.items()}


def table(
    title: str, times: dict[str, np.ndarray], columns: dict[str, str], images: int, memory: dict[str, int] | None = None
) -> dict[str, dict[str, float]]:
    """Print the rows of a table and return them; ``columns`` names each ratio and what it is relative to."""
    heads = "".join(f"{name:>18}" for name in columns)
    print(f"\n{title:34}{'ms':>8}{'IQR':>8}{'images/s':>10}{heads}{'memory MB' if memory else '':>12}")
    rows = {}
    for name, taken in times.items():
        low, middle, high = np.percentile(1e3 * taken, (25, 50, 75))
        row = {"ms": middle, "iqr": high - low, "images_per_s": 1e3 * images / middle}
        row |= {head: float(np.median(taken / times[base])) for head, base in columns.items()}
        line = f"{name:34}{middle:8.0f}{high - low:8.0f}{row['images_per_s']:10.1f}"
        line += "".join(f"{row[head]:18.2f}" for head in columns)
        if memory:
            row["memory_mb"] = memory[name] / 1e6
            line += f"{row['memory_mb']:12.0f}"
        print(line, flush=True)
        rows[name] = {key: round(value, 4) for key, value in row.items()}
    return rows


def inference(options: argparse.Namespace, kind: str) -> dict:
    """One forward pass: the plain backbone, one to six tasks merged, and four that are not."""
    images = torch.randn(options.batch, 3, options.size, options.size, device=options.device)
    torch.manual_seed(0)
    plain = timm.create_model(BACKBONE, img_size=options.size, num_classes=0).to(options.device).eval()
    models = {
        f"{count} tasks, merged": build("mtlora", count, options.size, options.device, merged=True)
        for count in range(1, 7)
    }
    models["4 tasks"] = build("mtlora", 4, options.size, options.device)
    models["4 tasks, decoders only"] = build("decoders_only", 4, options.size, options.device)
    steps = {"plain backbone": forward_step(plain.forward_features, images, kind)}
    steps |= {name: forward_step(model, images, kind) for name, model in models.items()}
    title = f"inference, {kind}"
    times = take_turns(steps, options, title)
    columns = {"/ plain backbone": "plain backbone", "/ one task": "1 tasks, merged"}
    return table(title, times, columns, options.batch)


def ranks(options: argparse.Namespace, kind: str) -> dict:
    """One forward pass of four tasks, merged or not, over ranks of the shared update, and over private ones."""
    images = torch.randn(options.batch, 3, options.size, options.size, device=options.device)
    steps = {}
    for merged, rank in product((True, False), RANKS):
        model = build("mtlora", 4, options.size, options.device, merged=merged, rank=rank)
        steps[f"rank {rank}{', merged' * merged}"] = forward_step(model, images, kind)
    for rank in RANKS[1:3]:
        model = build("mtlora", 4, options.size, options.device, merged=True, rank=RANKS[0], task_rank=rank)
        steps[f"rank {RANKS[0]}, private {rank}, merged"] = forward_step(model, images, kind)
    title = f"four tasks, {kind}"
    times = take_turns(steps, options, title)
    return table(title, times, {"/ rank 4, merged": "rank 4, merged"}, options.batch)


def training(options: argparse.Namespace, kind: str) -> dict:
    """One step: full fine-tuning of a model for one task, and MTLoRA for one, four and six."""
    images = torch.randn(options.batch, 3, options.size, options.size, device=options.device)
    labels = targets(options.batch, options.size, options.device)
    models = {"single-task full fine-tuning": build("single_task", 1, options.size, options.device)}
    models |= {f"{count} tasks": build("mtlora", count, options.size, options.device) for count in (1, 4, 6)}
    steps = {name: training_step(model, images, labels, kind) for name, model in models.items()}
    if options.device == "cuda":
        memory = {name: [step(), peak_bytes(step)][1] for name, step in steps.items()}
    else:
        memory = {name: kept_bytes(models[name], step) for name, step in steps.items()}
    title = f"training step, {kind}"
    times = take_turns(steps, options, title)
    columns = {"/ full, one task": "single-task full fine-tuning", "/ 1 tasks": "1 tasks"}
    return table(title, times, columns, options.batch, memory)


def machine(device: str) -> dict[str, str | int]:
    """Where the numbers are from."""
    cpu = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return {
        "date": date.today().isoformat(),
        "commit": commit.stdout.strip(),
        "cpu": cpu[0] if cpu else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else "",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
    }


def _threads(where: dict[str, str | int]) -> str:
    """A part of the record's name: on a CPU the numbers are those of some threads."""
    return "" if where["gpu"] else f"-{where['threads']}-thread{'s' * (where['threads'] != 1)}"


def main() -> None:
    """Print the tables and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--batch", type=int, help="images a step (default: 2 on a CPU, 32 on CUDA)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="processor: on a busy machine, with one thread")
    parser.add_argument("--tables", nargs="+", choices=("inference", "ranks", "training"), help="default: all")
    parser.add_argument("--out", type=Path, help="folder of the record, <date>-<device>....json")
    options = parser.parse_args()
    options.batch = options.batch or (2 if options.device == "cpu" else 32)
    assert set(ORDER) == set(TASKS)
    where = machine(options.device)
    print(", ".join(f"{key} {value}" for key, value in where.items() if value))
    worst = check(options.size, options.device)
    print(f"unmerged = merged = oracle: largest deviation of a logit {worst:.1e}", flush=True)
    record = where | {"setting": {"backbone": BACKBONE, **vars(options), "out": None}, "largest_deviation": worst}
    for kind in PRECISIONS[options.device]:
        for make in (inference, training, ranks):
            if options.tables is None or make.__name__ in options.tables:
                record[f"{make.__name__}, {kind}"] = make(options, kind)
                if options.out:  # after every table, so that nothing is lost
                    options.out.mkdir(parents=True, exist_ok=True)
                    path = options.out / f"{where['date']}-{options.device}{_threads(where)}.json"
                    write_atomically(path, lambda path: path.write_text(json.dumps(record, indent=1) + "\n"))
    if options.out:
        print(f"\nWritten: {path}")


if __name__ == "__main__":
    main()
