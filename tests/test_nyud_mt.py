"""Both packagings of NYUD_MT: the same scene written in either is read as one, and the reader tells them apart."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torch.utils.data import DataLoader

from mtlora_lite import nyud_mt, pascal_mt
from mtlora_lite.datasets import NYUD, PascalContext, reader_of
from mtlora_lite.layouts import BrokenFileError
from mtlora_lite.paths import data_dir
from mtlora_lite.prepared import Prepared, plan, prepare
from mtlora_lite.stats import statistics
from mtlora_lite.transforms import collate, train_transform
from mtlora_lite.verify import verify

SAMPLES = Path(__file__).parents[1].parent / "shared" / "realdata" / "NYUD_samples"
TASKS = ("semseg", "normals", "edge", "depth")
SHAPE = (40, 56)

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.usefixtures("cache")]


def random_targets(seed):
    """Targets as ``tasks.py`` defines them, smooth enough for normals to survive a JPEG, and ignored in places."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] / 40
    normals = np.stack([np.sin(x + seed), np.cos(y), 1 + x], -1)
    normals = (normals / np.linalg.norm(normals, axis=-1, keepdims=True)).astype(np.float32)
    normals[:8, :8] = 255
    semseg = rng.integers(0, 40, SHAPE).astype(np.uint8)
    semseg[:, :3] = 255
    depth = rng.uniform(0.5, 9.9, SHAPE).astype(np.float32)
    depth[5:9] = 255
    return {"semseg": semseg, "normals": normals, "edge": (rng.random(SHAPE) < 0.1).astype(np.uint8), "depth": depth}


def write_mat(root, image_id, targets):
    levels = np.rint((np.where(targets["normals"] == 255, 0, targets["normals"]) + 1) * 127.5).astype(np.uint8)
    Image.fromarray(levels).save(root / f"normals/{image_id}.jpg", quality=100, subsampling=0)
    Image.fromarray(targets["edge"] * np.uint8(255)).save(root / f"edge/{image_id}.png")
    ids = targets["semseg"].astype(np.int16) + 1
    savemat(root / f"segmentation/{image_id}.mat", {"labels": np.where(ids == 256, 0, ids).astype(np.float64)})
    savemat(root / f"depth/{image_id}.mat", {"metres": np.where(targets["depth"] == 255, 0, targets["depth"])})


def write_npy(root, image_id, targets):
    np.save(root / f"normals/{image_id}.npy", np.where(targets["normals"] == 255, 0, targets["normals"]))
    np.save(root / f"edge/{image_id}.npy", targets["edge"].astype(np.float32))
    Image.fromarray(targets["semseg"] + np.uint8(1)).save(root / f"segmentation/{image_id}.png")  # 255 becomes 0
    np.save(root / f"depth/{image_id}.npy", np.where(targets["depth"] == 255, np.nan, targets["depth"]))


WRITERS = {"mat": write_mat, "npy": write_npy}


def write_folder(root, packaging, samples):
    """{id: (image, targets)} in one packaging, with the lists of both splits."""
    for folder in ("images", "normals", "edge", "segmentation", "depth", "gt_sets"):
        (root / folder).mkdir(parents=True)
    for image_id, (image, targets) in samples.items():
        Image.fromarray(image).save(root / f"images/{image_id}.jpg")
        WRITERS[packaging](root, image_id, targets)
    for split in ("train", "val"):
        (root / f"gt_sets/{split}.txt").write_text("\n".join(samples))
    return root


@pytest.fixture(params=WRITERS)
def packaging(request):
    return request.param


@pytest.fixture
def folder(packaging, tmp_path):
    image = np.zeros((*SHAPE, 3), np.uint8)
    return write_folder(tmp_path / "NYUD_MT", packaging, {f"{i:04d}": (image, random_targets(i)) for i in range(3)})


