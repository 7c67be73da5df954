"""The experiments: for each, the settings that differ from the defaults of config.py.

    grid, ring       the mixtures of Gaussians
    digits           8x8 handwritten digits, fully connected networks; digits-conv with convolutions
    points           a user's own points; eps follows their spread
    images           a user's own images: the paper's networks and kernel

And the paper's own, 1,000,000 steps each:

    paper-grid       the 25 Gaussians
    celeba           64x64, from the central 108x108 of each image
    lsun             64x64, from the largest central square: bedrooms, or any other scene
    cifar10          32x32, all classes together
    paper-images     what these three share, for images of any kind

`minicoulomb train --preset celeba --data PATH` is all that they take; docs/images.md tells what they cost in time and
on disk. They are the paper's setting as the official code's command has it: batch 128, d = 1 (`dimension` 3),
eps = 1, networks `my` and `my-big`, 16 latent dimensions, an L2 penalty of 1e-7 on D's kernels, Adam with a learning
rate of 1e-4 for G and half of that for D. G starts at 4x4x1024 at either size. For 32x32 the official D has a fourth
layer, from 4x4 to 2x2, for it takes the number of layers from the batch size; here it ends at 4x4. One image in 20,
50 or 100 is kept out of training for `minicoulomb evaluate`, at least the 2,500 that it takes.

The others train in a hundredth of these steps. What that needs, beyond the paper: a target of order 1
(potential_scale, relative_potential), Adam with little or no momentum, learning rates that start high and decay, and
averaged weights for the samples.
"""

from pathlib import Path
from typing import Any

from minicoulomb.config import Config
from minicoulomb.data.arrays import array_dataset, load_array
from minicoulomb.data.mixtures import grid
from minicoulomb.data.sources import BUILT_IN, kind
from minicoulomb.errors import UserError

# What the small experiments share: Adam without momentum, and high learning rates that decay.
_SMALL = {"lr_g": 4e-3, "lr_d": 4e-3, "beta1_g": 0.0, "beta1_d": 0.0, "beta2": 0.99}

_PLANE = {**_SMALL, "potential_scale": 10.0, "relative_potential": True, "g_width": 64, "d_width": 128}

_GRID = {
    **_PLANE,
    "eps": 3.0,
    "eps_end": 2.0,
    "lr_decay": 0.003,
    "average": 0.99,
    "steps": 40_000,
    "sample_every": 4000,
}

_RING = {**_PLANE, "data": "ring", "eps": 0.6, "eps_end": 0.4, "lr_decay": 0.003, "average": 0.99, "steps": 8000}

_DIGITS = {
    **_SMALL,
    "data": "digits",
    "d": 1.0,
    "eps": 1.0,
    "potential_scale": 30.0,
    "latent": 16,
    "lr_decay": 0.01,
    "average": 0.99,
}

_IMAGES = {
    "d": 1.0,
    "eps": 1.0,
    "generator": "my",
    "discriminator": "my-big",
    "latent": 16,
    "log_every": 10,
    "sample_every": 100,
    "checkpoint_every": 100,
}

_PAPER_IMAGES = {**_IMAGES, "lr_g": 1e-4, "lr_d": 5e-5, "l2": 1e-7, "sample_every": 1000, "checkpoint_every": 500}

PRESETS: dict[str, dict[str, Any]] = {
    "grid": {**_GRID, "data": "grid"},
    "ring": _RING,
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
        "steps": 3000,
    },
    "points": _GRID,
    "images": {
        **_IMAGES,
        "potential_scale": 30.0,
        "lr_g": 1e-3,
        "lr_d": 1e-3,
        "lr_decay": 0.1,
        "beta1_g": 0.0,
        "beta1_d": 0.5,
        "beta2": 0.99,
        "average": 0.999,
        "steps": 20_000,
    },
    "paper-images": _PAPER_IMAGES,
    "celeba": {**_PAPER_IMAGES, "size": 64, "crop": 108, "channels": 3, "hold_out_every": 50},
    "lsun": {**_PAPER_IMAGES, "size": 64, "channels": 3, "hold_out_every": 100},
    # With the default of 128, which is right at 64x64, G would start at 4x4x512.
    "cifar10": {**_PAPER_IMAGES, "size": 32, "channels": 3, "g_width": 256, "hold_out_every": 20},
    "paper-grid": {
        "data": "grid",
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


def resolve(name: str | None = None, **chosen: Any) -> Config:
    """The configuration of a preset, by default the one that suits the data, with the chosen settings on top.

    Raises UserError for an unknown preset or setting, a value out of range, or data that are not there.
    """
    name = name or _preset_for(chosen.get("data", "grid"))
    if name not in PRESETS:
        raise UserError(f"preset {name!r}: must be one of {', '.join(PRESETS)}")
    settings = {**PRESETS[name], **chosen}
    if "data" not in settings:
        raise UserError(f"preset {name}: has no data of its own; add --data PATH")
    what = kind(settings["data"])
    settings |= absolute(settings)
    if what == "array" and "crop" not in chosen:
        settings.pop("crop", None)  # the preset's is for images that are still to be cut
    if name == "points":
        unit = array_dataset(Path(settings["data"])).scale / grid().scale
        settings |= {field: _GRID[field] * unit for field in ("eps", "eps_end") if field not in chosen}
    return Config.of(**settings)


def nearest_preset(config: Config) -> tuple[str, dict[str, Any]]:
    """The preset that differs from a configuration in the fewest settings, and these settings.

    As options of the command line they give the configuration again: `resolve(name, **settings)` is `config`.
    """
    found = {name: _beyond(name, config) for name in PRESETS}
    # None is a default: where a preset has something else, no option leads back to it.
    possible = {name: settings for name, settings in found.items() if None not in settings.values()}
    # Of equally near ones, none that is for other data.
    name = min(
        possible,
        key=lambda name: (len(possible[name]), PRESETS[name].get("data", config.data.data) != config.data.data),
    )
    return name, possible[name]


def _beyond(name, config):
    """The settings of `config` that the preset does not give."""
    given = Config.of(**PRESETS[name]).settings()
    for field in {"data"} - set(PRESETS[name]) | ({"eps", "eps_end"} if name == "points" else set()):
        given.pop(field)  # resolve takes it from the data
    return {field: value for field, value in config.settings().items() if field not in given or value != given[field]}


def absolute(settings: dict[str, Any]) -> dict[str, str]:
    """The settings that name files, from the root: a run goes on from whatever directory it is called in."""
    paths = {name: settings[name] for name in ("data", "inception", "fid_reference") if settings.get(name) is not None}
    return {name: path if path in BUILT_IN else str(Path(path).resolve()) for name, path in paths.items()}


def _preset_for(data):
    what = kind(data)
    if what == "array":
        return "points" if load_array(Path(data)).ndim == 2 else "images"
    return what
