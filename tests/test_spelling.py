"""What people read is spelled right: pages, notebooks, docstrings and comments. Exceptions stand in pyproject.toml."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATTERNS = ("*.md", "data/*.md", "Makefile", ".ci/run", "notebooks/[!.]*.*", "mtlora_lite/**/*.py")


def misspelled(folder):
    """The lines that codespell complains about in the files of a folder."""
    command = [sys.executable, "-m", "codespell_lib", "--toml", str(ROOT / "pyproject.toml"), "."]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert not result.stderr, result.stderr
    return result.stdout.splitlines()


def test_pages_notebooks_and_docstrings_are_spelled_right(tmp_path):
    for file in (file for pattern in PATTERNS for file in ROOT.glob(pattern)):
        words = file.read_text()
        if file.suffix == ".ipynb":  # without its outputs, which hold pictures
            words = "\n".join("".join(cell["source"]) for cell in json.loads(words)["cells"])
        copy = tmp_path / file.relative_to(ROOT).as_posix().lstrip(".")  # codespell passes over hidden folders
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(words)
    assert len(list(tmp_path.rglob("*.md"))) >= 4
    assert list(tmp_path.rglob("*.ipynb"))
    assert not misspelled(tmp_path)


def test_a_misspelled_word_is_found(tmp_path):
    (tmp_path / "00.ipynb").write_text("A " + "sentance")
    assert misspelled(tmp_path) == ["./00.ipynb:1: sentance ==> sentence"]
