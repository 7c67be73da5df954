"""The field's numbers, exact and as D has learned it, against the formulas; how well D follows."""

import numpy as np
import pytest
from field_cases import EXPERIMENTS, IMAGES, PLANE, start

from minicoulomb.data.digits import digits
from minicoulomb.data.mixtures import ring
from minicoulomb.errors import UserError
from minicoulomb.evaluation import field_values
from minicoulomb.evaluation.field_values import (
    GROUPS,
    Charges,
    charges,
    cosines,
    exact_force,
    exact_potential,
    follows,
    group_potentials,
    learned_force,
    learned_potential,
)
from minicoulomb.gan import target_scale
from minicoulomb.training.sampling import BLOCK


@pytest.fixture(scope="module", params=list(EXPERIMENTS))
def experiment(request):
    """(checkpoint, dataset, charges) at half of its way, D's regression far from right."""
    config, dataset = EXPERIMENTS[request.param]
    checkpoint = start(config, dataset, 5)
    return checkpoint, dataset, charges(checkpoint, dataset, BLOCK)


def test_the_exact_potential_is_the_sum_over_all_charges(experiment):
    _, _, (x, y, d, eps) = experiment
    a = x[:3]
    for point, phi in zip(a, exact_potential(a, experiment[2]), strict=True):
        k = [((point - other) ** 2).sum() + eps**2 for others in (y, x) for other in others]
        k = (np.array(k) / eps**2) ** (-d / 2)  # in units of eps^-d
        assert phi == pytest.approx(k[: len(y)].mean() - k[len(y) :].mean(), rel=1e-9)


def test_eps_is_that_of_the_step_and_after_the_last_step_the_last():
    config, dataset = EXPERIMENTS["relative"]
    eps = [charges(start(config, dataset, step), dataset, 2).eps for step in (0, 5, 10, 11)]
    assert eps == pytest.approx([0.7, np.sqrt(0.7 * 0.4), 0.4, 0.4])


def test_what_d_has_learned_is_told_in_the_units_of_the_potential(experiment):
    checkpoint, _, given = experiment
    d = checkpoint.D.forward(checkpoint.state.w, given.x)[0]
    phi = given.eps**given.d * d / target_scale(checkpoint.config.algorithm, given.eps)
    np.testing.assert_allclose(learned_potential(given.x, checkpoint, given.eps), phi, rtol=1e-12)


