"""The potential as a map of the plane, from vermilion (generated charge outweighs) to blue (real charge outweighs).

colour        t = sign(v) sqrt(|v| / limit): white at 0, deepest at |v| >= limit. The root shows the potential between
              real points, which is often a tenth of that at a crowd of generated ones
zero level    a line where v changes its sign
arrows        sqrt(|f| / longest) times their spacing, at most their spacing
"""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image, ImageDraw, ImageFont

from minicoulomb.pictures.axes import Axis, counted
from minicoulomb.pictures.colours import FRAME, INK, NAVY, PAPER, RUST, diverging
from minicoulomb.pictures.plane import Plane, Square, arrows_opacity

# Cells along a side of the square: of the values, with interpolation between them, and of the arrows.
CELLS, ARROWS = 200, 20
# Shades of either colour. Their edges are level lines, and the file is half as large as with continuous shades.
STEPS = 16
# The opacity of each of n points is this over sqrt(n): few points are visible, and many do not hide the map.
OPACITY = 17.5


class FieldPanel(NamedTuple):
    """One map: values (CELLS, CELLS) at Plane.centres(CELLS), forces (ARROWS, ARROWS, 2) at Plane.centres(ARROWS)."""

    title: str
    caption: str
    values: np.ndarray
    forces: np.ndarray | None = None


class ColourScale(NamedTuple):
    """The value of the deepest colours and the force of the longest arrows."""

    limit: float
    longest: float


def field_map(
    panels: list[FieldPanel],
    square: Square,
    real: np.ndarray,
    generated: np.ndarray,
    scale: ColourScale,
    title: str,
    units: tuple[str, str],
    size: int,
) -> Image.Image:
    """The panels side by side, `size` pixels wide each, with real and generated points (n, 2) and one scale for all.

    units   of the values and of the forces, for the legend
    """
    unit = size / 500
    pages = [_page(panel, square, real, generated, scale, size, unit) for panel in panels]
    head, foot, aside = round(50 * unit), round(96 * unit), round(800 * unit)
    alone = len(panels) == 1  # a single panel is narrower than the legend, which stands at its right
    wide, high = (size + aside, 0) if alone else (len(pages) * size, foot)
    picture = Image.new("RGB", (wide, head + pages[0].height + high), PAPER)
    for i, page in enumerate(pages):
        picture.paste(page, (i * size, head))
    draw = ImageDraw.Draw(picture)
    left = round(52 * unit)
    draw.text((left, 42 * unit), title, INK, ImageFont.load_default(24 * unit), anchor="ls")
    top, middle = head + pages[0].height, picture.width // 2
    places = [(left, top + 30 * unit), (middle, top + 18 * unit), (picture.width - 20 * unit, top + 26 * unit)]
    if alone:
        middle = size + aside // 2
        places = [(middle - 70 * unit, 190 * unit), (middle, 290 * unit), (middle + 160 * unit, 430 * unit)]
    font, (x, y) = ImageFont.load_default(15 * unit), places[0]
    axes = Axis(square.x, square.side), Axis(square.y, square.side)
    for colour, name, points in ((NAVY, "real", real), (RUST, "generated", generated)):
        draw.ellipse((x, y - 4 * unit, x + 8 * unit, y + 4 * unit), colour)
        draw.text((x + 16 * unit, y), counted(points, name, *axes), INK, font, anchor="lm")
        y += 24 * unit
    _draw_bar(picture, draw, *places[1], unit, scale.limit, units[0])
    x, y = map(round, places[2])
    _draw_lengths(picture, draw, x, y, unit, scale.longest, units[1], (size - 72 * unit) / ARROWS)
    return picture


def zero_level(values: np.ndarray) -> np.ndarray:
    """The fraction of each pixel of values (h, w) that the line values = 0 covers.

    A pixel is at the distance |v| / |grad v| from the line. A region of zeros has no line.
    """
    slopes = np.hypot(*np.gradient(values))
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(slopes > 0, np.abs(values) / slopes, np.inf)
    around = sliding_window_view(np.pad(values > 0, 2, mode="edge"), (5, 5)).sum(axis=(2, 3))  # positive neighbours
    return ((around > 0) & (around < 25)) * np.clip(1.25 - distance, 0, 1)


