"""Whole steps of Algorithm 1 on both sides: gan.step against autograd and torch.optim.Adam.

    step_contest       each side launches its CUDA kernels one by one
    graph_contest      each side launches one CUDA graph
    compiled_contest   PyTorch's networks go through torch.compile, and we launch a graph where there is a GPU

On our side a graph reads the numbers of schedules on the device, as in training; no side draws or uploads a batch.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from benchmarks.agreement import FLOAT64, agree, bounds
from benchmarks.device import faster_layout, torch_device
from benchmarks.measure import Contest, Skipped
from benchmarks.torch_step import TorchStep, captured
from benchmarks.workloads import Workload
from minicoulomb.arrays.backend import Backend, to_host
from minicoulomb.arrays.graph import Graph
from minicoulomb.arrays.matmul import why_no_capture
from minicoulomb.arrays.workspace import Workspace
from minicoulomb.gan import gradients, initial_state, step
from minicoulomb.schedules import packed, rates_at, unpacked
from minicoulomb.training.steps import taken_in_place
from minicoulomb.verify import to_torch

# Samples of the comparison in float64.
SMALL = 4
# Arguments of torch.compile.
COMPILE: dict = {}


class Pair:
    """One workload on both sides, at the same parameters."""

    def __init__(self, workload: Workload, backend: Backend):
        self.config = workload.config
        self.G, self.D = workload.networks()
        self.workspace, self.backend = Workspace(), backend
        self.device = torch_device(backend)
        rng = np.random.default_rng(0)
        self.batch = workload.batch(rng, backend)
        self.state = initial_state(self.G, self.D, dtype=self.config.run.dtype, xp=backend.xp)
        for vector in (self.state.theta, self.state.w):  # off the initial values, where shifts and biases are 0
            vector += backend.to_device(0.01 * rng.standard_normal(len(vector)), vector.dtype)
        self.set_up_theirs()

    def set_up_theirs(self, channels_last: bool = False, way: str = "eager") -> None:
        """PyTorch's side at our parameters, with its images in that layout: eager, compiled, or one CUDA graph."""
        vectors = to_host(self.state.theta), to_host(self.state.w)
        networks = zip((self.G, self.D), vectors, strict=True)
        self.modules = [to_torch(*pair, device=self.device, channels_last=channels_last) for pair in networks]
        compiled = [torch.compile(module, **COMPILE) if way == "compiled" else module for module in self.modules]
        self.torch_step = TorchStep(*compiled, self.config, capturable=way == "graph")
        self.z, self.y = (net.to_tensor(to_host(a)) for net, a in zip(self.modules, self.batch[:2], strict=True))
        eager = lambda: self.torch_step.step(self.z, self.y)
        self.their_step = captured(eager, self.device) if way == "graph" else eager

    def check(self, bound_losses: float, bound_gradients: float) -> None:
        """Both losses and both gradients of Algorithm 1; raises Disagreement."""
        state, config = self.state, self.config
        at = self.G, self.D, state.theta, state.w, self.batch
        ours = gradients(*at, config.algorithm, config.algorithm.eps, workspace=self.workspace)
        dtheta, dw, loss_d, loss_g = self.torch_step.gradients(self.z, self.y)
        where = f"in {config.run.dtype}, {config.algorithm.batch_size} samples"
        agree(f"loss_d {where}", float(ours.loss_d), float(loss_d), bound_losses)
        agree(f"loss_g {where}", float(ours.loss_g), float(loss_g), bound_losses)
        agree(f"dL_D / dw {where}", to_host(ours.dw), self.modules[1].flat(dw), bound_gradients)
        agree(f"dL_G / dtheta {where}", to_host(ours.dtheta), self.modules[0].flat(dtheta), bound_gradients)

    def step(self) -> None:
        algorithm = self.config.algorithm
        rates = rates_at(algorithm, self.state.step)
        step(self.G, self.D, self.state, [self.batch], algorithm, rates, workspace=self.workspace)
        self.state.step += 1

    def graph_step(self) -> Callable[[], object]:
        """The function that launches our step as one CUDA graph; it raises Skipped where that cannot be."""
        algorithm, rates, state, xp = (
            self.config.algorithm,
            rates_at(self.config.algorithm, 0),
            self.state,
            self.backend.xp,
        )
        graph, finite = Graph(xp, why_no_capture(xp)), xp.ones((), bool)
        numbers = self.backend.to_device(packed(rates), self.config.run.dtype)

        def take():
            of_step = unpacked(numbers, rates)
            return step(self.G, self.D, state, [self.batch], algorithm, of_step, workspace=self.workspace)

        def launch():
            values = graph(lambda: taken_in_place(state, finite, take).values)
            if graph.refusal:
                raise Skipped(f"no CUDA graph: {graph.refusal}")
            return values

        return launch


def step_contest(workload: Workload, backend: Backend) -> Contest:
    """A step of either side, after a comparison in float64 on few samples, and one in float32 on all."""
    Pair(workload.small(SMALL), backend).check(FLOAT64, FLOAT64)
    return _contest(workload, backend, "eager")


def graph_contest(workload: Workload, backend: Backend) -> Contest:
    """A step of either side as one CUDA graph, after a comparison in float32."""
    if backend.name == "numpy":
        raise Skipped("a CUDA graph takes a GPU; with --backend cupy it is measured")
    return _contest(workload, backend, "graph")


def compiled_contest(workload: Workload, backend: Backend) -> Contest:
    """Our step as one CUDA graph, on the host as it is, against PyTorch's networks compiled."""
    return _contest(workload, backend, "compiled")


def _contest(workload, backend, way):
    pair, bound, shape = Pair(workload, backend), bounds(backend), workload.space.shape
    pair.check(bound.losses, bound.gradients)
    as_graph = way != "eager" and backend.name == "cupy"
    ours = pair.graph_step() if as_graph else pair.step
    set_up, theirs, are_images = partial(pair.set_up_theirs, way=way), lambda: pair.their_step(), len(shape) == 3
    if way == "compiled":  # once, for it takes a minute
        set_up(channels_last=are_images and as_graph)
        return Contest(ours, theirs, "PyTorch with channels last" if are_images and as_graph else "")
    set_up()
    note = faster_layout(set_up, theirs, backend) if are_images else ""
    return Contest(ours, theirs, note)
