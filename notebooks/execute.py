"""Execute the notebooks and store what they print and draw: ``make notebooks``, or with names as arguments.

Outputs are written without what differs from run to run: times, versions of Python, and the state of widgets.
"""

import argparse
import os
from pathlib import Path

import nbformat
from hosted import dress
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent

# The kernels inherit it: the package beside this folder runs, whichever is installed.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(FOLDER.parent), os.environ.get("PYTHONPATH"))))


def execute(path: Path) -> None:
    """Run one notebook from top to bottom and write it back; an error in a cell is raised and nothing is written."""
    notebook = dress(nbformat.read(path, as_version=4), path.name)
    client = NotebookClient(
        notebook,
        resources={"metadata": {"path": str(FOLDER)}},
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
    )
    client.execute()
    for cell in notebook.cells:
        if "no-output" in cell.metadata.get("tags", ()):
            cell.outputs = []  # widgets, progress bars: dead without the kernel that made them
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, path)


def main() -> None:
    """Execute the notebooks that are named, or all."""
    notebooks = sorted(FOLDER.glob("*.ipynb"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", nargs="*", type=Path, default=notebooks, help="a file; without any, all of them")
    paths = parser.parse_args().notebook
    if missing := [str(path) for path in paths if not path.is_file()]:
        there = ", ".join(path.name for path in notebooks)
        parser.error(f"There is no file {', '.join(missing)}. In {FOLDER} there are: {there}.")
    for path in paths:
        print(path.name, flush=True)
        execute(path)


if __name__ == "__main__":
    main()
