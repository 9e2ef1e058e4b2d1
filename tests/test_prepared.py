"""The prepared folder: bit for bit what the original's reader gives, and never half of it."""

import json
import resource
import shutil
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load, save

from mtlora_lite import pascal_mt, prepared
from mtlora_lite.datasets import PascalContext
from mtlora_lite.layouts import BrokenFileError
from mtlora_lite.paths import data_dir
from mtlora_lite.prepared import Prepared, pack, plan, prepare, reader_of, unpack
from mtlora_lite.tasks import TASKS
from mtlora_lite.transforms import train_transform

SAMPLE = data_dir() / "sample"
IDS = {"train": ["000000", "000001", "000002", "000003"], "val": ["000016", "000017"]}


@pytest.fixture
def raw(tmp_path):
    """Six scenes of the sample: one without a part file, one without saliency."""
    root = tmp_path / "raw"
    for image_id in (*IDS["train"], *IDS["val"]):
        for patterns in pascal_mt.FILES.values():
            path = patterns[0].format(id=image_id)
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SAMPLE / path, root / path)
    for split, ids in IDS.items():
        pascal_mt.write_split(root, split, ids)
    (root / "human_parts/000001.mat").unlink()
    (root / "sal_distill/000002.png").unlink()
    return root


@pytest.fixture
def ready(raw, tmp_path):
    assert prepare(plan(raw, tmp_path / "out"), workers=1) == []
    return tmp_path / "out"


