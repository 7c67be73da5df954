"""The paper's networks, for data of any size: Networks -> (generator, discriminator).

For images of side 4 * 2**k the convolutional pairs have k layers of stride 2 between the image and 4x4; channels
double towards 4x4. PAPER's 64x64 is k = 4: generator `my` from 4x4x1024, discriminator `my-big` up to 4x4x1024. The
smallest layer may have a side of 5, 6 or 7 as well: images of 28x28 end at 7x7.

    mlp     any shape     G  linear + activation, depth times; linear; bound tanh(scale h / bound)
                          D  x / scale; linear + activation, depth times; linear -> 1
    my      images        G  linear -> 4x4, ReLU; transposed conv 5x5 stride 2, batch norm, ReLU, ...; scaled tanh
                          D  conv 5x5 stride 2, batch norm, leaky ReLU 0.2, ...; linear -> 1
    my-big                D  `my` with twice the channels
    dcgan   images        G  linear -> 4x4 (a 4x4 transposed conv of z), batch norm, ReLU; 4x4 stride 2, ...; tanh
                          D  conv 4x4 stride 2, batch norm but in the first layer, leaky ReLU, ...; 4x4 valid conv -> 1
    text    lines         G  linear -> length x 512, batch norm; depth blocks x + 0.3 f(x); conv 1 wide; softmax
                          D  conv 1 wide -> 512; depth blocks x + 0.3 f(x); linear -> 1
    resnet  images        G  linear -> 4x4; k residual blocks, each twice the side; batch norm, ReLU; 1x1; scaled tanh
                          D  conv 3x3; k residual blocks, each half the side and twice the channels; linear -> 1

`resnet` is the official TensorFlow code's small pair (`good` and `resnet8`). A block with c input and o output channels
is

    y = conv1x1(R x) + conv3x3_o( ReLU BN conv3x3_c( R ReLU BN x ))

where R is nearest-neighbour upsampling in G and 2x2 average pooling in D. R and a 1x1 convolution commute, so the
convolution is computed on the smaller image. The official code reads the image's height as the c of the inner
convolution; here c is the number of channels, as in the small residual networks of Gulrajani et al. (2017), the source
of the block. The official blocks have biases, which change nothing: they are constant over the image, so the next batch
norm subtracts them, and the shortcuts carry them to the last batch norm of G, or to D's last layer, which has a bias
too. The official batch norm has no scale.

The blocks of `text` have f = conv5 ReLU conv5 ReLU, in G with batch norm after each conv5, a convolution 5 wide that
keeps the length and the channels. Samples are (length, characters), one-hot where they are real.

A layer in front of batch normalization has no bias: the mean would subtract it again.

At sides below 16 (k = 1) these have one hidden layer, and D is a sum over patches of the image: it cannot relate
distant parts, and below 32 (k = 2) hardly. `extra_layers` n adds, at the smallest layer, n 3x3 convolutions to each (in
D without batch normalization, which would hide the difference between the means of the two batches).
"""

from dataclasses import replace
from itertools import pairwise
from math import prod

from minicoulomb.arguments import check_type
from minicoulomb.config import Networks, fitting_side
from minicoulomb.errors import UserError
from minicoulomb.layers import (
    ELU,
    AveragePool,
    BatchNorm,
    Conv,
    ConvTranspose,
    He,
    LeakyReLU,
    Linear,
    ReLU,
    Reshape,
    Residual,
    Scale,
    ScaledTanh,
    Sequential,
    Softmax,
    Tanh,
    Upsample,
)
from minicoulomb.network import Network
from minicoulomb.space import SampleSpace, check_space


def build(networks: Networks, space: SampleSpace) -> tuple[Network, Network]:
    """Generator and discriminator of an experiment.

    Parameters
    ----------
    networks : config.Networks
        The names of both, their widths and depths.
    space : SampleSpace
        The shape, size and bound of samples.

    Returns
    -------
    G : Network
        (n, latent) -> (n, *space.shape)
    D : Network
        (n, *space.shape) -> (n,)

    Raises
    ------
    UserError
        If a network is `text` and samples are not lines, or another convolutional one and samples are not square
        images of side 4 to 7 times 2**k, k >= 1; for other classes.

    Examples
    --------
    >>> G, D = build(Networks(generator="my", discriminator="my", latent=16), SampleSpace((32, 32, 3)))
    >>> G.output_shape, D.output_shape
    ((32, 32, 3), ())
    """
    check_type("networks", networks, Networks, "use Networks(), or config.networks")
    space = check_space(space)
    G, D = GENERATORS[networks.generator](networks, space), DISCRIMINATORS[networks.discriminator](networks, space)

    def with_algorithm(layer):
        return replace(layer, algorithm=networks.convolution) if isinstance(layer, Conv | ConvTranspose) else layer

    G, D = ([layer.map(with_algorithm) for layer in layers] for layers in (G, [*D, Reshape(())]))
    return Network(G, (networks.latent,)), Network(D, space.shape)


