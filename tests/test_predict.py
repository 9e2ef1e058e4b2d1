"""Photos and videos through ``mtlora predict``: good ones become pictures, bad ones a sentence, in one run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mtlora_lite.cli import main
from mtlora_lite.paths import data_dir
from mtlora_lite.predict import load_checkpoint, predict_photo
from mtlora_lite.videos import read_frames, write_video

PHOTO = data_dir() / "sample" / "JPEGImages" / "000003.jpg"


@pytest.fixture
def photo():
    with Image.open(PHOTO) as image:
        return image.convert("RGB")


@pytest.fixture
def predict(checkpoint, tmp_path, capsys, monkeypatch):
    """Run the command in an empty folder; returns status, the pictures it names, and what it complains about."""
    monkeypatch.chdir(tmp_path)

    def run(*paths, out="out", options=()):
        status = main(["predict", *map(str, paths), "--checkpoint", str(checkpoint), "--out", str(out), *options])
        said = capsys.readouterr()
        wrote = [Path(line.removeprefix("wrote ")) for line in said.out.splitlines()]
        return status, wrote, [line.split("\r")[-1] for line in said.err.split("\n") if "error: " in line]

    return run


def saved(image, path, **options):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return Path(path)


def every_kind(photo):
    """A file of each kind of photo that people have."""
    rotated = Image.Exif()
    rotated[0x0112] = 6
    sixteen = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    return [
        saved(photo.transpose(Image.Transpose.ROTATE_90), "rotated.jpg", exif=rotated),
        saved(photo.convert("L"), "grey.jpg"),
        saved(photo.convert("P"), "palette.png"),
        saved(photo.convert("P"), "animation.gif"),
        saved(photo.convert("RGBA"), "transparent.png"),
        saved(photo.convert("LA"), "grey transparent.png"),
        saved(sixteen, "sixteen bits.png"),
        saved(photo.convert("CMYK"), "print.jpg"),
        saved(photo, "web.webp"),
        saved(photo.resize((5000, 300)), "huge.jpg"),
        saved(photo.resize((1, 1)), "tiny.png"),
        saved(photo, "no suffix", format="PNG"),
        saved(photo, "été à la plage 東京 😀.jpg"),
    ]


def test_good_and_bad_photos_in_one_run(predict, photo, tmp_path):
    good = every_kind(photo)
    truncated = saved(photo, "truncated.jpg")
    truncated.write_bytes(truncated.read_bytes()[:2000])
    Path("page.jpg").write_text("<html>not found</html>")
    Path("empty.png").touch()
    bad = {"no photos": "There is no photo and no video in", truncated: "damaged or cut off",
           "page.jpg": "not an image", "empty.png": "not an image", "absent.jpg": "check the path"}  # fmt: skip
    Path("no photos").mkdir()
    mixed = [*bad][:2] + good + [*bad][2:]
    status, wrote, errors = predict(*mixed)
    assert status == 1
    assert wrote == [Path("out") / f"{path.stem}.png" for path in good]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in wrote)
    for path in wrote:
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert picture.width > picture.height > 100
    assert len(errors) == len(bad)
    for error, (path, reason) in zip(errors, bad.items(), strict=True):
        assert error.startswith("error: ")
        assert str(path) in error
        assert reason in error


def test_all_good_is_status_0(predict, photo):
    assert predict(PHOTO) == (0, [Path("out/000003.png")], [])


def test_a_photo_lies_upright_and_the_right_way_round_before_the_model(checkpoint, photo, tmp_path):
    model = load_checkpoint(checkpoint)
    upright, expected = predict_photo(model, saved(photo, tmp_path / "a.png"), ["depth"])
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saved(photo.transpose(Image.Transpose.ROTATE_90), tmp_path / "b.png", exif=exif)
    image, logits = predict_photo(model, turned, ["depth"])
    assert torch.equal(image, upright)
    assert torch.equal(logits["depth"], expected["depth"])
    assert upright.shape == (1, 3, 64, 64)
    assert set(logits) == {"depth"}


def test_the_picture_shows_the_tasks_asked_for(predict):
    widths = []
    for options in ([], ["--tasks", "depth"], ["--tasks", "depth", "semseg"]):
        _, (picture,), _ = predict(PHOTO, options=options)
        with Image.open(picture) as image:
            widths.append(image.width)
    assert widths[0] == widths[2] > widths[1]


def shown(path):
    """The pixels of a picture."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_how_many_are_predicted_at_once_makes_no_difference(predict, photo):
    """Nor where photos that cannot be used lie between them."""
    names = [f"{angle}.png" for angle in (0, 40, 80, 120, 160)]
    paths = [saved(photo.rotate(int(name[:-4])), name) for name in names]
    Path("broken.jpg").write_text("nothing")
    paths = [paths[0], "broken.jpg", *paths[1:], "absent.jpg"]
    written = {size: predict(*paths, out=f"by {size}", options=["--batch-size", size])[1] for size in ("1", "3", "9")}
    for size in ("3", "9"):
        assert [path.name for path in written[size]] == names
        for one, other in zip(written["1"], written[size], strict=True):
            assert np.abs(shown(one) - shown(other)).max() <= 2
    first, second = (shown(path)[:300] for path in written["1"][:2])
    assert np.abs(first - second).max() > 50


