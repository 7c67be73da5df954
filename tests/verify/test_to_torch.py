"""A network in PyTorch computes the same, and parameters and gradients go both ways."""

import subprocess
import sys

import numpy as np
import pytest

from minicoulomb.config import Networks
from minicoulomb.errors import UserError
from minicoulomb.layers import (
    AveragePool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Layer,
    LeakyReLU,
    Linear,
    ReLU,
    Reshape,
    Residual,
    Scale,
    Sequential,
    Softmax,
    Tanh,
    Upsample,
)
from minicoulomb.models import SampleSpace, build
from minicoulomb.network import Network
from minicoulomb.verify import to_torch


@pytest.fixture(autouse=True)
def torch(request):
    if "without" not in request.node.name:
        return pytest.importorskip("torch", reason="networks are translated to PyTorch; pip install torch")


def assert_same(network, bound=1e-12, **settings):
    """Outputs and both gradients, on the same parameters and a random cotangent."""
    rng = np.random.default_rng(0)
    theta, x = rng.standard_normal(network.size), rng.standard_normal((5, *network.input_shape))
    dy = rng.standard_normal((5, *network.output_shape))
    y, residuals = network.forward(theta, x)
    dx, dtheta = network.gradients(residuals, dy)
    module = to_torch(network, theta, **settings)
    their_x = module.to_tensor(x).requires_grad_()
    their_y = module(their_x)
    their_y.backward(module.to_tensor(dy))
    theirs = [module.to_array(their_y), module.to_array(their_x.grad)]
    theirs.append(module.flat(parameter.grad for parameter in module.parameters()))
    for ours, their in zip((y, dx, dtheta), theirs, strict=True):
        assert ours.shape == their.shape
        assert np.linalg.norm(ours - their) <= bound * np.linalg.norm(their)


GEOMETRIES = [
    (Conv(2, 3, 5, 2, ((1, 2), (1, 2))), (8, 6, 2)),
    (Conv(2, 3, 5, 2, ((2, 1), (2, 1))), (8, 6, 2)),
    (Conv(2, 3, (4, 3), (2, 3), ((0, 3), (1, 0))), (7, 9, 2)),
    (Conv(2, 3, 3, 2, 1, bias=False), (8, 8, 2)),
    (Conv(2, 3, (5,), 2, ((1, 2),)), (9, 2)),
    (ConvTranspose(3, 2, 5, 2, ((1, 2), (1, 2))), (4, 3, 3)),
    (ConvTranspose(3, 2, 5, 2, ((2, 1), (2, 1))), (4, 3, 3)),
    (ConvTranspose(3, 2, (4, 3), (2, 3), ((0, 3), (1, 0)), bias=False), (4, 3, 3)),
    (ConvTranspose(3, 2, (5,), 2, ((2, 1),)), (5, 3)),
]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("layer", "shape"), GEOMETRIES)
def test_convolutions_of_any_geometry(layer, shape, channels_last):
    assert_same(Network([layer], shape), channels_last=channels_last and len(shape) == 3)


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([BatchNorm(3), LeakyReLU()], (4, 5, 3)),
        ([ReLU(), BatchNorm(3), ReLU()], (3,)),
        ([BatchNorm(3, Tanh(2.0, 0.5)), Softmax()], (4, 3)),
        ([Residual(Linear(4, 4), Tanh(2.0, 0.5), Linear(4, 4), scale=0.3)], (4,)),
        (
            [Residual(Upsample(), ReLU(), Conv(3, 2, 1), scale=0.3, shortcut=Sequential(Conv(3, 2, 1), Upsample()))],
            (4, 2, 3),
        ),
        ([BatchNorm(3), Residual(AveragePool(), ReLU(), shortcut=AveragePool())], (4, 6, 3)),
        ([Linear(2, 12), ReLU(), Reshape((2, 3, 2)), Conv(2, 2, 2), Reshape((4,)), Linear(4, 1)], (2,)),
        ([Reshape((12,)), Scale(0.5), Linear(12, 12), Scale(0.5), Reshape((3, 2, 2))], (2, 3, 2)),
        ([Linear(2, 12), BatchNorm(12), Reshape((2, 3, 2)), Tanh(), Reshape((3, 4)), Reshape((12,))], (2,)),
        ([Reshape((12,)), ReLU()], (2, 3, 2)),
    ],
)
def test_other_layers(layers, shape):
    assert_same(Network(layers, shape), bound=1e-11)


@pytest.mark.parametrize("name", ["mlp", "my", "dcgan", "resnet"])
def test_networks_and_their_images_and_parameters_come_back_to_the_bit(name):
    rng = np.random.default_rng(0)
    for network in build(Networks(name, name, g_width=4, d_width=4), SampleSpace((8, 8, 3))):
        theta, x = rng.standard_normal(network.size), rng.standard_normal((2, *network.input_shape))
        module = to_torch(network, theta)
        np.testing.assert_array_equal(module.flat(module.parameters()), theta)
        np.testing.assert_array_equal(module.to_array(module.to_tensor(x)), x)
        module.load(2 * theta)
        np.testing.assert_array_equal(module.flat(module.parameters()), 2 * theta)


def test_with_statistics_batch_normalization_uses_these():
    rng = np.random.default_rng(0)
    network = Network([Conv(1, 3, 3), BatchNorm(3, ReLU()), Reshape((12,)), Linear(12, 4), BatchNorm(4)], (4, 4, 1))
    theta, x = rng.standard_normal(network.size), rng.standard_normal((5, 4, 4, 1))
    statistics = rng.uniform(0.5, 1.5, network.statistics_size)
    module = to_torch(network, theta, statistics)
    y = module.to_array(module(module.to_tensor(x)))
    np.testing.assert_allclose(y, network.forward(theta, x, statistics)[0], rtol=1e-12)
    module.load(theta)
    y = module.to_array(module(module.to_tensor(x)))
    np.testing.assert_allclose(y, network.forward(theta, x)[0], rtol=1e-12, atol=1e-12)


def test_dtype_device_and_memory_format_are_those_asked_for(torch):
    network = Network([Conv(3, 4, 3, padding=1), BatchNorm(4), Conv(4, 2, 3)], (8, 8, 3))
    for channels_last, layout in ((False, torch.contiguous_format), (True, torch.channels_last)):
        module = to_torch(network, network.init(np.random.default_rng(0)), device="cpu", channels_last=channels_last)
        kernels = [parameter for parameter in module.parameters() if parameter.ndim == 4]
        images = module.to_tensor(np.zeros((2, 8, 8, 3), np.float32))
        assert len(kernels) == 2
        assert all(tensor.is_contiguous(memory_format=layout) for tensor in (images, *kernels))
        assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}


def test_a_layer_without_a_module_is_named():
    pytest.importorskip("torch", reason="networks are translated to PyTorch; pip install torch")

    class Mystery(Layer):
        def __repr__(self):
            return "Mystery()"

    with pytest.raises(NotImplementedError, match=r"Mystery\(\): .*torch_network.py"):
        to_torch(Network([Mystery()], (2,)), np.zeros(0))


def test_without_pytorch_the_error_has_its_remedy(monkeypatch):
    monkeypatch.delitem(sys.modules, "minicoulomb.verify.torch_network", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails
    network = Network([ReLU()], (2,))
    with pytest.raises(UserError, match="torch does not import .* pip install torch"):
        to_torch(network, np.zeros(0))


def test_the_room_imports_without_any_library():
    program = "import sys, minicoulomb.verify; sys.exit(bool({'torch', 'jax', 'autograd'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
