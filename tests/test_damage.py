"""Damaged files of a data set, each made on disk: the promised error, the promised skip, or read as if nothing were.

Damaged archives and a full disk are held against in the tests of what meets them, unpacking and caching.
"""

import re
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from test_pascal_mt import write_part_file

from mtlora_lite import pascal_mt
from mtlora_lite.datasets import PascalContext
from mtlora_lite.layouts import BrokenFileError
from mtlora_lite.paths import data_dir

TASKS = ("semseg", "human_parts", "sal", "normals", "edge", "depth")
IDS = ("000018", "000019", "000020")  # of the sample; on the first two are persons
HURT = IDS[1]

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.usefixtures("cache")]


@pytest.fixture
def folder(tmp_path):
    """Three images of the committed sample with all that they have, and a list of them."""
    root = tmp_path / "PASCAL_MT"
    for path in (data_dir() / "sample").rglob("*.*"):
        if path.stem in IDS:
            target = root / path.relative_to(data_dir() / "sample")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    pascal_mt.write_split(root, "val", list(IDS))
    return root


def file_of(folder, file):
    return folder / pascal_mt.FILES[file][0].format(id=HURT)


def change_semseg(change):
    def damage(path):
        change(pascal_mt.read_ids(path)).save(path)

    return damage


def with_ids(ids):
    """A palette PNG of these ids, whatever they are."""
    image = Image.fromarray(ids).convert("L")
    image.putpalette([value for color in pascal_mt.voc_palette() for value in color])
    return image


def in_colours(ids):
    return with_ids(ids).convert("RGB")


def paint(class_id):
    """One pixel of a class that does not exist."""

    def change(ids):
        ids = ids.copy()
        ids[5, 7] = class_id
        return with_ids(ids)

    return change


def cut(share):
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def without_anno(path):
    savemat(path, {"annotation": np.zeros((2, 2))})


def strange_part(path):
    write_part_file(path, (15, [("tentacle", np.ones((2, 3), np.uint8))]))


