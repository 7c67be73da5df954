"""A picture of the field at one step of a run: the exact field, D's regression of it, and their difference.

Points in the plane: maps of Phi, D and D - Phi, with one scale of colours. On a line: curves (line_field.py).
Images: the changes of generated samples along grad Phi and along grad D.

The D of a baseline is no regression of Phi; the picture of such a run shows the exact field alone.
"""

from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from minicoulomb import pictures
from minicoulomb.arrays.backend import array_module, to_host
from minicoulomb.data.dataset import Dataset
from minicoulomb.errors import UserError
from minicoulomb.evaluation import field_values
from minicoulomb.pictures.line_field import LineField, draw_line_field, line_field
from minicoulomb.training.checkpoint import Checkpoint, load

# Charges of each kind, by default.
POINTS = 2500
# The square is this many times as wide as 99 % of the real points, because the field outside attracts strays.
MARGIN = 1.4
# Pixels across a map, alone and in an animation.
SIZE, FRAME_SIZE = 560, 400
# Rows of images by default and at most; charges of each kind then, but at most NUMBERS pixels (64 MB in float32).
ROWS, MOST_ROWS = 6, 100
IMAGES, NUMBERS = 2000, 2**24


class PlaneField(NamedTuple):
    """The field at one step, on the host: charges x and y (n, 2), values on two lattices, and D's fit, if any."""

    title: str
    square: pictures.Square
    x: np.ndarray
    y: np.ndarray
    potentials: list[np.ndarray]  # exact and, if any, learned, (CELLS, CELLS)
    forces: list[np.ndarray]  # exact and, if any, learned, (ARROWS, ARROWS, 2)
    fit: dict[str, float]

    @property
    def scale(self) -> pictures.ColourScale:
        """The largest exact values."""
        longest = np.linalg.norm(self.forces[0], axis=-1).max()
        return pictures.ColourScale(float(np.abs(self.potentials[0]).max()) or 1.0, float(longest) or 1.0)


def field_picture(checkpoint: Checkpoint, dataset: Dataset, n: int | None = None, seed: int = 0) -> Image.Image:
    """The field at the checkpoint's step, for points of 1 or 2 coordinates, or images; UserError for others.

    n      charges of each kind (2,500), or rows of images (6)
    seed   of the charges: the i-th sample is that of `minicoulomb sample`, from weights that are not averaged
    """
    shape = checkpoint.space.shape
    if len(shape) == 3:
        return _force_picture(checkpoint, dataset, n or ROWS, seed)
    field = _points_field(checkpoint, dataset, n or POINTS, seed)
    return _draw(field, field.scale)


def field_frames(
    paths: list[Path], xp, dataset: Dataset, n: int | None = None, seed: int = 0, progress=None
) -> list[Image.Image]:
    """The field at each of a run's checkpoints, with the same axes and colours; about 2 MB each.

    Points have one scale: the largest exact values of all steps. progress(done, total) is called after
    each of them.
    """
    if not paths:
        raise UserError("no checkpoints: an animation needs at least one; continue the run")
    frames: list[Any] = []
    for path in paths:
        checkpoint = load(path).to(xp)
        if len(dataset.shape) == 3:
            frames.append(field_picture(checkpoint, dataset, n, seed))
        else:
            frames.append(_points_field(checkpoint, dataset, n or POINTS, seed))
        if progress:
            progress(len(frames), len(paths))
    if len(dataset.shape) == 3:
        return frames
    scale = tuple(max(largest) for largest in zip(*(field.scale for field in frames)))
    return [_draw(field, scale, FRAME_SIZE) for field in frames]


def _points_field(checkpoint, dataset, n, seed):
    """The field of points; UserError unless they have 1 or 2 coordinates."""
    if dataset.alphabet:
        raise UserError(f"{dataset.name}: text has no picture of the field; use minicoulomb evaluate")
    if (m := dataset.shape[0]) > 2:
        rule = "the field is drawn only for (n, 1), (n, 2) and images; use those"
        raise UserError(f"points of {m} coordinates: {rule}")
    if m == 2:
        return plane_field(checkpoint, dataset, n, seed)
    sources = field_values.charges(checkpoint, dataset, n, seed)
    return line_field(checkpoint, sources, _title(checkpoint, dataset, sources.eps))


