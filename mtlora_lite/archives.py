"""Data sets as they are handed out: archives that are fetched, or are here already, and are unpacked safely.

The hosts of this field's archives come and go, and nobody publishes a checksum. So a download that breaks off goes on
where it stopped, the checksum of the first complete one is remembered and held against all later ones, and an archive
from anywhere else does as well.
"""

import gzip
import json
import lzma
import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from tqdm.auto import tqdm

from mtlora_lite.disk import writing_to
from mtlora_lite.paths import cache_dir, command
from mtlora_lite.records import write_json

CHUNK = 1 << 20  # bytes at a time
TIMEOUT = 30  # seconds without a word from the host


@dataclass(frozen=True)
class Source:
    """Where a data set is handed out.

    Attributes:
        url: the address of its archive.
        terms: what it may be used for.
        sha256: of the archive, where one is recorded.
    """

    url: str
    terms: str
    sha256: str | None = None


_HOST = "https://data.vision.ee.ethz.ch/kmaninis/share/MTL"
_TERMS = "research only; do not pass it on"
SOURCES: dict[str, Source] = {
    "PASCAL_MT": Source(f"{_HOST}/PASCAL_MT.tgz", _TERMS),
    "NYUD_MT": Source(f"{_HOST}/NYUD_MT.tgz", _TERMS),
}


# ------------------------------------------------------------------------------------------------------------- fetch


def fetch(url: str, sha256: str | None = None) -> tuple[Path, str]:
    """Download an archive into the cache, or find it there; a download that was cut off goes on where it stopped.

    Args:
        url: its address.
        sha256: the checksum it must have. ``None`` takes the one that an earlier download from there had, if any.

    Returns:
        The archive, and its SHA-256, which is remembered.

    Raises:
        ConnectionError: the host cannot be reached, does not have the file, or broke off; the message says what to do.
        ValueError: what came has another checksum than it must have.
        OSError: it cannot be written, for example because the disk is full.
    """
    import pooch
    import requests

    known = sha256 or _remembered().get(url)
    name = pooch.utils.unique_file_name(url)
    download = _Resuming(_folder() / f"{name}.part")
    pooch.get_logger().setLevel("ERROR")
    try:
        with writing_to(_folder(), "Make room and run this again: it goes on from there."):
            path = Path(pooch.retrieve(url, known, fname=name, path=_folder(), downloader=download))
    except requests.RequestException as error:
        raise ConnectionError(
            f"Cannot download {url}: {_reason(error)}. Try again later (what has come is kept), or get the archive by "
            f"other means and unpack it with: {command()} data download --archive FILE --out FOLDER"
        ) from error
    except ValueError as error:
        raise ValueError(
            f"What came from {url} is not the archive that is known: its SHA-256 is not {known}. If the host has a "
            f"new one that you trust, delete {_memory()} and try again."
        ) from error
    digest = known or pooch.file_hash(str(path))
    write_json(_memory(), _remembered() | {url: digest})
    return path, digest


@dataclass(frozen=True)
class _Resuming:
    """How pooch is to download: into a file that outlives a broken connection and is continued after it.

    Beside it stands what the host says of the archive's version. If that changed between two attempts, the host is
    asked to begin anew: two halves of different archives make none.
    """

    part: Path

    @property
    def version(self) -> Path:
        return self.part.with_suffix(".version")

    def __call__(self, url: str, output_file: str, _: object) -> None:
        import requests

        while True:  # as long as an attempt brings something, the next may bring the rest
            size = self._size()
            try:
                self._continue(url, size)
                break
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                if self._size() <= size:
                    raise
        os.replace(self.part, output_file)
        self.version.unlink(missing_ok=True)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _continue(self, url: str, start: int) -> None:
        import requests

        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        if start and self.version.is_file():
            headers["If-Range"] = self.version.read_text()
        with requests.get(url, stream=True, timeout=TIMEOUT, headers=headers) as response:
            if start and response.status_code == requests.codes.requested_range_not_satisfiable:
                return  # nothing is missing
            response.raise_for_status()
            start = start if response.status_code == requests.codes.partial_content else 0
            if not start:
                _note(self.version, response.headers)
            total = start + int(response.headers.get("Content-Length", 0))
            name = url.rsplit("/", 1)[-1]
            bar = tqdm(desc=f"download {name}", total=total, initial=start, unit="B", unit_scale=True, leave=False)
            with self.part.open("ab" if start else "wb") as file, bar:
                for chunk in response.iter_content(CHUNK):
                    bar.update(file.write(chunk))


