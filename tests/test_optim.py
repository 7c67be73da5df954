"""Adam against its formulas on plain Python numbers, and against PyTorch's; schedules by their end points."""

from math import sqrt

import numpy as np
import pytest

from minicoulomb.arrays import blocks
from minicoulomb.arrays.threads import set_threads
from minicoulomb.config import Algorithm, Config
from minicoulomb.errors import UserError
from minicoulomb.optim import adam, adam_rates
from minicoulomb.schedules import exponential, rates_at

SETTINGS = [(1e-2, 0.9, 0.999, 1e-8), (3e-3, 0.0, 0.99, 1e-8), (0.1, 0.5, 0.9, 1e-3)]


def defining_adam(theta, gradients, lr, beta1, beta2, epsilon):
    """The algorithm of Kingma and Ba, one number at a time."""
    result = []
    for i, number in enumerate(map(float, theta)):
        m = v = 0.0
        for t, gradient in enumerate(gradients, 1):
            g = float(gradient[i])
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g * g
            number -= lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + epsilon)
        result.append(number)
    return np.array(result)


def our_adam(theta, gradients, *settings):
    theta, moments = theta.copy(), np.zeros((2, len(theta)), theta.dtype)
    for t, gradient in enumerate(gradients, 1):
        adam(theta, gradient, moments, adam_rates(t, *settings))
    return theta


def numbers(dtype=np.float64):
    rng = np.random.default_rng(0)
    theta, *gradients = rng.standard_normal((6, 50)) * np.logspace(-6, 2, 50)
    return theta.astype(dtype), [gradient.astype(dtype) for gradient in gradients]


@pytest.mark.parametrize("settings", SETTINGS)
def test_adam_is_its_formula(settings):
    theta, gradients = numbers()
    expected = defining_adam(theta, gradients, *settings)
    np.testing.assert_allclose(our_adam(theta, gradients, *settings), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("settings", SETTINGS)
def test_adam_agrees_with_torch(settings):
    torch = pytest.importorskip("torch", reason="PyTorch is a further witness; pip install torch to hear it")
    lr, *betas, epsilon = settings
    theta, gradients = numbers()
    theirs = torch.tensor(theta, requires_grad=True)
    optimizer = torch.optim.Adam([theirs], lr, tuple(betas), epsilon)
    for gradient in gradients:
        theirs.grad = torch.tensor(gradient)
        optimizer.step()
    ours = our_adam(theta, gradients, *settings)
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-12, atol=1e-14)


def test_the_first_step_moves_every_number_by_the_learning_rate():
    theta, (gradient, *_) = numbers()
    np.testing.assert_allclose(our_adam(theta, [gradient], 0.1, 0.9, 0.999, 0.0), theta - 0.1 * np.sign(gradient))


@pytest.mark.host
@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_and_threads_change_nothing(monkeypatch, threads):
    theta, gradients = numbers(np.float32)
    whole = our_adam(theta, gradients, *SETTINGS[0])
    monkeypatch.setattr(blocks, "BLOCK", 7)
    set_threads(threads)
    try:
        np.testing.assert_array_equal(our_adam(theta, gradients, *SETTINGS[0]), whole)
    finally:
        set_threads(1)


def test_adam_stays_in_place_and_in_single_precision():
    theta, gradients = numbers(np.float32)
    moments = np.zeros((2, len(theta)), np.float32)
    expected = defining_adam(theta, gradients[:1], *SETTINGS[0])
    before = gradients[0].copy()
    adam(theta, gradients[0], moments, adam_rates(1, *SETTINGS[0]))
    assert theta.dtype == np.float32
    np.testing.assert_allclose(theta, expected, rtol=1e-6)
    np.testing.assert_allclose(moments[0], 0.1 * gradients[0], rtol=1e-6)
    np.testing.assert_array_equal(gradients[0], before)


def test_an_exponential_schedule_runs_from_start_to_end():
    assert exponential(3.0, 0.03, 0.0) == 3.0
    assert exponential(3.0, 0.03, 0.5) == pytest.approx(0.3)
    assert exponential(3.0, 0.03, 1.0) == pytest.approx(0.03)
    assert exponential(2.0, 2.0, 0.7) == 2.0


@pytest.mark.parametrize(
    "arguments", [(0, 0.1), (-1, 0.1), (1, -0.1), (1, float("nan")), (1, 0.1, 1.0), (1, 0.1, 0.9, 1.0), (1, 0.1, -0.1)]
)
def test_numbers_with_which_adam_would_divide_by_zero_or_climb_are_refused(arguments):
    with pytest.raises(UserError, match=r"t .*, lr .*: must be t >= 1, 0 <= beta < 1, .*; count the steps from t = 1"):
        adam_rates(*arguments)


@pytest.mark.parametrize(
    ("theta", "gradient", "moments"), [((3,), (2,), (2, 3)), ((3,), (3,), (3, 2)), ((3, 1), (3, 1), (2, 3, 1))]
)
def test_adam_on_vectors_of_other_lengths_is_refused(theta, gradient, moments):
    with pytest.raises(UserError, match=r"theta .*, gradient .*, moments .*: must be \(size,\), \(size,\) and"):
        adam(np.ones(theta), np.ones(gradient), np.ones(moments), adam_rates(1, 0.1))


@pytest.mark.parametrize(
    ("step", "algorithm"), [(-1, Algorithm()), (1.5, Algorithm()), ("1", Algorithm()), (1, Config())]
)
def test_the_rates_of_no_step_are_refused(step, algorithm):
    with pytest.raises(UserError, match="must be an int >= 0; count the steps|must be a Algorithm; use Algorithm"):
        rates_at(algorithm, step)


def test_rates_stay_at_their_last_values_beyond_the_last_step():
    algorithm = Algorithm(steps=10, eps=3.0, eps_end=1.0, lr_decay=0.5)
    assert rates_at(algorithm, 10).eps == rates_at(algorithm, 1000).eps == pytest.approx(1.0)
    assert rates_at(algorithm, np.int64(3)) == rates_at(algorithm, 3)
