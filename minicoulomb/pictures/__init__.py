"""Arrays -> PNG and GIF.

images.py      image_grid, neighbour_rows: pixels, row by row
plane.py       Plane: a square of the plane with axes, on which discs and arrows are laid
points.py      scatter: generated points over real ones
maps.py        field_map: potentials as coloured maps, side by side
forces.py      force_rows: what forces tell images to change
curve.py       with_curve: the energy's curve below a picture
sheet.py       sheet: pictures in labelled rows and columns
output.py      save, save_animation: whole files or none
"""

from minicoulomb.pictures.energy_curve import with_curve
from minicoulomb.pictures.forces import Forces, force_rows
from minicoulomb.pictures.images import image_grid, neighbour_rows
from minicoulomb.pictures.maps import ARROWS, CELLS, Panel, Scale, field_map
from minicoulomb.pictures.output import save, save_animation
from minicoulomb.pictures.plane import Plane, Square, square_about
from minicoulomb.pictures.points import scatter
from minicoulomb.pictures.sheet import sheet

__all__ = [
    "ARROWS",
    "CELLS",
    "Forces",
    "Panel",
    "Plane",
    "Scale",
    "Square",
    "field_map",
    "force_rows",
    "image_grid",
    "neighbour_rows",
    "save",
    "save_animation",
    "scatter",
    "sheet",
    "square_about",
    "with_curve",
]
