import numpy as np
import pytest

from minicoulomb.arrays.rng import USES, rng_for
from minicoulomb.config import Config
from minicoulomb.data.dataset import ArrayDataset, decode
from minicoulomb.data.digits import digits
from minicoulomb.data.mixtures import grid, ring
from minicoulomb.data.sources import open_dataset
from minicoulomb.errors import UserError
from minicoulomb.models import SampleSpace


@pytest.mark.parametrize(("mixture", "n_modes", "sigma"), [(grid(), 25, 1.0), (ring(), 8, 0.2)])
def test_mixtures_have_their_modes_spread_and_scale(mixture, n_modes, sigma):
    points = mixture.draw(np.random.default_rng(0), 50_000)
    offsets = points[:, None] - mixture.modes
    nearest = offsets[np.arange(len(points)), (offsets**2).sum(axis=2).argmin(axis=1)]
    assert mixture.modes.shape == (n_modes, 2)
    assert nearest.std() == pytest.approx(sigma, rel=0.02)
    assert points.std() == pytest.approx(mixture.scale, rel=0.02)
    assert np.abs(points).max() < mixture.bound


def test_the_grid_reaches_from_minus_21_to_21_and_the_ring_has_radius_2():
    assert (grid().modes.min(), grid().modes.max()) == (-21, 21)
    assert np.allclose(np.linalg.norm(ring().modes, axis=1), 2)


def test_the_digits_are_whole():
    data = digits()
    assert data.array.shape == (1797, 8, 8, 1)
    assert data.array.dtype == np.float32
    assert (data.array.min(), data.array.max()) == (-1, 1)
    assert np.bincount(data.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.mark.parametrize(("n", "every"), [(40, 10), (45, 10), (7, 3), (100, 0), (5, 10)])
def test_training_and_held_out_samples_part_the_data(n, every):
    data = ArrayDataset("data", np.arange(n)[:, None].astype(float), hold_out_every=every)
    train = np.concatenate(list(data.train_blocks(4)))[:, 0]
    held_out = data.array[data.held_out_index(np.arange(data.n_held_out))][:, 0]
    assert sorted([*train, *held_out]) == list(range(n))
    assert len(train) == data.n_train
    if every and n >= 2 * every:
        assert (held_out % every == every - 1).all()
    else:
        assert len(held_out) == 0


def test_what_is_held_out_is_never_drawn():
    data = ArrayDataset("data", np.arange(50)[:, None].astype(float), hold_out_every=5)
    drawn = data.draw(np.random.default_rng(0), 5000)[:, 0]
    assert set(drawn) == set(range(50)) - set(range(4, 50, 5))
    assert set(data.draw(np.random.default_rng(0), 500, held_out=True)[:, 0]) == set(range(4, 50, 5))


def test_a_part_of_a_draw_has_its_samples_and_reads_no_others():
    data, read = ArrayDataset("data", np.arange(100.0).reshape(50, 2), hold_out_every=5), []
    data.check = lambda rows, index: read.append(len(index))
    for source, held_out in ((data, False), (data, True), (ring(), False)):
        whole = source.draw(np.random.default_rng(0), 9, held_out)
        part = source.draw(np.random.default_rng(0), 9, held_out, part=slice(3, 7))
        assert np.array_equal(part, whole[3:7])
    assert read == [9, 4, 9, 4]


def test_one_sample_is_too_few():
    with pytest.raises(UserError, match=r"data: too few samples \(1\): training needs at least 2; add data"):
        ArrayDataset("data", np.zeros((1, 2)))


def test_bytes_become_numbers_from_minus_one_to_one():
    assert decode(np.array([0, 255], np.uint8), np.dtype(np.float32)).tolist() == [-1, 1]
    floats = np.array([0.25], np.float64)
    assert decode(floats, np.dtype(np.float32)).tolist() == [0.25]


def test_a_stream_is_a_function_of_seed_name_and_step():
    draws = {
        (seed, name, step): rng_for(seed, name, step).standard_normal()
        for seed in (0, 1)
        for name in USES
        for step in (0, 1, 10**6)
    }
    assert len(set(draws.values())) == len(draws)
    assert draws[0, "latent", 1] == rng_for(0, "latent", 1).standard_normal()


def test_streams_keep_their_draws_from_version_to_version():
    assert rng_for(0, "real", 0).integers(0, 1000, 5).tolist() == [522, 889, 992, 557, 302]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"data": "digits", "size": 64}, r"size 64: .*\(8, 8, 1\)"),
        ({"data": "digits", "channels": 3}, r"channels 3: .*\(8, 8, 1\)"),
        ({"data": "grid", "size": 64}, "points"),
        ({"data": "digits", "crop": 8}, "crop"),
        ({"data": "/nowhere"}, "/nowhere"),
    ],
)
def test_data_that_are_not_as_configured_are_refused(settings, said, tmp_path):
    with pytest.raises(UserError, match=said):
        open_dataset(Config.of(**settings), tmp_path)


def test_data_in_the_space_of_a_run_are_drawn_less_its_location():
    space = SampleSpace((2,), location=(100.0, -3.0))
    points = ArrayDataset("points", np.arange(80.0).reshape(40, 2), location=(5.0, 6.0))
    for data in (points, ring()):
        moved, origin = data.in_space(space), data.in_space(SampleSpace((2,)))
        drawn, expected = (d.draw(np.random.default_rng(0), 9) for d in (moved, origin))
        np.testing.assert_allclose(drawn + space.location, expected)
        np.testing.assert_allclose(moved.in_space(space).draw(np.random.default_rng(0), 9), drawn)
    np.testing.assert_allclose(ring().in_space(space).modes + space.location, ring().modes, atol=1e-12)
    with pytest.raises(UserError, match=r"data ring: has shape \(2,\), the run's samples have \(3,\)"):
        ring().in_space(SampleSpace((3,)))
