"""Notebooks in JupyterLab in a real browser: they run, their widgets live, their exercises answer.

Everything happens on a copy. What there was to see lies in ``artifacts/browser/`` afterwards, to be looked at.
"""

import json
import re
import shutil
from io import BytesIO
from pathlib import Path

import pytest
from lab import NotebookPage, expect, jupyterlab
from PIL import Image

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "artifacts" / "browser"
NOTEBOOKS = {  # and the controls that each has
    "00": {"button"}, "01": {"slider"}, "04": {"button", "slider"}, "07": {"button", "slider", "training"},
}  # fmt: skip

expect.set_options(timeout=60_000)  # the machine may be busy


@pytest.fixture(scope="session")
def lab(chromium, tmp_path_factory, kernel_env):
    """A function from a notebook's file to its address, and the folder that is served: a copy without outputs."""
    folder = tmp_path_factory.mktemp("kit")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns("__pycache__"))
    for path in folder.glob("notebooks/*.ipynb"):
        notebook = json.loads(path.read_text())
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell |= {"outputs": [], "execution_count": None}
        path.write_text(json.dumps(notebook))
    with jupyterlab(folder, tmp_path_factory.mktemp("lab"), kernel_env) as address:
        yield address, folder


@pytest.fixture(scope="module", params=NOTEBOOKS)
def opened(request, lab, chromium):
    """A notebook in the browser, after Run All Cells."""
    address, folder = lab
    files = [*folder.glob(f"notebooks/{request.param}_*.ipynb")]
    assert len(files) == 1, f"there is no notebook {request.param}"
    file = files[0]
    shutil.rmtree(PICTURES / request.param, ignore_errors=True)
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    notebook = NotebookPage(page, address(file.relative_to(folder)), file, PICTURES / request.param)
    notebook.controls = NOTEBOOKS[request.param]
    notebook.run_all(minutes=30)
    yield notebook
    page.close()


def printed(cell):
    return "".join("".join(output.get("text", ())) for output in cell["outputs"])


