"""Kernel, potential, field and energy, compared with their defining formulas in differences, and by identities."""

import subprocess
import sys

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from autodiff_cases import assert_agree, charges, check_field
from hypothesis import given, settings

from minicoulomb.arrays.threads import set_threads
from minicoulomb.coulomb import (
    energy,
    field,
    float32_distances,
    formulas,
    mean_kernel,
    mean_self_kernel,
    mmd2,
    mmd2_of,
    pairs,
    pairs_cuda,
    plummer_kernel,
    potential,
    potentials,
)
from minicoulomb.errors import UserError
from minicoulomb.verify.oracles import open_oracle

oracle = open_oracle("autograd")


def defining_kernel(a, b, d, eps):
    """k(a_i, b_j) in the arrays' own precision; with eps = 0, coincident pairs give 0."""
    r2 = ((a[:, None] - b[None]) ** 2).sum(axis=-1)
    with np.errstate(divide="ignore"):
        return np.where(r2 + eps**2 > 0, (r2 + eps**2) ** (-d / 2), 0)


def defining_potential(a, y, x, d, eps):
    return defining_kernel(a, y, d, eps).mean(axis=1) - defining_kernel(a, x, d, eps).mean(axis=1)


def defining_field(a, y, x, d, eps):
    towards = lambda b: ((a[:, None] - b[None]) * defining_kernel(a, b, d + 2, eps)[:, :, None]).mean(axis=1)
    return -d * (towards(y) - towards(x))


