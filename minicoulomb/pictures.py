"""Arrays -> PNG: grids of images and scatter plots of points.

    image_grid(images)           (n, h, w, c) -> a near-square grid
    neighbour_rows(x, real)      (n, h, w, c) and (n, k, h, w, c) -> each x_i, framed, beside its k real ones
    scatter(real, generated)     (n, m) and (k, m) -> the first two coordinates

A scatter plot lays n discs of opacity alpha over each other. What is left of the paper at a pixel is
prod_i (1 - alpha c_i), with c_i in [0, 1] the part of the pixel that disc i covers, whatever their order.
"""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from minicoulomb.errors import UserError
from minicoulomb.files import written_aside

PAPER, INK, FRAME, RULE = (255, 255, 255), (60, 60, 60), (130, 130, 130), (236, 236, 236)
GREY = (150, 150, 150)  # real points
VERMILION = (213, 94, 0)  # generated points; told apart from grey in every form of colour blindness (Okabe and Ito)


def to_pixels(images: np.ndarray) -> np.ndarray:
    """Floats in [-1, 1] as uint8, round(127.5 (x + 1)); beyond, as a scaled tanh reaches, clipped. uint8 as it is."""
    if images.dtype == np.uint8:
        return images
    return np.rint(np.clip(127.5 * (images + 1), 0, 255)).astype(np.uint8)


def image_grid(
    images: np.ndarray, columns: int | None = None, padding: int = 2, zoom: int | None = None
) -> Image.Image:
    """Images (n, h, w, c), c = 1 or 3, row by row on white, `padding` pixels apart.

    Every pixel becomes a zoom x zoom square; by default so that the picture is about 800 pixels wide.
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


def neighbour_rows(samples: np.ndarray, neighbours: np.ndarray, zoom: int | None = None) -> Image.Image:
    """Samples (n, h, w, c), framed in the colour of generated points, and right of each its neighbours (n, k, h, w, c).

    By default a pixel becomes a zoom x zoom square so that the picture is about 800 pixels wide.
    """
    k, h, w = neighbours.shape[1:4]
    zoom = zoom or max(1, round(800 / ((k + 1) * w)))
    padding = max(4, 2 + zoom // 4)  # as wide as a frame has to be to be seen
    left = image_grid(samples, 1, padding, zoom).convert("RGB")
    right = image_grid(neighbours.reshape(-1, *samples.shape[1:]), k, padding, zoom).convert("RGB")
    page = Image.new("RGB", (left.width + 4 * padding + right.width, left.height), PAPER)
    page.paste(left, (0, 0))
    page.paste(right, (left.width + 4 * padding, 0))
    draw = ImageDraw.Draw(page)
    for i in range(len(samples)):
        top = i * (zoom * h + padding)
        draw.rectangle((0, top, left.width - 1, top + zoom * h + 2 * padding - 1), outline=VERMILION, width=padding)
    return page


def scatter(
    real: np.ndarray | None,
    generated: np.ndarray,
    extent: float | tuple[float, float, float, float] | None = None,
    size: int = 800,
    title: str = "",
    alpha: float = 0.5,
) -> Image.Image:
    """Real points (n, m), if any, in grey and generated ones (k, m) in colour above; `size` pixels wide.

    extent   half the side of the square around 0, or (xmin, xmax, ymin, ymax), widened to a square; by default the
             square about the real points, or else the generated ones, with a margin of 15 %
    Points outside are counted in the legend. Of m > 2 coordinates the first two are drawn, and the title says so.
    """
    m = generated.shape[1]
    if m != 2:
        title = f"{title} (coordinates 1 and 2 of {m})" if m > 2 else f"{title} (1 coordinate)"
    sets = [("generated", _plane(generated), VERMILION)]
    if real is not None:
        sets.insert(0, ("real", _plane(real), GREY))
    x0, y0, span = _square(sets[0][1], extent)

    unit = size / 800
    left, right, bottom = round(52 * unit), round(20 * unit), round(38 * unit)
    top = round((84 if title else 52) * unit)
    side = size - left - right
    font, bold = ImageFont.load_default(15 * unit), ImageFont.load_default(20 * unit)

    def pixels(points):  # (n, 2), the vertical axis down
        return (points - (x0, y0)) / span * (side, -side) + (0, side)

    page = Image.new("RGB", (size, top + side + bottom), PAPER)
    draw = ImageDraw.Draw(page)
    ticks_x, ticks_y = _ticks(x0, span), _ticks(y0, span)
    for tick, label in ticks_x:
        x = left + (tick - x0) / span * side
        draw.line((x, top, x, top + side), RULE)
        draw.text((x, top + side + 9 * unit), label, INK, font, anchor="mt")
    for tick, label in ticks_y:
        y = top + side - (tick - y0) / span * side
        draw.line((left, y, left + side, y), RULE)
        draw.text((left - 9 * unit, y), label, INK, font, anchor="rm")

    radius = 2.6 * unit
    plot = np.asarray(page.crop((left, top, left + side, top + side)), np.float64)  # (side, side, 3)
    for _, points, colour in sets:
        opacity = _opacity(pixels(points), side, radius, alpha)[..., None]  # (side, side, 1)
        plot = (1 - opacity) * plot + opacity * colour
    page.paste(Image.fromarray(np.rint(plot).astype(np.uint8)), (left, top))
    draw.rectangle((left, top, left + side, top + side), outline=FRAME)

    if title:
        draw.text((left, 34 * unit), title.strip(), INK, bold, anchor="ls")
    x, y = left, top - 20 * unit
    for name, points, colour in sets:
        outside = len(points) - int(_inside(pixels(points), side).sum())
        label = f"{len(points):,} {name}" + (f" ({outside:,} outside)" if outside else "")
        draw.ellipse((x, y - 5 * unit, x + 10 * unit, y + 5 * unit), colour)
        draw.text((x + 18 * unit, y), label, INK, font, anchor="lm")
        x += 18 * unit + font.getlength(label) + 32 * unit
    return page


def save(picture: Image.Image, path: Path) -> None:
    """Write a PNG file, whole or not at all."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UserError(f"{path}: pictures are PNG files; use {path.stem}.png")
    with written_aside(path) as file:
        picture.save(file, format="PNG")


