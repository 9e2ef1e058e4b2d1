"""The page that ``make app`` serves, in a real browser: a visitor chooses, compares, and sends photos good and bad.

What there was to see lies in ``artifacts/app/`` afterwards, to be looked at.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from lab import MINUTE, expect, wait_for
from PIL import Image

from mtlora_lite.distributed import free_port

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "artifacts" / "app"

expect.set_options(timeout=60_000)  # the machine may be busy


@pytest.fixture(scope="module")
def served(tmp_path_factory, kernel_env):
    """The address of the page, served by the very command of ``make app``, and the log of the server."""
    shutil.rmtree(PICTURES, ignore_errors=True)
    port = free_port()
    options = [f"PORT={port}", f"BIN={Path(sys.executable).parent}", "--old-file=.venv/.installed"]
    make = ["make", "--dry-run", "--no-print-directory", "app", *options]
    command = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    log = tmp_path_factory.mktemp("app") / "server.log"
    env = kernel_env | {"BROWSER": "true"}  # which opens nothing
    with log.open("w") as file:
        server = subprocess.Popen(shlex.split(command), cwd=ROOT, env=env, stdout=file, stderr=file)
    try:
        address = f"http://localhost:{port}/"
        wait_for(f"{address}voila/static/voila.js", server, log)
        yield address, log
    finally:
        server.terminate()
        server.wait(60)


class Visit:
    """A visitor's page: what can be touched on it, and what there is to see."""

    def __init__(self, browser, address, width=1440, height=900):
        self.page = browser.new_context(viewport={"width": width, "height": height}).new_page()
        self.errors, self.requests = [], []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address, timeout=10 * MINUTE)
        self.wait()

    def wait(self):
        """Until it has looked and drawn."""
        expect(self.page.locator(".mt-results, .mt-empty")).to_be_visible(timeout=10 * MINUTE)
        expect(self.page.locator(".mt-thinking")).to_have_count(0)

    def press(self, name):
        self.page.get_by_role("button", name=name, exact=True).click()

    def maps(self, task):
        """{column: its picture} of a task."""
        figures = self.page.locator(".mt-results section", has_text=task).locator("figure")
        names = [words.splitlines()[0] for words in figures.locator("figcaption").all_inner_texts()]
        return dict(zip(names, figures.locator("img").evaluate_all("all => all.map(i => i.src)"), strict=True))

    def tasks(self):
        return [words.split(" mIoU")[0] for words in self.page.locator(".mt-results h3").all_inner_texts()]

    def send(self, file):
        self.page.locator(".mt-drop input").set_input_files(file)

    def message(self):
        return self.page.locator(".mt-message")

    def photograph(self, name):
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.wait_for_timeout(300)
        self.page.screenshot(path=PICTURES / f"{name}.png")

    def photograph_all(self, name):
        """The page at its whole length."""
        before = self.page.viewport_size
        height = self.page.locator(".mt-page").evaluate("page => page.scrollHeight") + 40
        self.page.set_viewport_size(before | {"height": height})
        self.photograph(name)
        self.page.set_viewport_size(before)


@pytest.fixture(scope="module")
def visit(served, chromium):
    visit = Visit(chromium, served[0])
    yield visit
    visit.page.close()


def test_it_shows_predictions_and_neither_code_nor_errors(visit, served):
    visit.photograph("first")
    visit.photograph_all("first_all")
    assert set(visit.maps("Surface normals")) >= {"label", "MTLoRA", "Decoders only"}
    assert "mtlora_lite.dashboard" not in visit.page.content()
    assert "Traceback" not in visit.page.content() + served[1].read_text()
    assert not visit.errors


def test_nothing_comes_from_elsewhere(visit, served):
    elsewhere = [url for url in visit.requests if not url.startswith((served[0], "data:", "blob:"))]
    assert visit.requests
    assert not elsewhere


