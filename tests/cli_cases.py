"""What the tests of the command line share: small runs, how to call it, and how to look at what it wrote."""

from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image

from minicoulomb.cli.main import main

ROOT = Path(__file__).parents[1]
# A run that takes a second: 8 Gaussians, small networks.
SMALL = ["--preset", "ring", "--g-width", "8", "--d-width", "8", "--batch-size", "16", "--log-every", "5"]

# And one with convolutions and batch normalization, on the digits.
SMALL_IMAGES = ["--preset", "digits-conv", "--generator", "dcgan", "--discriminator", "dcgan"]
SMALL_IMAGES += ["--g-width", "4", "--d-width", "4", "--batch-size", "16"]


def run(*args, status=0):
    result = CliRunner().invoke(main, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.output


def tree(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def arrays(path):
    with np.load(path) as file:
        return {name: file[name].tobytes() for name in file.files if name != "about"}
