"""The picture that a run draws of its samples while it trains: points over real ones, or a grid of images."""

import numpy as np
from PIL import Image

from minicoulomb.arrays.rng import rng_for
from minicoulomb.data.dataset import ArrayDataset, Dataset
from minicoulomb.pictures.images import image_grid
from minicoulomb.pictures.points import draw_points
from minicoulomb.training.checkpoint import Checkpoint

IMAGES = 64


def training_picture(checkpoint: Checkpoint, dataset: Dataset, x: np.ndarray) -> Image.Image:
    """Generated points x (n, m) over at most n real ones, or a grid of the first 64 images of x (n, h, w, c)."""
    if x.ndim == 4:
        return image_grid(x[:IMAGES])
    real = real_points(checkpoint, dataset, len(x))
    title = f"{dataset.name}, step {checkpoint.state.step:,}"
    return draw_points(real, checkpoint.space.located(x), title)


def real_points(checkpoint: Checkpoint, dataset: Dataset, n: int) -> np.ndarray:
    """All training points (n_train, m) if they are fewer than n, else n drawn at random, in the units of the data."""
    if isinstance(dataset, ArrayDataset) and dataset.n_train < n:
        (real,) = dataset.train_blocks(n)
    else:
        real = dataset.draw(rng_for(checkpoint.config.run.seed, "picture"), n)
    return checkpoint.space.located(real)
