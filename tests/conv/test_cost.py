"""What `auto` chooses on a GPU, for the layers of two steps that an H200 has measured; no machine's speed is in it."""

import numpy as np
import pytest
import strict_cupy

from minicoulomb.conv import cost_cuda
from minicoulomb.conv.winograd_plan import choose, plan_for

# (kernel and stride, channels of the larger image and of the smaller one, the smaller one's side)
LAYERS = {
    "my-64": [((5, 2), 3, 128, 32), ((5, 2), 128, 256, 16), ((5, 2), 256, 512, 8), ((5, 2), 512, 1024, 4)],
    "dcgan-32": [((4, 2), 3, 64, 16), ((4, 2), 64, 128, 8), ((4, 2), 128, 256, 4)],
}
# One letter for each of the layers.
CHOICES = {
    ("my-64", "float32", "0"): "dwww",  # Winograd's step took 0.41 of the time of cuDNN's
    ("my-64", "float32", "1"): "dwwd",
    ("my-64", "float64", "1"): "dwww",
    ("dcgan-32", "float32", "0"): "dww",  # 2.56 ms for 3.81 directly
    ("dcgan-32", "float32", "1"): "dwd",
}


def images(n, dtype="float32"):
    return strict_cupy.empty((n, 1, 1, 1), np.dtype(dtype))


def chosen(layers, x) -> str:
    plans = (
        choose("auto", x, (k, k, c, o), (stride, stride), (side, side)) for (k, stride), c, o, side in LAYERS[layers]
    )
    return "".join("d" if plan is None else "w" for plan in plans)


@pytest.mark.parametrize(("layers", "dtype", "tf32"), CHOICES)
def test_auto_follows_what_an_h200_measured(monkeypatch, layers, dtype, tf32):
    monkeypatch.setenv("CUPY_TF32", tf32)
    assert chosen(layers, images(128, dtype)) == CHOICES[layers, dtype, tf32]


def test_without_the_variable_products_are_float32_s(monkeypatch):
    monkeypatch.delenv("CUPY_TF32", raising=False)
    assert chosen("my-64", images(128)) == CHOICES["my-64", "float32", "0"]


@pytest.mark.parametrize(("tf32", "measured"), [("0", 17.6), ("1", 8.3)])
def test_the_model_gives_the_time_that_was_measured(monkeypatch, tf32, measured):
    """Winograd's products and transforms in a step of my-64-b128, from a profile on an H200, in ms."""
    monkeypatch.setenv("CUPY_TF32", tf32)
    x, total = images(128), 0.0
    for (k, stride), c, o, side in LAYERS["my-64"]:
        shape, size = (k, k, c, o), (side, side)
        plan = plan_for(x, shape[:2], (stride, stride), size)
        passes = 8 if c == 3 else 10  # of G three, of D seven; none gives the gradient in D's real images
        total += passes * cost_cuda.winograd_seconds(x, shape, size, plan)
    assert 1e3 * total == pytest.approx(measured, rel=0.15)


def test_a_large_kernel_is_direct_and_a_named_algorithm_is_taken():
    x = images(128)
    assert choose("auto", x, (7, 7, 64, 64), (1, 1), (8, 8)) is None
    assert choose("direct", x, (5, 5, 128, 256), (2, 2), (16, 16)) is None
    assert choose("winograd", x, (5, 5, 3, 4), (2, 2), (2, 2)) is not None