def test_either_packaging_is_read_as_what_was_written(folder):
    dataset = NYUD(folder, "train", TASKS)
    assert dataset.channels == {"semseg": 40, "normals": 3, "edge": 1, "depth": 1}
    for index, sample in enumerate(dataset):
        targets = random_targets(index)
        assert sample["image"].shape == (*SHAPE, 3)
        np.testing.assert_array_equal(sample["semseg"], targets["semseg"])
        np.testing.assert_array_equal(sample["edge"], targets["edge"])
        np.testing.assert_array_equal(sample["depth"], targets["depth"])
        assert {task: sample[task].dtype.name for task in TASKS} == {
            "semseg": "uint8", "normals": "float32", "edge": "uint8", "depth": "float32"
        }  # fmt: skip
        clear = np.ones(SHAPE, bool)
        clear[:10, :10] = False  # a JPEG blurs the rim of what is invalid
        cosine = (sample["normals"] * targets["normals"]).sum(-1)[clear]
        assert np.degrees(np.arccos(cosine.clip(-1, 1))).max() < 3
        assert (sample["normals"][:6, :6] == 255).all()


def test_it_is_verified_counted_and_prepared(folder, packaging, tmp_path):
    report = verify(folder, workers=1)
    assert report.is_usable
    assert report.trainable == list(TASKS)
    assert "List train: 3 images; that of the whole NYUD_MT has 795." in report.lines()
    counts = statistics(folder, "train", workers=1)
    for task in ("semseg", "edge"):
        targets = np.stack([random_targets(index)[task] for index in range(3)])
        assert dict(counts.tasks[task].values) == dict(
            zip(*np.unique(targets[targets != 255], return_counts=True), strict=True)
        )
    assert prepare(plan(folder, tmp_path / "ready"), workers=1) == []
    original, ready = NYUD(folder, "train", TASKS), Prepared(tmp_path / "ready", "train", TASKS)
    assert (ready.name, ready.channels) == ("nyud", original.channels)
    for ours, theirs in zip(ready, original, strict=True):
        for key in ("image", *TASKS):
            assert ours[key].dtype == theirs[key].dtype
            np.testing.assert_array_equal(ours[key], theirs[key])
    path = nyud_mt.find_file(folder, "depth", "0001")
    path.write_bytes(path.read_bytes()[:200])
    report = verify(folder, workers=1)
    assert not report.is_usable
    assert any(str(path) in line for line in report.broken)


def test_it_trains_through_loader_workers(folder):
    dataset = NYUD(folder, "val", TASKS, train_transform(32))
    batch = next(iter(DataLoader(dataset, 3, collate_fn=collate, num_workers=1)))
    assert {task: tuple(batch[task].shape) for task in TASKS} == {
        "semseg": (3, 1, 32, 32), "normals": (3, 3, 32, 32), "edge": (3, 1, 32, 32), "depth": (3, 1, 32, 32)
    }  # fmt: skip
    dataset.transform = None  # one that is made of local functions cannot be sent
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(dataset))[1]["depth"], dataset[1]["depth"])


def test_only_the_files_of_the_requested_tasks_are_touched(folder):
    for name in ("normals", "edge", "depth"):
        shutil.rmtree(folder / name)
    assert set(NYUD(folder, "val", "semseg", on_error="skip")[0]) == {"image", "semseg", "meta"}
    with pytest.raises(ValueError, match=r"no files for depth.*looked for depth/<id>.*Tasks there: semseg\."):
        NYUD(folder, "val", ["semseg", "depth"])


def test_a_task_that_is_not_there_names_those_that_are(folder):
    with pytest.raises(ValueError, match="NYUD has no sal, human_parts; its tasks: semseg, normals, edge, depth"):
        NYUD(folder, "val", ["sal", "semseg", "human_parts"])
    shutil.rmtree(folder / "depth")
    places = r"depth/<id>\.mat or depth/<id>\.npy"
    with pytest.raises(
        ValueError, match=rf"has no files for depth .*\(looked for {places}\).* semseg, normals, edge\."
    ):
        NYUD(folder, "val", ["depth", "semseg"])


