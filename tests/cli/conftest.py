"""Runs that the tests of the command line look at, and that none of them changes."""

import pytest
from cli_cases import SMALL, SMALL_IMAGES, run


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A finished run of 20 steps on the ring."""
    out = tmp_path_factory.mktemp("runs")
    run("train", *SMALL, "--steps", 20, "--out", out)
    return out / "00000-ring"


@pytest.fixture(scope="session")
def trained_images(tmp_path_factory):
    """A finished run of 4 steps of a small convolutional pair on the digits."""
    out = tmp_path_factory.mktemp("runs")
    run("train", *SMALL_IMAGES, "--steps", 4, "--out", out)
    return out / "00000-digits-conv"
