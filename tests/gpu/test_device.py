"""Everything that trains, on a device: the stand-in for CuPy here, CuPy itself with -m gpu. The oracle is NumPy.

The same draws and the same code on both sides leave rounding alone to differ. Numbers rounded once more at the start
are 1e-12 apart after ten steps, so that the bound of 1e-10 finds a single pass in float32.
"""

import json
from copy import deepcopy

import numpy as np
import pytest
import strict_cupy
from autodiff_cases import (
    TEXT,
    Pass,
    assert_agree,
    axes,
    charges,
    every_kind,
    fresh_state,
    geometries,
    passes,
    problem,
    take_step,
)
from cli_cases import SMALL, SMALL_IMAGES, run
from conv_cases import arrays, few, our_sums, seeds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.workloads import WORKLOADS
from minicoulomb.arrays.backend import Backend, on_gpu, open_backend, to_host
from minicoulomb.arrays.cuda import column_sums
from minicoulomb.arrays.upload import Upload
from minicoulomb.arrays.vectors import concatenate
from minicoulomb.arrays.workspace import Workspace
from minicoulomb.cli import common
from minicoulomb.config import Config
from minicoulomb.conv import im2col
from minicoulomb.coulomb import (
    energy,
    field,
    mean_kernel,
    mean_self_kernel,
    pairs_cuda,
    plummer_kernel,
    potential,
    potentials,
)
from minicoulomb.data.dataset import decode
from minicoulomb.data.digits import digits
from minicoulomb.diagnostics import Diverged, diagnostics
from minicoulomb.errors import UserError
from minicoulomb.gan import Batch, State, generate, gradients
from minicoulomb.layers import (
    ELU,
    BatchNorm,
    Conv,
    ConvTranspose,
    LeakyReLU,
    Linear,
    ReLU,
    Residual,
    Sequential,
    Softmax,
    Tanh,
)
from minicoulomb.layers.batch_norm_cuda import mean_and_variance
from minicoulomb.models import SampleSpace, build
from minicoulomb.network import Network
from minicoulomb.optim import adam, adam_rates, update_average
from minicoulomb.particles import adam as adam_move
from minicoulomb.particles import euler, follow_field, momentum, natural_step, record
from minicoulomb.training import checkpoint as checkpoints
from minicoulomb.training.run import RunDirectory
from minicoulomb.training.sampling import samples
from minicoulomb.training.steps import draw_batches

NUMPY = open_backend("numpy")
# `my-big` is `my` with twice the channels.
MODELS = [("mlp", "mlp"), ("my", "my"), ("dcgan", "dcgan"), ("resnet", "resnet")]
STEPS = 10
RATES = {"lr_g": 0.01, "lr_d": 0.01}

# What changes the course of a step, each away from its default; the last takes all that go together.
OPTIONS = {
    "paper": {},
    "noise": {"noise": 0.5},
    "average": {"average": 0.9},
    "l2": {"l2": 0.1, "l2_g": 0.2},
    "relative": {"relative_potential": True, "potential_scale": 3.0, "d": 1.5, "eps": 0.8},
    "schedules": {"eps_end": 0.3, "lr_decay": 0.1, "steps": STEPS, "beta1_g": 0.0, "beta1_d": 0.5, "beta2": 0.99},
    "d_steps": {"d_steps": 2},
    "direct": {"convolution": "direct"},
    "winograd": {"convolution": "winograd"},
    "share": {"field_share": 0.3, "relative_potential": True},
    "all": {
        "noise": 0.5,
        "field_share": 0.3,
        "average": 0.9,
        "l2": 0.1,
        "l2_g": 0.2,
        "relative_potential": True,
        "d_steps": 2,
        "eps_end": 0.3,
    },
    "gan": {"objective": "gan", "average": 0.9, "l2": 0.1, "l2_g": 0.2, "d_steps": 2},
    "field": {
        "objective": "field",
        "l2_g": 0.2,
        "average": 0.9,
        "relative_potential": True,
        "potential_scale": 3.0,
        "eps_end": 0.3,
    },
}