@pytest.mark.parametrize("which", ["exact", "learned"])
def test_forces_are_the_slopes_of_the_potentials(experiment, which):
    """Along a random direction, of the sum over all points; eps^(d+1) is one eps more than the potentials have."""
    checkpoint, _, given = experiment
    if which == "exact":
        potential, force = (lambda a: exact_potential(a, given)), exact_force(given.x, given)
    else:
        potential = lambda a: learned_potential(a, checkpoint, given.eps)
        force = learned_force(given.x, checkpoint, given.eps)
    assert force.shape == given.x.shape
    h, v = 1e-6, np.random.default_rng(0).standard_normal(given.x.shape)
    slope = (potential(given.x + h * v) - potential(given.x - h * v)).sum() / (2 * h)
    assert (force * v).sum() / given.eps == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_a_charge_is_left_out_of_the_potential_at_its_place(experiment):
    """One pair at a time; the self-term would shift it by eps^-d over the number of charges."""
    x, y, d, eps = given = experiment[2]
    n, k = len(x), lambda a, b: (((a - b) ** 2).sum() / eps**2 + 1) ** (-d / 2)
    for a, others in ((x, y), (y, x)):
        phi = group_potentials(a, given)
        assert phi.shape == (GROUPS, n)
        for g, i in ((0, 0), (3, 7), (GROUPS - 1, n - 1), (5, n // 2)):
            start, stop = (g * n // GROUPS, (g + 1) * n // GROUPS)
            near = np.mean([k(a[i], a[j]) for j in range(start, stop) if j != i])
            far = np.mean([k(a[i], others[j]) for j in range(start, stop)])
            assert phi[g, i] == pytest.approx(far - near if a is x else near - far, rel=1e-9)


def test_the_fit_is_that_of_d_and_the_potential_of_all_charges(experiment):
    checkpoint, _, given = experiment
    phi = [group_potentials(a, given).mean(axis=0) for a in (given.x, given.y)]
    d = [learned_potential(a, checkpoint, given.eps) for a in (given.x, given.y)]
    found = follows(given, checkpoint)
    for k, suffix in enumerate(("", "_real")):
        assert found[f"d_correlation{suffix}"] == pytest.approx(np.corrcoef(d[k], phi[k])[0, 1])
        error = np.square(d[k] - phi[k]).sum() / np.square(phi[k] - phi[k].mean()).sum()
        assert found[f"d_r2{suffix}"] == pytest.approx(1 - error)
    groups = group_potentials(given.x, given)
    groups = groups - groups.mean(axis=1, keepdims=True)  # an offset changes no correlation
    chance = groups.var(axis=0, ddof=1).mean() / GROUPS / phi[0].var()
    assert found["d_correlation_limit"] ** 2 == pytest.approx(max(0, 1 - chance), abs=1e-9)


@pytest.mark.parametrize("shift", [0.05, 0.5, 2.0])
def test_the_limit_is_the_correlation_of_the_expected_potential(shift, monkeypatch):
    """A D that knows the potential of many other charges of the same distributions; the medians of ten draws."""
    rng, found = np.random.default_rng(0), []
    more = [rng.standard_normal((20_000, 2)) + move for move in (shift, 0)]
    monkeypatch.setattr(field_values, "learned_potential", lambda a, *_: exact_potential(a, Charges(*more, 2.0, 0.5)))
    for _ in range(10):
        charges_of = Charges(rng.standard_normal((300, 2)) + shift, rng.standard_normal((300, 2)), 2.0, 0.5)
        found.append(follows(charges_of, None))
    reached, limit = (np.median([one[name] for one in found]) for name in ("d_correlation", "d_correlation_limit"))
    assert reached == pytest.approx(limit, abs=0.15 if shift < 0.1 else 0.05)
    assert limit < 0.6 if shift < 0.1 else limit > 0.9
    if shift > 0.1:  # else the 20,000 charges have too much chance
        assert np.median([one["d_r2"] for one in found]) == pytest.approx(limit**2, abs=0.1)


def test_a_constant_d_has_no_correlation_and_few_or_constant_charges_no_fit(experiment, monkeypatch):
    checkpoint, _, given = experiment
    monkeypatch.setattr(field_values, "learned_potential", lambda a, *_: np.full(len(a), 0.1))
    assert follows(given, checkpoint)["d_correlation"] == 0
    few = given._replace(x=given.x[:19], y=given.y[:19])
    assert follows(few, checkpoint) == {}
    same = given._replace(x=np.repeat(given.x[:1], len(given.x), axis=0))
    assert follows(same, checkpoint) == {}


def test_charges_come_from_the_weights_that_d_meets_and_not_from_their_average():
    config, dataset = IMAGES.replace(average=0.9), digits()
    checkpoint = start(config, dataset)
    before = charges(checkpoint, dataset, 3).x
    checkpoint.state.average[:] = 0
    checkpoint.state.average_statistics[:] = 1
    np.testing.assert_array_equal(charges(checkpoint, dataset, 3).x, before)


def test_points_pass_through_d_in_blocks(experiment, monkeypatch):
    checkpoint, _, given = experiment
    compute = lambda: (
        learned_potential(given.x, checkpoint, given.eps),
        learned_force(given.x, checkpoint, given.eps),
    )
    whole = compute()
    monkeypatch.setattr(field_values, "BLOCK", 7)
    for blocks, together in zip(compute(), whole, strict=True):
        np.testing.assert_allclose(blocks, together, rtol=1e-9, atol=1e-12)


def test_the_cosine_of_forces_is_1_along_minus_1_against_and_0_of_nothing():
    a = np.random.default_rng(0).standard_normal((4, 2, 3, 1))
    b = np.stack([2 * a[0], -a[1], 0 * a[2], a[3][::-1]])
    expected = (a[3] * b[3]).sum() / (a[3] ** 2).sum()
    np.testing.assert_allclose(cosines(a, b), [1, -1, 0, expected])


def test_data_of_another_shape_are_told():
    with pytest.raises(UserError, match=r"digits.*\(8, 8, 1\).*data of that shape"):
        charges(start(PLANE, ring()), digits(), 5)
