"""Every fused kernel through NVIDIA's own compiler, which needs no GPU (nvrtc.py).

The kernels are those that ran on the stand-in for CuPy (strict_cupy): in a step of Algorithm 1 with every model, in
samples, in potentials and fields. What it notes of each call is compiled again as CuPy would, for two generations of
GPUs: so a kernel that only the stand-in takes is found, and one that a GPU would run slowly.
"""

import sys
from functools import partial

import numpy as np
import nvrtc
import pytest
import strict_cupy
from autodiff_cases import fresh_state, take_step
from nvrtc import Array, Call, Rejected

from minicoulomb import coulomb
from minicoulomb.arrays.cuda import ElementwiseKernel
from minicoulomb.config import Config
from minicoulomb.gan import Batch, generate
from minicoulomb.models import SampleSpace, build

N = 3  # samples

# A100 and H100: the oldest and the newest that the project may meet.
ARCHITECTURES = "80", "90"
# Kernels that compute in float64 whatever their arrays hold, and why.
DOUBLE = {}


def case(shape, generator, discriminator, **settings):
    return shape, {"generator": generator, "discriminator": discriminator, **settings}


ACTIVATIONS = ("relu", "leaky_relu", "elu", "tanh")
STEPS = [case((2,), "mlp", "mlp", g_activation=f, d_activation=f, l2=0.1) for f in ACTIVATIONS]
STEPS.append(case((2,), "mlp", "mlp", objective="field"))
for generator, discriminator in (("my", "my"), ("my", "my-big"), ("dcgan", "dcgan")):
    images = partial(case, (16, 16, 3), generator, discriminator, extra_layers=1, d_steps=2)
    STEPS += [images(convolution="direct"), images(convolution="winograd", noise=1.0)]
STEPS += [case((8, 5), "text", "text", g_depth=1, d_depth=1, convolution=kind) for kind in ("direct", "winograd")]


def one_step(backend, shape, settings, dtype):
    config = Config.of(dtype=dtype, latent=3, g_width=4, d_width=4, average=0.9, **settings)
    G, D = build(config.networks, SampleSpace(shape))
    state, rng = fresh_state(G, D, config, backend.xp), np.random.default_rng(0)
    draw = lambda *shape: backend.to_device(rng.standard_normal((N, *shape)), dtype)
    noise = [draw(*shape), draw(*shape)] if config.algorithm.noise else []
    batches = [Batch(draw(config.networks.latent), draw(*shape), *noise) for _ in range(config.algorithm.d_steps)]
    take_step(G, D, state, batches, config).read()
    generate(G, state, batches[0].z)


def take_fields(backend, dtype):
    rng = np.random.default_rng(0)
    for m in (1, 2, 3, 4, 5):
        a, y, x = (backend.to_device(rng.standard_normal((N, m)), dtype) for _ in range(3))
        for d in (1.0, 2.0, 2.5, 3.0, 4.0) if m == 2 else (2.0,):
            for eps in (0.0, 0.5):
                coulomb.plummer_kernel(a, y, d, eps)
                coulomb.potentials(x, y, d, eps)
                coulomb.field(a, y, x, d, eps)


@pytest.fixture(scope="module")
def calls() -> list[Call]:
    """Every kernel that ran on the stand-in."""
    nvrtc.require()
    try:
        strict_cupy.compiler.command()
    except strict_cupy.NoCompiler as error:
        pytest.skip(str(error))
    others = dict(strict_cupy.compiled)  # by other tests of this session
    strict_cupy.compiled.clear()
    backend = strict_cupy.backend()
    for dtype in ("float32", "float64"):
        for shape, settings in STEPS:
            one_step(backend, shape, settings, dtype)
        take_fields(backend, dtype)
    own = list(strict_cupy.compiled.values())
    strict_cupy.compiled.update(others)
    return list(dict.fromkeys(map(nvrtc.as_called, own)))


def in_float32(calls):
    return [call for call in calls if "float32" in call.dtypes and "float64" not in call.dtypes]


def each(calls, function, *arguments):
    """({call: what the function makes of it}, the compiler's complaints)."""
    made, complaints = {}, {}
    for call in calls:
        try:
            made[call] = function(call, *arguments)
        except Rejected as error:
            complaints[call.name] = f"{call}: {error}"
    return made, "\n".join(complaints.values())


