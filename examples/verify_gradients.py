"""Every hand-written gradient beside automatic differentiation, as a table for a lecture or a paper.

    pip install autograd                                  or jax, or torch: each that is found becomes a column
    python examples/verify_gradients.py                   every layer, the field, a whole step: about a minute
    python examples/verify_gradients.py Conv field        what has one of these words in its name

Expect relative differences |ours - theirs| / |theirs| of 1e-16 to 1e-13: all compute in float64, in different orders.
Adam's first step divides each number of a gradient by its size, so small numbers count as much as large ones.
For another layer:  errors_of_layer(Conv(3, 8, 5, stride=2), (9, 9, 3), open_oracle("jax")).
"""

import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported: its threads would wait for each other

import numpy as np

from minicoulomb.config import Config
from minicoulomb.coulomb import field
from minicoulomb.errors import UserError
from minicoulomb.gan import Batch, gradients, initial_state, step
from minicoulomb.models import SampleSpace, build
from minicoulomb.network import Network
from minicoulomb.schedules import rates_at
from minicoulomb.verify.gradcheck import LAYERS
from minicoulomb.verify.oracles import ORACLES, open_oracle


def difference(ours, theirs):
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)) if ours.any() or theirs.any() else 0.0


def errors_of_layer(layer, shape, oracle, n=4):
    """{gradient: difference} at random parameters theta, inputs x (n, *shape) and cotangents dy = dL/dy."""
    rng = np.random.default_rng(0)
    network = Network([layer], shape)
    theta, x = rng.standard_normal(network.size), rng.standard_normal((n, *shape))
    y, residuals = network.forward(theta, x)
    dy = rng.standard_normal(y.shape)
    dx, dtheta = network.gradients(residuals, dy)
    their_dx, their_dtheta = oracle.gradients(network, theta, x, dy)
    errors = {"dL/dx": difference(dx, their_dx), "dL/dtheta": difference(dtheta, their_dtheta)}
    return errors if network.size else {"dL/dx": errors["dL/dx"]}


def errors_of_field(m, oracle, d=1.0, eps=1.0):
    """The force at 5 points between 7 real and 6 generated charges in m dimensions."""
    a, y, x = (np.random.default_rng(0).standard_normal((n, m)) for n in (5, 7, 6))
    return {"grad Phi": difference(field(a, y, x, d, eps), oracle.field(a, y, x, d, eps))}


def errors_of_step(generator, discriminator, oracle):
    """Both gradients of Algorithm 1 with 16x16 images and few channels, and how Adam's first step moves the weights."""
    small = {"latent": 8, "g_width": 8, "d_width": 8, "d": 1.0, "eps": 1.0, "dtype": "float64"}
    config = Config.of(generator=generator, discriminator=discriminator, **small)
    G, D = build(config.networks, SampleSpace((16, 16, 3)))
    state, rng = initial_state(G, D, dtype=config.run.dtype), np.random.default_rng(0)
    theta, w = state.theta.copy(), state.w.copy()
    batch = Batch(rng.standard_normal((4, config.networks.latent)), rng.uniform(-1, 1, (4, 16, 16, 3)))
    ours = gradients(G, D, theta, w, batch, config.algorithm, config.algorithm.eps)
    dtheta, dw, _, _ = oracle.objective(G, D, theta, w, batch, config.algorithm, config.algorithm.eps)
    step(G, D, state, [batch], config.algorithm, rates_at(config.algorithm, 0))
    adam = lambda gradient, lr: -lr * gradient / (np.abs(gradient) + config.algorithm.adam_epsilon)  # its first step
    return {
        "dL_G/dtheta": difference(ours.dtheta, dtheta),
        "dL_D/dw": difference(ours.dw, dw),
        "step of theta": difference(state.theta - theta, adam(dtheta, config.algorithm.lr_g)),
        "step of w": difference(state.w - w, adam(dw, config.algorithm.lr_d)),
    }


# The rows: a name, and a function of an oracle that returns {gradient: difference}.
CASES = {name: lambda oracle, case=case: errors_of_layer(*case, oracle) for name, case in LAYERS.items()}
CASES |= {f"field, {m} dimensions": lambda oracle, m=m: errors_of_field(m, oracle) for m in (2, 20)}
CASES |= {
    f"Algorithm 1, {G} / {D}": lambda oracle, G=G, D=D: errors_of_step(G, D, oracle)
    for G, D in (("mlp", "mlp"), ("my", "my-big"), ("dcgan", "dcgan"), ("resnet", "resnet"))
}


def main(*words, libraries=tuple(ORACLES)):
    oracles = {}
    for library in libraries:
        try:
            oracles[library] = open_oracle(library)
        except UserError as error:
            print(error, file=sys.stderr)
    table = {}
    print("| | gradient |" + "".join(f" {library} |" for library in oracles))
    print("|---|---|" + "---:|" * len(oracles))
    for name in (name for name in CASES if not words or any(word.lower() in name.lower() for word in words)):
        errors = {library: CASES[name](oracle) for library, oracle in oracles.items()}
        for gradient in next(iter(errors.values()), {}):
            table[name, gradient] = [found[gradient] for found in errors.values()]
            print(f"| {name} | `{gradient}` |" + "".join(f" {error:.0e} |" for error in table[name, gradient]))
    return table


if __name__ == "__main__":
    main(*sys.argv[1:])
