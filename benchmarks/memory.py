"""Peak memory of a whole step, each side in a fresh process.

On the host

    growth = (peak of the resident memory over STEPS steps) - (resident memory after the imports)

This package's process has the malloc settings of the command line (__main__.py), PyTorch's has the defaults. Memory is
read from /proc, because getrusage's ru_maxrss starts at the size of the parent process.

On a GPU it is the largest sum of arrays during the last step, as each library counts what its pool lends, with the size
of the pool beside it. Workspaces of cuDNN are PyTorch's arrays; that of cuBLAS has a few MiB and lies outside of CuPy's
pool. In the first step PyTorch tries cuDNN's algorithms, and some of these need memory that no later step needs.
PyTorch's images have channels first.
"""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.workloads import WORKLOADS, Workload
from minicoulomb.arrays.backend import Backend, open_backend
from minicoulomb.arrays.threads import set_threads
from minicoulomb.arrays.workspace import Workspace
from minicoulomb.errors import UserError
from minicoulomb.gan import initial_state, step
from minicoulomb.schedules import rates_at
from minicoulomb.verify import to_torch

IMPORTS = {"ours": "minicoulomb.__main__", "theirs": "torch"}
STATUS = Path("/proc/self/status")
STEPS = 2  # the second finds the moments of both Adams in place


class Peak(NamedTuple):
    """Bytes: used by arrays at the peak; held by the pool of a GPU's memory, 0 on the host."""

    used: int
    held: int = 0


def peak_memory(side: str, workload: str, threads: int, backend: Backend) -> Peak:
    """The memory that steps of WORKLOADS[workload] add to a process; UserError if that cannot be measured."""
    if backend.name == "numpy" and not STATUS.exists():
        raise UserError(f"memory: {STATUS} does not exist; memory is measured on Linux only, name other cases")
    arguments = side, workload, threads, backend.name, backend.device, backend.tf32
    program = f"import {IMPORTS[side]}; from benchmarks import memory; memory.{_print_peak.__name__}"
    command = [sys.executable, "-c", program + repr(arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"memory: the process of {workload}, {side}, ended with {result.returncode}: {reason}")
    return Peak(*map(int, result.stdout.split()))


def _print_peak(side, workload, threads, *backend):
    set_threads(threads)
    backend, workload = open_backend(*backend), WORKLOADS[workload]()
    if side == "theirs":
        import torch

        torch.set_num_threads(threads)
    steps = _our_steps if side == "ours" else _their_steps
    if backend.name == "numpy":
        peak = _growth(steps, workload, backend)
    else:
        peak = (_our_peak if side == "ours" else _their_peak)(steps, workload, backend)
    print(*peak)


def _growth(steps, workload, backend):
    before = _resident("VmRSS")
    one_step = steps(workload, backend)
    for _ in range(STEPS):
        one_step()
    return Peak(_resident("VmHWM") - before)


def _resident(line):
    """Bytes in a line of /proc/self/status: VmRSS now, VmHWM at most so far."""
    fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return 1024 * int(fields[line].split()[0])


def _our_peak(steps, workload, backend):
    class Count(backend.xp.cuda.MemoryHook):
        """Sizes are those that the pool lends, multiples of 512 bytes."""

        name, used, peak = "peak", 0, 0

        def malloc_postprocess(self, mem_size, **_):
            self.used += mem_size
            self.peak = max(self.peak, self.used)

        def free_postprocess(self, mem_size, **_):
            self.used -= mem_size

    with Count() as count:
        one_step = steps(workload, backend)
        for _ in range(STEPS):
            count.peak = count.used
            one_step()
        backend.synchronize()
    return Peak(count.peak, backend.xp.get_default_memory_pool().total_bytes())


def _their_peak(steps, workload, backend):
    import torch

    one_step = steps(workload, backend)
    for _ in range(STEPS):
        torch.cuda.reset_peak_memory_stats()
        one_step()
    torch.cuda.synchronize()
    return Peak(torch.cuda.max_memory_allocated(), torch.cuda.memory_reserved())


def _our_steps(workload: Workload, backend: Backend):
    G, D = workload.networks()
    state = initial_state(G, D, dtype=workload.config.run.dtype, xp=backend.xp)
    batch = workload.batch(np.random.default_rng(0), backend)
    workspace = Workspace()
    algorithm = workload.config.algorithm
    rates = rates_at(algorithm, 0)
    return lambda: step(G, D, state, [batch], algorithm, rates, workspace=workspace)


def _their_steps(workload: Workload, backend: Backend):
    from benchmarks.device import prepare_torch, torch_device
    from benchmarks.torch_step import TorchStep

    prepare_torch(backend)
    networks, rng = workload.networks(), np.random.default_rng(0)
    G, D = (to_torch(network, network.init(rng), device=torch_device(backend)) for network in networks)
    torch_step = TorchStep(G, D, workload.config)
    batch = workload.batch(rng, open_backend("numpy"))
    z, y = G.to_tensor(batch.z), D.to_tensor(batch.y)
    return lambda: torch_step.step(z, y)
