"""How quickly samples are read, from the files as they were handed out and from the prepared folder.

    python tests/benchmarks/loader.py [--size 375 500] [--count 24] [--workers 2]

Renders scenes of two sizes, that of the embedded set and that of most PASCAL photos, and prints one table: processor
milliseconds to read all tasks of a sample without transforms (the median), bytes per image, and images per second of a
data loader that augments and resizes to 448 pixels.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from torch.utils.data import DataLoader

from mtlora_lite.datasets import FolderDataset, PascalContext, Scenes
from mtlora_lite.prepared import Prepared, plan, prepare
from mtlora_lite.tasks import TASKS
from mtlora_lite.transforms import collate, train_transform

PAPER_TASKS = ("semseg", "normals", "sal", "human_parts")
AUGMENT = ("flip", "rotate")


def milliseconds(readers: list[FolderDataset]) -> list[float]:
    """Median processor time to read a sample, of each reader; unlike the clock's, it is the same on a busy machine."""
    times = [[] for _ in readers]
    for image_id in readers[0].ids * 2:
        for reader, taken in zip(readers, times, strict=True):
            start = time.process_time()
            reader.load(image_id)
            taken.append(1e3 * (time.process_time() - start))
    return [median(taken) for taken in times]


def images_per_second(dataset: FolderDataset, workers: int) -> float:
    """What a loader of batches of 4 yields, its start aside."""
    batches = iter(DataLoader(dataset, 4, collate_fn=collate, num_workers=workers))
    next(batches)
    start = time.perf_counter()
    count = sum(len(batch["image"]) for batch in batches)
    return count / (time.perf_counter() - start)


def rows(folder: Path, size: tuple[int, int], count: int, workers: int) -> Iterator[str]:
    """The rows of the table for one size of images."""
    raw = Scenes("train", size=size, count=count, root=folder).root
    ready = folder / f"prepared-{size}"
    prepare(plan(raw, ready))
    for tasks in (tuple(TASKS), PAPER_TASKS):
        plain = [PascalContext(raw, "train", tasks), Prepared(ready, "train", tasks)]
        times = milliseconds(plain)
        for dataset, taken in zip(plain, times, strict=True):
            dataset.transform = train_transform(448, AUGMENT)
            title = f"{size[1]} x {size[0]}, {len(tasks)} tasks, {'raw' if dataset is plain[0] else 'prepared'}"
            rate = images_per_second(dataset, workers)
            yield f"{title:32} {taken:9.2f} {times[0] / taken:7.1f} x {bytes_of(dataset):10,.0f} {rate:10.1f}"


def bytes_of(dataset: FolderDataset) -> float:
    """Bytes on disk per image, of all tasks."""
    files = [path for path in dataset.root.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files) / len(dataset)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=2, default=(375, 500), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # a list of few scenes may lack something
    print(f"{'':32} {'CPU ms':>9} {'faster':>9} {'bytes':>10} {'images/s':>10}")
    with tempfile.TemporaryDirectory() as folder:
        for size in ((128, 128), tuple(options.size)):
            for row in rows(Path(folder), size, options.count, options.workers):
                print(row, flush=True)


if __name__ == "__main__":
    main()
