"""Build the book: ``make book``, or ``python notebooks/book/build.py FOLDER``.

The pages are laid out in a folder of their own first, with the paths that they have here, so that the links between
them hold; pages of the package and of its commands are written into it. Sphinx makes HTML of that folder. It reaches
for no network, and neither does what it makes. A warning is an error.
"""

import ast
import io
import os
import re
import shutil
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent), str(ROOT)]

from contents import API, PARTS
from hosted import dress, is_hosted

PACKAGE = ROOT / "mtlora_lite"
PAGES = ("README.md", "GLOSSARY.md", "CONTRIBUTING.md", "LICENSE", "data/README.md")
SHOWN = {".md", ".json", ".png", ".csv", ".py", ".sh"}  # of data/, what pages show or link to
WIDGETS = re.compile(r"\b(?:task_picker|slider|choice|LiveTraining)\(")
CODE_LINK = re.compile(r"\]\(\.\./mtlora_lite/(\w+)\.py\)")  # which leads to a page of the book
ALIVE = "*The cell above is a control that is alive in the running notebook: `make lab` opens it.*"


def lay_out(source: Path) -> None:
    """Write what the book is made of into an empty folder."""
    files = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in [*_pages(), *_shown_data()]}
    texts = {f"notebooks/{path.name}": nbformat.writes(read_notebook(path)) for path in notebooks()}
    texts |= {"index.md": (HERE / "index.md").read_text() + contents(), "commands.md": commands_page()}
    texts |= {"api/index.md": api_index()} | {f"api/{page_name(module)}.rst": api_page(module) for module in _modules()}
    files |= {name: text.encode() for name, text in texts.items()} | gallery()
    for name, content in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _pages() -> list[Path]:
    return [ROOT / page for page in PAGES]


def _shown_data() -> list[Path]:
    data = ROOT / "data"
    found = [path for path in sorted(data.rglob("*")) if path.suffix in SHOWN and path.is_file()]
    return [path for path in found if path.relative_to(data).parts[0] not in ("cache", "sample")]


# ------------------------------------------------------------------------------------------------ notebooks, results


def notebooks() -> list[Path]:
    """The notebooks, in their order."""
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """A notebook as the book shows it: no cell for Colab, solutions folded away, a word where a widget would be."""
    notebook = dress(nbformat.read(path, as_version=4), path.name, repository="")
    cells = []
    for cell in (cell for cell in notebook.cells if not is_hosted(cell)):
        tags = cell.metadata.get("tags", [])
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            cell.metadata["tags"] = [*tags, "hide-input"]
        if cell.cell_type == "markdown":
            cell.source = CODE_LINK.sub(r"](../api/\1.rst)", cell.source)
        cells.append(cell)
        if "no-output" in tags and WIDGETS.search(cell.source):
            cells.append(nbformat.v4.new_markdown_cell(ALIVE, id=f"{cell.id}-alive"))
    notebook.cells = cells
    return notebook


def gallery() -> dict[str, bytes]:
    """The figures for slides, and the page that shows them."""
    from mtlora_lite.gallery import slides, write_gallery

    with TemporaryDirectory() as folder:
        return {f"gallery/{path.name}": path.read_bytes() for path in write_gallery(folder, slides())}


def comparisons(page: str) -> list[str]:
    """The comparisons that are kept and have this page: ``README``, what came out, or ``report``, the numbers."""
    results = ROOT / "data/results"
    return sorted(str(path.parent.relative_to(results)) for path in results.glob(f"*/**/{page}.md"))


# --------------------------------------------------------------------------------------------------------- commands


def commands_page() -> str:
    """What ``--help`` says of every command."""
    from mtlora_lite import cli

    os.environ["COLUMNS"] = "96"
    sections = ["# Commands", "What `--help` says, and first how commands are found:", _help_of()]
    for name in cli.COMMANDS:
        sections += [f"## mtlora {name}", _help_of(name)]
        for inner in {"data": cli.DATA_COMMANDS, "lm": cli.LM_COMMANDS}.get(name, ()):
            sections += [f"### mtlora {name} {inner}", _help_of(name, inner)]
    return "\n\n".join(sections) + "\n"


def _help_of(*words: str) -> str:
    from mtlora_lite import cli

    with redirect_stdout(io.StringIO()) as said, suppress(SystemExit):
        cli.main([*words, "--help"])
    return f"```text\n{said.getvalue().strip()}\n```"


# ------------------------------------------------------------------------------------------------- pages of the code


