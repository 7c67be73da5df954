"""Generated points over real ones, in the picture that suits the number of their coordinates."""

import numpy as np
from PIL import Image

from minicoulomb.pictures.line import histogram
from minicoulomb.pictures.pair_grid import pair_grid
from minicoulomb.pictures.plane import scatter


def draw_points(
    real: np.ndarray | None, generated: np.ndarray, title: str = "", name: str = "generated"
) -> Image.Image:
    """Generated points (k, m) over real ones (n, m), if any: histograms, a scatter plot, or a grid of such.

    >>> draw_points(None, np.eye(3)).size
    (1000, 945)
    """
    draw = {1: histogram, 2: scatter}.get(generated.shape[1], pair_grid)
    return draw(real, generated, title, name)
