"""What is measured of which data: the squared MMD with its floor, and nearest training samples."""

import numpy as np
import pytest

from minicoulomb.config import Config
from minicoulomb.coulomb import mmd2
from minicoulomb.data.dataset import ArrayDataset, decode
from minicoulomb.data.digits import digits
from minicoulomb.data.mixtures import ring
from minicoulomb.errors import UserError
from minicoulomb.evaluation import evaluate
from minicoulomb.evaluation.evaluate import distance, measure, measured, nearest_ratio, nearest_training, parts_of
from minicoulomb.models import SampleSpace
from minicoulomb.training import checkpoint as checkpoints
from minicoulomb.training.sampling import samples


@pytest.fixture
def photos():
    array = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 3), dtype=np.uint8)
    return ArrayDataset("photos", array, hold_out_every=5)


@pytest.mark.parametrize("numbers", [1, 48 * 7, 2**22])
def test_neighbours_are_the_nearest_of_the_training_samples_alone(photos, monkeypatch, numbers):
    monkeypatch.setattr(evaluate, "NEIGHBOUR_NUMBERS", numbers)
    x = np.random.default_rng(1).uniform(-1, 1, (6, 4, 4, 3)).astype(np.float32)
    images, distances = nearest_training(x, photos, 3)
    training = np.concatenate(list(photos.train_blocks(100)))
    offsets = x[:, None].astype(np.float64) - decode(training, np.dtype(np.float64))
    every = np.sqrt((offsets**2).sum(axis=(2, 3, 4)))
    order = every.argsort(axis=1)[:, :3]
    np.testing.assert_array_equal(images, training[order])
    np.testing.assert_allclose(distances, np.take_along_axis(every, order, axis=1))


def test_a_copy_of_a_training_sample_is_its_own_nearest_one_at_distance_0(photos):
    copies = decode(photos.array[photos.train_index(np.array([3, 17]))], np.dtype(np.float64))
    images, distances = nearest_training(copies, photos, 2)
    np.testing.assert_array_equal(decode(images[:, 0], np.dtype(np.float64)), copies)
    assert (distances[:, 0] == 0).all()
    assert (distances[:, 1] > 1).all()


def test_more_neighbours_than_training_samples_are_refused(photos):
    with pytest.raises(UserError, match="neighbours 41: photos has 40 training samples"):
        nearest_training(np.zeros((2, 4, 4, 3)), photos, 41)
    with pytest.raises(
        UserError, match=r"photos: has shape \(4, 4, 3\), the run's samples have \(8, 8, 1\); use data of that shape"
    ):
        nearest_training(np.zeros((2, 8, 8, 1)), photos, 1)


def test_held_out_samples_that_training_has_too_do_not_count(photos):
    """Data with each image twice: a ratio to the median of their distances, 0, was infinite."""
    x = np.random.default_rng(1).uniform(-1, 1, (6, 4, 4, 3)).astype(np.float32)
    alone = nearest_ratio(x, photos)
    array = np.array(photos.array)
    array[photos.held_out_index(np.arange(4))] = array[photos.train_index(np.arange(4))]
    assert 0.5 < nearest_ratio(x, ArrayDataset("photos", array, hold_out_every=5)) / alone < 2
    array[photos.held_out_index(np.arange(10))] = array[photos.train_index(np.arange(10))]
    assert nearest_ratio(x, ArrayDataset("photos", array, hold_out_every=5)) is None


# The squared MMD and its floor


@pytest.fixture
def cloud():
    array = np.random.default_rng(0).standard_normal((3000, 2))
    return ArrayDataset("cloud", array, hold_out_every=3)


