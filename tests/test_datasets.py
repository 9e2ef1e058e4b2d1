"""The reader against the renderer, against incomplete folders, and against real files; broken ones: test_damage."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mtlora_lite import datasets, pascal_mt
from mtlora_lite.datasets import PascalContext, Scenes
from mtlora_lite.paths import data_dir
from mtlora_lite.scenes import render_scene
from mtlora_lite.tasks import TASKS
from mtlora_lite.transforms import collate, train_transform

SHARED = Path(__file__).parents[1].parent / "shared"
SIZE, COUNT = (40, 56), 4

pytestmark = [
    pytest.mark.filterwarnings("error"),  # no warning but those that a test expects
    pytest.mark.usefixtures("cache"),
]
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="real PASCAL files are not beside the checkout")


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """A folder of a few scenes, all tasks; tests copy it before they break it."""
    root = tmp_path_factory.mktemp("scenes")
    return Scenes("val", size=SIZE, count=COUNT, root=root).root


@pytest.fixture
def folder(complete, tmp_path):
    return Path(shutil.copytree(complete, tmp_path / "data"))


# --------------------------------------------------------------------------------------------------- the embedded set


def test_what_is_read_is_what_was_rendered(complete):
    dataset = PascalContext(complete, "val", TASKS)
    assert len(dataset) == COUNT
    for index, sample in enumerate(dataset):
        rendered = render_scene(1, index, SIZE)  # val is world 1 of seed 0
        assert sample["meta"] == {"id": f"{index:06d}", "size": SIZE}
        for task in ("semseg", "human_parts", "sal", "edge"):
            np.testing.assert_array_equal(sample[task], rendered[task], err_msg=task)
        np.testing.assert_allclose(sample["depth"], rendered["depth"], atol=0.00051)
        valid = (rendered["normals"] != 255).all(-1)
        np.testing.assert_array_equal((sample["normals"] != 255).all(-1), valid)
        cosine = (sample["normals"] * rendered["normals"]).sum(-1)[valid]
        assert np.degrees(np.arccos(cosine.clip(-1, 1))).max() < 0.5
        assert np.abs(sample["image"].astype(int) - rendered["image"]).mean() < 3  # JPEG


def test_asking_again_renders_only_what_is_new(tmp_path, monkeypatch):
    rendered = []
    monkeypatch.setattr(datasets.scenes, "render_scene", lambda *args: rendered.append(args[:2]) or render_scene(*args))

    def scenes(split, count, **options):
        rendered.clear()
        assert len(Scenes(split, "sal", size=16, count=count, root=tmp_path, **options)) == count
        return rendered

    assert scenes("train", 2) == [(0, 0), (0, 1)]
    assert scenes("train", 2) == []
    assert scenes("train", 4) == [(0, 2), (0, 3)]
    assert scenes("train", 1) == []
    assert scenes("test", 1) == [(2, 0)]
    assert scenes("val", 1, seed=1) == [(4, 0)]


def test_no_two_splits_share_a_scene():
    worlds = [datasets.world_of(split, seed) for seed in range(5) for split in datasets.SCENES_SPLITS]
    assert len(set(worlds)) == len(worlds)


def test_rendering_that_is_stopped_leaves_nothing_half_done(tmp_path, monkeypatch):
    def stop_at_two(seed, index, size):
        if index == 2:
            raise KeyboardInterrupt
        return render_scene(seed, index, size)

    with monkeypatch.context() as patch:
        patch.setattr(datasets.scenes, "render_scene", stop_at_two)
        with pytest.raises(KeyboardInterrupt):
            Scenes("train", "sal", size=16, count=3, root=tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(Scenes("train", "sal", size=16, count=3, root=tmp_path)) == 3


def test_samples_kept_in_memory_survive_their_use(complete):
    kept = Scenes("val", size=SIZE, count=COUNT, root=complete.parent, transform=train_transform(32))
    fresh = Scenes("val", size=SIZE, count=COUNT, root=complete.parent, transform=train_transform(32), cached=False)
    for _ in range(2):  # the second time from memory
        batches = [collate([torch.manual_seed(i) and dataset[i] for i in range(COUNT)]) for dataset in (kept, fresh)]
        for key in batches[0].keys() - {"meta"}:
            assert torch.equal(batches[0][key], batches[1][key]), key
    kept.transform = None
    with pytest.raises(ValueError, match="read-only"):
        kept[0]["depth"][0, 0] = 1


def test_loader_workers_read_the_same(complete):
    dataset = PascalContext(complete, "val", ["semseg", "depth"], train_transform(32, ()))
    one, two = (next(iter(DataLoader(dataset, COUNT, collate_fn=collate, num_workers=n))) for n in (0, 1))
    assert torch.equal(one["image"], two["image"])
    assert torch.equal(one["depth"], two["depth"])
    assert one["meta"] == two["meta"]


@pytest.mark.parametrize(
    ("arguments", "message"), [({"split": "dev"}, "train, val, test"), ({"split": "val", "count": 0}, "at least 1")]
)
def test_scenes_that_cannot_be_made(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        Scenes(**arguments, root=tmp_path)


# --------------------------------------------------------------------------------------------------- what is missing


def test_only_the_files_of_the_requested_tasks_are_touched(folder):
    for name in ("human_parts", "sal_distill", "normals_distill", "pascal-context", "depth"):
        shutil.rmtree(folder / name)
    sample = PascalContext(folder, "val", "semseg")[0]
    assert set(sample) == {"image", "semseg", "meta"}


def test_missing_targets_are_ignored_counted_in_one_warning_and_stack(folder):
    for path in ("semseg/VOC12/000000.png", "normals_distill/000001.png", "depth/000000.png", "depth/000002.png"):
        (folder / path).unlink()
    with pytest.warns(UserWarning, match="of 4 images") as caught:
        dataset = PascalContext(folder, "val", ["semseg", "normals", "depth"], train_transform(32))
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "1 lack semseg/VOC12/<id>.png" in message
    assert "1 lack normals_distill/<id>.png or pascal-context/trainval/<id>.mat" in message
    assert "2 lack depth/<id>.png" in message
    batch = collate([dataset[index] for index in range(COUNT)])
    ignored = {task: [bool((batch[task][i] == 255).all()) for i in range(COUNT)] for task in dataset.tasks}
    assert ignored == {
        "semseg": [True, False, False, False],
        "normals": [False, True, False, False],
        "depth": [True, False, True, False],
    }


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_nothing_is_written_into_the_folder(folder, on_error):
    def listing():
        return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}

    shutil.copy(folder / "ImageSets/Context/val.txt", folder / "ImageSets/Context/train.txt")
    before = listing()
    for split, tasks in (("val", TASKS), ("train", "human_parts")):
        for _ in PascalContext(folder, split, tasks, on_error=on_error):
            pass
    assert listing() == before


def test_an_id_that_stands_twice_is_used_once(folder):
    pascal_mt.write_split(folder, "val", ["000001", "000000", "000001"])
    with pytest.warns(UserWarning, match="of 2 images 1 stand in the list once more, which does not count"):
        assert PascalContext(folder, "val", "semseg").ids == ["000001", "000000"]


def test_a_list_that_the_user_names(folder, tmp_path):
    (tmp_path / "mine.list").write_text("000002\n000001\n")
    dataset = PascalContext(folder, tmp_path / "mine.list", "semseg")
    assert [sample["meta"]["id"] for sample in dataset] == ["000002", "000001"]
    (tmp_path / "mine.list").write_text("000002 lost\n")
    with pytest.raises(FileNotFoundError, match=rf"lost\.jpg is missing.* take lost off {tmp_path}/mine\.list"):
        PascalContext(folder, tmp_path / "mine.list", "semseg")


def test_no_image_with_all_that_it_needs(folder):
    for path in ("sal_distill/000000.png", "sal_distill/000001.png"):
        (folder / path).unlink()
    for path in ("pascal-context/trainval/000002.mat", "pascal-context/trainval/000003.mat"):
        (folder / path).unlink()
    with pytest.raises(FileNotFoundError, match=r"000000\.png is missing .sal of 000000., .* of 3 more images"):
        PascalContext(folder, "val", ["sal", "edge"])
    with pytest.raises(ValueError, match=r"No image is left to use\. .*of 4 images 4 are left out .* \| \.\.\.\)"):
        PascalContext(folder, "val", ["sal", "edge"], on_error="skip")


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_training_parts_alone_takes_only_images_of_persons(on_error):
    root = data_dir() / "sample"  # its 16 training images are read by several processes
    every = PascalContext(root, "train", ["human_parts", "semseg"])
    persons = [sample["meta"]["id"] for sample in every if (sample["human_parts"] != 255).any()]
    assert 0 < len(persons) < len(every) == 16
    for tasks in ("human_parts", ["human_parts"]):
        dataset = PascalContext(root, "train", tasks, lambda sample: sample, on_error=on_error)
        assert dataset.ids == persons
    assert len(PascalContext(root, "val", "human_parts", on_error=on_error)) == 8  # scores keep all images
    assert len(PascalContext(root, "train", ["human_parts", "semseg"], on_error=on_error)) == 16


def test_scenes_of_nobody_stay(complete):
    dataset = Scenes("train", "human_parts", size=16, count=3, root=complete.parent)
    assert len(dataset) == 3
    assert any((sample["human_parts"] == 255).all() for sample in dataset)


def test_a_task_that_is_not_there_at_all_names_those_that_are(folder):
    shutil.rmtree(folder / "pascal-context")
    with pytest.raises(
        ValueError, match=r"no files for normals, edge .*Tasks there: semseg, human_parts, sal, depth\."
    ):
        PascalContext(folder, "val", ["semseg", "normals", "edge"])


def test_missing_folder_split_and_photos(folder):
    with pytest.raises(FileNotFoundError, match="no data folder"):
        PascalContext(folder / "nowhere", "val", "semseg")
    with pytest.raises(ValueError, match=r"Unknown on_error 'ignore'\. There are: raise, skip"):
        PascalContext(folder, "val", "semseg", on_error="ignore")
    with pytest.raises(FileNotFoundError, match=r"No split 'trainval'.*splits there: val"):
        PascalContext(folder, "trainval", "semseg")
    shutil.rmtree(folder / "JPEGImages")
    with pytest.raises(ValueError, match="None of the 4 images"):
        PascalContext(folder, "val", "semseg")


# ---------------------------------------------------------------------------------------------------------- real files


@needs_shared
def test_real_files_of_which_most_parts_are_missing():
    with pytest.warns(UserWarning, match="of 120 images 112 lack human_parts/<id>.mat"):
        dataset = PascalContext(SHARED / "realdata", "all", ["semseg", "human_parts"])
    assert len(dataset) == 120
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(PascalContext(SHARED / "realdata", "human_parts", ["semseg", "human_parts"])) == 4
    labels, with_parts = set(), []
    for sample in dataset:
        labels |= set(np.unique(sample["semseg"]).tolist())
        with_parts += [sample["meta"]["id"]] if (sample["human_parts"] != 255).any() else []
    assert labels <= {*range(21), 255}
    assert len(labels) >= 20
    assert sorted(with_parts) == sorted(pascal_mt.read_split(SHARED / "realdata", "human_parts"))


@needs_shared
def test_real_files_without_parts_can_be_left_out():
    with pytest.warns(UserWarning, match="of 120 images 112 are left out"):
        dataset = PascalContext(SHARED / "realdata", "all", ["semseg", "human_parts"], on_error="skip")
    assert sorted(dataset.ids) == sorted(pascal_mt.read_split(SHARED / "realdata", "parts"))


@needs_shared
def test_real_parts_alone_train_on_the_persons(tmp_path):
    (tmp_path / "train_parts.txt").write_bytes((SHARED / "realdata/ImageSets/Context/parts.txt").read_bytes())
    dataset = PascalContext(SHARED / "realdata", tmp_path / "train_parts.txt", "human_parts")
    assert sorted(dataset.ids) == sorted(pascal_mt.read_split(SHARED / "realdata", "human_parts"))


@needs_shared
@pytest.mark.parametrize(("task", "split"), [("semseg", "all"), ("human_parts", "parts")])
def test_real_label_histograms_agree_with_the_released_loader(task, split):
    reference = json.loads((SHARED / f"fixtures/real_files/{task}.json").read_text())["images"]
    dataset = PascalContext(SHARED / "realdata", split, task)
    assert reference.keys() <= set(dataset.ids)
    for image_id, expected in reference.items():
        sample = dataset.load(image_id)
        assert list(sample["meta"]["size"]) == expected["native_shape"]
        counts = np.bincount(sample[task].ravel(), minlength=256)
        histogram = {str(value): int(count) for value, count in enumerate(counts) if count}
        if expected.get("has_human_parts_flag", 1):
            assert histogram == expected["native_histogram"]
        else:  # there zeros, which become 255 at 448 pixels; here 255 from the start
            assert histogram == {"255": sample[task].size}


def test_scenes_of_several_splits_lie_in_one_folder_and_are_those_of_the_splits(tmp_path, cache):
    folder = datasets.write_pascal_mt(tmp_path / "PASCAL_MT", {"train": 2, "val": 1}, size=64)
    for split, count in (("train", 2), ("val", 1)):
        copied, original = PascalContext(folder, split, list(TASKS)), Scenes(split, size=64, count=count)
        assert copied.ids == [f"{split}_{image_id}" for image_id in original.ids]
        for ours, theirs in zip(copied, original, strict=True):
            for name in ("image", *TASKS):
                np.testing.assert_array_equal(ours[name], theirs[name])
