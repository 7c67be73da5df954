"""The picture that a run draws of its samples while it trains: points over real ones, or a grid of images."""

import numpy as np
from PIL import Image

from minicoulomb.arrays.rng import rng_for
from minicoulomb.data.dataset import Dataset
from minicoulomb.pictures.images import image_grid
from minicoulomb.pictures.points import draw_points
from minicoulomb.training.checkpoint import Checkpoint

IMAGES = 64


def training_picture(checkpoint: Checkpoint, dataset: Dataset, x: np.ndarray) -> Image.Image:
    """Generated points x (n, m) over n real ones, or a grid of the first 64 images of x (n, h, w, c)."""
    if x.ndim == 4:
        return image_grid(x[:IMAGES])
    real = dataset.draw(rng_for(checkpoint.config.run.seed, "picture"), len(x))
    located = checkpoint.space.located
    return draw_points(located(real), located(x), title=f"{dataset.name}, step {checkpoint.state.step:,}")
