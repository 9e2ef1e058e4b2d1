"""The layout on disk: what is written is what is read, and real files are read as the field reads them."""

import hashlib
import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from mtlora_lite import pascal_mt

SHARED = Path(__file__).parents[1].parent / "shared"
HEIGHT, WIDTH = 24, 36

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="real PASCAL files are not beside the checkout")


def random_sample(seed=0):
    rng = np.random.default_rng(seed)
    shape = (HEIGHT, WIDTH)
    label_map = rng.choice([3, 284, 360], shape)
    normals = rng.normal(size=(*shape, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return {
        "semseg": rng.choice([0, 1, 20, 255], shape).astype(np.uint8),
        "human_parts": rng.integers(0, 7, shape).astype(np.uint8),
        "sal": rng.integers(0, 2, shape).astype(np.uint8),
        "normals": np.where((label_map == 360)[..., None], np.float32(255), normals),
        "label_map": label_map,
        "depth": np.where(rng.random(shape) < 0.2, 255, rng.uniform(0.3, 65.5, shape)).astype(np.float32),
    }


@pytest.mark.parametrize("task", ["semseg", "human_parts", "sal"])
def test_labels_come_back_exactly(tmp_path, task):
    sample = random_sample()
    pascal_mt.write_sample(tmp_path, "a", sample)
    read = pascal_mt.read_target(tmp_path, "a", task)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, sample[task])


def test_normals_come_back_to_half_a_grey_level(tmp_path):
    sample = random_sample()
    pascal_mt.write_sample(tmp_path, "a", sample)
    read, written = pascal_mt.read_target(tmp_path, "a", "normals"), sample["normals"]
    valid = sample["label_map"] != 360
    assert (read[~valid] == 255).all()
    np.testing.assert_allclose(np.linalg.norm(read[valid], axis=-1), 1, atol=1e-6)
    angles = np.degrees(np.arccos(np.clip((read * written).sum(-1)[valid], -1, 1)))
    assert angles.max() < 0.5


def test_depth_comes_back_to_the_millimetre(tmp_path):
    sample = random_sample()
    pascal_mt.write_sample(tmp_path, "a", sample)
    read = pascal_mt.read_target(tmp_path, "a", "depth")
    assert ((read == 255) == (sample["depth"] == 255)).all()
    assert np.abs(read - sample["depth"]).max() <= 0.00051


def test_depth_that_16_bits_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"70\.0 m"):
        pascal_mt.write_depth(tmp_path / "a.png", np.array([[1.0, 70.0, 255.0]]))


def test_equal_content_is_equal_bytes(tmp_path, monkeypatch):
    label_map = random_sample()["label_map"]
    for name, now in (("a", "Mon"), ("b", "Tue")):
        monkeypatch.setattr(time, "asctime", lambda *_, now=now: now)
        pascal_mt.write_label_map(tmp_path / name, label_map)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# ------------------------------------------------------------------------------------------------------ human parts


def write_part_file(path, *objects, shape=(2, 3)):
    """A file of objects (class id, [(part name, mask)]), independent of the package's own writer."""
    from scipy.io import savemat

    rows = np.zeros((1, len(objects)), [("class", object), ("class_ind", object), ("mask", object), ("parts", object)])
    for i, (class_id, parts) in enumerate(objects):
        table = np.zeros((1, len(parts)), [("part_name", object), ("mask", object)])
        for j, part in enumerate(parts):
            table[0, j] = part
        rows[0, i] = "thing", np.array([[class_id]]), np.ones(shape, np.uint8), table if parts else np.zeros((0, 0))
    anno = np.zeros((1, 1), [("imname", object), ("objects", object)])
    anno[0, 0] = "a", rows
    savemat(path, {"anno": anno})


def mask(*pixels):
    result = np.zeros((2, 3), np.uint8)
    result.flat[list(pixels)] = 1
    return result


def test_the_parts_of_all_persons_share_one_map_and_other_things_have_none(tmp_path):
    path = tmp_path / "a.mat"
    write_part_file(
        path,
        (15, [("hair", mask(0)), ("neck", mask(1))]),
        (12, [("head", mask(2))]),  # of a dog
        (15, [("rhand", mask(3)), ("lfoot", mask(4))]),
        (15, []),
    )
    np.testing.assert_array_equal(pascal_mt.read_human_parts(path), [[1, 2, 0], [4, 6, 0]])


@pytest.mark.parametrize("objects", [[(15, [])], [(12, [("head", mask(2))])], [(12, []), (15, [])]])
def test_without_a_person_with_parts_the_whole_map_is_ignored(tmp_path, objects):
    write_part_file(tmp_path / "a.mat", *objects)
    assert (pascal_mt.read_human_parts(tmp_path / "a.mat") == 255).all()


def test_a_map_of_nobody_is_written_as_nobody(tmp_path):
    path = tmp_path / "a.mat"
    pascal_mt.write_human_parts(path, np.full((5, 7), 255, np.uint8))
    np.testing.assert_array_equal(pascal_mt.read_human_parts(path), np.full((5, 7), 255))


