"""Videos and animations in and out: every frame, at its time, upright; or one clear sentence."""

import wave

import numpy as np
import pytest
from PIL import Image

from mtlora_lite.extras import MissingExtraError
from mtlora_lite.photos import PhotoError
from mtlora_lite.videos import count_frames, is_animation, is_video, read_frames, write_gif, write_video

SIZE = (48, 64)  # of a frame: height and width


def picture(index):
    """A frame with a bright top left corner that goes from blue to red."""
    frame = np.full((*SIZE, 3), (25 * index, 40, 255 - 25 * index), np.uint8)
    frame[:16, :16] = 255
    return frame


@pytest.fixture
def video(tmp_path):
    """A function that makes a video of ten frames, ten a second, as a camera would; returns its path."""
    av = pytest.importorskip("av")

    def make(name="clip.mp4", codec="libx264", rotation=0):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream(codec, rate=10)
            stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
            if rotation:
                stream.set_display_rotation(rotation)
            for index in range(10):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")))
            container.mux(stream.encode())
        return tmp_path / name

    return make


def gif(path, pauses=(100, 200, 50, 100), **options):
    images = [Image.fromarray(picture(index)) for index in range(len(pauses))]
    images[0].save(path, save_all=True, append_images=images[1:], duration=list(pauses), **options)
    return path


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.MOV", "mpeg4"), ("a.webm", "libvpx-vp9")])
def test_a_video_comes_frame_by_frame_with_its_times(name, codec, video):
    path = video(name, codec)
    frames = list(read_frames(path))
    assert is_video(path)
    np.testing.assert_allclose([time for time, _ in frames], np.arange(10) / 10, atol=2e-3)
    for index, (_, frame) in enumerate(frames):
        assert frame.shape == (*SIZE, 3)
        np.testing.assert_allclose(frame[30, 40], picture(index)[30, 40], atol=12)
    assert count_frames(path) == 10


@pytest.mark.parametrize(("rotation", "corner"), [(90, (-8, 8)), (-90, (8, -8)), (180, (-8, -8))])
def test_a_video_of_a_turned_phone_is_upright(rotation, corner, video):
    """The camera stores how far to turn a frame, counterclockwise; the bright corner goes along."""
    _, frame = next(read_frames(video(rotation=rotation)))
    assert frame.shape[:2] == (SIZE if rotation == 180 else SIZE[::-1])
    assert frame[corner].min() > 200
    assert frame[8, 8].min() < 100


@pytest.mark.parametrize(("fps", "expected"), [(5, [0, 0.2, 0.4, 0.6, 0.8]), (4, [0, 0.3, 0.5, 0.8]), (99, None)])
def test_so_many_frames_a_second(fps, expected, video):
    times = [time for time, _ in read_frames(video(), fps)]
    np.testing.assert_allclose(times, np.arange(10) / 10 if expected is None else expected, atol=2e-3)
    assert count_frames(video(), fps) == len(times)


def test_an_animation_comes_frame_by_frame_with_its_times(tmp_path):
    path = gif(tmp_path / "a.gif")
    assert is_animation(path)
    assert not is_video(path)
    frames = list(read_frames(path))
    np.testing.assert_allclose([time for time, _ in frames], [0, 0.1, 0.3, 0.35])
    for index, (_, frame) in enumerate(frames):
        np.testing.assert_allclose(frame, picture(index), atol=8)
    assert [time for time, _ in read_frames(path, fps=5)] == pytest.approx([0, 0.3])
    assert is_animation(gif(tmp_path / "a.webp", lossless=True))
    assert is_animation(gif(tmp_path / "a.png"))


def test_a_photo_is_no_animation(tmp_path):
    for name in ("a.gif", "a.png", "a.jpg", "a.webp"):
        Image.fromarray(picture(1)).save(tmp_path / name)
        assert not is_animation(tmp_path / name)
    assert not is_animation(tmp_path / "absent.gif")
    # a camera's MPO holds a second picture, which is no next frame
    Image.fromarray(picture(1)).save(
        tmp_path / "b.jpg", format="MPO", save_all=True, append_images=[Image.fromarray(picture(2))]
    )
    assert not is_animation(tmp_path / "b.jpg")


TIMES = (0, 0.1, 0.35, 0.4)  # unevenly, as phones film


def test_a_video_is_written_with_the_times_of_its_frames(tmp_path):
    pytest.importorskip("av")
    write_video(tmp_path / "new" / "b.mp4", ((time, picture(index)) for index, time in enumerate(TIMES)))
    frames = list(read_frames(tmp_path / "new" / "b.mp4"))
    np.testing.assert_allclose([time for time, _ in frames], TIMES, atol=1e-3)
    for index, (_, frame) in enumerate(frames):
        np.testing.assert_allclose(frame[30, 40], picture(index)[30, 40], atol=12)


def test_a_gif_is_written_with_the_times_of_its_frames(tmp_path):
    write_gif(tmp_path / "new" / "b.gif", ((time, picture(index)) for index, time in enumerate(TIMES)))
    frames = list(read_frames(tmp_path / "new" / "b.gif"))
    assert [time for time, _ in frames] == pytest.approx(TIMES)
    with Image.open(tmp_path / "new" / "b.gif") as image:
        assert image.info["loop"] == 0


@pytest.mark.parametrize(("write", "name"), [(write_video, "c.mp4"), (write_gif, "c.gif")])
def test_nothing_is_left_where_frames_fail(write, name, tmp_path):
    pytest.importorskip("av")

    def frames():
        yield 0.0, picture(0)
        raise PhotoError("broken in the middle")

    with pytest.raises(PhotoError, match="in the middle"):
        write(tmp_path / name, frames())
    assert not any(tmp_path.iterdir())


def test_what_is_no_video_says_so(tmp_path, video):
    pytest.importorskip("av")
    path = tmp_path / "x.mp4"
    with pytest.raises(PhotoError, match=r"no video at .*x\.mp4: check the path"):
        list(read_frames(path))
    whole = video().read_bytes()
    for content in (b"", b"<html>", whole[:500]):
        path.write_bytes(content)
        assert count_frames(path) is None
        with pytest.raises(PhotoError, match=r"x\.mp4 is no video that can be decoded"):
            list(read_frames(path))


def test_sound_alone_is_no_video(tmp_path):
    pytest.importorskip("av")
    path = tmp_path / "song.mp4"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16000))
    with pytest.raises(PhotoError, match=r"song\.mp4 has sound but no picture"):
        list(read_frames(path))
    assert count_frames(path) is None


def test_a_gif_that_is_cut_off_says_so(tmp_path):
    path = gif(tmp_path / "a.gif")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(PhotoError, match=r"damaged or cut off"):
        list(read_frames(path))


def test_without_the_package_a_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("mtlora_lite.extras.find_spec", lambda name: None)
    for use in (lambda: list(read_frames(tmp_path / "a.mp4")), lambda: write_video(tmp_path / "b.mp4", [])):
        with pytest.raises(MissingExtraError, match="needs av, which is not installed: pip install av"):
            use()
