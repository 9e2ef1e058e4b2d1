"""JupyterLab on a copy of the notebooks, and a page of it in a real browser."""

import json
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

from playwright.sync_api import Error, expect

from mtlora_lite.distributed import free_port

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
INSTALL = "No Chromium found; on Debian and Ubuntu install it with: apt-get install -y chromium fonts-dejavu-core"
MINUTE = 60_000  # Playwright counts milliseconds


@contextmanager
def jupyterlab(folder, own, env):
    """Serve a folder, with settings and workspaces of its own; yields a function from a file to its address."""
    port = free_port()
    token = secrets.token_hex(16)
    places = (
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTER_RUNTIME_DIR",
        "JUPYTERLAB_WORKSPACES_DIR",
        "IPYTHONDIR",
    )
    env = env | {name: str(own / name.lower()) for name in (*places, "JUPYTERLAB_SETTINGS_DIR")}
    notification = own / "jupyterlab_settings_dir/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    notification.parent.mkdir(parents=True)
    notification.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))  # no request to the outside
    options = ["--no-browser", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0", "--allow-root"]
    options += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}"]
    with (own / "server.log").open("w") as log:
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], cwd=folder, env=env, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, own / "server.log")
        yield lambda file: f"http://127.0.0.1:{port}/lab/tree/{file}?token={token}&reset"
    finally:
        server.terminate()  # it ends its kernels first
        server.wait(30)


def wait_for(address, server, log, seconds=180):
    """Wait until a server, whose process and log these are, answers at an address; return what it says."""
    for _ in range(seconds):
        if server.poll() is not None:
            break
        try:
            return urllib.request.urlopen(address, timeout=5).read()
        except OSError:
            time.sleep(1)
    raise RuntimeError(f"The server does not answer:\n{log.read_text()[-2000:]}")


class NotebookPage:
    """An open notebook: what a reader does in it, and what there is to see."""

    def __init__(self, page, address, file, pictures):
        self.page, self.file, self.pictures = page, file, pictures
        self.errors = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(address)
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=3 * MINUTE)
        self.idle = page.get_by_role("button", name="Python 3 (ipykernel) | Idle")  # in the bar at the bottom
        expect(self.idle).to_be_visible(timeout=3 * MINUTE)

    def cells(self, tag=None):
        """The code cells, in their order, or those with a tag; a cell is what Playwright calls a locator."""
        found = [cell for cell in json.loads(self.file.read_text())["cells"] if cell["cell_type"] == "code"]
        every = self.page.locator(".jp-Notebook .jp-CodeCell")
        expect(every).to_have_count(len(found))
        return [every.nth(i) for i, cell in enumerate(found) if tag in (None, *cell["metadata"].get("tags", ()))]

    def run_all(self, minutes):
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        waiting = self.page.locator(".jp-CodeCell .jp-InputPrompt", has_text="[*]")
        expect(waiting.first).to_be_attached()
        error = self.page.locator("[data-mime-type='application/vnd.jupyter.error']")  # nothing runs after one
        deadline = time.monotonic() + 60 * minutes
        while waiting.count() and not error.count():
            assert time.monotonic() < deadline, f"after {minutes} minutes {waiting.count()} cells have not run"
            self.page.wait_for_timeout(500)
        expect(self.idle).to_be_visible()

    def saved(self):
        """The notebook as the browser saves it."""
        before = self.file.stat().st_mtime_ns
        self.page.keyboard.press("Control+s")
        deadline = time.monotonic() + 30
        while self.file.stat().st_mtime_ns == before and time.monotonic() < deadline:
            self.page.wait_for_timeout(200)
        return json.loads(self.file.read_text())

    def write_and_run(self, cell, code):
        """Replace a cell's code as a reader types it, run it, and return what it prints."""
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(code)
        prompt = cell.locator(".jp-InputPrompt")
        before = prompt.inner_text()
        self.page.keyboard.press("Control+Enter")
        expect(prompt).not_to_have_text(before)
        expect(prompt).not_to_have_text("[*]:", timeout=MINUTE)
        return "".join(cell.locator(".jp-OutputArea-output").all_inner_texts()).strip()

    def picture(self, cell):
        """The bytes of the image that a widget shows."""
        image = cell.locator("img.widget-image")
        expect(image).to_be_visible()
        code = "image => fetch(image.src).then(answer => answer.arrayBuffer()).then(all => [...new Uint8Array(all)])"
        for _ in range(20):
            try:
                assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
                return bytes(image.evaluate(code))
            except Error:  # another image took its place in the midst of that
                self.page.wait_for_timeout(50)
        raise AssertionError("the picture cannot be read")

    def picture_after(self, cell, before, wanted=None, seconds=60):
        """The next image that is shown instead of ``before``, or the one that is wanted as soon as it is shown."""
        deadline = time.monotonic() + seconds
        while (now := self.picture(cell)) == before or wanted not in (None, now):
            assert time.monotonic() < deadline, "the picture does not change as it should"
            self.page.wait_for_timeout(100)
        return now

    def drag(self, handle, x):
        """Drag a slider's handle to a place on the screen; return where it was."""
        handle.scroll_into_view_if_needed()
        box = handle.bounding_box()
        old, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(old, y)
        self.page.mouse.down()
        self.page.mouse.move(x, y, steps=5)
        self.page.mouse.up()
        return old

    def photograph(self, name):
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self.pictures / f"{name}.png")

    def photograph_all(self):
        """The whole notebook, screen by screen."""
        view = self.page.locator(".jp-Notebook .jp-WindowedPanel-outer")
        height = view.evaluate("view => view.clientHeight")
        top, number = 0, 0
        while top < view.evaluate("view => view.scrollHeight") - height / 2:
            view.evaluate("(view, top) => view.scrollTo(0, top)", top)
            self.page.wait_for_timeout(300)
            self.photograph(f"{number:02}")
            top, number = top + height - 60, number + 1