@needs_shared
def test_real_part_files_agree_with_the_released_loader():
    reference = json.loads((SHARED / "fixtures/real_files/human_parts.json").read_text())["images"]
    for image_id, expected in reference.items():
        parts = pascal_mt.read_target(SHARED / "realdata", image_id, "human_parts")
        if expected["has_human_parts_flag"]:
            assert hashlib.sha256(parts.tobytes()).hexdigest() == expected["raw_sha256_uint8_row_major"]
        else:
            assert (parts == 255).all()


@needs_shared
def test_real_masks_agree_with_the_released_loader():
    reference = json.loads((SHARED / "fixtures/real_files/semseg.json").read_text())["images"]
    for image_id, expected in reference.items():
        semseg = pascal_mt.read_target(SHARED / "realdata", image_id, "semseg")
        assert hashlib.sha256(semseg.tobytes()).hexdigest() == expected["native_sha256_uint8_row_major"]


# ------------------------------------------------------------------------------------------------- single encodings


def test_semseg_falls_back_to_pascal_context_and_prefers_voc(tmp_path):
    for folder, value in (("pascal-context", 7), ("VOC12", 3)):
        path = tmp_path / "semseg" / folder / "a.png"
        path.parent.mkdir(parents=True)
        pascal_mt.write_semseg(path, np.full((2, 2), value, np.uint8))
        assert (pascal_mt.read_target(tmp_path, "a", "semseg") == value).all()


def test_class_ids_painted_as_colours_are_refused(tmp_path):
    Image.new("RGB", (3, 2), (128, 0, 0)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="mode is RGB"):
        pascal_mt.read_semseg(tmp_path / "a.png")


def test_saliency_begins_above_one_half(tmp_path):
    Image.fromarray(np.uint8([[0, 127, 128, 255]])).save(tmp_path / "a.png")
    np.testing.assert_array_equal(pascal_mt.read_sal(tmp_path / "a.png"), [[0, 0, 1, 1]])


def test_grey_normals_have_no_direction(tmp_path):
    Image.fromarray(np.uint8([[[128, 128, 128], [128, 128, 255]]])).save(tmp_path / "a.png")
    grey, forward = pascal_mt.read_normals(tmp_path / "a.png")[0]
    assert (grey == 255).all()
    np.testing.assert_allclose(forward, [0, 0, 1], atol=0.01)


@needs_shared
def test_the_classes_on_which_normals_count():
    facts = json.loads((SHARED / "facts/normals_valid_context_ids.json").read_text())
    assert list(pascal_mt.NORMALS_VALID_IDS) == facts["ids"]


def test_a_split_is_read_whatever_its_line_ends(tmp_path):
    folder = tmp_path / pascal_mt.SPLITS
    folder.mkdir(parents=True)
    (folder / "val.txt").write_bytes(b"2008_000002\r\n\r\n2008_000003\n  \n2008_000007")
    assert pascal_mt.read_split(tmp_path, "val") == ["2008_000002", "2008_000003", "2008_000007"]
    with pytest.raises(FileNotFoundError, match=r"No split 'test'.*splits there: val"):
        pascal_mt.read_split(tmp_path, "test")


def test_a_split_is_a_list_of_the_folder_or_a_path(tmp_path, monkeypatch):
    pascal_mt.write_split(tmp_path / "data", "val", ["a"])
    (tmp_path / "mine.txt").write_text("b\nb\nc")
    assert pascal_mt.read_split(tmp_path / "data", str(tmp_path / "mine.txt")) == ["b", "b", "c"]
    monkeypatch.chdir(tmp_path)
    assert pascal_mt.read_split(Path("data"), Path("mine.txt")) == ["b", "b", "c"]
    (tmp_path / "val").write_text("d")
    assert pascal_mt.read_split(Path("data"), "val") == ["a"]  # the folder's own comes first


# ------------------------------------------------------------------------------------------------------------- edges


def naive_borders(labels):
    """|discrete Laplacian| > 0, the border mirrored without repeating the outermost pixel, pixel by pixel."""
    height, width = labels.shape
    mirror = lambda i, n: -i if i < 0 else 2 * (n - 1) - i if i >= n else i  # noqa: E731
    borders = np.zeros(labels.shape, bool)
    for y in range(height):
        for x in range(width):
            around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            total = sum(int(labels[mirror(v, height), mirror(u, width)]) for v, u in around)
            borders[y, x] = total != 4 * int(labels[y, x])
    return borders


def test_edges_are_the_thinned_borders():
    y, x = np.mgrid[:40, :56]
    labels = np.where((x - 30) ** 2 + (y - 18) ** 2 < 150, 459, np.where(x + 2 * y > 60, 85, 3)).astype(np.uint16)
    edges, borders = pascal_mt.edges_from_label_map(labels).astype(bool), naive_borders(labels)
    assert not (edges & ~borders).any()
    assert borders.sum() > 1.7 * edges.sum()  # both sides of a border became one
    blocks = edges[:-1, :-1] & edges[1:, :-1] & edges[:-1, 1:] & edges[1:, 1:]
    assert not blocks.any()
    eight = np.ones((3, 3))
    assert ndimage.label(edges, eight)[1] == ndimage.label(borders, eight)[1]  # nothing torn, nothing lost
    assert not (borders & ~ndimage.binary_dilation(edges, eight)).any()  # and no border farther than one pixel


def test_a_map_of_one_label_has_no_edges():
    assert not pascal_mt.edges_from_label_map(np.full((6, 8), 40000, np.uint16)).any()