def test_another_picture_is_looked_at(visit):
    before, thumb = visit.maps("Depth"), visit.page.locator(".mt-thumb").nth(2)
    thumb.click()
    expect(visit.page.locator(".mt-picture")).to_contain_text("Scene 3")
    visit.wait()
    after = visit.maps("Depth")
    assert set(after) == set(before)
    assert all(after[column] != before[column] for column in before)
    expect(visit.page.locator(".mt-thumb.mt-chosen")).to_have_count(1)
    expect(thumb).to_have_class(re.compile("mt-chosen"))
    visit.photograph("another_picture")


def test_a_task_comes_and_goes(visit):
    rows = visit.page.locator(".mt-results section")
    before = rows.count()
    visit.press("Edges")
    expect(rows).to_have_count(before + 1)
    expect(rows.filter(has_text="Edges")).to_be_visible()
    visit.press("Edges")
    expect(rows).to_have_count(before)


def test_the_rank_changes_what_has_updates_and_nothing_else(visit):
    before, handle = visit.maps("Surface normals"), visit.page.locator(".noUi-handle")
    box, bar = handle.bounding_box(), visit.page.locator(".noUi-target").bounding_box()
    visit.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    visit.page.mouse.down()
    visit.page.mouse.move(bar["x"], bar["y"], steps=5)
    visit.page.mouse.up()
    expect(visit.page.locator(".mt-methods")).to_contain_text("shared rank 0 of 8")
    visit.wait()
    changed = {column for column, picture in visit.maps("Surface normals").items() if picture != before[column]}
    assert "MTLoRA" in changed
    assert not changed & {"label", "Decoders only"}
    visit.photograph("rank_0")
    handle.focus()
    visit.page.keyboard.press("End")
    expect(visit.page.locator(".mt-methods")).to_contain_text("shared rank 8 of 8")
    visit.wait()
    assert visit.maps("Surface normals") == before


def test_methods_stand_side_by_side_as_they_are_chosen(visit):
    before = visit.maps("Depth")
    visit.press("Decoders only")
    expect(visit.page.locator(".mt-methods section")).to_have_count(len(before) - 2)
    assert "Decoders only" not in visit.maps("Depth")
    others = [column for column in before if column not in ("label", "Decoders only")]
    for name in others:
        visit.press(name)
    expect(visit.page.locator(".mt-empty")).to_have_text("Choose at least one method.")
    visit.photograph("no_method")
    for name in ("Decoders only", *others):
        visit.press(name)
    expect(visit.page.locator(".mt-methods section")).to_have_count(len(before) - 1)
    visit.wait()
    assert visit.maps("Depth") == before


