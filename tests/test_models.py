from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from minicoulomb.config import Config, Networks
from minicoulomb.errors import UserError
from minicoulomb.layers import Conv, ConvTranspose, Residual
from minicoulomb.models import SampleSpace, build
from minicoulomb.network import Network
from minicoulomb.presets import resolve

CONVOLUTIONAL = [("my", "my"), ("my", "my-big"), ("dcgan", "dcgan"), ("resnet", "resnet")]


def kernels(network):
    return [view.shape for name, view in network.named_views(np.zeros(network.size)).items() if "kernel" in name]


def leaves(layer):
    """The layers without children."""
    return [leaf for child in layer.children for leaf in leaves(child)] if layer.children else [layer]


def test_my_and_my_big_at_64x64_have_the_sizes_of_the_paper():
    G, D = build(Config.of(generator="my", discriminator="my-big", latent=16).networks, SampleSpace((64, 64, 3)))
    assert kernels(G) == [(16, 16384), (5, 5, 512, 1024), (5, 5, 256, 512), (5, 5, 128, 256), (5, 5, 3, 128)]
    assert kernels(D) == [(5, 5, 3, 128), (5, 5, 128, 256), (5, 5, 256, 512), (5, 5, 512, 1024), (16384, 1)]


def test_dcgan_at_64x64_has_512_channels_at_4x4():
    G, D = build(Config.of(generator="dcgan", discriminator="dcgan", latent=16).networks, SampleSpace((64, 64, 3)))
    assert kernels(G) == [(4, 4, 512, 16), (4, 4, 256, 512), (4, 4, 128, 256), (4, 4, 64, 128), (4, 4, 3, 64)]
    assert kernels(D) == [(4, 4, 3, 64), (4, 4, 64, 128), (4, 4, 128, 256), (4, 4, 256, 512), (4, 4, 512, 1)]


def test_resnet_at_64x64_has_the_blocks_of_the_official_code():
    G, D = build(Config.of(generator="resnet", discriminator="resnet", latent=16).networks, SampleSpace((64, 64, 3)))
    block = lambda c, o: [(3, 3, c, c), (3, 3, c, o), (1, 1, c, o)]
    up, down = [(512, 512), (512, 256), (256, 128), (128, 64)], [(64, 128), (128, 256), (256, 512), (512, 1024)]
    assert kernels(G) == [(16, 8192), *(shape for pair in up for shape in block(*pair)), (1, 1, 64, 3)]
    assert kernels(D) == [(3, 3, 3, 64), *(shape for pair in down for shape in block(*pair)), (16384, 1)]
    assert [shape[0] for name, shape, _ in G.summary() if name == "Residual"] == [8, 16, 32, 64]
    assert [shape[0] for name, shape, _ in D.summary() if name == "Residual"] == [32, 16, 8, 4]


def test_text_has_the_sizes_of_the_paper_s_experiment():
    G, D = build(resolve("billion-word", data="lines.txt").networks, SampleSpace((32, 2048)))
    blocks = 10 * [(5, 512, 512)]
    assert kernels(G) == [(32, 32 * 512), *blocks, (1, 512, 2048)]
    assert kernels(D) == [(1, 2048, 512), *blocks, (32 * 512, 1)]
    assert D.statistics_size == 0
    assert {layer.scale for layer in (*G.root.children, *D.root.children) if isinstance(layer, Residual)} == {0.3}
    x, _ = G.forward(G.init(np.random.default_rng(0)), np.random.default_rng(1).standard_normal((2, 32), np.float32))
    np.testing.assert_allclose(x.sum(axis=2), 1, rtol=1e-5)


def test_networks_of_text_take_lines_alone():
    for space in (SampleSpace((2,)), SampleSpace((8, 8, 3))):
        with pytest.raises(UserError, match="networks `text` take lines of text; use --data FILE.txt"):
            build(Config.of(generator="text", discriminator="text").networks, space)


def test_biases_in_the_blocks_of_resnet_would_change_nothing():
    """A number added to every pixel of a channel goes to G's last mean, or becomes a number added to all of D."""
    config = Config.of(generator="resnet", discriminator="resnet", latent=3, g_width=4, d_width=4)
    rng = np.random.default_rng(0)
    with_bias = lambda layer: replace(layer, bias=True) if isinstance(layer, Conv) else layer
    for network, allowed in zip(build(config.networks, SampleSpace((16, 16, 3))), (0, 1), strict=True):
        biased = Network(network.root.map(with_bias).children, network.input_shape)
        theta, x = network.init(rng, np.float64), rng.standard_normal((5, *network.input_shape))
        more = rng.standard_normal(biased.size)
        views = biased.named_views(more)
        for name, view in network.named_views(theta).items():
            views[name][...] = view
        difference = biased.forward(more, x)[0] - network.forward(theta, x)[0]
        np.testing.assert_allclose(difference, np.full_like(difference, allowed * difference.flat[0]), atol=1e-12)
        assert biased.size > network.size


