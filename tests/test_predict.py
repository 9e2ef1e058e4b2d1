"""Photos of all kinds through ``mtlora predict``: good ones become pictures, bad ones a sentence, in one run."""

import os
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
    bad = {truncated: "damaged or cut off", "page.jpg": "not an image", "empty.png": "not an image",
           "absent.jpg": "check the path", ".": "is a folder"}  # fmt: skip
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
