"""`minicoulomb gradcheck` finds the gradients right, and a wrong one wrong."""

import sys

import numpy as np
import pytest
import strict_cupy
from autodiff_cases import MODELS, OPTIONS

from minicoulomb import layers
from minicoulomb.arrays.backend import open_backend
from minicoulomb.config import Config
from minicoulomb.errors import UserError
from minicoulomb.layers import Activation, BatchNorm
from minicoulomb.models import SampleSpace
from minicoulomb.verify import gradcheck
from minicoulomb.verify.gradcheck import LAYERS, check
from minicoulomb.verify.oracles import ORACLES, open_oracle

IMAGES = SampleSpace((16, 16, 3))
SMALL = Config.of(generator="my", discriminator="my", latent=4, g_width=4, d_width=4, d=1.0, eps=1.0)


def failures(rows):
    return [(row.name, row.what) for row in rows if not row.ok]


@pytest.fixture(params=["strict", pytest.param("cupy", marks=pytest.mark.gpu)])
def gpu(request):
    """The strict stand-in for CuPy, and CuPy."""
    if request.param == "cupy":
        return open_backend("cupy")
    try:
        strict_cupy.compiler.command()
    except strict_cupy.NoCompiler as error:
        pytest.skip(str(error))
    return strict_cupy.backend()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["defaults", "options"])
@pytest.mark.parametrize(("generator", "discriminator"), MODELS)
def test_every_gradient_agrees_with_finite_differences(generator, discriminator, options, seed):
    config = SMALL.replace(generator=generator, discriminator=discriminator, **options)
    rows = check(config, IMAGES, seed=seed)
    assert failures(rows) == []
    assert [row.name for row in rows[-5:]] == [
        f"Algorithm 1, generator {generator}",
        f"Algorithm 1, discriminator {discriminator}",
        f"GAN baseline, generator {generator}",
        f"GAN baseline, discriminator {discriminator}",
        f"field baseline, generator {generator}",
    ]


@pytest.mark.parametrize(("generator", "discriminator"), MODELS)
def test_every_gradient_on_a_gpu_agrees_with_finite_differences(generator, discriminator, gpu):
    config = SMALL.replace(generator=generator, discriminator=discriminator, noise=1.0)
    assert failures(check(config, IMAGES, backend=gpu)) == []


def test_every_gradient_on_a_gpu_agrees_with_autodiff(gpu):
    pytest.importorskip("torch", reason="torch is a further witness; pip install torch to run this")
    assert failures(check(SMALL, SampleSpace((8, 8, 1)), against="torch", backend=gpu)) == []


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_every_gradient_agrees_with_autodiff(library):
    pytest.importorskip(library, reason=f"{library} is a further witness; pip install {library} to run this")
    assert failures(check(SMALL, SampleSpace((8, 8, 1)), against=library)) == []


def test_every_kind_of_layer_is_checked():
    kinds = {type(layer) for layer, _ in LAYERS.values()}
    exported = {getattr(layers, name) for name in layers.__all__}
    composite = {layers.Layer, layers.Sequential, Activation}
    layer_kinds = {kind for kind in exported if isinstance(kind, type) and issubclass(kind, layers.Layer)}
    assert layer_kinds - composite <= kinds
    activations = {layer.function for layer, _ in LAYERS.values() if isinstance(layer, Activation)}
    assert activations == {layers.relu, layers.leaky_relu, layers.elu, layers.tanh, layers.softmax}


def test_a_wrong_gradient_is_found(monkeypatch):
    right = BatchNorm.input_gradient
    monkeypatch.setattr(BatchNorm, "gradients", lambda self, residuals, dy, weights=None: (
        1.0001 * right(self, residuals, dy), self.param_gradient(residuals, dy)
    ))  # fmt: skip
    wrong = failures(check(SMALL, IMAGES))
    assert ("BatchNorm", "input") in wrong
    assert ("Algorithm 1, discriminator my", "dL_D / dw") in wrong
    assert ("BatchNorm", "parameters") not in wrong


@pytest.mark.parametrize("baseline", ["gan", "field"])
def test_a_wrong_gradient_of_a_baseline_is_found(monkeypatch, baseline):
    right = getattr(gradcheck, f"{baseline}_gradients")

    def wrong(*arguments):
        result = right(*arguments)
        return result._replace(dtheta=1.0001 * result.dtheta)

    monkeypatch.setattr(gradcheck, f"{baseline}_gradients", wrong)
    name = {"gan": "GAN", "field": "field"}[baseline]
    assert failures(check(SMALL, IMAGES)) == [(f"{name} baseline, generator my", "dL_G / dtheta")]


def test_a_nan_is_no_agreement(monkeypatch):
    monkeypatch.setattr(BatchNorm, "gradients", lambda self, residuals, dy, weights=None: (
        np.full_like(dy, np.nan), self.param_gradient(residuals, dy)
    ))  # fmt: skip
    assert ("BatchNorm", "input") in failures(check(SMALL, IMAGES))


def test_an_unknown_library_is_refused():
    with pytest.raises(UserError, match="oracle 'tensorflow': must be one of"):
        check(SMALL, IMAGES, against="tensorflow")


@pytest.mark.parametrize("library", ORACLES)
def test_a_library_that_is_missing_is_told_with_its_remedy(monkeypatch, library):
    monkeypatch.delitem(sys.modules, f"minicoulomb.verify.{library}_oracle", raising=False)
    monkeypatch.setitem(sys.modules, library, None)  # importing it fails
    with pytest.raises(UserError, match=f"{library} does not import .* pip install {library}"):
        open_oracle(library)
