"""A square of the plane with axes, and points on it.

    plane = Plane(square_about(real), title="grid")
    plane.paint(colours)                              a background of pixels
    plane.arrows(points, lengths)                     an arrow at each of n points
    plane.discs(points, VERMILION, "generated")       n discs, with their name and number in the legend
    picture = plane.drawn()

    scatter(real, generated)                          generated points over real ones

n discs of opacity alpha lie over each other: the background keeps prod_i (1 - alpha c_i) of a pixel, where disc i
covers the fraction c_i of the pixel. The order of the discs does not matter.
"""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from minicoulomb.pictures.axes import Axis, counted, draw_legend, point_sets, range_about
from minicoulomb.pictures.colours import FRAME, INK, PAPER, RULE

# Arrows are drawn on this many times as many pixels, and averaged.
FINE = 4


class Square(NamedTuple):
    """A square of the plane: its lower left corner and its side."""

    x: float
    y: float
    side: float


def square_about(points: np.ndarray, margin: float = 1.15) -> Square:
    """The square around points (n, 2), `margin` times as wide as all but few strays.

    UserError if they are not finite, or so large that their squares are not.
    """
    low, high = range_about(np.asarray(points, np.float64))
    side = margin * float((high - low).max()) or 1.0
    x, y = (low + high) / 2 - side / 2
    return Square(x, y, side)


class Plane:
    """A page with the square's axes, title and legend, `size` pixels wide.

    `side` is the width of the square in pixels, `unit` the scale of texts and lines, 1 on a page of 800 pixels.
    """

    def __init__(self, square: Square, size: int = 800, title: str = "", unit: float | None = None):
        self.square, self.size, self.title, self.unit = square, size, title.strip(), unit or size / 800
        self.axes = Axis(square.x, square.side), Axis(square.y, square.side)
        font = ImageFont.load_default(15 * self.unit)
        across, up = ([font.getlength(label) for _, label in axis.ticks(1)] for axis in self.axes)
        self.left = round(max(52 * self.unit, max(up) + 14 * self.unit))  # room for the longest label
        self.right, self.bottom = round(max(20 * self.unit, across[-1] / 2)), round(38 * self.unit)
        self.top = round((84 if self.title else 52) * self.unit)
        self.side = size - self.left - self.right
        self.legend: list[tuple[tuple[int, int, int] | None, str]] = []
        self.ground = self._ruled()

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Pixel coordinates (n, 2) of points (n, 2), from the square's upper left corner."""
        return (points - self.square[:2]) / self.square.side * (self.side, -self.side) + (0, self.side)

    def centres(self, cells: int | None = None) -> np.ndarray:
        """The centres (cells, cells, 2) of the square's cells, the top row first; by default of its pixels."""
        cells = cells or self.side
        steps = (np.arange(cells) + 0.5) / cells * self.square.side
        x, y = np.meshgrid(self.square.x + steps, self.square.y + self.square.side - steps)
        return np.stack([x, y], axis=-1)

    def paint(self, colours: np.ndarray) -> None:
        """Fill the square with colours (side, side, 3), 0 to 255."""
        self.ground = np.asarray(colours, np.float64)

    def discs(self, points: np.ndarray, colour, name: str, radius: float = 2.6, alpha: float = 0.5) -> None:
        """Draw a disc at each point (n, 2); the legend counts the points outside."""
        spots = self.pixels(np.asarray(points, np.float64))
        opacity = disc_opacity(spots, self.side, radius * self.unit, alpha)[..., None]  # (side, side, 1)
        self.ground = (1 - opacity) * self.ground + opacity * colour
        self.legend.append((colour, counted(points, name, *self.axes)))

    def arrows(self, points: np.ndarray, lengths: np.ndarray) -> None:
        """Draw arrows centred at points (n, 2), of `lengths` (n, 2) in pixels, y up; dots where the length is 0."""
        lengths = lengths * (1, -1)
        opacity = 0.8 * arrows_opacity((self.side, self.side), self.pixels(points), lengths, self.unit)[..., None]
        self.ground = (1 - opacity) * self.ground + opacity * INK

    def drawn(self) -> Image.Image:
        """The finished page."""
        unit, left, top, side = self.unit, self.left, self.top, self.side
        page = Image.new("RGB", (self.size, top + side + self.bottom), PAPER)
        page.paste(Image.fromarray(np.rint(self.ground).astype(np.uint8)), (left, top))
        draw = ImageDraw.Draw(page)
        font, bold = ImageFont.load_default(15 * unit), ImageFont.load_default(20 * unit)
        for place, label in self.axes[0].ticks(side):
            draw.text((left + place, top + side + 9 * unit), label, INK, font, anchor="mt")
        for place, label in self.axes[1].ticks(side):
            draw.text((left - 9 * unit, top + side - place), label, INK, font, anchor="rm")
        draw.rectangle((left, top, left + side, top + side), outline=FRAME)
        bases = [axis.base for axis in self.axes]
        if any(bases):
            text = "axes: + ({:.10g}, {:.10g})".format(*bases)
            draw.text((left + side - 8 * unit, top + side - 8 * unit), text, INK, font, anchor="rs")
        if self.title:
            draw.text((left, 34 * unit), self.title, INK, bold, anchor="ls")
        draw_legend(draw, font, left, top - 20 * unit, self.legend, unit)
        return page

    def _ruled(self):
        """Paper with a line at each tick, (side, side, 3)."""
        paper = Image.new("RGB", (self.side, self.side), PAPER)
        draw = ImageDraw.Draw(paper)
        for place, _ in self.axes[0].ticks(self.side):
            draw.line((place, 0, place, self.side), RULE)
        for place, _ in self.axes[1].ticks(self.side):
            draw.line((0, self.side - place, self.side, self.side - place), RULE)
        return np.asarray(paper, np.float64)


