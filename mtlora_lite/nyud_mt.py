"""NYUD_MT on disk: the two packagings in which this field shares NYUDv2 with its multi-task labels.

NYUDv2 (Silberman, Hoiem, Kohli, Fergus, "Indoor Segmentation and Support Inference from RGBD Images", ECCV 2012)
comes in two packagings of one name and one structure, which differ in how labels are encoded:

===========  =========================  =========================  ===============================================
file         packaging "mat"            packaging "npy"            encoding
===========  =========================  =========================  ===============================================
``image``    ``images/<id>.jpg``        ``images/<id>.jpg``        RGB
``semseg``   ``segmentation/<id>.mat``  ``segmentation/<id>.png``  0 = unlabelled, otherwise class id + 1
``normals``  ``normals/<id>.jpg``       ``normals/<id>.npy``       RGB, n = 2 v / 255 - 1; the array holds n itself
``edge``     ``edge/<id>.png``          ``edge/<id>.npy``          0 and 1, or 0 and 255
``depth``    ``depth/<id>.mat``         ``depth/<id>.npy``         metres, 0 = missing
===========  =========================  =========================  ===============================================

Which packaging it is shows in the extension of each file. The lists of ids are ``gt_sets/train.txt`` (795) and
``gt_sets/val.txt`` (654). Arrays here are numpy, channels last, and hold the values of the targets in ``tasks.py``.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from mtlora_lite.layouts import Layout
from mtlora_lite.pascal_mt import read_ids, unit_normals
from mtlora_lite.pascal_mt import read_normals as read_coloured_normals
from mtlora_lite.tasks import IGNORE_INDEX

FILES: dict[str, tuple[str, ...]] = {  # in the order in which they are tried: "mat", "npy"
    "image": ("images/{id}.jpg",),
    "semseg": ("segmentation/{id}.mat", "segmentation/{id}.png"),
    "normals": ("normals/{id}.jpg", "normals/{id}.npy"),
    "edge": ("edge/{id}.png", "edge/{id}.npy"),
    "depth": ("depth/{id}.mat", "depth/{id}.npy"),
}
SPLITS = "gt_sets"

# The 40 classes of Gupta, Arbelaez, Malik, "Perceptual Organization and Recognition of Indoor Scenes", CVPR 2013.
NYU_CLASSES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter",
    "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes", "ceiling", "books",
    "refrigerator", "television", "paper", "towel", "shower curtain", "box", "whiteboard", "person", "night stand",
    "toilet", "sink", "lamp", "bathtub", "bag", "other structure", "other furniture", "other prop",
)  # fmt: skip
CHANNELS = {"semseg": len(NYU_CLASSES)}


# -------------------------------------------------------------------------------------------- one file at a time


def read_semseg(path: Path) -> np.ndarray:
    """Read class ids uint8 (H, W), 0..39, 255 = ignore."""
    ids = read_ids(path) if path.suffix.lower() == ".png" else _read_matrix(path)
    if ids.min() < 0 or ids.max() > len(NYU_CLASSES):
        raise ValueError(f"it holds {ids.min()} to {ids.max()}, and ids are 0 (unlabelled) to {len(NYU_CLASSES)}")
    return np.where(ids == 0, IGNORE_INDEX, ids - 1.0).astype(np.uint8)


def read_normals(path: Path) -> np.ndarray:
    """Read unit normals float32 (H, W, 3), 255 in all three channels where the file has no direction."""
    if path.suffix.lower() != ".npy":
        return read_coloured_normals(path)
    normals = _read_array(path)
    if normals.ndim != 3 or normals.shape[-1] != 3 or normals.dtype.kind != "f":
        raise ValueError(f"it holds {normals.dtype} {normals.shape}, and normals are floats (H, W, 3)")
    return unit_normals(np.nan_to_num(normals.astype(np.float32), posinf=0, neginf=0))


def read_edge(path: Path) -> np.ndarray:
    """Read edges uint8 (H, W), 0 or 1, from a file of 0 and 1 or of 0 and 255."""
    if path.suffix.lower() == ".npy":
        edge = _flat(_read_array(path))
    else:
        with Image.open(path) as image:
            edge = np.asarray(image.convert("L"))
    return (edge > (0.5 if edge.max() <= 1 else 127)).astype(np.uint8)


def read_depth(path: Path) -> np.ndarray:
    """Read depth in metres, float32 (H, W), 255 = invalid: 0 or no number in the file."""
    depth = _flat(_read_array(path) if path.suffix.lower() == ".npy" else _read_matrix(path)).astype(np.float32)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(IGNORE_INDEX))


def _read_array(path: Path) -> np.ndarray:
    return np.load(path, allow_pickle=False)  # a pickle could run anything


def _read_matrix(path: Path) -> np.ndarray:
    """The one matrix that a .mat file holds, by whatever name."""
    from scipy.io import loadmat  # here, because it takes a while to import

    content = {name: value for name, value in loadmat(path).items() if not name.startswith("__")}
    matrices = [value for value in content.values() if value.dtype.kind in "buif" and min(value.shape) > 1]
    if len(matrices) != 1:
        names = ", ".join(content) or "nothing"
        raise ValueError(f"it should hold one matrix, and holds {len(matrices)} (in it: {names})")
    return matrices[0]


def _flat(array: np.ndarray) -> np.ndarray:
    return array.squeeze(-1) if array.ndim == 3 else array  # (H, W)


# ------------------------------------------------------------------------------------------------- the whole layout

TARGETS = {
    "semseg": (("semseg",), read_semseg),
    "normals": (("normals",), read_normals),
    "edge": (("edge",), read_edge),
    "depth": (("depth",), read_depth),
}
LAYOUT = Layout("NYUD_MT", SPLITS, FILES, TARGETS, CHANNELS)
find_file, missing_files, read_target = LAYOUT.find_file, LAYOUT.missing_files, LAYOUT.read_target
split_file, read_split = LAYOUT.split_file, LAYOUT.read_split
