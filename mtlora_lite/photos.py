"""Photographs in and out: any image file to upright RGB, RGB to the numbers a backbone expects, and back."""

import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

# Of ImageNet, in 0..1; every pre-trained backbone here was trained on images normalised with them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MAX_SIDE = 4096  # pixels; a photograph larger than this is reduced while it is read
ANIMATION_FORMATS = ("GIF", "PNG", "WEBP")
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

# What a stranger's file may be: the formats of photographs. Pillow knows more, of which some start other programs (EPS)
# and few are looked after.
SENT_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")
SENT_PIXELS = 64_000_000
SENT_SIDE = 1024  # pixels; what is sent is reduced to that, as it is only looked at


class PhotoError(ValueError):
    """A photograph that cannot be used; the message says why in one sentence."""


def load_photo(path: str | Path) -> Image.Image:
    """Read a photograph as an upright 8-bit RGB image.

    Grey, palette, CMYK and 16-bit images are converted, transparency is laid over white, the orientation in the
    EXIF data is applied, and an image with a side above ``MAX_SIDE`` is reduced to that.

    Raises:
        PhotoError: if there is no such file, it is no image, it is cut off, or it has so many pixels (179 million)
            that Pillow takes it for an attack.
    """
    path = Path(path)
    if not path.is_file():
        raise PhotoError(f"There is no photo at {path}: {'that is a folder' if path.is_dir() else 'check the path'}.")
    return _decode(path, str(path), MAX_SIDE).image


@dataclass(frozen=True)
class SentPhoto:
    """A photograph that somebody sent.

    Attributes:
        image: upright 8-bit RGB, reduced to ``SENT_SIDE``.
        size: width and height in pixels as they were.
        frames: of an animation, of which the image is the first; else 1.
    """

    image: Image.Image
    size: tuple[int, int]
    frames: int


def read_sent(content: bytes, name: str) -> SentPhoto:
    """Read a photograph out of the bytes of a file that a stranger sent, as ``load_photo`` does but warily.

    Only the formats of photographs are tried, and nothing is decoded that has more pixels than ``SENT_PIXELS``.

    Args:
        content: of the file.
        name: what messages call it.

    Raises:
        PhotoError: it is empty, no such image, too large, or cut off.
    """
    if not content:
        raise PhotoError(f"{name} is empty (0 bytes): choose it again, or another one.")
    Image.init()
    known = tuple(each for each in SENT_FORMATS if each in Image.OPEN)  # not every Pillow has AVIF
    return _decode(BytesIO(content), name, SENT_SIDE, known, SENT_PIXELS)


def _decode(
    file: Path | BytesIO, name: str, side: int, formats: tuple[str, ...] | None = None, pixels: int | None = None
) -> SentPhoto:
    """An image reduced to ``side``, or ``PhotoError``; of certain formats and up to so many pixels where these say."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # half the limit: large, but welcome
            with Image.open(file, formats=formats) as image:
                width, height = image.size
                if pixels and width * height > pixels:
                    raise Image.DecompressionBombError
                frames = getattr(image, "n_frames", 1) if image.format in ANIMATION_FORMATS else 1
                if max(width, height) > side:  # a JPEG is decoded at a fraction of its size, in little memory
                    image.thumbnail((side, side), reducing_gap=2.0)
                turned = image.getexif().get(ExifTags.Base.Orientation, 1) > 4
                return SentPhoto(to_rgb(image), (height, width) if turned else (width, height), frames)
    except UnidentifiedImageError as error:
        if _is_heic(file):
            raise PhotoError(f"{name} is a HEIC photo, which cannot be read here: save it as JPEG.") from error
        raise PhotoError(f"{name} is not an image that can be read; JPEG, PNG, WebP and TIFF can.") from error
    except Image.DecompressionBombError as error:
        limit = pixels or 2 * Image.MAX_IMAGE_PIXELS
        raise PhotoError(f"{name} has too many pixels ({limit:,} is the limit): reduce it.") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what the decoders of Pillow raise on broken files
        raise PhotoError(f"{name} is damaged or cut off ({error}); save or download it again.") from error


def _is_heic(file: Path | BytesIO) -> bool:
    """Whether a file says at its beginning that it is what Apple's phones make."""
    with BytesIO(file.getvalue()) if isinstance(file, BytesIO) else file.open("rb") as start:
        head = start.read(12)
    return head[4:8] == b"ftyp" and head[8:] in HEIC_BRANDS


def normalize(image: Tensor) -> Tensor:
    """Turn RGB (..., 3, H, W), uint8 or 0..1, into the float numbers that a backbone expects."""
    if image.dtype == torch.uint8:
        image = image.float() / 255
    return (image - _per_channel(IMAGENET_MEAN, image)) / _per_channel(IMAGENET_STD, image)


def denormalize(image: Tensor) -> np.ndarray:
    """Turn a normalised image (..., 3, H, W) back into RGB, uint8 (..., H, W, 3)."""
    image = image.detach().float().cpu()
    image = image * _per_channel(IMAGENET_STD, image) + _per_channel(IMAGENET_MEAN, image)
    return image.mul(255).round().clamp(0, 255).byte().movedim(-3, -1).numpy()


def _per_channel(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device).view(3, 1, 1)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode of Pillow to upright 8-bit RGB."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16-bit grey, whose conversion in Pillow clips instead of scaling
        image = Image.fromarray((np.asarray(image).astype(np.float64) / 257).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
