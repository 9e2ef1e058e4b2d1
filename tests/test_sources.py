"""Files and folders on the command line: which are taken, in which order, and where what is drawn of them goes."""

from pathlib import Path

import pytest
from PIL import Image

from mtlora_lite.sources import find_sources, targets_of


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder as people have them."""
    monkeypatch.chdir(tmp_path)
    names = ["img10.jpg", "img2.jpg", "IMG1.JPG", "b/clip.MP4", "b/x.png", "b/deep/er/y.webp", "notes.txt"]
    names += [".hidden.jpg", ".cache/z.jpg", "a/x.png"]
    for name in names:
        path = tmp_path / "album" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "album" / "loop").symlink_to(tmp_path / "album", target_is_directory=True)
    return Path("album")


def test_a_folder_is_taken_with_those_below_in_the_order_of_people(folder):
    sources, problems = find_sources([folder], Path("out"))
    found = ["a/x.png", "b/clip.MP4", "b/deep/er/y.webp", "b/x.png", "IMG1.JPG", "img2.jpg", "img10.jpg"]
    assert [source.path.relative_to(folder).as_posix() for source in sources] == found
    assert [source.moving for source in sources] == [path.endswith("MP4") for path in found]
    assert problems == []
    expected = ["a/x.png", "b/clip.mp4", "b/deep/er/y.png", "b/x.png", "IMG1.png", "img2.png", "img10.png"]
    assert [path.relative_to("out").as_posix() for path in targets_of(sources, Path("out"))] == expected


def test_what_was_written_before_is_not_read_again(folder):
    (folder / "out").mkdir()
    (folder / "out" / "img2.png").touch()
    sources, _ = find_sources([folder], folder / "out")
    assert not [source for source in sources if "out" in source.path.parts]
    sources, _ = find_sources([folder / "out"], folder / "out" / "again")
    assert [source.path.name for source in sources] == ["img2.png"]


def test_a_file_is_taken_whatever_it_is_called_and_a_folder_without_any_is_named(folder):
    Path("empty").mkdir()
    sources, (problem,) = find_sources([folder / "notes.txt", Path("empty"), folder / ".hidden.jpg"], Path("out"))
    assert [source.path.name for source in sources] == ["notes.txt", ".hidden.jpg"]
    assert problem.startswith("There is no photo and no video in empty or the folders in it (jpg, jpeg, png")


def test_pictures_go_beside_their_sources_without_replacing_any(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x.png", "x.jpg"):
        Image.new("RGB", (4, 4)).save(name)
    frames = [Image.new("L", (4, 4), shade) for shade in (0, 99)]
    frames[0].save("x.gif", save_all=True, append_images=frames[1:])
    sources, _ = find_sources([Path()], Path())
    assert [source.path.name for source in sources] == ["x.gif", "x.jpg", "x.png"]
    assert [path.name for path in targets_of(sources, Path())] == ["x-2.gif", "x-2.png", "x-3.png"]
