"""The colours of all pictures, as (red, green, blue).

Generated samples are vermilion, real ones grey; a map is vermilion where generated charge outweighs and blue where real
charge does. Vermilion is distinguishable from both in every form of colour blindness (Okabe and Ito).
"""

import numpy as np

PAPER, INK, FRAME, RULE = (255, 255, 255), (60, 60, 60), (130, 130, 130), (236, 236, 236)
GREY = (150, 150, 150)  # real points
VERMILION = (213, 94, 0)  # generated points
NAVY, RUST = (0, 52, 110), (140, 48, 0)  # real and generated points on a map, visible on its deepest colours

# At -1, -1/2, 0, 1/2 and 1.
_MAP = np.array([(226, 108, 30), (249, 190, 140), (255, 255, 255), (150, 200, 235), (40, 130, 200)], float)


def diverging(values: np.ndarray) -> np.ndarray:
    """Colours (..., 3), 0 to 255, of values (...): -1 is vermilion, 0 white, 1 blue; values outside are clipped."""
    places = np.linspace(-1, 1, len(_MAP))
    return np.stack([np.interp(values, places, channel) for channel in _MAP.T], axis=-1)