@pytest.fixture(scope="module", params=["strict", pytest.param("cupy", marks=pytest.mark.gpu)])
def device(request) -> Backend:
    """Where the arrays live. Without a GPU that computes, -m gpu fails here, with the reason."""
    return strict_cupy.backend() if request.param == "strict" else open_backend("cupy")


# A backend is the same for every example that hypothesis draws.
drawn = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


def on(device, *values):
    """Host arrays on the device; what is no array stays."""
    return [device.to_device(value) if isinstance(value, np.ndarray) else value for value in values]


def agree_all(ours, theirs, bound=1e-10, terms=0.0):
    """Both are tuples of arrays, ours on a device."""
    for our, their in zip(ours, theirs, strict=True):
        assert on_gpu(our), "computed on the host"
        assert our.dtype == their.dtype
        assert_agree(to_host(our), np.asarray(their), bound, terms)


# Layers, convolutions, the field, Adam


@every_kind
@drawn
@given(st.data())
def test_every_layer_computes_what_it_does_on_the_host(device, kind, data):
    network, (theta, x, dy, statistics) = data.draw(passes(kind))

    def compute(theta, x, dy, statistics):
        y, residuals = network.forward(theta, x, statistics)
        return y, network.input_gradient(residuals, dy), network.param_gradient(residuals, dy)

    numbers = Pass(theta, x, dy, statistics)
    agree_all(compute(*on(device, *numbers)), compute(*numbers), terms=np.linalg.norm(dy))


@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
@drawn
@given(geometries(), few, few, few, seeds)
def test_convolutions_of_every_geometry_compute_what_they_do_on_the_host(
    device, algorithm, geometry, n, c_in, c_out, seed
):
    *numbers, stride, padding = arrays(geometry, n, c_in, c_out, np.random.default_rng(seed))
    terms = np.linalg.norm(numbers[0]) * np.linalg.norm(numbers[1]) * np.linalg.norm(numbers[2])
    ours = our_sums(*on(device, *numbers), stride, padding, algorithm)
    agree_all(ours, our_sums(*numbers, stride, padding, "direct"), terms=terms)


@drawn
@given(st.lists(axes(), min_size=2, max_size=2), few, few, seeds, st.sampled_from([np.float32, np.float64]))
def test_im2col_and_col2im_are_the_host_s_to_the_last_bit(device, geometry, n, c, seed, dtype):
    x, w, _, stride, padding = arrays(geometry, n, c, 1, np.random.default_rng(seed), dtype)

    def compute(x):
        cols = im2col.im2col(x, w.shape[:2], stride, padding)
        return cols, im2col.col2im(cols, w.shape[1], stride, padding, x.shape[1:3])

    for ours, theirs in zip(compute(device.to_device(x)), compute(x), strict=True):
        assert ours.flags.c_contiguous
        np.testing.assert_array_equal(to_host(ours), theirs)


def test_an_image_with_more_numbers_than_32_bits_count_is_refused():
    """Kernels of images split their thread's number in 32 bits, which takes a fraction of the time that 64 bits do."""
    x = strict_cupy.broadcast_to(strict_cupy.zeros((1, 1, 1, 1), np.float32), (1, 2**16, 2**12, 8))
    with pytest.raises(
        UserError, match="1 x 65536 x 4096 x 8: must have less than 2\\^31 numbers on a GPU; use a smaller"
    ):
        im2col.im2col(x, (1, 1), (1, 1), ((0, 0), (0, 0)))


def test_more_points_than_32_bits_count_are_refused():
    points = strict_cupy.broadcast_to(strict_cupy.zeros((1, 2), np.float32), (2**31, 2))
    few = strict_cupy.zeros((3, 2), np.float32)
    for a, p in ((points, few), (few, points)):
        with pytest.raises(UserError, match="must have less than 2\\^31 numbers on a GPU"):
            pairs_cuda.kernel_sums(a, p, strict_cupy.zeros(3, np.float32), 2.0, 1.0)