@pytest.fixture(autouse=True, scope="module", params=["plain", "in tiles"])
def formulas_or_pairs(request):
    """Every test runs with the plain formulas and with what replaces them for many pairs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "FEW", 2**30 if request.param == "plain" else 0)
        yield


# Squared distances of few coordinates come from differences, of many from a matrix product.
dimensions = pytest.mark.parametrize("m", [1, 2, 4, 5, 30])
exponents = pytest.mark.parametrize("d", [1, 2, 3, 4, 0.5, 2.7, 10])


def points(m, dtype=np.float64):
    rng = np.random.default_rng(m)
    return (rng.standard_normal((n, m)).astype(dtype) for n in (5, 7, 6))


@dimensions
@exponents
@pytest.mark.parametrize("eps", [0, 0.3, 2.0])
def test_everything_is_its_defining_formula(m, d, eps):
    a, y, x = points(m)
    np.testing.assert_allclose(plummer_kernel(a, y, d, eps), defining_kernel(a, y, d, eps), rtol=1e-12)
    assert_agree(potential(a, y, x, d, eps), defining_potential(a, y, x, d, eps))
    assert_agree(field(a, y, x, d, eps), defining_field(a, y, x, d, eps))
    phi_x, phi_y = potentials(x, y, d, eps)
    assert_agree(phi_x, defining_potential(x, y, x, d, eps))
    assert_agree(phi_y, defining_potential(y, y, x, d, eps))
    u, du = mean_kernel(a, y, d, eps)
    assert_agree(u, defining_kernel(a, y, d, eps).mean(axis=1))
    assert_agree(du, defining_field(a, y, np.full((1, m), 1e40), d, eps))
    assert mean_self_kernel(y, d, eps) == pytest.approx(defining_kernel(y, y, d, eps).mean(), rel=1e-12)


@pytest.mark.host
@dimensions
@pytest.mark.parametrize("d", [2, 1.5])
@pytest.mark.parametrize("eps", [0, 0.5])
@pytest.mark.parametrize("tile", [2, 512])
@pytest.mark.parametrize("same", [False, True], ids=["a", "a is p"])
def test_the_two_sums_are_the_plain_formulas(monkeypatch, m, d, eps, tile, same):
    a, p, _ = points(m)
    a, q = p if same else a, np.random.default_rng(1).standard_normal(len(p))
    monkeypatch.setattr(pairs, "FEW", 2**30)
    plain, steeper = (
        (formulas.kernel_sums(a, p, q, n, eps), formulas.offset_sums(a, p, q, n, eps)) for n in (d, d + 2)
    )
    monkeypatch.setattr(pairs, "TILE", tile)
    both = pairs.both_sums(a, p, q, d, eps)
    for ours, theirs in zip((pairs.kernel_sums(a, p, q, d, eps), pairs.offset_sums(a, p, q, d, eps)), plain):
        assert_agree(ours, theirs)
    for ours, theirs in zip(both, (plain[0], steeper[1])):
        assert_agree(ours, theirs)


@dimensions
@pytest.mark.parametrize("eps", [0, 0.5])
def test_potential_and_field_are_differences_of_what_each_charge_makes(m, eps):
    """At the charges themselves too, where pairs coincide."""
    _, y, x = points(m)
    (u_y, du_y), (u_x, du_x) = (mean_kernel(x, charge, 1.5, eps) for charge in (y, x))
    assert_agree(u_y - u_x, potential(x, y, x, 1.5, eps))
    assert_agree(du_y - du_x, field(x, y, x, 1.5, eps))
    total = mean_self_kernel(y, 1.5, eps) / 2 - u_y.mean() + u_x.mean() / 2
    assert total == pytest.approx(energy(x, y, 1.5, eps), rel=1e-12)


@given(charges())
@settings(max_examples=100)
def test_the_field_is_the_gradient_of_the_potential(case):
    check_field(oracle, *case)


@dimensions
def test_the_field_is_the_force_that_lowers_the_energy(m):
    """E(x_i) = -n_x dF/dx_i: generated samples move down the energy."""
    _, y, x = points(m)
    d, eps = 1.5, 0.7
    mean_kernel = lambda a, b: anp.mean((anp.sum((a[:, None] - b[None]) ** 2, axis=-1) + eps**2) ** (-d / 2))
    half_mmd2 = lambda x: (mean_kernel(y, y) - 2 * mean_kernel(x, y) + mean_kernel(x, x)) / 2
    assert energy(x, y, d, eps) == pytest.approx(half_mmd2(x), rel=1e-10)
    assert_agree(field(x, y, x, d, eps), -len(x) * autograd.grad(half_mmd2)(x))


@dimensions
@exponents
def test_the_energy_is_half_the_squared_mmd_and_positive(m, d):
    _, y, x = points(m)
    phi_x, phi_y = potentials(x, y, d, 0.5)
    assert energy(x, y, d, 0.5) == pytest.approx((phi_y.mean() - phi_x.mean()) / 2, rel=1e-12)
    assert energy(x, y, d, 0.5) > 0


@dimensions
@pytest.mark.parametrize("eps", [0, 0.5])
def test_equal_sets_of_charges_cancel_everywhere(m, eps):
    a, y, _ = points(m)
    shuffled = y[::-1].copy()
    # What cancels is as large as the kernel, and its gradient's size is that of k_{d+1}.
    np.testing.assert_allclose(potential(a, y, shuffled, 2, eps), 0, atol=1e-14 * plummer_kernel(a, y, 2, eps).max())
    np.testing.assert_allclose(field(a, y, shuffled, 2, eps), 0, atol=1e-13 * plummer_kernel(a, y, 3, eps).max())
    assert abs(energy(shuffled, y, 2, eps)) <= 1e-14 * plummer_kernel(y, y, 2, eps).max()


@dimensions
def test_swapping_the_charges_swaps_the_sign(m):
    a, y, x = points(m)
    assert_agree(potential(a, y, x, 1, 0.5), -potential(a, x, y, 1, 0.5))
    assert_agree(field(a, y, x, 1, 0.5), -field(a, x, y, 1, 0.5))
    phi_x, phi_y = potentials(x, y, 1, 0.5)
    swapped_y, swapped_x = potentials(y, x, 1, 0.5)
    assert_agree(phi_x, -swapped_x)
    assert_agree(phi_y, -swapped_y)


@dimensions
def test_a_common_shift_changes_nothing(m):
    a, y, x = points(m)
    assert_agree(potential(a + 100, y + 100, x + 100, 1, 0.5), potential(a, y, x, 1, 0.5))
    assert_agree(field(a + 100, y + 100, x + 100, 1, 0.5), field(a, y, x, 1, 0.5))


def test_real_charge_attracts_and_generated_charge_repels():
    a, y, x = np.array([[0.0]]), np.array([[1.0]]), np.array([[-1.0]])
    assert field(a, y, x, 1, 0.1)[0, 0] > 0
    assert potential(y, y, x, 1, 0.1)[0] > 0 > potential(x, y, x, 1, 0.1)[0]


@dimensions
@exponents
def test_with_eps_zero_coincident_pairs_are_left_out(m, d):
    _, y, x = points(m)
    k = plummer_kernel(x, x, d, 0)
    np.testing.assert_array_equal(np.diag(k), 0)
    assert (k[~np.eye(len(x), dtype=bool)] > 0).all()
    phi_x, _ = potentials(x, y, d, 0)
    others = np.stack([k[i, np.arange(len(x)) != i].sum() / len(x) for i in range(len(x))])
    assert_agree(phi_x, plummer_kernel(x, y, d, 0).mean(axis=1) - others)


def test_the_self_term_is_kept_when_eps_is_positive():
    x = np.zeros((1, 2))
    assert plummer_kernel(x, x, 3, 0.5) == pytest.approx(0.5**-3)
    phi_x, _ = potentials(x, np.full((1, 2), 1e9), 3, 0.5)
    assert phi_x == pytest.approx(-(0.5**-3))


def everything(a, y, x, eps):
    functions = plummer_kernel(a, y, 1, eps), potential(a, y, x, 1, eps), field(a, y, x, 1, eps)
    functions += potential(x, y, x, 1, eps), field(x, y, x, 1, eps), *potentials(x, y, 1, eps)
    return *functions, *mean_kernel(a, y, 1, eps), *mean_kernel(y, y, 1, eps), mean_self_kernel(y, 1, eps)


@dimensions
@pytest.mark.parametrize("eps", [0, 0.5])
def test_tiles_change_nothing_beyond_rounding(monkeypatch, m, eps):
    a, y, x = points(m)
    whole = everything(a, y, x, eps)
    for tile, coordinates in ((1, 1), (3, 7)):
        monkeypatch.setattr(pairs, "TILE", tile)
        monkeypatch.setattr(pairs, "COORDINATES", coordinates)
        monkeypatch.setattr(pairs_cuda, "TILE", tile)
        monkeypatch.setattr(pairs_cuda, "SHORTEST", coordinates)
        monkeypatch.setattr(pairs_cuda, "LONGEST", coordinates)
        for ours, theirs in zip(everything(a, y, x, eps), whole):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)


def test_many_charges_act_on_points_of_many_coordinates(monkeypatch):
    """On a GPU one thread has several runs of them, and a last one that is not full."""
    monkeypatch.setattr(pairs_cuda, "THREADS", 1)
    rng = np.random.default_rng(0)
    a, y, x = (rng.standard_normal((n, 6)) for n in (5, 77, 40))
    np.testing.assert_allclose(field(a, y, x, 2, 0.5), defining_field(a, y, x, 2, 0.5), rtol=1e-11)


@pytest.mark.parametrize("d", [1, 2, 3, 4, 1.5])
def test_in_single_precision_rounding_does_not_grow_with_the_number_of_points(monkeypatch, d):
    """Phi is the small difference of two means: each must keep all its digits, over any number of points."""
    monkeypatch.setattr(pairs_cuda, "THREADS", 1)  # on a GPU all of them in one thread
    rng = np.random.default_rng(0)
    a, y = (rng.standard_normal((n, 2)).astype(np.float32) for n in (50, 20_050))
    far = np.full((1, 2), 1e6, np.float32)  # whose potential is nothing
    exact = potential(*(points.astype(np.float64) for points in (a, y, far)), d, 0.3)
    np.testing.assert_allclose(potential(a, y, far, d, 0.3), exact, rtol=4 * np.finfo(np.float32).eps)


@pytest.mark.host
@dimensions
@pytest.mark.parametrize("eps", [0, 0.5])
def test_threads_change_nothing(monkeypatch, m, eps):
    a, y, x = points(m, np.float32)
    monkeypatch.setattr(pairs, "TILE", 2)
    monkeypatch.setattr(pairs, "PARTS", 4)
    alone = everything(a, y, x, eps)
    set_threads(3)
    try:
        for ours, theirs in zip(everything(a, y, x, eps), alone):
            np.testing.assert_array_equal(ours, theirs)
    finally:
        set_threads(1)


@pytest.mark.host
@pytest.mark.parametrize("m", [2, 30])
def test_the_order_in_which_threads_finish_changes_nothing(monkeypatch, m):
    a, y, x = (np.random.default_rng(n).standard_normal((n, m)).astype(np.float32) for n in (40, 41, 42))
    monkeypatch.setattr(pairs, "TILE", 2)
    forward = everything(a, y, x, 0.5)
    backward = lambda function, parts: [function(part) for part in reversed(parts)]
    monkeypatch.setattr(pairs, "for_each", backward)
    for ours, theirs in zip(everything(a, y, x, 0.5), forward):
        np.testing.assert_array_equal(ours, theirs)


# A collapsed generator's images: apart by 1e-3 in all, or by 1e-3 in every coordinate.
@pytest.mark.parametrize("apart", [1e-3 / np.sqrt(12288), 1e-3], ids=["distance 1e-3", "1e-3 per coordinate"])
@pytest.mark.parametrize("eps", [0.1, 1, 3])
@pytest.mark.parametrize("d", [1, 2.5])
def test_single_precision_keeps_five_digits_between_nearly_coincident_images(apart, eps, d):
    rng = np.random.default_rng(0)
    centre = rng.uniform(-1, 1, 12288)
    a, b = ((centre + apart * rng.standard_normal((4, 12288))).astype(np.float32) for _ in range(2))
    exact_a, exact_b = a.astype(np.longdouble), b.astype(np.longdouble)
    np.testing.assert_allclose(plummer_kernel(a, b, d, eps), defining_kernel(exact_a, exact_b, d, eps), rtol=1e-5)
    np.testing.assert_allclose(plummer_kernel(a, a, d, eps), defining_kernel(exact_a, exact_a, d, eps), rtol=1e-5)
    exact_force = defining_field(exact_a, exact_b, exact_a, d, eps)
    assert_agree(field(a, b, a, d, eps), exact_force, bound=1e-5)
    u, du = mean_kernel(a, b, d, eps)
    np.testing.assert_allclose(u, defining_kernel(exact_a, exact_b, d, eps).mean(axis=1), rtol=1e-5)
    assert_agree(du, defining_field(exact_a, exact_b, exact_b + 1e30, d, eps), bound=1e-5)


def images(kind, n, m):
    """Images in float32 whose float32 product cancels little, or much."""
    rng = np.random.default_rng(m)
    noise = rng.standard_normal((n, m))
    return {
        "noise": noise,
        "offset": 100 + noise,
        "sums without a change of sign": noise.cumsum(axis=1) / np.sqrt(m),
        "a generator collapsed onto a point": np.where(np.arange(n)[:, None] < n // 2, 0.3 + 1e-4 * noise, noise),
        "on three points": rng.uniform(-1, 1, (3, m))[rng.integers(0, 3, n)] + 1e-3 * noise,
        "some alike": noise[rng.integers(0, n - n // 8, n)],
        "two sizes": noise * np.where(np.arange(n)[:, None] < n // 2, 1e-2, 10),
    }[kind].astype(np.float32)


KINDS = ["noise", "offset", "sums without a change of sign", "a generator collapsed onto a point", "on three points"]
KINDS += ["some alike", "two sizes"]


@pytest.mark.host
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", [512, 1000])
@pytest.mark.parametrize("block", [20, 64])
def test_a_float32_product_of_images_keeps_five_digits(monkeypatch, kind, m, block):
    for name, value in (("BLOCK", block), ("COORDINATES", 600)):
        monkeypatch.setattr(float32_distances, name, value)
    a = images(kind, 50, m)
    for b in (a, a[:, ::-1].copy(), np.concatenate((a[10:40], images("noise", 5, m)))):
        exact = defining_kernel(*(points.astype(np.float64) for points in (a, b)), 2, 0.1)
        np.testing.assert_allclose(pairs.kernel(a, b, 2, 0.1), exact, rtol=1e-5)


@pytest.mark.host
def test_images_that_are_all_near_cost_no_float32_product(monkeypatch):
    """Of a collapsed generator: a few of its points tell."""
    products, by_product = [], float32_distances._by_product
    record = lambda a, b, eps: (products.append(len(a)), by_product(a, b, eps))[1]
    monkeypatch.setattr(float32_distances, "_by_product", record)
    for kind, expected in (("on three points", [4]), ("noise", [4, 64]), ("some alike", [4, 64])):
        a = images(kind, 64, 600)
        pairs.kernel(a, a, 2, 0.1)
        assert products == expected, kind
        products.clear()


@pytest.mark.host
def test_images_beyond_the_range_of_float32_products_are_far_away():
    """A diverging generator's: as in float64, k is 0 there; and what is not a number makes no number."""
    a = images("noise", 30, 600)
    a[3] *= 1e25
    with np.errstate(over="ignore", invalid="ignore"):
        k = pairs.kernel(a, a, 1, 1.0)
        assert (np.delete(k[3], 3) < 1e-20).all()
        a[3, 5] = np.nan
        k = pairs.kernel(a, a, 1, 1.0)
    assert np.isnan(k[3]).all()
    assert np.isnan(k[:, 3]).all()
    assert np.isfinite(np.delete(np.delete(k, 3, axis=0), 3, axis=1)).all()


