"""What the tests of the field share: experiments in the plane and on images, before their first step."""

import numpy as np

from minicoulomb.config import Config
from minicoulomb.data.digits import digits
from minicoulomb.data.mixtures import ring
from minicoulomb.models import SampleSpace
from minicoulomb.training import checkpoint as checkpoints
from minicoulomb.training.sampling import BLOCK

# Smooth activations, for finite differences.
PLANE = Config.of(data="ring", g_width=8, d_width=8, g_activation="tanh", d_activation="elu", d=1.5, eps=0.7,
               potential_scale=3.0, dtype="float64")  # fmt: skip
# With batch normalization in both networks.
IMAGES = Config.of(data="digits", generator="dcgan", discriminator="my", g_width=4, d_width=4, d=1.0, eps=0.5,
                dtype="float64", batch_size=BLOCK)  # fmt: skip
EXPERIMENTS = {
    "plane": (PLANE, ring()),
    "relative": (PLANE.replace(relative_potential=True, eps_end=0.4, steps=10), ring()),
    "images": (IMAGES, digits()),
}


def start(config, dataset, step=0, xp=np):
    checkpoint = checkpoints.initial(config, SampleSpace(dataset.shape, dataset.scale, dataset.bound), xp)
    checkpoint.state.step = step
    return checkpoint
