"""The examples run, and do what they say."""

import inspect
import json
import runpy
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minicoulomb
from minicoulomb.config import Algorithm, Config
from minicoulomb.data.dataset import to_pixels
from minicoulomb.gan import Batch, gradients
from minicoulomb.layers import BatchNorm, Conv, ConvTranspose, LeakyReLU, Linear, ReLU, Reshape, Tanh
from minicoulomb.models import SampleSpace
from minicoulomb.network import Network
from minicoulomb.presets import resolve
from minicoulomb.training import checkpoint

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def test_algorithm_1_learns_the_ring():
    """Training is chaotic: another order of sums is another seed. The bound is below the worst of 40 seeds, 0.91."""
    metrics = load("algorithm_1")["main"]()
    assert metrics["modes"] == 8
    assert metrics["high_quality"] > 0.85


def test_algorithm_1_on_images_has_the_gradients_of_the_package():
    """In float64, to 1e-12, parameter by parameter; and every number of D's and G's counts."""
    page = load("algorithm_1_images")
    c, latent, rng = page["C"], page["LATENT"], np.random.default_rng(0)
    theta, w = page["initial"](rng, np.float64)
    for array in (*theta.values(), *w.values()):  # off the initial values, where shifts and biases are 0
        array += 0.1 * rng.standard_normal(array.shape)
    z, y = rng.standard_normal((5, latent)), rng.uniform(-1, 1, (6, 8, 8, 1))
    dtheta, dw = page["gradients"](theta, w, z, y)

    G = [Linear(latent, 32 * c), Reshape((4, 4, 2 * c)), BatchNorm(2 * c, ReLU())]
    G += [ConvTranspose(2 * c, c, 4, 2, 1, bias=False), BatchNorm(c, ReLU()), Conv(c, 1, 3, 1, 1), Tanh()]
    D = [Conv(1, c, 3, 1, 1), LeakyReLU(), Conv(c, 2 * c, 4, 2, 1), LeakyReLU()]
    D += [Reshape((32 * c,)), Linear(32 * c, 1), Reshape(())]
    G, D = Network(G, (latent,)), Network(D, (8, 8, 1))
    flat = lambda arrays: np.concatenate([np.ravel(array) for array in arrays.values()])
    algorithm = Algorithm(d=page["d"], eps=page["eps"], potential_scale=page["s"])
    ours = gradients(G, D, flat(theta), flat(w), Batch(z, y), algorithm, page["eps"])
    for network, vector, arrays in ((G, ours.dtheta, dtheta), (D, ours.dw, dw)):
        for view, array in zip(network.named_views(vector).values(), arrays.values(), strict=True):
            assert np.linalg.norm(view.ravel() - array.ravel()) <= 1e-12 * np.linalg.norm(view)
            assert np.count_nonzero(array) == array.size


def test_algorithm_1_on_images_learns_and_draws(tmp_path, capsys):
    figures = load("algorithm_1_images")["main"](steps=300, n=32, picture=tmp_path / "digits.png")
    assert len(figures) == 11
    assert figures[-1] < 0.4 * figures[0]
    assert capsys.readouterr().out.count("squared MMD") == 10
    with Image.open(tmp_path / "digits.png") as picture:
        assert picture.size == (822, 822)


def test_gradients_are_verified_in_a_table(capsys):
    """The convolutional networks of its last rows are compared in test_autodiff_*.py."""
    table = load("verify_gradients")["main"](
        "linear", "conv", "norm", "residual", "field", "mlp", libraries=["autograd"]
    )
    assert {"Conv 2-D, winograd", "Residual, up", "field, 20 dimensions", "Algorithm 1, mlp / mlp"} < {
        name for name, _ in table
    }
    assert all(error < 1e-10 for errors in table.values() for error in errors)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| | gradient | autograd |"
    assert len(lines) == 2 + len(table)


def test_a_wrong_gradient_shows_in_the_table(monkeypatch):
    example = load("verify_gradients")
    field = example["field"]
    monkeypatch.setitem(example["errors_of_field"].__globals__, "field", lambda *charges: 1.001 * field(*charges))
    table = example["main"]("field", libraries=["autograd"])
    assert all(errors[0] == pytest.approx(1e-3) for errors in table.values())


def test_particles_spread_from_a_point_over_all_modes():
    energies, floor, metrics = load("particles")["main"](steps=60)
    assert all(after < before for before, after in pairwise(energies))
    assert energies[-1] < floor
    assert metrics["modes20"] == 25