FOLLOWED = {
    "linear": ([Linear(5, 4), Tanh(2.0, 0.5), Linear(4, 3), ELU()], (5,)),
    "conv": ([Conv(3, 4, 3, padding=1), LeakyReLU(), ConvTranspose(4, 2, 4, stride=2), ReLU()], (6, 5, 3)),
    "sequence": ([Conv(3, 4, (3,), algorithm="direct"), ReLU()], (7, 3)),
    "nested": ([Sequential(Linear(5, 4), ReLU()), Residual(Linear(4, 4), Tanh()), Linear(4, 5), Softmax()], (5,)),
    "no bias": ([Conv(3, 4, 3, bias=False), Tanh(), LeakyReLU()], (6, 5, 3)),
}


@pytest.mark.parametrize(("layers", "shape"), FOLLOWED.values(), ids=FOLLOWED)
def test_a_bias_and_the_activation_behind_it_are_one_kernel(device, layers, shape):
    network, rng = Network(layers, shape), np.random.default_rng(0)
    theta, x = rng.standard_normal(network.size), rng.standard_normal((6, *shape))

    def compute(theta, x):
        y, residuals = network.forward(theta, x)
        return y, *network.gradients(residuals, y)

    with strict_cupy.recorded() as calls:
        ours = compute(*on(device, theta, x))
    agree_all(ours, compute(theta, x), 1e-12)
    mixed = network.forward(*on(device, theta.astype(np.float32), x))[0]
    assert mixed.dtype == network.forward(theta.astype(np.float32), x)[0].dtype
    alone = {f"minicoulomb_{name}" for name in ("relu", "elu", "leaky_relu", "tanh")}
    alone = [name for name, _ in calls.launches if name in alone]
    assert len(alone) == 2 * (layers is FOLLOWED["no bias"][0] and bool(calls.launches))


@pytest.mark.parametrize("shape", [(200, 7), (3, 5, 7, 130), (16, 32, 32, 33), (20_000, 3), (2, 2)])
@pytest.mark.parametrize("activation", [None, LeakyReLU()])
def test_batch_normalization_sums_any_number_of_rows(device, shape, activation):
    """More rows than a block of threads, channels that no power of two divides, a mean far off 0."""
    network = Network([BatchNorm(shape[-1], activation)], shape[1:])
    rng = np.random.default_rng(0)
    theta, dy = rng.standard_normal(network.size), rng.standard_normal(shape)
    x = 10 + rng.standard_normal(shape)

    def compute(theta, x, dy):
        y, residuals = network.forward(theta, x)
        return y, *network.gradients(residuals, dy)

    numbers = theta, x, dy
    # dx is what cancellation leaves: with two rows nothing at all.
    agree_all(compute(*on(device, *numbers)), compute(*numbers), terms=1e2 * np.linalg.norm(dy))