@pytest.mark.parametrize("data", ["ring", "cloud"])
@pytest.mark.parametrize("relative", [False, True])
def test_the_floor_is_the_mean_over_draws_of_as_many_real_samples(cloud, data, relative):
    """That of a single draw is off by a quarter, so that a run could look better or worse than it is by chance."""
    dataset, n, m = (ring(), 400, 400) if data == "ring" else (cloud, 400, 400)
    config = Config.of(d=1.5, eps=0.6, eps_end=0.4, relative_potential=relative)
    x, rng = np.zeros((n, 2)), np.random.default_rng(1)
    unit = 0.4**1.5 if relative else 1
    draw = lambda: dataset.draw(rng, n) if data == "ring" else rng.standard_normal((m, 2))
    single = [unit * mmd2(draw(), draw(), 1.5, 0.4) for _ in range(200)]
    floors = [distance(x, dataset, config.replace(seed=seed))["mmd2_floor"] for seed in range(5)]
    error = np.std(single) / np.sqrt(len(single))
    assert np.median(floors) == pytest.approx(np.mean(single), abs=4 * error)
    assert np.ptp(floors) < 0.05 * np.mean(floors) < 0.5 * np.ptp(single)


def test_the_floor_of_different_numbers_of_samples_is_the_closed_form_of_all_pairs(cloud):
    """60 training and 30 held-out samples, and 40 generated."""
    few = ArrayDataset("few", cloud.array[:90], hold_out_every=3)
    y = few.rows(few.train_index(np.arange(60)))
    k = (((y[:, None] - y) ** 2).sum(axis=2) + 0.25) ** -0.75
    others = (k.sum() - np.trace(k)) / (60 * 59)
    found = distance(np.zeros((40, 2)), few, Config.of(d=1.5, eps=0.5))
    assert found["mmd2_floor"] == pytest.approx((1 / 40 + 1 / 30) * (0.5**-1.5 - others))
    assert found["reference_samples"] == 30


def test_the_distance_is_that_of_samples_and_those_kept_out_of_training(cloud):
    config = Config.of(d=2.0, eps=1.0)
    held_out = cloud.rows(cloud.held_out_index(np.arange(1000)))
    found = distance(held_out, cloud, config)
    assert found["mmd2"] == pytest.approx(0, abs=1e-12)
    assert distance(held_out + 1, cloud, config)["mmd2"] == pytest.approx(mmd2(held_out + 1, held_out, 2.0, 1.0))
    assert distance(held_out, cloud.holding_out(0), config) == {}
    assert 0 < distance(held_out, ArrayDataset("few", cloud.array[:4], hold_out_every=2), config)["mmd2_floor"] < 2


@pytest.mark.parametrize(
    ("shape", "n"), [((2,), 2500), ((8, 8, 1), 2500), ((512,), 2500), ((32, 32, 3), 416), ((64, 64, 3), 104)]
)
def test_fewer_samples_of_more_numbers_are_measured(shape, n):
    assert measured(shape) == n
    assert measured((256, 256, 3)) == 64  # a picture's


@pytest.mark.parametrize("objective", ["coulomb", "gan", "field"])
def test_a_baseline_has_no_regression(objective):
    config = Config.of(data="ring", objective=objective, g_width=8, d_width=8)
    checkpoint = checkpoints.initial(config, SampleSpace.of(ring()))
    x = samples(checkpoint.G, checkpoint.state, 50, 0)
    found = measure(checkpoint, ring(), x)
    assert {"samples", "modes20", "mmd2", "mmd2_floor"} <= set(found)
    assert ("d_correlation" in found) == (objective == "coulomb")


def test_a_search_for_neighbours_that_takes_long_is_left_to_the_command(photos, monkeypatch):
    config = Config.of(data="photos", objective="field", g_width=4, d_width=4)
    checkpoint = checkpoints.initial(config, SampleSpace((4, 4, 3), 1.0, 1.0))
    x = np.random.default_rng(0).uniform(-1, 1, (20, 4, 4, 3))
    assert "nearest_ratio" in measure(checkpoint, photos, x)
    monkeypatch.setattr(evaluate, "SEARCHED", 40 * 48 - 1)
    assert "nearest_ratio" not in measure(checkpoint, photos, x)
    assert "nearest_ratio" in measure(checkpoint, photos, x, search=True)


def test_data_have_so_many_modes_or_classes(photos):
    assert [parts_of(dataset) for dataset in (ring(), digits(), photos)] == [8, 10, None]