def _draw(field, scale, size=SIZE):
    """The picture of a field of points, with a common scale."""
    if isinstance(field, LineField):
        return draw_line_field(field, scale)
    return draw(field, pictures.ColourScale(*scale), size)


def plane_field(checkpoint: Checkpoint, dataset: Dataset, n: int, seed: int) -> PlaneField:
    """The field of n generated and n real points in the plane."""
    sources = field_values.charges(checkpoint, dataset, n, seed)
    x, y, eps = to_host(sources.x), to_host(sources.y), sources.eps  # less the location
    square = pictures.square_about(np.quantile(y, (0.005, 0.995), axis=0), MARGIN)
    plane, xp, located = pictures.Plane(square), array_module(sources.x), checkpoint.space.located

    def lattice(cells):
        return xp.asarray(plane.centres(cells).reshape(-1, 2), dtype=sources.x.dtype)

    cells, arrows, (left, top) = lattice(pictures.CELLS), lattice(pictures.ARROWS), located(np.array(square[:2]))
    potentials, fit = [field_values.exact_potential(cells, sources)], {}
    forces = [field_values.exact_force(arrows, sources)]
    if field_values.regresses(checkpoint):
        potentials.append(field_values.learned_potential(cells, checkpoint, eps))
        forces.append(field_values.learned_force(arrows, checkpoint, eps))
        fit = field_values.follows(sources, checkpoint)
    return PlaneField(
        _title(checkpoint, dataset, eps),
        pictures.Square(left, top, square.side),
        located(x),
        located(y),
        [to_host(values).reshape(pictures.CELLS, pictures.CELLS) for values in potentials],
        [to_host(values).reshape(pictures.ARROWS, pictures.ARROWS, 2) for values in forces],
        fit,
    )


def draw(field: PlaneField, scale: pictures.ColourScale, size: int = SIZE) -> Image.Image:
    """The maps of one step."""
    phi, *learned = field.potentials
    force, *slopes = field.forces
    panels = [pictures.FieldPanel("Phi, the potential", "arrows: grad Phi, the force on a generated point", phi, force)]
    fit = field_values.in_words(field.fit)
    for d, slope in zip(learned, slopes, strict=True):
        panels += [
            pictures.FieldPanel(f"D, its regression{fit}", "arrows: grad D, what G learns from", d, slope),
            pictures.FieldPanel("D - Phi", "white: D is right; blue: too high; vermilion: too low", d - phi),
        ]
    units = "in units of eps^-d; the line is 0", "arrows: |grad| in units of eps^-(d+1)"
    return pictures.field_map(panels, field.square, field.y, field.x, scale, field.title, units, size)


def _force_picture(checkpoint, dataset, n, seed):
    """Rows of the first samples of a batch of at least the size in training, over which D normalizes."""
    if n > MOST_ROWS:
        raise UserError(f"{n} rows of images: a picture has at most {MOST_ROWS}; use -n {ROWS}")
    config = checkpoint.config
    batch = max(n, config.algorithm.batch_size)
    sources = field_values.charges(checkpoint, dataset, max(batch, min(IMAGES, NUMBERS // prod(dataset.shape))), seed)
    x = sources.x[: batch if checkpoint.D.statistics_size else n]
    forces, cosine = {"grad Phi": field_values.exact_force(x[:n], sources)}, []
    if field_values.regresses(checkpoint):
        forces["grad D"] = field_values.learned_force(x, checkpoint, sources.eps)[:n]
        cosine = to_host(field_values.cosines(*forces.values()))
    caption = (
        "Forces: a grey pixel stays, a lighter one increases, a darker one decreases; each force has its own scale.\n"
        "Moved: the largest change of a pixel is half of the way from black to white.\n"
        f"Phi is that of {len(sources.y):,} real and {len(sources.x):,} generated images"
        + ("; cosine: of the two forces." if len(cosine) else ".")
    )
    title = _title(checkpoint, dataset, sources.eps)
    shown = {name: to_host(values) for name, values in forces.items()}
    return pictures.force_rows(to_host(x[:n]), shown, cosine, title, caption)


def _title(checkpoint, dataset, eps):
    objective = checkpoint.config.algorithm.objective
    baseline = f", objective {objective}" if objective != "coulomb" else ""
    return f"{dataset.name}, step {checkpoint.state.step:,}, eps {eps:.3g}{baseline}"
