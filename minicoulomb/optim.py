"""Adam on one flat vector (Kingma and Ba, 2015), and schedules as plain functions of the progress.

m <- beta1 m + (1 - beta1) g                  v <- beta2 v + (1 - beta2) g^2
theta <- theta - lr  (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon),       t = 1, 2, ...

With c = sqrt(1 - beta2^t), the last line is  theta - (lr c / (1 - beta1^t))  m / (sqrt(v) + c epsilon):  both
corrections are in two plain numbers, not in passes over the vectors.

On a GPU nobody can look whether a gradient is finite without waiting for it, so that answer is an argument: `where`,
a boolean that may lie on the device. Where it is false, nothing changes.
"""

import numpy as np

from minicoulomb.arrays.backend import array_module, on_gpu
from minicoulomb.arrays.cuda import ElementwiseKernel
from minicoulomb.arrays.threads import for_each

# Numbers per block, 1 MB in float32: the passes over it stay in the processor's cache, and each takes long enough
# that threads rarely wait for the interpreter. A GPU takes all numbers at once.
BLOCK = 2**18


def adam(
    theta, gradient, moments, t: int, lr: float, beta1: float, beta2: float, epsilon: float = 1e-8, where=True
) -> None:
    """One Adam step number t >= 1, in place.

    theta (size,), gradient (size,), moments (2, size): m and v, zeros before the first step.
    """
    xp = array_module(theta)
    correction = (1 - beta2**t) ** 0.5
    step_size = lr * correction / (1 - beta1**t)
    epsilon *= correction
    if on_gpu(theta):
        _ADAM(gradient, beta1, 1 - beta1, beta2, 1 - beta2, step_size, epsilon, where, theta, *moments)
        return
    if not where:
        return

    def update(block):
        (m, v), g = moments[:, block], gradient[block]
        work = (1 - beta1) * g
        m *= beta1
        m += work
        xp.multiply(g, g, out=work)
        work *= 1 - beta2
        v *= beta2
        v += work
        xp.sqrt(v, out=work)
        work += epsilon
        xp.divide(m, work, out=work)
        work *= step_size
        theta[block] -= work

    size = BLOCK if xp is np else len(theta)
    for_each(update, [slice(start, start + size) for start in range(0, len(theta), size)])


_ADAM = ElementwiseKernel(
    "T g, T beta1, T rest1, T beta2, T rest2, T step_size, T epsilon, bool where",
    "T theta, T m, T v",
    """
    if (where) {
        m = beta1 * m + rest1 * g;
        v = beta2 * v + rest2 * g * g;
        theta -= step_size * (m / (sqrt(v) + epsilon));
    }
    """,
    "adam",
)


def update_average(target, value, decay: float, where=True) -> None:
    """target <- decay target + (1 - decay) value, in place: an exponential average. `value` is an array or a number."""
    if on_gpu(target):
        _FOLLOW(value, decay, 1 - decay, where, target)
    elif where:
        target *= decay
        target += (1 - decay) * value


_FOLLOW = ElementwiseKernel(
    "T value, T decay, T rest, bool where",
    "T target",
    "if (where) target = decay * target + rest * value;",
    "follow",
)


def exponential(start: float, end: float, progress: float) -> float:
    """start (end / start)^progress: from `start` at progress 0 to `end` at 1; constant where they are equal."""
    return start * (end / start) ** progress if end != start else start