@pytest.mark.host
@pytest.mark.parametrize("tile", [30, 512])
def test_threads_change_nothing_of_images(monkeypatch, tile):
    for module, name, value in ((pairs, "TILE", tile), (float32_distances, "BLOCK", 16)):
        monkeypatch.setattr(module, name, value)
    a, b = images("noise", 100, 600), images("some alike", 70, 600)
    run = lambda: (*potentials(a, b, 1, 0.5), pairs.kernel(a, b, 1, 0.5), *mean_kernel(a, b, 1, 0.5))
    alone = run()
    set_threads(3)
    try:
        for ours, theirs in zip(run(), alone):
            np.testing.assert_array_equal(ours, theirs)
    finally:
        set_threads(1)


@pytest.mark.parametrize("m", [1, 2, 4])
def test_in_single_precision_the_field_keeps_five_digits_far_from_the_first_point(m):
    """In clusters of points, so that sums of several equal terms cancel."""
    rng = np.random.default_rng(0)
    b = np.repeat(1000 * rng.standard_normal((5, m)), 4, axis=0) + 1e-2 * rng.standard_normal((20, m))
    a, b = ((1000 + points).astype(np.float32) for points in (b + 1e-2 * rng.standard_normal(b.shape), b))
    exact_a, exact_b = a.astype(np.float64), b.astype(np.float64)
    exact = defining_field(exact_a, exact_b, np.full((1, m), 1e30), 2, 0.01)
    assert_agree(mean_kernel(a, b, 2, 0.01)[1], exact, bound=1e-5)
    assert_agree(field(a, b, b + 1e8, 2, 0.01), exact, bound=1e-5)


