"""Every function and layer on odd arrays: right, or refused with a UserError, and inputs stay as they were.

Right means equal to the result for plain arrays, in C order and the machine's byte order. Whatever `minicoulomb` or
`minicoulomb.layers` exports, and every layer, must have a case here; a new one without fails the first tests.
"""

import itertools
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

import minicoulomb as mc
from minicoulomb import coulomb, layers, optim, particles
from minicoulomb.baselines import field_gradients, gan_gradients
from minicoulomb.errors import UserError


class Case(NamedTuple):
    """A call with plain arrays; `changes` are the positions of those that it changes in place, and returns."""

    call: Callable
    arrays: list
    changes: tuple = ()


# Exports that take no arrays, or only hold them.
NO_ARRAYS = {
    *("AdamRates", "Algorithm", "Batch", "Config", "Diverged", "Gradients", "He", "Layer", "Metrics", "Networks"),
    *("Rates", "SampleSpace", "State", "UserError", "adam_rates", "build", "initial_state", "rates_at"),
    *("Activation", "Parameter", "TrainedModel", "load"),
}

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.standard_normal(shape)


def flat(tree):
    """The arrays in lists, tuples and dicts."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    return [array for part in tree for array in flat(part)] if isinstance(tree, list | tuple) else [tree]


def like(tree, arrays):
    """The tree with other arrays, of an iterator."""
    if isinstance(tree, dict):
        return {name: like(part, arrays) for name, part in tree.items()}
    return [like(part, arrays) for part in tree] if isinstance(tree, list) else next(arrays)


# Each layer with the shape of its input, one sample.
LAYERS = {
    "AveragePool": (mc.AveragePool(), (4, 6, 3)),
    "BatchNorm": (mc.BatchNorm(3, mc.LeakyReLU()), (4, 3)),
    "Conv": (mc.Conv(3, 4, 3, padding=1, algorithm="direct"), (6, 5, 3)),
    "Conv, winograd": (mc.Conv(3, 4, 3, padding=1, algorithm="winograd"), (6, 5, 3)),
    "Conv, sequences": (mc.Conv(3, 4, (3,), stride=2), (7, 3)),
    "ConvTranspose": (mc.ConvTranspose(3, 4, 4, stride=2, padding=1), (3, 2, 3)),
    "ELU": (mc.ELU(), (4, 3)),
    "Identity": (mc.Identity(), (4, 3)),
    "LeakyReLU": (mc.LeakyReLU(), (4, 3)),
    "Linear": (mc.Linear(3, 4), (3,)),
    "Linear, 1": (mc.Linear(3, 1), (3,)),
    "ReLU": (mc.ReLU(), (4, 3)),
    "Reshape": (mc.Reshape((2, 6)), (4, 3)),
    "Residual": (mc.Residual(mc.Linear(3, 3), mc.Tanh(), scale=0.3), (3,)),
    "Scale": (mc.Scale(0.3), (4, 3)),
    "ScaledTanh": (mc.ScaledTanh(), (3,)),
    "Sequential": (mc.Sequential(mc.Linear(3, 4), mc.ReLU(), mc.Linear(4, 2)), (3,)),
    "Softmax": (mc.Softmax(), (4, 3)),
    "Tanh": (mc.Tanh(), (4, 3)),
    "Upsample": (mc.Upsample(), (2, 3, 3)),
}


def layer_cases(name, layer, shape):
    """Its four methods: with odd x, parameters and statistics, and with odd x and dy."""
    network = mc.Network([layer], shape)
    params = network._params(normal(network.size))[0]
    statistics = network._running(rng.uniform(0.5, 2, network.statistics_size))[0]
    x, dy, n = normal(3, *shape), normal(3, *network.output_shape), len(flat(params))

    def forward(x, *arrays):
        parts = iter(arrays)
        changed = like(params, parts)
        return layer.forward(changed, x, like(statistics, parts) if len(arrays) > n else None)[0]

    yield f"{name}.forward", Case(forward, [x, *flat(params)])
    yield f"{name}.forward, statistics", Case(forward, [x, *flat(params), *flat(statistics)])
    for method in ("input_gradient", "param_gradient", "gradients"):
        if method == "param_gradient" and not params:
            continue  # no parameters have no gradient, whatever dy is
        yield (
            f"{name}.{method}",
            Case(lambda x, dy, method=method: getattr(layer, method)(layer.forward(params, x)[1], dy), [x, dy]),
        )


def plain_cases():
    """The plain functions of layers."""
    x, dy = normal(2, 3, 4, 3)
    for name in ("relu", "leaky_relu", "elu", "tanh", "softmax"):
        yield name, Case(getattr(layers, name), [x])
        yield f"{name}_gradient", Case(getattr(layers, f"{name}_gradient"), [x, dy])
    x, kernel, bias, dy = normal(5, 3), normal(3, 4), normal(4), normal(5, 4)
    yield "linear", Case(layers.linear, [x, kernel, bias])
    yield "linear_input_gradient", Case(layers.linear_input_gradient, [dy, kernel])
    yield "linear_param_gradient", Case(layers.linear_param_gradient, [x, dy])
    yield "bias_gradient", Case(layers.bias_gradient, [normal(2, 3, 4)])
    yield "repeat", Case(layers.repeat, [normal(2, 3, 2, 4)])
    yield "block_sum", Case(layers.block_sum, [normal(2, 4, 6, 3)])
    scale, shift, x, dy = normal(3), normal(3), normal(5, 3), normal(5, 3)
    yield "batch_norm", Case(lambda *arrays: layers.batch_norm(*arrays)[0], [x, scale, shift])
    for name in ("batch_norm_param_gradient", "batch_norm_input_gradient"):
        gradient, residuals = getattr(layers, name), layers.batch_norm(x, scale, shift)[1]
        yield name, Case(lambda dy, gradient=gradient, residuals=residuals: gradient(residuals, dy), [dy])


def convolution_cases():
    for kind, x, w, dy in (
        ("images", normal(2, 6, 5, 3), normal(3, 3, 3, 4), normal(2, 6, 5, 4)),
        ("sequences", normal(2, 6, 3), normal(3, 3, 4), normal(2, 6, 4)),
    ):
        for algorithm in ("direct", "winograd"):
            how = {"padding": 1, "algorithm": algorithm}
            name = f", {kind}, {algorithm}"
            yield "correlate" + name, Case(lambda x, w, how=how: mc.correlate(x, w, **how), [x, w])
            yield "correlate_input" + name, Case(lambda dy, w, how=how: mc.correlate_input(dy, w, **how), [dy, w])
            yield "correlate_kernel" + name, Case(lambda x, dy, how=how: mc.correlate_kernel(x, dy, 3, **how), [x, dy])


def coulomb_cases():
    """Points by the plain formulas, in one tile, and in several small ones, with few coordinates and with many."""
    for n, m in ((4, 2), (20, 9), (40, 3)):
        a, y, x = normal(n, m), normal(n + 1, m), normal(n - 1, m)
        for eps in (0.7, 0.0):
            how, name = {"d": 1.5, "eps": eps}, f", {n} points in R^{m}, eps {eps}"
            for function in (mc.potential, mc.field):
                yield function.__name__ + name, Case(lambda *p, f=function, how=how: f(*p, **how), [a, y, x])
            for function in (mc.plummer_kernel, mc.potentials, mc.energy, mc.mmd2, coulomb.mean_kernel):
                yield function.__name__ + name, Case(lambda *p, f=function, how=how: f(*p, **how), [a, y])
    yield "field of images", Case(lambda *p: mc.field(*p, 1, 1.0), [normal(4, 3, 2), normal(5, 3, 2), normal(3, 3, 2)])
    yield "mean_self_kernel", Case(lambda y: coulomb.mean_self_kernel(y, 2, 1.0), [normal(5, 2)])


def algorithm_cases():
    G = mc.Network([mc.Linear(3, 8), mc.BatchNorm(8, mc.ReLU()), mc.Linear(8, 2)], (3,))
    D = mc.Network([mc.Linear(2, 8), mc.ReLU(), mc.Linear(8, 1), mc.Reshape(())], (2,))
    theta, w, statistics = G.init(rng, np.float64), D.init(rng, np.float64), rng.uniform(0.5, 2, G.statistics_size)
    z, y, noise_x, noise_y = normal(5, 3), normal(4, 2), normal(5, 2), normal(4, 2)
    x, dy = normal(5, 2), normal(5)
    yield "Network.forward", Case(lambda *arrays: G.forward(*arrays)[0], [theta, z, statistics])
    yield "Network.prepare", Case(lambda w, x: D.forward(D.prepare(w), x)[0], [w, x])
    for method in ("input_gradient", "param_gradient", "gradients"):
        residuals = D.forward(w, x)[1]
        call = lambda dy, method=method, residuals=residuals: getattr(D, method)(residuals, dy)
        yield f"Network.{method}", Case(call, [dy])

    def update_statistics(statistics):
        G.update_statistics(statistics, G.forward(theta, z)[1], 0.9)
        return statistics

    yield "Network.update_statistics", Case(update_statistics, [statistics], changes=(0,))

    algorithm, noisy = mc.Algorithm(steps=10), mc.Algorithm(noise=0.5)
    call = lambda theta, w, *draws: mc.gradients(G, D, theta, w, mc.Batch(*draws), noisy, 1.0)[:6]
    yield "gradients", Case(call, [theta, w, z, y, noise_x, noise_y])
    for function in (mc.gradients, gan_gradients, field_gradients):
        call = lambda theta, z, y, f=function: [
            part for part in f(G, D, theta, w, mc.Batch(z, y), algorithm, 1.0)[:6] if part is not None
        ]
        yield f"{function.__name__}, no noise", Case(call, [theta, z, y])

    def step(z, y, *arrays):
        state = mc.State(0, *arrays)
        mc.step(G, D, state, [mc.Batch(z, y)], algorithm, mc.rates_at(algorithm, 3))
        return arrays

    moments = [abs(normal(2, network.size)) for network in (G, D)]
    state = [theta, w, *moments, statistics, theta.copy(), statistics.copy()]
    yield "step", Case(step, [z, y, *state], changes=tuple(range(2, 9)))

    def generate(z, theta, statistics):
        return mc.generate(G, mc.State(0, theta, w, *moments, statistics), z)

    yield "generate", Case(generate, [z, theta, statistics])

    def adam(theta, gradient, moments):
        mc.adam(theta, gradient, moments, mc.adam_rates(3, 0.1))
        return theta, moments

    yield "adam", Case(adam, [normal(5), normal(5), abs(normal(2, 5))], changes=(0, 2))

    def update_average(target):
        optim.update_average(target, np.ones(5), 0.9)
        return target

    yield "update_average", Case(update_average, [normal(5)], changes=(0,))


def particle_cases():
    def follow(x, y, move):
        moments = particles.follow_field(x, y, 0.5, 2, 1.0, move())
        return *[next(moments).energy for _ in range(3)], x

    for name, move in {
        "euler": lambda: particles.euler(0.1),
        "momentum": lambda: particles.momentum(0.1),
        "adam": lambda: particles.adam(0.1, 1.0),
    }.items():
        call = lambda x, y, move=move: follow(x, y, move)
        yield f"follow_field, {name}", Case(call, [normal(5, 2), normal(6, 2)], changes=(0,))
    yield "natural_step", Case(lambda y: particles.natural_step(y, 2, 1.0), [normal(6, 2)])


CASES: dict[str, Case] = dict(
    itertools.chain(
        *(layer_cases(name, layer, shape) for name, (layer, shape) in LAYERS.items()),
        plain_cases(),
        convolution_cases(),
        coulomb_cases(),
        algorithm_cases(),
        particle_cases(),
    )
)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def masked(array):
    mask = np.zeros(array.shape, bool)
    mask.flat[0] = True
    return np.ma.array(array, mask=mask)


def every_second(array):
    wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), 1e9)
    wide[..., ::2] = array
    return wide[..., ::2]


def unaligned(array):
    memory = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    memory[...] = array
    return memory


# Each makes an odd array of a plain one: with the same numbers, or with those that `plain` finds in it.
ODD = {
    "Fortran order": lambda a: np.array(a, order="F"),
    "negative strides": lambda a: np.flip(np.flip(a).copy()),
    "every second number": every_second,
    "batch last in memory": lambda a: np.moveaxis(np.moveaxis(a, 0, -1).copy(), -1, 0),
    "one sample for all": lambda a: np.broadcast_to(a[:1].copy(), a.shape),
    "one channel for all": lambda a: np.broadcast_to(a[..., :1].copy(), a.shape),
    "read-only": read_only,
    "unaligned": unaligned,
    "big-endian": lambda a: a.astype(">f8"),
    "integers": lambda a: np.rint(3 * a).astype(np.int64),
    "small integers": lambda a: np.rint(abs(9 * a)).astype(np.uint8),
    "booleans": lambda a: a > 0,
    "float16": lambda a: a.astype(np.float16),
    "long double": lambda a: a.astype(np.longdouble),
}
# Nothing else may happen to these.
REFUSED = {
    "0-d": lambda a: a.reshape(-1)[:1].reshape(()),
    "a number": lambda a: float(a.flat[0]),
    "a number of NumPy": lambda a: a.flat[0],
    "masked": masked,
    "complex": lambda a: a + 0j,
    "list": lambda a: a.tolist(),
    "tuple": lambda a: tuple(a.tolist()),
    "objects": lambda a: a.astype(object),
    "strings": lambda a: a.astype(str),
    "text": lambda a: "zeros",
    "dates": lambda a: np.zeros(a.shape, "M8[s]"),
    "matrix": lambda a: a.reshape(len(a), -1).view(np.matrix),
    "structured": lambda a: np.zeros(a.shape, "f8,f8"),
}


def plain(array):
    """The same numbers in a plain array; float16's as float32."""
    dtype = np.float32 if array.dtype == np.float16 else np.float64
    return np.array(array, dtype=dtype, order="C")