@pytest.mark.parametrize("first", [1000.0, 0.0, 9000.0])
@pytest.mark.parametrize("n", [3, 200, 40_000])
def test_batch_statistics_keep_their_digits_in_single_precision(device, n, first):
    """Sums of squares would lose all of them to a mean of 1000 deviations; and a first row far off is only a row."""
    x = (1000 + np.random.default_rng(0).standard_normal((n, 20))).astype(np.float32)
    x[0] = first
    mean, variance = mean_and_variance(device.to_device(x))
    exact = x.astype(np.float64)
    np.testing.assert_allclose(to_host(mean), exact.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(to_host(variance), exact.var(axis=0), rtol=2e-5)


@pytest.mark.parametrize(
    "shape", [(1, 1), (512, 5), (513, 5), (4097, 33), (9000, 40), (300_000, 3), (70_001, 1), (3, 9_999)]
)
def test_sums_over_rows_leave_none_out(device, shape):
    """The library's sum alone, one row more, rows that no run divides; and columns that no block of threads divides."""
    x = np.random.default_rng(0).standard_normal(shape)
    agree_all([column_sums(device.to_device(x))], [x.sum(axis=0)], 1e-12)


def test_sums_over_many_rows_have_the_rounding_error_of_short_runs(device):
    """One number after the other, these would be off by 1e-3."""
    x = np.full((2**17, 40), 0.1, np.float32)
    agree_all([column_sums(device.to_device(x))], [x.astype(np.float64).sum(axis=0).astype(np.float32)], 2e-5)


@pytest.mark.parametrize("count", [1, 2, 3, 31, 32, 33, 70])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_are_joined_as_on_the_host(device, count, dtype):
    """As many as a kernel takes, one more, empty ones, and views that are not contiguous."""
    rng = np.random.default_rng(count)
    arrays = [rng.standard_normal((3 * k % 8, 5, 2)).astype(dtype)[:, ::-2] for k in range(1, count + 1)]
    on_device = [device.to_device(np.repeat(array, 2, axis=1))[:, ::2] for array in arrays]
    with strict_cupy.recorded() as waits:
        joined = concatenate(on_device)
    np.testing.assert_array_equal(to_host(joined), np.concatenate(arrays))
    assert (waits, waits.uploads) == ([], [])
    kernels = [name for name, _ in waits.launches if name == "minicoulomb_concatenate"]
    assert len(kernels) == -(-count // 32) or not waits.launches  # CuPy's own are not recorded


@drawn
@given(charges())
def test_potential_and_field_are_those_of_the_host(device, charges):
    compute = lambda a, y, x, d, eps: (
        plummer_kernel(a, y, d, eps),
        potential(a, y, x, d, eps),
        *potentials(x, y, d, eps),
        field(a, y, x, d, eps),
        *mean_kernel(a, y, d, eps),
        mean_self_kernel(y, d, eps),
    )
    terms = np.sqrt(np.prod([len(points) for points in charges[:3]])) * charges[4] ** -(charges[3] + 2)
    agree_all(compute(*on(device, *charges)), compute(*charges), terms=terms)


@pytest.mark.parametrize(
    ("m", "n_x", "n_y"),
    [(m, n_x, n_y) for m in (1, 2, 3, 4, 5) for n_x, n_y in ((1, 1), (1000, 300), (2049, 2500))] + [(50, 1000, 300)],
)
def test_potential_and_field_of_more_points_than_a_tile_has(device, n_x, n_y, m):
    rng = np.random.default_rng(0)
    x, y, a = rng.standard_normal((n_x, m)), rng.standard_normal((n_y, m)), rng.standard_normal((70, m))
    compute = lambda a, y, x: (*potentials(x, y, 2.0, 0.5), potential(a, y, x, 2.0, 0.5), field(a, y, x, 2.0, 0.5))
    agree_all(compute(*on(device, a, y, x)), compute(a, y, x), terms=1e3)
    assert energy(*on(device, x, y), 2.0, 0.5) == pytest.approx(energy(x, y, 2.0, 0.5), rel=1e-10)


@pytest.mark.parametrize("m", [2, 50])
@pytest.mark.parametrize("d", [1.0, 2.0, 3.0, 4.0, 1.7])
def test_with_eps_0_coincident_pairs_are_left_out(device, m, d):
    rng = np.random.default_rng(0)
    y = rng.standard_normal((40, m))
    x = np.concatenate([y[:10], rng.standard_normal((20, m))])
    compute = lambda x, y: (*potentials(x, y, d, 0.0), field(x, y, x, d, 0.0), plummer_kernel(x, y, d, 0.0))
    agree_all(compute(*on(device, x, y)), compute(x, y))


def test_images_as_points_keep_their_shape(device):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (2, 6, 8, 8, 3))
    agree_all(potentials(*on(device, x, y), 1.0, 1.0), potentials(x, y, 1.0, 1.0))


@pytest.mark.parametrize("size", [1, 1000, 300_000])
def test_adam_takes_the_steps_of_the_host(device, size):
    rng = np.random.default_rng(0)
    theta, moments, gradient = rng.standard_normal(size), np.zeros((2, size)), rng.standard_normal((3, size))
    ours = on(device, theta, moments)
    for t in range(1, 4):
        adam(theta, gradient[t - 1], moments, adam_rates(t, 0.1, 0.5, 0.9))
        adam(ours[0], device.to_device(gradient[t - 1]), ours[1], adam_rates(t, 0.1, 0.5, 0.9))
    agree_all(ours, (theta, moments), 1e-13)


@pytest.mark.parametrize("where", [True, False])
def test_what_follows_or_learns_stands_still_where_the_device_says_so(device, where):
    """The device alone knows whether a gradient was finite; on the host the answer is a plain boolean."""
    rng = np.random.default_rng(0)
    target, value, gradient, moments = *rng.standard_normal((3, 1000)), np.zeros((2, 1000))
    ours = on(device, target, value, gradient, moments)
    finite = device.xp.isfinite(device.to_device(np.array([1.0 if where else np.inf])))[0]
    update_average(ours[0], ours[1], 0.9, finite)
    adam(ours[0], ours[2], ours[3], adam_rates(1, 0.1, 0.5, 0.9), finite)
    if where:
        target = 0.9 * target + 0.1 * value
        adam(target, gradient, moments, adam_rates(1, 0.1, 0.5, 0.9))
    agree_all((ours[0], ours[3]), (target, moments), 1e-13)


# Whole steps


def start(case, device) -> State:
    """The problem's state of step 0, on the device."""
    state = fresh_state(case.G, case.D, case.config, device.xp)
    dtype = state.theta.dtype
    state.theta[...], state.w[...] = (device.to_device(vector, dtype) for vector in (case.theta, case.w))
    if case.config.algorithm.average:
        state.average[...] = state.theta
    return state


def batches_on(case, device) -> list[Batch]:
    dtype = case.config.run.dtype
    move = lambda array: None if array is None else device.to_device(array, dtype)
    return [Batch(*map(move, batch)) for batch in case.batches]


def train(case, device, state=None, steps=range(STEPS)) -> State:
    """The state after these steps, each with its own batches and all in one workspace."""
    state = start(case, device) if state is None else state
    batches, workspace, d_steps = batches_on(case, device), Workspace(), case.config.algorithm.d_steps
    for number in steps:
        take_step(case.G, case.D, state, batches[number * d_steps :][:d_steps], case.config, workspace=workspace)
    return state


def arrays_of(state) -> dict[str, np.ndarray]:
    arrays = {name: value for name, value in vars(state).items() if name not in ("step", "finite")}
    return {name: to_host(array) for name, array in arrays.items() if array is not None}


def assert_states_agree(state, expected, bound=1e-10):
    assert state.step == expected.step
    expected = arrays_of(expected)
    for name, value in arrays_of(state).items():
        assert_agree(value, expected[name], bound)


def case_of(models, options, shape=(16, 16, 3), **more):
    d_steps = options.get("d_steps", 1)
    return problem(*models, (2,) if models[0] == "mlp" else shape, STEPS * d_steps, **RATES | options | more)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("models", MODELS, ids="-".join)
def test_ten_steps_on_a_device_are_those_of_the_host(device, models, options):
    case = case_of(models, options)
    state = train(case, device)
    assert all(on_gpu(getattr(state, name)) for name in arrays_of(state))
    assert_states_agree(state, train(case, NUMPY))


@pytest.mark.parametrize("convolution", ["direct", "winograd"])
def test_ten_steps_of_text(device, convolution):
    case = problem(*TEXT, STEPS, **RATES, g_depth=1, d_depth=1, convolution=convolution, noise=0.1)
    assert_states_agree(train(case, device), train(case, NUMPY))


def test_ids_become_one_hot_on_the_device(device):
    ids = np.random.default_rng(0).integers(0, 300, (5, 7), np.uint16)
    one_hot = decode(device.to_device(ids), np.dtype(np.float32), (7, 300))
    assert on_gpu(one_hot)
    np.testing.assert_array_equal(to_host(one_hot), np.eye(300, dtype=np.float32)[ids])


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "tanh"])
def test_ten_steps_with_every_activation(device, activation):
    case = case_of(("mlp", "mlp"), {"g_activation": activation, "d_activation": activation})
    assert_states_agree(train(case, device), train(case, NUMPY))


