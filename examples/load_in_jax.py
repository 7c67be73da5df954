"""A trained generator in JAX, as a function of its parameters. It imports nothing of minicoulomb: copy it and go on.

    python examples/load_in_jax.py runs/00000-digits-conv/checkpoints/step-0003000.npz

`load` returns G and params, a list with a dictionary of arrays for each layer. G(params, z) maps z (n, latent) to
images (n, height, width, channels) from -1 to 1, or points (n, m); jax.jit and jax.grad take it. It has the generators
`mlp`, `my` and `dcgan`. docs/elsewhere.md has the format of the file, whose axes are those of JAX.
"""

import json
import os
import sys
from itertools import pairwise
from math import prod

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported: its threads would wait for each other

import jax
import jax.numpy as jnp
import numpy as np

AXES = ("NHWC", "HWIO", "NHWC")


def load(path):
    """(G, params, about): the generator of a checkpoint, its numbers, and its description with settings and space."""
    with np.load(path) as file:
        about = json.loads(file["about"].tobytes())
        names = ("average", "average_statistics") if "average" in file else ("theta", "statistics")
        rest = dict(zip(("theta", "statistics"), (file[name] for name in names)))
    config = about["config"]
    if config["generator"] not in GENERATORS:
        raise NotImplementedError(f"generator {config['generator']}: add its layers to GENERATORS")
    layers, params = GENERATORS[config["generator"]](config, about["space"]), []
    for _, shapes in layers:
        params.append({})
        for name, shape in shapes.items():
            vector = "statistics" if name in ("mean", "variance") else "theta"
            numbers, rest[vector] = np.split(rest[vector], [prod(shape)])
            params[-1][name] = jnp.asarray(numbers.reshape(shape))

    def G(params, z, train=config["batch_statistics"]):
        """With `train`, batch normalization uses the mean and variance of this batch, not those in params."""
        x = z
        for (layer, _), p in zip(layers, params, strict=True):
            x = layer(p, x, train)
        return x

    return G, params, about


# Each function below returns a layer, (apply, shapes): y = apply(p, x, train), with a dictionary p of arrays of shapes.
def function(f):
    return lambda p, x, train: f(x), {}


def dense(c_in, c_out):
    return lambda p, x, train: x @ p["kernel"] + p["bias"], {"kernel": (c_in, c_out), "bias": (c_out,)}


def conv(k, c_in, c_out):
    apply = lambda p, x, train: jax.lax.conv_general_dilated(x, p["kernel"], (1, 1), "SAME", dimension_numbers=AXES)
    return apply, {"kernel": (k, k, c_in, c_out)}


def conv_transpose(k, c_in, c_out, stride=2, padding="SAME", bias=False):
    """Padding "SAME" gives stride times the side, "VALID" adds k - 1."""

    def apply(p, x, train):
        strides = (stride, stride)
        y = jax.lax.conv_transpose(x, p["kernel"], strides, padding, dimension_numbers=AXES, transpose_kernel=True)
        return y + p["bias"] if bias else y

    return apply, {"kernel": (k, k, c_out, c_in)} | ({"bias": (c_out,)} if bias else {})


def norm(c):
    """Batch normalization and ReLU."""

    def apply(p, x, train):
        mean, variance = (x.mean((0, 1, 2)), x.var((0, 1, 2))) if train else (p["mean"], p["variance"])
        return jax.nn.relu(p["scale"] * (x - mean) / jnp.sqrt(variance + 1e-5) + p["shift"])

    return apply, dict.fromkeys(("scale", "shift", "mean", "variance"), (c,))


def mlp(config, space):
    widths, layers = [config["latent"]] + [config["g_width"] or 64] * config["g_depth"], []
    for c_in, c_out in pairwise(widths):
        layers += [dense(c_in, c_out), function(ACTIVATIONS[config["g_activation"]])]
    bound, scale = space["bound"], space["scale"]
    last = lambda x: (bound * jnp.tanh(scale / bound * x)).reshape(-1, *space["shape"])
    return [*layers, dense(widths[-1], prod(space["shape"])), function(last)]


def my(config, space):
    base, widths = sizes(config["g_width"] or 128, space)
    image = function(lambda x: jax.nn.relu(x).reshape(-1, base, base, widths[0]))
    last = function(lambda x: 1.7159 * jnp.tanh(2 / 3 * x))
    return [dense(config["latent"], base**2 * widths[0]), image, *doubling(5, config, space, widths), last]


def dcgan(config, space):
    base, widths = sizes(config["g_width"] or 64, space)
    pixel = function(lambda z: z[:, None, None])
    first = [conv_transpose(base, config["latent"], widths[0], 1, "VALID"), norm(widths[0])]
    return [pixel, *first, *doubling(4, config, space, widths), function(jnp.tanh)]


def sizes(c, space):
    """The side of the smallest image, from 4 to 7, and the channels before each doubling: ..., 4 c, 2 c, c."""
    k = space["shape"][0].bit_length() - 3
    return space["shape"][0] >> k, [c << i for i in reversed(range(k))]


def doubling(k, config, space, widths):
    """The layers from the smallest image to samples; the transposed convolutions k x k double the side."""
    layers = [conv(3, widths[0], widths[0]), norm(widths[0])] * config["extra_layers"]
    for c_in, c_out in pairwise(widths):
        layers += [conv_transpose(k, c_in, c_out), norm(c_out)]
    return [*layers, conv_transpose(k, widths[-1], space["shape"][2], bias=True)]


GENERATORS = {"mlp": mlp, "my": my, "dcgan": dcgan}
ACTIVATIONS = {"relu": jax.nn.relu, "elu": jax.nn.elu, "tanh": jnp.tanh}
ACTIVATIONS["leaky_relu"] = lambda x: jax.nn.leaky_relu(x, 0.2)


def main(path):
    G, params, about = load(path)
    print(jax.tree.map(jnp.shape, params))
    x = jax.jit(G)(params, jax.random.normal(jax.random.key(0), (64, about["config"]["latent"])))
    print(f"64 samples {x.shape} from {x.min():.3f} to {x.max():.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
