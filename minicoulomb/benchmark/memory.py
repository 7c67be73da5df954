"""Peak memory of a whole step, each side in a fresh process of its own.

    growth = (peak of the resident memory over STEPS steps) - (resident memory after the imports)

Ours is set up as the command line is (__main__.py), where memory is kept for the next step; PyTorch's as it comes.
Read from /proc: getrusage's ru_maxrss starts at what the process held that started this one.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np

from minicoulomb.backend import open_backend
from minicoulomb.benchmark.workloads import WORKLOADS, Workload
from minicoulomb.errors import UserError
from minicoulomb.gan import initial_state, step
from minicoulomb.threads import set_threads
from minicoulomb.workspace import Workspace

IMPORTS = {"ours": "minicoulomb.__main__", "theirs": "torch"}
STATUS = Path("/proc/self/status")
STEPS = 2  # the second finds the moments of both Adams in place


def peak_memory(side: str, workload: str, threads: int) -> int:
    """Bytes that steps of WORKLOADS[workload] add to a process; UserError where that cannot be measured."""
    if not STATUS.exists():
        raise UserError(f"memory: {STATUS} is not there; it is measured on Linux only, name other cases")
    program = f"import {IMPORTS[side]}; from minicoulomb.benchmark import memory; memory.{_print_growth.__name__}"
    command = [sys.executable, "-c", f"{program}({side!r}, {workload!r}, {threads})"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise UserError(f"memory: the process of {workload}, {side}, ended with {result.returncode}: {result.stderr}")
    return int(result.stdout)


def _resident(line):
    """Bytes in a line of /proc/self/status: VmRSS now, VmHWM at most so far."""
    fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return 1024 * int(fields[line].split()[0])


def _our_steps(workload: Workload):
    G, D = workload.networks()
    backend = open_backend("numpy")
    state = initial_state(G, D, workload.config, backend.xp)
    batch = workload.batch(np.random.default_rng(0), backend)
    workspace = Workspace()
    return lambda: step(G, D, state, [batch], workload.config, workspace)


def _their_steps(workload: Workload):
    from minicoulomb.benchmark.peer import Peer, better_turned
    from minicoulomb.benchmark.torch_step import TorchStep

    networks = workload.networks()
    turned = better_turned(*networks)
    G, D = (Peer(network, turned=turned) for network in networks)
    torch_step = TorchStep(G, D, workload.config)
    batch = workload.batch(np.random.default_rng(0), open_backend("numpy"))
    z, y = G.to_torch(batch.z), D.to_torch(batch.y)
    return lambda: torch_step.step(z, y)


def _print_growth(side, workload, threads):
    set_threads(threads)
    if side == "theirs":
        import torch

        torch.set_num_threads(threads)
    before = _resident("VmRSS")
    one_step = (_our_steps if side == "ours" else _their_steps)(WORKLOADS[workload]())
    for _ in range(STEPS):
        one_step()
    print(_resident("VmHWM") - before)
