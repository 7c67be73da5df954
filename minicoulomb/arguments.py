"""What is wrong with the arguments of networks, Algorithm 1 and Adam: each check raises UserError or passes.

They look at types and shapes, never at the numbers of an array, which may be on a device that nobody should wait for.
"""

from typing import Any

import numpy as np

from minicoulomb.arrays.backend import changing, floats
from minicoulomb.errors import UserError

Shape = tuple[int, ...]


def check_type(name: str, value: Any, cls: type, remedy: str) -> None:
    """UserError unless the value is of the class."""
    if not isinstance(value, cls):
        raise UserError(f"{name} {value!r:.80}: must be a {cls.__name__}; {remedy}")


def check_layers(layers: Any, cls: type) -> tuple:
    """The layers, objects of the class, as a tuple."""
    if not isinstance(layers, list | tuple) or not layers:
        raise UserError(f"layers {layers!r:.80}: must be a list with at least one; use [Linear(2, 8), ReLU()]")
    for layer in layers:
        check_type("layer", layer, cls, "call the function that makes it, as in ReLU()")
    return tuple(layers)


def check_shape(name: str, shape: Any) -> Shape:
    """The shape of one sample as a tuple of ints."""
    if not isinstance(shape, tuple | list) or not all(isinstance(n, int | np.integer) and n >= 1 for n in shape):
        raise UserError(
            f"{name} {shape!r:.80}: must be a tuple of ints >= 1; use (2,) for points, (32, 32, 3) for images"
        )
    return tuple(map(int, shape))


def check_images(x: Any, halves: bool = False) -> Shape:
    """The shape of images x (n, h, w, c); UserError for other arrays, or odd sides where the layer halves them."""
    floats(x)
    if x.ndim != 4 or (halves and (x.shape[1] % 2 or x.shape[2] % 2)):
        raise UserError(f"array of shape {x.shape}: must be images (n, h, w, c){', of even sides' * halves}; pad them")
    return x.shape


def check_samples(name: str, array: Any, verb: str, shape: Shape) -> None:
    """UserError unless the array is (n, *shape) with n >= 1; `verb` is what the network does to such arrays."""
    floats(array)
    if array.shape[1:] != shape or len(array) == 0:
        expected = ", ".join(map(str, ("n", *shape)))
        raise UserError(f"{name} of shape {array.shape}: the network {verb} ({expected}), n >= 1; reshape it")


def check_vector(name: str, vector: Any, size: int) -> Any:
    """The vector; UserError unless it is (size,)."""
    floats(vector)
    if vector.shape != (size,):
        raise UserError(f"{name} of shape {vector.shape}: this network has ({size},); pass its vector")
    return vector


def check_draws(theta: Any, batch: Any, shape: Shape, algorithm: Any) -> Any:
    """numpy or cupy, whose arrays these are; UserError for draws that do not fit samples of `shape`, or the noise."""
    for value, name in ((batch, "noise_x"), (algorithm, "noise")):
        if not hasattr(value, name):
            raise UserError(f"{type(value).__name__}: has no {name}; pass a Batch(z, y), and an Algorithm()")
    noise = algorithm.noise
    xp = floats(theta, *(draws for draws in batch if draws is not None))
    if noise and (batch.noise_x is None or batch.noise_y is None):
        raise UserError(f"noise {noise}: the batch has none; pass noise_x and noise_y, N(0, I) as x and y")
    n_x, n_y = len(batch.z), len(batch.y)
    for name, array, n in (("y", batch.y, n_y), ("noise_x", batch.noise_x, n_x), ("noise_y", batch.noise_y, n_y)):
        if array is not None and array.shape != (n, *shape):
            raise UserError(f"{name} of shape {array.shape}: must be {(n, *shape)}, as D takes it; reshape the samples")
    return xp


def check_state(state: Any) -> Any:
    """numpy or cupy, whose arrays the state holds; UserError unless all can change in place."""
    arrays = state.theta, state.w, state.moments_g, state.moments_d, state.statistics
    return changing(*arrays, *(array for array in (state.average, state.average_statistics) if array is not None))


def check_rates(t: Any, lr: float, beta1: float, beta2: float, epsilon: float) -> None:
    """UserError for numbers with which Adam divides by zero, or climbs."""
    if not (t >= 1 and 0 <= beta1 < 1 and 0 <= beta2 < 1 and lr >= 0 and epsilon >= 0):
        numbers = f"t {t}, lr {lr}, beta1 {beta1}, beta2 {beta2}, epsilon {epsilon}"
        raise UserError(f"{numbers}: must be t >= 1, 0 <= beta < 1, lr >= 0, epsilon >= 0; count the steps from t = 1")


def check_moments(theta: Any, gradient: Any, moments: Any) -> None:
    """UserError unless theta (size,) and moments (2, size) can change in place, along a gradient (size,) of its own."""
    xp = changing(theta, moments)
    floats(gradient)
    if theta.ndim != 1 or gradient.shape != theta.shape or moments.shape != (2, *theta.shape):
        shapes = f"theta {theta.shape}, gradient {gradient.shape}, moments {moments.shape}"
        raise UserError(f"{shapes}: must be (size,), (size,) and (2, size); pass flat vectors of one network")
    if xp is np and np.may_share_memory(gradient, moments):
        raise UserError("gradient: shares memory with the moments, which change before it is used; pass a copy of it")