@dimensions
def test_single_precision_stays_single_precision(m):
    a, y, x = points(m, np.float32)
    results = everything(a, y, x, 1)
    assert {result.dtype for result in results} == {np.dtype(np.float32)}
    assert_agree(results[2], defining_field(*(p.astype(np.float64) for p in (a, y, x)), 1, 1), bound=1e-5)


@dimensions
@pytest.mark.parametrize("number", [np.float64, np.int64, np.array, int], ids=["float64", "int64", "0-d array", "int"])
def test_the_type_of_d_and_eps_changes_nothing(m, number):
    a, y, x = points(m, np.float32)
    for d in (1, 2):
        functions = [
            lambda d, eps: plummer_kernel(a, y, d, eps),
            lambda d, eps: potential(a, y, x, d, eps),
            lambda d, eps: field(a, y, x, d, eps),
            *(lambda d, eps, part=part: potentials(x, y, d, eps)[part] for part in (0, 1)),
            *(lambda d, eps, part=part: mean_kernel(a, y, d, eps)[part] for part in (0, 1)),
        ]
        for function in functions:
            ours, theirs = function(number(d), number(1)), function(float(d), 1.0)
            assert ours.dtype == np.float32
            np.testing.assert_array_equal(ours, theirs)


def laid_out(points):
    """The same numbers as other arrays."""
    backward, read_only = points[::-1, ::-1].copy()[::-1, ::-1], points.copy()
    read_only.flags.writeable = False
    wide = np.zeros((len(points), 2, points.shape[1]))
    wide[:, 0] = points
    return {
        "Fortran": np.asfortranarray(points),
        "negative strides": backward,
        "read-only": read_only,
        "gaps": wide[:, 0],
        "broadcast": np.broadcast_to(points[:1], points.shape),
    }