def copies(arrays):
    return [array.copy() if isinstance(array, np.ndarray) else array for array in arrays]


def choices(arrays):
    """Each array by itself, and all together."""
    every = tuple(range(len(arrays)))
    return [*((number,) for number in every), *([every] if len(every) > 1 else [])]


def assert_same(results, expected):
    results, expected = flat(results), flat(expected)
    assert len(results) == len(expected)
    for ours, theirs in zip(results, expected):
        theirs = np.asarray(theirs)
        assert np.asarray(ours).dtype.isnative, "not in the machine's byte order"
        assert np.asarray(ours).dtype == theirs.dtype
        tolerance = 1e-4 if theirs.dtype == np.float32 else 1e-11
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def check(case, make, must_refuse=False):
    """Right, or refused with nothing changed, for each array that is odd alone, and for all."""
    for chosen in choices(case.arrays):
        arrays = [make(array) if number in chosen else array.copy() for number, array in enumerate(case.arrays)]
        before = copies(arrays)
        try:
            with np.errstate(all="ignore"):
                results = case.call(*arrays)
        except UserError as error:
            message = str(error)
            assert re.search(r".: .+; .", message), f"no value, rule and remedy: {message}"
            changed = ()
        else:
            assert not must_refuse, f"argument {chosen} was accepted"
            with np.errstate(all="ignore"):
                expected = case.call(*(plain(array) for array in before))
            assert_same(results, expected)
            changed = case.changes
        for number, (array, old) in enumerate(zip(arrays, before)):
            if number not in changed and isinstance(array, np.ndarray):
                np.testing.assert_array_equal(array, old, f"argument {number} changed")