def test_whoever_clicks_faster_than_it_draws_sees_what_was_chosen_last(visit):
    for _ in range(3):
        for name in ("Saliency", "Edges", "Human parts"):
            visit.press(name)
    expect(visit.page.get_by_role("button", name="Edges", exact=True)).to_have_class(re.compile("mod-active"))
    pressed = visit.page.locator(".mt-row").first.locator(".mod-active").all_inner_texts()
    expect(visit.page.locator(".mt-results section")).to_have_count(len(pressed))
    visit.wait()
    for name in ("Saliency", "Edges", "Human parts"):
        visit.press(name)
    expect(visit.page.locator(".mt-results section")).to_have_count(4)
    visit.wait()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Photos and what is none, as visitors may have them."""
    folder = tmp_path_factory.mktemp("photos")
    y, x = np.mgrid[:1500, :2000]
    pixels = np.stack([x * 255 // 2000, y * 255 // 1500, (x // 200 + y // 200) % 2 * 200], axis=-1).astype(np.uint8)
    photo, exif = Image.fromarray(pixels), Image.Exif()
    exif[0x0112] = 6  # taken upright
    photo.save(folder / "upright <b>.jpg", exif=exif, quality=90)
    (folder / "cut_off.jpg").write_bytes((folder / "upright <b>.jpg").read_bytes()[:20_000])
    (folder / "empty.png").touch()
    (folder / "letter.jpg").write_text("Dear reader, ...")
    Image.new("1", (10_000, 10_000)).save(folder / "bomb.png")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    noise = np.random.default_rng(0).integers(0, 256, (2500, 2500, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noise.png", compress_level=1)
    with (folder / "huge.jpg").open("wb") as huge:
        huge.truncate(200_000_000)
    return folder


def test_a_photo_is_sent_and_looked_at(visit, files):
    visit.send(files / "upright <b>.jpg")
    expect(visit.page.locator(".mt-picture")).to_contain_text("upright <b>.jpg")
    visit.wait()
    expect(visit.page.locator(".mt-picture")).to_contain_text("1500 × 2000 pixels")
    expect(visit.message()).to_have_count(0)
    assert "label" not in visit.maps("Depth")
    box = visit.page.locator(".mt-maps img").first.bounding_box()
    assert 1.2 < box["height"] / box["width"] < 1.4
    visit.photograph("photo")
    visit.photograph_all("photo_all")


def test_the_largest_photo_passes(visit, files):
    assert 18_000_000 < (files / "noise.png").stat().st_size < 20_000_000
    visit.send(files / "noise.png")
    expect(visit.page.locator(".mt-picture")).to_contain_text("noise.png")
    visit.wait()
    expect(visit.message()).to_have_count(0)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("cut_off.jpg", "cut_off.jpg is damaged or cut off"),
        ("empty.png", "empty.png is empty"),
        ("letter.jpg", "letter.jpg is not an image that can be read"),
        ("bomb.png", "bomb.png has too many pixels"),
        ("dot.png", "dot.png has 1 × 1 pixels"),
        ("huge.jpg", "huge.jpg has 200 MB (20 MB is the limit)"),
    ],
)
def test_a_bad_photo_gets_a_line_and_the_page_goes_on(visit, files, name, line):
    before = visit.maps("Depth")
    visit.send(files / name)
    expect(visit.message()).to_contain_text(line)
    visit.wait()
    assert len(visit.message().inner_text().splitlines()) == 1
    assert visit.maps("Depth") == before
    visit.photograph(Path(name).stem)
    visit.page.locator(".mt-thumb").first.click()
    expect(visit.page.locator(".mt-picture")).to_contain_text("Scene 1")
    expect(visit.message()).to_have_count(0)
    visit.wait()


def test_a_second_visitor_has_a_page_of_their_own(visit, served, chromium):
    before = visit.maps("Depth")
    other = Visit(chromium, served[0], width=390, height=844)
    other.photograph("phone")
    other.photograph_all("phone_all")
    assert other.page.evaluate("document.documentElement.scrollWidth") == 390
    other.page.locator(".mt-thumb").nth(4).click()
    expect(other.page.locator(".mt-picture")).to_contain_text("Scene 5")
    other.wait()
    assert visit.maps("Depth") == before
    assert other.maps("Depth") != before
    assert not other.errors
    other.page.close(run_before_unload=True)
    deadline = time.monotonic() + 120
    while served[1].read_text().count("Kernel shutdown") < 1:
        assert time.monotonic() < deadline, "the kernel of a page that was closed lives on"
        time.sleep(1)
    visit.page.locator(".mt-thumb").nth(1).click()  # whose kernel lives
    expect(visit.page.locator(".mt-picture")).to_contain_text("Scene 2")
    visit.wait()


def test_a_visitor_can_run_no_code_and_read_no_files(served):
    for path in ("voila/files/page.ipynb", "voila/files/voila.py", "voila/files/../../README.md"):
        request = urllib.request.Request(served[0] + path)
        with pytest.raises(urllib.error.HTTPError, match=r"403|404"):
            urllib.request.urlopen(request)


def test_no_error_reached_the_page_or_the_log(visit, served):
    assert not visit.errors
    assert "Traceback" not in served[1].read_text()
    assert os.path.getsize(served[1]) > 0
