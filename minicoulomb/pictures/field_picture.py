"""A picture of the field at one step of a run: the exact one, D's regression of it, and how they differ.

Points in the plane: maps of Phi, of D, and of D - Phi, with one scale of colours for all three.
Images: what grad Phi and grad D tell generated samples to change.

Of a run with another objective than Algorithm 1's, whose D is no regression of Phi, what is exact alone.
"""

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from minicoulomb import pictures
from minicoulomb.arrays.backend import array_module, to_host
from minicoulomb.data.dataset import Dataset
from minicoulomb.errors import UserError
from minicoulomb.pictures.field_values import (
    charges,
    cosines,
    exact_force,
    exact_potential,
    fit,
    learned_force,
    learned_potential,
    regresses,
)
from minicoulomb.training.checkpoint import Checkpoint, load

# Charges of each kind, where nothing else is said.
POINTS = 2500
# The square is so many times as wide as 99 % of the real points: the field outside them is what gathers strays.
MARGIN = 1.4
# Pixels across a map, alone and in an animation.
SIZE, FRAME_SIZE = 560, 400
# Rows of images where nothing else is said, and at most; and how many charges of each kind there are then, or as many
# as have so many numbers (64 MB in float32).
ROWS, MOST_ROWS = 6, 100
IMAGES, NUMBERS = 2000, 2**24


class PlaneField(NamedTuple):
    """What there is to draw of one step, on the host: x and y (n, 2), values on two lattices, D's fit if it has one."""

    title: str
    square: pictures.Square
    x: np.ndarray
    y: np.ndarray
    potentials: list[np.ndarray]  # exact, and learned if it is, (CELLS, CELLS)
    forces: list[np.ndarray]  # likewise, (ARROWS, ARROWS, 2)
    r2: float | None

    @property
    def scale(self) -> pictures.Scale:
        """The largest exact values."""
        longest = np.linalg.norm(self.forces[0], axis=-1).max()
        return pictures.Scale(float(np.abs(self.potentials[0]).max()) or 1.0, float(longest) or 1.0)


def field_picture(checkpoint: Checkpoint, dataset: Dataset, n: int | None = None, seed: int = 0) -> Image.Image:
    """The field at the checkpoint's step, of data in the plane or of images; of other data UserError.

    n      charges of each kind in the plane (2,500), or images, a row for each (6)
    seed   of the charges: the i-th sample is that of `minicoulomb sample`, but for the averaged weights
    """
    shape = checkpoint.space.shape
    if len(shape) == 3:
        return _force_picture(checkpoint, dataset, n or ROWS, seed)
    check_plane(shape)
    field = plane_field(checkpoint, dataset, n or POINTS, seed)
    return draw(field, field.scale)


class FieldFrames(Sequence[Image.Image]):
    """The field at each of a run's checkpoints, drawn when a frame is asked for, with the same axes and colours.

    Of points in the plane the numbers of all steps are kept, 0.4 MB each, for they have one scale: the largest exact
    values of all. progress(done, total) is told while they are computed.
    """

    def __init__(self, paths: list[Path], xp, dataset: Dataset, n: int | None = None, seed: int = 0, progress=None):
        if not paths:
            raise UserError("no checkpoints: an animation takes at least one; train the run on")
        self.paths, self.xp, self.dataset, self.n, self.seed = paths, xp, dataset, n, seed
        self.fields = []
        if len(dataset.shape) == 3:
            return
        check_plane(dataset.shape)
        for i in range(len(paths)):
            self.fields.append(plane_field(self._checkpoint(i), dataset, n or POINTS, seed))
            if progress:
                progress(i + 1, len(paths))
        self.scale = pictures.Scale(*(max(largest) for largest in zip(*(field.scale for field in self.fields))))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Image.Image:
        if self.fields:
            return draw(self.fields[i], self.scale, FRAME_SIZE)
        return field_picture(self._checkpoint(i), self.dataset, self.n, self.seed)

    def _checkpoint(self, i):
        return load(self.paths[i]).to(self.xp)