# 5x5 stride 2 as TensorFlow's 'same', and 4x4 stride 2: both halve a side exactly.
_MY = {"kernel_size": 5, "stride": 2, "padding": ((1, 2), (1, 2))}
_DCGAN = {"kernel_size": 4, "stride": 2, "padding": 1}
_ACTIVATIONS = {"relu": ReLU, "leaky_relu": LeakyReLU, "elu": ELU, "tanh": Tanh}


def _mlp_generator(networks, space):
    width, depth, activation = networks.g_width or 64, networks.g_depth, networks.g_activation
    layers = _mlp(networks.latent, width, depth, activation, prod(space.shape))
    return [*layers, Tanh(space.bound, space.scale / space.bound), Reshape(space.shape)]


def _mlp_discriminator(networks, space):
    layers = _mlp(prod(space.shape), networks.d_width or 128, networks.d_depth, networks.d_activation, 1)
    flat = [Reshape((prod(space.shape),))] if len(space.shape) > 1 else []
    return [*flat, Scale(1 / space.scale), *layers]


def _mlp(c_in, width, depth, activation, c_out):
    layers = []
    for c in [c_in] + [width] * (depth - 1):
        layers += [Linear(c, width, He(activation)), _ACTIVATIONS[activation]()]
    return [*layers, Linear(width, c_out)]


def _my_generator(networks, space):
    """`g_width` channels (128) before the last layer."""
    base, widths = _doubling(networks.g_width or 128, space)
    widths = widths[::-1]
    first = Linear(networks.latent, base**2 * widths[0], He("relu"))
    layers = [first, ReLU(), Reshape((base, base, widths[0]))]
    layers += _extra_generator_layers(networks, widths[0])
    for c_in, c_out in pairwise(widths):
        layers += [ConvTranspose(c_in, c_out, **_MY, bias=False, init=He("relu")), BatchNorm(c_out, ReLU())]
    return [*layers, ConvTranspose(widths[-1], space.shape[-1], **_MY), ScaledTanh()]


def _my_discriminator(networks, space, width=64):
    """`d_width` channels (64, and 128 for my-big) after the first layer."""
    base, widths = _doubling(networks.d_width or width, space)
    layers = []
    for c_in, c_out in zip([space.shape[-1], *widths], widths):
        layers += [Conv(c_in, c_out, **_MY, bias=False, init=He("leaky_relu")), BatchNorm(c_out, LeakyReLU())]
    layers += _extra_discriminator_layers(networks, widths[-1])
    return [*layers, Reshape((base**2 * widths[-1],)), Linear(base**2 * widths[-1], 1)]


def _my_big_discriminator(networks, space):
    return _my_discriminator(networks, space, width=128)


def _dcgan_generator(networks, space):
    """`g_width` channels (64) before the last layer: 512 at 4x4 for 64x64, as in TensorFlow's official code."""
    base, widths = _doubling(networks.g_width or 64, space)
    widths = widths[::-1]
    first = ConvTranspose(networks.latent, widths[0], base, bias=False, init=He("relu"))
    layers = [Reshape((1, 1, networks.latent)), first, BatchNorm(widths[0], ReLU())]
    layers += _extra_generator_layers(networks, widths[0])
    for c_in, c_out in pairwise(widths):
        layers += [ConvTranspose(c_in, c_out, **_DCGAN, bias=False, init=He("relu")), BatchNorm(c_out, ReLU())]
    return [*layers, ConvTranspose(widths[-1], space.shape[-1], **_DCGAN), Tanh()]


def _dcgan_discriminator(networks, space):
    """`d_width` channels (64) after the first layer."""
    base, widths = _doubling(networks.d_width or 64, space)
    layers = [Conv(space.shape[-1], widths[0], **_DCGAN, init=He("leaky_relu")), LeakyReLU()]
    for c_in, c_out in pairwise(widths):
        layers += [Conv(c_in, c_out, **_DCGAN, bias=False, init=He("leaky_relu")), BatchNorm(c_out, LeakyReLU())]
    return [*layers, *_extra_discriminator_layers(networks, widths[-1]), Conv(widths[-1], 1, base)]


