"""One flat vector, its named views, and what a network says about itself."""

import numpy as np
import pytest

from minicoulomb.arrays.workspace import NoWorkspace, Workspace
from minicoulomb.errors import UserError
from minicoulomb.layers import BatchNorm, Conv, ConvTranspose, Linear, ReLU, Reshape, Residual, Tanh
from minicoulomb.network import Network


def images_to_numbers():
    """(n, 4, 4, 2) -> (n,), with batch normalization inside and outside a residual branch."""
    return Network(
        [
            Conv(2, 3, 3, stride=2, padding=1, bias=False),
            BatchNorm(3),
            Residual(Conv(3, 3, 1), BatchNorm(3)),
            Reshape((12,)),
            Linear(12, 1),
            Reshape(()),
        ],
        (4, 4, 2),
    )


SHAPES = {
    "0.kernel": (3, 3, 2, 3),
    "1.scale": (3,),
    "1.shift": (3,),
    "2.0.0.kernel": (1, 1, 3, 3),
    "2.0.0.bias": (3,),
    "2.0.1.scale": (3,),
    "2.0.1.shift": (3,),
    "4.kernel": (12, 1),
    "4.bias": (1,),
}


def test_named_views_cover_the_vector_in_order_and_without_overlap():
    network = images_to_numbers()
    theta = np.arange(float(network.size))
    views = network.named_views(theta)
    assert {name: view.shape for name, view in views.items()} == SHAPES
    np.testing.assert_array_equal(np.concatenate([view.ravel() for view in views.values()]), theta)


def test_writing_into_a_view_writes_into_the_vector():
    network = images_to_numbers()
    theta = np.zeros(network.size)
    network.named_views(theta)["4.bias"][:] = 7
    assert theta[-1] == 7
    y, _ = network.forward(theta, np.ones((2, 4, 4, 2)))
    np.testing.assert_array_equal(y, [7, 7])


def test_shapes_are_given_without_the_batch():
    network = images_to_numbers()
    assert (network.input_shape, network.output_shape) == ((4, 4, 2), ())
    y, residuals = network.forward(network.init(np.random.default_rng(0)), np.ones((3, 4, 4, 2), np.float32))
    assert y.shape == (3,)
    assert network.input_gradient(residuals, y).shape == (3, 4, 4, 2)
    assert network.param_gradient(residuals, y).shape == (network.size,)


