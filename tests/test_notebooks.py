"""The notebooks as files (form, links, size), their exercises, and the layer that one of them builds.

That they run and print what they say is another test: ``pytest --nbval notebooks/``.
"""

import copy
import json
import math
import re
import runpy
from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mtlora_lite.exercises import CHECKS, check, verdict
from mtlora_lite.lora import LoRALinear

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
TAGS = {"hosted", "nbval-ignore-output", "no-output", "solution"}
BUILT = set(re.findall(r'"(builds-[\w-]+)"', "".join(p.read_text() for p in Path(__file__).parent.glob("test_*.py"))))
HOSTED = runpy.run_path(str(FOLDER / "hosted.py"))


def cells(path, kind=None):
    """The cells of a notebook, or those of a kind; without the one that installs the package on Colab and Kaggle."""
    found = json.loads(path.read_text())["cells"]
    return [cell for cell in found if kind in (None, cell["cell_type"]) and "hosted" not in tags(cell)]


def tags(cell):
    return set(cell["metadata"].get("tags", ()))


def source(cell):
    return "".join(cell["source"])


def tagged(path, tag):
    return [source(cell) for cell in cells(path, "code") if tag in tags(cell)]


def building_cell(number, tag):
    """The code of the cell in which a notebook builds something."""
    (path,) = FOLDER.glob(f"{number}_*.ipynb")
    (cell,) = tagged(path, tag)
    return cell


def text(path, kind=None):
    return "\n".join(source(cell) for cell in cells(path, kind))


def title(path):
    return source(cells(path)[0]).splitlines()[0].removeprefix("# ")


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


# ---------------------------------------------------------------------------------------------------- the files


@each_notebook
def test_it_was_run_from_top_to_bottom_and_nothing_failed(path):
    code = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]


@each_notebook
def test_its_exercises_wait_and_its_solutions_are_right(path):
    for cell in cells(path, "code"):
        if match := re.search(r'^check\("([\d.]+)"', source(cell), re.MULTILINE):
            verdict = "ok" if "solution" in tags(cell) else "todo"
            assert "".join(cell["outputs"][0]["text"]) == f"Exercise {match[1]}: {verdict}\n"


@each_notebook
def test_it_is_small_enough_to_read_and_to_keep(path):
    lines = [len(source(cell).splitlines()) for cell in cells(path, "code")]
    assert len(cells(path)) <= 45
    assert sum(lines) <= 250
    assert max(lines) <= 20
    assert path.stat().st_size <= 300_000


@each_notebook
def test_its_drawings_in_text_fit_a_laptops_screen(path):
    """JupyterLab shows 90 columns where the screen is 1280 pixels wide and its list of files is open."""
    fenced = re.findall(r"^```[^\n]*\n(.*?)^```", text(path, "markdown"), re.MULTILINE | re.DOTALL)
    assert not [line for block in fenced for line in block.splitlines() if len(line) > 90]


@each_notebook
def test_it_begins_and_ends_like_every_other(path):
    first, versions, imports, picture, *_ = cells(path)
    number = path.stem[:2]
    assert re.match(rf"# {number} · .+\n\n(\[!\[Open in Colab\].+\n\n)?\*\*Promise:\*\* ", source(first))
    assert "| Goal | You will build | Needs | CPU minutes |" in source(first)
    assert versions["metadata"]["tags"] == ["nbval-ignore-output"]
    assert "torch.manual_seed(" in source(imports)
    assert source(picture).startswith("## In one picture\n")
    words = text(path, "markdown")
    sections = re.findall("^## (Summary|Exercises|Solutions|References)$", words, re.MULTILINE)
    assert sections == ["Summary", "Exercises", "Solutions", "References"]
    assert words.count("**Your prediction:**") >= 3


@each_notebook
def test_its_cells_have_known_tags_and_widgets_keep_no_output(path):
    for cell in cells(path):
        assert tags(cell) <= TAGS | BUILT  # what is built is held against the package's by a test that names the tag
        if "no-output" in tags(cell):
            assert not cell["outputs"]
            assert "nbval-ignore-output" in tags(cell)
    widget = r"\b(?:task_picker|slider|choice|LiveTraining)\("
    widgets = sum(len(re.findall(widget, source(cell))) for cell in cells(path, "code"))
    assert 0 < widgets <= 2


