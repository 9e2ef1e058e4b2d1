"""PASCAL_MT on disk: where each annotation lies and how it is encoded, in both directions.

PASCAL_MT is the layout in which this field shares PASCAL-Context with its multi-task labels (introduced with
ASTMT, Maninis, Radosavovic, Kokkinos, "Attentive Single-Tasking of Multiple Tasks", CVPR 2019):

===============  ==============================================  ==============================================
file             where                                           encoding
===============  ==============================================  ==============================================
``image``        ``JPEGImages/<id>.jpg``                         RGB
``semseg``       ``semseg/VOC12/<id>.png``, otherwise            palette PNG of class ids 0..20, 255 = ignore
                 ``semseg/pascal-context/<id>.png``
``human_parts``  ``human_parts/<id>.mat``                        PASCAL-Part objects with named part masks
``normals``      ``normals_distill/<id>.png``                    RGB, n = 2 v / 255 - 1
``sal``          ``sal_distill/<id>.png``                        grey, foreground where v / 255 > 0.5
``label_map``    ``pascal-context/trainval/<id>.mat``            ``LabelMap``, the 459 classes of PASCAL-Context
``depth``        ``depth/<id>.png``                              16-bit grey, millimetres, 0 = invalid
===============  ==============================================  ==============================================

PASCAL_MT itself has no depth; the last row is this package's extension. Edges have no file: they are the borders
of the label map, and the label map also says where normals count. The embedded scenes are written with the
``write_*`` functions and PASCAL-Context is read with the ``read_*`` functions, so each keeps the other honest.
Readers raise on what the encoding does not allow; extensions may be in capitals.

``layouts.Layout`` is what a table like this one is in code; another data set is another of them, see ``nyud_mt.py``.

Arrays here are numpy, channels last, and hold the values of the targets in ``tasks.py``.
"""

from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from mtlora_lite.layouts import Layout
from mtlora_lite.tasks import IGNORE_INDEX, VOC_CLASSES, voc_palette

FILES: dict[str, tuple[str, ...]] = {  # in the order in which they are tried
    "image": ("JPEGImages/{id}.jpg",),
    "semseg": ("semseg/VOC12/{id}.png", "semseg/pascal-context/{id}.png"),
    "human_parts": ("human_parts/{id}.mat",),
    "normals": ("normals_distill/{id}.png",),
    "sal": ("sal_distill/{id}.png",),
    "label_map": ("pascal-context/trainval/{id}.mat",),
    "depth": ("depth/{id}.png",),
}
SPLITS = "ImageSets/Context"

# The classes of the label map on which distilled normals count: those whose name is also a class of NYU (whose
# images taught the network that the normals are distilled from), and the tv monitor.
NORMALS_VALID_IDS: tuple[int, ...] = (
    3, 4, 6, 9, 10, 11, 13, 15, 17, 18, 22, 23, 29, 30, 33, 34, 36, 37, 38, 39, 41, 43, 46, 49, 50, 51, 53, 55,
    56, 59, 61, 62, 65, 66, 68, 69, 72, 73, 78, 83, 84, 85, 87, 88, 95, 96, 101, 104, 105, 107, 111, 113, 115,
    122, 124, 135, 141, 142, 143, 146, 150, 154, 157, 158, 159, 165, 172, 174, 181, 183, 184, 191, 193, 195,
    197, 199, 202, 213, 215, 216, 219, 220, 223, 225, 228, 230, 232, 233, 238, 239, 242, 243, 246, 250, 251,
    252, 255, 260, 261, 263, 269, 272, 273, 275, 281, 283, 284, 285, 286, 287, 288, 290, 291, 292, 293, 295,
    304, 307, 309, 310, 314, 315, 319, 323, 329, 330, 331, 336, 342, 345, 349, 350, 351, 352, 355, 357, 368,
    370, 371, 374, 379, 380, 383, 384, 397, 401, 403, 405, 407, 408, 411, 412, 413, 414, 417, 419, 421, 423,
    427, 429, 430, 432, 440, 441, 442, 443, 444, 446, 454, 457,
)  # fmt: skip

PERSON = VOC_CLASSES.index("person")

# The 24 parts of a person in PASCAL-Part -> the six of human_parts; ids in the order of tasks.PART_CLASSES. The
# first name of a row is the one written.
PART_NAMES: dict[int, tuple[str, ...]] = {
    1: ("head", "hair", "lear", "lebrow", "leye", "mouth", "nose", "rear", "rebrow", "reye"),
    2: ("torso", "neck"),
    3: ("luarm", "ruarm"),
    4: ("llarm", "lhand", "rhand", "rlarm"),
    5: ("luleg", "ruleg"),
    6: ("llleg", "lfoot", "rfoot", "rlleg"),
}
_PART_IDS = {name: part for part, names in PART_NAMES.items() for name in names}


# ---------------------------------------------------------------------------------------------- where things lie


def write_split(root: Path, split: str, image_ids: list[str]) -> None:
    """Write the list of image ids of a split."""
    path = _make_parent(Path(root) / SPLITS / f"{split}.txt")
    path.write_text("".join(f"{image_id}\n" for image_id in image_ids))