@dimensions
@pytest.mark.parametrize("layout", ["Fortran", "negative strides", "read-only", "gaps", "broadcast"])
def test_the_layout_of_points_changes_nothing(m, layout):
    others = [laid_out(array)[layout] for array in points(m)]
    for ours, theirs in zip(everything(*others, 0.5), everything(*(array.copy() for array in others), 0.5)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.host
def test_the_byte_order_of_points_changes_nothing():
    a, y, x = points(3, np.float32)
    others = [array.astype(">f4") for array in (a, y, x)]
    for ours, theirs in zip(everything(*others, 0.5), everything(a, y, x, 0.5)):
        assert ours.dtype == np.dtype(np.float32)
        np.testing.assert_array_equal(ours, theirs)


@dimensions
@pytest.mark.parametrize("eps", [0, 0.5])
def test_what_is_not_a_number_makes_no_number(m, eps):
    """A diverged generator must show in its potential."""
    _, y, x = points(m)
    x[1, 0] = np.nan
    assert all(np.isnan(phi).all() for phi in potentials(x, y, 2, eps))
    assert np.isnan(energy(x, y, 2, eps))
    assert np.isnan(field(y, y, x, 2, eps)).all()


@dimensions
def test_the_squared_mmd_is_that_of_the_potentials(m):
    _, y, x = points(m)
    mean = lambda a, b: defining_kernel(a, b, 1.5, 0.5).mean()
    assert mmd2(x, y, 1.5, 0.5) == pytest.approx(mean(x, x) + mean(y, y) - 2 * mean(x, y), rel=1e-12)
    assert mmd2_of(*potentials(x, y, 1.5, 0.5)) == pytest.approx(mmd2(x, y, 1.5, 0.5), rel=1e-12)


@pytest.mark.parametrize(("d", "eps"), [(1.0, 1.0), (3.0, 0.5)])
def test_one_hot_lines_are_apart_by_twice_their_hamming_distance(d, eps):
    """k(a, b) = (2 h + eps^2)^(-d/2), h the number of positions at which the two lines differ."""
    ids = np.random.default_rng(0).integers(0, 5, (9, 7))
    hamming = (ids[:6, None] != ids[None, 6:]).sum(axis=2)
    one_hot = np.eye(5)[ids].reshape(9, -1)
    expected = (2 * hamming + eps**2) ** (-d / 2)
    np.testing.assert_allclose(plummer_kernel(one_hot[:6], one_hot[6:], d, eps), expected, rtol=1e-13)
    of_lines = expected.mean(axis=1)  # the potential that the last three lines make at the first six
    nothing = np.full((1, 35), 1e12)
    np.testing.assert_allclose(potential(one_hot[:6], one_hot[6:], nothing, d, eps), of_lines, rtol=1e-9, atol=1e-9)


def test_images_are_points():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((3, 4, 4, 2)), rng.standard_normal((5, 4, 4, 2))
    flat = x.reshape(3, 32), y.reshape(5, 32)
    for ours, theirs in zip(potentials(x, y, 1, 1), potentials(*flat, 1, 1)):
        np.testing.assert_array_equal(ours, theirs)


def test_integers_are_numbers_too():
    x, y = np.arange(6).reshape(3, 2), np.arange(8, dtype=np.uint8).reshape(4, 2) + 1
    for ours, theirs in zip(potentials(x, y, 1, 1), potentials(x.astype(float), y.astype(float), 1, 1)):
        np.testing.assert_array_equal(ours, theirs)
    assert field(y, y, x, 1, 1).dtype == np.float64


x2, x3 = np.zeros((4, 2)), np.zeros((4, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plummer_kernel(x2, x2, 0, 1), "d = 0: "),
        (lambda: potential(x2, x2, x2, -1, 1), "d = -1: "),
        (lambda: field(x2, x2, x2, float("nan"), 1), "d = nan: "),
        (lambda: potentials(x2, x2, 1, -0.5), r"eps = -0.5: .* must be >= 0"),
        (lambda: energy(x2, x2, 1, float("nan")), "eps = nan: "),
        (lambda: potentials(x2, x3, 1, 1), r"points of dimensions \[2, 3\]: all must live in the same space"),
        (lambda: potential(x2[:0], x2, x2, 1, 1), r"array of shape \(0, 2\): contains no points"),
        (lambda: energy(x2, x2[:0], 1, 1), "no points; pass at least one"),
        (lambda: mean_kernel(x2, x3, 1, 1), r"points of dimensions \[2, 3\]"),
        (lambda: mean_self_kernel(x2, 0, 1), "d = 0: "),
        (lambda: potential([[0.0, 1.0]], x2, x2, 1, 1), r"points '\[\[0.0, 1.0\]\]': must be an array"),
        (lambda: field(np.float64(3), x2, x2, 1, 1), "points '3.0': must be an array"),
        pytest.param(lambda: energy(x2, x2 + 1j, 1, 1), "array .* of real numbers", marks=pytest.mark.host),
    ],
)
def test_values_outside_the_kernel_s_domain_raise_an_error(call, message):
    with pytest.raises(UserError, match=message):
        call()


ALL_PAIRS = """
import re
import numpy as np
from minicoulomb.coulomb import potential
x = np.random.default_rng(0).standard_normal((100_000, 2)).astype(np.float32)
assert abs(potential(x, x, x, 2, 0.1)).max() == 0
print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.host
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc has the peak of memory; getrusage's starts at the parent's")
def test_a_hundred_thousand_points_against_themselves_stay_below_one_gigabyte():
    child = subprocess.run([sys.executable, "-c", ALL_PAIRS], capture_output=True, text=True, check=True)
    assert int(child.stdout) * 1024 < 1e9