@pytest.mark.parametrize("models", MODELS, ids="-".join)
def test_ten_steps_of_images_of_the_smallest_side_and_of_greys(device, models):
    """One layer of stride 2 and a further one at 4x4."""
    case = problem(*models, (8, 8, 1), STEPS, **RATES, extra_layers=int(models[0] != "mlp"))
    assert_states_agree(train(case, device), train(case, NUMPY))


@pytest.mark.parametrize("options", [{}, OPTIONS["noise"], OPTIONS["relative"]], ids=str)
@pytest.mark.parametrize("models", MODELS, ids="-".join)
def test_both_gradients_and_all_scalars_are_those_of_the_host(device, models, options):
    case = case_of(models, options)
    algorithm = case.config.algorithm
    theirs = gradients(case.G, case.D, case.theta, case.w, case.batches[0], algorithm, algorithm.eps)
    theta, w = on(device, case.theta, case.w)
    ours = gradients(case.G, case.D, theta, w, batches_on(case, device)[0], algorithm, algorithm.eps)
    agree_all((ours.dtheta, ours.dw), (theirs.dtheta, theirs.dw))
    seen, expected = ({"d": part.loss_d, "g": part.loss_g} | diagnostics(part) for part in (ours, theirs))
    for name, value in expected.items():
        assert float(seen[name]) == pytest.approx(float(value), rel=1e-10), name