@each_notebook
def test_it_depends_on_nothing_of_one_machine(path):
    everything = text(path) + json.dumps([cell.get("outputs") for cell in cells(path)])
    for word in ("!pip", "%pip", "sys.path", ".cuda()", "FIXME", "TODO"):
        assert word not in everything
    assert not re.search(r"(?<![\w./:])(/(home|root|tmp|usr|work|mnt|opt|Users)/|[A-Z]:\\\\)", everything)
    assert json.loads(path.read_text())["metadata"]["kernelspec"]["name"] == "python3"


@each_notebook
def test_its_links_lead_somewhere(path):
    badges = HOSTED["badges"](path.name, HOSTED["REPOSITORY"]) if HOSTED["REPOSITORY"] else ""
    for target in re.findall(r"\]\(([^)]+)\)", text(path, "markdown").replace(badges, "")):
        if "://" in target:
            assert re.fullmatch(r"https://arxiv\.org/abs/\d{4}\.\d{4,5}", target), target
        else:
            assert (FOLDER / target.partition("#")[0]).is_file(), target


@pytest.mark.parametrize("index", range(len(NOTEBOOKS)), ids=lambda index: NOTEBOOKS[index].stem)
def test_its_last_lines_lead_to_the_notebook_before_and_the_next(index):
    neighbours = {"Before": NOTEBOOKS[index - 1 : index], "Next": NOTEBOOKS[index + 1 : index + 2]}
    expected = [f"**{word}:** [{title(path)}]({path.name})" for word, paths in neighbours.items() for path in paths]
    found = re.findall(r"\*\*(?:Before|Next):\*\* \[.+?\]\(.+?\)", source(cells(NOTEBOOKS[index])[-1]))
    assert found == expected


# ------------------------------------------------------------------------------------------ Colab and Kaggle


@each_notebook
def test_it_is_dressed_for_colab_and_kaggle_as_the_constant_says(path):
    found = nbformat.read(path, as_version=4)
    assert HOSTED["dress"](copy.deepcopy(found), path.name) == found, "`make notebooks` dresses it"
    assert HOSTED["is_hosted"](found.cells[1])
    assert not found.cells[1].outputs


@pytest.fixture
def undressed():
    """A notebook without an install cell and badges."""
    title = nbformat.v4.new_markdown_cell("# 00 · Title\n\n**Promise:** much", id="cell-00")
    notebook = nbformat.v4.new_notebook(cells=[title, nbformat.v4.new_code_cell("import math", id="cell-01")])
    return lambda: copy.deepcopy(notebook)


def test_without_a_repository_the_package_comes_from_a_wheel_and_there_are_no_badges(undressed):
    title, hosted, code = HOSTED["dress"](undressed(), "00.ipynb", "").cells
    assert [title, code] == undressed().cells
    assert '%pip install --quiet "{wheels[-1]}"' in hosted.source
    assert hosted.source.index("COLAB_RELEASE_TAG") < hosted.source.index("%pip")
    assert set(hosted.metadata.tags) == {"hosted", "nbval-ignore-output"}


def test_with_a_repository_the_package_comes_from_it_and_badges_open_the_notebook(undressed):
    title, hosted, _ = HOSTED["dress"](undressed(), "00.ipynb", "https://github.com/owner/name").cells
    assert "    %pip install --quiet git+https://github.com/owner/name" in hosted.source.splitlines()
    heading, badges, promise = title.source.split("\n\n")
    assert (heading, promise) == ("# 00 · Title", "**Promise:** much")
    assert re.findall(r"\)\]\((\S+?)\)", badges) == [
        "https://colab.research.google.com/github/owner/name/blob/main/notebooks/00.ipynb",
        "https://kaggle.com/kernels/welcome?src=https://github.com/owner/name/blob/main/notebooks/00.ipynb",
    ]


@pytest.mark.parametrize("before", ["", "https://github.com/owner/name", "https://github.com/a.b/c-d"])
@pytest.mark.parametrize("after", ["", "https://github.com/owner/name"])
def test_dressing_replaces_what_was_there_before(undressed, before, after):
    dressed = HOSTED["dress"](undressed(), "00.ipynb", after)
    assert HOSTED["dress"](HOSTED["dress"](undressed(), "00.ipynb", before), "00.ipynb", after) == dressed
    assert HOSTED["dress"](copy.deepcopy(dressed), "00.ipynb", after) == dressed


