"""Both sides on one device: at the same precision, waited for together, with its memory to each in turn.

On a GPU, CuPy and PyTorch each give work to the device's default stream, which does it in the order given, and each
keep the memory that they have freed. PyTorch is at its best there: cuDNN picks the fastest algorithm for each shape
by trying them (torch.backends.cudnn.benchmark), and may use one whose sums differ from run to run.
"""

import gc
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.measure import quick_time
from minicoulomb.arrays.backend import Backend
from minicoulomb.errors import UserError


def torch_device(backend: Backend) -> torch.device:
    """Where PyTorch's tensors are to be: where the backend's arrays are."""
    return torch.device("cpu") if backend.name == "numpy" else torch.device("cuda", backend.device)


def prepare_torch(backend: Backend) -> None:
    """PyTorch on the backend's device, and with TF32 where the backend has it; UserError where it finds no GPU."""
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
    torch.backends.cudnn.allow_tf32 = backend.tf32  # True, unlike the other, where nobody sets it
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.deterministic = False


def synchronize(backend: Backend) -> None:
    """Wait for both sides."""
    backend.synchronize()
    if torch_device(backend).type == "cuda":
        torch.cuda.synchronize()


def free_memory(backend: Backend) -> None:
    """Give back to the GPU what either side keeps for later: the other could not have it."""
    if torch_device(backend).type == "cuda":
        synchronize(backend)
        gc.collect()  # what refers to itself in a circle has memory too
        backend.xp.get_default_memory_pool().free_all_blocks()
        torch.cuda.empty_cache()


def faster_layout(set_up: Callable[[bool], None], work: Callable[[], object], backend: Backend) -> str:
    """Let PyTorch's images lie in memory as its work is faster, channels first or last; says which, or nothing.

    set_up    prepares PyTorch's side, with channels last or first

    The default, channels first, is all that is tried on the host.
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
