"""What the paper proves, on finite sets of charges: the energy, the field, and the equilibrium of Algorithm 1.

That particles in the field lose energy until they lie as the data do is in test_particles.py.
"""

import itertools

import numpy as np
import pytest
from autodiff_cases import problem
from hypothesis import given
from hypothesis import strategies as st

from minicoulomb.config import Config
from minicoulomb.coulomb import energy, field, mmd2, plummer_kernel, potential, potentials
from minicoulomb.data.mixtures import grid
from minicoulomb.gan import Batch, gradients
from minicoulomb.models import SampleSpace, build

ROUNDING = 1e-13


@st.composite
def spaces(draw):
    """(rng, m, d, eps): the dimension of points, and a kernel."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng, draw(st.integers(1, 12)), draw(st.sampled_from([1, 2, 3, 0.5, 2.7])), draw(st.floats(0.3, 3))


@given(spaces(), st.integers(1, 30))
def test_where_both_sets_are_the_same_there_is_no_potential_and_no_force_anywhere(space, n):
    rng, m, d, eps = space
    y, a = rng.standard_normal((n, m)), 3 * rng.standard_normal((20, m))
    x = y[rng.permutation(n)]
    unit = eps**-d  # the largest value of the kernel
    assert np.abs(potential(a, y, x, d, eps)).max() <= ROUNDING * unit
    assert np.abs(field(a, y, x, d, eps)).max() <= ROUNDING * unit / eps
    assert abs(energy(x, y, d, eps)) <= ROUNDING * unit


@given(spaces(), st.integers(1, 20), st.integers(1, 20))
def test_twice_the_energy_is_the_squared_mmd_and_above_zero_unless_the_sets_agree(space, n_x, n_y):
    rng, m, d, eps = space
    x, y = rng.standard_normal((n_x, m)), rng.standard_normal((n_y, m))
    means = [plummer_kernel(a, b, d, eps).mean() for a, b in ((x, x), (y, y), (x, y))]
    squared = means[0] + means[1] - 2 * means[2]  # |mean phi(x) - mean phi(y)|^2 in the kernel's feature space
    assert 2 * energy(x, y, d, eps) == pytest.approx(squared, abs=ROUNDING * eps**-d)
    assert mmd2(x, y, d, eps) == pytest.approx(squared, abs=ROUNDING * eps**-d)
    assert squared > 1e-6 * eps**-d


@given(spaces())
def test_the_energy_tells_sets_that_differ_in_one_point_alone(space):
    rng, m, d, eps = space
    y = rng.standard_normal((10, m))
    x = y.copy()
    x[3] += 0.1 * eps / m**0.5
    assert energy(x, y, d, eps) > 1e-6 * eps**-d / len(x) ** 2


@given(spaces())
def test_the_mean_potential_is_higher_where_real_samples_are(space):
    """mean Phi(y) - mean Phi(x) = 2 F: a discriminator that learned Phi tells real from generated."""
    rng, m, d, eps = space
    x, y = 0.5 * rng.standard_normal((15, m)) + 1, rng.standard_normal((20, m))
    phi_x, phi_y = potentials(x, y, d, eps)
    assert phi_y.mean() - phi_x.mean() == pytest.approx(2 * energy(x, y, d, eps), rel=1e-10)


@given(st.integers(0, 2**32 - 1), st.integers(0, 23))
def test_halfway_between_a_doubled_and_a_missing_mode_the_force_points_to_the_missing_one(seed, first):
    """All modes have the same noise, so that nothing but the two differs; the distance between two modes is 10.5."""
    rng, modes = np.random.default_rng(seed), grid().modes
    right = first % 5 != 4
    doubled, missing = (first, first + 1) if right else (first, first - 1)
    noise = rng.standard_normal((40, 2))
    y = (modes[:, None] + noise).reshape(-1, 2)
    held = [doubled if mode == missing else mode for mode in range(25)]
    x = (modes[held][:, None] + noise).reshape(-1, 2)
    middle = (modes[doubled] + modes[missing])[None] / 2 + noise.mean(axis=0)
    (force,) = field(middle, y, x, 2.0, 3.0)
    towards = modes[missing] - modes[doubled]
    cosine = force @ towards / np.linalg.norm(force) / np.linalg.norm(towards)
    assert cosine > 0.99


def equilibrium(generator, discriminator, shape):
    """Networks at the Nash equilibrium: the data are what G makes, and D is 0 everywhere, as its potential is."""
    case = problem(generator, discriminator, shape)
    w = case.w.copy()
    views = list(case.D.named_views(w).values())
    for view in views[-2:]:  # kernel and bias of the last layer
        view[...] = 0
    return case.G, case.D, case.theta, w, case.config


@pytest.mark.parametrize(("generator", "discriminator", "shape"), [("mlp", "mlp", (2,)), ("my", "my", (8, 8, 1))])
def test_the_equilibrium_is_a_fixed_point_of_algorithm_1_in_expectation(generator, discriminator, shape):
    """Let y = G(z') be drawn as x = G(z) is. Then (z, z') is as likely as (z', z), where Phi has the opposite sign.

    With D = 0 the gradient dw is linear in Phi, so the two cancel and E dw = 0; D has no slope, so dtheta = 0. A fixed
    point of one batch it is not: dw is as large as the potential of two random sets.
    """
    G, D, theta, w, config = equilibrium(generator, discriminator, shape)
    rng = np.random.default_rng(0)
    z = rng.standard_normal((2, 30, config.networks.latent))
    x = [G.forward(theta, some)[0] for some in z]
    there, back = (gradients(G, D, theta, w, Batch(z[i], x[1 - i]), config.algorithm, 1.0) for i in (0, 1))
    assert np.abs(there.dw).max() > 1e-4
    np.testing.assert_allclose(there.dw, -back.dw, atol=1e-13)
    assert not there.dtheta.any()
    assert not back.dtheta.any()


def mean_and_error(samples):
    """The mean (k,) of samples (n, k) over its standard error."""
    return samples.mean(axis=0) / (samples.std(axis=0) / len(samples) ** 0.5)


def test_away_from_the_equilibrium_the_expected_gradient_of_d_is_not_zero():
    """Over 400 batches: within 5 standard errors of 0 where y is distributed as x, far beyond where y is moved."""
    config = Config.of(g_width=8, d_width=8, g_depth=1, d_depth=1, dtype="float64", eps=1.0)
    G, D = build(config.networks, SampleSpace((2,), 1.0, 4.0))
    rng = np.random.default_rng(1)
    theta, w = G.init(rng, np.float64), D.init(rng, np.float64)
    for view in list(D.named_views(w).values())[-2:]:
        view[...] = 0

    def gradient(shift):
        z = rng.standard_normal((2, 32, 2))
        y = G.forward(theta, z[1])[0] + shift
        return gradients(G, D, theta, w, Batch(z[0], y), config.algorithm, 1.0).dw[-9:]  # of D's last layer

    at_rest = mean_and_error(np.array([gradient(0.0) for _ in range(400)]))
    moved = mean_and_error(np.array([gradient(0.5) for _ in range(400)]))
    assert np.abs(at_rest).max() < 5
    assert np.abs(moved).max() > 20


def test_the_force_drawn_back_through_the_generator_climbs_the_potential():
    """Where D has the potential's slope at x, dL_G/dtheta is this direction: samples move as free particles would."""
    case = problem("mlp", "mlp", (2,))
    G, theta, (batch,), config = case.G, case.theta, case.batches, case.config
    x, residuals = G.forward(theta, batch.z)
    along = G.param_gradient(residuals, field(x, batch.y, x, config.algorithm.d, config.algorithm.eps) / len(x))
    mean = lambda theta: potential(
        G.forward(theta, batch.z)[0], batch.y, x, config.algorithm.d, config.algorithm.eps
    ).mean()
    slope = (mean(theta + 1e-6 * along) - mean(theta - 1e-6 * along)) / 2e-6
    assert slope == pytest.approx(along @ along, rel=1e-6)


def test_a_mini_batch_s_potential_is_unbiased_away_from_its_own_samples_alone():
    """At these the self-term takes the place of a kernel of two samples, as docs/differences.md says."""
    rng, d, eps, n = np.random.default_rng(0), 1.0, 0.7, 3
    xs, ys = rng.standard_normal((4, 2)), rng.standard_normal((3, 2))  # p_x and p_y are uniform on these
    drawn = lambda points: [points[list(rows)] for rows in itertools.product(range(len(points)), repeat=n)]
    elsewhere = rng.standard_normal((5, 2))
    batches = [potential(elsewhere, y, x, d, eps) for x in drawn(xs) for y in drawn(ys)]
    np.testing.assert_allclose(np.mean(batches, axis=0), potential(elsewhere, ys, xs, d, eps), rtol=1e-12)
    of_x = [potentials(x, y, d, eps)[0][0] for x in drawn(xs) if (x[0] == xs[0]).all() for y in drawn(ys)]
    of_y = [potentials(x, y, d, eps)[1][0] for x in drawn(xs) for y in drawn(ys) if (y[0] == ys[0]).all()]
    for own, points, biased, sign in ((xs[:1], xs, of_x, -1), (ys[:1], ys, of_y, 1)):
        bias = sign * (eps**-d - plummer_kernel(own, points, d, eps).mean()) / n
        assert np.mean(biased) == pytest.approx(potential(own, ys, xs, d, eps)[0] + bias, rel=1e-12)


def test_a_mini_batch_s_force_on_its_own_samples_repels_them_by_1_of_n_too_little():
    """E[grad Phi_hat(x_1)] = grad Phi_y(x_1) - (1 - 1/n) grad Phi_x(x_1), over all batches, as docs/beyond.md says."""
    rng, d, eps, n = np.random.default_rng(0), 2.0, 0.7, 3
    xs, ys = rng.standard_normal((4, 2)), rng.standard_normal((3, 2))  # p_x and p_y are uniform on these
    batches = [
        field(xs[:1], ys[list(y)], xs[[0, *others]], d, eps)
        for others in itertools.product(range(len(xs)), repeat=n - 1)
        for y in itertools.product(range(len(ys)), repeat=n)
    ]
    repelled_less = field(xs[:1], ys, xs, d, eps) + field(xs[:1], xs, xs[:1], d, eps) / n  # the self-force is 0
    np.testing.assert_allclose(np.mean(batches, axis=0), repelled_less, rtol=1e-12)
