"""The energy against the steps, both on logarithmic scales, below a picture of the particles.

    with_curve(picture, energies, floor, until)       the picture, and below it the curve from step 0 to `until`

Step t stands at log(1 + t), because the energy changes most at the beginning; the floor is a dashed line.
"""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from minicoulomb.pictures.colours import FRAME, INK, PAPER, RULE, VERMILION

# Lines are drawn on this many times as many pixels, and averaged.
FINER = 3
# The largest number of powers of ten on the axis, down from the largest energy.
DECADES = 12


def with_curve(picture: Image.Image, energies: np.ndarray, floor: float, until: int) -> Image.Image:
    """The picture above a curve of energies (steps + 1,) up to the step `until`, on axes up to the last step."""
    strip = _curve(energies, floor, until, FINER * picture.width).reduce(FINER)
    page = Image.new("RGB", (picture.width, picture.height + strip.height), PAPER)
    page.paste(picture, (0, 0))
    page.paste(strip, (0, picture.height))
    return page


def _curve(energies, floor, until, width):
    """The curve alone, `width` pixels wide."""
    unit = width / 800
    left, top, wide, high = (round(length * unit) for length in (52, 34, 728, 170))
    last = len(energies) - 1
    low, first = _decades(np.append(energies, floor))
    across = lambda t: left + wide * np.log1p(t) / math.log1p(max(last, 1))
    down = lambda energy: top + high * (first - np.log10(np.maximum(energy, 10.0**low))) / (first - low)

    page = Image.new("RGB", (width, FINER * round(240 * unit / FINER)), PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(15 * unit)
    powers = range(first, low - 1, -max(1, round((first - low) / 4)))
    steps = [0, *(10**k for k in range(math.floor(math.log10(max(last, 1))) + 1))]
    for power in powers:
        draw.line((left, down(10.0**power), left + wide, down(10.0**power)), RULE, FINER)
        label = f"{10.0**power:g}" if abs(power) < 3 else f"1e{power}"
        draw.text((left - 9 * unit, down(10.0**power)), label, INK, font, anchor="rm")
    for t in steps:
        draw.line((across(t), top, across(t), top + high), RULE, FINER)
        draw.text((across(t), top + high + 9 * unit), f"{t:,}", INK, font, anchor="mt")
    dash = 7 * unit
    for x in np.arange(left, left + wide - dash, 2 * dash):
        draw.line((x, down(floor), x + dash, down(floor)), INK, round(1.4 * unit))
    t = np.arange(until + 1)
    points = list(zip(across(t), down(energies[: until + 1]), strict=True))
    draw.line(points if until else points * 2, VERMILION, round(2.4 * unit), joint="curve")
    draw.rectangle((left, top, left + wide, top + high), outline=FRAME, width=FINER)
    x, y = points[-1]
    draw.ellipse((x - 4 * unit, y - 4 * unit, x + 4 * unit, y + 4 * unit), VERMILION)
    draw.text((left, 16 * unit), f"energy F after step {until:,}: {energies[until]:.2e}", INK, font, anchor="lm")
    draw.text((left + wide, 16 * unit), f"- - -  of fresh real points: {floor:.2e}", INK, font, anchor="rm")
    return page


def _decades(values):
    """The powers of ten below and above all positive values, 1 to DECADES apart."""
    positive = values[values > 0]
    if not len(positive):
        return -1, 0
    high = math.ceil(math.log10(positive.max()))
    low = math.floor(math.log10(positive.min()))
    return max(min(low, high - 1), high - DECADES), high
