"""The colours of all pictures, as (red, green, blue).

Generated is vermilion; real is grey, and blue where a map has the sign of the charge that outweighs. Vermilion is told
apart from either in every form of colour blindness (Okabe and Ito).
"""

import numpy as np

PAPER, INK, FRAME, RULE = (255, 255, 255), (60, 60, 60), (130, 130, 130), (236, 236, 236)
GREY = (150, 150, 150)  # real points
VERMILION = (213, 94, 0)  # generated points
NAVY, RUST = (0, 52, 110), (140, 48, 0)  # real and generated points on a map, where its deepest colours leave them seen

# From -1, generated charge outweighs, by white to 1, real charge outweighs.
_MAP = np.array([(226, 108, 30), (249, 190, 140), (255, 255, 255), (150, 200, 235), (40, 130, 200)], float)


def diverging(values: np.ndarray) -> np.ndarray:
    """Colours (..., 3), 0 to 255, of values (...) from -1, vermilion, by 0, white, to 1, blue; beyond, those of +-1."""
    places = np.linspace(-1, 1, len(_MAP))
    return np.stack([np.interp(values, places, channel) for channel in _MAP.T], axis=-1)
