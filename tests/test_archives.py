"""Archives over a real connection, honest and hostile: what arrives is whole, and nothing leaves its folder."""

import contextlib
import hashlib
import io
import json
import os
import resource
import socket
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mtlora_lite import archives
from mtlora_lite.archives import fetch, unpack

FILES = {"ImageSets/Context/train.txt": b"a\nb\n", "JPEGImages/a.jpg": bytes(range(256)) * 40, "empty.txt": b""}
BODY = hashlib.shake_256(b"archive").digest(3 * archives.CHUNK + 7)  # several chunks, the last one not full


# ------------------------------------------------------------------------------------------------------------- fetch


class Host(BaseHTTPRequestHandler):
    """Serves ``server.body``; breaks off after ``server.breaks`` bytes as often as that list is long."""

    def do_GET(self):
        server = self.server
        server.asked.append(self.headers.get("Range"))
        if self.path != "/PASCAL_MT.tgz":
            self.send_error(404)
            return
        start = int(self.headers["Range"][6:-1]) if self.headers.get("Range") and server.ranges else 0
        tag = server.tag and f'"{hashlib.md5(server.body).hexdigest()}"'
        if self.headers.get("If-Range") not in (None, tag):
            start = 0
        if start >= len(server.body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if tag:
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(server.body) - start))
        self.end_headers()
        end = server.breaks.pop(0) if server.breaks else len(server.body)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(server.body[start : start + end])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setenv("MTLORA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    server.body, server.breaks, server.ranges, server.asked, server.tag = BODY, [], True, [], True
    server.url = f"http://127.0.0.1:{server.server_port}/PASCAL_MT.tgz"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_download_arrives_and_is_not_repeated(host):
    path, digest = fetch(host.url)
    assert path.read_bytes() == BODY
    assert digest == hashlib.sha256(BODY).hexdigest()
    assert fetch(host.url) == (path, digest)
    assert host.asked == [None]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_connection_is_taken_up_where_it_broke(host, ranges):
    host.ranges = ranges
    host.breaks = [archives.CHUNK + 5, 2 * archives.CHUNK]
    assert fetch(host.url)[0].read_bytes() == BODY
    assert host.asked[0] is None
    starts = [int(asked[6:-1]) for asked in host.asked[1:]]
    assert starts == sorted(starts)
    assert starts[0] >= archives.CHUNK


def test_what_came_before_the_host_died_is_kept_for_the_next_run(host):
    host.breaks = [archives.CHUNK, 0]
    with pytest.raises(ConnectionError, match=r"(?s)no answer.*what has come is kept.*--archive FILE") as error:
        fetch(host.url)
    assert "\n" not in str(error.value)
    assert not list((archives._folder()).glob("*PASCAL_MT.tgz"))  # nothing unfinished under the final name
    assert fetch(host.url)[0].read_bytes() == BODY
    assert host.asked[-1] == f"bytes={archives.CHUNK}-"


def test_an_archive_that_was_replaced_between_two_attempts_is_begun_anew(host):
    host.breaks = [archives.CHUNK, 0]
    with pytest.raises(ConnectionError):
        fetch(host.url)
    host.body = BODY[::-1]
    path, digest = fetch(host.url)
    assert host.asked[-1] == f"bytes={archives.CHUNK}-"
    assert path.read_bytes() == host.body
    assert digest == hashlib.sha256(host.body).hexdigest()
    assert sorted(file.name for file in archives._folder().iterdir()) == sorted([path.name, "checksums.json"])


def test_a_host_that_tells_no_version_is_taken_at_its_word(host):
    host.tag = None
    host.breaks = [archives.CHUNK + 5]
    assert fetch(host.url)[0].read_bytes() == BODY
    assert len(host.asked) == 2


def test_a_dead_link_says_what_to_do(host):
    with pytest.raises(ConnectionError, match=r"the host answers 404.*unpack it with: .*data download --archive FILE"):
        fetch(host.url.replace("PASCAL", "pascal"))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(ConnectionError, match="no answer"):
        fetch(f"http://127.0.0.1:{port}/PASCAL_MT.tgz")


def test_the_first_checksum_is_remembered_and_another_file_is_refused(host):
    path, digest = fetch(host.url)
    assert json.loads(archives._memory().read_text()) == {host.url: digest}
    path.unlink()
    host.body = b"something else"
    with pytest.raises(ValueError, match=f"its SHA-256 is not {digest}.*delete .*checksums.json"):
        fetch(host.url)
    assert not path.exists()
    archives._memory().unlink()
    assert fetch(host.url)[0].read_bytes() == b"something else"


def test_a_recorded_checksum_is_held_against_the_first_download(host):
    with pytest.raises(ValueError, match="not the archive that is known"):
        fetch(host.url, "0" * 64)


# ------------------------------------------------------------------------------------------------------------ unpack


def tar(path, *members, mode="w:gz"):
    """A tar of (name, bytes) and of ready TarInfo."""
    with tarfile.open(path, mode) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zipped(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


MAKERS = {
    "tgz": tar,
    "tar": lambda path, *members: tar(path, *members, mode="w"),
    "tar.xz": lambda path, *members: tar(path, *members, mode="w:xz"),
    "zip": zipped,
}


@pytest.mark.parametrize("prefix", ["", "PASCAL_MT/"])
@pytest.mark.parametrize("kind", MAKERS)
def test_what_was_packed_is_unpacked_without_the_folder_around_it(kind, prefix, tmp_path):
    archive = MAKERS[kind](tmp_path / f"a.{kind}", *((prefix + name, data) for name, data in FILES.items()))
    target = tmp_path / "new" / "data"
    assert unpack(archive, target) == len(FILES)
    assert content(target) == FILES
    assert [path.name for path in target.parent.iterdir()] == ["data"]


def test_a_folder_of_the_data_set_itself_is_not_taken_for_one_around_it(tmp_path):
    unpack(zipped(tmp_path / "a.zip", ("semseg/VOC12/a.png", b"x")), tmp_path / "data")
    assert content(tmp_path / "data") == {"semseg/VOC12/a.png": b"x"}


def test_links_within_the_archive_are_kept(tmp_path):
    archive = tar(tmp_path / "a.tgz", ("x/a", b"1"), link("x/b", "a"), link("x/c", "x/a", tarfile.LNKTYPE))
    assert unpack(archive, tmp_path / "data") == 3
    assert content(tmp_path / "data") == {"x/a": b"1", "x/b": b"1", "x/c": b"1"}


HOSTILE = {
    "parent": lambda path: tar(path, ("ok", b"1"), ("../evil", b"1")),
    "absolute": lambda path: tar(path, ("/evil", b"1")),
    "link out": lambda path: tar(path, link("out", "../.."), ("out/evil", b"1")),
    "absolute link": lambda path: tar(path, link("out", "/")),
    "hard link out": lambda path: tar(path, link("out", "../../evil", tarfile.LNKTYPE)),
    "device": lambda path: tar(path, link("null", "", tarfile.CHRTYPE)),
    "pipe": lambda path: tar(path, link("pipe", "", tarfile.FIFOTYPE)),
    "zip, parent": lambda path: zipped(path, ("ok", "1"), ("a/../../evil", "1")),
    "zip, absolute": lambda path: zipped(path, ("/evil", "1")),
    "zip, backslashes": lambda path: zipped(path, ("..\\evil", "1")),
    "zip, drive": lambda path: zipped(path, ("C:evil", "1")),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_an_archive_that_reaches_out_leaves_nothing(what, tmp_path):
    archive = HOSTILE[what](tmp_path / "archive")
    (tmp_path / "in").mkdir()
    with pytest.raises(ValueError, match="was not unpacked, because not all of it belongs in a folder"):
        unpack(archive, tmp_path / "in" / "data")
    assert {path.name for path in tmp_path.rglob("*")} == {"archive", "in"}


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("out")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match="'out' is a link"):
        unpack(tmp_path / "a.zip", tmp_path / "data")


def flip_a_bit(data, where):
    return data[:where] + bytes([data[where] ^ 1]) + data[where + 1 :]


DAMAGED = {
    "cut in a file": lambda data: data[: len(data) // 2],
    "cut before the checksum": lambda data: data[:-8],
    "wrong checksum": lambda data: flip_a_bit(data, len(data) - 6),
    "wrong content": lambda data: flip_a_bit(data, len(data) // 2),
    "error page": lambda data: b"<html>404</html>",
    "nothing": lambda data: b"",
}


@pytest.mark.parametrize(("kind", "what"), [(kind, what) for kind in ("tgz", "tar.xz") for what in DAMAGED] + [
    ("zip", what) for what in DAMAGED if "checksum" not in what  # those of a zip are not at its end
])  # fmt: skip
def test_a_damaged_archive_leaves_nothing(kind, what, tmp_path):
    noise = hashlib.shake_256(b"noise").digest(50_000)
    archive = MAKERS[kind](tmp_path / "a", ("x/noise", noise), ("y", b"1"))
    archive.write_bytes(DAMAGED[what](archive.read_bytes()))
    with pytest.raises(ValueError, match=r"damaged or cut off|no tar or zip archive"):
        unpack(archive, tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.fixture
def small_disk():
    """Files of this process end at 100 kB, as they would on a disk that is full: a real error of the real system."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("kind", ["tgz", "zip"])
def test_a_full_disk_is_said_and_nothing_is_left(kind, tmp_path, small_disk):
    archive = MAKERS[kind](tmp_path / "a", ("small", b"1"), ("large", bytes(200_000)))
    with pytest.raises(OSError, match=r"Cannot write to .* \(File too large; .* are free there\). Nothing"):
        unpack(archive, tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_while_downloading(host, small_disk):
    with pytest.raises(OSError, match=r"Cannot write to .*downloads .*Make room and run this again"):
        fetch(host.url)


def test_what_is_there_is_never_written_into(tmp_path):
    archive = tar(tmp_path / "a.tgz", *FILES.items())
    (tmp_path / "data").mkdir()
    unpack(archive, tmp_path / "data")  # an empty folder is as good as none
    before = content(tmp_path / "data")
    for target in (tmp_path / "data", archive):
        with pytest.raises(FileExistsError, match="not empty"):
            unpack(archive, target)
    assert content(tmp_path / "data") == before
    with pytest.raises(FileNotFoundError, match="no archive"):
        unpack(tmp_path / "b.tgz", Path(os.devnull, "x"))
