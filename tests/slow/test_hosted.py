"""A notebook alone in a folder, as on Colab and Kaggle: its install cell brings the package, from a built wheel."""

import copy
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "00_one_image_many_tasks.ipynb"
HOSTED = runpy.run_path(str(ROOT / "notebooks" / "hosted.py"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """What ``pip wheel --no-deps .`` makes."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), "."]
    subprocess.run(command, cwd=ROOT, check=True)
    (found,) = folder.glob("mtlora_lite-*.whl")
    return found


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The Python of an environment with all that the package needs, but without the package."""
    folder = tmp_path_factory.mktemp("environment")
    lock, python = ROOT / "requirements.lock", folder / "bin" / "python"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--seed", "--python", sys.executable, str(folder)], check=True)
    subprocess.run([*uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(lock)], check=True)
    return python


@pytest.fixture
def hosted_python(environment, bare_env):
    """That Python as a function of its arguments; the package is away again afterwards."""

    def python(*arguments, cwd, **variables):
        command = [str(environment), *arguments]
        return subprocess.run(command, cwd=cwd, env=bare_env | variables, capture_output=True, text=True, check=False)

    yield python
    subprocess.run([str(environment), "-m", "pip", "uninstall", "--quiet", "--yes", "mtlora_lite"], check=True)


def place(python, folder):
    """Where the package is imported from, outside any checkout."""
    code = "import mtlora_lite.paths as paths; print(paths.__file__); print(paths.data_dir())"
    return python("-c", code, cwd=folder).stdout.split()


def test_on_colab_the_notebook_runs_from_the_uploaded_wheel(wheel, hosted_python, environment, tmp_path):
    shutil.copy(NOTEBOOK, tmp_path)
    shutil.copy(wheel, tmp_path)
    assert place(hosted_python, tmp_path) == []
    command = ["-m", "pytest", "--nbval", NOTEBOOK.name]
    result = hosted_python(*command, cwd=tmp_path, COLAB_RELEASE_TAG="any", OMP_NUM_THREADS="2")
    assert result.returncode == 0, result.stdout[-5000:]
    module, data = place(hosted_python, tmp_path)
    assert Path(module).is_relative_to(environment.parents[1])
    assert Path(data).is_relative_to(environment.parents[1])


def first_cells(folder, code):
    """A notebook of the title, an install cell and the cell that imports the package."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells = copy.deepcopy(notebook.cells[:3])
    notebook.cells[1].source = code
    nbformat.write(notebook, folder / "first.ipynb")


def test_on_kaggle_the_wheel_is_found_among_the_inputs(wheel, hosted_python, tmp_path):
    for name in ("working", "input/a-dataset"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(wheel, tmp_path / "input/a-dataset")
    first_cells(tmp_path / "working", HOSTED["install_code"](""))
    command = ["-m", "pytest", "--nbval", "first.ipynb"]
    assert hosted_python(*command, cwd=tmp_path / "working").returncode == 1  # neither here nor there: no package
    result = hosted_python(*command, cwd=tmp_path / "working", KAGGLE_KERNEL_RUN_TYPE="Interactive")
    assert result.returncode == 0, result.stdout[-5000:]


def test_the_package_is_installed_from_its_repository(clone, hosted_python, tmp_path):
    first_cells(tmp_path, HOSTED["install_code"](clone("repository").folder.as_uri()))
    result = hosted_python("-m", "pytest", "--nbval", "first.ipynb", cwd=tmp_path, COLAB_RELEASE_TAG="any")
    assert result.returncode == 0, result.stdout[-5000:]
    assert len(place(hosted_python, tmp_path)) == 2
