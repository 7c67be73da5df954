"""Generated points over real ones."""

import numpy as np
from PIL import Image

from minicoulomb.pictures.colours import GREY, VERMILION
from minicoulomb.pictures.plane import Plane, in_plane, square_about


def scatter(
    real: np.ndarray | None,
    generated: np.ndarray,
    extent: float | tuple[float, float, float, float] | None = None,
    size: int = 800,
    title: str = "",
    alpha: float = 0.5,
) -> Image.Image:
    """Real points (n, m), if any, in grey and generated ones (k, m) in colour above; `size` pixels wide.

    extent   half the side of the square around 0, or (xmin, xmax, ymin, ymax), widened to a square; by default the
             square about the real points, or else the generated ones, with a margin of 15 %
    Points outside are counted in the legend. Of m > 2 coordinates the first two are drawn, and the title says so.
    """
    m = generated.shape[1]
    if m != 2:
        title = f"{title} (coordinates 1 and 2 of {m})" if m > 2 else f"{title} (1 coordinate)"
    plane = Plane(_square(generated if real is None else real, extent), size, title)
    if real is not None:
        plane.discs(real, GREY, "real", alpha=alpha)
    plane.discs(generated, VERMILION, "generated", alpha=alpha)
    return plane.drawn()


def _square(points, extent):
    if extent is None:
        return square_about(in_plane(points))
    if np.ndim(extent) == 0:
        extent = (-extent, extent, -extent, extent)
    return square_about(np.array([extent[::2], extent[1::2]], float), margin=1.0)