def _resnet_generator(networks, space):
    """`g_width` channels (64) before the last layer: 512 at 4x4 for 64x64."""
    base, widths = _doubling(networks.g_width or 64, space)
    widths = widths[::-1]
    layers = [Linear(networks.latent, base**2 * widths[0]), Reshape((base, base, widths[0]))]
    layers += _extra_generator_layers(networks, widths[0])
    for c, o in pairwise([widths[0], *widths]):
        shortcut = Sequential(Conv(c, o, 1, bias=False), Upsample())
        layers.append(Residual(*_resnet_branch(c, o, Upsample()), shortcut=shortcut))
    return [*layers, BatchNorm(widths[-1], ReLU()), Conv(widths[-1], space.shape[-1], 1), ScaledTanh()]


def _resnet_discriminator(networks, space):
    """`d_width` channels (64) after the first layer."""
    base, widths = _doubling(networks.d_width or 64, space)
    layers = [Conv(space.shape[-1], widths[0], 3, padding=1, bias=False)]
    for c, o in pairwise([*widths, 2 * widths[-1]]):
        shortcut = Sequential(AveragePool(), Conv(c, o, 1, bias=False))
        layers.append(Residual(*_resnet_branch(c, o, AveragePool()), shortcut=shortcut))
    layers += _extra_discriminator_layers(networks, 2 * widths[-1])
    return [*layers, Reshape((2 * base**2 * widths[-1],)), Linear(2 * base**2 * widths[-1], 1)]


def _text_generator(networks, space):
    """`g_width` channels (512) and `g_depth` blocks."""
    length, c = _line(space), networks.g_width or 512
    layers = [Linear(networks.latent, length * c), Reshape((length, c)), BatchNorm(c)]
    for _ in range(networks.g_depth):
        inner, outer = (Conv(c, c, (5,), padding=2, bias=False, init=He("relu")) for _ in range(2))
        layers.append(Residual(ReLU(), inner, BatchNorm(c, ReLU()), outer, BatchNorm(c), scale=0.3))
    return [*layers, Conv(c, space.shape[-1], (1,)), Softmax()]


def _text_discriminator(networks, space):
    """`d_width` channels (512) and `d_depth` blocks."""
    length, c = _line(space), networks.d_width or 512
    layers = [Conv(space.shape[-1], c, (1,))]
    for _ in range(networks.d_depth):
        inner, outer = (Conv(c, c, (5,), padding=2, init=He("relu")) for _ in range(2))
        layers.append(Residual(ReLU(), inner, ReLU(), outer, scale=0.3))
    return [*layers, Reshape((length * c,)), Linear(length * c, 1)]


def _line(space):
    """The length of a line."""
    if len(space.shape) != 2:
        raise UserError(f"samples of shape {space.shape}: networks `text` take lines of text; use --data FILE.txt")
    return space.shape[0]


def _resnet_branch(c, o, resample):
    inner, outer = (Conv(c, width, 3, padding=1, bias=False, init=He("relu")) for width in (c, o))
    return BatchNorm(c, ReLU()), resample, inner, BatchNorm(c, ReLU()), outer


def _extra_generator_layers(networks, c):
    return [Conv(c, c, 3, padding=1, bias=False, init=He("relu")), BatchNorm(c, ReLU())] * networks.extra_layers


def _extra_discriminator_layers(networks, c):
    return [Conv(c, c, 3, padding=1, init=He("leaky_relu")), LeakyReLU()] * networks.extra_layers


def _doubling(first, space):
    """Side of the smallest layer; channels of the layers up to it, from the image's side on: first, 2 first, ..."""
    if len(space.shape) != 3 or space.shape[0] != space.shape[1]:
        raise UserError(
            f"samples of shape {space.shape}: convolutional networks take square images; use --generator mlp "
            "and --discriminator mlp, or --size for images"
        )
    side, fitting = space.shape[0], fitting_side(space.shape[0])
    if side != fitting:
        raise UserError(
            f"image side {side}: must be 4, 5, 6 or 7 times 2**k (28, 32, 40, 64, ...); use --size {fitting}"
        )
    k = side.bit_length() - 3
    return side >> k, [first * 2**i for i in range(k)]


GENERATORS = {
    "mlp": _mlp_generator,
    "my": _my_generator,
    "dcgan": _dcgan_generator,
    "resnet": _resnet_generator,
    "text": _text_generator,
}
DISCRIMINATORS = {
    "mlp": _mlp_discriminator,
    "my": _my_discriminator,
    "my-big": _my_big_discriminator,
    "dcgan": _dcgan_discriminator,
    "resnet": _resnet_discriminator,
    "text": _text_discriminator,
}
# No generator is called `my-big`.
GENERATOR_OF = {"my-big": "my"}
