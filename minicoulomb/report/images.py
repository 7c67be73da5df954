"""Pictures of a run, resized and encoded as data: addresses of a page."""

import io
import warnings
from base64 import b64encode
from pathlib import Path

from PIL import Image

from minicoulomb.report.html import Html, block
from minicoulomb.untrusted import opened

# Width in pixels of a single picture and of one in a row: twice that on the page, for screens of high resolution.
WIDE, THUMBNAIL = 1600, 400
# PNG keeps every pixel and suits drawings; beyond this many bytes JPEG is tried.
LARGE = 100_000
QUALITY = 85
# Pixels of a picture, which takes up to 8 bytes for each while it is read.
PIXELS = 2**25


def chosen(steps: list[int], most: int) -> list[int]:
    """At most `most` of the steps, evenly, with the first and the last."""
    if len(steps) <= most:
        return steps
    return [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]


def read(path: Path) -> Image.Image | None:
    """The picture in a PNG file, or None if it is damaged, too large, or of another format."""
    try:
        with warnings.catch_warnings(action="error"), opened(path) as file, Image.open(file, formats=("PNG",)) as image:
            return image.convert("RGB") if image.width * image.height <= PIXELS else None
    except Exception:  # Pillow's decoder raises exceptions of many classes on damaged bytes
        return None


def embedded(image: Image.Image, alt: str, width: int) -> Html:
    """An <img> of the picture, at most `width` pixels wide."""
    if image.width > width:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    content, kind = _encoded(image, "PNG", optimize=True), "png"
    if len(content) > LARGE:
        jpeg = _encoded(image, "JPEG", quality=QUALITY, subsampling=0)
        content, kind = min((content, "png"), (jpeg, "jpeg"), key=lambda pair: len(pair[0]))
    address = f"data:image/{kind};base64,{b64encode(content).decode()}"
    return block("image", address=address, alt=alt, width=image.width, height=image.height)


def _encoded(image, format, **settings):
    file = io.BytesIO()
    image.save(file, format, **settings)
    return file.getvalue()
