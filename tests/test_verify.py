"""Verification and statistics of a data folder: what is said is what is there."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtlora_lite import pascal_mt
from mtlora_lite.datasets import PascalContext
from mtlora_lite.layouts import BrokenFileError
from mtlora_lite.paths import data_dir
from mtlora_lite.prepared import plan, prepare
from mtlora_lite.stats import statistics
from mtlora_lite.verify import verify

SHARED = Path(__file__).parents[1].parent / "shared"
IDS = [f"{index:06d}" for index in (0, 1, 2, 16)]

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="real PASCAL files are not beside the checkout")


@pytest.fixture
def folder(tmp_path):
    """Four scenes of the sample, three to train on and one to be scored on."""
    for image_id in IDS:
        for patterns in pascal_mt.FILES.values():
            path = patterns[0].format(id=image_id)
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(data_dir() / "sample" / path, tmp_path / path)
    pascal_mt.write_split(tmp_path, "val", IDS[3:])
    pascal_mt.write_split(tmp_path, "train", IDS[:3])
    return tmp_path


def row(report, name):
    """The cells of one row of the table, what is missing as one cell."""
    line = next(line for line in report.lines() if re.match(rf"{name} ", line))
    return re.split(r"\s{2,}", line)


def test_a_whole_folder(folder):
    before = sorted(folder.rglob("*"))
    report = verify(folder, workers=1)
    assert report.is_usable
    assert report.trainable == list(pascal_mt.TARGETS)
    assert all(row(report, task) == [task, "3/3", "1/1", "-", "yes"] for task in pascal_mt.TARGETS)
    assert "List train: 3 images; that of the whole PASCAL_MT has 4,998." in report.lines()
    assert sorted(folder.rglob("*")) == before


def test_missing_files_are_counted_and_named(folder):
    (folder / "normals_distill/000001.png").unlink()
    (folder / "sal_distill/000016.png").unlink()
    shutil.rmtree(folder / "depth")
    (folder / "JPEGImages/000002.jpg").unlink()
    report = verify(folder, workers=1)
    assert row(report, "image") == ["image", "2/3", "1/1", "-", "1 of JPEGImages/<id>.jpg, the first is 000002"]
    missing = "1 of normals_distill/<id>.png, the first is 000001"
    assert row(report, "normals") == ["normals", "1/3", "1/1", "-", "partly", missing]
    assert row(report, "sal")[1:5] == ["2/3", "0/1", "-", "no"]  # nothing to be scored on
    assert row(report, "depth") == ["depth", "0/3", "0/1", "-", "no", "all of depth/<id>.png; PASCAL_MT has none"]
    assert row(report, "edge")[1:] == ["2/3", "1/1", "-", "partly"]
    assert report.trainable == ["semseg", "human_parts", "normals", "edge"]
    assert report.is_usable


def cut(path):
    path.write_bytes(path.read_bytes()[:300])


def grey(value):
    return lambda path: Image.new("L", (128, 128), value).save(path)


DAMAGE = {
    "photo cut off": ("JPEGImages/000001.jpg", cut, "image"),
    "empty file": ("semseg/VOC12/000001.png", lambda path: path.write_bytes(b""), "semseg"),
    "palette lost": ("semseg/VOC12/000001.png", lambda path: Image.new("RGB", (128, 128)).save(path), "semseg"),
    "class that does not exist": ("semseg/VOC12/000001.png", grey(77), "semseg"),
    "another size": ("sal_distill/000001.png", lambda path: Image.new("L", (64, 128)).save(path), "sal"),
    "mat cut off": ("human_parts/000001.mat", cut, "human_parts"),
    "mat of something else": (
        "human_parts/000001.mat",
        lambda path: pascal_mt.write_label_map(path, np.zeros((128, 128), np.uint16)),
        "human_parts",
    ),
    "two tasks in one file": ("pascal-context/trainval/000001.mat", cut, "edge"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_broken_file_is_named_with_the_reason(what, folder):
    file, damage, name = DAMAGE[what]
    damage(folder / file)
    report = verify(folder, workers=1)
    assert not report.is_usable
    assert all(str(folder / file) in line for line in report.broken)
    assert row(report, name)[1:4] == ["2/3", "1/1", "1"]
    text = "\n".join(report.lines())
    assert re.search(rf"Broken files: \d:\n  .*{re.escape(file)}.*: .+\n", text)


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no data folder"):
        verify(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"neither ImageSets/Context/ \(PascalContext\) nor gt_sets/ \(NYUD\)"):
        verify(tmp_path)


def test_a_prepared_folder_is_verified_and_counted_as_what_it_was_made_from(folder, tmp_path_factory):
    (folder / "sal_distill/000016.png").unlink()
    ready = tmp_path_factory.mktemp("prepared") / "ready"
    prepare(plan(folder, ready), workers=1)
    original, report = verify(folder, workers=1), verify(ready, workers=1)
    assert report.is_usable
    for name in ("image", *pascal_mt.TARGETS):
        assert row(report, name)[:5] == row(original, name)[:5]
    assert row(report, "sal")[4:] == ["no", "1 of samples/<id>.safetensors:sal, the first is 000016"]
    for split in ("train", "val"):
        (_, *ours), (_, *theirs) = (statistics(root, split, workers=1).lines() for root in (ready, folder))
        assert ours == theirs
    file = ready / "samples/000001.safetensors"
    file.write_bytes(file.read_bytes()[:-50])
    report = verify(ready, workers=1)
    assert not report.is_usable
    assert all(str(file) in line for line in report.broken)
    assert row(report, "semseg")[1:4] == ["2/3", "1/1", "1"]


def test_a_list_without_ids_is_said(folder):
    pascal_mt.write_split(folder, "val", [])
    report = verify(folder, workers=1)
    assert "List val names no image." in report.lines()
    assert row(report, "semseg") == ["semseg", "3/3", "0/0", "-", "no"]
    assert not report.is_usable
    path = folder / "ImageSets/Context/val.txt"
    for read in (statistics, lambda root, split: PascalContext(root, split, "semseg")):
        with pytest.raises(ValueError, match=rf"^The list {path} names no image"):
            read(folder, "val")


def test_processes_find_what_one_finds(folder):
    pascal_mt.write_split(folder, "more", [f"missing{index}" for index in range(20)])
    assert verify(folder, workers=2).findings == verify(folder, workers=1).findings


@needs_shared
def test_a_real_folder_lacks_what_it_lacks():
    report = verify(SHARED / "realdata", workers=1)
    assert report.is_usable
    assert report.trainable == ["semseg", "human_parts"]
    assert row(report, "image")[1:] == ["80/80", "40/40", "120/120", "4/4", "8/8", "-"]
    assert row(report, "semseg")[1:] == ["80/80", "40/40", "120/120", "4/4", "8/8", "-", "yes"]
    assert row(report, "human_parts")[3] == "8/120"
    assert row(report, "human_parts")[-1].startswith("112 of human_parts/<id>.mat")
    for task in ("sal", "normals", "edge", "depth"):
        assert row(report, task)[1] == "0/80"
        assert row(report, task)[-1].startswith("all of ")


# -------------------------------------------------------------------------------------------------------- statistics


def test_labels_are_counted(folder):
    (folder / "human_parts/000001.mat").unlink()
    counts = statistics(folder, "train", workers=1)
    semseg = np.stack([pascal_mt.read_target(folder, image_id, "semseg") for image_id in IDS[:3]])
    found = counts.tasks["semseg"]
    assert (found.images, found.pixels) == (3, semseg.size)
    assert found.ignored == (semseg == 255).sum()
    for index in range(21):
        assert found.values[index] == (semseg == index).sum()
        assert found.present[index] == (semseg == index).any(axis=(1, 2)).sum()
    assert counts.tasks["human_parts"].images == 2
    sal = np.stack([pascal_mt.read_target(folder, image_id, "sal") for image_id in IDS[:3]])
    assert f"{100 * sal.mean():.2f} % are 1" in next(line for line in counts.lines() if line.startswith("sal"))
    normals = np.stack([pascal_mt.read_target(folder, image_id, "normals") for image_id in IDS[:3]])
    valid = normals[(normals != 255).any(-1)]
    np.testing.assert_allclose(counts.tasks["normals"].direction / len(valid), valid.mean(0, np.float64))


def test_the_median_of_depth(folder):
    depths = np.stack([pascal_mt.read_target(folder, image_id, "depth") for image_id in IDS[:3]])
    expected = np.quantile(depths[depths != 255], (0.05, 0.5, 0.95))
    line = next(line for line in statistics(folder, "train", workers=1).lines() if line.startswith("depth"))
    found = [float(number) for number in re.findall(r"\d+\.\d\d", line)[1:]]
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_the_tables_line_up(folder):
    lines = list(statistics(folder, "train", workers=1).lines())
    for start in (line for line in lines if line.startswith(("semseg  ", "human_parts  ")) and "pixels" in line):
        table = lines[lines.index(start) :]
        table = table[: table.index("")] if "" in table else table
        assert len({len(line) for line in table}) == 1


def test_statistics_of_a_broken_file_name_it(folder):
    cut(folder / "sal_distill/000001.png")
    with pytest.raises(BrokenFileError, match=r"sal_distill/000001\.png"):
        statistics(folder, "train", workers=1)