def arrow_lengths(forces: np.ndarray, longest: float, spacing: float) -> np.ndarray:
    """Arrows in pixels along forces (..., 2), spacing * sqrt(|f| / longest) long, at most spacing."""
    sizes = np.linalg.norm(forces, axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        directions = np.where(sizes > 0, forces / sizes, 0)
    return spacing * np.sqrt(np.minimum(sizes / longest, 1)) * directions


def _page(panel, square, real, generated, scale, size, unit):
    plane = Plane(square, size, panel.title, unit)
    smooth = Image.fromarray(panel.values.astype(np.float32)).resize((plane.side, plane.side), Image.Resampling.BICUBIC)
    values = np.asarray(smooth, np.float64)
    line = 0.75 * zero_level(values)[..., None]
    colours = diverging(_steps(np.sign(values) * np.sqrt(np.abs(values) / scale.limit)))
    plane.paint((1 - line) * colours + line * INK)
    for points, colour, name in ((real, NAVY, "real"), (generated, RUST, "generated")):
        plane.discs(points, colour, name, 1.1 / unit, min(0.8, OPACITY / len(points) ** 0.5))
    plane.legend = [(None, panel.caption)]
    if panel.forces is not None:
        lengths = arrow_lengths(panel.forces, scale.longest, 0.95 * plane.side / ARROWS)
        plane.arrows(plane.centres(ARROWS).reshape(-1, 2), lengths.reshape(-1, 2))
    return plane.drawn()


def _steps(t):
    return np.rint(t * STEPS) / STEPS


def _draw_bar(picture, draw, middle, top, unit, limit, name):
    font, half, high = ImageFont.load_default(15 * unit), round(190 * unit), round(16 * unit)
    left = round(middle) - half
    colours = diverging(_steps(np.linspace(-1, 1, 2 * half))) * np.ones((high, 1, 1))
    picture.paste(Image.fromarray(np.rint(colours).astype(np.uint8)), (left, round(top)))
    draw.rectangle((left, top, left + 2 * half, top + high), outline=FRAME)
    for t in (-1, -0.5, 0, 0.5, 1):
        x = middle + t * half
        draw.line((x, top + high, x, top + high + 4 * unit), FRAME)
        draw.text((x, top + high + 8 * unit), f"{np.sign(t) * t * t * limit:.2g}", INK, font, anchor="mt")
    draw.text((left - 12 * unit, top + high / 2), "generated outweighs, repels", INK, font, anchor="rm")
    draw.text((left + 2 * half + 12 * unit, top + high / 2), "real outweighs, attracts", INK, font, anchor="lm")
    draw.text((middle, top + high + 30 * unit), name, INK, font, anchor="mt")


def _draw_lengths(picture, draw, right, top, unit, longest, name, spacing):
    font, shares = ImageFont.load_default(15 * unit), (1 / 16, 1 / 4, 1)
    labels = [f"{share * longest:.2g}" + " or more" * (share == 1) for share in shares]
    box, gap = (round(spacing) + 4, round(16 * unit)), round(16 * unit)
    left = x = right - sum(box[0] + round(font.getlength(label)) + gap for label in labels) + gap
    for share, label in zip(shares, labels, strict=True):
        lengths = arrow_lengths(np.array([[share, 0.0]]), 1.0, spacing)
        opacity = arrows_opacity(box[::-1], np.array([box]) / 2, lengths, unit)
        picture.paste(INK, (x, round(top - 8 * unit)), Image.fromarray(np.rint(255 * opacity).astype(np.uint8)))
        draw.text((x + box[0], top), label, INK, font, anchor="lm")
        x += box[0] + round(font.getlength(label)) + gap
    draw.text((left, top + 26 * unit), name, INK, font, anchor="lm")