def test_every_kernel_compiles_for_the_newest_gpu(calls):
    made, complaints = each(calls, nvrtc.build, ARCHITECTURES[-1], True)
    if complaints:
        pytest.fail(complaints, pytrace=False)
    assert len(made) > 100


def test_float32_kernels_compile_for_the_oldest_gpu_and_for_large_arrays(calls):
    _, complaints = each(in_float32(calls), nvrtc.build, ARCHITECTURES[0], False)
    if complaints:
        pytest.fail(complaints, pytrace=False)


@pytest.mark.parametrize(("architecture", "small"), [(ARCHITECTURES[0], False), (ARCHITECTURES[-1], True)])
def test_float32_kernels_keep_their_numbers_in_registers(calls, architecture, small):
    made, _ = each(in_float32(calls), nvrtc.build, architecture, small)
    assert not {str(call): built for call, built in made.items() if built.stack or built.spilled}


def test_float32_kernels_do_not_compute_in_float64(calls):
    made, _ = each(in_float32(calls), nvrtc.double_instructions, ARCHITECTURES[-1])
    doubles = {call.name: instructions for call, instructions in made.items() if instructions}
    assert {name: found for name, found in doubles.items() if name not in DOUBLE} == {}


def test_no_kernel_of_the_package_is_left_out(calls):
    """Of those that stand in a module; others are made for the sizes that they meet."""
    compiled = [(call.name, call.outputs, call.preamble, call.operation) for call in calls]
    modules = [module for name, module in sys.modules.items() if name.startswith("minicoulomb.")]
    values = [value for module in modules for value in vars(module).values()]
    values += [part for value in values for part in getattr(value, "__dict__", {}).values()]
    definitions = [value._definition for value in values if isinstance(value, ElementwiseKernel)]
    assert len(definitions) > 3
    for _, outputs, operation, name, preamble in definitions:  # the inputs say where each number lies
        kept = f"minicoulomb_{name}", outputs, preamble
        assert any(call[:3] == kept and call[3].endswith(operation) for call in compiled), name


SUM = "T sum = 0; for (int k = 0; k < 3; ++k) sum += x[3 * i + k]; y[i] = sum;"
F32 = Array("float32")


def rows(operation=SUM, name="rows", preamble=""):
    """A kernel of a call with one raw input and one raw output."""
    return Call(name, "raw T x", "raw T y", operation, preamble, (F32, F32))


@pytest.fixture
def compiler():
    nvrtc.require()


@pytest.mark.usefixtures("compiler")
def test_a_kernel_is_compiled():
    built = nvrtc.build(rows(), "90")
    assert (built.stack, built.spilled) == (0, 0)
    assert 8 <= built.registers <= 64
    assert nvrtc.double_instructions(rows(), "90") == []


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (rows(SUM.replace("+=", "=+=")), "expected an expression"),
        (rows("y[i] = square(x[i]);"), 'identifier "square" is undefined'),
        (rows("y[i] = x[i] + offset_(i);"), 'identifier "offset_" is undefined'),  # the stand-in's own
        (rows("y[i] = f(x[i], 2);", preamble="__device__ float f(float x, float y) { return x; }" * 2), "already"),
        (rows("x[i] = y[i];"), "modifiable lvalue"),  # inputs are const
        (rows(name="tanh"), '"tanh" has "C" linkage'),  # CUDA's own
        (rows("int unused; y[i] = x[i];"), "warning"),
    ],
)
def test_what_the_compiler_rejects_is_told(call, message):
    with pytest.raises(Rejected, match=message):
        nvrtc.build(call, "90")


@pytest.mark.usefixtures("compiler")
def test_an_array_that_is_indexed_at_run_time_is_found_in_slow_memory():
    many = "T many[64]; for (int k = 0; k < 64; ++k) many[k] = x[i + k] * k; y[i] = many[int(x[i]) % 64];"
    assert nvrtc.build(rows(many), "90").stack >= 64 * 4


@pytest.mark.usefixtures("compiler")
def test_a_double_literal_is_found_in_a_float32_kernel():
    assert any("mul" in each for each in nvrtc.double_instructions(rows("y[i] = 0.1 * x[i];"), "90"))