@pytest.fixture
def subtests_of(monkeypatch):
    """Check every kind of array in one test, for thousands of tests would take a minute; all that fail are named."""

    monkeypatch.setattr(coulomb.pairs, "FEW", 100)
    monkeypatch.setattr(coulomb.pairs, "TILE", 30)

    def run(kinds, check):
        failures = {}
        for kind, make in kinds.items():
            try:
                check(make)
            except Exception as error:
                failures[kind] = f"{type(error).__name__}: {error}"
        assert not failures

    return run


def test_every_export_has_a_case():
    heads = {name.split(",")[0].split(".")[0] for name in CASES}
    assert set(mc.__all__) | set(layers.__all__) == (heads | NO_ARRAYS) & (set(mc.__all__) | set(layers.__all__))
    assert not heads & NO_ARRAYS


def test_every_class_of_layers_and_each_of_its_methods_has_a_case():
    def subclasses(cls):
        return {cls}.union(*map(subclasses, cls.__subclasses__()))

    ours = {cls for cls in subclasses(mc.Layer) - {mc.Layer} if cls.__module__.startswith("minicoulomb.layers.")}
    tried = {type(layer) for layer, _ in LAYERS.values()}
    assert {cls for cls in ours if not cls.__name__.startswith("_")} == tried
    takes_arrays = {"forward", "input_gradient", "param_gradient", "gradients"}
    others = {"map", "parameters", "statistics", "output_shape", "prepare", "batch_statistics", "f", "df", "name"}
    for cls in ours | {mc.Layer}:
        assert {name for name in vars(cls) if not name.startswith("_")} - others - takes_arrays <= set(
            getattr(cls, "__annotations__", ())
        )


