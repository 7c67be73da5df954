"""The weights of FID's Inception from a .pth, .safetensors or .npz file, checked, with batch normalization folded in.

A layer NAME of the table (architecture.py) has NAME.conv.weight w (c_out, c_in, kh, kw) and NAME.bn.weight gamma,
NAME.bn.bias beta, NAME.bn.running_mean mu and NAME.bn.running_var v, each (c_out,). Then

    gamma (w * x - mu) / sqrt(v + 1e-3) + beta  =  (s w) * x + (beta - s mu),      s = gamma / sqrt(v + 1e-3)

so only a kernel and a bias are kept. Other entries of the file (fc, num_batches_tracked) are not read.
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from minicoulomb.errors import UserError, explained
from minicoulomb.fid.architecture import EPSILON, kernel_shapes
from minicoulomb.fid.torch_file import LONGEST_PICKLE, read_torch
from minicoulomb.untrusted import array_in, opened, opened_zip

GET = "download pt_inception-2015-12-05-6726825d.pth from the releases of mseitzer/pytorch-fid on GitHub"
STATISTICS = ("weight", "bias", "running_mean", "running_var")


def load_weights(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> (kernel (kh, kw, c_in, c_out), bias (c_out,)), float32; UserError names what is missing or misshapen."""
    path = Path(path)
    tensors = _read(path)
    shapes = tensor_shapes()
    if missing := [name for name in shapes if name not in tensors]:
        about = f"lacks {len(missing)} of the {len(shapes)} tensors of FID's Inception, {missing[0]} first"
        raise UserError(f"{path}: {about}; {GET}")
    for name in shapes:
        if tensors[name].dtype.kind != "f" or not np.isfinite(tensors[name]).all():
            raise UserError(f"{path}: {name} must hold finite floats; it is damaged: {GET}")
    return {name: fold(tensors, name) for name in kernel_shapes()}


def tensor_shapes() -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that is read, by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, kernel in kernel_shapes().items():
        shapes[f"{name}.conv.weight"] = kernel
        shapes |= {f"{name}.bn.{part}": kernel[:1] for part in STATISTICS}
    return shapes


def fold(tensors: dict[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    """(kernel (kh, kw, c_in, c_out), bias (c_out,)) of one layer, computed in float64, returned as float32."""
    gamma, beta, mean, variance = (tensors[f"{name}.bn.{part}"].astype(np.float64) for part in STATISTICS)
    scale = gamma / np.sqrt(variance + EPSILON)  # (c_out,)
    kernel = tensors[f"{name}.conv.weight"].transpose(2, 3, 1, 0) * scale
    return np.ascontiguousarray(kernel, np.float32), (beta - scale * mean).astype(np.float32)


def _read(path):
    """The tensors of Inception that the file has, by name; its first bytes decide the format."""
    shapes = tensor_shapes()

    def wanted(name, shape, _=None):
        """Whether Inception has the tensor; UserError before it is read if its shape is wrong."""
        if name in shapes and tuple(shape) != shapes[name]:
            raise UserError(f"{path}: {name} is {tuple(shape)}, FID's Inception has {shapes[name]}; {GET}")
        return name in shapes

    with explained(f"{path}: cannot be read", GET), opened(path) as file:
        # torch's old format has no checksums, but releases end their names with the first digits of a SHA-256.
        wanted_digits = re.search(r"-([0-9a-f]{8,64})\.pth$", path.name)
        if wanted_digits and not hashlib.file_digest(file, "sha256").hexdigest().startswith(wanted_digits[1]):
            raise UserError(f"{path}: its SHA-256 must begin with {wanted_digits[1]}, as its name says; {GET}")
        file.seek(0)
        start = file.read(9)
        if start[8:] == b"{":
            return read_safetensors(path, wanted)
        if not start.startswith((b"PK\x03\x04", b"\x80")):  # \x80 begins a pickle
            raise UserError(f"{path}: neither .pth, .safetensors nor .npz; {GET}")
        if start.startswith(b"PK"):  # .npz, or torch's zip format
            with explained(f"{path}: not a whole .npz or .pth file", GET, Exception), opened_zip(file) as archive:
                names = archive.namelist()
                if not any(name.endswith("/data.pkl") for name in names):
                    found = [name for name in shapes if f"{name}.npy" in names]
                    return {name: array_in(archive, name, wanted) for name in found}
    return read_torch(path, wanted)


def read_safetensors(
    path: Path, wanted: Callable[[str, tuple], bool] = lambda name, shape: True
) -> dict[str, np.ndarray]:
    """The tensors of a .safetensors file by name, only those that are wanted by name and shape."""
    with explained(f"{path}: needs the package safetensors", "pip install 'minicoulomb[fid]'", ImportError):
        from safetensors import safe_open
    # Damaged files raise nearly anything, and so do types that NumPy lacks.
    damaged = explained(f"{path}: not a readable .safetensors file of floats", GET, Exception)
    with damaged, opened(path) as file:
        if int.from_bytes(file.read(8), "little") > LONGEST_PICKLE:
            raise ValueError("its header is too long")
        with safe_open(path, framework="numpy") as tensors:
            names = [name for name in tensors.keys() if wanted(name, tensors.get_slice(name).get_shape())]  # noqa: SIM118
            return {name: tensors.get_tensor(name) for name in names}
