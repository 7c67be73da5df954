"""Image files -> uint8 pixels: turn upright, crop the centre, convert to grey or colour, resize.

    decode_image(content, size, crop, channels)    (size, size, channels) uint8

Colour profiles are ignored: training sets are sRGB or untagged, and the same numbers must come out everywhere. Every
pixel of a JPEG is decoded, then resized. Pillow's draft mode, in which the decoder shrinks by 2, 4 or 8, is faster for
large photographs but is another filter; it is not used.
"""

import io
import warnings
from contextlib import suppress

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from minicoulomb.errors import UserError

# Only these decoders of Pillow's ever read a downloaded file, whatever its name says. The first bytes of each format;
# a WebP file goes on with its length, and then WEBP.
FORMATS = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n", "WEBP": b"RIFF"}

# Lanczos: antialiased when shrinking, and the sharpest of Pillow's filters; the area average blurs, and aliases at
# ratios such as 178:64 that are not whole. Part of a cache's settings, because another filter is another data set.
FILTER = Image.Resampling.LANCZOS


def check_geometry(size: int, crop: int | None, channels: int) -> None:
    """Raise UserError unless images (size, size, channels) can be cut from squares of side `crop`."""
    if size < 1:
        raise UserError(f"image side {size}: must be at least 1; use --size 64")
    if crop is not None and crop < 1:
        raise UserError(f"crop {crop}: must be at least 1; leave it out for the largest square")
    if channels not in (1, 3):
        raise UserError(f"{channels} channels: must be 1 (grey) or 3 (colour); use 3")


def decode_image(content: bytes | np.ndarray, size: int, crop: int | None = None, channels: int = 3) -> np.ndarray:
    """The centre of an image as pixels (size, size, channels), uint8; 1 channel is grey, 3 are RGB.

    `content` is the content of a JPEG, PNG or WebP file, or pixels (h, w, 3) uint8. The central crop x crop square (by
    default the largest square) of the upright image is resized to `size`. Transparent parts are laid over white.
    UserError, without a name, if it is no whole image or smaller than `crop`.
    """
    check_geometry(size, crop, channels)
    # Pillow warns of untidy metadata, and from 90 megapixels on; it refuses, as it should, from 179 on.
    with warnings.catch_warnings(action="ignore"):
        image = Image.fromarray(content) if isinstance(content, np.ndarray) else _read(content)
        side = crop or min(image.size)
        if side > min(image.size):
            width, height = image.size
            raise UserError(f"{width}x{height} pixels, less than the crop of {crop}; use --crop {min(image.size)}")
        left, top = ((length - side) // 2 for length in image.size)
        square = _opaque(image.crop((left, top, left + side, top + side)))
    square = square.convert("L" if channels == 1 else "RGB").resize((size, size), FILTER)
    return np.array(square).reshape(size, size, channels)


def _read(content):
    """The whole image, upright, in the mode it was stored in."""
    if not content.startswith(tuple(FORMATS.values())):
        begins = f"begins with {content[:4].hex(' ')}" if content else "is empty"
        raise UserError(f"{begins}: must be a JPEG, PNG or WebP image; replace or remove it")
    try:
        with Image.open(io.BytesIO(content), formats=tuple(FORMATS)) as image:
            image.load()
            # Damaged metadata is no reason to lose the pixels. Pillow turns them first, then rewrites the metadata.
            with suppress(Exception):
                ImageOps.exif_transpose(image, in_place=True)
            return image
    except Image.DecompressionBombError as error:
        raise UserError(f"more than {2 * Image.MAX_IMAGE_PIXELS} pixels; make it smaller") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged bytes
        reason = "" if isinstance(error, UnidentifiedImageError) else f" ({error})"
        raise UserError(f"damaged{reason}: must be a whole JPEG, PNG or WebP image; replace or remove it") from error


def _opaque(image):
    """The image without transparency and with 8 bits a channel, in a mode that Pillow converts to L and RGB."""
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        grey = (np.asarray(image, np.uint32) + 128) // 257  # round(65535 / 257) = 255
        return Image.fromarray(grey.astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image.convert("RGBA"))
        return paper.convert("RGB")
    return image
