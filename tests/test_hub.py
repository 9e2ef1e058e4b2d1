"""Models sent to a hub and fetched from it, by its own client over HTTP; the hub is a small one on this machine.

The server answers as the Hugging Face hub's API does for small files; large ones go there by other ways (LFS, Xet),
which only its client knows.
"""

import base64
import hashlib
import json
import re
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import huggingface_hub
import pytest
import torch
from huggingface_hub import HfApi, ModelCard

import mtlora_lite as ml
from mtlora_lite import hub
from mtlora_lite.cli import main
from mtlora_lite.hub import names_repo

TOKEN = "hf_of_the_test"
REPO = r"/api/models/([\w.-]+/[\w.-]+)"


class Hub(BaseHTTPRequestHandler):
    """What the client of the hub asks of it; models are {name: {path: content}}."""

    models: dict[str, dict[str, bytes]]
    private: set[str]

    def log_message(self, *_):
        """Keep quiet."""

    def answer(self, content, status=200, **headers):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": len(content)} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_GET(self):
        if asked := re.fullmatch(REPO + r"(/revision/\w+)?", self.path.split("?")[0]):
            files = self.models.get(asked[1])
            if files is None:
                self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
                return
            siblings = [{"rfilename": path} for path in files]
            self.answer({"id": asked[1], "modelId": asked[1], "sha": commit(files), "siblings": siblings})
        elif asked := re.fullmatch(REPO + r"/tree/\w+", self.path.split("?")[0]):
            files = self.models[asked[1]]
            self.answer([{"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                         for path, content in files.items()])  # fmt: skip
        elif asked := re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/\w+/(.+)", self.path):
            files = self.models[asked[1]]
            content = files[asked[2]]
            self.answer(content, X_Repo_Commit=commit(files), ETag=f'"{hashlib.sha1(content).hexdigest()}"')
        else:
            self.answer({"error": f"no {self.path}"}, 404)

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
            return
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer({"error": "Invalid username or password."}, 401)
        elif self.path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}"
            self.models.setdefault(name, {})
            if wanted.get("private") or wanted.get("visibility") == "private":
                self.private.add(name)
            self.answer({"url": f"http://{self.headers['Host']}/{name}"})
        elif re.fullmatch(REPO + "/preupload/main", self.path):
            paths = [file["path"] for file in json.loads(body)["files"]]
            self.answer({"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]})
        elif asked := re.fullmatch(REPO + "/commit/main", self.path):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.models[asked[1]][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            oid = commit(self.models[asked[1]])
            self.answer({"commitOid": oid, "commitUrl": f"http://{self.headers['Host']}/{asked[1]}/commit/{oid}"})
        else:
            self.answer({"error": f"no {self.path}"}, 404)


def commit(files):
    return hashlib.sha1(b"".join(files.values())).hexdigest()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A hub, and a client that knows no other and has an empty cache."""
    handler = type("Handler", (Hub,), {"models": {}, "private": set()})
    service = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=service.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{service.server_port}"
    monkeypatch.setattr(hub, "HfApi", partial(HfApi, endpoint=endpoint))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    handler.endpoint, handler.stop = endpoint, service.shutdown
    yield handler
    service.shutdown()
    service.server_close()


@pytest.fixture
def model():
    torch.manual_seed(1)
    return ml.build_model(
        backbone="swin_scenes_tiny", tasks=["sal", "depth"], img_size=64, rank=2, task_rank={"sal": 1, "depth": 2},
        scale=0.5, decoder_options={"expansion": 1},
    ).eval()  # fmt: skip


@torch.inference_mode()
def test_a_model_goes_to_the_hub_and_comes_back(server, model):
    assert model.push_to_hub("me/mine", token=TOKEN) == f"{server.endpoint}/me/mine"
    assert set(server.models["me/mine"]) == {"config.json", "model.safetensors", "README.md"}
    card = server.models["me/mine"]["README.md"].decode()
    assert 'from_pretrained("me/mine")' in card
    assert ModelCard(card).data.library_name == "mtlora_lite"
    found = ml.MultiTaskModel.from_pretrained("me/mine")
    images = torch.randn(1, 3, 64, 64)
    for task, logits in model(images).items():
        assert torch.equal(found(images)[task], logits)
    assert "me/mine" not in server.private
    model.push_to_hub("me/other", token=TOKEN, private=True, full=True)
    assert "me/other" in server.private
    sizes = [len(server.models[name]["model.safetensors"]) for name in ("me/mine", "me/other")]
    assert sizes[1] > 2 * sizes[0]


def test_what_was_fetched_is_there_without_the_hub(server, model):
    model.push_to_hub("me/mine", token=TOKEN)
    ml.MultiTaskModel.from_pretrained("me/mine")
    server.stop()
    server.models.clear()
    hub.HfApi = partial(HfApi, endpoint="http://127.0.0.1:9")  # where nobody listens; the fixture puts it back
    assert ml.MultiTaskModel.from_pretrained("me/mine").tasks == ("sal", "depth")
    with pytest.raises(ConnectionError, match=r"no folder me/never here, and http://127.0.0.1:9 cannot be reached"):
        ml.MultiTaskModel.from_pretrained("me/never")


def test_what_the_hub_does_not_have_is_said_in_one_line(server, capsys):
    assert main(["eval", "me/nothing"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: There is no folder me/nothing here, and no such model on {server.endpoint} (")


def test_without_the_right_token_nothing_is_sent(server, model):
    with pytest.raises(Exception, match="401"):
        model.push_to_hub("me/mine", token="hf_wrong")
    assert server.models == {}


def test_what_names_a_folder_is_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    assert names_repo("owner/name")
    assert names_repo(Path("owner/name.v2"))
    for path in ("runs/missing", "name", "a/b/c", "../name", "/abs/olute", "./name", "./owner/name", tmp_path / "x"):
        assert not names_repo(path)