@pytest.mark.parametrize("models", MODELS, ids="-".join)
def test_a_step_in_single_precision_stays_there_and_near_the_host_s(device, models):
    """In float32 rounding may turn a ReLU near its kink, hence some thousandths; no kink but those of ReLUs is here."""
    case = case_of(models, OPTIONS["all"])
    single = case._replace(config=case.config.replace(dtype="float32"))
    state = train(single, device, steps=range(1))
    assert {value.dtype for value in arrays_of(state).values()} == {np.dtype(np.float32)}
    expected = arrays_of(train(case, NUMPY, steps=range(1)))
    for name in ("theta", "w", "average", "statistics"):
        assert_agree(arrays_of(state)[name].astype(np.float64), expected[name], 2e-2)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("models", MODELS, ids="-".join)
def test_a_step_waits_for_the_device_nowhere(models, options):
    """The stand-in writes down every call that would wait; that CuPy does not is seen in test_gpu.py."""
    device = strict_cupy.backend()
    case = case_of(models, options)
    state, batches, workspace = start(case, device), batches_on(case, device), Workspace()
    for number in range(2):  # the second finds buffers and compiled kernels in place
        with strict_cupy.recorded() as waits:
            own = batches[number * case.config.algorithm.d_steps :][: case.config.algorithm.d_steps]
            take_step(case.G, case.D, state, own, case.config, workspace=workspace)
        assert (waits, waits.uploads) == ([], [])


# Kernels of a step, as CuPy and cuBLAS are called; a product may take a second one. Widths and batches change nothing,
# but that sums of more than 512 rows take two: 6 more for all images of dcgan.
KERNELS = {
    ("grid", "auto"): 85,
    ("dcgan-32-b128", "direct"): 205,
    ("dcgan-32-b128", "winograd"): 266,
    ("my-64-b128", "direct"): 253,
    ("my-64-b128", "winograd"): 429,
}


@pytest.mark.parametrize(("name", "convolution"), KERNELS)
def test_a_step_takes_few_kernels(name, convolution):
    workload, device = WORKLOADS[name](), strict_cupy.backend()
    few = {"g_width": 2, "d_width": 2} if "-" in name else {}
    config = workload.config.replace(batch_size=8 if few else 128, convolution=convolution, **few)
    workload = workload._replace(config=config)
    G, D = workload.networks()
    state, batch = fresh_state(G, D, config, device.xp), workload.batch(np.random.default_rng(0), device)
    with strict_cupy.recorded() as waits:
        take_step(G, D, state, [batch], config)
    assert len(waits.launches) <= KERNELS[name, convolution]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("models", MODELS, ids="-".join)
