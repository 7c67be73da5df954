"""The experiments: the settings of each that differ from the defaults of config.py. Nothing here opens a file.

    grid, ring       the mixtures of Gaussians
    digits           8x8 handwritten digits, fully connected networks; digits-conv with convolutions
    points           the user's points, in any number of coordinates; eps and the latent dimension follow from them
    images           the user's images: small networks, for a laptop; data/sources.py chooses size and channels
    text             the user's text: lines of 16 characters, small networks

The paper's experiments, 1,000,000 steps each:

    paper-grid       the 25 Gaussians
    celeba           64x64, from the central 108x108 of each image
    lsun             64x64, from the largest central square: bedrooms, or any other scene
    cifar10          32x32, all classes together
    paper-images     what these three share, for images of any kind
    billion-word     lines of 32 characters of the One Billion Word benchmark, 500,000 steps

They need one command each, `minicoulomb train --preset celeba --data PATH`; docs/experiments.md has their time and disk
space. Their settings are those of the paper and of the official code's command: batch 128, eps = 1, networks `my` and
`my-big`, 32 latent dimensions (16 for CIFAR-10), an L2 penalty of 1e-7 on the convolutions of both networks, Adam with
a learning rate of 1e-4 for G and half of that for D. G starts at 4x4x1024 at either size. At 32x32 the official D has a
fourth layer, from 4x4 to 2x2, because it computes the number of layers from the batch size; here D ends at 4x4.
Training leaves out one image in 20, 50 or 100, at least 2,500 in all, which `minicoulomb evaluate` compares with.

The text has d = 3 in all experiments. The official code, which made the results, reads its `dimension` 3 as the
exponent -1/2, and so do these presets: d = 1 (docs/differences.md). The paper's schedule, `plateau`, is the user's
choice, for it watches a FID, and no weights of Inception come with this package.

The other presets train in a hundredth of these steps. Beyond the paper they use a target of order 1
(potential_scale, relative_potential), Adam with little or no momentum, learning rates that start high and decay, and
averaged weights for the samples.
"""

from typing import Any

import numpy as np

from minicoulomb.arrays.rng import rng_for
from minicoulomb.config import Config
from minicoulomb.data.dataset import Dataset, decode
from minicoulomb.errors import UserError

# The small experiments share Adam without momentum, and high learning rates that decay.
_SMALL = {"lr_g": 4e-3, "lr_d": 4e-3, "beta1_g": 0.0, "beta1_d": 0.0, "beta2": 0.99, "average": 0.99}
_PLANE = {"potential_scale": 10.0, "relative_potential": True, "g_width": 64, "d_width": 128, "lr_decay": 0.003}
_PLANE["keep_checkpoints"] = 12  # of 0.6 MB each: `field --animate` shows the whole training
_PIXELS = {**_SMALL, "d": 1.0, "eps": 1.0, "potential_scale": 30.0, "latent": 16}
_DIGITS = {**_PIXELS, "data": "digits"}
# Small batches, because more updates of both networks gain more than a less noisy field.
_LAPTOP = {**_PIXELS, "generator": "dcgan", "discriminator": "dcgan", "g_width": 32, "d_width": 32, "batch_size": 32}
_LAPTOP |= {"lr_g": 1e-3, "lr_d": 1e-3, "lr_decay": 0.3, "beta1_d": 0.5, "average": 0.999}
_IMAGES = {"d": 1.0, "eps": 1.0, "generator": "my", "discriminator": "my-big", "latent": 32, "log_every": 10}
_TEXT = {"generator": "text", "discriminator": "text", "d": 1.0, "eps": 1.0}
_PAPER_IMAGES = {**_IMAGES, "lr_g": 1e-4, "lr_d": 5e-5, "l2": 1e-7, "l2_g": 1e-7}
_PAPER_IMAGES |= {"sample_every": 1000, "checkpoint_every": 500}

