"""Nearest training samples, compared with all distances in memory."""

import numpy as np
import pytest

from minicoulomb.data.dataset import ArrayDataset, decode
from minicoulomb.errors import UserError
from minicoulomb.evaluation import evaluate
from minicoulomb.evaluation.evaluate import nearest_ratio, nearest_training


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
