"""Both sides on one device: at the same precision, synchronized, with the memory of the device for each in turn.

On a GPU, CuPy and PyTorch each put their work into the device's default CUDA stream, which runs it in order, and each
keep memory that they freed. PyTorch is at its best: cuDNN tries the algorithms for each shape and picks the fastest
(torch.backends.cudnn.benchmark), which may be one whose sums differ from run to run.
"""

import gc
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.measure import quick_time
from minicoulomb.arrays.backend import Backend
from minicoulomb.errors import UserError


def torch_device(backend: Backend) -> torch.device:
    """The device of PyTorch's tensors: that of the backend's arrays."""
    return torch.device("cpu") if backend.name == "numpy" else torch.device("cuda", backend.device)


def prepare_torch(backend: Backend) -> None:
    """Set PyTorch to the backend's device and TF32; UserError if PyTorch finds no GPU."""
    device = torch_device(backend)
    if device.type != "cuda":
        return
    if not torch.cuda.is_available():
        raise UserError(
            f"PyTorch {torch.__version__} finds no GPU (built for CUDA {torch.version.cuda}), CuPy has one: "
            "install a PyTorch for this driver's CUDA, or compare on the host with --backend numpy"
        )
    torch.cuda.set_device(device)
    torch.backends.cuda.matmul.allow_tf32 = backend.tf32
    torch.backends.cudnn.allow_tf32 = backend.tf32  # by default True, unlike the other
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.deterministic = False


def synchronize(backend: Backend) -> None:
    """Wait for both sides."""
    backend.synchronize()
    if torch_device(backend).type == "cuda":
        torch.cuda.synchronize()


def free_memory(backend: Backend) -> None:
    """Return the memory that either side keeps to the GPU, so that the other side can use it."""
    if torch_device(backend).type == "cuda":
        synchronize(backend)
        gc.collect()  # reference cycles hold memory too
        backend.xp.get_default_memory_pool().free_all_blocks()
        torch.cuda.empty_cache()


def faster_layout(set_up: Callable[[bool], None], work: Callable[[], object], backend: Backend) -> str:
    """Choose PyTorch's faster memory format on a GPU, channels first or last; return a note, "" on the host.

    set_up    prepares PyTorch's side with channels last (True) or first (False)

    On the host, PyTorch has its default, channels first.
    """
    if torch_device(backend).type != "cuda":
        return ""
    seconds = {}
    for channels_last in (False, True):
        set_up(channels_last)
        seconds[channels_last] = quick_time(work, partial(synchronize, backend))
        free_memory(backend)
    first, last = seconds.values()
    set_up(last < first)
    chosen = "last" if last < first else "first"
    return f"PyTorch with channels {chosen}, in {min(first, last) / max(first, last):.2f} of the time of the other way"
