"""Notebooks as tests, in the ways that people start them, untouched and with the exercises filled in."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIRST = "00_one_image_many_tasks.ipynb"


def nbval(line, folder, env):
    return subprocess.run(line.split(), cwd=folder, env=env, capture_output=True, text=True, check=False)


def code_cells(paths):
    cells = (cell for path in paths for cell in json.loads(path.read_text())["cells"])
    return sum(cell["cell_type"] == "code" for cell in cells)


@pytest.mark.parametrize(("line", "folder"), [(f"notebooks/{FIRST}", ""), (FIRST, "notebooks")])
def test_a_notebook_passes_from_either_folder(line, folder, kernel_env):
    result = nbval(f"pytest --nbval {line}", ROOT / folder, kernel_env)
    assert result.returncode == 0, result.stdout[-5000:]
    assert f" {code_cells([ROOT / 'notebooks' / FIRST])} passed" in result.stdout


def solve(path, change=lambda code: code):
    """Copy the solutions of a notebook, or what ``change`` makes of them, into the cells of the exercises."""
    notebook = json.loads(path.read_text())
    found = {}
    for cell in reversed(notebook["cells"]):  # the solutions stand behind the exercises
        if match := re.search(r'^check\("([\d.]+)"', "".join(cell["source"]), re.MULTILINE):
            if "solution" in cell["metadata"].get("tags", ()):
                found[match[1]] = change("".join(cell["source"]))
            else:
                cell["source"] = found.pop(match[1])
    assert not found
    path.write_text(json.dumps(notebook))


@pytest.fixture
def copied(tmp_path):
    """The notebooks, to be changed."""
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    return shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=ignored)


def test_solved_notebooks_pass_side_by_side(copied, kernel_env):
    paths = sorted(copied.glob("*.ipynb"))
    for path in paths:
        solve(path)
    result = nbval("pytest --nbval -n 2 --dist loadscope notebooks/", copied.parent, kernel_env)
    assert result.returncode == 0, result.stdout[-5000:]
    assert f" {code_cells(copied.rglob('*.ipynb'))} passed" in result.stdout


def test_a_wrong_answer_does_not_pass(copied, kernel_env):
    solve(copied / FIRST, lambda code: re.sub("return .*", "return -1", code))
    result = nbval(f"pytest --nbval notebooks/{FIRST}", copied.parent, kernel_env)
    assert result.returncode == 1
    assert "not yet" in result.stdout
    exercises = (copied / FIRST).read_text().count('"solution"')
    assert f" {exercises} failed" in result.stdout