# The file, what is done to it, and what the error says of it.
BROKEN = {
    "truncated JPEG": ("image", cut(0.5), "image file is truncated"),
    "truncated JPEG header": ("image", cut(0.02), ""),
    "zero-byte PNG": ("semseg", cut(0), "cannot identify image file"),
    "truncated PNG": ("sal", cut(0.6), ""),
    "palette lost, ids became colours": ("semseg", change_semseg(in_colours), "a palette or grey PNG.* mode is RGB"),
    "palette lost, colours became grey": (
        "semseg", change_semseg(lambda ids: in_colours(ids).convert("L")), r"it holds \d+.*class ids are 0 to 20 or 255"
    ),
    "label of another size": (
        "semseg", change_semseg(lambda ids: with_ids(ids[:100])), "its size is 128 x 100, that of the image 128 x 128"
    ),
    "label transposed": (
        "semseg", change_semseg(lambda ids: with_ids(ids[:, :64].T)), "its size is 128 x 64, that of the image"
    ),
    "label map of another size": (
        "label_map", lambda path: pascal_mt.write_label_map(path, np.zeros((9, 9))), r"the label map \(9, 9\)"
    ),
    "label value 21": ("semseg", change_semseg(paint(21)), "it holds 21, and class ids are 0 to 20 or 255"),
    "label value 254": ("semseg", change_semseg(paint(254)), "it holds 254, and class ids are 0 to 20 or 255"),
    "mat without anno": ("human_parts", without_anno, "it holds no 'anno', but annotation"),
    "truncated mat": ("human_parts", cut(0.5), ""),
    "mat of an unknown part": ("human_parts", strange_part, "a part 'tentacle'"),
    "normals in grey": (
        "normals", lambda path: Image.fromarray(np.zeros((128, 128), np.uint8)).save(path), "three colours.* mode is L"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("file", "damage", "says"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_an_error_or_a_skip(folder, file, damage, says):
    path = file_of(folder, file)
    damage(path)
    task = {"image": "sal", "label_map": "normals"}.get(file, file)
    dataset = PascalContext(folder, "val", task)
    assert len(dataset) == 3
    what = "image" if file == "image" else task
    with pytest.raises(BrokenFileError, match=rf"^Cannot read {what} of {HURT} \(.*\): .*{says}") as caught:
        dataset[1]
    advice = f"Restore the file, take {HURT} off {folder}/ImageSets/Context/val.txt, or leave out such images with"
    for part in (str(path), advice):
        assert part in str(caught.value)
    with pytest.warns(UserWarning, match=r"of 3 images 1 are left out \(Cannot read") as warned:
        dataset = PascalContext(folder, "val", task, on_error="skip")
    assert len(warned) == 1
    assert str(path) in str(warned[0].message)
    assert "on_error" not in str(warned[0].message)
    assert [sample["meta"]["id"] for sample in dataset] == [IDS[0], IDS[2]]


@pytest.mark.parametrize("task", TASKS)
def test_whatever_happened_to_a_file_the_error_names_it(folder, task):
    path = file_of(folder, pascal_mt.TARGETS[task][0][-1])
    whole = path.read_bytes()
    for content in (b"", b"no" * 300, whole[: len(whole) // 2], whole[:40]):
        path.write_bytes(content)
        with pytest.raises(BrokenFileError, match=f"Cannot read {task} of {HURT}") as caught:
            PascalContext(folder, "val", task)[1]
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("file", ["image", "sal", "label_map"])
def test_a_missing_file_that_is_needed_is_an_error_or_a_skip(folder, file):
    path = file_of(folder, file)
    path.unlink()
    tasks = ["semseg", "sal", "edge"]
    what = {"label_map": "edge"}.get(file, file)
    with pytest.raises(
        FileNotFoundError, match=rf"^{path} is missing \({what} of {HURT}\)\. Restore .*on_error='skip'"
    ):
        PascalContext(folder, "val", tasks)
    with pytest.warns(UserWarning, match=rf"of 3 images 1 are left out \({path} is missing"):
        assert PascalContext(folder, "val", tasks, on_error="skip").ids == [IDS[0], IDS[2]]


def test_a_missing_label_that_can_be_ignored_is_ignored_or_a_skip(folder):
    file_of(folder, "semseg").unlink()
    places = "semseg/VOC12/<id>.png or semseg/pascal-context/<id>.png"
    with pytest.warns(UserWarning, match=rf"of 3 images 1 lack {places} \(first: {HURT}\), ignored there"):
        dataset = PascalContext(folder, "val", ["semseg", "depth"])
    assert [(sample["semseg"] == 255).all() for sample in dataset] == [False, True, False]
    with pytest.warns(UserWarning, match=r"of 3 images 1 are left out \(.*semseg/VOC12/000019.png or .* is missing"):
        assert len(PascalContext(folder, "val", ["semseg", "depth"], on_error="skip")) == 2


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_list_that_names_a_missing_image(folder, on_error):
    pascal_mt.write_split(folder, "val", [IDS[0], "2008_999999", *IDS[1:]])
    if on_error == "raise":
        with pytest.raises(FileNotFoundError, match=r"JPEGImages/2008_999999\.jpg is missing.*take 2008_999999 off"):
            PascalContext(folder, "val", TASKS)
    else:
        with pytest.warns(UserWarning, match=r"of 4 images 1 are left out \(.*2008_999999\.jpg is missing"):
            assert PascalContext(folder, "val", TASKS, on_error=on_error).ids == list(IDS)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_nothing_left_is_an_error_in_either_mode(folder, on_error):
    for image_id in IDS:
        (folder / f"JPEGImages/{image_id}.jpg").write_bytes(b"")
        (folder / f"depth/{image_id}.png").write_bytes(b"")
    if on_error == "raise":
        with pytest.raises(BrokenFileError):
            PascalContext(folder, "val", "depth")[0]
    else:
        with pytest.raises(ValueError, match=r"^No image is left to use\. .*of 3 images 3 are left out"):
            PascalContext(folder, "val", "depth", on_error=on_error)


# -------------------------------------------------------------------------------- looks like damage, and is none


def list_with_crlf_and_blank_lines(folder):
    listed = folder / "ImageSets/Context/val.txt"
    listed.write_bytes(b"\xef\xbb\xbf\r\n" + b"\r\n  \r\n".join(image_id.encode() for image_id in IDS) + b"\r\n\r\n")


def upper_case_extensions(folder):
    for path in list(folder.rglob(f"{HURT}.*")):
        path.rename(path.with_suffix(path.suffix.upper()))


def palette_dropped(folder):
    """Grey, the ids untouched."""
    path = file_of(folder, "semseg")
    Image.fromarray(pascal_mt.read_ids(path)).save(path)


def palette_chunk_cut(folder):
    """A palette PNG whose palette was cut out of the file."""
    path = file_of(folder, "semseg")
    data = path.read_bytes()
    start = data.index(b"PLTE") - 4
    path.write_bytes(data[:start] + data[start + 12 + int.from_bytes(data[start : start + 4]) :])


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize(
    "change", [list_with_crlf_and_blank_lines, upper_case_extensions, palette_dropped, palette_chunk_cut]
)
def test_what_is_harmless_is_read_as_if_nothing_were(folder, change, on_error):
    before = list(PascalContext(folder, "val", TASKS))
    change(folder)
    dataset = PascalContext(folder, "val", TASKS, on_error=on_error)
    assert dataset.ids == list(IDS)
    for old, new in zip(before, dataset, strict=True):
        for key in ("image", *TASKS):
            np.testing.assert_array_equal(old[key], new[key], err_msg=key)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_person_without_parts_says_nothing_about_parts(folder, on_error):
    write_part_file(file_of(folder, "human_parts"), (15, []), shape=(128, 128))
    samples = list(PascalContext(folder, "val", ["human_parts", "semseg"], on_error=on_error))
    assert [bool((sample["human_parts"] == 255).all()) for sample in samples] == [False, True, True]


@pytest.mark.parametrize("mode", ["L", "CMYK"])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_photos_of_other_modes_are_read_as_rgb(folder, mode, on_error):
    path = file_of(folder, "image")
    with Image.open(path) as image:
        expected = np.asarray(image.convert("L").convert("RGB") if mode == "L" else image).astype(int)
        image.convert(mode).save(path, quality=98)
    image = PascalContext(folder, "val", "semseg", on_error=on_error)[1]["image"]
    assert image.shape == (128, 128, 3)
    assert np.abs(image - expected).mean() < 2


def test_what_was_in_order_is_not_read_again_until_it_changes(folder, monkeypatch):
    read = []
    load = PascalContext.load
    monkeypatch.setattr(PascalContext, "load", lambda self, image_id: read.append(image_id) or load(self, image_id))

    def skipping(*left_out):
        read.clear()
        if left_out:
            with pytest.warns(UserWarning, match=re.escape(f"of 3 images {len(left_out)} are left out")):
                dataset = PascalContext(folder, "val", ["semseg", "depth"], on_error="skip")
        else:
            dataset = PascalContext(folder, "val", ["semseg", "depth"], on_error="skip")
        assert dataset.ids == [image_id for image_id in IDS if image_id not in left_out]
        return read

    path = file_of(folder, "depth")
    whole = path.read_bytes()
    assert skipping() == list(IDS)
    assert skipping() == []
    path.write_bytes(whole[:-40])
    assert skipping(HURT) == [HURT]
    assert skipping(HURT) == [HURT]  # a fault may pass, as when a disk is not mounted: it is looked at again
    path.write_bytes(whole)
    assert skipping() == [HURT]
    assert skipping() == []
