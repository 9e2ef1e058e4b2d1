"""``python -m mtlora_lite.gallery [FOLDER]``: write the gallery."""

import argparse
from pathlib import Path

from mtlora_lite.gallery.catalogue import slides
from mtlora_lite.gallery.slides import write_gallery

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the kit's figures for slides, as PNG and as SVG.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("artifacts/gallery"))
    folder = parser.parse_args().folder
    print(f"Wrote {len(write_gallery(folder, slides()))} files to {folder}.")
