import numpy as np
import pytest

from minicoulomb.data.mixtures import grid, ring
from minicoulomb.errors import UserError
from minicoulomb.evaluation.metrics import (
    class_metrics,
    distance_ratio,
    frechet_distance,
    k_nearest,
    mixture_metrics,
    nearest_neighbours,
)


def test_real_samples_of_the_grid_score_as_real_ones_do():
    mixture = grid()
    result = mixture_metrics(mixture.draw(np.random.default_rng(0), 20000), mixture.modes, mixture.sigma)
    assert (result["modes"], result["modes20"]) == (25, 25)
    assert result["high_quality"] == pytest.approx(1 - np.exp(-4.5), abs=0.003)  # P(r <= 3) of a 2-D Gaussian
    assert result["spread"] == pytest.approx(np.sqrt(2 * np.log(2)), abs=0.02)
    assert result["reverse_kl"] < 0.003
    assert result["forward_kl"] < 0.003


def test_samples_on_half_of_the_modes_show_in_every_metric():
    modes = ring().modes
    result = mixture_metrics(np.repeat(modes[:4], 100, axis=0), modes, 0.2)
    assert (result["modes"], result["modes20"], result["high_quality"], result["spread"]) == (4, 4, 1.0, 0.0)
    assert result["reverse_kl"] == pytest.approx(np.log(2))
    assert result["forward_kl"] == pytest.approx(0.5 * np.log(402 / 800) + 0.5 * np.log(402 / 4))  # 4 of 8 are empty


def test_modes20_counts_modes_with_a_fifth_of_their_share():
    modes = ring().modes
    counts = [200, 200, 200, 200, 200, 200, 25, 24]  # a fair share is 131.1, a fifth of it 26.2
    samples = np.repeat(modes, counts, axis=0)
    assert mixture_metrics(samples, modes, 0.2)["modes"] == 8
    assert mixture_metrics(samples, modes, 0.2)["modes20"] == 6


def test_nearest_neighbours_agree_with_all_distances():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((300, 2, 3)) + 100, rng.standard_normal((50, 2, 3)) + 100
    distances = np.sqrt(((a[:, None] - b) ** 2).sum(axis=(2, 3)))
    index, distance = nearest_neighbours(a, b)
    assert (index == distances.argmin(axis=1)).all()
    assert np.allclose(distance, distances.min(axis=1), rtol=1e-12)


def test_the_frechet_distance_of_gaussians_has_its_closed_form():
    rng = np.random.default_rng(0)
    whitened = rng.standard_normal((500, 4))
    whitened -= whitened.mean(axis=0)
    whitened = whitened @ np.linalg.inv(np.linalg.cholesky(np.cov(whitened, rowvar=False))).T
    a, b = whitened * [1, 2, 3, 4] + 1, whitened * [2, 2, 1, 5]  # diagonal: |mu|^2 + sum (s_1 - s_2)^2
    assert frechet_distance(a, b) == pytest.approx(4 + 1 + 0 + 4 + 1, rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_class_shares_come_from_the_nearest_image():
    images, labels = np.arange(4.0)[:, None], np.array([0, 0, 1, 2])
    result = class_metrics(np.array([[0.1], [0.9], [2.1], [2.2]]), images, labels)
    assert result == {"classes": 2, "entropy": pytest.approx(np.log(2))}


@pytest.mark.parametrize("sizes", [[9], [1] * 9, [2, 5, 2]])
def test_the_k_nearest_rows_do_not_depend_on_the_blocks(sizes):
    rows = np.array([5.0, 1, 1, 4, 0, 1, 7, 7, -2])[:, None]
    blocks = np.split(rows, np.cumsum(sizes)[:-1])
    nearest = k_nearest(np.array([[1.0], [6.9], [-9]]), blocks, 4)
    assert nearest.tolist() == [[1, 2, 5, 4], [6, 7, 0, 3], [8, 4, 1, 2]]


@pytest.mark.parametrize("n", [1, 2, 7, 25, 100])
def test_neither_divergence_is_negative_for_few_samples(n):
    mixture = grid()
    for seed in range(20):
        result = mixture_metrics(mixture.draw(np.random.default_rng(seed), n), mixture.modes, mixture.sigma)
        assert result["forward_kl"] >= 0
        assert result["reverse_kl"] >= 0
    even = mixture_metrics(mixture.modes, mixture.modes, mixture.sigma)
    assert (even["forward_kl"], even["reverse_kl"]) == (0, 0)


def test_duplicates_among_held_out_samples_do_not_count():
    assert distance_ratio(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 0.0, 4.0])) == 0.5
    assert distance_ratio(np.array([0.0, 0.0, 3.0]), np.array([1.0])) == 0
    assert distance_ratio(np.ones(3), np.zeros(4)) is None


def test_the_frechet_distance_of_one_sample_or_of_other_dimensions_is_refused():
    rows = np.random.default_rng(0).standard_normal((5, 3))
    for pair in ((rows[:1], rows), (rows, rows[:1])):
        with pytest.raises(UserError, match="1 samples: a covariance needs at least 2 of each; use more"):
            frechet_distance(*pair)
    with pytest.raises(UserError, match="samples of 2 and 3 numbers: must be of one shape"):
        frechet_distance(rows[:, :2], rows)
    assert frechet_distance(rows, rows) >= 0


def test_far_from_the_origin_the_nearest_rows_are_the_same():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((6, 2)), rng.standard_normal((50, 2))
    far = np.array([1e8, -3e8])
    np.testing.assert_array_equal(k_nearest(a + far, [b + far], 3), k_nearest(a, [b], 3))


SAMPLES = np.round(np.random.default_rng(0).uniform(0, 9, (8, 2)))
MEASURES = {
    "mixture": lambda x: [*mixture_metrics(x, ring().modes, 0.2).values()],
    "nearest": lambda x: nearest_neighbours(x, ring().modes),
    "k nearest": lambda x: k_nearest(x, [ring().modes], 3),
    "classes": lambda x: [*class_metrics(x, ring().modes, np.arange(8)).values()],
    "frechet": lambda x: frechet_distance(x, ring().modes),
}


@pytest.mark.parametrize("name", MEASURES)
def test_a_metric_is_right_for_odd_arrays_and_refuses_what_it_cannot_measure(name):
    expected = MEASURES[name](SAMPLES)
    for odd in (
        *(np.asfortranarray(SAMPLES), SAMPLES[::-1].copy()[::-1], np.repeat(SAMPLES, 2, axis=1)[:, ::2]),
        *(SAMPLES.astype(dtype) for dtype in (">f8", np.float16, np.float32, np.uint8, np.int64)),
    ):
        before = odd.copy()
        np.testing.assert_allclose(MEASURES[name](odd), expected, rtol=1e-12)
        np.testing.assert_array_equal(odd, before)
    nan = SAMPLES.copy()
    nan[3] = np.nan
    for bad in (
        *(SAMPLES.tolist(), SAMPLES[:0], SAMPLES + 0j, SAMPLES[0, 0], np.array(1.0), nan, nan + np.inf, None, "x"),
        *(np.ma.array(SAMPLES, mask=SAMPLES > 5), SAMPLES.astype(object), SAMPLES[:, :1], SAMPLES.astype(str)),
    ):
        with pytest.raises(UserError, match=r".: .+; ."):
            MEASURES[name](bad)
