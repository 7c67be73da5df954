"""Pieces of a step on both sides: a few layers in one direction, one of Adam's updates, the potential."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from benchmarks import torch_step
from benchmarks.agreement import FLOAT32, FLOAT64, agree, bounds
from benchmarks.device import faster_layout, torch_device
from benchmarks.limit import plane_limit
from benchmarks.measure import Contest
from benchmarks.peer import Peer
from minicoulomb.arrays.backend import Backend, to_host
from minicoulomb.arrays.workspace import Workspace
from minicoulomb.coulomb import potentials
from minicoulomb.layers import Layer
from minicoulomb.network import Network
from minicoulomb.optim import adam, adam_rates

# Samples of a comparison in float64.
SMALL = 4


class Layers:
    """Layers one after the other on both sides, with the same parameters, inputs x and cotangents dy.

    A direction is forward, input (dL/dx), parameters (dL/dparameters) or training: forward and both gradients.
    """

    def __init__(self, layers: list[Layer], shape: tuple[int, ...], n: int, dtype: str, backend: Backend):
        self.network = Network(layers, shape)
        rng = np.random.default_rng(0)
        draw = lambda *shape: rng.standard_normal(shape, dtype)
        theta, x, dy = self.network.init(rng, dtype), draw(n, *shape), draw(n, *self.network.output_shape)
        self.theta, self.x, self.dy = map(backend.to_device, (theta, x, dy))
        self.workspace = Workspace()
        _, self.residuals = self.network.forward(self._params(), self.x)
        self._host, self._device = (theta, x, dy), torch_device(backend)
        self.set_up_theirs()

    def set_up_theirs(self, channels_last: bool = False) -> None:
        """PyTorch's side at our numbers, with its images in that layout."""
        theta, x, dy = self._host
        self.peer = Peer(self.network, getattr(torch, str(x.dtype)), None, self._device, channels_last)
        self.peer.load(theta)
        self.their_x = self.peer.to_torch(x).requires_grad_()
        self.their_dy = self.peer.to_torch(dy)
        self.their_y = self.peer.module(self.their_x)

    def _params(self):
        return self.network.prepare(self.theta, self.workspace, keep=False)

    def ours(self, direction: str) -> tuple:
        network = self.network
        match direction:
            case "forward":
                return (network.forward(self._params(), self.x)[0],)
            case "input":
                return (network.input_gradient(self.residuals, self.dy),)
            case "parameters":
                return (network.param_gradient(self.residuals, self.dy),)
        y, residuals = network.forward(self._params(), self.x)
        return y, *network.gradients(residuals, self.dy)

    def theirs(self, direction: str) -> tuple:
        parameters, gradient = self.peer.parameters, torch.autograd.grad
        match direction:
            case "forward":
                with torch.no_grad():
                    return (self.peer.module(self.their_x),)
            case "input":
                return gradient(self.their_y, self.their_x, self.their_dy, retain_graph=True)
            case "parameters":
                return gradient(self.their_y, parameters, self.their_dy, retain_graph=True)
        y = self.peer.module(self.their_x)
        return y, *gradient(y, [self.their_x, *parameters], self.their_dy)

    def check(self, direction: str, bound: float) -> None:
        ours, theirs = map(to_host, self.ours(direction)), self.theirs(direction)
        arrays = {"parameters": 0, "training": 2}.get(direction, 1)  # the others are gradients of parameters
        parameters = [self.peer.flat(theirs[arrays:])] if theirs[arrays:] else []
        theirs = [*map(self.peer.to_ours, theirs[:arrays]), *parameters]
        for our, their in zip(ours, theirs, strict=True):
            agree(f"{self.network.root} {direction}, {our.dtype}, {our.shape}", our, their, bound)


def layers_contest(layers: list[Layer], shape: tuple[int, ...], n: int, direction: str, backend: Backend) -> Contest:
    """Layers on a batch of n, in one direction, after comparisons in float64 and float32."""
    Layers(layers, shape, SMALL, "float64", backend).check(direction, FLOAT64)
    pair = Layers(layers, shape, n, "float32", backend)
    theirs = partial(pair.theirs, direction)
    note = faster_layout(pair.set_up_theirs, theirs, backend)
    pair.check(direction, bounds(backend).layer)
    return Contest(partial(pair.ours, direction), theirs, note)


def adam_contest(size: int, form: dict[str, bool], backend: Backend) -> Contest:
    """An update of `size` parameters, with PyTorch's Adam in one of its forms: {} is the default."""
    lr, beta1, beta2, epsilon = 1e-3, 0.9, 0.999, 1e-8
    gradient = np.random.default_rng(0).standard_normal(size, np.float32)
    our_gradient = backend.to_device(gradient)
    # From 0, so that rounding is relative to the updates.
    theta, moments = backend.xp.zeros(size, np.float32), backend.xp.zeros((2, size), np.float32)
    device = torch_device(backend)
    parameter = torch.zeros(size, requires_grad=True, device=device)
    parameter.grad = torch.from_numpy(gradient).to(device)
    optimizer = torch.optim.Adam([parameter], lr, (beta1, beta2), epsilon, **form)
    t = 0

    def ours():
        nonlocal t
        t += 1
        adam(theta, our_gradient, moments, adam_rates(t, lr, beta1, beta2, epsilon))

    for _ in range(3):
        ours()
        optimizer.step()
    agree("parameters after three updates", to_host(theta), parameter.detach().cpu().numpy(), FLOAT32.layer)
    return Contest(ours, optimizer.step)


def potentials_contest(n: int, m: int, d: float, eps: float, scale: float, form: str, backend: Backend) -> Contest:
    """Phi at n generated and n real points of m coordinates; PyTorch's distances by `form`, "cdist" or "addmm"."""
    their_potentials: Callable = {"cdist": torch_step.potentials_by_cdist, "addmm": torch_step.potentials}[form]
    points = scale * np.random.default_rng(0).standard_normal((2, n, m))
    device = torch_device(backend)

    def sides(n, dtype):
        x, y = points[:, :n].astype(dtype)
        our_x, our_y = map(backend.to_device, (x, y))
        their_x, their_y = (torch.from_numpy(array).to(device) for array in (x, y))
        ours = lambda: potentials(our_x, our_y, d, eps)
        theirs = lambda: their_potentials(their_x, their_y, d, eps)
        return Contest(ours, theirs, limit=plane_limit(2 * n, backend) if (m, d) == (2, 2.0) else None)

    for contest, bound in ((sides(100, np.float64), FLOAT64), (sides(n, np.float32), bounds(backend).potentials)):
        for what, our, their in zip(("Phi(x)", "Phi(y)"), contest.ours(), contest.theirs(), strict=True):
            agree(f"{what} of {len(our)} points, {our.dtype}", to_host(our), their.cpu().numpy(), bound)
    return contest
