"""Inception-v3 with the changes that FID's weights need, as one table; names are those of the state dict.

    steps           a tuple, applied one after another
    ConvNormRelu    convolution, batch normalization, ReLU
    Pool            3x3, the largest or the average
    Branches        several tuples of steps on the same input; the results are concatenated along the channels

The changes to torchvision's Inception-v3: averages leave the padding out of their count (blocks A, C, E), and the last
block pools the largest. After it the average over all positions is the 2048 features; the layer that maps them to
1008 classes is not used.

Source: Szegedy et al., Rethinking the Inception architecture, CVPR 2016; the graph inception-2015-12-05 of TensorFlow,
in the form that pytorch-fid (M. Seitzer, 2020) gave it.
"""

from typing import NamedTuple

FEATURES = 2048
# Epsilon of every batch normalization.
EPSILON = 1e-3


class ConvNormRelu(NamedTuple):
    """Kernel (kh, kw) to this many channels; padded where the output has the input's size."""

    name: str
    channels: int
    kh: int
    kw: int
    stride: int = 1
    padded: bool = True

    @property
    def padding(self) -> tuple[int, int]:
        return ((self.kh - 1) // 2, (self.kw - 1) // 2) if self.padded else (0, 0)


class Pool(NamedTuple):
    """ "max" or "average" over 3x3; with stride 1 it keeps the size and leaves out what lies outside."""

    kind: str
    stride: int = 1


class Branches(NamedTuple):
    """Steps side by side, whose outputs are concatenated."""

    branches: tuple[tuple, ...]


def block(name, *branches):
    """Branches of a block: a tuple (part, channels, kh, kw[, stride]) is a convolution, unpadded with stride 2."""

    def step(item):
        if isinstance(item, Pool | Branches):
            return item
        part, channels, kh, kw, *stride = item
        return ConvNormRelu(f"{name}.{part}", channels, kh, kw, *stride, padded=not stride)

    return Branches(tuple(tuple(map(step, branch)) for branch in branches))


def block_a(name, pool):
    return block(
        name,
        [("branch1x1", 64, 1, 1)],
        [("branch5x5_1", 48, 1, 1), ("branch5x5_2", 64, 5, 5)],
        [("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 3), ("branch3x3dbl_3", 96, 3, 3)],
        [Pool("average"), ("branch_pool", pool, 1, 1)],
    )


def block_b(name):
    return block(
        name,
        [("branch3x3", 384, 3, 3, 2)],
        [("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 3), ("branch3x3dbl_3", 96, 3, 3, 2)],
        [Pool("max", stride=2)],
    )


def block_c(name, channels):
    double = [("branch7x7dbl_1", channels, 1, 1), ("branch7x7dbl_2", channels, 7, 1)]
    double += [("branch7x7dbl_3", channels, 1, 7), ("branch7x7dbl_4", channels, 7, 1), ("branch7x7dbl_5", 192, 1, 7)]
    return block(
        name,
        [("branch1x1", 192, 1, 1)],
        [("branch7x7_1", channels, 1, 1), ("branch7x7_2", channels, 1, 7), ("branch7x7_3", 192, 7, 1)],
        double,
        [Pool("average"), ("branch_pool", 192, 1, 1)],
    )


def block_d(name):
    seven = [("branch7x7x3_1", 192, 1, 1), ("branch7x7x3_2", 192, 1, 7), ("branch7x7x3_3", 192, 7, 1)]
    return block(
        name,
        [("branch3x3_1", 192, 1, 1), ("branch3x3_2", 320, 3, 3, 2)],
        [*seven, ("branch7x7x3_4", 192, 3, 3, 2)],
        [Pool("max", stride=2)],
    )


def block_e(name, pool):
    def fork(a, b):
        """A 1x3 and a 3x1 kernel side by side."""
        return block(name, [(a, 384, 1, 3)], [(b, 384, 3, 1)])

    return block(
        name,
        [("branch1x1", 320, 1, 1)],
        [("branch3x3_1", 384, 1, 1), fork("branch3x3_2a", "branch3x3_2b")],
        [("branch3x3dbl_1", 448, 1, 1), ("branch3x3dbl_2", 384, 3, 3), fork("branch3x3dbl_3a", "branch3x3dbl_3b")],
        [Pool(pool), ("branch_pool", 192, 1, 1)],
    )


# Sizes for 299x299 pixels.
NETWORK = (
    ConvNormRelu("Conv2d_1a_3x3", 32, 3, 3, stride=2, padded=False),  # (149, 149, 32)
    ConvNormRelu("Conv2d_2a_3x3", 32, 3, 3, padded=False),  # (147, 147, 32)
    ConvNormRelu("Conv2d_2b_3x3", 64, 3, 3),  # (147, 147, 64)
    Pool("max", stride=2),  # (73, 73, 64)
    ConvNormRelu("Conv2d_3b_1x1", 80, 1, 1),  # (73, 73, 80)
    ConvNormRelu("Conv2d_4a_3x3", 192, 3, 3, padded=False),  # (71, 71, 192)
    Pool("max", stride=2),  # (35, 35, 192)
    block_a("Mixed_5b", 32),  # (35, 35, 256)
    block_a("Mixed_5c", 64),  # (35, 35, 288)
    block_a("Mixed_5d", 64),  # (35, 35, 288)
    block_b("Mixed_6a"),  # (17, 17, 768)
    block_c("Mixed_6b", 128),  # (17, 17, 768)
    block_c("Mixed_6c", 160),  # (17, 17, 768)
    block_c("Mixed_6d", 160),  # (17, 17, 768)
    block_c("Mixed_6e", 192),  # (17, 17, 768)
    block_d("Mixed_7a"),  # (8, 8, 1280)
    block_e("Mixed_7b", "average"),  # (8, 8, 2048)
    block_e("Mixed_7c", "max"),  # (8, 8, 2048)
)


def kernel_shapes() -> dict[str, tuple[int, int, int, int]]:
    """(c_out, c_in, kh, kw) of each convolution by its name, in the order of the table."""
    shapes: dict[str, tuple[int, int, int, int]] = {}
    _walk(NETWORK, 3, shapes)
    return shapes


def _walk(steps, channels, shapes):
    """The channels after `steps`, whose kernels are added to `shapes`."""
    for step in steps:
        if isinstance(step, ConvNormRelu):
            shapes[step.name] = (step.channels, channels, step.kh, step.kw)
            channels = step.channels
        elif isinstance(step, Branches):
            channels = sum(_walk(branch, channels, shapes) for branch in step.branches)
    return channels
