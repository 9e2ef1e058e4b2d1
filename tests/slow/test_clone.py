"""A newcomer's first hour: a fresh clone, an empty environment, and the commands that the pages give."""

import re
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def commands(page, section):
    """The lines of the bash blocks of a section, without their comments."""
    text = (ROOT / page).read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = "\n".join(re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)).splitlines()
    return [line.split("  #")[0].strip() for line in lines]


def test_the_environment_is_made_with_pip_alone_and_the_demo_runs(clone):
    shell = clone("pip")
    install, demo = commands("README.md", "Start")[-2:]
    assert install.startswith("python3 -m venv .venv && ")
    shell(install)
    shell(f"{demo} --steps 3 --train-count 16 --val-count 8")  # the command itself takes longer than one waits here
    assert (shell.folder / "runs/demo/mtlora/model/model.safetensors").is_file()
    listed = (line.split("==") for line in shell(".venv/bin/pip list --format freeze").splitlines())
    installed = {canonicalize_name(name): version for name, version in listed}
    pins = map(Requirement, re.findall(r"^\w.*", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    wanted = {pin.name: pin for pin in pins if pin.marker is None or pin.marker.evaluate(default_environment())}
    assert wanted.keys() <= installed.keys()
    assert all(pin.specifier.contains(installed[name]) for name, pin in wanted.items())
    assert shell("git status --porcelain") == ""


@pytest.fixture(scope="module")
def made(clone):
    """A clone with the environment that make makes."""
    shell = clone("make")
    assert "make setup" in commands("CONTRIBUTING.md", "Working on it")
    shell("make setup")
    return shell


def test_make_makes_the_environment_once_and_lists_what_there_is(made):
    assert "nothing to be done" in made("make setup").lower()
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert re.findall(r"^  make ([a-z-]+) ", made("make"), re.MULTILINE) == targets
    assert {line.removeprefix("make ") for line in commands("CONTRIBUTING.md", "Working on it")} <= set(targets)


def test_a_notebook_passes_as_it_is_typed(made):
    printed = made("source .venv/bin/activate && pytest --nbval notebooks/00_one_image_many_tasks.ipynb")
    assert re.search(r"== \d+ passed", printed)
    assert made("git status --porcelain") == ""