def _make_parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


# -------------------------------------------------------------------------------------------- one file at a time


def write_image(path: Path, image: np.ndarray) -> None:
    """Write RGB uint8 (H, W, 3) as a JPEG: lossy, as every photograph of PASCAL is; labels are exact."""
    Image.fromarray(image).save(path, quality=95, subsampling=0)


def read_ids(path: Path) -> np.ndarray:
    """Read the ids of a palette or grey PNG, uint8 (H, W)."""
    with Image.open(path) as image:
        if image.mode not in ("P", "L"):
            raise ValueError(f"class ids need a palette or grey PNG, and its mode is {image.mode}")
        return np.asarray(image)  # of a palette PNG: the ids, not the colours


def read_semseg(path: Path) -> np.ndarray:
    """Read class ids uint8 (H, W), 255 = ignore."""
    semseg = read_ids(path)
    unknown = semseg[(semseg >= len(VOC_CLASSES)) & (semseg != IGNORE_INDEX)]
    if unknown.size:  # as where colours became grey: such numbers would be taken for classes that do not exist
        some = ", ".join(map(str, np.unique(unknown)[:3]))
        raise ValueError(f"it holds {some}, and class ids are 0 to {len(VOC_CLASSES) - 1} or {IGNORE_INDEX}")
    return semseg


def write_semseg(path: Path, semseg: np.ndarray) -> None:
    """Write class ids uint8 (H, W) as a PNG with the palette of VOC, which makes the file a picture."""
    image = Image.fromarray(semseg).convert("L")
    image.putpalette([value for color in voc_palette() for value in color])
    image.save(path)


def read_sal(path: Path) -> np.ndarray:
    """Read the salient foreground, uint8 (H, W) 0 or 1."""
    with Image.open(path) as image:
        return (np.asarray(image.convert("L")) > 127).astype(np.uint8)


def write_sal(path: Path, sal: np.ndarray) -> None:
    """Write the salient foreground, (H, W) 0 or 1, as black and white."""
    Image.fromarray(np.where(sal > 0, 255, 0).astype(np.uint8)).save(path)


def read_normals(path: Path) -> np.ndarray:
    """Read unit normals float32 (H, W, 3); 255 in all three channels where the pixel is grey, i.e. has no direction.

    Where the normals *count* is not in this file: see ``valid_normals``.
    """
    with Image.open(path) as image:
        if len(image.getbands()) < 3:
            raise ValueError(f"directions need three colours, and its mode is {image.mode}")
        return unit_normals(np.asarray(image.convert("RGB"), np.float32) * np.float32(2 / 255) - 1)


def unit_normals(normals: np.ndarray) -> np.ndarray:
    """Return float32 vectors (H, W, 3) at length 1; 255 in all three channels where they are too short to point."""
    length = np.sqrt(np.einsum("hwc,hwc->hw", normals, normals))[..., None]  # (H, W, 1)
    return np.where(length > 0.1, normals / np.maximum(length, 0.1), np.float32(IGNORE_INDEX))


def write_normals(path: Path, normals: np.ndarray) -> None:
    """Write unit normals (H, W, 3), 255 = invalid, as RGB; invalid becomes grey. Exact to half a grey level (0.4°)."""
    invalid = normals[..., :1] == IGNORE_INDEX
    levels = np.rint((np.where(invalid, 0, normals) + 1) * 127.5)
    Image.fromarray(levels.astype(np.uint8)).save(path)


def read_depth(path: Path) -> np.ndarray:
    """Read depth in metres, float32 (H, W), 255 = invalid."""
    with Image.open(path) as image:
        millimetres = np.asarray(image).astype(np.float32)
    return np.where(millimetres > 0, millimetres / 1000, np.float32(IGNORE_INDEX))


def write_depth(path: Path, depth: np.ndarray) -> None:
    """Write depth in metres, (H, W), 255 = invalid, as millimetres; more than 65.535 m cannot be written."""
    millimetres = np.rint(np.where(depth == IGNORE_INDEX, 0, depth) * 1000.0)
    if millimetres.max() > np.iinfo(np.uint16).max:
        raise ValueError(f"Depth of {depth[depth != IGNORE_INDEX].max():.1f} m: 16-bit millimetres end at 65.535 m.")
    Image.fromarray(millimetres.astype(np.uint16)).save(path)


def read_label_map(path: Path) -> np.ndarray:
    """Read the label map of PASCAL-Context, uint16 (H, W)."""
    return _load_mat(path, "LabelMap").astype(np.uint16)


def write_label_map(path: Path, label_map: np.ndarray) -> None:
    """Write a label map, uint16 (H, W)."""
    _save_mat(path, {"LabelMap": label_map.astype(np.uint16)})