def test_packagings_may_be_mixed(tmp_path):
    images = {"0000": (np.zeros((*SHAPE, 3), np.uint8), random_targets(0))}
    root = write_folder(tmp_path / "NYUD_MT", "mat", images)
    np.save(root / "depth/0000.npy", np.full((*SHAPE, 1), 2.5))
    (root / "depth/0000.mat").unlink()
    sample = NYUD(root, "val", TASKS)[0]
    assert (sample["depth"] == 2.5).all()
    np.testing.assert_array_equal(sample["semseg"], images["0000"][1]["semseg"])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"no" * 300])
def test_a_damaged_file_is_named_or_left_out(folder, task, damage):
    path = nyud_mt.find_file(folder, task, "0001")
    path.write_bytes(damage(path.read_bytes()))
    dataset = NYUD(folder, "val", task)
    with pytest.raises(BrokenFileError, match=f"Cannot read {task} of 0001") as caught:
        dataset[1]
    assert str(path) in str(caught.value)
    with pytest.warns(UserWarning, match="1 are left out"):
        assert NYUD(folder, "val", task, on_error="skip").ids == ["0000", "0002"]


def test_what_the_encodings_do_not_allow_is_refused(tmp_path):
    Image.fromarray(np.full((2, 3), 41, np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="it holds 41 to 41, and ids are 0"):
        nyud_mt.read_semseg(tmp_path / "a.png")
    savemat(tmp_path / "a.mat", {"left": np.ones((2, 3)), "right": np.ones((2, 3))})
    with pytest.raises(ValueError, match=r"one matrix, and holds 2 \(in it: left, right\)"):
        nyud_mt.read_depth(tmp_path / "a.mat")
    np.save(tmp_path / "a.npy", np.ones((3, 2, 2)))
    with pytest.raises(ValueError, match=r"float64 \(3, 2, 2\), and normals are floats \(H, W, 3\)"):
        nyud_mt.read_normals(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle=False"):  # nothing in a label file is ever executed
        nyud_mt.read_depth(tmp_path / "b.npy")


def test_a_folder_says_which_reader_it_needs(folder, tmp_path):
    assert reader_of(folder) is NYUD
    assert reader_of(data_dir() / "sample") is PascalContext
    with pytest.raises(FileNotFoundError, match=r"neither ImageSets/Context/ \(PascalContext\) nor gt_sets/ \(NYUD\)"):
        reader_of(tmp_path)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="real NYUD images are not beside the checkout")
def test_real_labels_in_either_packaging(packaging, tmp_path):
    ids = ["000433", "000464"]
    labels = {i: np.asarray(Image.open(SAMPLES / f"segmentation_u8_255ignore/segm_gt_{i}.png")) for i in ids}
    depths = {i: np.asarray(Image.open(SAMPLES / f"depth_u16_5000/depth_gt_{i}.png")) / 5000 for i in ids}
    normals = pascal_mt.read_normals(SAMPLES / "normals/norm_gt_000433.png")
    samples = {}
    for i in ids:
        depth = np.where(depths[i] > 0, depths[i], 255).astype(np.float32)
        targets = {"semseg": labels[i], "normals": normals, "edge": np.zeros_like(labels[i]), "depth": depth}
        samples[i] = np.asarray(Image.open(SAMPLES / f"images/{i}.png")), targets
    for image_id, sample in zip(ids, NYUD(write_folder(tmp_path / "n", packaging, samples), "val", TASKS), strict=True):
        np.testing.assert_array_equal(sample["semseg"], labels[image_id])
        counts = np.bincount(sample["semseg"].ravel(), minlength=256)
        assert counts[:40].sum() + counts[255] == sample["semseg"].size
        valid = sample["depth"] != 255
        np.testing.assert_array_equal(valid, depths[image_id] > 0)
        np.testing.assert_allclose(sample["depth"][valid], depths[image_id][valid], rtol=1e-6)
        both = (sample["normals"] != 255).all(-1) & (normals != 255).all(-1)
        assert both.mean() > 0.5
        assert np.median((sample["normals"] * normals).sum(-1)[both]) > np.cos(np.radians(1.5))
