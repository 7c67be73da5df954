"""The birthday test on generators whose support is known, and its threshold on data whose neighbours are known."""

import json

import numpy as np
import pytest
from cli_cases import SMALL, run
from PIL import Image

from minicoulomb.data.dataset import ArrayDataset
from minicoulomb.errors import UserError
from minicoulomb.evaluation import duplicates as birthdays
from minicoulomb.evaluation.duplicates import batch_size, birthday, duplicates, in_words, near, support


def drawn_from(originals, batches, rng, noise=0.0, n=256):
    """Batches of samples, each one of the originals with a little noise."""
    for _ in range(batches):
        x = originals[rng.integers(0, len(originals), n)]
        yield x + noise * rng.standard_normal(x.shape)


@pytest.mark.parametrize("size", [50, 2000, 100_000])
def test_a_known_support_is_found_within_its_spread(size):
    """The interval is one of 95%: it holds the truth in nearly all of 12 draws, and not wide where it need not be."""
    rng = np.random.default_rng(0)
    originals = 10 * rng.standard_normal((size, 12))
    held, estimates = 0, []
    for _ in range(12):
        estimate, low, high = support(birthday(drawn_from(originals, 8, rng, 0.01), 0.5))
        held += low <= size <= high
        estimates.append(1 / estimate)
    assert held >= 10
    pairs = 12 * 8 * 256 * 255 / 2
    assert np.mean(estimates) * size == pytest.approx(1, abs=4 * (size / pairs) ** 0.5 + 0.05)
    if size <= 2000:
        assert high < 2 * low


def test_an_infinite_support_has_no_duplicates_but_a_lower_bound():
    rng = np.random.default_rng(0)
    found = birthday((rng.standard_normal((256, 12)) for _ in range(8)), 0.01)
    assert sum(found.counts) == 0
    estimate, low, high = support(found)
    assert estimate == high == np.inf
    assert low == pytest.approx(found.pairs / 3.67, rel=0.01)  # of the mean of a Poisson number that is 0, with 97.5%