def read_human_parts(path: Path) -> np.ndarray:
    """Read a PASCAL-Part file as part ids uint8 (H, W): 0 background, 1..6 the parts of all persons in one map.

    Where no person has parts the whole map is 255: such an image says nothing about parts.
    """
    objects = _load_mat(path, "anno")["objects"].flat[0]
    if objects.size == 0:
        raise ValueError("it lists no object")
    labels = np.zeros(objects["mask"].flat[0].shape, np.uint8)  # (H, W)
    for _, class_id, _, parts in objects.flat:
        if class_id.item() == PERSON:
            for name, mask in parts.flat:
                if name.item() not in _PART_IDS:
                    raise ValueError(f"it names a part {name.item()!r}, which PASCAL-Part does not have")
                labels[mask > 0] = _PART_IDS[name.item()]
    return labels if labels.any() else np.full_like(labels, IGNORE_INDEX)


def write_human_parts(path: Path, parts: np.ndarray) -> None:
    """Write part ids uint8 (H, W) in the structure of PASCAL-Part, all persons as one object.

    A map of 255 alone becomes a file without a person: its only object is the background.
    """
    present = [part for part in PART_NAMES if (parts == part).any()]
    part_list = np.zeros((1, len(present)), [("part_name", object), ("mask", object)])
    for slot, part in enumerate(present):
        part_list[0, slot] = PART_NAMES[part][0], (parts == part).astype(np.uint8)
    class_id = PERSON if present else 0
    objects = np.zeros((1, 1), [("class", object), ("class_ind", object), ("mask", object), ("parts", object)])
    mask = np.isin(parts, present).astype(np.uint8)
    objects[0, 0] = VOC_CLASSES[class_id], np.uint8([[class_id]]), mask, part_list if present else np.zeros((0, 0))
    anno = np.zeros((1, 1), [("imname", object), ("objects", object)])
    anno[0, 0] = path.stem, objects
    _save_mat(path, {"anno": anno})


def _load_mat(path: Path, key: str) -> np.ndarray:
    from scipy.io import loadmat, whosmat  # here: it takes a while to import, and half of the tasks do without

    content = loadmat(path, variable_names=[key])
    if key not in content:
        there = ", ".join(name for name, *_ in whosmat(path)) or "nothing"
        raise ValueError(f"it holds no {key!r}, but {there}")
    return content[key]


def _save_mat(path: Path, content: dict) -> None:
    from scipy.io import savemat

    buffer = BytesIO()
    savemat(buffer, content, do_compression=True)
    # The first 116 bytes are free text; scipy puts the time there, and equal content should be equal bytes.
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + buffer.getvalue()[116:])


# ------------------------------------------------------------------------------------------------ derived labels


def edges_from_label_map(label_map: np.ndarray) -> np.ndarray:
    """Return the edge target uint8 (H, W), 0 or 1: where the discrete Laplacian of the labels is not 0, thinned.

    Borders are found on both sides of a change of label and then thinned to one pixel (Guo and Hall, 1989).
    """
    from scipy.ndimage import laplace
    from skimage.morphology import thin

    borders = laplace(label_map.astype(np.int32), mode="mirror") != 0
    return thin(borders).astype(np.uint8)


def valid_normals(normals: np.ndarray, label_map: np.ndarray) -> np.ndarray:
    """Return ``normals`` (H, W, 3) with 255 on every class of ``label_map`` (H, W) on which normals do not count."""
    if normals.shape[:2] != label_map.shape:
        raise ValueError(f"the normals have {normals.shape[:2]} rows and columns, the label map {label_map.shape}")
    counts = np.isin(label_map, NORMALS_VALID_IDS)  # (H, W)
    return np.where(counts[..., None], normals, np.float32(IGNORE_INDEX))


def read_edge(label_map: Path) -> np.ndarray:
    """Read the edge target of a label map's file."""
    return edges_from_label_map(read_label_map(label_map))


def read_valid_normals(normals: Path, label_map: Path) -> np.ndarray:
    """Read normals where they count."""
    return valid_normals(read_normals(normals), read_label_map(label_map))


# ------------------------------------------------------------------------------------------ targets, whole samples

# A task -> the files it is made of, and the function of their paths that gives its target.
TARGETS: dict[str, tuple[tuple[str, ...], Callable[..., np.ndarray]]] = {
    "semseg": (("semseg",), read_semseg),
    "human_parts": (("human_parts",), read_human_parts),
    "sal": (("sal",), read_sal),
    "normals": (("normals", "label_map"), read_valid_normals),
    "edge": (("label_map",), read_edge),
    "depth": (("depth",), read_depth),
}

_WRITERS: dict[str, Callable[[Path, np.ndarray], None]] = {
    "image": write_image,
    "semseg": write_semseg,
    "human_parts": write_human_parts,
    "normals": write_normals,
    "sal": write_sal,
    "label_map": write_label_map,
    "depth": write_depth,
}


LAYOUT = Layout("PASCAL_MT", SPLITS, FILES, TARGETS)
find_file, missing_files, read_target = LAYOUT.find_file, LAYOUT.missing_files, LAYOUT.read_target
split_file, read_split = LAYOUT.split_file, LAYOUT.read_split


def write_sample(root: Path, image_id: str, sample: Mapping[str, np.ndarray]) -> None:
    """Write one sample: every entry of ``sample`` that has a file in the layout, each in the place tried first."""
    for file in FILES.keys() & sample.keys():
        path = Path(root) / FILES[file][0].format(id=image_id)
        _WRITERS[file](_make_parent(path), sample[file])
