"""The notebooks as files (form, links, size), their exercises, and the layer that one of them builds.

That they run and print what they say is another test: ``pytest --nbval notebooks/``.
"""

import json
import math
import re
import runpy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mtlora_lite.exercises import CHECKS, check, verdict
from mtlora_lite.lora import LoRALinear

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
TAGS = {"nbval-ignore-output", "no-output", "solution", "builds-lora"}


def cells(path, kind=None):
    found = json.loads(path.read_text())["cells"]
    return [cell for cell in found if kind in (None, cell["cell_type"])]


def source(cell):
    return "".join(cell["source"])


def tagged(path, tag):
    return [source(cell) for cell in cells(path, "code") if tag in cell["metadata"].get("tags", ())]


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


# ---------------------------------------------------------------------------------------------------- the files


@each_notebook
def test_it_was_run_from_top_to_bottom_and_nothing_failed(path):
    code = cells(path, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]


@each_notebook
def test_it_is_small_enough_to_read_and_to_keep(path):
    lines = [len(source(cell).splitlines()) for cell in cells(path, "code")]
    assert len(cells(path)) <= 45
    assert sum(lines) <= 250
    assert max(lines) <= 20
    assert path.stat().st_size <= 300_000


@each_notebook
def test_it_begins_and_ends_like_every_other(path):
    first, versions, imports, picture, *_ = cells(path)
    number = path.stem[:2]
    assert re.match(rf"# {number} · .+\n\n\*\*Promise:\*\* ", source(first))
    assert "| Goal | You will build | Needs | CPU minutes |" in source(first)
    assert versions["metadata"]["tags"] == ["nbval-ignore-output"]
    assert "torch.manual_seed(" in source(imports)
    assert source(picture).startswith("## In one picture\n")
    text = "\n".join(source(cell) for cell in cells(path, "markdown"))
    sections = re.findall("^## (Summary|Exercises|Solutions|References)$", text, re.MULTILINE)
    assert sections == ["Summary", "Exercises", "Solutions", "References"]
    assert text.count("**Your prediction:**") >= 3


@each_notebook
def test_its_cells_have_known_tags_and_widgets_keep_no_output(path):
    for cell in cells(path, "code"):
        tags = set(cell["metadata"].get("tags", ()))
        assert tags <= TAGS
        if "no-output" in tags:
            assert not cell["outputs"]
            assert "nbval-ignore-output" in tags
    widgets = sum(len(re.findall(r"\b(?:task_picker|slider|choice)\(", source(cell))) for cell in cells(path, "code"))
    assert 0 < widgets <= 2


@each_notebook
def test_it_depends_on_nothing_of_one_machine(path):
    text = "\n".join(source(cell) for cell in cells(path)) + json.dumps([cell.get("outputs") for cell in cells(path)])
    for word in ("!pip", "%pip", "sys.path", ".cuda()", "FIXME", "TODO"):
        assert word not in text
    assert not re.search(r"(?<![\w./:])(/(home|root|tmp|usr|work|mnt|opt|Users)/|[A-Z]:\\\\)", text)
    assert json.loads(path.read_text())["metadata"]["kernelspec"]["name"] == "python3"


@each_notebook
def test_its_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)]+)\)", "\n".join(source(cell) for cell in cells(path, "markdown"))):
        if "://" in target:
            assert re.fullmatch(r"https://arxiv\.org/abs/\d{4}\.\d{5}", target), target
        else:
            assert (FOLDER / target.partition("#")[0]).is_file(), target


# ------------------------------------------------------------------------------------------------ the exercises


def answers(*tags):
    """{exercise: function} of the cells that end with a check: those to be filled in, or the solutions."""
    code = [cell for path in NOTEBOOKS for cell in cells(path, "code") if cell["metadata"].get("tags", []) == [*tags]]
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
