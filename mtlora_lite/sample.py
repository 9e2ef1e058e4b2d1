"""How the committed pictures of ``data/`` came to be: a sample of the scenes, and a sheet of crops of every class.

``python -m mtlora_lite.sample`` writes them anew. The sample shows what the embedded data set and its files look like,
and is what notebooks and tests read where nothing should be rendered first. Its scenes are the first of the ``val``
world, so nothing is ever trained on them that is trained on the ``train`` split.
"""

import shutil
from pathlib import Path

from PIL import Image

from mtlora_lite import pascal_mt
from mtlora_lite.datasets import world_of, write_scene
from mtlora_lite.paths import data_dir
from mtlora_lite.scenes import contact_sheet

SAMPLE, CONTACT_SHEET = "sample", "contact_sheet.png"
SIZE = (128, 128)
WORLD = world_of("val")
SPLITS = {"train": range(16), "val": range(16, 24)}  # indices in that world
CROP_SIZE = 64  # the size at which the embedded backbone is pre-trained


def write_sample(root: Path) -> None:
    """Write the sample in the PASCAL_MT layout, in place of what was there."""
    shutil.rmtree(root, ignore_errors=True)
    for split, indices in SPLITS.items():
        ids = [write_scene(root, WORLD, SIZE, index) for index in indices]
        pascal_mt.write_split(root, split, ids)


def write_contact_sheet(path: Path) -> None:
    """Write ten crops of each class, with the names of the classes, as one PNG."""
    Image.fromarray(contact_sheet(size=CROP_SIZE, labels=True)).save(path, optimize=True)


if __name__ == "__main__":
    write_sample(data_dir() / SAMPLE)
    write_contact_sheet(data_dir() / CONTACT_SHEET)
