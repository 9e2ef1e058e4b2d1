"""What the slow tests share. ``make test`` leaves them out; ``make test-slow`` and ``make test-browser`` run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lab import CHROMIUM, INSTALL
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def chromium():
    """A real browser, one for all: Playwright runs once in a process."""
    if CHROMIUM is None:
        pytest.fail(INSTALL, pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def kernel_env():
    """The environment of a process that runs notebooks against this checkout, wherever their files lie."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    binaries = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # as an activated environment
    # One thread: beside a browser or a second kernel, two threads wait for each other most of the time.
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return {**os.environ, **threads, "PYTHONPATH": path, "PATH": binaries}


@pytest.fixture(scope="session")
def bare_env():
    """The environment of a shell that has just been opened: nothing of this checkout or of its packages."""
    ours = re.compile("PYTHON|VIRTUAL_ENV|CONDA|MTLORA|PYTEST|COV_|MAKE|MFLAGS")
    kept = {name: value for name, value in os.environ.items() if not ours.match(name)}
    folders = (folder for folder in kept["PATH"].split(os.pathsep) if not Path(folder).is_relative_to(sys.prefix))
    return kept | {"PATH": os.pathsep.join(folders)}


@pytest.fixture(scope="session")
def clone(tmp_path_factory, bare_env):
    """A function that runs a line in bash in a fresh clone of what is committed here, and returns what it prints."""

    def fresh(name):
        folder = tmp_path_factory.mktemp(name) / "mtlora_lite"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)

        def shell(line):
            result = subprocess.run(
                ["bash", "-ec", line], cwd=folder, env=bare_env, capture_output=True, text=True, check=False
            )
            assert result.returncode == 0, f"{line}\n{result.stdout[-5000:]}\n{result.stderr[-5000:]}"
            return result.stdout

        shell.folder = folder
        return shell

    return fresh
