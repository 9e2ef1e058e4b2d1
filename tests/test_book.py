"""The book, as far as it can be looked at without building it: what it holds, and what it makes of notebooks.

That it builds without a warning and reads well without a network is another test, in ``tests/slow/``.
"""

import ast
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import mtlora_lite as ml

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mtlora_lite"
BOOK = ROOT / "notebooks" / "book"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CONTENTS = runpy.run_path(str(BOOK / "contents.py"))
BUILD = runpy.run_path(str(BOOK / "build.py"))
PAGES = [module for modules in CONTENTS["API"].values() for module in modules]

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def unit(path):
    """A module of the package, or the folder it is in, as the tables of the book write it."""
    inside = path.relative_to(PACKAGE).parts
    return f"{inside[0]}/" if len(inside) > 1 else path.stem


def tree(text):
    """The entries of all tables of contents of a page."""
    blocks = re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line and not line.startswith(":")]
    return [re.sub(r".*<(.*)>", r"\1", line) for line in lines]


# ------------------------------------------------------------------------------------------------------ what it holds


def test_every_module_has_a_page_or_a_reason_to_have_none():
    units = {unit(path) for path in PACKAGE.rglob("*.py")} - {"__init__"}
    assert len(set(PAGES)) == len(PAGES)
    assert set(PAGES).isdisjoint(CONTENTS["WITHOUT_A_PAGE"])
    assert {*PAGES, *CONTENTS["WITHOUT_A_PAGE"]} == units
    assert tree(BUILD["api_index"]()) == [module.rstrip("/") for module in PAGES]


def test_a_page_has_every_module_of_a_folder():
    for folder in (module for module in PAGES if module.endswith("/") and module not in CONTENTS["PARTS"]):
        inside = {f"mtlora_lite.{folder}{path.stem}".replace("/", ".") for path in (PACKAGE / folder).glob("[!_]*.py")}
        shown = re.findall(r"^\.\. automodule:: (\S+)$", BUILD["api_page"](folder), re.MULTILINE)
        assert set(shown) == inside | {f"mtlora_lite.{folder.rstrip('/')}"}
        assert len(shown) == len(set(shown))


def test_every_public_name_of_the_package_is_on_a_page():
    exported = BUILD["exported"]()
    assert sorted(exported) == sorted(ml.__all__)
    for name, full in exported.items():
        path = PACKAGE / Path(*full.split(".")[1:-1])
        place = path / name if (path / name).is_dir() else path
        assert unit(place / "_" if place.is_dir() else place) in PAGES
        assert f"~{full}" in BUILD["api_index"]()


def test_every_notebook_and_result_is_in_the_table_of_contents():
    entries = tree(BUILD["contents"]())
    assert [entry for entry in entries if entry.startswith("notebooks/")] == [f"notebooks/{p.stem}" for p in NOTEBOOKS]
    results = {path.relative_to(ROOT).with_suffix("").as_posix() for path in (ROOT / "data/results").rglob("*.md")}
    assert {entry for entry in entries if entry.startswith("data/results/")} == results
    assert {"README", "GLOSSARY", "CONTRIBUTING", "commands", "api/index", "gallery/README"} <= set(entries)


def test_its_settings_import_nothing_that_takes_long():
    code = (
        f"import runpy, sys; runpy.run_path({str(BOOK / 'conf.py')!r})\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'timm', 'sphinx', 'mtlora_lite'}))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"


# ---------------------------------------------------------------------------------------- what it makes of notebooks


@each_notebook
def test_a_notebook_is_shown_as_it_is_but_for_what_only_a_running_one_can_do(path):
    shown, stored = BUILD["read_notebook"](path), nbformat.read(path, as_version=4)
    code = [cell for cell in stored.cells if cell.cell_type == "code" and "hosted" not in cell.metadata.get("tags", ())]
    seen = [cell for cell in shown.cells if cell.cell_type == "code"]
    assert [(cell.source, cell.outputs) for cell in seen] == [(cell.source, cell.outputs) for cell in code]
    folded = [cell.source for cell in seen if "hide-input" in cell.metadata.get("tags", ())]
    assert folded == [cell.source for cell in code if "solution" in cell.metadata.get("tags", ())]
    alive = [i for i, cell in enumerate(shown.cells) if cell.source == BUILD["ALIVE"]]
    control = re.compile(r"\b(task_picker|slider|choice|LiveTraining)\(")
    widgets = [i for i, cell in enumerate(shown.cells) if control.search(cell.source)]
    assert alive == [i + 1 for i in widgets]
    nbformat.validate(shown)


@each_notebook
def test_what_a_notebook_says_leads_to_pages_and_shows_no_picture_from_elsewhere(path):
    text = "\n".join(cell.source for cell in BUILD["read_notebook"](path).cells if cell.cell_type == "markdown")
    for target in re.findall(r"\]\(([^)#]+)", text):
        if target.startswith("../api/"):
            assert Path(target).stem in [module.rstrip("/") for module in PAGES]
        else:
            assert "://" in target or (path.parent / target).is_file(), target
    assert "mtlora_lite/" not in "".join(re.findall(r"\]\(([^)]+)\)", text))
    assert not re.search(r"!\[.*?\]\(http|<img[^>]+http", text)


def test_notebooks_store_no_state_of_widgets_which_would_load_scripts_from_elsewhere():
    for path in NOTEBOOKS:
        assert "widget" not in json.dumps(json.loads(path.read_text())["metadata"])


# ------------------------------------------------------------------------------------------------------- docstrings


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_what_is_drawn_in_a_docstring_is_introduced_as_a_drawing(path):
    """Else its lines would run together on the page: an indented block after an empty line needs ``::`` before it."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, documented)):
        lines = (ast.get_docstring(node) or "").splitlines()
        for index, line in enumerate(lines[1:], start=1):
            if line.startswith("    ") and not lines[index - 1].strip():
                before = next(other for other in reversed(lines[:index]) if other.strip())
                assert before.startswith(" ") or before.endswith("::"), line