@pytest.mark.parametrize(("side", "smallest"), [(32, 4), (64, 4), (128, 4), (10, 5), (28, 7), (48, 6)])
@pytest.mark.parametrize(("generator", "discriminator"), CONVOLUTIONAL)
def test_networks_for_every_side_have_4x4_to_7x7_at_their_other_end(generator, discriminator, side, smallest):
    config = Config.of(generator=generator, discriminator=discriminator, latent=3, g_width=1, d_width=1)
    G, D = build(config.networks, SampleSpace((side, side, 3)))
    rng = np.random.default_rng(0)
    x, residuals_z = G.forward(G.init(rng), rng.standard_normal((2, 3)).astype(np.float32))
    d, residuals_x = D.forward(D.init(rng), x)
    assert (x.shape, d.shape) == ((2, side, side, 3), (2,))
    dtheta = G.param_gradient(residuals_z, D.input_gradient(residuals_x, np.ones_like(d)))
    assert np.isfinite(dtheta).all()
    assert all(view.any() for view in G.named_views(dtheta).values())
    for network in (G, D):
        assert min(shape[0] for _, shape, _ in network.summary() if len(shape) == 3 and shape[0] > 1) == smallest


def test_extra_layers_are_3x3_convolutions_at_4x4():
    for generator, discriminator in CONVOLUTIONAL:
        names = {"generator": generator, "discriminator": discriminator}
        plain, deep = (build(Config.of(**names, extra_layers=n).networks, SampleSpace((16, 16, 3))) for n in (0, 2))
        for without, with_two in zip(plain, deep, strict=True):
            at_4x4 = [[shape for name, shape, _ in network.summary() if name == "Conv" and shape[:2] == (4, 4)]
                      for network in (without, with_two)]  # fmt: skip
            added = list((Counter(kernels(with_two)) - Counter(kernels(without))).elements())
            assert [shape[:2] for shape in added] == [(3, 3)] * 2
            assert len(at_4x4[1]) == len(at_4x4[0]) + 2
            assert with_two.output_shape == without.output_shape


@pytest.mark.parametrize("algorithm", ["auto", "direct", "winograd"])
@pytest.mark.parametrize(("generator", "discriminator"), CONVOLUTIONAL)
def test_every_convolution_is_by_the_configured_algorithm(generator, discriminator, algorithm):
    config = Config.of(generator=generator, discriminator=discriminator, convolution=algorithm, extra_layers=1)
    for network in build(config.networks, SampleSpace((16, 16, 3))):
        convolutions = [layer for layer in leaves(network.root) if isinstance(layer, Conv | ConvTranspose)]
        assert len(convolutions) >= 3
        assert {layer.algorithm for layer in convolutions} == {algorithm}


@pytest.mark.parametrize(("generator", "discriminator"), [*CONVOLUTIONAL, ("mlp", "mlp")])
@pytest.mark.parametrize("shape", [(8, 8, 1), (16, 16, 3), (32, 32, 3)])
def test_networks_turn_latents_into_samples_and_samples_into_numbers(generator, discriminator, shape):
    config = Config.of(generator=generator, discriminator=discriminator, latent=5, g_width=8, d_width=8)
    G, D = build(config.networks, SampleSpace(shape))
    rng = np.random.default_rng(0)
    x, _ = G.forward(G.init(rng), rng.standard_normal((3, 5)).astype(np.float32))
    assert x.shape == (3, *shape)
    assert D.forward(D.init(rng), x)[0].shape == (3,)
    assert x.dtype == np.float32


def test_an_mlp_generates_points_within_the_bound_and_of_the_data_s_size():
    G, _ = build(Config.of(g_width=64).networks, SampleSpace((2,), scale=15.0, bound=30.0))
    rng = np.random.default_rng(0)
    x, _ = G.forward(G.init(rng, np.float64), rng.standard_normal((2000, 2)))
    assert np.abs(x).max() < 30
    assert 5 < x.std() < 25


@pytest.mark.parametrize("shape", [(60, 60, 3), (4, 4, 3), (32, 16, 3), (2,)])
@pytest.mark.parametrize(("generator", "discriminator"), CONVOLUTIONAL)
def test_images_that_do_not_halve_down_to_4x4_or_7x7_are_refused(shape, generator, discriminator):
    with pytest.raises(UserError, match=r"7 times 2\*\*k|square images"):
        build(Config.of(generator=generator, discriminator=discriminator).networks, SampleSpace(shape))


@pytest.mark.parametrize(("side", "right"), [(4, 8), (9, 10), (30, 32), (33, 40), (60, 64), (100, 112)])
def test_the_remedy_for_a_wrong_side_is_the_next_right_one(side, right):
    with pytest.raises(UserError, match=f"--size {right}$"):
        build(Config.of(generator="my").networks, SampleSpace((side, side, 3)))
    build(Config.of(generator="my", g_width=1).networks, SampleSpace((right, right, 3)))


@pytest.mark.parametrize(
    ("networks", "space", "message"),
    [
        (Networks(), (2,), r"space \(2,\): must be a SampleSpace; use SampleSpace\(\(32, 32, 3\)\)"),
        (Networks(), SampleSpace(2), "shape 2: must be a tuple of ints"),
        (Networks(), SampleSpace((2,), scale=0.0), "scale 0.0: must be above 0"),
        (Networks(), SampleSpace((2,), bound=float("nan")), "bound nan: must be above 0"),
        (Config(), SampleSpace((2,)), r"networks Config.*: must be a Networks; use Networks\(\), or config.networks"),
    ],
)
def test_arguments_of_other_classes_are_refused(networks, space, message):
    with pytest.raises(UserError, match=message):
        build(networks, space)
