"""Points on a line: histograms of real and generated ones, with curves below if there are any.

histogram(real, generated, title)                          real points (n, 1) filled, generated (k, 1) as an outline
histogram(real, generated, title, axis=.., curves=..)      and functions on the same axis, such as Phi and D
"""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from minicoulomb.pictures.axes import Axis, counted, draw_legend, point_sets, range_about
from minicoulomb.pictures.colours import FRAME, INK, PAPER, RULE

# Bins on the axis; values of a curve.
BINS, CELLS = 80, 400
# Panels are drawn on this many times as many pixels, and averaged.
FINE = 3
# Pixels of the page, of a panel, and of what surrounds panels.
WIDE, HIGH, LEFT, RIGHT, FOOT = 800, 320, 60, 24, 68


class Curve(NamedTuple):
    """A function: values (CELLS,) at places that divide an axis evenly, with its ends."""

    name: str
    colour: tuple[int, int, int]
    values: np.ndarray


def axis_about(points: np.ndarray, margin: float = 1.15) -> Axis:
    """The axis of the points (n, 1), `margin` times as long as all but few strays; UserError if they are not finite."""
    (low,), (high,) = range_about(np.asarray(points, np.float64))
    span = margin * float(high - low) or 1.0
    return Axis(float(low + high - span) / 2, span)


def histogram(
    real: np.ndarray | None,
    generated: np.ndarray,
    title: str = "",
    name: str = "generated",
    axis: Axis | None = None,
    curves: tuple[Curve, ...] = (),
    limits: tuple[float, float] = (0.0, 1.0),
) -> Image.Image:
    """Histograms of generated points (k, 1) and of real ones (n, 1), if any: the share of either in each bin.

    axis     by default about the real points, or without them about the generated ones
    curves   functions in a panel below, whose axis goes from limits[0] to limits[1]
    """
    axis, size = axis or axis_about(generated if real is None else real), (WIDE - LEFT - RIGHT, HIGH)
    sets = point_sets(real, generated, name)
    panels = [(histogram_panel(axis, sets, size), [(colour, counted(x, kind, axis)) for x, colour, kind in sets])]
    if curves:
        scale = Axis(limits[0], limits[1] - limits[0] or 1.0)
        panels.append((_curve_panel(axis, scale, curves, size), [(curve.colour, curve.name) for curve in curves]))
    font, y = ImageFont.load_default(15), 84 if title.strip() else 52
    page = Image.new("RGB", (WIDE, y + len(panels) * (HIGH + FOOT) - 30), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((LEFT, 34), title.strip(), INK, ImageFont.load_default(20), anchor="ls")
    if axis.base:
        draw.text((WIDE - RIGHT, y - 20), f"axis: + {axis.base:.10g}", INK, font, anchor="rm")
    for panel, entries in panels:
        page.paste(panel, (LEFT, y))
        draw.rectangle((LEFT, y, WIDE - RIGHT, y + HIGH), outline=FRAME)
        draw_legend(draw, font, LEFT, y - 20, entries)
        for place, label in axis.ticks(size[0]):
            draw.text((LEFT + place, y + HIGH + 9), label, INK, font, anchor="mt")
        y += HIGH + FOOT
    for place, label in scale.ticks(HIGH) if curves else ():
        draw.text((LEFT - 7, y - FOOT - place), label, INK, font, anchor="rm")
    return page


def histogram_panel(axis: Axis, sets: list, size: tuple[int, int]) -> Image.Image:
    """The histograms of sets (points (n, 1), colour, name), without labels: the last an outline, another filled."""
    page, draw, wide, high = _canvas(axis, size)
    bins = min(BINS, size[0] // 4)
    heights = [np.histogram(x, bins, (axis.start, axis.start + axis.span))[0] / len(x) for x, _, _ in sets]
    unit, edges = 0.93 * high / (np.max(heights) or 1), np.repeat(np.linspace(0, wide, bins + 1), 2)
    outlines = [[(0, high), *zip(edges[1:-1], high - unit * np.repeat(h, 2)), (wide, high)] for h in heights]
    if len(sets) > 1:
        draw.polygon(outlines[0], sets[0][1])
    draw.line(outlines[-1], sets[-1][1], 2 * FINE)
    return page.resize(size, Image.Resampling.BOX)


def _curve_panel(axis, scale, curves, size):
    page, draw, wide, high = _canvas(axis, size)
    for place, label in scale.ticks(high):
        draw.line((0, high - place, wide, high - place), FRAME if label == "0" else RULE, FINE)
    for curve in curves:
        heights = high - (curve.values - scale.start) / scale.span * high
        draw.line(list(zip(np.linspace(0, wide, CELLS), heights)), curve.colour, 2 * FINE)
    return page.resize(size, Image.Resampling.BOX)


def _canvas(axis, size):
    """(a page of fine pixels with a rule at each tick, something to draw on it with, its width, its height)."""
    wide, high = FINE * size[0], FINE * size[1]
    page = Image.new("RGB", (wide, high), PAPER)
    draw = ImageDraw.Draw(page)
    for place, _ in axis.ticks(wide):
        draw.line((place, 0, place, high), RULE, FINE)
    return page, draw, wide, high
