"""Make minicoulomb/training/trained/*.npz, models that the package brings: runs without what no sample needs.

    minicoulomb train --preset grid --seed 0
    python tests/pack_trained.py runs/00000-grid

The averages take the place of the last parameters, and Adam's moments are 0, which takes no room in a compressed file.
"""

import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np

from minicoulomb.training import run as runs

TARGET = Path(runs.__file__).with_name("trained")


def pack(folder, target):
    """Write the last checkpoint of the run `folder` to `target`; equal runs give equal bytes."""
    with np.load(runs.find_checkpoint(Path(folder))) as file:
        arrays = dict(file)
    about = json.loads(arrays.pop("about").tobytes())
    for name, average in (("theta", "average"), ("statistics", "average_statistics")):
        arrays[name] = arrays.pop(average, arrays[name])
    arrays |= {name: np.zeros_like(arrays[name]) for name in ("moments_g", "moments_d")}
    about["config"] |= {"average": 0.0, "threads": None}
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    TARGET.mkdir(exist_ok=True)
    for folder in sys.argv[1:]:
        pack(folder, TARGET / f"{Path(folder).name.partition('-')[2]}.npz")
