"""Arrays and runs -> pictures.

images.py             image_grid, neighbour_rows: images side by side
points.py             draw_points: generated points over real ones, by the number of coordinates one of these:
line.py               histogram, with curves below; pair_grid.py: the planes of each two coordinates
plane.py              scatter; Plane: a square of the plane with axes (axes.py), discs and arrows
maps.py               field_map: potentials as coloured maps, side by side
forces.py             force_rows: forces on images
energy_curve.py       with_curve: the energy of particles below a picture of them
output.py             save, save_animation, export: files, whole or not at all
training_picture.py   the samples of a run that trains
field_picture.py      the field of a run; evaluation/field_values.py computes it
interactive.py        a page of charges to move, interactive.html
metric_curves.py      curves of metrics.jsonl, by matplotlib, of metric_series.py in metric_panels.py
"""

from minicoulomb.pictures.energy_curve import with_curve
from minicoulomb.pictures.forces import force_rows
from minicoulomb.pictures.images import image_grid, neighbour_rows
from minicoulomb.pictures.maps import ARROWS, CELLS, ColourScale, FieldPanel, field_map
from minicoulomb.pictures.output import save, save_animation
from minicoulomb.pictures.plane import Plane, Square, scatter, square_about
from minicoulomb.pictures.points import draw_points

__all__ = ["ARROWS", "CELLS", "ColourScale", "FieldPanel", "Plane", "Square", "draw_points", "field_map"]
__all__ += [
    "force_rows",
    "image_grid",
    "neighbour_rows",
    "save",
    "save_animation",
    "scatter",
    "square_about",
    "with_curve",
]