def test_one_sample_that_comes_often_widens_the_interval():
    """A tenth of all samples are one: near-duplicates in a batch scatter more than a Poisson number."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(40):
        common = (np.where(rng.random((64, 1)) < 0.1, 0.0, rng.standard_normal((64, 12))) for _ in range(10))
        _, low, high = support(birthday(common, 1e-3))
        held += low <= 100 <= high
    assert held >= 34


def test_the_shares_are_those_of_batches_with_near_duplicates():
    """Of 64: 0 and 3 are in the first batch of 16, 16 and 18 in the second, 17 and 40 in that of 64 alone."""
    x = np.arange(64.0)[:, None] * np.ones((1, 3))
    x[3], x[18], x[40] = x[0] + 0.1, x[16] + 0.2, x[17]
    found = birthday([x, np.arange(32.0)[:, None]], 0.5)
    assert found.shares == {16: 2 / 6, 32: 1 / 3, 64: 1.0}
    assert (found.counts, found.pairs) == ([3, 0], 64 * 63 // 2 + 32 * 31 // 2)
    assert [distance for distance, _, _ in found.closest[:2]] == [0.0, pytest.approx(0.1 * 3**0.5)]
    np.testing.assert_array_equal(found.closest[0][1], x[17])
    assert len(found.closest) == birthdays.PAIRS


def test_a_near_duplicate_is_as_near_as_few_held_out_samples_are_to_training():
    rng = np.random.default_rng(0)
    array = rng.standard_normal((400, 5))
    data = ArrayDataset("cloud", array, hold_out_every=4)
    held_out, training = array[3::4], np.delete(array, np.s_[3::4], axis=0)
    nearest = np.linalg.norm(held_out[:, None] - training, axis=2).min(axis=1)
    assert near(data) == (pytest.approx(np.quantile(nearest, 0.05)), 100, 300)
    array[3] = array[0]  # a copy of a training sample says nothing
    assert near(data)[0] == pytest.approx(np.quantile(nearest[1:], 0.05))


def test_few_of_many_samples_are_searched_and_they_are_spread_over_the_data(monkeypatch):
    """In a folder for each class the first samples are of one class."""
    array = np.repeat(np.arange(10.0), 100)[:, None] + np.linspace(0, 0.01, 1000)[:, None]
    monkeypatch.setattr(birthdays, "SEARCHED", 50)
    monkeypatch.setattr(birthdays, "HELD_OUT", 20)
    distance, *numbers = near(ArrayDataset("classes", array, hold_out_every=5))
    assert numbers == [20, 50]
    assert distance < 0.1


@pytest.mark.parametrize(
    ("array", "said"), [(np.zeros((100, 2)), "are copies of others"), (np.arange(8.0)[:, None], "8 samples do not say")]
)
def test_data_that_do_not_say_what_is_near_are_refused(array, said):
    x = iter([np.zeros((64, array.shape[1]))])
    with pytest.raises(UserError, match=said):
        duplicates(x, ArrayDataset("odd", array, hold_out_every=0), 64)


def test_lines_of_text_are_refused(tmp_path):
    (tmp_path / "book.txt").write_text("a line of text\n" * 50)
    small = ["--g-width", 2, "--d-width", 2, "--g-depth", 1, "--d-depth", 1, "--batch-size", 8]
    run("train", "--data", tmp_path / "book.txt", "--steps", 1, *small, "--out", tmp_path)
    (path,) = tmp_path.glob("0*")
    assert "holds lines of text" in run("evaluate", path, "--metric", "duplicates", status=1)


@pytest.mark.parametrize("held_out", [10, 0])
def test_new_real_samples_have_the_support_of_real_samples(held_out):
    """Points in the plane: 2,048 fresh ones beside those of training, whether or not training has all."""
    rng = np.random.default_rng(0)
    data = ArrayDataset("cloud", rng.standard_normal((3000, 2)), hold_out_every=held_out)
    found, _ = duplicates((rng.standard_normal((64, 2)) for _ in range(32)), data, 2048)
    assert found["support_low"] < found["real_support"] < found["support_high"]
    assert found["real_support"] == pytest.approx(found["training_samples"] / 0.05, rel=0.5)
    assert found["samples"] == 2048


def test_samples_of_a_diverged_generator_are_no_different_samples():
    with pytest.raises(UserError, match="must be finite"):
        birthday([np.full((64, 2), np.nan)], 0.5)


def test_batches_of_large_images_are_smaller():
    assert [batch_size(shape) for shape in ((2,), (64, 64, 3), (256, 256, 3), (4096, 4096, 3))] == [1024, 1024, 320, 64]


def test_the_command_finds_one_sample_of_a_collapsed_generator_and_draws_the_closest_pairs(tmp_path):
    """Latent vectors of one number, of which the first layer's units die: G is constant."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", rng.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8))
    run("train", "--data", tmp_path / "images.npy", "--steps", 2, "--g-width", 1, "--d-width", 1, "--out", tmp_path)
    path = tmp_path / "00000-images"
    picture = tmp_path / "pairs.png"
    options = ["--metric", "duplicates", "-n", 128]
    output = run("evaluate", path, *options, "-o", picture)
    assert "Different samples: " in output
    found = json.loads(run("evaluate", path, *options, "--json"))
    assert found["samples"] == 128
    assert found["share_128"] == (found["near_duplicates"] > 0)
    with Image.open(picture) as image:
        assert image.height / image.width == pytest.approx(birthdays.PAIRS / 4, rel=0.2)


def test_the_command_takes_points_and_says_what_it_does_not_take(tmp_path):
    run("train", *SMALL, "--steps", 2, "--out", tmp_path)
    path = tmp_path / "00000-ring"
    found = json.loads(run("evaluate", path, "--metric", "duplicates", "-n", 1000, "--json"))
    assert found["samples"] == 1024  # whole blocks
    assert found["real_support_low"] > 10_000
    options = ["evaluate", path, "--metric"]
    assert "-o: draws images" in run(*options, "duplicates", "-o", tmp_path / "x.png", status=1)
    assert "--reference applies only" in run(*options, "duplicates", "--reference", path, status=2)
    assert "or duplicates alone" in run(*options, "fid,duplicates", status=1)
    assert "-o applies only" in run("evaluate", path, "-o", tmp_path / "x.png", status=2)
    assert "use a smaller -n" in run(*options, "duplicates", "-n", 10**12, status=1)


def test_words_tell_both_supports():
    metrics = {"support": 756_123.4, "support_low": 6e5, "support_high": None, "near_duplicates": 7}
    metrics |= {"real_support": None, "real_support_low": 1.4e6, "real_support_high": None}
    assert in_words(metrics, 1024) == (
        "Different samples: about 760,000 (600,000 to any number); real ones, by the same measure: at least 1,400,000. "
        "A batch of 1,024 samples has near-duplicates with a probability of 0.50, one of 1,024 with .5."
    )
    assert in_words(metrics | {"near_duplicates": 0, "support": None}, 1024).endswith(
        "No two samples are near-duplicates."
    )
