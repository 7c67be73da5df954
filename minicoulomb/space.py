"""The space of samples: what networks need to know of the data."""

from typing import Any, NamedTuple

import numpy as np

from minicoulomb.arguments import check_shape, check_type
from minicoulomb.errors import UserError


class SampleSpace(NamedTuple):
    """The space of samples.

    Parameters
    ----------
    shape : tuple of int
        Of one sample: (m,) for points, (height, width, channels) for images, (length, characters) for text.
    scale : float
        Typical size of a coordinate; the networks `mlp` divide by it.
    bound : float
        Largest size of a coordinate, which the output of the generator `mlp` does not exceed.
    location : tuple of float, or 0
        What is subtracted from samples before the networks see them, a number for each coordinate of points. The
        output of a generator is such a difference as well.
    alphabet : str
        The characters of text, whose samples are (length, 1 + characters): the first number of each position stands
        for all other characters.

    Examples
    --------
    >>> SampleSpace((32, 32, 3))
    SampleSpace(shape=(32, 32, 3), scale=1.0, bound=1.0, location=0.0, alphabet='')
    """

    shape: tuple[int, ...]
    scale: float = 1.0
    bound: float = 1.0
    location: tuple[float, ...] | float = 0.0
    alphabet: str = ""

    @classmethod
    def of(cls, data: Any) -> "SampleSpace":
        """The space of a data set, which has these five."""
        return cls(data.shape, data.scale, data.bound, data.location, data.alphabet)

    def located(self, x):
        """Samples x (n, *shape) of the networks in the units of the data, float64 where there is a location."""
        return x + self.location if self.location else x


def check_space(space: SampleSpace) -> SampleSpace:
    """The SampleSpace with a tuple of ints as its shape; UserError unless scale and bound are above 0."""
    check_type("space", space, SampleSpace, "use SampleSpace((32, 32, 3))")
    for name in ("scale", "bound"):
        if not 0 < getattr(space, name) < np.inf:
            raise UserError(
                f"{name} {getattr(space, name)}: must be above 0 and finite; use a coordinate's typical size"
            )
    return space._replace(shape=check_shape("shape", space.shape))
