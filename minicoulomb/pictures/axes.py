"""An axis, its ticks and their labels, and what pictures of points share.

Far from the origin labels would be long, so they count from a base, which the picture names: + 1000000.
"""

import math
from typing import NamedTuple

import numpy as np

from minicoulomb.errors import UserError
from minicoulomb.pictures.colours import GREY, INK, VERMILION

# Coordinates of a picture are below this, so that their differences and squares are finite.
LARGEST = 1e150
# Beyond so many ticks from the origin labels have more than 5 digits.
FAR = 1e4


class Axis(NamedTuple):
    """The interval of an axis: its lower end and its length."""

    start: float
    span: float

    @property
    def step(self) -> float:
        """The distance of ticks: 1, 2 or 5 times a power of ten."""
        power = 10.0 ** math.floor(math.log10(self.span / 4))
        return power * max(k for k in (1, 2, 5) if k * power <= self.span / 4)

    @property
    def base(self) -> float:
        """0, but for axes far from the origin: there the nearest multiple of 1000 ticks."""
        ticks = (self.start + self.span / 2) / self.step
        return 1000 * self.step * round(ticks / 1000) if abs(ticks) > FAR else 0.0

    def ticks(self, pixels: int) -> list[tuple[float, str]]:
        """3 to 9 pairs (pixels from the start, label that counts from the base) on an axis of so many pixels."""
        step, base = self.step, round(self.base / self.step)
        numbers = range(math.ceil(self.start / step), math.floor((self.start + self.span) / step) + 1)
        return [((k * step - self.start) * pixels / self.span, f"{(k - base) * step:.6g}") for k in numbers]


def range_about(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) of each coordinate of points (n, m), without strays beyond three times the range of 99% of them.

    UserError if they are not finite, or so large that their squares are not.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    if not max(-low.min(), high.max()) < LARGEST:  # so that a NaN is reported, too
        raise UserError("points that are not finite, or beyond 1e150: no picture shows them; use other points")
    left, right = np.quantile(points, (0.005, 0.995), axis=0)
    room = np.where(left < right, right - left, high - low)  # of nearly equal points all are shown
    return np.maximum(low, left - room), np.minimum(high, right + room)


def point_sets(real: np.ndarray | None, generated: np.ndarray, name: str) -> list:
    """(points, colour, name) of real points, if any, and of generated ones, in the order in which they are drawn."""
    return [(real, GREY, "real")] * (real is not None) + [(generated, VERMILION, name)]


def counted(points: np.ndarray, name: str, *axes: Axis) -> str:
    """ "2,500 real (3 outside)": how many points (n, m) there are, and how many outside their m axes."""
    low, span = np.transpose(axes)
    outside = int(((points < low) | (points > low + span)).any(axis=1).sum())
    return f"{len(points):,} {name}" + (f" ({outside:,} outside)" if outside else "")


def draw_legend(draw, font, x: float, y: float, entries: list, unit: float = 1) -> None:
    """Write entries (colour of a disc, or None; text) side by side from x on."""
    for colour, label in entries:
        if colour is not None:
            draw.ellipse((x, y - 5 * unit, x + 10 * unit, y + 5 * unit), colour)
            x += 18 * unit
        draw.text((x, y), label, INK, font, anchor="lm")
        x += font.getlength(label) + 32 * unit