def _modules() -> list[str]:
    return [module for modules in API.values() for module in modules]


def page_name(module: str) -> str:
    """The name of a module's page."""
    return module.rstrip("/")


def parts(module: str) -> list[str]:
    """Dotted names of what stands on a module's page: itself, and for a folder the modules in it."""
    dotted = f"mtlora_lite.{page_name(module)}"
    if not module.endswith("/"):
        return [dotted]
    inside = PARTS.get(module) or sorted(path.stem for path in (PACKAGE / module).glob("[!_]*.py"))
    return [dotted, *(f"{dotted}.{name}" for name in inside)]


def api_page(module: str) -> str:
    """One page: a section per module, whose contents come from its docstrings."""
    sections = []
    for dotted, rule in zip(parts(module), ["=", *"-" * len(parts(module))], strict=False):
        title = dotted.removeprefix("mtlora_lite.")
        sections.append(f"{title}\n{rule * len(title)}\n\n.. automodule:: {dotted}\n")
    return "\n".join(sections)


def api_index() -> str:
    """The page that leads to the others: the short names ``ml.*``, and every module by its subject."""
    lines = ["# The package", "Where things are. The whole kit is imported by `import mtlora_lite as ml`.", "## ml.*"]
    names = "\n".join(f"   ~{name}" for name in exported().values())
    lines.append(f"```{{eval-rst}}\n.. autosummary::\n   :nosignatures:\n\n{names}\n```")
    for subject, modules in API.items():
        rows = [f"- [`{page_name(module)}`]({page_name(module)}.rst): {first_sentence(module)}" for module in modules]
        tree = "\n".join(page_name(module) for module in modules)
        lines += [f"## {subject}", "\n".join(rows), f"```{{toctree}}\n:hidden:\n\n{tree}\n```"]
    return "\n\n".join(lines) + "\n"


def exported() -> dict[str, str]:
    """{name in ``mtlora_lite.__all__``: its full name}, read from the imports without importing anything."""
    imports = [
        node for node in ast.parse((PACKAGE / "__init__.py").read_text()).body if isinstance(node, ast.ImportFrom)
    ]
    return {alias.name: f"{node.module}.{alias.name}" for node in imports for alias in node.names}


def first_sentence(module: str) -> str:
    """The first line of a module's docstring, in Markdown."""
    path = PACKAGE / module / "__init__.py" if module.endswith("/") else PACKAGE / f"{module}.py"
    return ast.get_docstring(ast.parse(path.read_text())).splitlines()[0].replace("``", "`")


def contents() -> str:
    """The tables of contents, which make the column at the left; hidden on the page itself."""
    trees: Mapping[str, list[str]] = {
        "The kit": ["All of it on one page <README>", "commands", "GLOSSARY"],
        "Notebooks": [f"notebooks/{path.stem}" for path in notebooks()],
        "Results": [
            "What came out <data/results/README>",
            *(f"data/results/{name}/README" for name in comparisons("README")),
            *(f"Numbers: {name} <data/results/{name}/report>" for name in comparisons("report")),
            "gallery/README",
            "What lies in data/ <data/README>",
        ],
        "The code": ["api/index", "CONTRIBUTING"],
    }
    blocks = [
        "\n".join(["```{toctree}", ":hidden:", f":caption: {title}", "", *entries, "```"])
        for title, entries in trees.items()
    ]
    return "\n" + "\n\n".join(blocks) + "\n"


# ------------------------------------------------------------------------------------------------------------- Sphinx


def build(out: Path) -> int:
    """Write the book into a folder, in place of an earlier one, and return the exit status.

    All is made anew elsewhere first: Sphinx does not notice each change of a docstring, and a book that fails leaves
    the one that is there.
    """
    from sphinx.cmd.build import main

    if out.exists() and any(out.iterdir()) and not (out / "objects.inv").is_file():
        print(f"error: {out} holds something that is no book: give another folder.", file=sys.stderr)
        return 2
    with TemporaryDirectory() as work:
        source, site, doctrees = (Path(work) / name for name in ("source", "site", "doctrees"))
        lay_out(source)
        options = ["--builder", "html", "--conf-dir", str(HERE), "--fail-on-warning", "--keep-going", "--quiet"]
        status = main([*options, "--doctree-dir", str(doctrees), str(source), str(site)])
        if status == 0:
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(site, out)
            print(f"Wrote {out / 'index.html'}.")
    return status


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python notebooks/book/build.py FOLDER")
    sys.exit(build(Path(sys.argv[1]).resolve()))