PRESETS: dict[str, dict[str, Any]] = {
    "grid": {
        **_SMALL,
        **_PLANE,
        "data": "grid",
        "eps": 3.0,
        "eps_end": 1.0,
        "lr_d": 3e-3,
        "lr_decay_d": 0.13,
        "average": 0.999,
        "steps": 45_000,
        "sample_every": 5000,
        "checkpoint_every": 4500,
    },
    "ring": {
        **_SMALL,
        **_PLANE,
        "data": "ring",
        "eps": 0.6,
        "eps_end": 0.25,
        "d_activation": "leaky_relu",  # at these rates units of ReLU die
        "lr_d": 1.35e-3,
        "lr_decay_d": 0.27,
        "average": 0.999,
        "steps": 9000,
        "checkpoint_every": 900,
    },
    "digits": {
        **_DIGITS,
        "g_width": 256,
        "g_depth": 2,
        "d_width": 256,
        "d_activation": "leaky_relu",
        "lr_g": 2e-3,
        "lr_d": 2e-3,
        "lr_decay": 0.03,
        "steps": 5000,
    },
    "digits-conv": {
        **_DIGITS,
        "generator": "dcgan",
        "discriminator": "dcgan",
        "g_width": 64,
        "d_width": 64,
        "extra_layers": 1,
        "lr_decay": 0.01,
        "steps": 3000,
    },
    # Beyond the paper: G climbs the mini-batch's own field, too, for D may learn little of an unknown one in this time.
    "points": {
        **_SMALL,
        **_PLANE,
        "field_share": 0.5,
        "d_activation": "leaky_relu",
        "lr_d": 1e-3,
        "lr_decay_d": 0.1,
        "average": 0.999,
        "steps": 8000,
    },
    "images": {**_LAPTOP, "steps": 9000, "log_every": 50, "sample_every": 500, "checkpoint_every": 500},
    "text": {
        **_SMALL,
        **_TEXT,
        "length": 16,
        "vocabulary": 64,
        "potential_scale": 30.0,
        "lr_decay": 0.1,
        "batch_size": 64,
        "latent": 16,
        "g_width": 64,
        "d_width": 64,
        "g_depth": 2,
        "d_depth": 2,
        "steps": 9000,
        "sample_every": 500,
        "checkpoint_every": 500,
    },
    "paper-images": _PAPER_IMAGES,
    "billion-word": {
        **_TEXT,
        "length": 32,
        "vocabulary": 2048,
        "lines": 10_000_000,
        "latent": 32,
        "g_depth": 5,
        "d_depth": 5,
        "lr_g": 1e-4,
        "lr_d": 1e-4,
        "l2": 1e-7,
        "steps": 500_000,
        "batch_statistics": True,
        "log_every": 10,
        "checkpoint_every": 500,
        "hold_out_every": 100,
    },
    "celeba": {**_PAPER_IMAGES, "size": 64, "crop": 108, "channels": 3, "hold_out_every": 50},
    "lsun": {**_PAPER_IMAGES, "size": 64, "channels": 3, "hold_out_every": 100},
    # G starts at 4x4x1024 with a width of 256 at 32x32, and with the default of 128 at 64x64.
    "cifar10": {**_PAPER_IMAGES, "size": 32, "channels": 3, "latent": 16, "g_width": 256, "hold_out_every": 20},
    "paper-grid": {
        "data": "grid",
        "d": 1.0,
        "g_width": 128,
        "d_width": 128,
        "d_depth": 4,
        "d_activation": "elu",
        "eps": 3.0,
        "eps_end": 0.3,
        "lr_g": 0.01,
        "lr_d": 0.01,
        "lr_decay": 0.01,
    },
}


# Settings that follow from points, and from how many distances between two of them.
FROM_POINTS = ("eps", "eps_end", "latent")
DISTANCES = 20_000
FLOAT32 = 1e-9, 1e9  # eps^4 of these, and ten times as much, are numbers of float32
MOST_LATENT = 16


