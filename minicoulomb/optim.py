"""Adam on one flat vector (Kingma and Ba, 2015), and schedules as plain functions of the progress.

m <- beta1 m + (1 - beta1) g                  v <- beta2 v + (1 - beta2) g^2
theta <- theta - lr  (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon),       t = 1, 2, ...
"""

from minicoulomb.backend import array_module

# Numbers per block: each pass over theta stays in the processor's cache.
BLOCK = 2**15


def adam(theta, gradient, moments, t: int, lr: float, beta1: float, beta2: float, epsilon: float = 1e-8) -> None:
    """One Adam step number t >= 1, in place.

    theta (size,), gradient (size,), moments (2, size): m and v, zeros before the first step.
    """
    xp = array_module(theta)
    first, second = moments
    step_size = lr / (1 - beta1**t)
    correction = 1 / (1 - beta2**t) ** 0.5  # sqrt(v / (1 - beta2^t)) = correction sqrt(v)
    for start in range(0, len(theta), BLOCK):
        block = slice(start, start + BLOCK)
        m, v, g = first[block], second[block], gradient[block]
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * (g * g)
        denominator = xp.sqrt(v)
        denominator *= correction
        denominator += epsilon
        xp.divide(m, denominator, out=denominator)
        denominator *= step_size
        theta[block] -= denominator


def exponential(start: float, end: float, progress: float) -> float:
    """start (end / start)^progress: from `start` at progress 0 to `end` at 1; constant where they are equal."""
    return start * (end / start) ** progress if end != start else start