def test_every_cell_runs_without_an_error_or_a_warning(opened):
    opened.photograph_all()
    code = [cell for cell in opened.saved()["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    loud = [output for cell in code for output in cell["outputs"] if output["output_type"] == "error"]
    loud += [output for cell in code for output in cell["outputs"] if output.get("name") == "stderr"]
    assert not loud
    for kind in ("error", "stderr"):
        expect(opened.page.locator(f"[data-mime-type='application/vnd.jupyter.{kind}']")).to_have_count(0)
    assert not opened.errors  # of the page itself


def test_exercises_wait_and_their_solutions_hold(opened):
    code = [cell for cell in opened.saved()["cells"] if cell["cell_type"] == "code"]
    exercises = [cell for cell in code if 'check("' in "".join(cell["source"])]
    waiting = [cell for cell in exercises if "solution" not in cell["metadata"].get("tags", ())]
    assert len(waiting) >= 2
    assert all(re.fullmatch(r"Exercise [\d.]+: todo\n", printed(cell)) for cell in waiting)
    solved = [cell for cell in exercises if cell not in waiting]
    assert [printed(cell) for cell in solved] == [printed(cell).replace("todo", "ok") for cell in waiting]


def test_no_line_of_a_drawing_in_text_is_broken(opened):
    """On a screen of ordinary width, with the list of files open."""
    heights = """all => all.map(pre => [
        pre.textContent.trimEnd().split("\\n").length, pre.clientHeight / parseFloat(getComputedStyle(pre).lineHeight)
    ])"""
    for lines, shown in opened.page.locator(".jp-MarkdownOutput pre").evaluate_all(heights):
        assert round(shown) == lines


def widgets(opened, control):
    """The cells whose picture follows a control, and the parts of that control."""
    picture = opened.page.locator("img.widget-image")
    cells = opened.page.locator(".jp-Notebook .jp-CodeCell", has=picture)
    return [(cell, cell.locator(control)) for cell in cells.all() if cell.locator(control).count()]


def test_a_button_changes_the_picture_and_changes_it_back(opened):
    found = widgets(opened, ".widget-toggle-button")
    assert bool(found) == ("button" in opened.controls)
    for number, (cell, buttons) in enumerate(found):
        cell.scroll_into_view_if_needed()
        first, height = opened.picture(cell), cell.bounding_box()["height"]
        pressed, *_ = (button for button in buttons.all() if "mod-active" in button.get_attribute("class"))
        assert buttons.count() >= 2
        buttons.last.click()
        second = opened.picture_after(cell, first)
        opened.photograph(f"button_{number}")
        exclusive = "mod-active" not in pressed.get_attribute("class")
        (pressed if exclusive else buttons.last).click()
        assert opened.picture_after(cell, second) == first
        assert cell.bounding_box()["height"] == height  # nothing jumps


def test_a_slider_changes_its_number_and_the_picture_and_changes_them_back(opened):
    found = widgets(opened, ".noUi-handle")
    assert bool(found) == ("slider" in opened.controls)
    for number, (cell, handle) in enumerate(found):
        cell.scroll_into_view_if_needed()
        first, height = opened.picture(cell), cell.bounding_box()["height"]
        value = cell.locator(".widget-readout")
        start = int(value.inner_text())
        bar = cell.locator(".noUi-base").bounding_box()
        old = opened.drag(handle, bar["x"] + 0.8 * bar["width"])
        second = opened.picture_after(cell, first)
        assert int(value.inner_text()) > start
        opened.photograph(f"slider_{number}")
        opened.drag(handle, old)
        while (off := int(value.inner_text()) - start) != 0:  # the last steps by keyboard
            handle.press("ArrowLeft" if off > 0 else "ArrowRight")
        assert opened.picture_after(cell, second, wanted=first) == first
        assert cell.bounding_box()["height"] == height


def test_a_run_is_watched_stopped_and_goes_on(opened):
    train = opened.page.locator("button.widget-button", has_text="Train")  # its icon is a part of its name
    expect(train).to_have_count(int("training" in opened.controls))
    if not train.count():
        return
    cell = opened.page.locator(".jp-Notebook .jp-CodeCell", has=train)
    stop, go_on = (cell.locator("button.widget-button", has_text=words) for words in ("Stop", "Go on"))
    status, runs = cell.locator(".widget-html-content"), opened.file.parent / "runs" / "07"
    cell.scroll_into_view_if_needed()
    height, pictures = cell.bounding_box()["height"], [opened.picture(cell)]
    expect(stop).to_be_disabled()
    train.dblclick()
    expect(status).to_have_text(re.compile(r"^Step \d+ of \d+"))
    for number in range(3):
        pictures.append(opened.picture_after(cell, pictures[-1]))
        opened.photograph(f"training_{number}")
    stop.click()
    expect(status).to_have_text(re.compile("^Stopped after step .* everything is saved"))
    opened.photograph("training_stopped")
    pictures.append(opened.picture(cell))
    expect(train).to_be_enabled()
    expect(stop).to_be_disabled()
    go_on.click()
    pictures.append(opened.picture_after(cell, pictures[-1]))
    stop.click()
    expect(go_on).to_be_enabled()
    assert [path.name for path in runs.iterdir()] == ["1"]  # one run, for all the clicks
    assert [*runs.glob("1/checkpoints/*/weights.safetensors")]
    curves, maps = ([part(picture) for picture in pictures] for part in (upper, lower))
    assert curves[0] != curves[2] != curves[3] != curves[5]
    assert maps[0] != maps[1] != maps[2] != maps[5]
    assert cell.bounding_box()["height"] == height  # nothing jumps


def upper(picture):
    """The pixels of a watched run's curves."""
    image = Image.open(BytesIO(picture))
    return image.crop((0, 0, image.width, 190)).tobytes()


def lower(picture):
    """The pixels of its predictions and labels."""
    image = Image.open(BytesIO(picture))
    return image.crop((0, 200, image.width, image.height)).tobytes()


def test_a_wrong_answer_is_told_what_is_wrong_and_a_right_one_ok(opened):
    sources = ["".join(cell["source"]) for cell in opened.saved()["cells"] if cell["cell_type"] == "code"]
    exercise = next(index for index, source in enumerate(sources) if source.count("\n    ...\n") == 1)
    name = re.search(r'check\("[\d.]+", (\w+)\)', sources[exercise])[1]
    (solution,) = (source for source in sources if f"def {name}(" in source and source != sources[exercise])
    cell = opened.cells()[exercise]
    wrong = sources[exercise].replace("\n    ...\n", "\n    return -1\n")
    assert re.fullmatch(r"Exercise [\d.]+: not yet: .+", opened.write_and_run(cell, wrong))
    opened.photograph("answer_wrong")
    assert re.fullmatch(r"Exercise [\d.]+: ok", opened.write_and_run(cell, solution))
    opened.photograph("answer_right")


def test_the_real_thing_runs_to_its_end_and_shows_the_errors_of_each_task(lab, chromium):
    """Notebook 09 starts processes from the browser's kernel, kills one and resumes it; then it is looked at."""
    address, folder = lab
    (file,) = folder.glob("notebooks/09_*.ipynb")
    shutil.rmtree(PICTURES / "09", ignore_errors=True)
    page = chromium.new_page(viewport={"width": 1440, "height": 900})
    notebook = NotebookPage(page, address(file.relative_to(folder)), file, PICTURES / "09")
    notebook.run_all(minutes=40)
    test_every_cell_runs_without_an_error_or_a_warning(notebook)
    test_exercises_wait_and_their_solutions_hold(notebook)
    ((cell, buttons),) = widgets(notebook, ".widget-toggle-button")
    cell.scroll_into_view_if_needed()
    seen, height = [notebook.picture(cell)], cell.bounding_box()["height"]
    names = [name.strip() for name in buttons.all_inner_texts()]
    assert names == ["semseg", "normals", "sal", "human_parts"]
    for name, button in zip(names[1:], buttons.all()[1:], strict=True):
        button.click()
        seen.append(notebook.picture_after(cell, seen[-1]))
        notebook.photograph(f"errors_{name}")
    assert len({*seen}) == len(names)
    assert cell.bounding_box()["height"] == height  # nothing jumps
    page.close()
