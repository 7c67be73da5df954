"""The relatives of Coulomb GANs in examples/: their identities with the package's field, and what each page claims."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from minicoulomb.coulomb import field, mean_kernel, plummer_kernel
from minicoulomb.coulomb.formulas import offset_sums

ROOT = Path(__file__).parents[1]


def load(name):
    return runpy.run_path(str(ROOT / "examples" / f"{name}.py"))


def descends(force, energy, x, h=1e-5):
    """Whether force(x)_i = -n dF/dx_i, by central differences."""
    slopes = np.empty_like(x)
    for place in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[place] = h
        slopes[place] = (energy(x + step) - energy(x - step)) / (2 * h)
    np.testing.assert_allclose(force(x), -len(x) * slopes, rtol=1e-6, atol=1e-8)
    return True


@pytest.mark.parametrize("z", [1e-3, 0.3, 5.0, 400.0])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 64])
def test_a_field_line_of_the_poisson_flow_is_a_mean_shift_of_our_kernel(n, z):
    """Charges (y, 0) and points (x, z) of N + 1 dimensions have eps = 0: there d = N - 1 is Coulomb's kernel."""
    rng = np.random.default_rng(n)
    x, y = 3 * rng.standard_normal((20, n)), 3 * rng.standard_normal((90, n))
    x[0] = y[0]
    above, charges = np.c_[x, np.full(20, z)], np.c_[y, np.zeros(90)]
    E = -mean_kernel(above, charges, n - 1, 0)[1] if n > 1 else offset_sums(above, charges, np.ones(90), 2, 0)
    np.testing.assert_allclose(load("poisson_flow")["slope"](x, y, z), E[:, :-1] / E[:, -1:], rtol=1e-10, atol=1e-10)


def test_the_poisson_flow_starts_on_the_lines_of_uniform_directions():
    """At the height z the share within the radius r of the axis is 1 - z / sqrt(z^2 + r^2) in the plane."""
    y = np.array([[7.0, 1.0], [9.0, -1.0]])
    x = load("poisson_flow")["start"](40_000, y, 5.0, np.random.default_rng(0)) - [8.0, 0.0]
    for r in (1.0, 5.0, 40.0):
        assert np.mean(np.linalg.norm(x, axis=1) < r) == pytest.approx(1 - 5 / np.hypot(5, r), abs=0.01)
    assert np.mean(x > 0) == pytest.approx(0.5, abs=0.01)


def test_the_poisson_flow_copies_data_and_needs_its_start(capsys):
    (spread, near), (together, _) = load("poisson_flow")["main"](n=200)
    assert spread["modes20"] == 25
    assert spread["high_quality"] > 0.96
    assert near < 0.05
    assert together["modes"] == 1
    assert "fresh points lie at 0.2" in capsys.readouterr().out


@pytest.mark.parametrize("m", [2, 5])
def test_the_force_of_the_energy_distance_descends_on_it(m):
    page, rng = load("energy_distance"), np.random.default_rng(m)
    x, y = rng.standard_normal((9, m)), 1 + rng.standard_normal((13, m))
    assert descends(lambda x: page["force"](x, y, x), lambda x: page["energy"](x, y), x)
    assert page["energy"](x, y) > 0
    assert page["energy"](y[::-1], y) == pytest.approx(0, abs=1e-14)
    x[0] = x[1] = y[0]  # coincident charges pull nowhere
    assert np.isfinite(page["force"](x, y, x)).all()
    far = page["force"](1e6 * np.eye(m), y, y[:1])  # two opposite charges, each with the force 1
    np.testing.assert_allclose(far, 0, atol=1e-5)


def test_the_energy_distance_falls_below_its_floor():
    energies, floor, metrics = load("energy_distance")["main"](steps=60, n=200)
    assert energies[-1] < 0.1 * floor
    assert metrics["modes20"] == 25
    assert metrics["high_quality"] > 0.9


def test_the_coulomb_field_weighs_the_vectors_of_drifting_by_their_masses():
    page, rng = load("drifting"), np.random.default_rng(0)
    for m, d, eps in ((2, 2, 0.7), (5, 3, 1.3)):
        a, y, x = (rng.standard_normal((n, m)) for n in (15, 20, 30))
        (to_y, mass_y), (to_x, mass_x) = (page["mean_shift"](a, p, d, eps) for p in (y, x))
        np.testing.assert_allclose(d * (mass_y * to_y - mass_x * to_x), field(a, y, x, d, eps), rtol=1e-10, atol=1e-13)
        np.testing.assert_array_equal(page["drift"](a, y, x, d, eps), to_y - to_x)


def test_drift_is_zero_for_equal_sets_and_antisymmetric():
    drift, rng = load("drifting")["drift"], np.random.default_rng(1)
    a, y, x = (rng.standard_normal((n, 3)) for n in (15, 20, 30))
    np.testing.assert_array_equal(drift(a, y, y.copy(), 2, 0.7), 0)
    np.testing.assert_allclose(drift(y, y.copy(), y[::-1].copy(), 2, 0.7), 0, atol=1e-14)
    np.testing.assert_array_equal(drift(a, y, x, 2, 0.7), -drift(a, x, y, 2, 0.7))


def test_drift_can_leave_a_point_out_of_its_own_mass():
    page, rng = load("drifting"), np.random.default_rng(2)
    y, x, d, eps = rng.standard_normal((20, 2)), rng.standard_normal((12, 2)), 2, 0.7
    V = page["drift"](x, y, x, d, eps, leave_out=True)
    for i in range(len(x)):
        others = np.delete(x, i, axis=0)
        np.testing.assert_allclose(V[i], page["drift"](x[i : i + 1], y, others, d, eps)[0], rtol=1e-10)


