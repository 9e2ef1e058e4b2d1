"""What is installed: one set of versions everywhere, and a wheel that holds what the package reads."""

import re
import runpy
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(lines):
    return [Requirement(line) for line in lines if line.strip() and not line.lstrip().startswith("#")]


LOCK = requirements((ROOT / "requirements.lock").read_text().splitlines())


@pytest.mark.parametrize("python", ["3.11.4", "3.12.0", "3.13.0"])
@pytest.mark.parametrize("group", ["dependencies", "app", "dev", "book", "onnx", "video"])
def test_the_lock_holds_a_version_within_the_range_of_every_dependency(group, python):
    environment = default_environment() | {
        "python_full_version": python, "python_version": ".".join(python.split(".")[:2]),
        "sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix",
    }  # fmt: skip
    applying = [pin for pin in LOCK if pin.marker is None or pin.marker.evaluate(environment)]
    pins = {canonicalize_name(pin.name): pin for pin in applying}
    assert len(pins) == len(applying)  # one version of each
    wanted = PROJECT["dependencies"] if group == "dependencies" else PROJECT["optional-dependencies"][group]
    for requirement in requirements(wanted):
        (pinned,) = pins[canonicalize_name(requirement.name)].specifier
        assert pinned.operator == "=="
        assert requirement.specifier.contains(pinned.version), f"{requirement} but {pinned.version} is locked"


def test_the_lock_names_no_place_to_download_from():
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links|file:| @ ", text)


def test_conda_installs_the_same_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert {re.match(r"\w+", entry)[0] for entry in conda} == {"python", "pip"}
    assert pip["pip"] == ["-r requirements.lock", "-e ."]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT, check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_the_wheel_holds_the_modules_and_the_committed_data(wheel):
    own = [path for suffix in ("py", "js", "css") for path in (ROOT / "mtlora_lite").rglob(f"*.{suffix}")]
    modules = {path.relative_to(ROOT).as_posix() for path in own}
    data = {path.relative_to(ROOT / "data") for path in (ROOT / "data").rglob("*") if path.is_file()}
    data = {f"mtlora_lite/_data/{path.as_posix()}" for path in data if path.parts[0] != "cache"}
    assert {path.relative_to(wheel).as_posix() for path in (wheel / "mtlora_lite").rglob("*.*")} == modules | data


def test_an_installed_package_reads_its_own_data_and_writes_to_the_users_cache(wheel, tmp_path, monkeypatch):
    installed = runpy.run_path(str(wheel / "mtlora_lite" / "paths.py"))
    checkout = runpy.run_path(str(ROOT / "mtlora_lite" / "paths.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MTLORA_CACHE", raising=False)
    assert installed["data_dir"]() == wheel / "mtlora_lite" / "_data"
    assert installed["cache_dir"]() == tmp_path / "mtlora_lite"
    assert checkout["data_dir"]() == ROOT / "data"
    assert checkout["cache_dir"]() == ROOT / "data" / "cache"
    monkeypatch.setenv("MTLORA_CACHE", str(tmp_path / "mine"))
    assert installed["cache_dir"]() == checkout["cache_dir"]() == tmp_path / "mine"
    assert (tmp_path / "mine").is_dir()


def test_importing_the_package_does_not_import_what_only_some_commands_need():
    names = ("ipywidgets", "anywidget", "voila", "tyro", "pooch", "onnx", "onnxruntime", "onnxscript", "av", "peft")
    code = f"import sys, mtlora_lite; print([m for m in {names} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
