"""Samples by their latent vectors: which they are, and the way from one to the next."""

import numpy as np
import pytest
from autodiff_cases import fresh_state

from minicoulomb.config import Config
from minicoulomb.models import SampleSpace, build
from minicoulomb.training.sampling import BLOCK, arcs, interpolations, latents, samples

CONFIG = Config.of(generator="dcgan", discriminator="dcgan", latent=5, g_width=4, d_width=4, dtype="float64")


@pytest.fixture(scope="module")
def generator():
    """(G, state) of random weights and statistics, for 8x8 images."""
    G, D = build(CONFIG.networks, SampleSpace((8, 8, 1)))
    state = fresh_state(G, D, CONFIG)
    state.statistics[:] = np.random.default_rng(0).uniform(0.5, 1.5, G.statistics_size)
    return G, state


def test_everything_on_the_way_is_distributed_as_the_ends_are():
    z_0, z_1 = np.random.default_rng(0).standard_normal((2, 40_000, 3))
    ways = arcs(z_0, z_1, 5)
    for t in range(5):
        np.testing.assert_allclose(np.cov(ways[:, t], rowvar=False), np.eye(3), atol=0.03)
    np.testing.assert_array_equal(ways[:, 0], z_0)
    np.testing.assert_allclose(ways[:, -1], z_1, atol=1e-12)


def test_steps_on_the_way_are_equally_long():
    ways = arcs(np.array([[3.0, 0, 0]]), np.array([[0, 3.0, 0]]), 10)
    np.testing.assert_allclose(np.linalg.norm(ways, axis=-1), 3)
    steps = np.linalg.norm(np.diff(ways, axis=1), axis=-1)
    np.testing.assert_allclose(steps, steps[0, 0])


@pytest.mark.parametrize(("n", "steps"), [(1, 2), (3, 10), (BLOCK, 3)])
def test_a_row_leads_from_its_sample_to_the_next(generator, n, steps):
    x = samples(*generator, n + 1, seed=4)
    rows = interpolations(*generator, n, steps, seed=4)
    assert rows.shape == (n, steps, 8, 8, 1)
    np.testing.assert_allclose(rows[:, 0], x[:-1], atol=1e-12)
    np.testing.assert_allclose(rows[:, -1], x[1:], atol=1e-12)
    assert not np.allclose(rows[:, 0], rows[:, -1])


def test_latent_vectors_come_in_whole_blocks_that_do_not_depend_on_how_many_are_asked_for(generator):
    one, three = (list(latents(generator[0], n, seed=1)) for n in (1, 2 * BLOCK + 1))
    assert [len(block) for block in three] == [BLOCK] * 3
    np.testing.assert_array_equal(one[0], three[0])
    assert not (three[0] == three[1]).any()