@pytest.mark.parametrize("name", CASES)
def test_an_odd_array_gives_the_same_numbers_or_is_refused(name, subtests_of):
    subtests_of(ODD, lambda make: check(CASES[name], make))


@pytest.mark.parametrize("name", CASES)
def test_what_is_no_array_of_floats_is_refused(name, subtests_of):
    subtests_of(REFUSED, lambda make: check(CASES[name], make, must_refuse=True))


NUMBERS = [np.float64, np.float32, np.float16, np.int64, np.array]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_of_numpy_changes_no_dtype(number):
    """Each function with a number gives float32 for arrays of float32, and the same as with Python's number."""
    x, y = (normal(*shape).astype(np.float32) for shape in ((5, 3), (4, 3)))
    dy = normal(5, 3).astype(np.float32)
    G = mc.Network([mc.Linear(3, 3)], (3,))
    D = mc.Network([mc.Linear(3, 8), mc.ReLU(), mc.Linear(8, 1), mc.Reshape(())], (3,))
    theta, w, batch = G.init(np.random.default_rng(0)), D.init(np.random.default_rng(1)), mc.Batch(x, y, x, y)
    relative = mc.Algorithm(relative_potential=True, noise=0.5)

    def passes(layer):
        y, residuals = layer.forward([[{}], {}] if layer.children else {}, x)
        return y, layer.input_gradient(residuals, dy)

    def adam(number):
        theta, moments = x[0].copy(), np.zeros((2, 3), np.float32)
        mc.adam(theta, dy[0], moments, mc.adam_rates(1, number(1), number(0), number(0), number(1)))
        return theta, moments

    def follow(number):
        x = normal_x.copy()
        moments = particles.follow_field(x, normal_x + 1, number(1), number(2), number(1), particles.euler(number(1)))
        return next(moments).energy, next(moments).energy, x

    normal_x = normal(5, 3)
    calls = {
        "kernel": lambda n: mc.plummer_kernel(x, y, n(2), n(1)),
        "potential": lambda n: mc.potential(x, y, x, n(1), n(2)),
        "potentials": lambda n: mc.potentials(x, y, n(1), n(2)),
        "field": lambda n: mc.field(x, y, x, n(1), n(2)),
        "energy": lambda n: mc.energy(x, y, n(1), n(2)),
        "mmd2": lambda n: mc.mmd2(x, y, n(1), n(2)),
        "leaky relu": lambda n: passes(mc.LeakyReLU(n(1))),
        "tanh": lambda n: passes(mc.Tanh(n(2), n(3))),
        "scale": lambda n: passes(mc.Scale(n(3))),
        "residual": lambda n: passes(mc.Residual(mc.Scale(0.5), scale=n(3))),
        "batch norm": lambda n: layers.batch_norm(x, x[0], x[1], n(1))[0],
        "gradients": lambda n: mc.gradients(G, D, theta, w, batch, relative, n(2))[:6],
        "field alone": lambda n: field_gradients(G, D, theta, w, batch, mc.Algorithm(), n(2))[3],
        "adam": adam,
        "particles": follow,
        "proven step": lambda n: particles.proven_step(n(2), n(3)),
        "natural step": lambda n: particles.natural_step(x, n(2), n(3)),
    }
    for name, call in calls.items():
        with np.errstate(all="raise"):
            results, expected = flat([call(number)]), flat([call(float)])
        for ours, theirs in zip(results, expected, strict=True):
            assert np.asarray(ours).dtype == np.asarray(theirs).dtype, name
            np.testing.assert_array_equal(ours, theirs, name)


