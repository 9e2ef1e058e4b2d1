"""``mtlora data``: get a data set, look at what is there, and prepare it for training."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtlora_lite.archives import SOURCES, fetch, unpack
from mtlora_lite.paths import command
from mtlora_lite.prepared import INDEX, plan, prepare
from mtlora_lite.printing import readable
from mtlora_lite.stats import statistics
from mtlora_lite.verify import verify


@dataclass(frozen=True)
class DataConfig:
    """Get a data set, verify it, count its labels, prepare it for training."""


@dataclass(frozen=True)
class DownloadConfig:
    """Get a data set: download its archive, or take one that you have, and unpack it.

    Attributes:
        name: PASCAL_MT, NYUD_MT, or the address of another archive.
        archive: a tar or zip archive that you have, which is unpacked instead of downloading anything.
        out: the new folder for the data; if not given, one of the name of the data set.
    """

    name: str = "PASCAL_MT"
    archive: Path | None = None
    out: Path | None = None


@dataclass(frozen=True)
class VerifyConfig:
    """Decode every file of a data folder, and say what is complete, what is missing and what can be trained.

    The exit status is 0 if something can be trained and no file is broken, and 1 if not.

    Attributes:
        folder: PASCAL_MT or NYUD_MT, whatever its name.
        workers: processes; if not given, one per processor.
    """

    folder: Path
    workers: int | None = None


@dataclass(frozen=True)
class PrepareConfig:
    """Write a copy of a data folder that training reads many times faster, and larger: images and labels decoded.

    Interrupted, it goes on where it was when it is called again. Train on it with: mtlora train --data OUT

    Attributes:
        folder: PASCAL_MT or NYUD_MT, whatever its name; nothing is written there.
        out: the new folder for the copy; there is no default.
        on_error: skip leaves out images that cannot be read; raise ends with an error after all others.
        workers: processes; if not given, one per processor.
    """

    folder: Path
    out: Path | None = None
    on_error: str = "raise"
    workers: int | None = None


@dataclass(frozen=True)
class StatsConfig:
    """Count what is in the labels of a data folder: sizes, classes, and how much is ignored.

    Attributes:
        folder: PASCAL_MT or NYUD_MT, whatever its name.
        split: list of ids.
        workers: processes; if not given, one per processor.
    """

    folder: Path
    split: str = "train"
    workers: int | None = None


def run_download(config: DownloadConfig) -> int:
    """Run ``data download``."""
    source = SOURCES.get(config.name)
    is_address = config.name.startswith(("http://", "https://"))
    if not (source or is_address):
        raise ValueError(
            f"Unknown data set {config.name!r}. Data sets: {', '.join(SOURCES)}, or an address http(s)://…"
        )
    out = config.out or Path(Path(config.name).name.split(".")[0])
    if config.archive:
        archive = config.archive
    else:
        url = source.url if source else config.name
        archive, digest = fetch(url, source.sha256 if source else None)
        print(f"{archive}\nSHA-256 {digest}{'' if source and source.sha256 else ' (nobody publishes one; remembered)'}")
    count = unpack(archive, out)
    terms = f" Terms: {source.terms}." if source else ""
    print(f"Unpacked {count:,} files to {out}.{terms}")
    print(f"Next: {command()} data verify {out}")
    return 0


def run_verify(config: VerifyConfig) -> int:
    """Run ``data verify``."""
    report = verify(config.folder, workers=config.workers)
    print("\n".join(report.lines()))
    return 0 if report.is_usable else 1


def run_prepare(config: PrepareConfig) -> int:
    """Run ``data prepare``."""
    if config.out is None:
        raise ValueError(f"Say where the copy is to be: {command()} data prepare {config.folder} --out FOLDER")
    work = plan(config.folder, config.out)
    print(f"{len(work.todo):,} images to prepare, about {readable(work.size)} in {config.out}.", flush=True)
    left_out = prepare(work, on_error=config.on_error, workers=config.workers)
    if left_out:
        print(f"Left out {len(left_out)} images that cannot be read:", *left_out[:10], sep="\n  ")
    print(f"Wrote {config.out / INDEX} and samples/.")
    print(f"Next: {command()} train --data {config.out}")
    return 0


def run_stats(config: StatsConfig) -> int:
    """Run ``data stats``."""
    print("\n".join(statistics(config.folder, config.split, workers=config.workers).lines()))
    return 0


# A command of `data`: its options, whose docstring is its help, and what it does with them.
DATA_COMMANDS: dict[str, tuple[type, Callable[[Any], int]]] = {
    "download": (DownloadConfig, run_download),
    "verify": (VerifyConfig, run_verify),
    "prepare": (PrepareConfig, run_prepare),
    "stats": (StatsConfig, run_stats),
}
