"""Free particles: tests of the proven step by its inequality, of the field by autograd, of experiments by their end."""

import json
import subprocess
import sys
from itertools import islice

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from cli_cases import run
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minicoulomb import particles as free
from minicoulomb.coulomb import energy, mean_self_kernel
from minicoulomb.data.mixtures import grid, ring
from minicoulomb.errors import UserError
from minicoulomb.evaluation.metrics import mixture_metrics
from minicoulomb.pictures import with_curve
from minicoulomb.pictures.colours import VERMILION


def half_mmd2(x, y, d, eps):
    """F by its definition, which autograd differentiates too."""
    mean_kernel = lambda a, b: anp.mean((anp.sum((a[:, None] - b[None]) ** 2, axis=-1) + eps**2) ** (-d / 2))
    return (mean_kernel(y, y) - 2 * mean_kernel(x, y) + mean_kernel(x, x)) / 2


def followed(x, y, d, eps, move, steps):
    """x at the steps 0 .. steps, and their energies."""
    moments = free.follow_field(x.copy(), y, mean_self_kernel(y, d, eps), d, eps, move)
    return zip(*((moment.x.copy(), moment.energy) for moment in islice(moments, steps + 1)))


def charges(seed, n, n_y, m, spread):
    """Both in clusters, so that coincident, near and far pairs occur."""
    rng = np.random.default_rng(seed)
    centres = spread * rng.standard_normal((3, m))
    return (centres[rng.integers(3, size=k)] + rng.choice([0, 0.1, 1]) * rng.standard_normal((k, m)) for k in (n, n_y))


sizes = st.integers(1, 6)


# What is proven


@given(
    *(st.integers(0, 10**6), sizes, sizes, st.integers(1, 4), st.floats(0, 5)),
    *(st.floats(0.3, 8), st.floats(0.1, 5), st.floats(0.05, 1)),
)
@settings(max_examples=100)
def test_below_the_proven_step_the_energy_falls_by_what_is_proven(seed, n, n_y, m, spread, d, eps, share):
    x, y = charges(seed, n, n_y, m, spread)
    bound = free.proven_step(d, eps)
    (before, after), _ = followed(x, y, d, eps, free.euler(share * bound), 1)
    E = -n * autograd.grad(half_mmd2)(before, y, d, eps)
    must_fall = share * bound * (1 - share) * (E**2).sum(axis=1).mean()
    fell = half_mmd2(before, y, d, eps) - half_mmd2(after, y, d, eps)
    assert fell >= must_fall * (1 - 1e-9) - 1e-14 * eps**-d


@pytest.mark.parametrize("d", [0.5, 1, 2, 5, 40])
def test_the_bound_is_made_of_the_kernel_s_extreme_curvatures(d):
    """-K across and at r = 0, c K along r at r^2 = 3 eps^2 / (d + 1); both by autograd."""
    eps = 1.3
    along = autograd.elementwise_grad(autograd.elementwise_grad(lambda r: (r**2 + eps**2) ** (-d / 2)))
    K = d / eps ** (d + 2)
    curvatures = along(np.linspace(0, 20, 200_001))
    assert curvatures.min() == pytest.approx(-K)
    highest = along(np.array([np.sqrt(3 / (d + 1)) * eps]))[0]
    assert curvatures.max() == pytest.approx(highest, rel=1e-6)
    assert free.proven_step(d, eps) == pytest.approx(2 / (K + highest))
    assert 0 < highest < 0.45 * K


@pytest.mark.parametrize(("share", "comes_closer"), [(1.9, True), (2.1, False)])
def test_no_step_beyond_two_of_eps_to_the_d_plus_2_over_d_is_stable_for_all_data(share, comes_closer):
    d, eps, y = 1.5, 0.7, np.zeros((1, 2))
    (before, after), energies = followed(y + [[1e-3, 0]], y, d, eps, free.euler(share * eps ** (d + 2) / d), 1)
    assert (np.abs(after).max() < np.abs(before).max()) == (energies[1] < energies[0]) == comes_closer