@pytest.mark.parametrize("name", CASES)
def test_the_same_array_may_be_passed_twice(name, subtests_of):
    """Pairs of inputs, not one that changes in place with another."""
    call, arrays, changes = CASES[name]
    pairs = [pair for pair in itertools.combinations(range(len(arrays)), 2) if not set(pair) & set(changes)]

    def check(pair):
        first, second = pair
        if arrays[first].shape == arrays[second].shape:
            separate, shared = copies(arrays), copies(arrays)
            separate[second] = separate[first].copy()
            shared[second] = shared[first]
            with np.errstate(all="ignore"):
                assert_same(call(*shared), call(*separate))

    subtests_of({str(pair): pair for pair in pairs}, check)


@pytest.mark.parametrize("name", CASES)
def test_no_result_is_lost_when_the_input_is_overwritten(name):
    """A step's buffers are used again: what a function returned earlier must not change with them."""
    call, arrays, changes = CASES[name]
    if changes or any(view in name for view in ("Reshape", "Identity")):  # these return a view of x
        return
    first, second = copies(arrays), copies(arrays)
    results, expected = call(*first), call(*second)
    for array in first:
        array[...] = 7
    assert_same(results, expected)


@pytest.mark.parametrize("name", CASES)
def test_an_empty_array_is_refused_or_gives_no_numbers(name, subtests_of):
    """A layer leaves it to NumPy to say that arrays of different lengths do not fit: a ValueError, as UserError is."""
    call, arrays, _ = CASES[name]

    def check(position):
        empty = [array[:0] if number in position else array.copy() for number, array in enumerate(arrays)]
        try:
            results = call(*empty)
        except ValueError:
            return
        assert all(np.isfinite(part).all() for part in flat(results))

    subtests_of({str(position): position for position in choices(arrays)}, check)


