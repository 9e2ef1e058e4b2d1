"""The committed files of ``data/``: what the page beside them says, and what the code still makes."""

import hashlib
import re

import numpy as np
import pytest
from PIL import Image

import mtlora_lite as ml
from mtlora_lite import pascal_mt, sample
from mtlora_lite.layouts import read_image
from mtlora_lite.paths import data_dir
from mtlora_lite.scenes import render_crop, render_scene
from mtlora_lite.tasks import TASKS, VOC_CLASSES

FOLDER = data_dir()
CHANGED = "the appearance of the scenes has changed: raise scenes.VERSION, `make sample`, and pre-train again"


# ---------------------------------------------------------------------------------------------------------- checksums


def table(heading):
    """{entry: last column} of the table under a heading of data/README.md."""
    text = (FOLDER / "README.md").read_text().split(f"# {heading}")[1].split("\n#")[0]
    return dict(re.findall(r"^\| `([\w./]+)` +\|.*?([^|]+)\|$", text, re.MULTILINE))


def sha256(path):
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    files = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    listing = "".join(f"{sha256(path / file)}  ./{file}\n" for file in files)
    return hashlib.sha256(listing.encode()).hexdigest()


@pytest.mark.parametrize("entry", table("Checksums"))
def test_checksums(entry):
    assert table("Checksums")[entry].strip() == f"`{sha256(FOLDER / entry)}`"


def test_everything_here_is_described_and_has_a_checksum():
    grows = {"cache/", "benchmarks/"}  # on the reader's machine
    here = {path.name + "/" * path.is_dir() for path in FOLDER.iterdir()} - grows - {"README.md"}
    assert set(table("Checksums")) == here
    assert set(table("What lies here")) == here


def test_the_checksum_of_a_folder_sees_contents_and_names(tmp_path):
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").write_text("y")
    before = sha256(tmp_path)
    (tmp_path / "b").rename(tmp_path / "c")
    renamed = sha256(tmp_path)
    (tmp_path / "c").write_text("z")
    assert len({before, renamed, sha256(tmp_path)}) == 3


# --------------------------------------------------------------------------------------------------------- the scenes


@pytest.mark.parametrize("split", sample.SPLITS)
def test_the_renderer_still_makes_the_sample(split, tmp_path):
    """To within a few pixels: another processor may round one differently."""
    data = ml.PascalContext(FOLDER / sample.SAMPLE, split, TASKS)
    assert len(data) == len(sample.SPLITS[split])
    for committed, index in zip(data, sample.SPLITS[split], strict=True):
        rendered = render_scene(sample.WORLD, index, sample.SIZE)
        for task in ("semseg", "human_parts", "sal", "edge"):
            assert (committed[task] != rendered[task]).sum() <= 20, CHANGED
        assert np.mean(np.abs(committed["depth"] - rendered["depth"]) > 0.002) < 0.001, CHANGED
        assert np.mean(np.abs(committed["normals"] - rendered["normals"]) > 0.02) < 0.001, CHANGED
        pascal_mt.write_image(tmp_path / "photo.jpg", rendered["image"])
        image = read_image(tmp_path / "photo.jpg").astype(int)
        assert np.abs(committed["image"] - image).mean() < 0.1, CHANGED


def test_the_sample_shows_all_tasks_and_is_small():
    size = sum(path.stat().st_size for path in (FOLDER / sample.SAMPLE).rglob("*") if path.is_file())
    assert size < 3e6
    data = ml.PascalContext(FOLDER / sample.SAMPLE, "train", TASKS)
    assert (np.stack([scene["human_parts"] for scene in data]) == 1).any()
    labels = np.unique(np.stack([scene["semseg"] for scene in data]))
    assert len(labels) >= 12


def test_a_sample_written_again_is_the_same_files(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "SPLITS", {"train": range(2), "val": range(16, 17)})
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "leftover").touch()
    sample.write_sample(tmp_path / "old")
    sample.write_sample(tmp_path / "new")
    assert sha256(tmp_path / "old") == sha256(tmp_path / "new")
    assert pascal_mt.read_split(tmp_path / "new", "val") == ["000016"]


def test_the_contact_sheet_is_the_crops():
    with Image.open(FOLDER / sample.CONTACT_SHEET) as image:
        sheet = np.asarray(image.convert("RGB")).astype(int)
    size, classes = sample.CROP_SIZE, len(VOC_CLASSES) - 1
    margin = sheet.shape[1] - 10 * size
    assert sheet.shape[0] == classes * size
    for row, column in ((0, 0), (7, 3), (19, 9)):
        crop, class_id = render_crop(0, row + classes * column, size)
        assert class_id == row + 1
        shown = sheet[row * size :, margin + column * size :][:size, :size]
        assert np.abs(shown - crop).mean() < 0.1, CHANGED
    assert (FOLDER / sample.CONTACT_SHEET).stat().st_size <= 1.6e6
