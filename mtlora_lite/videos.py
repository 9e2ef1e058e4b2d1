"""Moving pictures in and out: videos through PyAV, animated GIF, PNG and WebP through Pillow.

A frame is a time in seconds and an RGB picture, uint8 (H, W, 3). What is written keeps the times of what was read.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from mtlora_lite.extras import require
from mtlora_lite.photos import ANIMATION_FORMATS, PhotoError, to_rgb
from mtlora_lite.records import write_atomically

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp", ".ogv", ".mts")
TICKS = 90_000  # a second; times of frames are written in them
GIF_TICK = 10  # milliseconds; GIF has no finer times
DEFAULT_PAUSE = 0.1  # seconds, where a file does not say how long a frame is shown
QUALITY = "18"  # of x264's scale, on which this is as good as invisible

Frame = tuple[float, np.ndarray]


def is_video(path: Path) -> bool:
    """Whether a file calls itself a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def is_animation(path: Path) -> bool:
    """Whether a file is an image of several frames that are shown one after another."""
    try:
        with Image.open(path, formats=ANIMATION_FORMATS) as image:
            return getattr(image, "n_frames", 1) > 1
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):  # load_photo says what is wrong
        return False


def read_frames(path: Path, fps: float | None = None) -> Iterator[Frame]:
    """Read the frames of a video or an animation, upright.

    Args:
        path: the file.
        fps: take no more than that many frames a second; None: all.

    Raises:
        PhotoError: there is no such file, it cannot be decoded, or it has no picture in it.
        MissingExtraError: it is a video and PyAV is not installed.
    """
    frames = _decode_video(path) if is_video(path) else _decode_animation(path)
    due, found = 0.0, False
    for time, picture in frames:
        if fps is None or time >= due - 1e-6:
            yield time, picture
            found, due = True, 0.0 if fps is None else (np.floor(time * fps + 1e-6) + 1) / fps
    if not found:
        raise PhotoError(f"{path} has no frame that can be decoded.")


def count_frames(path: Path, fps: float | None = None) -> int | None:
    """About how many frames ``read_frames`` will give, for a progress bar; None where the file does not say."""
    if not is_video(path):
        with Image.open(path) as image:
            return image.n_frames if fps is None else None
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            seconds = float(container.duration or 0) / av.time_base
            total = stream.frames or round(seconds * float(stream.average_rate or 0))
    except (av.FFmpegError, IndexError):
        return None  # read_frames says what is wrong
    return (min(total, int(np.ceil(seconds * fps))) if fps else total) or None


def write_video(path: Path, frames: Iterable[Frame]) -> None:
    """Write pictures of one even width and height as H.264 in MP4, without sound; whole or not at all.

    Raises:
        MissingExtraError: PyAV is not installed.
    """
    require("Writing videos", "av")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: _encode_video(temporary, frames))


def write_gif(path: Path, frames: Iterable[Frame]) -> None:
    """Write pictures as an animated GIF that repeats for ever; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = _with_durations(frames)
    first = next(images)
    write_atomically(
        path, lambda temporary: first.save(temporary, format="GIF", save_all=True, append_images=images, loop=0)
    )


def _decode_video(path: Path) -> Iterator[Frame]:
    require("Reading videos", "av")
    import av

    if not path.is_file():
        raise PhotoError(f"There is no video at {path}: check the path.")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise PhotoError(f"{path} has sound but no picture.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            pause = 1 / float(stream.average_rate or 1 / DEFAULT_PAUSE)
            start = None
            for index, frame in enumerate(container.decode(stream)):
                time = index * pause if frame.time is None else frame.time  # some streams have no times
                start = time if start is None else start  # and cut ones do not begin at 0
                picture = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
                yield time - start, np.ascontiguousarray(picture)
    except av.FFmpegError as error:
        raise PhotoError(
            f"{path} is no video that can be decoded ({error.strerror}): save or download it again."
        ) from error


def _decode_animation(path: Path) -> Iterator[Frame]:
    time = 0.0
    try:
        with Image.open(path) as image:
            for frame in ImageSequence.Iterator(image):
                pause = frame.info.get("duration", 0) / 1000 or DEFAULT_PAUSE
                yield time, np.asarray(to_rgb(frame))
                time += pause
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise PhotoError(f"{path} is damaged or cut off ({error}); save or download it again.") from error


def _encode_video(path: Path, frames: Iterable[Frame]) -> None:
    import av

    codec, options = ("libx264", {"crf": QUALITY}) if "libx264" in av.codecs_available else ("mpeg4", {})
    frames = iter(frames)
    first = next(frames)
    height, width = first[1].shape[:2]
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=TICKS, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        last = -1
        for time, picture in chain([first], frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            last = max(round(time * TICKS), last + 1)  # encoders want times to grow
            frame.pts, frame.time_base = last, Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _with_durations(frames: Iterable[Frame]) -> Iterator[Image.Image]:
    """Images that know how long they are shown: until the next one; the last as long as the one before."""
    pause = DEFAULT_PAUSE
    for (time, picture), following in pairwise(chain(frames, [None])):
        pause = pause if following is None else following[0] - time
        image = Image.fromarray(picture)
        image.info["duration"] = max(1, round(1000 * pause / GIF_TICK)) * GIF_TICK
        yield image
