"""A trained model in Python: what `minicoulomb sample` draws, and everything that it is drawn from.

    model = minicoulomb.load("runs/00000-ring")
    model.sample(64)                      what the command draws
    model.G.forward(model.theta, z)       and all that the study API does with networks and vectors

docs/elsewhere.md has the format of a checkpoint, and loaders for PyTorch and JAX that need nothing of this package.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minicoulomb.arrays.backend import Array, array_module, open_backend
from minicoulomb.arrays.threads import set_threads
from minicoulomb.config import Config
from minicoulomb.data.dataset import to_pixels
from minicoulomb.data.text import to_lines
from minicoulomb.errors import UserError, explained
from minicoulomb.gan import State, generate
from minicoulomb.network import Network
from minicoulomb.space import SampleSpace
from minicoulomb.training import run as runs
from minicoulomb.training import sampling


@dataclass(frozen=True, repr=False, eq=False)
class TrainedModel:
    """Networks with their trained parameters: the result of `load`.

    Attributes
    ----------
    config : Config
        The settings of the run.
    space : SampleSpace
        Shape and scale of the samples.
    G, D : Network
    state : State
        The whole state of training: the last parameters and their averages, Adam's moments, the step.
    theta : array (G.size,)
        The parameters of G that samples are drawn with: the averages, where the run has them.
    statistics : array (G.statistics_size,)
        The running statistics of batch normalization that belong to theta.
    w : array (D.size,)
        The parameters of D.
    """

    config: Config
    space: SampleSpace
    G: Network
    D: Network
    state: State

    def __repr__(self):
        return f"TrainedModel(step {self.state.step:,}, G {self.G}, D {self.D})"

    def _repr_png_(self) -> bytes | None:
        """The picture that Jupyter shows for a model: 64 images or 2,500 points, and none for text."""
        from minicoulomb.pictures import draw_points, image_grid  # of Pillow, which the study API does without

        if self.space.alphabet:
            return None
        is_image = len(self.space.shape) == 3
        x: Any = self.sample(64 if is_image else 2500)
        return (image_grid(x) if is_image else draw_points(None, x))._repr_png_()

    @property
    def theta(self) -> Array:
        return self.state.theta if self.state.average is None else self.state.average

    @property
    def statistics(self) -> Array:
        return self.state.statistics if self.state.average is None else self.state.average_statistics

    @property
    def w(self) -> Array:
        return self.state.w

    def latents(self, n: int, seed: int = 0) -> Array:
        """The latent vectors z (n, latent) of `sample(n, seed)`, in the library and dtype of theta."""
        z = np.concatenate(list(sampling.latents(self.G, _checked(n), seed)))[:n]
        return array_module(self.theta).asarray(z, self.theta.dtype)

    def generate(self, z: Array) -> Array:
        """G(z), (n, *space.shape), as D takes it: pixels from -1 to 1, points without the location of the data."""
        return generate(self.G, self.state, z, self.config.run.batch_statistics)

    def sample(self, n: int = 64, seed: int = 0) -> np.ndarray | list[str]:
        """The samples 0 .. n - 1, which depend on the seed and their number alone, as `minicoulomb sample` has them.

        Parameters
        ----------
        n : int
        seed : int

        Returns
        -------
        samples : array or list of str
            Images as pixels (n, height, width, channels), uint8; points (n, m) in the units of the data, float64 where
            these have a location, else float32; text as a list of n lines.

        Raises
        ------
        UserError
            If n or the seed is no such number, or the samples do not fit into memory.
        """
        x = sampling.samples(self.G, self.state, _checked(n), seed, self.config.run.batch_statistics)
        if self.space.alphabet:
            return to_lines(x, self.space.alphabet)
        if len(self.space.shape) == 3:
            return to_pixels(x)
        return self.space.located(x).astype(np.float64 if self.space.location else np.float32)


def load(
    run: str | os.PathLike[str],
    *,
    batch_statistics: bool | None = None,
    backend: str | None = None,
    device: int | None = None,
    tf32: bool | None = None,
    threads: int | None = None,
) -> TrainedModel:
    """The trained model of a run.

    Parameters
    ----------
    run : str or Path
        A run directory, whose latest checkpoint is loaded, or a checkpoint such as checkpoints/best.npz; or "grid" or
        "digits-conv", trained models that the package brings.
    batch_statistics, backend, device, tf32, threads
        In place of the run's settings, as the options of `minicoulomb sample`.

    Returns
    -------
    TrainedModel

    Raises
    ------
    UserError
        If there is no such run, its checkpoint is damaged, or the backend cannot compute here.

    Notes
    -----
    It sets the number of threads of the process, as the command does (`minicoulomb.arrays.threads`). No number of a
    sample depends on that, where BLAS uses one thread.

    Examples
    --------
    >>> model = load("grid")
    >>> model.sample(5).shape, model.G.size
    ((5, 2), 12802)
    """
    if not isinstance(run, str | os.PathLike) or not str(run).strip():
        raise UserError(f"run {run!r:.80}: must be a path; give a run directory like runs/00000-grid")
    chosen = {"batch_statistics": batch_statistics, "backend": backend, "device": device}
    chosen |= {"tf32": tf32, "threads": threads}
    with explained(f"{run!s:.80}: cannot be read", "give a run directory like runs/00000-grid"):
        checkpoint = runs.load(Path(os.path.expanduser(run)))
    config = checkpoint.config.replace(**{name: value for name, value in chosen.items() if value is not None})
    set_threads(config.run.threads)
    xp = open_backend(config.run.backend, config.run.device, config.run.tf32).xp
    return TrainedModel(*checkpoint._replace(config=config).to(xp))


def _checked(n):
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise UserError(f"n {n!r:.80}: must be an int >= 1; use 64")
    return n