def scatter(real: np.ndarray | None, generated: np.ndarray, title: str = "", name: str = "generated") -> Image.Image:
    """Generated points (k, 2) in colour over real points (n, 2), if any, in grey.

    The square lies around the real points, or without them around the generated ones; the legend counts the points
    outside.
    """
    plane = Plane(square_about(generated if real is None else real), title=title)
    for points, colour, kind in point_sets(real, generated, name):
        plane.discs(points, colour, kind)
    return plane.drawn()


def arrows_opacity(shape: tuple[int, int], middles: np.ndarray, lengths: np.ndarray, unit: float) -> np.ndarray:
    """The fraction of each pixel (h, w) that arrows cover; middles and lengths (n, 2) in pixels, y down."""
    h, w = shape
    page = Image.new("L", (FINE * w, FINE * h))
    draw = ImageDraw.Draw(page)
    for middle, length in zip(FINE * np.asarray(middles), FINE * np.asarray(lengths), strict=True):
        _draw_arrow(draw, middle, length, FINE * unit)
    return np.asarray(page.resize((w, h), Image.Resampling.BOX), np.float64) / 255


def _draw_arrow(draw, middle, length, unit):
    """Draw an arrow, or a dot if it is shorter than thick."""
    size = math.hypot(*length)
    if size < 2 * unit:
        draw.ellipse((*(middle - unit), *(middle + unit)), 255)
        return
    along = length / size
    across = along[::-1] * (-1, 1)
    tail, tip = middle - length / 2, middle + length / 2
    head = min(6 * unit, 0.5 * size)
    neck = tip - head * along
    thick = unit * min(1.4, 0.6 + 0.04 * size / unit)  # a short arrow is thin, so that its head is visible
    draw.line((*tail, *neck), 255, round(thick))
    draw.polygon([tuple(corner) for corner in (tip, neck + 0.5 * head * across, neck - 0.5 * head * across)], 255)


def _inside(points, side):
    return ((points >= 0) & (points <= side)).all(axis=1)


def disc_opacity(points: np.ndarray, side: int, radius: float, alpha: float) -> np.ndarray:
    """1 - prod_i (1 - alpha c_i) of each pixel (side, side), with discs at `points` (n, 2) in pixels."""
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
