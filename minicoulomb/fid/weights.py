"""The weights of FID's Inception from a .pth, .safetensors or .npz file, checked, with batch normalization folded in.

A layer NAME of the table (architecture.py) has NAME.conv.weight w (c_out, c_in, kh, kw) and NAME.bn.weight gamma,
NAME.bn.bias beta, NAME.bn.running_mean mu and NAME.bn.running_var v, each (c_out,). Then

    gamma (w * x - mu) / sqrt(v + 1e-3) + beta  =  (s w) * x + (beta - s mu),      s = gamma / sqrt(v + 1e-3)

so only a kernel and a bias are kept. Other entries of the file (fc, num_batches_tracked) are not read.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from minicoulomb.errors import UserError, explained
from minicoulomb.fid.architecture import EPSILON, kernel_shapes
from minicoulomb.fid.torch_file import read_torch

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
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise UserError(f"{path}: {name} is {tensors[name].shape}, FID's Inception has {shape}; {GET}")
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
    """The file's tensors by name; its first bytes decide the format."""
    wanted = tensor_shapes().__contains__
    with explained(f"{path}: cannot be read", GET), path.open("rb") as file:
        start = file.read(9)
    if start[8:] == b"{":
        return read_safetensors(path, wanted)
    if not start.startswith((b"PK\x03\x04", b"\x80")):  # \x80 begins a pickle
        raise UserError(f"{path}: neither .pth, .safetensors nor .npz; {GET}")
    if start.startswith(b"PK"):  # .npz, or torch's zip format
        damaged = explained(f"{path}: not a whole .npz or .pth file", GET, Exception)
        with damaged, path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if not any(name.endswith("/data.pkl") for name in file.files):
                return {name: np.asarray(file[name]) for name in file.files if wanted(name)}
    return read_torch(path, wanted)


def read_safetensors(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, np.ndarray]:
    """The tensors of a .safetensors file by name, only those whose name is wanted."""
    with explained(f"{path}: needs the package safetensors", "pip install 'minicoulomb[fid]'", ImportError):
        from safetensors import safe_open
    # Damaged files raise nearly anything, and so do types that NumPy lacks.
    damaged = explained(f"{path}: not a readable .safetensors file of floats", GET, Exception)
    with damaged, safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys() if wanted(name)}  # noqa: SIM118, no dict