def test_under_the_pull_alone_a_mean_shift_leads_to_the_weighted_mean():
    """One particle: nothing repels it. The step is 1 / (d S(x))."""
    rng, d, eps = np.random.default_rng(0), 2.5, 0.8
    x, y = rng.standard_normal((1, 3)), rng.standard_normal((9, 3))
    weights = (((x - y) ** 2).sum(axis=1) + eps**2) ** (-(d + 2) / 2)
    (_, after), _ = followed(x, y, d, eps, free.euler(1 / (d * weights.mean())), 1)
    np.testing.assert_allclose(after[0], weights @ y / weights.sum(), rtol=1e-12)


def test_the_natural_step_is_the_shortest_mean_shift_of_the_data():
    y, d, eps = np.random.default_rng(0).standard_normal((40, 3)), 1.5, 0.6
    S = ((((y[:, None] - y) ** 2).sum(axis=-1) + eps**2) ** (-(d + 2) / 2)).mean(axis=1)
    assert free.natural_step(y, d, eps) == pytest.approx(1 / (d * S.max()))
    together = free.natural_step(np.zeros((40, 3)), d, eps)  # where it is the shortest possible
    apart = free.natural_step(1e9 * y, d, eps)
    assert (together, apart) == (pytest.approx(eps ** (d + 2) / d), pytest.approx(40 * eps ** (d + 2) / d))


def test_the_natural_step_of_many_points_samples_all_of_them(monkeypatch):
    y = np.random.default_rng(0).standard_normal((500, 2))
    y[400:] *= 0.1  # the dense part comes last
    exact = free.natural_step(y, 2, 0.5)
    monkeypatch.setattr(free, "CURVATURE_POINTS", 50)
    assert exact <= free.natural_step(y, 2, 0.5) < 1.1 * exact


# The way


@pytest.mark.parametrize("move", [free.euler(0.2), free.momentum(0.2, beta=0)], ids=["euler", "momentum"])
def test_particles_move_down_n_times_the_gradient_of_the_energy(move):
    x, y = charges(1, 5, 7, 3, 1.0)
    (before, after), energies = followed(x, y, 1.5, 0.6, move, 1)
    np.testing.assert_allclose(after - before, -0.2 * 5 * autograd.grad(half_mmd2)(x, y, 1.5, 0.6), rtol=1e-9)
    assert energies == pytest.approx([half_mmd2(before, y, 1.5, 0.6), half_mmd2(after, y, 1.5, 0.6)], rel=1e-12)


def test_momentum_goes_on_where_euler_stops():
    x, forces = np.zeros((1, 2)), [np.ones((1, 2)), np.zeros((1, 2)), np.zeros((1, 2))]
    move, places = free.momentum(1.0, beta=0.5), []
    for t, E in enumerate(forces, 1):
        move(x, E, t)
        places.append(x[0, 0])
    assert places == [0.5, 0.75, 0.875]


def test_adam_goes_at_most_its_learning_rate_towards_the_force():
    x = np.zeros((2, 2))
    free.adam(0.3, unit=1e-5)(x, np.array([[1e-6, -1e-4], [0, 1.0]]), 1)
    np.testing.assert_allclose(x, [[0.3, -0.3], [0, 0.3]], rtol=1e-5)


def test_energies_are_those_of_coulomb():
    x, y = charges(3, 8, 9, 2, 2.0)
    places, energies = followed(x, y, 2, 1.0, free.euler(free.natural_step(y, 2, 1.0)), 5)
    np.testing.assert_allclose(energies, [energy(x, y, 2, 1.0) for x in places], rtol=1e-12)


MOVES = {
    "euler": lambda y, d, eps: free.euler(1.5 * free.natural_step(y, d, eps)),
    "momentum": lambda y, d, eps: free.momentum(1.5 * free.natural_step(y, d, eps)),
    "adam": lambda y, d, eps: free.adam(0.1 * eps, eps ** -(d + 1)),
}
each_way = pytest.mark.parametrize("way", MOVES)