def _note(version: Path, headers: Mapping[str, str]) -> None:
    """Keep by what a host knows this version of a file; a weak tag will not do for parts of it (RFC 9110, 13.1.5)."""
    tag = headers.get("ETag", "")
    known = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")
    if known:
        version.write_text(known)
    else:
        version.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    """What went wrong in a few words; what requests says is a nest of objects and their addresses in memory."""
    response = getattr(error, "response", None)
    return f"the host answers {response.status_code}" if response is not None else f"no answer ({type(error).__name__})"


def _folder() -> Path:
    folder = cache_dir() / "downloads"
    folder.mkdir(exist_ok=True)
    return folder


def _memory() -> Path:
    return _folder() / "checksums.json"


def _remembered() -> dict[str, str]:
    return json.loads(_memory().read_text()) if _memory().is_file() else {}


# ------------------------------------------------------------------------------------------------------------ unpack


def unpack(archive: Path, folder: Path) -> int:
    """Unpack the archive of a data set: tar, compressed or not, or zip.

    ``folder`` appears complete or not at all. Where the archive holds the data set in one folder (``PASCAL_MT/``),
    ``folder`` takes its place.

    Returns:
        The number of files.

    Raises:
        FileNotFoundError: there is no such archive.
        FileExistsError: there is something in ``folder`` already.
        ValueError: it is no archive, it is damaged or cut off, or one of its entries would be written outside of
            ``folder``, is a link that leads out of it, or is neither file nor folder nor link.
        OSError: it cannot be written, for example because the disk is full.
    """
    if not archive.is_file():
        raise FileNotFoundError(f"There is no archive {archive}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already and not empty: name a new folder, or delete this one.")
    with writing_to(folder.parent, "Nothing of the archive was left there."), _saying_what_is_wrong(archive):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="unpacking-") as temporary:
            inside = Path(temporary, "archive")
            inside.mkdir()
            count = _unpacker(archive)(archive, inside)
            if folder.is_dir():
                folder.rmdir()  # empty; Windows renames to what does not exist
            _data_set_in(inside).rename(folder)
    return count


def _data_set_in(folder: Path) -> Path:
    entries = list(folder.iterdir())
    lists = ("ImageSets", "gt_sets")  # what both layouts have at their top
    alone = len(entries) == 1 and any((entries[0] / name).is_dir() for name in lists)
    return entries[0] if alone else folder


def _unpacker(archive: Path) -> Callable[[Path, Path], int]:
    if zipfile.is_zipfile(archive):
        return _unzip
    if tarfile.is_tarfile(archive):
        return _untar
    raise ValueError(
        f"{archive} is no tar or zip archive that can be read: cut off, perhaps, or the host's error page."
    )


def _untar(archive: Path, folder: Path) -> int:
    count = 0
    bar = tqdm(desc=f"unpack {archive.name}", total=archive.stat().st_size, unit="B", unit_scale=True, leave=False)
    with archive.open("rb") as file, tarfile.open(fileobj=file) as tar, bar:
        for member in tar:
            _check_name(member.name)  # the filter would write /etc/passwd as etc/passwd; nobody means that
            tar.extract(member, folder, filter="data")
            count += not member.isdir()
            bar.update(file.tell() - bar.n)
        while tar.fileobj.read(CHUNK):  # to the very end, for there stands the checksum
            pass
    return count


def _unzip(archive: Path, folder: Path) -> int:
    with zipfile.ZipFile(archive) as file:
        members = [member for member in file.infolist() if not member.is_dir()]
        for member in members:
            _check_name(member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise _UnsafeEntryError(f"{member.filename!r} is a link")
        for member in tqdm(members, desc=f"unpack {archive.name}", unit="file", leave=False):
            file.extract(member, folder)
    return len(members)


class _UnsafeEntryError(Exception):
    pass


def _check_name(name: str) -> None:
    path = PureWindowsPath(name)  # which takes both / and \ for separators, and knows drives
    if path.anchor or ".." in path.parts:
        raise _UnsafeEntryError(f"{name!r} lies outside of it")


# What tarfile, zipfile and the decompressors under them raise on bytes that are not as they should be.
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError, RuntimeError)


@contextmanager
def _saying_what_is_wrong(archive: Path) -> Iterator[None]:
    try:
        yield
    except (_UnsafeEntryError, tarfile.FilterError) as error:
        raise ValueError(f"{archive} was not unpacked, because not all of it belongs in a folder: {error}.") from error
    except _DAMAGE as error:
        raise ValueError(f"{archive} is damaged or cut off ({error}): get it again.") from error
