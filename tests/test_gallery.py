"""The gallery: every figure is there in both forms, reads as a slide, and is the same bytes each time."""

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib import rc_context
from PIL import Image

from mtlora_lite.gallery import catalogue, charts, pictures, slides, write_gallery
from mtlora_lite.gallery.fork import FROZEN, draw_fork
from mtlora_lite.gallery.slides import DPI, SIZE, SMALL, STYLE
from mtlora_lite.methods import METHODS
from mtlora_lite.tasks import TASKS

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The whole gallery."""
    folder = tmp_path_factory.mktemp("gallery") / "made"
    written = write_gallery(folder, slides())
    assert sorted(written) == sorted(folder.iterdir())
    return folder


def words(folder, name):
    """The texts of a slide, as text."""
    return [element.text for element in ElementTree.parse(folder / f"{name}.svg").iter(f"{SVG}text")]


def test_every_slide_is_there_as_a_picture_and_as_a_drawing_with_its_title(folder):
    assert {"fork", "predictions", "parameters", "cost", "gains", "published", "spectra"} <= {s.name for s in slides()}
    for slide in slides():
        picture = Image.open(folder / f"{slide.name}.png")
        picture.load()
        assert picture.size == tuple(round(DPI * side) for side in SIZE)
        assert ElementTree.parse(folder / f"{slide.name}.svg").getroot().tag == f"{SVG}svg"
        assert slide.title in words(folder, slide.name)


def test_nothing_on_a_slide_is_small_or_comes_from_elsewhere(folder):
    for path in folder.glob("*.svg"):
        text = path.read_text()
        sizes = [float(size) for size in re.findall(r"font(?:-size)?:[^;\"]*?([\d.]+)px", text)]
        assert sizes, path.name  # in points: the page of a drawing is 960 by 540 of them
        assert min(sizes) >= SMALL - 0.01, path.name
        assert set(re.findall(r'href="(.)', text)) <= {"#", "d"}  # a part of itself, or data
        assert "data:image/png" in text or 'href="d' not in text


def test_the_page_shows_every_slide_and_what_it_shows_is_there(folder):
    text = (folder / "README.md").read_text()
    shown = re.findall(r"!\[(.*?)\]\((.*?)\)", text)
    assert shown == [(slide.title, f"{slide.name}.svg") for slide in slides()]
    assert all((folder / target).is_file() for target in re.findall(r"\]\((.*?)\)", text))


def test_it_is_the_same_bytes_each_time(folder, tmp_path):
    again = [slide for slide in slides() if slide.name in ("fork", "gains", "published", "spectra")]
    for path in write_gallery(tmp_path, again):
        if path.suffix != ".md":
            assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_slides_say_what_the_readme_says(folder):
    assert "4.95 of 30.87 M" in words(folder, "parameters")
    assert {"0", "+7.8", "−16.4", "+4.6", "+6.4"} <= set(words(folder, "gains"))
    assert "1/8" in words(folder, "fork")


@pytest.mark.parametrize(("depths", "tasks"), [((1, 3, 2, 6), ("depth", "edge")), ((2, 2, 18, 2), tuple(TASKS))])
def test_the_fork_diagram_has_the_blocks_and_tasks_of_the_model(depths, tasks):
    square = np.zeros((8, 8, 3), np.uint8)
    with rc_context(STYLE):
        axes = draw_fork("title", depths, tasks, square, dict.fromkeys(tasks, square)).axes[0]
    frozen = [patch for patch in axes.patches if patch.get_facecolor() == pytest.approx((*_rgb(FROZEN), 1.0))]
    assert len(frozen) == sum(depths) + 1  # and one that says what they are
    for task in tasks:
        ways = [line for line in axes.lines if line.get_color() == TASKS[task].color and len(line.get_xdata()) > 2]
        assert len(ways) == len(depths)  # each map of a task comes from a fork of its own
    assert len(axes.images) == 1 + len(tasks)


def _rgb(color):
    return [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def test_the_pictures_are_of_scenes_with_labels_and_the_colours_of_the_tasks():
    seen = pictures.look()
    assert list(seen.predictions) == list(seen.labels) == list(pictures.demo_model().tasks)
    assert all(len(each) == len(seen.images) == 2 for each in (*seen.labels.values(), *seen.predictions.values()))
    assert all((np.asarray(label) != 0).any() for label in seen.labels["human_parts"])  # there are people to be seen


def test_an_update_that_was_never_trained_has_no_spectrum_and_spoils_none():
    table = charts.spectra(pictures.demo_model())
    assert any(max(values) == 0 for values in table["singular values"])  # the last shared one: no task reads it
    with rc_context(STYLE):
        lines = charts.adapter_spectra(_slide("spectra")).axes[0].lines
    assert len(lines) == 1 + len(TASKS)
    for line in lines:
        assert np.isfinite(line.get_ydata()).all()
        assert line.get_ydata()[0] == 1


def _slide(name):
    return next(slide for slide in catalogue._SLIDES if slide.name == name)


def _table(path):
    """A comparison as ``mtlora compare`` writes it, of every method at one or two ranks."""
    names = [f"{m}@rank={r}" for m in METHODS if "lora" in m for r in (4, 16)]
    names += [m for m in METHODS if "lora" not in m]
    rows = {name: {"trainable": 1e6 * (i + 1), "delta_m": i - 5.0, "delta_m low": i - 6.0, "delta_m high": i - 3.5}
            for i, name in enumerate(names)}  # fmt: skip
    rows["single_task"] |= {"delta_m": 0.0, "delta_m low": 0.0, "delta_m high": 0.0}
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"command": "", "rows": rows, "lr": {}}))
    return pd.DataFrame.from_dict(rows, orient="index")


def test_the_comparison_of_methods_has_a_point_for_every_row(tmp_path, monkeypatch):
    monkeypatch.setattr(charts, "data_dir", lambda: tmp_path)
    table = _table(tmp_path / charts.METHODS_TABLE)
    with rc_context(STYLE):
        axes = charts.methods(replace(_slide("methods"))).axes[0]
    points = np.concatenate([line.get_ydata() for line in axes.lines if line.get_marker() != "None"])
    assert sorted(points) == sorted(table["delta_m"])
    assert axes.get_ylabel() == "Δm over single-task full fine-tuning, %"


def test_every_method_has_a_look_of_its_own():
    assert set(charts.LOOKS) == set(METHODS)
    assert len(set(charts.LOOKS.values())) == len(METHODS)