def check_plane(shape: tuple[int, ...]) -> None:
    """UserError unless samples of this shape are points in the plane."""
    if shape != (2,):
        raise UserError(
            f"points of {shape[0]} coordinates: the field is drawn of points in the plane (n, 2) and of images "
            "(n, h, w, c); use such data"
        )


def plane_field(checkpoint: Checkpoint, dataset: Dataset, n: int, seed: int) -> PlaneField:
    """The field of n generated and n real points in the plane."""
    given = charges(checkpoint, dataset, n, seed)
    x, y, eps = to_host(given.x), to_host(given.y), given.eps
    square = pictures.square_about(np.quantile(y, (0.005, 0.995), axis=0), MARGIN)
    plane, xp = pictures.Plane(square), array_module(given.x)

    def lattice(cells):
        return xp.asarray(plane.centres(cells).reshape(-1, 2), dtype=given.x.dtype)

    cells, arrows = lattice(pictures.CELLS), lattice(pictures.ARROWS)
    potentials, forces, r2 = [exact_potential(cells, given)], [exact_force(arrows, given)], None
    if regresses(checkpoint):
        potentials.append(learned_potential(cells, checkpoint, eps))
        forces.append(learned_force(arrows, checkpoint, eps))
        r2 = fit(given, checkpoint)
    return PlaneField(
        _title(checkpoint, dataset, eps),
        square,
        x,
        y,
        [to_host(values).reshape(pictures.CELLS, pictures.CELLS) for values in potentials],
        [to_host(values).reshape(pictures.ARROWS, pictures.ARROWS, 2) for values in forces],
        r2,
    )


def draw(field: PlaneField, scale: pictures.Scale, size: int = SIZE) -> Image.Image:
    phi, *learned = field.potentials
    force, *slopes = field.forces
    panels = [pictures.Panel("Phi, the potential", "arrows: grad Phi, the force on a generated point", phi, force)]
    for d, slope in zip(learned, slopes, strict=True):
        panels += [
            pictures.Panel(f"D, its regression: r2 {field.r2:.2f}", "arrows: grad D, what G learns from", d, slope),
            pictures.Panel("D - Phi", "white: D is right; blue: too high; vermilion: too low", d - phi),
        ]
    units = "in units of eps^-d; the line is 0", "arrows: |grad| in units of eps^-(d+1)"
    return pictures.field_map(panels, field.square, field.y, field.x, scale, field.title, units, size)


def _force_picture(checkpoint, dataset, n, seed):
    """The rows are the first of a batch as large as training's, which is what D normalizes."""
    if n > MOST_ROWS:
        raise UserError(f"{n} rows of images: at most {MOST_ROWS} can be seen; use -n {ROWS}")
    config = checkpoint.config
    batch = max(n, config.algorithm.batch_size)
    given = charges(checkpoint, dataset, max(batch, min(IMAGES, NUMBERS // prod(dataset.shape))), seed)
    x = given.x[: batch if checkpoint.D.statistics_size else n]
    forces, cosine = {"grad Phi": exact_force(x[:n], given)}, []
    if regresses(checkpoint):
        forces["grad D"] = learned_force(x, checkpoint, given.eps)[:n]
        cosine = to_host(cosines(*forces.values()))
    caption = (
        "Forces: grey leaves a pixel as it is, lighter raises it, darker lowers it; each scaled to its own largest.\n"
        "Moved: until the most changed pixel has gone half way from black to white.\n"
        f"Phi is that of {len(given.y):,} real and {len(given.x):,} generated images"
        + ("; cosine: of the two forces." if len(cosine) else ".")
    )
    title = _title(checkpoint, dataset, given.eps)
    shown = [pictures.Forces(name, to_host(values)) for name, values in forces.items()]
    return pictures.force_rows(to_host(x[:n]), shown, cosine, title, caption)


def _title(checkpoint, dataset, eps):
    title = f"{dataset.name}, step {checkpoint.state.step:,}, eps {eps:.3g}"
    return title if regresses(checkpoint) else f"{title}, objective {checkpoint.config.algorithm.objective}"
