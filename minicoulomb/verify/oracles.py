"""Other libraries as witnesses: autograd, JAX and PyTorch compute the same functions by their operations.

    oracle = open_oracle("jax")
    dx, dtheta = oracle.gradients(network, theta, x, dy)         to be compared with network.gradients
    D_torch = to_torch(D, w)                                     a network as PyTorch's modules

oracle.py says what an oracle computes. Nothing else in the package needs these libraries.
"""

from importlib import import_module

from minicoulomb.errors import UserError, explained
from minicoulomb.network import Network
from minicoulomb.verify.oracle import Oracle

# autograd is the one that installs in a second.
ORACLES = ("autograd", "jax", "torch")


def open_oracle(name: str) -> Oracle:
    """An oracle that computes with a library, in float64.

    Parameters
    ----------
    name : {"autograd", "jax", "torch"}
        The library.

    Returns
    -------
    Oracle
        Its `forward`, `gradients`, `field` and `objective` accept and return NumPy arrays.

    Raises
    ------
    UserError
        The library is unknown or not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from minicoulomb.layers import Linear
    >>> from minicoulomb.network import Network
    >>> network, theta, x = Network([Linear(2, 1)], (2,)), np.array([3.0, 4.0, 5.0]), np.array([[1.0, 2.0]])
    >>> open_oracle("autograd").gradients(network, theta, x, dy=np.ones((1, 1)))
    (array([[3., 4.]]), array([1., 2., 1.]))
    """
    if name not in ORACLES:
        raise UserError(f"oracle {name!r}: must be one of {', '.join(ORACLES)}")
    return getattr(_import(f"{name}_oracle", name), f"{name.capitalize()}Oracle")()


def to_torch(network: Network, theta, statistics=None, device="cpu", channels_last: bool = False):
    """A network as a `torch.nn.Module` of PyTorch's layers, with the same parameters.

    Parameters
    ----------
    network : Network
        The layers.
    theta : array (network.size,)
        The parameters; PyTorch computes in their dtype.
    statistics : array (network.statistics_size,), optional
        Means and variances that batch normalization uses; by default those of each batch.
    device : str or torch.device
        Where the parameters are.
    channels_last : bool
        Whether the numbers of a pixel lie side by side in memory. Images are (n, c, h, w) in either case.

    Returns
    -------
    TorchNetwork
        A module with the methods

        - ``to_tensor(x)`` and ``to_array(y)``: inputs (n, h, w, c) to tensors (n, c, h, w), and back;
        - ``flat(tensors)``: tensors shaped as ``parameters()``, such as their gradients, as one vector like theta;
        - ``load(theta, statistics=None)``: another vector into the parameters.

    Raises
    ------
    UserError
        PyTorch is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from minicoulomb.layers import Conv
    >>> from minicoulomb.network import Network
    >>> network = Network([Conv(1, 2, 3)], (8, 8, 1))
    >>> module = to_torch(network, network.init(np.random.default_rng(0)))
    >>> y = module(module.to_tensor(np.ones((5, 8, 8, 1), np.float32)))
    >>> y.shape
    torch.Size([5, 2, 6, 6])
    >>> y.sum().backward()
    >>> dtheta = module.flat(parameter.grad for parameter in module.parameters())
    >>> dtheta.shape == (network.size,)
    True
    """
    return _import("torch_network", "torch").TorchNetwork(network, theta, statistics, device, channels_last)


def _import(file, library):
    with explained(f"{library} does not import", f"pip install {library}, or compare with another", ImportError):
        return import_module(f"minicoulomb.verify.{file}")


__all__ = ["ORACLES", "Oracle", "open_oracle", "to_torch"]
