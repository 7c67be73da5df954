"""Adam on one flat vector (Kingma and Ba, 2015), and exponential averages.

    m <- beta1 m + (1 - beta1) g                  v <- beta2 v + (1 - beta2) g^2
    theta <- theta - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon),       t = 1, 2, ...

With c = sqrt(1 - beta2^t) the last line is  theta - (lr c / (1 - beta1^t)) m / (sqrt(v) + c epsilon):  both bias
corrections are in two numbers, `step_size` and `epsilon` of AdamRates, not in passes over the vectors.

Only the device knows whether a gradient is finite, and the host should not wait for it. So the answer is an argument:
`where`, a boolean that may lie on the device. Where it is false, nothing changes.
"""

from typing import Any, NamedTuple

from minicoulomb import optim_cuda
from minicoulomb.arguments import check_moments, check_rates
from minicoulomb.arrays.backend import array_module, changing, on_gpu
from minicoulomb.arrays.blocks import for_each_block


class AdamRates(NamedTuple):
    """The numbers of one step of Adam.

    Attributes
    ----------
    step_size : float
        lr sqrt(1 - beta2^t) / (1 - beta1^t)
    beta1, beta2 : float
        Decays of the two moments m and v.
    epsilon : float
        Adam's epsilon times sqrt(1 - beta2^t).
    """

    step_size: Any
    beta1: Any
    beta2: Any
    epsilon: Any


def adam_rates(t: int, lr: float, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> AdamRates:
    """Numbers of the step number t of Adam, with both bias corrections.

    step_size = lr sqrt(1 - beta2^t) / (1 - beta1^t)

    Parameters
    ----------
    t : int
        1, 2, ...
    lr : float
        Learning rate.
    beta1, beta2 : float
        Decays of the two moments, 0 <= beta < 1.
    epsilon : float
        Added to the root of the corrected second moment.

    Returns
    -------
    AdamRates

    Raises
    ------
    UserError
        For t < 1, a beta outside of 0 <= beta < 1, or a negative lr or epsilon.

    Examples
    --------
    >>> adam_rates(1, lr=0.1, beta1=0.5, beta2=0.75, epsilon=1.0)
    AdamRates(step_size=0.1, beta1=0.5, beta2=0.75, epsilon=0.5)
    """
    lr, beta1, beta2, epsilon = float(lr), float(beta1), float(beta2), float(epsilon)
    check_rates(t, lr, beta1, beta2, epsilon)
    correction = (1 - beta2**t) ** 0.5
    return AdamRates(lr * correction / (1 - beta1**t), beta1, beta2, epsilon * correction)


def adam(theta: Any, gradient: Any, moments: Any, rates: AdamRates, where: Any = True) -> None:
    """One step of Adam, in place.

    theta <- theta - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)

    Parameters
    ----------
    theta : array (size,)
        The parameters, which change.
    gradient : array (size,)
        dL/dtheta, which does not change and shares no memory with the other two.
    moments : array (2, size)
        m and v, which change; zeros before the first step.
    rates : AdamRates
        `adam_rates(t, lr, ...)` for the step number t = 1, 2, ...
    where : bool, or a boolean on the device
        Whether to do anything.

    Raises
    ------
    UserError
        If theta or moments are read-only, or the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> theta, moments = np.array([1.0, 2.0]), np.zeros((2, 2))
    >>> adam(theta, np.array([3.0, -0.5]), moments, adam_rates(1, lr=0.1))
    >>> theta.round(6)  # the first step has the size lr, whatever the gradient
    array([0.9, 2.1])

    References
    ----------
    Kingma and Ba, Adam: a method for stochastic optimization, ICLR 2015.
    """
    check_moments(theta, gradient, moments)
    if on_gpu(theta):
        optim_cuda.adam(theta, gradient, moments, rates, where)
    elif where:
        for_each_block(lambda theta, g, m, v: adam_formula(theta, g, m, v, rates), theta, gradient, *moments)


def adam_formula(theta, g, m, v, rates) -> None:
    """The formula on arrays of one shape, in place."""
    m *= rates.beta1
    m += (1 - rates.beta1) * g
    v *= rates.beta2
    v += (1 - rates.beta2) * (g * g)
    theta -= rates.step_size * (m / (array_module(v).sqrt(v) + rates.epsilon))


def update_average(target: Any, value: Any, decay: float, where: Any = True) -> None:
    """target <- decay target + (1 - decay) value, in place: an exponential average. `value` is an array or a number."""
    changing(target)
    if on_gpu(target):
        optim_cuda.update_average(target, value, decay, where)
    elif where:
        target *= decay
        target += (1 - decay) * value
