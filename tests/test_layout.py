"""The house: who may import whom, as CONTRIBUTING.md says it."""

import ast
import re
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mtlora_lite"
MODULES = sorted(PACKAGE.rglob("*.py"))
HOMES = {
    "ipywidgets": {"widgets", "dashboard"},
    "anywidget": {"dashboard"},
    "tyro": {"command_line", "pretrain", "lm"},
    "timm": {"backbones", "pretrain"},
    "transformers": {"lm"},
}


def unit(path):
    """A module of the package, or the folder it is in: what has a floor."""
    inside = path.relative_to(PACKAGE).parts
    return f"{inside[0]}/" if len(inside) > 1 else path.stem


def floors():
    """{unit: floor} of the table in CONTRIBUTING.md."""
    rows = re.findall(r"^\| +(\d) \| (.*?) +\|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    pairs = [(name, int(floor)) for floor, names in rows for name in re.findall("`(.+?)`", names)]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def imports(path):
    """Dotted names of everything a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(path):
    """The files of the package that a file imports."""
    for name in imports(path):
        if name.startswith("mtlora_lite."):
            parts = name.split(".")[1:]
            while parts:  # the last part may be a name in a module
                found = [PACKAGE.joinpath(*parts).with_suffix(".py"), PACKAGE.joinpath(*parts, "__init__.py")]
                if existing := [file for file in found if file.is_file()]:
                    yield existing[0]
                    break
                parts.pop()


def test_every_module_has_a_floor():
    assert {unit(path) for path in MODULES} == set(floors())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_down(path):
    floor = floors()
    above = [file.name for file in own_imports(path) if floor[unit(file)] > floor[unit(path)]]
    assert not above


def test_imports_form_no_circle():
    TopologicalSorter({path: set(own_imports(path)) - {path} for path in MODULES}).prepare()  # raises on a cycle


def test_a_library_stays_where_it_belongs():
    users = defaultdict(set)
    for path in MODULES:
        for name in imports(path):
            users[name.split(".")[0]].add(unit(path).rstrip("/"))
    assert {library: users[library] for library in HOMES} == HOMES


def test_modules_and_functions_are_short():
    for path in MODULES:
        text = path.read_text()
        assert text.count("\n") <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                assert lines <= 40, f"{path.name}: {node.name} has {lines} lines"
