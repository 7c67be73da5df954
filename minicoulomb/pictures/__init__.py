"""Arrays and runs -> pictures.

images.py             image_grid, neighbour_rows: images side by side
plane.py              Plane: a square of the plane with axes, discs and arrows; scatter: generated points over real ones
maps.py               field_map: potentials as coloured maps, side by side
forces.py             force_rows: forces on images
energy_curve.py       with_curve: the energy of particles below a picture of them
output.py             save, save_animation, export: files, whole or not at all
training_picture.py   the samples of a run that trains
field_picture.py      the field of a run; evaluation/field_values.py computes it
metric_curves.py      curves of metrics.jsonl, by matplotlib, of metric_series.py in metric_panels.py
"""

from minicoulomb.pictures.energy_curve import with_curve
from minicoulomb.pictures.forces import force_rows
from minicoulomb.pictures.images import image_grid, neighbour_rows
from minicoulomb.pictures.maps import ARROWS, CELLS, ColourScale, FieldPanel, field_map
from minicoulomb.pictures.output import save, save_animation
from minicoulomb.pictures.plane import Plane, Square, scatter, square_about

__all__ = ["ARROWS", "CELLS", "ColourScale", "FieldPanel", "Plane", "Square", "field_map", "force_rows"]
__all__ += ["image_grid", "neighbour_rows", "save", "save_animation", "scatter", "square_about", "with_curve"]