@pytest.mark.parametrize("name", CASES)
def test_no_number_is_lost_where_an_input_is_not_finite(name):
    """NaN stays NaN, so that training stops; infinite inputs raise nothing else.

    `step` keeps the last good numbers, and [y > 0] is false for NaN, which y = f(x) of a layer has then shown before.
    """
    call, arrays, _ = CASES[name]
    for number in range(len(arrays)):

        def with_first(first, number=number):
            odd = copies(arrays)
            odd[number].flat[0] = first
            with np.errstate(all="ignore"):
                return np.concatenate([np.ravel(part) for part in flat(call(*odd))])

        is_used = not np.array_equal(with_first(1.0), with_first(2.0))
        of_nan, *_ = (with_first(value) for value in (np.nan, np.inf, -np.inf))
        if is_used and name not in ("step", "relu_gradient", "leaky_relu_gradient"):
            assert not np.isfinite(of_nan).all(), f"argument {number}"


def test_a_gradient_in_the_memory_of_the_moments_is_refused():
    theta, moments = np.ones(3), np.ones((2, 3))
    with pytest.raises(UserError, match="shares memory with the moments"):
        mc.adam(theta, moments[0], moments, mc.adam_rates(1, 0.1))
    np.testing.assert_array_equal(moments, 1)
