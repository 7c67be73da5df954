"""Image files -> uint8 pixels: turn upright, crop the centre, convert to grey or colour, resize.

    decode_image(content, size, crop, channels, pad)    (size, size, channels) uint8

Colour profiles are ignored: training sets are sRGB or untagged, and the same numbers must come out everywhere. Every
pixel of a JPEG is decoded, then resized. Pillow's draft mode, in which the decoder shrinks by 2, 4 or 8, is faster for
large photographs but is another filter; it is not used.

Files are not trusted: what the decoder would need is computed from the size that a file declares, before it decodes.
"""

import io
import re
import struct
import warnings
from collections.abc import Callable
from contextlib import suppress

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from minicoulomb.errors import UserError
from minicoulomb.files import check_unfolded

# Only these decoders of Pillow's ever read a downloaded file, whatever its name says. The first bytes of each format;
# a WebP file goes on with its length, and then WEBP.
FORMATS = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n", "WEBP": b"RIFF"}

# Lanczos: antialiased when shrinking, and the sharpest of Pillow's filters; the area average blurs, and aliases at
# ratios such as 178:64 that are not whole. Part of a cache's settings, because another filter is another data set.
FILTER = Image.Resampling.LANCZOS
# Pixels that are cropped, converted and shrunk at a time, so that a large photograph lies in memory once.
STRIP = 2**22
# The head of a scan in a JPEG file. Each scan of a progressive file passes over all pixels.
SCAN = re.compile(rb"\xff\xda\x00[\x08\x0a\x0c\x0e][\x01-\x04]")
# Channels of a grey image that was stored in colour differ by rounding.
ROUNDING = 8


def check_geometry(size: int, crop: int | None, channels: int, pad: bool = False) -> None:
    """Raise UserError unless images (size, size, channels) can be cut from squares of side `crop`."""
    if size < 1:
        raise UserError(f"image side {size}: must be at least 1; use --size 64")
    if crop is not None and crop < 1:
        raise UserError(f"crop {crop}: must be at least 1; leave it out for the largest square")
    if channels not in (1, 3):
        raise UserError(f"{channels} channels: must be 1 (grey) or 3 (colour); use 3")
    if crop and pad:
        raise UserError(f"crop {crop} and pad: cut a part out, or keep the whole; drop one of them")


def look(content: bytes | np.ndarray) -> tuple[tuple[int, int], Callable[[], bool]]:
    """(width, height) of an image as it is stored, and a function that decodes it and returns whether it is grey."""

    def is_grey():
        pixels = decode_image(content, 32).astype(int)
        return bool(np.ptp(pixels, axis=-1).max() <= ROUNDING)

    if isinstance(content, np.ndarray):
        return (content.shape[1], content.shape[0]), is_grey
    with Image.open(io.BytesIO(content), formats=tuple(FORMATS)) as image:
        return image.size, is_grey


def decode_image(
    content: bytes | np.ndarray, size: int, crop: int | None = None, channels: int = 3, pad: bool = False
) -> np.ndarray:
    """The centre of an image as pixels (size, size, channels), uint8; 1 channel is grey, 3 are RGB.

    `content` is the content of a JPEG, PNG or WebP file, or pixels (h, w, 3) or (h, w) uint8. The central crop x crop
    square (by default the largest square) of the upright image is resized to `size`. With `pad` it is the smallest
    square around the image of at least `size`, filled with the colour of the image's border. Transparent parts are
    laid over white. UserError, without a name, if it is no whole image or smaller than `crop`.
    """
    check_geometry(size, crop, channels, pad)
    # Pillow warns of untidy metadata, and from 90 megapixels on; it refuses, as it should, from 179 on.
    with warnings.catch_warnings(action="ignore"):
        image = Image.fromarray(content) if isinstance(content, np.ndarray) else _read(content)
        side = crop or min(image.size)
        if side > min(image.size):
            width, height = image.size
            raise UserError(f"{width}x{height} pixels, less than the crop of {crop}; use --crop {min(image.size)}")
        mode = "L" if channels == 1 else "RGB"
        square = _padded(image, size, mode) if pad else _centre(image, side, size, mode)
    return np.array(square.resize((size, size), FILTER)).reshape(size, size, channels)


def _centre(image, side, size, mode):
    """The central square in a mode; a large one with its width already shrunk to `size`, strip by strip.

    A resize shrinks the width first and rounds, then the height, so the pixels are the same.
    """
    left, top = ((length - side) // 2 for length in image.size)

    def strip(first, last):
        return _opaque(image.crop((left, top + first, left + side, top + last))).convert(mode)

    if side**2 <= STRIP:
        return strip(0, side)
    narrow = Image.new(mode, (size, side))
    for first in range(0, side, STRIP // side):
        last = min(side, first + STRIP // side)
        narrow.paste(strip(first, last).resize((size, last - first), FILTER), (0, first))
    return narrow


def _padded(image, size, mode):
    """The whole image in a mode, in the middle of a square of the median colour of its border."""
    image = _opaque(image).convert(mode)
    pixels = np.array(image).reshape(image.height, image.width, -1)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    side = max(*image.size, size)
    square = Image.new(mode, (side, side), tuple(np.median(border, axis=0).astype(int).tolist()))
    square.paste(image, tuple((side - length) // 2 for length in image.size))
    return square


def _read(content):
    """The whole image, upright, in the mode it was stored in."""
    if not content.startswith(tuple(FORMATS.values())):
        begins = f"begins with {content[:4].hex(' ')}" if content else "is empty"
        raise UserError(f"{begins}: must be a JPEG, PNG or WebP image; replace or remove it")
    try:
        try:
            return _load(content)
        except ValueError as error:  # Pillow refuses a PNG file for more than 1 MB of text or colour profile
            if isinstance(error, UserError) or not content.startswith(FORMATS["PNG"]):
                raise
            return _load(_without_text(content))
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"more than {2 * Image.MAX_IMAGE_PIXELS} pixels; make it smaller") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged bytes
        reason = "" if isinstance(error, UnidentifiedImageError) else f" ({error})"
        raise UserError(f"damaged{reason}: must be a whole JPEG, PNG or WebP image; replace or remove it") from error


def _load(content):
    with Image.open(io.BytesIO(content), formats=tuple(FORMATS)) as image:
        width, height = image.size
        check_unfolded(f"{width}x{height} pixels", width * height * _bytes_per_pixel(image, content), len(content))
        image.load()
        # Damaged metadata is no reason to lose the pixels. Pillow turns them first, then rewrites the metadata.
        with suppress(Exception):
            ImageOps.exif_transpose(image, in_place=True)
        return image


def _bytes_per_pixel(image, content):
    """Memory that decoding takes: 4 in Pillow; libwebp and JPEG in several scans keep the whole image once more."""
    scans = len(SCAN.findall(content)) if image.format in ("JPEG", "MPO") else 0  # a thumbnail in the file has its own
    return max(10, scans) if scans > 2 or image.format == "WEBP" else 4


def _without_text(content):
    """A PNG file without texts and colour profile, which have no part in the pixels but for XMP's orientation."""
    parts, at = [content[:8]], 8
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">L4s", content, at)
        small_xmp = length < 2**20 and content.startswith(b"XML:com.adobe.xmp\0\0", at + 8)
        if small_xmp or kind not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            parts.append(content[at : at + length + 12])
        at += length + 12
    return b"".join(parts)


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
