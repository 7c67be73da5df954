"""A page on which the field of charges in the plane is played with; interactive.html is the page, and works as it is.

The page loads nothing and its Content-Security-Policy forbids it. Its charges at the start are the JSON of one element.
"""

import json
import re
from importlib.resources import files
from pathlib import Path

import numpy as np

from minicoulomb import pictures
from minicoulomb.arrays.backend import to_host
from minicoulomb.data.dataset import Dataset
from minicoulomb.errors import UserError, printable
from minicoulomb.evaluation import field_values
from minicoulomb.files import atomic_write
from minicoulomb.pictures.field_picture import MARGIN
from minicoulomb.training.checkpoint import Checkpoint

# Charges of each kind, by default and at most: with 100 of each the page has smooth motion on any computer.
CHARGES, MOST = 100, 1000
# Where the page has its charges at the start.
START = re.compile(r'(?<=<script type="application/json" id="start">\n).*?(?=\n</script>)', re.DOTALL)


def save_page(path: Path, start: dict | None = None) -> None:
    """Write the page, with the charges of `charges_at` or those of the page itself."""
    page = files(__package__).joinpath("interactive.html").read_text(encoding="utf-8")
    if start:
        data = json.dumps(start, allow_nan=False).replace("<", "\\u003c")  # no text ends the element
        page = START.sub(lambda _: data, page)
    with atomic_write(path) as file:
        file.write(page.encode())


def charges_at(checkpoint: Checkpoint, dataset: Dataset, n: int | None = None, seed: int = 0) -> dict:
    """What the page starts with: n generated and n real points (100), kernel and square of the field's picture.

    UserError unless the samples are points in the plane.
    """
    shape, located, n = checkpoint.space.shape, checkpoint.space.located, n or CHARGES
    if shape != (2,):
        raise UserError(f"samples of shape {shape}: --interactive shows points of two coordinates; use data of those")
    if n > MOST:
        raise UserError(f"{n} points of each kind: an interactive field has at most {MOST}; use -n {CHARGES}")
    sources = field_values.charges(checkpoint, dataset, n, seed)
    real, generated = located(to_host(sources.y)), located(to_host(sources.x))
    return {
        "title": printable(f"The field of {dataset.name} at step {checkpoint.state.step:,}"),
        "d": sources.d,
        "eps": sources.eps,
        "square": pictures.square_about(np.quantile(real, (0.005, 0.995), axis=0), MARGIN),
        "real": real.tolist(),
        "generated": generated.tolist(),
    }