def _plane(points):
    """The first two coordinates (n, 2); a single one becomes a horizontal line."""
    points = np.asarray(points, np.float64)
    return points[:, :2] if points.shape[1] > 1 else np.hstack([points, np.zeros_like(points)])


def _square(real, extent):
    """Lower left corner and side of the square to draw."""
    if extent is None:
        low, high, margin = real.min(axis=0), real.max(axis=0), 1.15
    elif np.ndim(extent):
        low, high, margin = np.array(extent[::2], float), np.array(extent[1::2], float), 1.0
    else:
        low, high, margin = np.full(2, -extent), np.full(2, extent), 1.0
    span = margin * float((high - low).max()) or 1.0
    x0, y0 = (low + high) / 2 - span / 2
    return x0, y0, span


def _ticks(start, span):
    """Between 3 and 7 pairs (position, label) at multiples of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = power * max(k for k in (1, 2, 5) if k * power <= span / 4)
    first, last = math.ceil(start / step), math.floor((start + span) / step)
    return [(k * step, f"{k * step:.6g}") for k in range(first, last + 1)]


def _inside(points, side):
    return ((points >= 0) & (points <= side)).all(axis=1)


def _opacity(points, side, radius, alpha):
    """1 - prod_i (1 - alpha c_i) at each pixel (side, side), for discs at `points` (n, 2) in pixels."""
    points = points[_inside(points, side)]
    reach = math.ceil(radius + 0.5)
    width = side + 2 * reach
    corner = np.minimum(points.astype(int), side - 1)  # the pixel that holds each centre
    log_paper = np.zeros(width * width)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            pixel = corner + (dx, dy)
            distance = np.linalg.norm(pixel + 0.5 - points, axis=1)
            covered = np.clip(radius + 0.5 - distance, 0, 1)
            index = (pixel[:, 1] + reach) * width + pixel[:, 0] + reach
            log_paper += np.bincount(index, np.log1p(-alpha * covered), width * width)
    inner = log_paper.reshape(width, width)[reach : reach + side, reach : reach + side]
    return -np.expm1(inner)