def listing(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def equal(one, other):
    """Whether two samples are the same to the last bit, types included."""
    assert one.keys() == other.keys()
    assert one["meta"] == other["meta"]
    for key in one.keys() - {"meta"}:
        assert one[key].dtype == other[key].dtype
        assert one[key].shape == other[key].shape
        assert one[key].tobytes() == other[key].tobytes(), key
    return True


def read(reader, *args, **kwargs):
    """Samples, and what was warned of, without the folder."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = reader(*args, **kwargs)
    return [data.load(image_id) for image_id in data.ids], len(caught)


# ------------------------------------------------------------------------------------------------------------- codec

rng = np.random.default_rng(0)
ARRAYS = {
    "ids": rng.integers(0, 256, (5, 7)).astype(np.uint8),
    "photo": rng.integers(0, 256, (5, 7, 3)).astype(np.uint8),
    "one direction": np.full((50, 70, 3), np.float32(1 / 3)),
    "few directions": rng.normal(size=(9, 3)).astype(np.float32)[rng.integers(0, 9, (50, 70))],
    "many directions": rng.normal(size=(9000, 3)).astype(np.float32)[rng.integers(0, 9000, (300, 70))],
    "all different": rng.normal(size=(50, 70, 3)).astype(np.float32),
    "too many for 16 bits": np.arange(70_000, dtype=np.float32)[rng.integers(0, 70_000, (500, 400))],
    "metres": rng.choice(np.arange(1, 900, dtype=np.float32) / 1000, (50, 70)),
    "odd floats": np.float32([[0.0, -0.0, np.nan, np.inf, 255, 255]]).repeat(40, 0),
    "columns first": np.asfortranarray(rng.uniform(size=(50, 70)).astype(np.float32)),
    "photo, columns first": np.asfortranarray(rng.integers(0, 256, (5, 7, 3)).astype(np.uint8)),
    "wide ids": rng.integers(-3, 400, (50, 70)),
}


@pytest.mark.parametrize("what", ARRAYS)
def test_what_is_packed_comes_back_bit_for_bit(what):
    array = ARRAYS[what]
    back = unpack("x", load(save(pack("x", array))), array.shape[:2])
    assert equal({"x": array, "meta": 0}, {"x": back, "meta": 0})


def test_packing_pays():
    directions, ids = ARRAYS["few directions"], np.zeros((500, 400), np.uint8)
    assert sum(entry.nbytes for entry in pack("x", directions).values()) < directions.nbytes / 10
    assert sum(entry.nbytes for entry in pack("x", ids).values()) < ids.nbytes / 100
    assert list(pack("x", ARRAYS["all different"])) == ["x"]


# ----------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("tasks", [("semseg",), ("normals", "edge"), ("human_parts", "depth"), ("human_parts",)])
def test_samples_are_those_of_the_original(raw, ready, tasks):
    for split in IDS:
        (ours, warned), (theirs, warned_too) = (
            read(Prepared, ready, split, tasks),
            read(PascalContext, raw, split, tasks),
        )
        assert len(ours) == len(theirs)
        assert all(equal(one, other) for one, other in zip(ours, theirs, strict=True))
        assert warned == warned_too


def test_what_cannot_be_ignored_is_treated_as_by_the_original(raw, ready):
    for reader, root in ((PascalContext, raw), (Prepared, ready)):
        with pytest.raises(FileNotFoundError, match=r"sal.*000002"):
            reader(root, "train", "sal")
        samples, warned = read(reader, root, "train", TASKS, on_error="skip")
        assert [sample["meta"]["id"] for sample in samples] == ["000000", "000003"]
        assert warned == 1


def test_a_transform_meets_the_same(raw, ready):
    transform = train_transform(64, ("flip", "rotate"))
    samples = []
    for reader, root in ((Prepared, ready), (PascalContext, raw)):
        torch.manual_seed(3)
        samples.append(reader(root, "val", TASKS, transform)[0])
    assert all(torch.equal(samples[0][key], samples[1][key]) for key in ("image", *TASKS))


def test_a_split_may_be_a_list_of_ones_own(ready, tmp_path):
    (tmp_path / "mine.txt").write_text("000017\n")
    assert Prepared(ready, tmp_path / "mine.txt", "semseg").ids == ["000017"]


def test_the_kind_of_a_folder_is_recognised(raw, ready):
    assert reader_of(raw) is PascalContext
    assert reader_of(ready) is Prepared


def test_a_task_that_was_not_there_is_named(raw, tmp_path):
    shutil.rmtree(raw / "depth")
    prepare(plan(raw, tmp_path / "out"), workers=1)
    with pytest.raises(ValueError, match=r"no files for depth.*Tasks there: semseg, human_parts, sal, normals, edge"):
        Prepared(tmp_path / "out", "val", "depth")


def test_a_damaged_file_says_how_to_restore_it(raw, ready):
    path = prepared._file(ready, "000016")
    path.write_bytes(path.read_bytes()[:-100])
    data = Prepared(ready, "val", "semseg")
    with pytest.raises(BrokenFileError, match=rf"{path}.*Delete the file and restore it with: .*prepare {raw} --out"):
        data.load("000016")
    path.unlink()
    prepare(plan(raw, ready), workers=1)
    assert data.load("000016")["semseg"].shape == (128, 128)


# --------------------------------------------------------------------------------------------------------- preparing


def test_the_original_is_only_read_and_the_size_is_known_before(raw, tmp_path):
    before = listing(raw)
    work = plan(raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    prepare(work, workers=1)
    assert listing(raw) == before
    size = sum(path.stat().st_size for path in (tmp_path / "out" / "samples").iterdir())
    assert work.size == pytest.approx(size, rel=0.05)


def test_it_goes_on_where_it_was_interrupted(raw, tmp_path, monkeypatch):
    out, pack_image = tmp_path / "out", prepared.pack_image
    work = plan(raw, out)

    def interrupted(layout, root, image_id):
        if image_id == "000003":
            raise KeyboardInterrupt
        return pack_image(layout, root, image_id)

    monkeypatch.setattr(prepared, "pack_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(work, workers=1)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=rf"not complete.*data prepare {raw} --out {out}"):
        Prepared(out, "train", "semseg")
    before = listing(out / "samples")
    rest = plan(raw, out)
    assert rest.todo == ["000003", *IDS["val"]]
    prepare(rest, workers=1)
    after = listing(out / "samples")
    assert after.items() >= before.items()
    assert len(after) == 6
    assert len(Prepared(out, "train", "semseg")) == 4


def test_broken_images_come_last_and_can_be_left_out(raw, tmp_path):
    out, path = tmp_path / "out", raw / "semseg/VOC12/000001.png"
    path.write_bytes(b"")
    Image.new("L", (5, 5)).save(raw / "sal_distill/000003.png")
    work = plan(raw, out)
    with pytest.raises(BrokenFileError, match=rf"2 of 6 images are broken, .*{path}.*--on-error skip"):
        prepare(work, workers=1)
    assert len(list((out / "samples").iterdir())) == 4
    broken = prepare(plan(raw, out), on_error="skip", workers=1)
    assert "its size is 5 x 5, that of the image 128 x 128" in broken[1]
    assert Prepared(out, "train", "semseg").ids == ["000000", "000002"]


def test_a_full_disk_is_said_and_what_is_done_is_kept(raw, tmp_path):
    """Files of this process end at 50 kB, as they would on a disk that is full: a real error of the real system."""
    work = plan(raw, tmp_path / "out")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"Cannot write to .*are free there\)\. What is done is kept: make room"):
            prepare(work, workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / "out" / "samples").iterdir())
    assert prepare(plan(raw, tmp_path / "out"), workers=1) == []


def test_it_does_not_begin_where_there_is_no_room(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(prepared, "free", lambda _: 100_000)
    with pytest.raises(OSError, match=r"about \d+\.\d kB, and .* has room for 100.0 kB"):
        plan(raw, tmp_path / "out")


def test_lists_without_ids_and_folders_that_are_prepared_already_are_refused(raw, ready, tmp_path):
    with pytest.raises(ValueError, match=rf"{ready} is a prepared folder: prepare what it was made from, {raw}"):
        plan(ready, tmp_path / "again")
    for split in IDS:
        (raw / f"ImageSets/Context/{split}.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"No list of .* names an image"):
        plan(raw, tmp_path / "empty")


def test_no_other_folder_is_written_into(raw, ready, tmp_path):
    with pytest.raises(FileExistsError, match="not empty"):
        plan(raw, raw)
    shutil.copytree(raw, tmp_path / "other")
    with pytest.raises(FileExistsError, match="was prepared from"):
        plan(tmp_path / "other", ready)


def test_another_version_is_refused(raw, ready):
    index = json.loads((ready / prepared.INDEX).read_text())
    (ready / prepared.INDEX).write_text(json.dumps(index | {"version": 0}))
    with pytest.raises(ValueError, match="another version"):
        Prepared(ready, "val", "semseg")
    with pytest.raises(FileNotFoundError, match="not a prepared data folder"):
        Prepared(raw, "val", "semseg")
