"""Images side by side.

image_grid(images)           (n, h, w, c): a near-square grid
neighbour_rows(x, real)      (n, j, h, w, c) and (n, k, h, w, c): j samples, framed, beside k real images
"""

import math

import numpy as np
from PIL import Image, ImageDraw

from minicoulomb.data.dataset import to_pixels
from minicoulomb.pictures.colours import PAPER, VERMILION


def image_grid(
    images: np.ndarray, columns: int | None = None, padding: int = 2, zoom: int | None = None
) -> Image.Image:
    """Images (n, h, w, c), c = 1 or 3, row by row on white, `padding` pixels apart.

    A pixel becomes a square of zoom x zoom pixels; by default the picture is about 800 pixels wide.
    """
    n, h, w, c = images.shape
    columns = columns or math.ceil(math.sqrt(n * h / w))
    rows = math.ceil(n / columns)
    zoom = zoom or max(1, round(800 / (columns * w)))
    tiles = to_pixels(images).repeat(zoom, axis=1).repeat(zoom, axis=2)  # (n, zoom h, zoom w, c)
    high, wide = zoom * h + padding, zoom * w + padding
    page = np.full((rows * high + padding, columns * wide + padding, c), 255, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * high + padding, i % columns * wide + padding
        page[top : top + zoom * h, left : left + zoom * w] = tile
    return Image.fromarray(page[..., 0] if c == 1 else page)


def neighbour_rows(samples: np.ndarray, neighbours: np.ndarray) -> Image.Image:
    """Samples (n, h, w, c), framed in the colour of generated points, beside their neighbours (n, k, h, w, c).

    Samples (n, j, h, w, c) are j in each row, in one frame. The picture is about 800 pixels wide.
    """
    n, k, h, w, c = neighbours.shape
    j = samples.size // (n * h * w * c)
    zoom = max(1, round(800 / ((k + j) * w)))
    padding = max(4, 2 + zoom // 4)  # the width of a visible frame
    left = image_grid(samples.reshape(-1, h, w, c), j, padding, zoom).convert("RGB")
    right = image_grid(neighbours.reshape(-1, h, w, c), k, padding, zoom).convert("RGB")
    page = Image.new("RGB", (left.width + 4 * padding + right.width, left.height), PAPER)
    page.paste(left, (0, 0))
    page.paste(right, (left.width + 4 * padding, 0))
    draw = ImageDraw.Draw(page)
    for i in range(n):
        top = i * (zoom * h + padding)
        draw.rectangle((0, top, left.width - 1, top + zoom * h + 2 * padding - 1), outline=VERMILION, width=padding)
    return page
