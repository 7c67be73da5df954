"""Whole steps of Algorithm 1 on both sides: gan.step against autograd and torch.optim.Adam."""

import numpy as np
import torch

from benchmarks.agreement import FLOAT64, agree, bounds
from benchmarks.device import faster_layout, torch_device
from benchmarks.measure import Contest
from benchmarks.peer import Peer, better_turned
from benchmarks.torch_step import TorchStep
from benchmarks.workloads import Workload
from minicoulomb.arrays.backend import Backend, to_host
from minicoulomb.arrays.workspace import Workspace
from minicoulomb.gan import gradients, initial_state, step
from minicoulomb.schedules import rates_at

# Samples of the comparison in float64.
SMALL = 4


class Pair:
    """One workload on both sides, at the same parameters."""

    def __init__(self, workload: Workload, backend: Backend):
        self.config = workload.config
        self.G, self.D = workload.networks()
        self.workspace = Workspace()
        self.device = torch_device(backend)
        rng = np.random.default_rng(0)
        self.batch = workload.batch(rng, backend)
        self.state = initial_state(self.G, self.D, dtype=self.config.run.dtype, xp=backend.xp)
        for vector in (self.state.theta, self.state.w):  # off the initial values, where shifts and biases are 0
            vector += backend.to_device(0.01 * rng.standard_normal(len(vector)), vector.dtype)
        self.set_up_theirs()

    def set_up_theirs(self, channels_last: bool = False) -> None:
        """PyTorch's side at our parameters, with its images in that layout."""
        turned, dtype = better_turned(self.G, self.D), getattr(torch, self.config.run.dtype)
        self.peers = [Peer(net, dtype, turned, self.device, channels_last) for net in (self.G, self.D)]
        for peer, vector in zip(self.peers, (self.state.theta, self.state.w), strict=True):
            peer.load(to_host(vector))
        self.torch_step = TorchStep(*self.peers, self.config)
        self.z, self.y = (peer.to_torch(to_host(a)) for peer, a in zip(self.peers, self.batch[:2], strict=True))

    def check(self, bound_losses: float, bound_gradients: float) -> None:
        """Both losses and both gradients of Algorithm 1; raises Disagreement."""
        state, config = self.state, self.config
        ours = gradients(
            *(self.G, self.D, state.theta, state.w, self.batch, config.algorithm, config.algorithm.eps),
            workspace=self.workspace,
        )
        dtheta, dw, loss_d, loss_g = self.torch_step.gradients(self.z, self.y)
        where = f"in {config.run.dtype}, {config.algorithm.batch_size} samples"
        agree(f"loss_d {where}", float(ours.loss_d), float(loss_d), bound_losses)
        agree(f"loss_g {where}", float(ours.loss_g), float(loss_g), bound_losses)
        agree(f"dL_D / dw {where}", to_host(ours.dw), self.peers[1].flat(dw), bound_gradients)
        agree(f"dL_G / dtheta {where}", to_host(ours.dtheta), self.peers[0].flat(dtheta), bound_gradients)

    def step(self) -> None:
        algorithm, rates = self.config.algorithm, rates_at(self.config.algorithm, self.state.step)
        step(self.G, self.D, self.state, [self.batch], algorithm, rates, workspace=self.workspace)
        self.state.step += 1

    def their_step(self) -> None:
        self.torch_step.step(self.z, self.y)


def step_contest(workload: Workload, backend: Backend) -> Contest:
    """A step of either side, after a comparison in float64 on few samples, and one in float32 on all."""
    Pair(workload.small(SMALL), backend).check(FLOAT64, FLOAT64)
    pair, bound = Pair(workload, backend), bounds(backend)
    note = faster_layout(pair.set_up_theirs, pair.their_step, backend) if len(workload.space.shape) == 3 else ""
    pair.check(bound.losses, bound.gradients)
    return Contest(pair.step, pair.their_step, note)
