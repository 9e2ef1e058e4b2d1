"""The book as ``make book`` builds it: without a warning and a network, whole, and read in a real browser.

What there was to see lies in ``artifacts/browser/book/`` afterwards, to be looked at.
"""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from lab import expect

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "artifacts" / "browser" / "book"
KINDS = (  # a page of each kind
    "index", "README", "commands", "GLOSSARY", "notebooks/06_losses_metrics_and_delta_m", "gallery/README",
    "data/README", "api/index", "api/lora", "api/metrics", "_modules/mtlora_lite/lora", "CONTRIBUTING",
)  # fmt: skip
LOADING = {"script": "src", "img": "src", "source": "src", "iframe": "src", "link": "href"}  # what fetches by itself

expect.set_options(timeout=60_000)  # the machine may be busy


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built where nothing can be fetched."""
    folder = tmp_path_factory.mktemp("book") / "site"
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    env = os.environ | nowhere | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "notebooks/book/build.py", str(folder)]
    made = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout[-5000:] + made.stderr[-5000:]
    assert "WARNING" not in made.stdout + made.stderr
    return folder


class Page(HTMLParser):
    """What a page names, loads and links to."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loaded = set(), set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and found.get("href"):
            self.links.add(found["href"])
        if (target := found.get(LOADING.get(tag, ""))) and found.get("rel") not in ("index", "search", "next", "prev"):
            self.loaded.add(target)


@pytest.fixture(scope="module")
def pages(site):
    """{file: what is in it} of every page."""
    return {path: Page(path.read_text()) for path in site.rglob("*.html")}


def test_make_book_runs_the_command_that_is_tested_here():
    assert "\t$(BIN)/python notebooks/book/build.py artifacts/book\n" in (ROOT / "Makefile").read_text()


def test_every_notebook_and_every_page_of_the_code_is_there(site):
    built = {path.stem for path in (site / "notebooks").glob("*.html")}
    assert built == {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert all((site / f"{page}.html").is_file() for page in KINDS)


def test_every_link_within_the_book_leads_somewhere(pages):
    broken = []
    for path, page in pages.items():
        for target in page.links | page.loaded:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = pages[file].ids if file in pages else {parts.fragment}
            if not file.is_file() or (parts.fragment and unquote(parts.fragment) not in there):
                broken.append((path.name, target))
    assert not broken


def test_no_page_loads_anything_from_elsewhere(site, pages):
    for path, page in pages.items():
        assert not [target for target in page.loaded if urlsplit(target).scheme not in ("", "data")], path.name
    for path in site.rglob("*.css"):
        assert "@import" not in path.read_text()
        assert "url(http" not in path.read_text()


def test_outputs_hints_and_equations_are_on_the_pages(site):
    text = (site / "notebooks/06_losses_metrics_and_delta_m.html").read_text()
    assert text.count("<math") >= 1
    assert "$$" not in text
    assert text.count("<details") >= 6  # hints of three exercises, and folded solutions
    assert "Exercise 06.1: ok" in text
    assert text.count("_images/") >= 3


# ----------------------------------------------------------------------------------------------------- in a browser


@contextmanager
def served(folder):
    """The folder at an address of this machine, as ``python -m http.server`` serves it."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module", params=["from disk", "served"])
def address(request, site):
    if request.param == "from disk":
        yield site.as_uri()
    else:
        with served(site) as root:
            yield root


@contextmanager
def opened(chromium, address, width, height):
    """A page that can reach the book and nothing else, and what it asked for elsewhere."""
    page, elsewhere = chromium.new_page(viewport={"width": width, "height": height}), []

    def guard(route):
        inside = route.request.url.startswith((address, "data:"))
        if not inside:
            elsewhere.append(route.request.url)
        (route.continue_ if inside else route.abort)()

    page.route("**/*", guard)
    yield page, elsewhere
    page.close()


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_every_kind_of_page_stands_by_itself_on_a_laptop_and_on_a_phone(chromium, address, width, height):
    folder = PICTURES / str(width)
    folder.mkdir(parents=True, exist_ok=True)
    with opened(chromium, address, width, height) as (page, elsewhere):
        for name in KINDS:
            page.goto(f"{address}/{name}.html", timeout=120_000)
            unseen = "images => images.filter(image => !image.complete || !image.naturalWidth).map(image => image.src)"
            page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
            page.wait_for_function("[...document.images].every(image => image.complete)")
            assert page.locator("article img").evaluate_all(unseen) == [], name
            wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert page.evaluate(wider) <= 1, name  # tables and code scroll by themselves
            page.screenshot(path=folder / f"{name.replace('/', '_')}.png")
        assert elsewhere == []


def test_equations_are_set_in_the_font_of_the_site(chromium, address):
    with opened(chromium, address, 1440, 900) as (page, _):
        page.goto(f"{address}/notebooks/06_losses_metrics_and_delta_m.html", timeout=120_000)
        equation = page.locator("math[display=block]").first
        expect(equation).to_be_visible()
        assert equation.locator("mfrac").count() >= 1
        assert equation.bounding_box()["height"] > 30
        page.evaluate("document.fonts.ready")
        loaded = "[...document.fonts].filter(font => font.status == 'loaded').map(font => font.family)"
        assert any("STIX Two Math" in family for family in page.evaluate(loaded))
        equation.scroll_into_view_if_needed()
        page.screenshot(path=PICTURES / "equation.png")


def test_hints_and_solutions_open(chromium, address):
    with opened(chromium, address, 1440, 900) as (page, _):
        page.goto(f"{address}/notebooks/06_losses_metrics_and_delta_m.html", timeout=120_000)
        for hint in page.locator("article details").all():
            hint.locator("summary").first.click()
            assert len(hint.inner_text().strip().splitlines()) >= 2
        page.screenshot(path=PICTURES / "hints.png")


@pytest.mark.parametrize(
    ("words", "found"), [("Eckart", "api/analysis.html"), ("windows shift mask", "notebooks/02_swin")]
)
def test_search_finds_words_that_are_there(chromium, address, words, found):
    with opened(chromium, address, 1440, 900) as (page, elsewhere):
        page.goto(f"{address}/index.html", timeout=120_000)
        page.locator("input[name=q]").first.fill(words)
        page.keyboard.press("Enter")
        expect(page.locator(f"#search-results a[href*='{found}']").first).to_be_visible()
        assert elsewhere == []
        page.screenshot(path=PICTURES / "search.png")


def test_search_says_so_where_there_is_nothing(chromium, address):
    with opened(chromium, address, 1440, 900) as (page, _):
        page.goto(f"{address}/search.html?q=xylophonically", timeout=120_000)
        expect(page.locator("#search-results")).to_contain_text("did not match any documents")
        assert page.locator("#search-results a").count() == 0
