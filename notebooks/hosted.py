"""Dress a notebook for Colab and Kaggle: a cell that installs the package there, and badges that open it there.

``make notebooks`` dresses every notebook before it executes it, and a test holds each against what stands here.
"""

import re

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

REPOSITORY = ""  # "https://github.com/OWNER/NAME", once the public can read it there; empty: no badges

TAGS = ["hosted", "nbval-ignore-output"]

_ONLY_THERE = """\
# On Colab and Kaggle this installs the package; anywhere else it does nothing.
# (Kaggle reaches the network only after you switch the notebook's Internet on.)
import os
{imports}
if {{"COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"}} & os.environ.keys():
"""
_FROM_A_WHEEL = """\
    # The file to upload, to Colab as a file, to Kaggle as a dataset: `pip wheel --no-deps .` makes it in a checkout.
    wheels = [*Path().glob("mtlora_lite-*.whl"), *Path("../input").rglob("mtlora_lite-*.whl")]
    assert wheels, "upload mtlora_lite-….whl first, see above"
    %pip install --quiet "{wheels[-1]}"\
"""
_BADGES = re.compile(r"^\[!\[Open in Colab\].*\n\n", re.MULTILINE)


def dress(notebook: NotebookNode, name: str, repository: str = REPOSITORY) -> NotebookNode:
    """Give a notebook its install cell, after the title, and its badges; what was there of them is replaced.

    Args:
        notebook: it is changed, and returned.
        name: of its file, in this folder.
        repository: where the public finds the package, or an empty string.
    """
    title, *rest = notebook.cells
    title.source = _BADGES.sub("", title.source)
    if repository:
        title.source = title.source.replace("\n\n", f"\n\n{badges(name, repository)}\n\n", 1)
    hosted = next(filter(is_hosted, rest), None) or new_code_cell(id="hosted")
    hosted.source = install_code(repository)
    hosted.metadata = NotebookNode(jupyter=NotebookNode(source_hidden=True), tags=TAGS)
    notebook.cells = [title, hosted, *(cell for cell in rest if not is_hosted(cell))]
    return notebook


def is_hosted(cell: NotebookNode) -> bool:
    """Whether a cell is the one that installs the package."""
    return "hosted" in cell.metadata.get("tags", ())


def install_code(repository: str) -> str:
    """The source of the cell that installs the package from its repository, or from a wheel that was uploaded."""
    if repository:
        return _ONLY_THERE.format(imports="") + f"    %pip install --quiet git+{repository}"
    return _ONLY_THERE.format(imports="from pathlib import Path\n") + _FROM_A_WHEEL


def badges(name: str, repository: str) -> str:
    """Links that open a notebook of the repository on Colab and on Kaggle, which both read from GitHub only."""
    if not (found := re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+)", repository)):
        raise ValueError(f"REPOSITORY is {repository!r}, but badges need the form https://github.com/OWNER/NAME")
    file = f"{found[1]}/blob/main/notebooks/{name}"
    colab, kaggle = "https://colab.research.google.com", "https://kaggle.com"
    return (
        f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({colab}/github/{file}) "
        f"[![Open in Kaggle]({kaggle}/static/images/open-in-kaggle.svg)]"
        f"({kaggle}/kernels/welcome?src=https://github.com/{file})"
    )
