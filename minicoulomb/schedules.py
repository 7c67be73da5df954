"""The numbers of each step: the kernel's width, learning rates with Adam's bias corrections, decays of the averages.

They are a function of the configuration and the step, made outside of the step itself, which knows no schedule.
"""

from typing import Any, NamedTuple

import numpy as np

from minicoulomb.arguments import check_type
from minicoulomb.config import Algorithm
from minicoulomb.errors import UserError
from minicoulomb.optim import AdamRates, adam_rates

# The running statistics of batch normalization average over about 100 batches.
STATISTICS_DECAY = 0.99


class Rates(NamedTuple):
    """The numbers of one step: all that changes from step to step besides the state and the draws.

    Attributes
    ----------
    eps : float
        Width of the Plummer kernel.
    adam_g : AdamRates
        For the update of theta.
    adam_d : tuple of AdamRates
        For each update of w, `algorithm.d_steps` of them.
    average : float
        Decay of the averaged weights.
    statistics : float
        Decay of the running statistics.
    """

    eps: Any
    adam_g: AdamRates
    adam_d: tuple[AdamRates, ...]
    average: Any
    statistics: Any


def packed(rates: Rates) -> np.ndarray:
    """The numbers of the rates that change from step to step, in float64; `unpacked` puts them back."""
    of_adam = (number for adam in (rates.adam_g, *rates.adam_d) for number in (adam.step_size, adam.epsilon))
    return np.array([rates.eps, rates.average, rates.statistics, *of_adam])


def unpacked(numbers: Any, rates: Rates) -> Rates:
    """The rates with the numbers of `packed`, which may lie on a device, where a captured step reads them."""
    eps, average, statistics, *of_adam = (numbers[k] for k in range(len(numbers)))
    pairs = zip((rates.adam_g, *rates.adam_d), of_adam[::2], of_adam[1::2], strict=True)
    adam_g, *adam_d = (adam._replace(step_size=size, epsilon=epsilon) for adam, size, epsilon in pairs)
    return Rates(eps, adam_g, tuple(adam_d), average, statistics)


def exponential(start: float, end: float, progress: float) -> float:
    """Value from `start` at progress 0 to `end` at progress 1: start (end / start)^progress."""
    return start * (end / start) ** progress if end != start else start


def eps_at(algorithm: Algorithm, step: int) -> float:
    """Width of the kernel in the step number `step` = 0, 1, ...: exponential from `eps` to `eps_end`."""
    end = algorithm.eps if algorithm.eps_end is None else algorithm.eps_end
    return exponential(algorithm.eps, end, min(1.0, step / algorithm.steps))


def learning_rates_at(algorithm: Algorithm, step: int, share: float = 1.0) -> tuple[float, float]:
    """Learning rates of G and D in the step number `step` = 0, 1, ...: exponential to their last share of the first.

    Both are multiplied by `share`, what plateaus have left of them.
    """
    c, progress = algorithm, min(1.0, step / algorithm.steps)
    decay_d = c.lr_decay if c.lr_decay_d is None else c.lr_decay_d
    return share * c.lr_g * exponential(1.0, c.lr_decay, progress), share * c.lr_d * exponential(1.0, decay_d, progress)


def rates_at(algorithm: Algorithm, step: int, share: float = 1.0) -> Rates:
    """Rates of one step of training, to be passed to gan.step.

    eps and learning rates go exponentially from their first value to their last, at step = `algorithm.steps`, and stay
    there. Averages decay by min(decay, (1 + step) / (10 + step)), so that the first steps do not linger in them.

    Parameters
    ----------
    algorithm : Algorithm
        `steps`, eps, learning rates, Adam's betas, `d_steps` and `average`.
    step : int
        0, 1, ...
    share : float
        Factor of both learning rates, which a schedule outside may lower.

    Returns
    -------
    Rates

    Raises
    ------
    UserError
        If `algorithm` is no Algorithm, or `step` no int >= 0.

    Examples
    --------
    >>> rates = rates_at(Algorithm(steps=100, eps=3.0, eps_end=0.03), step=50)
    >>> round(rates.eps, 6), round(rates.statistics, 3), len(rates.adam_d)
    (0.3, 0.85, 1)
    """
    check_type("algorithm", algorithm, Algorithm, "use Algorithm(), or config.algorithm")
    if not isinstance(step, int | np.integer) or step < 0:
        raise UserError(f"step {step!r}: must be an int >= 0; count the steps from 0")
    c, of_adam, step = algorithm, (algorithm.beta2, algorithm.adam_epsilon), int(step)
    lr_g, lr_d = learning_rates_at(c, step, share)
    first = step * c.d_steps + 1
    warm_up = (1 + step) / (10 + step)
    return Rates(
        eps_at(c, step),
        adam_rates(step + 1, lr_g, c.beta1_g, *of_adam),
        tuple(adam_rates(t, lr_d, c.beta1_d, *of_adam) for t in range(first, first + c.d_steps)),
        min(c.average, warm_up),
        min(STATISTICS_DECAY, warm_up),
    )