def test_a_mean_shift_is_no_gradient_but_over_the_mass_of_the_wider_kernel_it_is():
    """A gradient has a symmetric derivative."""
    page, p, d, eps, h = load("drifting"), np.array([[0.0, 0.0], [3.0, 1.0], [-1.0, 2.0]]), 2, 0.7, 1e-5

    def skew(function):
        at = np.array([[1.0, 0.5]])
        ahead, beside = ((function(at + h * e) - function(at - h * e))[0] / (2 * h) for e in np.eye(2))
        return abs(ahead[1] - beside[0])

    def wider(a):
        shift, mass = page["mean_shift"](a, p, d, eps)
        return shift * mass / mean_kernel(a, p, d, eps)[0][:, None]

    assert skew(lambda a: page["mean_shift"](a, p, d, eps)[0]) > 0.05
    assert skew(wider) < 1e-8


def test_drifting_particles_and_a_drifting_generator_find_all_modes():
    particles, generated = load("drifting")["main"](steps=100, n=200, train=400)
    assert particles["modes20"] == 25
    assert particles["high_quality"] > 0.9
    assert generated["modes20"] == 8
    assert generated["high_quality"] > 0.6


def test_the_force_of_the_gaussian_kernel_descends_and_is_a_limit_of_ours():
    page, rng = load("gaussian_mmd"), np.random.default_rng(0)
    x, y, sigma = rng.standard_normal((9, 3)), 1 + rng.standard_normal((13, 3)), 0.8
    mean = lambda a, b: page["kernel"](a, b, sigma).mean()
    energy = lambda x: mean(y, y) / 2 - mean(x, y) + mean(x, x) / 2
    assert descends(lambda x: page["force"](x, y, x, sigma), energy, x)
    errors = []
    for d in (25, 100):
        eps = sigma * np.sqrt(d)
        errors.append(abs(eps**d * plummer_kernel(x, y, d, eps) - page["kernel"](x, y, sigma)).max())
    assert errors[1] < 0.01
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)  # the error is of order 1 / d


def test_far_charges_feel_nothing_of_a_gaussian():
    force, y = load("gaussian_mmd")["force"], np.zeros((5, 2))
    size = lambda r, push: np.linalg.norm(push(np.array([[r, 0.0]]), y, np.array([[1e9, 0.0]])))
    gauss = lambda a, y, x: force(a, y, x, 3.0)
    plummer = lambda a, y, x: field(a, y, x, 2, 3.0)
    assert size(30.0, gauss) / size(3.0, gauss) == pytest.approx(10 * np.exp(-(100 - 1) / 2), rel=1e-9, abs=0)
    assert size(150.0, gauss) == 0
    assert size(150.0, plummer) == pytest.approx(2 / 150**3, rel=0.01, abs=0)


def test_a_gaussian_of_falling_width_finds_data_that_a_narrow_one_does_not():
    results = load("gaussian_mmd")["main"](steps=100, n=100)
    for place in (0.0, 60.0):
        assert results[place, "sigma 50 to 1"]["modes20"] == 25
        assert results[place, "sigma 50 to 1"]["high_quality"] > 0.9
    assert results[0.0, "sigma 1"]["modes20"] < results[0.0, "sigma 1, noise 1"]["modes20"]
    for name in ("sigma 1", "sigma 1, noise 1"):
        assert results[60.0, name]["modes"] == 0


def test_the_table_of_the_family_has_every_member_and_its_picture(tmp_path, capsys):
    page = load("family")
    results, panels = page["table"](seeds=1, n=100, steps=20)
    assert set(results) == set(panels) == set(page["FAMILY"])
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(page["FAMILY"])
    assert all(x.shape == (100, 2) for x in panels.values())
    assert len({one["mmd2"] for (one,) in results.values()}) == len(results)  # no two of them are the same run
    pytest.importorskip("matplotlib")
    page["draw"](tmp_path / "family.png", panels)
    with Image.open(tmp_path / "family.png") as picture:
        assert picture.size == (1000, 430)


def rows_of_the_page(heading):
    """{member: {figure: (median, low, high)}} of the table of docs/family.md under a heading."""
    text = (ROOT / "docs/family.md").read_text().split(heading)[1]
    header, _, *rows = (line.strip("| ").split(" | ") for line in re.search(r"(\|.*\n)+", text)[0].splitlines())
    numbers = lambda cell: [float(number) for number in re.findall(r"[\d.]+", cell)]
    return {name: {k: numbers(v) for k, v in zip(header, cells)} for name, *cells in rows}


@pytest.mark.parametrize("name", ["energy distance", "Poisson flow, z 400 to .01"])
def test_the_page_has_the_figures_of_the_table(name):
    page = load("family")
    rows = rows_of_the_page("## Measured")
    assert set(rows) == set(page["FAMILY"])
    (measured,) = page["table"](seeds=1, names=[name])[0][name]
    for figure in ("modes", "quality", "KL", "mmd2", "distance"):
        low, high = rows[name][figure][-2:] if len(rows[name][figure]) > 1 else rows[name][figure] * 2
        assert 0.95 * low <= measured[figure] <= 1.05 * high, figure


@pytest.mark.parametrize(
    ("arguments", "message"), [(["--seeds", "0"], "0 is not in the range"), (["-o", "no/such/f.png"], "no such folder")]
)
def test_the_table_refuses_what_it_cannot_do_before_it_starts(arguments, message):
    result = CliRunner().invoke(load("family")["main"], arguments)
    assert result.exit_code == 2
    assert message in result.output
