"""What scoring an image costs at 448 x 448, beside the forward pass of the model that is scored.

Run as ``python tests/benchmarks/meters.py``. Times are milliseconds of one processor per image, medians of several
rounds, and count only this program's own work, so that a busy machine does not change them much.
"""

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from mtlora_lite.metrics import EDGE_TOLERANCE, build_metrics
from mtlora_lite.metrics.boundary import boundary_counts
from mtlora_lite.model import build_model
from mtlora_lite.pascal_mt import edges_from_label_map
from mtlora_lite.tasks import TASKS

SIZE = (448, 448)
BATCH = 4
ROUNDS = 3


def milliseconds(function: Callable[[], object], images: int, rounds: int = ROUNDS) -> float:
    """Median over the rounds, per image, after a round that does not count."""
    times = []
    for _ in range(rounds + 1):
        start = time.process_time()
        function()
        times.append(1000 * (time.process_time() - start) / images)
    return median(times[1:])


def label_map(rng: np.random.Generator, regions: int = 60) -> np.ndarray:
    """A map of some sixty regions with wavy borders, about as many edges as in a photograph."""
    wave = gaussian_filter(rng.normal(size=(2, *SIZE)), (0, 6, 6)) * 60
    points = rng.random((regions, 2)) * SIZE
    y, x = np.indices(SIZE) + wave
    return np.argmin([(y - a) ** 2 + (x - b) ** 2 for a, b in points], axis=0)


def batch() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Targets made of regions, and predictions that are mostly right: blurred edges, noise everywhere."""
    rng = np.random.default_rng(0)
    maps = np.stack([label_map(rng) for _ in range(BATCH)])[:, None]  # (B, 1, H, W)
    edge = np.stack([edges_from_label_map(one[0])[None] for one in maps])
    normals = rng.normal(size=(60, 3))[maps[:, 0]].transpose(0, 3, 1, 2)
    targets = {
        "semseg": maps % 21,
        "human_parts": maps % 7,
        "sal": maps % 3 == 0,
        "normals": normals / np.linalg.norm(normals, axis=1, keepdims=True),
        "edge": edge,
        "depth": 1 + maps / 10,
    }
    noise = {key: rng.normal(size=(BATCH, task.channels, *SIZE)) for key, task in TASKS.items()}
    logits = {key: noise[key] + 2 * targets[key] for key in ("sal", "normals", "depth")}
    for key in ("semseg", "human_parts"):
        logits[key] = noise[key] + 2 * (targets[key] == np.arange(TASKS[key].channels)[:, None, None])
    smooth = gaussian_filter(noise["edge"], (0, 0, 3, 3))
    logits["edge"] = 30 * gaussian_filter(edge.astype(float), (0, 0, 2, 2)) - 2.5 + 0.8 * smooth / smooth.std()
    return {k: torch.tensor(v).float() for k, v in logits.items()}, {k: torch.tensor(v) for k, v in targets.items()}


@torch.inference_mode()
def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    logits, targets = batch()
    rows = {}
    for task in TASKS:
        metrics = {protocol: build_metrics([task], protocol=protocol) for protocol in ("paper", "standard")}
        rows[task] = [milliseconds(lambda m=m: m.update(logits, targets), BATCH) for m in metrics.values()]
    rows["all of them"] = [sum(column) for column in zip(*rows.values(), strict=True)]

    probability, edge = logits["edge"].sigmoid()[:, 0].numpy(), targets["edge"][:, 0].bool().numpy()
    counts = [
        milliseconds(lambda i=i: boundary_counts(probability[i], edge[i], EDGE_TOLERANCE["pascal"]), 1, 1)
        for i in range(BATCH)
    ]
    rows["odsF and oisF, in processes"] = [median(counts)] * 2
    tasks = ("semseg", "human_parts", "sal", "normals")
    model = build_model(backbone="swin_tiny_patch4_window7_224", tasks=tasks, img_size=SIZE[0], pretrained=False).eval()
    image = torch.randn(1, 3, *SIZE)
    rows["forward, Swin-T, four tasks"] = [milliseconds(lambda: model(image), 1)] * 2

    print(f"{'ms per image':30}{'paper':>10}{'standard':>10}")
    for name, values in rows.items():
        print(f"{name:30}" + "".join(f"{value:10.1f}" for value in values))


if __name__ == "__main__":
    main()