def resolve(name: str | None = None, kind: str | None = None, points: Dataset | None = None, **chosen: Any) -> Config:
    """The configuration of a preset, with the chosen settings in place of the preset's.

    Parameters
    ----------
    name
        a key of PRESETS; by default the preset that suits the data
    kind
        what the chosen `data` hold, as data/sources.py finds it: "grid", "ring", "digits", "points", "array" (of
        images) or "images" (files to decode). By default it is not known.
    points
        the data, which the settings FROM_POINTS of "points" follow from
    chosen
        settings of Config

    Raises
    ------
    UserError
        if the preset or a setting is unknown, a value is out of range, or the preset has no data and none are chosen

    Examples
    --------
    >>> resolve("ring", eps=1.0).algorithm.eps
    1.0
    >>> resolve(data="digits") == resolve("digits")
    True
    """
    name = name or preset_of(kind) or chosen.get("data", "grid")
    if name not in PRESETS:
        raise UserError(f"preset {name!r}: must be one of {', '.join(PRESETS)}")
    settings = {**PRESETS[name], **chosen}
    if "data" not in settings:
        raise UserError(f"preset {name}: has no data; add --data PATH")
    if kind not in (None, "images") and "crop" not in chosen:
        settings.pop("crop", None)  # a preset's crop is meant for image files
    if name == "points":
        if points is None:
            raise UserError(f"preset points: needs the distances of points, which {settings['data']} does not have; "
                            "use --preset images for images")  # fmt: skip
        settings = {**_suited_to(points), **settings}
    return Config.of(**settings)


def preset_of(kind: str | None) -> str | None:
    """The preset that suits the kind of the data."""
    return "images" if kind == "array" else kind


def _suited_to(points):
    """The settings FROM_POINTS for a data set of points.

    A 10th of all pairs of points are closer than eps, and a 50th than eps_end: in any number of dimensions, with
    clusters or without, the field is then smooth where a point has neighbours in its batch. Equal points do not count.
    """
    rng = rng_for(0, "data")
    a, b = (decode(points.draw(rng, DISTANCES), np.dtype(float)).reshape(DISTANCES, -1) for _ in range(2))
    distances = np.linalg.norm(a - b, axis=1)
    eps, eps_end = np.quantile(distances[distances > 0] if distances.any() else points.scale, (0.1, 0.02))
    suited = {"eps": float(eps), "eps_end": float(eps_end), "latent": min(max(2, a.shape[1]), MOST_LATENT)}
    return suited | ({} if FLOAT32[0] < eps_end <= eps < FLOAT32[1] else {"dtype": "float64"})


# The settings of a preset that the data choose.
FROM_DATA = {"points": set(FROM_POINTS), "images": {"size", "channels", "pad", "extra_layers"}}


def nearest_preset(config: Config) -> tuple[str, dict[str, Any]]:
    """The preset that differs from a configuration in the fewest settings, and these settings.

    As options of the command line they give the configuration again: `minicoulomb train --preset NAME` with them has
    the settings `config`.
    """
    possible = {name: settings for name in PRESETS if None not in (settings := _beyond(name, config)).values()}
    # No option leads back to None where a preset has another value, so such presets are left out. Among presets that
    # are equally near, one for the same data comes first.
    name = min(
        possible,
        key=lambda name: (len(possible[name]), PRESETS[name].get("data", config.data.data) != config.data.data),
    )
    return name, possible[name]


def _beyond(name, config):
    """The settings of `config` that the preset does not give."""
    preset = Config.of(**PRESETS[name]).settings()
    for setting in {"data"} - set(PRESETS[name]) | FROM_DATA.get(name, set()):
        del preset[setting]  # it comes from the data
    return {
        setting: value
        for setting, value in config.settings().items()
        if setting not in preset or value != preset[setting]
    }
