"""Any photograph becomes upright RGB, or one clear sentence."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from mtlora_lite import photos
from mtlora_lite.photos import PhotoError, denormalize, load_photo, normalize, read_sent

pytestmark = pytest.mark.filterwarnings("error")


def saved(tmp_path, image, name="photo.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def gradient(height=20, width=30):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 8, y * 12, x + y], axis=-1).astype(np.uint8)


def test_rgb_comes_back_as_it_is(tmp_path):
    photo = load_photo(saved(tmp_path, Image.fromarray(gradient())))
    assert photo.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(photo), gradient())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    upright = Image.fromarray(gradient())
    undo = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90",
            7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip
    stored = upright.transpose(Image.Transpose[undo[orientation]]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(np.asarray(load_photo(saved(tmp_path, stored, exif=exif))), gradient())


def test_grey_and_palette_and_one_bit(tmp_path):
    grey = Image.fromarray(gradient()[..., 0])
    expected = np.repeat(gradient()[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(np.asarray(load_photo(saved(tmp_path, grey))), expected)
    palette = Image.fromarray(gradient()[..., 0] // 128, mode="P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    colors = np.unique(np.asarray(load_photo(saved(tmp_path, palette))).reshape(-1, 3), axis=0)
    np.testing.assert_array_equal(colors, [[10, 20, 30], [40, 50, 60]])
    assert np.unique(np.asarray(load_photo(saved(tmp_path, grey.convert("1"))))).tolist() == [0, 255]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, suffix):
    levels = np.array([[0, 257, 25700, 65535]], np.uint16)
    photo = load_photo(saved(tmp_path, Image.fromarray(levels), f"photo.{suffix}"))
    np.testing.assert_array_equal(np.asarray(photo)[0], np.repeat([[0], [1], [100], [255]], 3, axis=1))


def test_what_is_transparent_lies_over_white(tmp_path):
    rgba = np.uint8([[[200, 0, 0, 255], [200, 0, 0, 0], [0, 0, 0, 51]]])
    expected = [[200, 0, 0], [255, 255, 255], [204, 204, 204]]
    np.testing.assert_array_equal(np.asarray(load_photo(saved(tmp_path, Image.fromarray(rgba))))[0], expected)
    two = Image.fromarray(np.uint8([[0, 1]]), mode="P")
    two.putpalette([9, 9, 9, 80, 80, 80])
    expected = [[255, 255, 255], [80, 80, 80]]
    np.testing.assert_array_equal(np.asarray(load_photo(saved(tmp_path, two, transparency=0)))[0], expected)


def test_cmyk(tmp_path):
    path = saved(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "photo.jpg", quality=100)
    red, green, blue = np.asarray(load_photo(path))[4, 4].astype(int)
    assert red > 200
    assert max(green, blue) < 60


def test_one_pixel_is_a_photo(tmp_path):
    assert load_photo(saved(tmp_path, Image.new("L", (1, 1), 7))).getpixel((0, 0)) == (7, 7, 7)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_large_photo_is_reduced(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(photos, "MAX_SIDE", 64)
    photo = load_photo(saved(tmp_path, Image.new("RGB", (640, 300), (50, 60, 70)), f"photo.{suffix}"))
    assert photo.size == (64, 30)
    np.testing.assert_allclose(np.asarray(photo), np.broadcast_to([50, 60, 70], (30, 64, 3)), atol=2)


def test_far_too_many_pixels_are_refused_and_many_are_not_even_warned_of(tmp_path, monkeypatch):
    path = saved(tmp_path, Image.new("L", (40, 30)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert load_photo(path).size == (40, 30)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(PhotoError, match="too many pixels"):
        load_photo(path)


def test_what_is_no_photo_says_so(tmp_path):
    with pytest.raises(PhotoError, match="no photo at"):
        load_photo(tmp_path / "absent.jpg")
    with pytest.raises(PhotoError, match="that is a folder"):
        load_photo(tmp_path)
    for content in (b"", b"not an image at all", b"<html></html>"):
        (tmp_path / "page.jpg").write_bytes(content)
        with pytest.raises(PhotoError, match="not an image"):
            load_photo(tmp_path / "page.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_photo_that_is_cut_off_says_so(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), f"photo.{suffix}")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(PhotoError, match=r"damaged or cut off|not an image"):
        load_photo(path)


# --------------------------------------------------------------------------------------- photographs that are sent


def sent(image, kind="PNG", **options):
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return read_sent(buffer.getvalue(), "photo")


def test_a_sent_photo_is_read_like_a_file():
    photo = sent(Image.fromarray(gradient()))
    np.testing.assert_array_equal(np.asarray(photo.image), gradient())
    assert (photo.size, photo.frames) == ((30, 20), 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert sent(Image.fromarray(gradient()), exif=exif).size == (20, 30)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_a_large_one_of_any_mode_is_reduced_and_upright(mode, monkeypatch):
    monkeypatch.setattr(photos, "SENT_SIDE", 60)
    half = np.zeros((100, 200), np.uint16)
    half[:50] = 65535
    eight = Image.fromarray((half // 257).astype(np.uint8))
    image = Image.fromarray(half) if mode == "I;16" else eight.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    photo = sent(image, "TIFF" if mode == "CMYK" else "PNG", exif=exif)
    assert (photo.image.mode, photo.image.size, photo.size) == ("RGB", (60, 30), (200, 100))
    assert photo.image.getpixel((30, 25)) == (255, 255, 255)
    assert max(photo.image.getpixel((30, 5))) < 45


def test_frames_are_counted_and_the_first_is_taken():
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (200, 100, 50)]
    for kind in ("GIF", "PNG", "WEBP"):
        photo = sent(frames[0], kind, save_all=True, append_images=frames[1:])
        assert photo.frames == 3
        assert photo.image.getpixel((4, 4))[0] == pytest.approx(200, abs=12)


def test_what_is_sent_has_to_be_a_photo_of_reasonable_size(monkeypatch):
    with pytest.raises(PhotoError, match=r"photo is empty \(0 bytes\)"):
        read_sent(b"", "photo")
    with pytest.raises(PhotoError, match="not an image"):
        sent(Image.fromarray(gradient()), "EPS")  # whose reader starts another program
    monkeypatch.setattr(photos, "SENT_PIXELS", 599)
    with pytest.raises(PhotoError, match=r"too many pixels \(599 is the limit\)"):
        sent(Image.fromarray(gradient()))


def test_heic_is_named(tmp_path):
    content = b"\0\0\0\x18ftypheic" + bytes(100)
    (tmp_path / "photo.heic").write_bytes(content)
    for read in (lambda: read_sent(content, "photo.heic"), lambda: load_photo(tmp_path / "photo.heic")):
        with pytest.raises(PhotoError, match="is a HEIC photo, which cannot be read here: save it as JPEG"):
            read()


def test_normalising_undoes_itself_and_has_the_statistics_of_imagenet():
    image = torch.arange(256, dtype=torch.uint8).expand(2, 3, 4, 256)
    np.testing.assert_array_equal(denormalize(normalize(image)), image.movedim(1, -1))
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    torch.testing.assert_close(normalize(mean), torch.zeros(3, 1, 1))
    torch.testing.assert_close(normalize(mean + torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)), torch.ones(3, 1, 1))
