"""Photographs in and out: any image file to upright RGB, RGB to the numbers a backbone expects, and back."""

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

# Of ImageNet, in 0..1; every pre-trained backbone here was trained on images normalised with them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MAX_SIDE = 4096  # pixels; a photograph larger than this is reduced while it is read


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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # half the limit: large, but welcome
            with Image.open(path) as image:
                if max(image.size) > MAX_SIDE:  # a JPEG is decoded at a fraction of its size, in little memory
                    image.thumbnail((MAX_SIDE, MAX_SIDE), reducing_gap=2.0)
                return to_rgb(image)
    except UnidentifiedImageError as error:
        raise PhotoError(f"{path} is not an image that can be read; JPEG, PNG, WebP and TIFF can.") from error
    except Image.DecompressionBombError as error:
        raise PhotoError(
            f"{path} has too many pixels ({2 * Image.MAX_IMAGE_PIXELS} is the limit): reduce it."
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what the decoders of Pillow raise on broken files
        raise PhotoError(f"{path} is damaged or cut off ({error}); save or download it again.") from error


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
