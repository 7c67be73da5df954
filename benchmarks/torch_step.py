"""Algorithm 1 as a user of PyTorch writes it: two modules, autograd, and an Adam for each.

x = G(z);  L_D and its gradient in w;  L_G and its gradient in theta, through the same pass of D;  both Adams

Adam has its default form on the host, and on a GPU the fused one, the fastest, which a user has to choose.
"""

from collections.abc import Callable

import torch
from torch import nn

from benchmarks.measure import WARM_UP, Skipped
from minicoulomb.config import Config


class TorchStep:
    """The step of gan.step without noise, penalty and averages, which no benchmark has.

    With `capturable`, Adam keeps its numbers on the GPU, where a CUDA graph reads them.
    """

    def __init__(self, G: nn.Module, D: nn.Module, config: Config, capturable: bool = False):
        self.G, self.D, self.config, algorithm = G, D, config, config.algorithm
        self.parameters_g, self.parameters_d = list(G.parameters()), list(D.parameters())
        device = self.parameters_g[0].device
        settings = {"eps": algorithm.adam_epsilon, "fused": True if device.type == "cuda" else None}

        def adam(parameters, lr, beta1):
            if capturable:
                settings["capturable"], lr = True, torch.tensor(lr, device=device)
            return torch.optim.Adam(parameters, lr, (beta1, algorithm.beta2), **settings)

        self.adam_g = adam(self.parameters_g, algorithm.lr_g, algorithm.beta1_g)
        self.adam_d = adam(self.parameters_d, algorithm.lr_d, algorithm.beta1_d)

    def gradients(self, z: torch.Tensor, y: torch.Tensor):
        """(dtheta, dw, loss_d, loss_g), the gradients as lists of tensors shaped as the parameters."""
        config = self.config
        scale = config.algorithm.potential_scale * (
            config.algorithm.eps**config.algorithm.d if config.algorithm.relative_potential else 1.0
        )
        x = self.G(z)
        with torch.no_grad():
            phi_x, phi_y = potentials(x.flatten(1), y.flatten(1), config.algorithm.d, config.algorithm.eps)
        d_x, d_y = self.D(x), self.D(y)
        loss_d = 0.5 * ((d_x - scale * phi_x).square().mean() + (d_y - scale * phi_y).square().mean())
        loss_g = -0.5 * d_x.mean()
        dw = torch.autograd.grad(loss_d, self.parameters_d, retain_graph=True)
        dtheta = torch.autograd.grad(loss_g, self.parameters_g)
        return dtheta, dw, loss_d.detach(), loss_g.detach()

    def step(self, z: torch.Tensor, y: torch.Tensor) -> None:
        """One step, in place."""
        dtheta, dw, _, _ = self.gradients(z, y)
        parameters, gradients = self.parameters_g + self.parameters_d, dtheta + dw
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = _laid_out_as(parameter, gradient)
        self.adam_d.step()
        self.adam_g.step()


def captured(step: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """The function that launches `step` as one CUDA graph, captured after a few calls on a stream of their own."""
    if device.type != "cuda":
        raise Skipped("PyTorch captures no CUDA graph without a GPU")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def _laid_out_as(parameter, gradient):
    """The gradient with its numbers in the parameter's order, as `backward()` makes it and the fused Adam needs it.

    It is copied only if it has another order, which is rare.
    """
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter, requires_grad=False).copy_(gradient)


def potentials(x: torch.Tensor, y: torch.Tensor, d: float, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(Phi(x), Phi(y)), of x (n_x, m) and y (n_y, m), with the cross terms computed once.

    r^2 = |a|^2 + |b|^2 - 2 a.b, as torch.cdist computes it for more than 25 points, without the root.
    """
    x2, y2 = x.square().sum(1), y.square().sum(1)

    def kernel(a, a2, b, b2):
        r2 = torch.addmm(b2, a, b.T, alpha=-2).add_(a2[:, None]).clamp_min_(0)
        return r2.add_(eps**2).pow_(-d / 2)

    return _potentials((x, x2), (y, y2), kernel)


def potentials_by_cdist(x: torch.Tensor, y: torch.Tensor, d: float, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The same with torch.cdist."""
    return _potentials((x,), (y,), lambda a, b: torch.cdist(a, b).square_().add_(eps**2).pow_(-d / 2))


# Pairs with their kernel in memory at a time, 512 MB: all pairs of 10^4 points.
PAIRS = 2**27


def _potentials(x: tuple[torch.Tensor, ...], y: tuple[torch.Tensor, ...], kernel: Callable):
    """(Phi(x), Phi(y)) in blocks of rows that fit in memory; x and y are the arguments of the kernel for each set."""
    n_x, n_y = len(x[0]), len(y[0])
    if max(n_x, n_y) ** 2 <= PAIRS:
        cross = kernel(*x, *y)
        return cross.mean(1) - kernel(*x, *x).mean(1), kernel(*y, *y).mean(1) - cross.mean(0)
    phi_x, phi_y, sums = [], [], torch.zeros_like(y[0][:, 0])
    rows = max(1, PAIRS // max(n_x, n_y))
    for block in zip(*(t.split(rows) for t in x), strict=True):
        cross = kernel(*block, *y)
        sums += cross.sum(0)
        phi = cross.mean(1)
        del cross
        phi_x.append(phi - kernel(*block, *x).mean(1))
    for block in zip(*(t.split(rows) for t in y), strict=True):
        phi_y.append(kernel(*block, *y).mean(1))
    return torch.cat(phi_x), torch.cat(phi_y) - sums / n_x