def test_two_runs_are_equal_to_the_last_bit(device, models, dtype):
    case = case_of(models, OPTIONS["all"])
    case = case._replace(config=case.config.replace(dtype=dtype))
    first, second = (arrays_of(train(case, device, steps=range(3))) for _ in range(2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


def test_a_step_that_diverges_is_told_and_leaves_the_state_alone(device):
    case = case_of(("my", "my"), OPTIONS["average"])
    state = start(case, device)
    state.theta[0] = np.nan
    before = deepcopy(arrays_of(state))
    with pytest.raises(Diverged, match="not finite"):
        take_step(case.G, case.D, state, batches_on(case, device)[:1], case.config).read()
    for name, value in arrays_of(state).items():
        np.testing.assert_array_equal(value, before[name])


def test_samples_are_those_of_the_host(device):
    for models in MODELS:
        case = case_of(models, OPTIONS["average"])
        there, here = (train(case, backend, steps=range(2)) for backend in (device, NUMPY))
        for batch_statistics in (False, True):
            made = samples(case.G, there, 70, 3, batch_statistics)
            assert isinstance(made, np.ndarray)
            assert_agree(made, samples(case.G, here, 70, 3, batch_statistics))
        z = np.random.default_rng(0).standard_normal((5, 3))
        agree_all([generate(case.G, there, device.to_device(z))], [generate(case.G, here, z)])


# Free particles

WAYS = {"euler": lambda: euler(20.0), "momentum": lambda: momentum(20.0), "adam": lambda: adam_move(0.1, 0.1)}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("m", [2, 7])
def test_particles_move_as_on_the_host(device, way, m):
    rng = np.random.default_rng(0)
    x, y = 0.1 * rng.standard_normal((40, m)), 3 * rng.standard_normal((70, m))

    def followed(x, y):
        mean_yy = mean_self_kernel(y, 2.0, 1.5)
        moments = follow_field(x, y, mean_yy, 2.0, 1.5, WAYS[way]())
        return natural_step(y, 2.0, 1.5), record(moments, STEPS, {0, 3})

    (ours, there), (theirs, here) = followed(*on(device, x.copy(), y)), followed(x, y)
    assert ours == pytest.approx(theirs, rel=1e-12)
    np.testing.assert_allclose(there.energies, here.energies, rtol=1e-9)
    for t, places in here.snapshots.items():
        assert_agree(there.snapshots[t], places)


def test_particles_wait_for_the_device_nowhere():
    """Energies stay there until `record` reads them; the second steps find compiled kernels in place."""
    x, y = (strict_cupy.asarray(np.random.default_rng(0).standard_normal((n, 2))) for n in (40, 70))
    for way in WAYS.values():
        moments = follow_field(x, y, mean_self_kernel(y, 2.0, 1.5), 2.0, 1.5, way())
        next(moments)
        for _ in range(2):
            with strict_cupy.recorded() as waits:
                assert on_gpu(next(moments).energy)
            assert (waits, waits.uploads) == ([], [])


# Checkpoints, batches, the command line


def checkpoint_of(case, state):
    shape = case.D.input_shape
    return checkpoints.Checkpoint(
        case.config, SampleSpace(shape), *build(case.config.networks, SampleSpace(shape)), state
    )


@pytest.mark.parametrize("models", MODELS, ids="-".join)
@pytest.mark.parametrize("there_first", [True, False])
def test_a_run_goes_on_with_the_other_arrays(device, tmp_path, models, there_first):
    """Five steps on one, a checkpoint, five on the other: the ten steps of either."""
    case = case_of(models, OPTIONS["average"])
    first, second = (device, NUMPY) if there_first else (NUMPY, device)
    half = train(case, first, steps=range(5))
    checkpoints.save(tmp_path / "half.npz", checkpoint_of(case, half))
    loaded = checkpoints.load(tmp_path / "half.npz").to(second.xp)
    np.testing.assert_array_equal(to_host(loaded.state.theta), to_host(half.theta))
    assert_states_agree(train(case, second, loaded.state, range(5, STEPS)), train(case, NUMPY))


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_batches_are_the_host_s_to_the_last_bit(device, noise):
    config = Config.of(data="digits", latent=5, batch_size=9, noise=noise, d_steps=2, dtype="float64")
    ours, theirs = (draw_batches(digits(), 3, config, Upload(backend)) for backend in (device, NUMPY))
    for batch, expected in zip(ours, theirs, strict=True):
        for array, other in zip(batch, expected, strict=True):
            assert (array is None) == (other is None)
            if array is not None:
                assert on_gpu(array)
                np.testing.assert_array_equal(to_host(array), other)


@pytest.fixture
def command(device, monkeypatch):
    """The command line with --backend cupy, whose arrays are the device's."""
    opened = []

    def open_device(name, *rest, **settings):
        opened.append(name)
        return device if name == "cupy" else open_backend(name, *rest, **settings)

    monkeypatch.setattr(common, "open_backend", open_device)
    yield lambda *arguments, **status: run(*arguments, **status)
    assert "cupy" in opened


GRID = ["--preset", "grid", "--batch-size", 16]


@pytest.mark.parametrize("settings", [SMALL, SMALL_IMAGES, GRID], ids=lambda settings: settings[1])
def test_the_command_line_trains_samples_and_evaluates(command, tmp_path, settings):
    """A run that changes its arrays on the way is the run that does not."""
    end = ["--steps", 6, "--dtype", "float64", "--log-every", 2, "--checkpoint-every", 3]
    command("train", *settings, *end, "--backend", "cupy", "--out", tmp_path / "there")
    command("train", *settings, *end, "--out", tmp_path / "here")
    command("train", *settings, *end, "--until", 3, "--backend", "cupy", "--out", tmp_path / "both")
    (there,), (here,), (both,) = ((tmp_path / name).glob("0*") for name in ("there", "here", "both"))
    command("train", "--resume", both, "--backend", "numpy")
    final = [checkpoints.load(RunDirectory(path).checkpoints()[-1]).state for path in (there, here, both)]
    for state in (final[0], final[2]):
        assert_states_agree(state, final[1])
    logs = ((path / "metrics.jsonl").read_text().splitlines() for path in (there, here))
    for ours, theirs in zip(*(map(json.loads, lines) for lines in logs), strict=True):
        for name in ("step", "loss_d", "loss_g", "mmd2", "eps", "lr_g"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-7)
    command("sample", there, "-n", 5, "-o", tmp_path / "samples.npz", "--backend", "cupy")
    command("sample", there, "-n", 5, "-o", tmp_path / "samples-here.npz", "--backend", "numpy")
    with np.load(tmp_path / "samples.npz") as ours, np.load(tmp_path / "samples-here.npz") as theirs:
        for name in theirs.files:
            np.testing.assert_allclose(ours[name].astype(float), theirs[name].astype(float), atol=1, rtol=1e-6)
    command("evaluate", there, "-n", 50, "--backend", "cupy")


def test_the_command_line_lets_particles_go_the_way_of_the_host_s(command, tmp_path):
    for backend in ("cupy", "numpy"):
        options = ["-n", 30, "--points", 50, "--steps", 8, "--energies", tmp_path / backend, "-o", tmp_path / "a.gif"]
        command("particles", "ring", *options, "--backend", backend)
    lines = ((tmp_path / name).read_text().splitlines() for name in ("cupy", "numpy"))
    ours, theirs = ([json.loads(line)["energy"] for line in log] for log in lines)
    np.testing.assert_allclose(ours, theirs, rtol=1e-8)