@each_way
def test_a_mirrored_and_rescaled_set_up_takes_the_mirrored_and_rescaled_way(way):
    """All steps are in units of the set-up's own."""
    x, y = charges(4, 6, 9, 2, 2.0)
    d, eps = 1.5, 0.7
    for change in ([-1, 1], [10, 10]):
        scale = abs(change[0])
        places, energies = followed(x, y, d, eps, MOVES[way](y, d, eps), 10)
        changed = x * change, y * change, d, eps * scale
        other_places, other_energies = followed(*changed, MOVES[way](*changed[1:]), 10)
        np.testing.assert_allclose(other_places, np.array(places) * change, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(other_energies, np.array(energies) * scale**-d, rtol=1e-6)


def test_particles_that_are_the_data_stay():
    y = np.random.default_rng(0).standard_normal((20, 2))
    (before, after), energies = followed(y[::-1], y, 2, 0.5, free.euler(free.natural_step(y, 2, 0.5)), 1)
    np.testing.assert_allclose(after, before, atol=1e-13)
    np.testing.assert_allclose(energies, 0, atol=1e-14)


def test_particles_in_one_point_stay_together_and_a_little_apart_they_part():
    y = ring().draw(np.random.default_rng(0), 100)
    for apart in (0, 1e-6):
        x = apart * np.random.default_rng(1).standard_normal((30, 2))
        places, _ = followed(x, y, 2, 0.6, MOVES["euler"](y, 2, 0.6), 20)
        assert (np.ptp(places[-1], axis=0) > 1).all() == (apart > 0)


def from_a_point(data, eps, n, n_y, steps, way, seed):
    """Particles that begin in the mean of the data: the last ones, energies, floor."""
    rng = np.random.default_rng(seed)
    y = data.draw(rng, n_y)
    x = y.mean(axis=0) + 0.01 * eps * rng.standard_normal((n, 2))
    own = mean_self_kernel(y, 2, eps)
    moments = free.follow_field(x, y, own, 2, eps, MOVES[way](y, 2, eps))
    found = free.record(moments, steps, ())
    return found.snapshots[steps], found.energies, free.floor_energy(own, n, n_y, 2, eps)


@pytest.mark.parametrize(
    ("steps", "seeds"), [(100, [0]), pytest.param(600, range(3), marks=pytest.mark.slow)], ids=["100", "600"]
)
def test_from_one_point_to_all_25_modes(steps, seeds):
    """The floor within 40 steps, and no step that raises the energy."""
    for seed in seeds:
        x, energies, floor = from_a_point(grid(), 3.0, 500, 1000, steps, "euler", seed)
        assert free.rises(energies, 2, 3.0) == 0
        assert energies[0] > 100 * floor > 100 * energies[40]
        metrics = mixture_metrics(x, grid().modes, 1.0)
        assert (metrics["modes"], metrics["modes20"]) == (25, 25)
        assert metrics["high_quality"] > (0.9 if steps == 600 else 0.75)


@pytest.mark.parametrize(("way", "within"), [("euler", 20), ("momentum", 30), ("adam", 200)])
def test_each_way_leads_from_one_point_to_the_floor(way, within):
    x, energies, floor = from_a_point(ring(), 0.6, 200, 300, within, way, 0)
    assert energies[-1] < floor < energies[0] / 100
    assert mixture_metrics(x, ring().modes, 0.2)["modes20"] == 8


# The floor, rises, the record


def test_the_floor_is_the_mean_energy_of_fresh_real_points():
    rng, n, n_y = np.random.default_rng(0), 12, 20
    found, floors = [], []
    for _ in range(400):
        x, y = ring().draw(rng, n), ring().draw(rng, n_y)
        found.append(energy(x, y, 2, 0.6))
        floors.append(free.floor_energy(mean_self_kernel(y, 2, 0.6), n, n_y, 2, 0.6))
    error = np.std(np.array(found) - floors) / np.sqrt(len(found))
    assert error < 0.05 * np.mean(floors)
    assert np.mean(found) == pytest.approx(np.mean(floors), abs=4 * error)


def test_the_floor_leaves_self_terms_out():
    """Which no two independent points have: exact, where the mean above is of 400 draws."""
    y, d, eps, n = np.random.default_rng(0).standard_normal((5, 2)), 1.5, 0.7, 3
    k = (((y[:, None] - y) ** 2).sum(axis=-1) + eps**2) ** (-d / 2)
    others = k[~np.eye(5, dtype=bool)].mean()
    assert free.floor_energy(k.mean(), n, 5, d, eps) == pytest.approx((1 / n + 1 / 5) / 2 * (eps**-d - others))


def test_rounding_is_no_rise():
    """The same particles in another order, and energies that differ by what they then do."""
    rng = np.random.default_rng(0)
    y = grid().draw(rng, 3000)
    x = y + 1e-3 * rng.standard_normal(y.shape)
    energies = []
    for _ in range(4):
        _, (F,) = followed(rng.permutation(x), rng.permutation(y), 2, 3.0, free.euler(0), 0)
        energies.append(F)
    assert len(set(energies)) > 1
    assert free.rises(np.array(energies + energies[::-1]), 2, 3.0) == 0
    assert free.rises(np.array([1.0, 0.5, 0.5 + 1e-9, 0.4, 0.6]), 2, 3.0) == 2


def moments(energies):
    return (free.Moment(t, np.full((3, 2), t), np.float64(F)) for t, F in enumerate(energies))


def test_a_record_holds_every_energy_and_the_requested_snapshots():
    calls = []
    found = free.record(moments(range(100)), 30, {0, 7}, lambda *progress: calls.append(progress))
    np.testing.assert_array_equal(found.energies, range(31))
    assert {t: x[0, 0] for t, x in found.snapshots.items()} == {0: 0, 7: 7, 30: 30}
    assert calls[-1] == (30, 30)


def test_snapshots_stay_what_they_were():
    """Particles move in place."""
    x, y = charges(5, 4, 6, 2, 1.0)
    start = x.copy()
    moments = free.follow_field(x, y, mean_self_kernel(y, 2, 1.0), 2, 1.0, free.euler(0.3))
    found = free.record(moments, 3, {0})
    np.testing.assert_array_equal(found.snapshots[0], start)
    assert (found.snapshots[3] != start).any()


def test_a_record_keeps_only_the_images_that_it_shows():
    found = free.record(moments(range(9)), 5, {0, 2}, first=1)
    assert {t: len(x) for t, x in found.snapshots.items()} == {0: 1, 2: 1, 5: 3}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_energy_that_is_not_finite_raises_an_error_with_its_step(value):
    with pytest.raises(UserError, match=rf"energy {value} at step 5: must be finite; use a smaller --step-size"):
        free.record(moments([1.0] * 5 + [value] * 6), 10, {0, 2})


@pytest.mark.parametrize("steps", [1, 2, 5, 600, 10**6])
def test_pictures_are_close_at_first_and_end_with_the_last_step(steps):
    at = free.pace(steps, 48)
    assert (at[0], at[1], at[-1]) == (0, 1, steps)
    gaps = np.diff(at)
    assert gaps[0] == 1
    assert (np.diff(gaps) >= -1).all()  # ever farther apart, but for rounding
    assert gaps[-1] >= 0.1 * steps or steps < 10
    assert min(steps + 1, 30) <= len(at) <= 48


ONE_STEP = """
import re
import numpy as np
from minicoulomb import particles
rng = np.random.default_rng(0)
x, y = rng.standard_normal((10_000, 2)), rng.standard_normal((100_000, 2))
moments = particles.follow_field(x, y, 0.0, 2, 0.1, particles.euler(1e-4))
next(moments), next(moments)
print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc has the peak of memory; getrusage's starts at the parent's")
def test_ten_thousand_particles_against_a_hundred_thousand_points_stay_below_200_megabytes():
    child = subprocess.run([sys.executable, "-c", ONE_STEP], capture_output=True, text=True, check=True)
    assert int(child.stdout) * 1024 < 2e8


# The curve


def orange(picture):
    """Columns and rows of the pixels in the colour of generated points."""
    rows, columns = np.nonzero((np.asarray(picture) == VERMILION).all(axis=-1))
    return columns, rows


def test_the_curve_grows_to_the_right_and_falls_with_the_energy():
    picture, energies = Image.new("RGB", (800, 100), "white"), 10.0 ** -np.arange(5)
    ends = []
    for until in range(5):
        page = with_curve(picture, energies, 1e-3, until)
        assert page.size == (800, 100 + 240)
        columns, rows = orange(page)
        assert rows.min() > 100
        last = columns.argmax()
        ends.append((columns[last], rows[last]))
    across, down = np.diff(ends, axis=0).T
    assert (across > 0).all()
    assert (across[1:] < across[:-1]).all()  # log(1 + t)
    assert (np.abs(down - 170 / 4) <= 4).all()  # a power of ten each, to the width of the dot


@pytest.mark.parametrize("energies", [[1.0, 0.0, -1e-18], [0.0], [2.0], [3.0, 3.0], [1e300, 1e-300]])
def test_the_curve_shows_any_energy(energies):
    energies = np.array(energies)
    columns, _ = orange(with_curve(Image.new("RGB", (600, 10)), energies, 1e-4, len(energies) - 1))
    assert len(columns)


# The command


def test_the_command_writes_animation_and_energies_and_prints_a_table(tmp_path):
    output = run(
        "particles", "-n", 20, "--points", 30, "--steps", 9, *("-o", tmp_path / "a.gif", "--energies", tmp_path / "e")
    )
    with Image.open(tmp_path / "a.gif") as animation:
        assert animation.n_frames == 10
        assert (animation.info["duration"], animation.info["loop"]) == (7 * 150, 0)  # the start is held
    lines = [json.loads(line) for line in (tmp_path / "e").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(10))
    table = {line[:20].strip(): line[20:] for line in output.splitlines() if line.startswith("  ")}
    assert float(table["energy, first"]) == pytest.approx(lines[0]["energy"], rel=1e-5)
    assert float(table["energy, last"]) == pytest.approx(lines[9]["energy"], rel=1e-5)
    assert lines[9]["energy"] < lines[0]["energy"] / 5  # they have left their point
    assert {"floor", "reached at step", "steps that rose", "modes", "high_quality"} <= set(table)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "e"]


def test_data_are_digits_or_arrays_of_points_or_images(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "line.npy", rng.standard_normal((30, 1)))
    np.save(tmp_path / "space.npy", rng.standard_normal((30, 3)).astype(np.float32))
    np.save(tmp_path / "colours.npy", rng.integers(0, 256, (8, 8, 8, 3)).astype(np.uint8))
    for data, told in (
        ("line", "30 real points"),
        ("space", "30 real points"),
        ("colours", "8 real points, d 1, eps 1"),
    ):
        picture = tmp_path / f"{data}.png"
        assert told in run("particles", tmp_path / f"{data}.npy", "-n", 9, "--steps", 2, "-o", picture)
        with Image.open(picture) as image:
            assert image.format == "PNG"
    output = run("particles", "digits", "-n", 9, "--points", 100, "--steps", 2, "--start", "sample")
    assert "classes" in output


def test_the_command_says_what_is_proven_of_its_step():
    small = ["particles", "ring", "-n", 5, "--points", 9, "--steps", 2]
    assert "F provably falls in every step" in run(*small, "--step-size", 0.001)
    assert "F provably falls in every step below 0.1037 (--step-size 0." in run(*small, "--step-size", 0.9)
    assert "unlikely to fall beyond 2" in run(*small, "--step-size", 2.1)
    for optimizer in ("momentum", "adam"):
        assert "F may rise" in run(*small, "--optimizer", optimizer)


def test_the_help_claims_no_theorem_in_the_plane():
    """Theorem 1 needs d <= m - 2, which no d > 0 satisfies for points of two numbers."""
    text = " ".join(run("particles", "--help").split())
    assert "Below a proven step size the energy falls in every step" in text
    assert "is no theorem in the plane" in text
    assert "As in Theorem 1" not in text


def test_the_seed_and_the_start_are_all_that_chance_depends_on():
    small = ["particles", "-n", 5, "--points", 9, "--steps", 2]
    outputs = [run(*small, *more) for more in ([], [], ["--seed", 1], ["--start", "sample"], ["--start", "normal"])]
    assert outputs[0] == outputs[1]
    assert len(set(outputs)) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["digits", "--points", 1798], "points 1798: digits has 1797 samples; use --points 1797 or less"),
        (["nowhere"], "data 'nowhere': must be grid, ring, digits"),
        (["-o", "a.jpg"], "a.jpg: not an animation or a picture; use a.gif or a.png"),
        (["-o", "nowhere/a.gif"], "(the folder nowhere does not exist); create it"),
        (["--energies", "nowhere/e"], "(the folder nowhere does not exist); create it"),
        (["--step-size", 1e200, "-o", "a.gif"], "must be finite; use a smaller --step-size"),
        (["--eps", 0], "eps 0.0: must be finite and above 0"),
    ],
)
def test_mistakes_end_in_one_line_and_leave_no_file(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    assert message in run("particles", *options, "-n", 5, "--steps", 3, status=1)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_command_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(free, "record", interrupted)
    run("particles", "-n", 5, "-o", tmp_path / "a.gif", "--energies", tmp_path / "e", status=130)
    assert not list(tmp_path.iterdir())