@pytest.mark.parametrize("data", ["ring", pytest.param("digits", marks=pytest.mark.slow)])
def test_mode_collapse_compares_four_generators_from_two_starts(tmp_path, capsys, data):
    example = load("mode_collapse")
    example["main"].callback(data=data, seeds=1, steps=10, out=tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(results) == 8
    assert capsys.readouterr().out.count("\n") == 8
    assert len({result["mmd2"] for result in results}) == 8  # no two of them are the same run
    with Image.open(tmp_path / "mode_collapse.png") as picture:
        assert picture.size == (150 + 2 * 188, 90 + 8 * 188)


def test_a_sheet_has_each_tile_in_its_row_and_column():
    example, shades = load("mode_collapse"), {"first": [10, 20, 30], "second": [40, 50, 60]}
    rows = {name: [Image.new("RGB", (180, 180), (grey,) * 3) for grey in greys] for name, greys in shades.items()}
    page = np.asarray(example["sheet"]("title", ["a", "b", "c"], rows))
    assert page.shape == (90 + 2 * 188, 150 + 3 * 188, 3)
    for j, greys in enumerate(shades.values()):
        for i, grey in enumerate(greys):
            assert (page[90 + 188 * j :][:180, 150 + 188 * i :][:, :180] == grey).all()
    assert (page[:90] != page[0, 0]).any(axis=2).any(axis=1).sum() > 10  # labels


def test_a_collapsed_start_lies_in_one_mode():
    """Whatever the objective: a step of length 1e-9 leaves it there."""
    example = load("mode_collapse")
    for data, modes in (("ring", {"modes": 1, "high_quality": 1.0}), ("digits", {"classes": 1})):
        config = resolve(data, steps=1, lr_g=1e-9, lr_d=1e-9)
        figures = example["train"](config, "collapsed")[0]
        assert {name: figures[name] for name in modes} == modes


def test_every_example_limits_blas_before_numpy_is_imported():
    """Otherwise its threads wait for each other on a busy machine: 132 s in place of 8."""
    for path in EXAMPLES.glob("*.py"):
        text = path.read_text()
        assert text.index('os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")') < text.index("import numpy")


def test_every_example_is_tested():
    text = Path(__file__).read_text() + Path(__file__).with_name("test_family.py").read_text()
    assert all(f'load("{path.stem}")' in text for path in EXAMPLES.glob("*.py"))


def checkpoint_of(path, generator, shape, **settings):
    """A checkpoint of a narrow generator whose numbers, statistics too, are all off their initial values."""
    config = Config.of(generator=generator, discriminator="mlp", g_width=4, d_width=4, latent=6, **settings)
    made = checkpoint.initial(config, SampleSpace(shape, scale=3.0, bound=2.0))
    rng, state = np.random.default_rng(0), made.state
    for vector in (state.theta, state.average):
        if vector is not None:
            vector += 0.2 * rng.standard_normal(len(vector)).astype(vector.dtype)
    for vector in (state.statistics, state.average_statistics):
        if vector is not None:
            vector[:] = rng.uniform(0.5, 1.5, len(vector))
    checkpoint.save(path, made)


def of_pytorch(path, z):
    """G(z) with channels last, and the dtype of G's parameters."""
    torch = pytest.importorskip("torch", reason="the example loads into PyTorch; pip install torch")
    G, _ = load("load_in_pytorch")["load"](path)
    x = G(torch.from_numpy(z)).detach().numpy()
    return np.moveaxis(x, 1, -1) if x.ndim == 4 else x


def of_jax(path, z):
    jax = pytest.importorskip("jax", reason="the example loads into JAX; pip install jax")
    G, params, _ = load("load_in_jax")["load"](path)
    return np.asarray(jax.jit(G)(params, z))


@pytest.mark.parametrize("loaded", [of_pytorch, of_jax])
@pytest.mark.parametrize(
    ("generator", "shape", "settings"),
    [
        ("mlp", (2,), {}),
        ("mlp", (8, 8, 1), {"g_activation": "leaky_relu", "average": 0.9}),
        ("my", (20, 20, 3), {"extra_layers": 1, "average": 0.9}),
        ("dcgan", (16, 16, 1), {"batch_statistics": True}),
    ],
)
def test_a_generator_goes_elsewhere(loaded, generator, shape, settings, tmp_path):
    checkpoint_of(tmp_path / "c.npz", generator, shape, **settings)
    model = minicoulomb.load(tmp_path / "c.npz")
    x = loaded(tmp_path / "c.npz", model.latents(64, seed=1))
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, model.generate(model.latents(64, seed=1)), rtol=0, atol=1e-5)
    theirs, ours = (to_pixels(x), model.sample(64, seed=1)) if len(shape) == 3 else (x, model.sample(64, seed=1))
    np.testing.assert_allclose(theirs.astype(float), ours.astype(float), rtol=0, atol=1 if len(shape) == 3 else 1e-5)
    assert x.std() > 0.01


@pytest.mark.parametrize("name", ["load_in_pytorch", "load_in_jax"])
def test_a_loader_is_short_names_what_it_lacks_and_draws(name, tmp_path, capsys):
    pytest.importorskip({"load_in_pytorch": "torch", "load_in_jax": "jax"}[name], reason="the example loads into it")
    example = load(name)
    lines = inspect.getsource(example["load"]).splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 25
    text = (EXAMPLES / f"{name}.py").read_text()
    assert "import minicoulomb" not in text
    assert "from minicoulomb" not in text
    checkpoint_of(tmp_path / "resnet.npz", "resnet", (8, 8, 1))
    with pytest.raises(NotImplementedError, match="generator resnet: add its layers"):
        example["load"](tmp_path / "resnet.npz")
    checkpoint_of(tmp_path / "mlp.npz", "mlp", (2,))
    example["main"](tmp_path / "mlp.npz")
    assert "64 samples (64, 2) from" in capsys.readouterr().out