@pytest.mark.parametrize("repository", ["github.com/owner/name", "https://github.com/owner", "https://else.org/a/b"])
def test_badges_need_a_repository_on_github(undressed, repository):
    with pytest.raises(ValueError, match="OWNER/NAME"):
        HOSTED["dress"](undressed(), "00.ipynb", repository)


# ------------------------------------------------------------------------------------------------ the exercises


def answers(*with_tags):
    """{exercise: function} of the cells that end with a check: those to be filled in, or the solutions."""
    code = [cell for path in NOTEBOOKS for cell in cells(path, "code") if tags(cell) == set(with_tags)]
    found = {}
    for text in map(source, code):
        if match := re.search(r'^check\("([\d.]+)", (\w+)\)$', text, re.MULTILINE):
            scope = {"torch": torch, "nn": nn, "F": F, "math": math, "check": lambda *_: None}
            exec(text, scope)
            found[match[1]] = scope[match[2]]
    return found


def test_every_exercise_stands_once_and_is_solved_once():
    assert list(answers()) == list(answers("solution")) == list(CHECKS)
    assert {path.stem[:2] for path in NOTEBOOKS} == {exercise[:2] for exercise in CHECKS}


@pytest.mark.parametrize("exercise", CHECKS)
def test_a_check_says_todo_to_the_untouched_cell_and_ok_to_the_solution(exercise):
    assert verdict(exercise, answers()[exercise]) == "todo"
    assert verdict(exercise, answers("solution")[exercise]) == "ok"


WRONG = {
    exercise: rows
    for path in sorted((Path(__file__).parent / "wrong_answers").glob("nb*.py"))
    for exercise, rows in runpy.run_path(str(path))["WRONG"].items()
}


@pytest.mark.parametrize(("exercise", "answer", "reason"), [(key, *row) for key in WRONG for row in WRONG[key]])
def test_a_check_turns_a_wrong_answer_down_and_says_why(exercise, answer, reason):
    said = verdict(exercise, answer)
    assert said.startswith("not yet: ")
    assert reason in said


def test_every_check_knows_wrong_answers():
    assert set(WRONG) == set(CHECKS)
    assert all(len(rows) >= 2 for rows in WRONG.values())


def test_a_check_never_raises(capsys):
    check("01.1", None)
    check("7.7", print)
    said = capsys.readouterr().out
    assert "not yet: it stopped with TypeError" in said
    assert "there is no such exercise; there are 00.1, 00.2," in said


# --------------------------------------------------------------------------------- the notebook's LoRA is the package's


def notebook_lora():
    (built,) = (cell for path in NOTEBOOKS for cell in tagged(path, "builds-lora"))
    scope = {"torch": torch, "nn": nn, "F": F, "math": math}
    exec(built, scope)
    return scope["LoRA"]


def test_the_layer_of_the_notebook_equals_that_of_the_package():
    torch.manual_seed(3)
    linear, x, g = nn.Linear(7, 5), torch.randn(2, 4, 7), torch.randn(2, 4, 5)
    ours = LoRALinear(linear, rank=3, scale=2.5)
    built = notebook_lora()(nn.Linear(7, 5), 3, scale=2.5)
    assert torch.equal(built(x), built.linear(x))  # B starts at zero, here too
    nn.init.normal_(ours.lora_ta_B)
    built.linear.load_state_dict(linear.state_dict())
    with torch.no_grad():
        built.A.copy_(ours.lora_ta_A)
        built.B.copy_(ours.lora_ta_B)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [layer(value) for layer, value in zip((ours, built), inputs, strict=True)]
    for output in outputs:
        output.backward(g)
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    torch.testing.assert_close(ours.lora_ta_A.grad, built.A.grad)
    torch.testing.assert_close(ours.lora_ta_B.grad, built.B.grad)
    assert built.linear.weight.grad is None


def test_both_layers_draw_the_same_a_from_the_same_seed():
    linear = nn.Linear(7, 5)
    torch.manual_seed(4)
    ours = LoRALinear(linear, rank=3).lora_ta_A
    torch.manual_seed(4)
    assert torch.equal(notebook_lora()(linear, 3).A, ours)
