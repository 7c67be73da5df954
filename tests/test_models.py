import numpy as np
import pytest

from minicoulomb.config import Config
from minicoulomb.errors import UserError
from minicoulomb.layers import Conv, ConvTranspose
from minicoulomb.models import Space, build

CONVOLUTIONAL = [("my", "my"), ("my", "my-big"), ("dcgan", "dcgan")]


def kernels(network):
    return [view.shape for name, view in network.named_views(np.zeros(network.size)).items() if "kernel" in name]


def test_my_and_my_big_at_64x64_have_the_sizes_of_the_paper():
    G, D = build(Config(generator="my", discriminator="my-big", latent=16), Space((64, 64, 3)))
    assert kernels(G) == [(16, 16384), (5, 5, 512, 1024), (5, 5, 256, 512), (5, 5, 128, 256), (5, 5, 3, 128)]
    assert kernels(D) == [(5, 5, 3, 128), (5, 5, 128, 256), (5, 5, 256, 512), (5, 5, 512, 1024), (16384, 1)]


def test_dcgan_at_64x64_has_512_channels_at_4x4():
    G, D = build(Config(generator="dcgan", discriminator="dcgan", latent=16), Space((64, 64, 3)))
    assert kernels(G) == [(4, 4, 512, 16), (4, 4, 256, 512), (4, 4, 128, 256), (4, 4, 64, 128), (4, 4, 3, 64)]
    assert kernels(D) == [(4, 4, 3, 64), (4, 4, 64, 128), (4, 4, 128, 256), (4, 4, 256, 512), (4, 4, 512, 1)]


def test_extra_layers_are_3x3_convolutions_at_4x4():
    for generator, discriminator in CONVOLUTIONAL:
        names = {"generator": generator, "discriminator": discriminator}
        plain, deep = (build(Config(**names, extra_layers=n), Space((16, 16, 3))) for n in (0, 2))
        for without, with_two in zip(plain, deep, strict=True):
            at_4x4 = [shape for name, shape, _ in with_two.summary() if name == "Conv" and shape[:2] == (4, 4)]
            assert [shape for shape in kernels(without) if shape[:2] == (3, 3)] == []
            assert [shape[:2] for shape in kernels(with_two)].count((3, 3)) == 2
            assert len(at_4x4) >= 2
            assert with_two.output_shape == without.output_shape


@pytest.mark.parametrize("algorithm", ["auto", "direct", "winograd"])
@pytest.mark.parametrize(("generator", "discriminator"), CONVOLUTIONAL)
def test_every_convolution_is_by_the_configured_algorithm(generator, discriminator, algorithm):
    config = Config(generator=generator, discriminator=discriminator, algorithm=algorithm, extra_layers=1)
    for network in build(config, Space((16, 16, 3))):
        convolutions = [layer for layer in network.root.children if isinstance(layer, Conv | ConvTranspose)]
        assert len(convolutions) >= 3
        assert {layer.algorithm for layer in convolutions} == {algorithm}


@pytest.mark.parametrize(("generator", "discriminator"), [*CONVOLUTIONAL, ("mlp", "mlp")])
@pytest.mark.parametrize("shape", [(8, 8, 1), (16, 16, 3), (32, 32, 3)])
def test_networks_turn_latents_into_samples_and_samples_into_numbers(generator, discriminator, shape):
    config = Config(generator=generator, discriminator=discriminator, latent=5, g_width=8, d_width=8)
    G, D = build(config, Space(shape))
    rng = np.random.default_rng(0)
    x, _ = G.forward(G.init(rng), rng.standard_normal((3, 5)).astype(np.float32))
    assert x.shape == (3, *shape)
    assert D.forward(D.init(rng), x)[0].shape == (3,)
    assert x.dtype == np.float32


def test_an_mlp_generates_points_within_the_bound_and_of_the_data_s_size():
    G, _ = build(Config(g_width=64), Space((2,), scale=15.0, bound=30.0))
    rng = np.random.default_rng(0)
    x, _ = G.forward(G.init(rng, np.float64), rng.standard_normal((2000, 2)))
    assert np.abs(x).max() < 30
    assert 5 < x.std() < 25


@pytest.mark.parametrize("shape", [(60, 60, 3), (4, 4, 3), (32, 16, 3), (2,)])
@pytest.mark.parametrize(("generator", "discriminator"), CONVOLUTIONAL)
def test_images_that_do_not_halve_down_to_4x4_are_refused(shape, generator, discriminator):
    with pytest.raises(UserError, match="4 \\* 2\\*\\*k|square images"):
        build(Config(generator=generator, discriminator=discriminator), Space(shape))


def test_the_remedy_for_a_wrong_side_is_the_nearest_right_one():
    with pytest.raises(UserError, match="--size 64"):
        build(Config(generator="my"), Space((60, 60, 3)))