def test_a_folder_is_predicted_and_nothing_of_it_is_touched(predict, photo):
    for name in ("album/10.jpg", "album/2.jpg", "album/more/2.png"):
        saved(photo, name)
    Path("album/notes.txt").write_text("x")
    before = {path: path.read_bytes() for path in Path("album").rglob("*.*")}
    for _ in range(2):  # what was written the first time is not taken for photos
        status, wrote, errors = predict("album", out="album/seen")
        assert (status, errors) == (0, [])
        assert wrote == [Path("album/seen") / name for name in ("2.png", "10.png", "more/2.png")]
    assert {path: path.read_bytes() for path in before} == before


@pytest.fixture
def clip(tmp_path, photo):
    """A video of six frames, three a second, in which the photo grows darker."""
    write_video(tmp_path / "clip.mp4", (
        (index / 3, np.asarray(photo.resize((96, 64))) // (index + 1)) for index in range(6)
    ))  # fmt: skip
    return Path("clip.mp4")


def test_a_video_becomes_a_video_with_its_times(predict, clip, photo):
    assert predict(clip) == (0, [Path("out/clip.mp4")], [])
    frames = list(read_frames(Path("out/clip.mp4")))
    np.testing.assert_allclose([time for time, _ in frames], np.arange(6) / 3, atol=1e-3)
    for index, (_, frame) in enumerate(frames):
        tile = frame[22 + 4 : 22 + 4 + 213, 8 : 8 + 320]  # the first one is the frame itself
        expected = np.asarray(photo.resize((320, 213))) // (index + 1)
        assert np.abs(tile.astype(int) - expected).mean() < 6
    _, wrote, _ = predict(clip, out="slow", options=["--fps", "1", "--tasks", "depth"])
    frames = list(read_frames(wrote[0]))
    np.testing.assert_allclose([time for time, _ in frames], [0, 1], atol=1e-3)
    assert frames[0][1].shape[1] < 700  # the frame and one task


def test_an_animated_gif_becomes_one_and_a_still_one_a_picture(predict, photo):
    shades = [photo.point(lambda value, index=index: value // (index + 1)) for index in range(3)]
    shades[0].save("moving.gif", save_all=True, append_images=shades[1:], duration=[100, 300, 100])
    saved(photo, "still.gif")
    assert predict("moving.gif", "still.gif")[1] == [Path("out/moving.gif"), Path("out/still.png")]
    assert [time for time, _ in read_frames(Path("out/moving.gif"))] == pytest.approx([0, 0.1, 0.4])


def test_photos_and_videos_good_and_bad_in_one_run(predict, photo, clip):
    saved(photo, "a.jpg")
    Path("broken.mp4").write_bytes(clip.read_bytes()[:300])
    status, wrote, errors = predict("a.jpg", "broken.mp4", clip, "absent.mov", "absent.jpg", PHOTO)
    assert status == 1
    assert [path.name for path in wrote] == ["a.png", "clip.mp4", "000003.png"]
    assert [re.search(r"(broken|absent)\.\w+", error)[0] for error in errors] == [
        "broken.mp4",
        "absent.mov",
        "absent.jpg",
    ]
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(path.name for path in wrote)


def test_without_the_package_for_videos_nothing_is_begun(predict, clip, monkeypatch):
    monkeypatch.setattr("mtlora_lite.extras.find_spec", lambda name: None)
    status, wrote, (error,) = predict(PHOTO, clip)
    assert (status, wrote) == (2, [])
    assert error.endswith("needs av, which is not installed: pip install av")
    assert not Path("out").exists()


def test_photos_of_one_name_do_not_overwrite_each_other(predict, photo):
    paths = [saved(photo, name) for name in ("a/x.jpg", "b/x.jpg", "c/x-2.jpg", "a/X.png")]
    _, wrote, _ = predict(*paths)
    assert wrote == [Path("out") / name for name in ("x.png", "x-2.png", "x-2-2.png", "X-3.png")]
    assert all(path.is_file() for path in wrote)


def test_no_photo_is_ever_overwritten(predict, photo):
    """Also where the pictures go into the folder of the photos."""
    paths = [saved(photo, "x.png"), saved(photo, "x.jpg")]
    before = [path.read_bytes() for path in paths]
    _, wrote, _ = predict(*paths, out=".")
    assert wrote == [Path("x-2.png"), Path("x-3.png")]
    assert [path.read_bytes() for path in paths] == before


def test_a_whole_run_and_its_model_folder_are_both_checkpoints(checkpoint, tmp_path):
    alone = shutil.copytree(checkpoint / "model", tmp_path / "alone")
    photos = [predict_photo(load_checkpoint(folder), PHOTO, ["semseg"])[1]["semseg"] for folder in (checkpoint, alone)]
    assert torch.equal(*photos)


def test_as_a_program_in_another_folder(checkpoint, tmp_path):
    shutil.copy(PHOTO, tmp_path / "my photo.jpg")
    call = [sys.executable, "-m", "mtlora_lite", "predict", "my photo.jpg", "absent.jpg", "--out", "a/b"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    result = subprocess.run(
        [*call, "--checkpoint", str(checkpoint)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (1, f"wrote {Path('a/b/my photo.png')}\n")
    assert "error: There is no photo at absent.jpg: check the path." in result.stderr
    assert "Traceback" not in result.stderr
    assert (tmp_path / "a/b/my photo.png").is_file()