@pytest.mark.parametrize("convolves", [True, False])
def test_kernels_are_those_of_convolutions_or_else_all_and_nothing_else(convolves):
    """The official code penalizes no dense layer of its convolutional networks, and no bias."""
    network = images_to_numbers() if convolves else Network([Linear(3, 4), ReLU(), Linear(4, 2)], (3,))
    chosen = np.zeros(network.size)
    for kernel in network.kernels:
        chosen[kernel] += 1
    axes = []
    for name, view in network.named_views(chosen).items():
        assert (view == (name.endswith("kernel") and (view.ndim > 2 or not convolves))).all()
        axes += [view.ndim] * bool(view.any())
    assert axes == ([4, 4] if convolves else [2, 2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_init_is_a_function_of_the_generator_in_the_asked_dtype(dtype):
    network = images_to_numbers()
    first, second, other = (network.init(np.random.default_rng(seed), dtype) for seed in (1, 1, 2))
    assert first.dtype == dtype
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    assert (network.named_views(first)["1.scale"] == 1).all()
    assert (network.named_views(first)["4.bias"] == 0).all()


def test_statistics_of_no_data_are_mean_zero_and_variance_one():
    network = images_to_numbers()
    assert network.statistics_size == 12
    np.testing.assert_array_equal(network.init_statistics(), 2 * ([0] * 3 + [1] * 3))


def test_statistics_move_towards_what_a_pass_measures():
    network = Network([Tanh(), BatchNorm(3)], (5, 3))
    x = np.random.default_rng(0).standard_normal((4, 5, 3))
    statistics = network.init_statistics(np.float64)
    _, residuals = network.forward(network.init(np.random.default_rng(0), np.float64), x)
    network.update_statistics(statistics, residuals, momentum=0.7)
    mean, variance = np.tanh(x).mean(axis=(0, 1)), np.tanh(x).var(axis=(0, 1))
    expected = 0.3 * np.concatenate([mean, variance - 1])
    np.testing.assert_allclose(statistics, [0, 0, 0, 1, 1, 1] + expected, rtol=1e-12)


def test_with_the_statistics_of_its_own_batch_a_network_gives_the_same_output():
    network = images_to_numbers()
    rng = np.random.default_rng(0)
    theta, x = network.init(rng, np.float64), rng.standard_normal((4, 4, 4, 2))
    statistics = network.init_statistics(np.float64)
    y, residuals = network.forward(theta, x)
    network.update_statistics(statistics, residuals, momentum=0.0)
    np.testing.assert_allclose(network.forward(theta, x, statistics)[0], y, rtol=1e-10)


def test_the_gradient_times_a_direction_is_the_derivative_along_it():
    network = images_to_numbers()
    rng = np.random.default_rng(0)
    theta, v, dy = rng.standard_normal(network.size), rng.standard_normal(network.size), rng.standard_normal(4)
    x = rng.standard_normal((4, 4, 4, 2))
    value = lambda t: network.forward(theta + t * v, x)[0] @ dy
    slope = (value(1e-5) - value(-1e-5)) / 2e-5
    _, residuals = network.forward(theta, x)
    assert network.param_gradient(residuals, dy) @ v == pytest.approx(slope, rel=1e-7)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("workspace", [NoWorkspace, Workspace()], ids=["no workspace", "workspace"])
def test_prepared_parameters_serve_in_place_of_the_vector(workspace, keep):
    """Equal to the last bit, for passes in flight at once, and prepared anew for each of two vectors."""
    layers = [Conv(2, 3, 5, 2, ((1, 2), (1, 2)), algorithm="winograd"), BatchNorm(3)]
    branch = Residual(Conv(3, 3, 3, padding=1, algorithm="winograd"), Tanh())
    network = Network([*layers, branch, ConvTranspose(3, 2, 4, 2, 1, algorithm="winograd")], (8, 8, 2))
    rng = np.random.default_rng(0)
    for _ in range(2):
        theta, *passes = (rng.standard_normal(shape) for shape in (network.size, *[(3, 8, 8, 2)] * 4))
        prepared = network.prepare(theta, workspace, keep)
        flights = [(x, network.forward(prepared, x)) for x in passes[:2]]
        for (x, (y, residuals)), dy in zip(flights, passes[2:]):
            their_y, their_residuals = network.forward(theta, x)
            np.testing.assert_array_equal(y, their_y)
            for ours, theirs in zip(network.gradients(residuals, dy), network.gradients(their_residuals, dy)):
                np.testing.assert_array_equal(ours, theirs)


def test_the_summary_counts_every_parameter():
    network = images_to_numbers()
    summary = network.summary()
    assert [shape for _, shape, _ in summary] == [(2, 2, 3), (2, 2, 3), (2, 2, 3), (12,), (1,), ()]
    assert sum(parameters for *_, parameters in summary) == network.size


def test_a_network_without_parameters_has_an_empty_vector():
    network = Network([ReLU()], (3,))
    y, residuals = network.forward(network.init(np.random.default_rng(0)), np.ones((2, 3)))
    assert network.size == network.statistics_size == 0
    assert network.param_gradient(residuals, y).shape == (0,)


def test_a_shape_of_one_number_is_printed_as_one():
    with pytest.raises(UserError, match=r"the network takes \(n, 3\), n >= 1"):
        Network([ReLU()], (3,)).forward(np.zeros(0), np.zeros((2, 4)))


@pytest.mark.parametrize("shape", [(2, 4, 4, 3), (2, 4, 4), (0, 4, 4, 2), (4, 4, 2)])
def test_an_input_of_another_shape_is_refused(shape):
    network = images_to_numbers()
    with pytest.raises(UserError, match=r"the network takes \(n, 4, 4, 2\), n >= 1"):
        network.forward(np.zeros(network.size), np.zeros(shape))


def test_layers_that_do_not_fit_are_refused_at_once():
    with pytest.raises(UserError, match=r"Linear\(3, 2\): takes \(3,\), got \(4,\)"):
        Network([Linear(3, 4), Linear(3, 2)], (3,))


def test_a_vector_of_another_network_is_refused():
    network = images_to_numbers()
    x, theta, message = np.zeros((2, 4, 4, 2)), np.zeros(network.size + 1), rf"network has \({network.size},\)"
    for call in (network.named_views, network.prepare, lambda theta: network.forward(theta, x)):
        with pytest.raises(UserError, match=message):
            call(theta)


@pytest.mark.host
def test_what_is_no_layer_is_refused():
    with pytest.raises(UserError, match=r"layer <function ReLU.*: must be a Layer; .* as in ReLU\(\)"):
        Network([Linear(2, 2), ReLU], (2,))


@pytest.mark.host
@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        ([Linear(2, 2)], 2, r"input_shape 2: must be a tuple of ints >= 1; use \(2,\)"),
        ([Linear(2, 2)], (2.0,), r"input_shape \(2.0,\)"),
        ([Linear(2, 2)], (0,), r"input_shape \(0,\)"),
        (Linear(2, 2), (2,), "layers Linear.*: must be a list with at least one; use"),
        ([], (2,), r"layers \[\]: must be a list"),
        ([Linear(2, 3.0)], (2,), r"Linear, shape of its kernel \(2, 3.0\): must be a tuple of ints >= 1"),
        ([Linear(2, 0)], (2,), r"shape of its kernel \(2, 0\)"),
    ],
)
def test_a_network_of_something_else_is_refused(layers, shape, message):
    with pytest.raises(UserError, match=message):
        Network(layers, shape)


@pytest.mark.host
def test_a_shape_may_be_a_list_and_have_numbers_of_numpy():
    assert Network([Linear(2, 2)], [np.int64(2)]).input_shape == (2,)


@pytest.mark.host
def test_the_repr_lists_the_layers():
    network = Network([Linear(2, 8), ReLU(), Linear(8, 1), Reshape(())], (2,))
    assert repr(network) == "Network((2,) -> (), 33 parameters: Linear, relu, Linear, Reshape)"


def test_a_gradient_of_another_shape_is_refused():
    network = images_to_numbers()
    y, residuals = network.forward(np.zeros(network.size), np.zeros((2, *network.input_shape)))
    for method in (network.input_gradient, network.param_gradient, network.gradients):
        for dy in (np.zeros((2, *y.shape[1:], 1)), np.zeros((0, *y.shape[1:]))):
            with pytest.raises(UserError, match=r"dy of shape .*: the network gives \(n.*, n >= 1; reshape it"):
                method(residuals, dy)
