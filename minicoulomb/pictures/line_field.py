"""The field of points on a line at one step of a run: Phi and D as curves below the histograms of the points."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from minicoulomb.arrays.backend import array_module, to_host
from minicoulomb.evaluation import field_values
from minicoulomb.pictures.axes import Axis
from minicoulomb.pictures.colours import INK, VERMILION
from minicoulomb.pictures.line import CELLS, Curve, axis_about, histogram
from minicoulomb.training.checkpoint import Checkpoint


class LineField(NamedTuple):
    """The field at one step, on the host: charges x and y (n, 1), and the exact and, if any, the learned potential."""

    title: str
    axis: Axis
    x: np.ndarray
    y: np.ndarray
    curves: tuple[Curve, ...]

    @property
    def scale(self) -> tuple[float, float]:
        """The largest of -Phi and of Phi, at least 0."""
        phi = self.curves[0].values
        return max(0.0, -float(phi.min())), max(0.0, float(phi.max()))


def line_field(checkpoint: Checkpoint, sources: field_values.Charges, title: str) -> LineField:
    """The field of generated and real points on a line."""
    x, y, xp, located = to_host(sources.x), to_host(sources.y), array_module(sources.x), checkpoint.space.located
    axis = axis_about(y, 1.4)
    a = xp.asarray(axis.start + axis.span * np.linspace(0, 1, CELLS)[:, None], dtype=sources.x.dtype)
    curves = [Curve("Phi, the potential, in units of eps^-d", INK, to_host(field_values.exact_potential(a, sources)))]
    if field_values.regresses(checkpoint):
        learned = to_host(field_values.learned_potential(a, checkpoint, sources.eps))
        fit = field_values.in_words(field_values.follows(sources, checkpoint))
        name = f"D, its regression{fit}; G climbs it"
        curves.append(Curve(name, VERMILION, learned))
    (start,) = located(np.array([axis.start]))
    return LineField(title, Axis(start, axis.span), located(x), located(y), tuple(curves))


def draw_line_field(field: LineField, scale: tuple[float, float]) -> Image.Image:
    """The histograms and the curves, on an axis that shows Phi whole and D where it is near."""
    limits = -1.3 * scale[0], 1.3 * scale[1]
    return histogram(field.y, field.x, field.title, axis=field.axis, curves=field.curves, limits=limits)
