"""Inception's features: table, pooling and resizing against their definitions, torch's functions and pytorch-fid."""

import pickle
from math import prod

import numpy as np
import pytest
import strict_cupy
from inception_cases import random_state
from inception_oracles import pytorch_fid, torch_features
from PIL import Image

from minicoulomb.arrays.backend import on_gpu, to_host
from minicoulomb.arrays.threads import set_threads
from minicoulomb.fid.architecture import kernel_shapes
from minicoulomb.fid.network import Inception
from minicoulomb.fid.pooling import average_pool, max_pool
from minicoulomb.fid.resize import bilinear, resize
from minicoulomb.fid.weights import fold


def network_of(state, xp=np):
    return Inception({name: fold(state, name) for name in kernel_shapes()}, xp)


def pictures(n, side=64, channels=3, seed=0):
    """Smooth pixels (n, side, side, channels) of different colours, uint8: noise alone has the same features."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, 5, 5, channels), np.uint8)
    grow = lambda image: np.asarray(Image.fromarray(image.squeeze()).resize((side, side))).reshape(side, side, channels)
    return np.stack([grow(image) for image in coarse])


def relative(ours, theirs):
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


# The table


def test_the_table_has_the_94_convolutions_and_weights_of_inception():
    shapes = kernel_shapes()
    assert len(shapes) == 94
    assert sum(map(prod, shapes.values())) == 21_751_136  # torchvision's 27,161,264 less norms, classes, auxiliary
    assert shapes["Mixed_6c.branch7x7dbl_4"] == (160, 160, 7, 1)


def test_the_table_is_pytorch_fid_s():
    theirs = pytorch_fid().inception.torchvision.models.inception_v3(
        num_classes=1008, aux_logits=False, init_weights=False
    )
    inception = pytorch_fid().inception
    theirs.Mixed_5b = inception.FIDInceptionA(192, pool_features=32)
    kernels = {name: tuple(w.shape) for name, w in theirs.state_dict().items() if name.endswith(".conv.weight")}
    assert {f"{name}.conv.weight": shape for name, shape in kernel_shapes().items()} == kernels


# Pooling and resizing, by their definitions


@pytest.mark.parametrize("size", [(7, 9), (3, 8), (1, 1), (2, 5)])
@pytest.mark.parametrize("library", [np, strict_cupy])
def test_pooling_agrees_with_its_definition(size, library):
    x = np.random.default_rng(0).standard_normal((2, *size, 3))
    h, w = size
    window = lambda u, v: x[:, max(0, u - 1) : u + 2, max(0, v - 1) : v + 2]
    each = lambda reduce: np.stack([np.stack([reduce(window(u, v)) for v in range(w)], 1) for u in range(h)], 1)
    ours = library.asarray(x)
    np.testing.assert_allclose(to_host(average_pool(ours)), each(lambda part: part.mean(axis=(1, 2))), atol=1e-15)
    largest = each(lambda part: part.max(axis=(1, 2)))
    np.testing.assert_array_equal(to_host(max_pool(ours, 1)), largest)
    if min(size) >= 3:
        np.testing.assert_array_equal(to_host(max_pool(ours, 2)), largest[:, 1 : h - 1 : 2, 1 : w - 1 : 2])
    np.testing.assert_array_equal(to_host(ours), x)


@pytest.mark.parametrize(("n", "m"), [(64, 299), (299, 299), (32, 299), (1, 7), (400, 299), (5, 3)])
def test_resizing_takes_the_two_nearest_pixels(n, m):
    R = bilinear(n, m)
    assert R.shape == (m, n)
    np.testing.assert_allclose(R.sum(axis=1), 1, atol=1e-6)
    ramp = R @ np.arange(n)
    inside = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)
    np.testing.assert_allclose(ramp, inside, atol=1e-4)
    assert ((R > 0).sum(axis=1) <= 2).all()
    if n == m:
        np.testing.assert_array_equal(R, np.eye(n))


@pytest.mark.parametrize("sides", [(64, 64), (37, 50), (512, 300), (299, 299)])
def test_resizing_agrees_with_torch(sides):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    x = np.random.default_rng(0).random((2, *sides, 3), np.float32)
    ours = resize(x, bilinear(sides[0], 299), bilinear(sides[1], 299))
    given = torch.from_numpy(x).permute(0, 3, 1, 2)
    theirs = torch.nn.functional.interpolate(given, size=(299, 299), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(ours, theirs.permute(0, 2, 3, 1).numpy(), atol=1e-6)


# The network


def test_folding_is_batch_normalization_behind_the_convolution():
    state, name = random_state(divisor=16), "Conv2d_3b_1x1"
    kernel, bias = fold(state, name)
    x = np.random.default_rng(0).standard_normal((5, kernel.shape[2]))
    gamma, beta, mean, variance = (
        state[f"{name}.bn.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
    )
    z = x @ state[f"{name}.conv.weight"][:, :, 0, 0].T
    np.testing.assert_allclose(x @ kernel[0, 0] + bias, gamma * (z - mean) / np.sqrt(variance + 1e-3) + beta, rtol=1e-4)


def test_pixels_come_to_the_network_resized_and_between_minus_1_and_1():
    network = network_of(random_state(divisor=16))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 299, 299, 3), np.uint8)
    np.testing.assert_allclose(network.prepare(pixels), pixels / 127.5 - 1, atol=1e-6)
    doubled = network.prepare(pixels[:, :150, :150])
    assert doubled.shape == (1, 299, 299, 3)
    assert abs(doubled[0, 0, 0] - (pixels[0, 0, 0] / 127.5 - 1)).max() < 1e-6


def test_the_features_of_a_narrow_network_are_torch_s():
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    state = random_state(divisor=16)
    network = network_of(state)
    x = network.prepare(pictures(3, 40))
    theirs = torch_features(state, x)
    assert theirs.shape == (3, 128)
    assert relative(theirs[1:], theirs[:-1]) > 1e-3, "the images have the same features: the comparison says nothing"
    assert relative(network.forward(x), theirs) < 1e-5
    assert 0.01 < theirs.std() < 10


def test_the_features_are_those_of_numpy_s_definitions():
    """Without any other library: each step of the table by sums over windows, in float64."""
    state, x = random_state(divisor=16), np.random.default_rng(0).standard_normal((1, 75, 75, 3)).astype(np.float32)
    ours = network_of(state).forward(x)
    np.testing.assert_allclose(ours, numpy_features(state, x.astype(np.float64)), rtol=1e-3, atol=1e-4)


def numpy_features(state, x):
    def conv(x, name, stride=1, same=True):
        w = state[f"{name}.conv.weight"].astype(np.float64)  # (o, i, kh, kw)
        kh, kw = w.shape[2:]
        if same:
            x = np.pad(x, ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(1, 2))[:, ::stride, ::stride]
        y = np.einsum("nuvcij,ocij->nuvo", windows, w, optimize=True)
        gamma, beta, mean, variance = (
            state[f"{name}.bn.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
        )
        return np.maximum(0, gamma * (y - mean) / np.sqrt(variance + 1e-3) + beta)

    def pool(x, reduce, same=True):
        if same:
            x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=np.nan)
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
        return reduce(windows if same else windows[:, ::2, ::2], axis=(-2, -1))

    def chain(x, name, *branches):
        for branch in branches:
            x = conv(x, f"{name}.{branch}")
        return x

    join = lambda *parts: np.concatenate(parts, axis=-1)
    x = conv(conv(conv(x, "Conv2d_1a_3x3", 2, False), "Conv2d_2a_3x3", same=False), "Conv2d_2b_3x3")
    x = pool(x, np.max, False)
    x = pool(conv(conv(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3", same=False), np.max, False)
    for n in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        five, double = chain(x, n, "branch5x5_1", "branch5x5_2"), chain(x, n, *triple("branch3x3dbl", 3))
        x = join(chain(x, n, "branch1x1"), five, double, chain(pool(x, np.nanmean), n, "branch_pool"))
    n = "Mixed_6a"
    double = conv(chain(x, n, *triple("branch3x3dbl", 2)), f"{n}.branch3x3dbl_3", 2, False)
    x = join(conv(x, f"{n}.branch3x3", 2, False), double, pool(x, np.max, False))
    for n in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        seven, double = chain(x, n, *triple("branch7x7", 3)), chain(x, n, *triple("branch7x7dbl", 5))
        x = join(chain(x, n, "branch1x1"), seven, double, chain(pool(x, np.nanmean), n, "branch_pool"))
    n = "Mixed_7a"
    three = conv(chain(x, n, "branch3x3_1"), f"{n}.branch3x3_2", 2, False)
    seven = conv(chain(x, n, *triple("branch7x7x3", 3)), f"{n}.branch7x7x3_4", 2, False)
    x = join(three, seven, pool(x, np.max, False))
    for n, reduce in (("Mixed_7b", np.nanmean), ("Mixed_7c", np.nanmax)):
        three, double = chain(x, n, "branch3x3_1"), chain(x, n, "branch3x3dbl_1", "branch3x3dbl_2")
        three = [chain(three, n, f"branch3x3_2{side}") for side in "ab"]
        double = [chain(double, n, f"branch3x3dbl_3{side}") for side in "ab"]
        x = join(chain(x, n, "branch1x1"), *three, *double, chain(pool(x, reduce), n, "branch_pool"))
    return x.mean(axis=(1, 2))


def triple(branch, n):
    return [f"{branch}_{i}" for i in range(1, n + 1)]


def test_a_narrow_network_computes_on_a_device_what_it_does_on_the_host():
    state, pixels = random_state(divisor=16), pictures(2, 20)
    device = network_of(state, strict_cupy)
    features = device.forward(device.prepare(strict_cupy.asarray(pixels)))
    assert on_gpu(features)
    theirs = network_of(state).features(pixels)
    assert relative(to_host(features), theirs) < 1e-5
    np.testing.assert_array_equal(device.features(pixels), to_host(features))


@pytest.mark.slow
def test_the_whole_network_computes_on_a_device_and_waits_for_its_result_alone():
    state, pixels = random_state(), pictures(1)
    device = network_of(state, strict_cupy)
    assert relative(device.features(pixels), network_of(state).features(pixels)) < 1e-5
    with strict_cupy.recorded() as waits:
        device.features(pixels)
    assert [call for call, _ in waits] == ["get"]
    assert [call for call, _ in waits.uploads] == ["asarray"]


def test_the_number_of_threads_changes_no_bit_of_the_features():
    network, found = network_of(random_state(divisor=16)), []
    try:
        for threads in (1, 3):
            set_threads(threads)
            found.append(network.features(pictures(4)))
    finally:
        set_threads(1)
    np.testing.assert_array_equal(*found)


def test_grey_pixels_are_as_three_equal_channels():
    network = network_of(random_state(divisor=16))
    grey = pictures(2, channels=1)
    np.testing.assert_allclose(network.features(grey), network.features(grey.repeat(3, axis=3)), rtol=1e-5)


def test_the_features_of_pixels_are_pytorch_fid_s(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    state = random_state()
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, tmp_path / "weights.pth")
    theirs = pytorch_fid(monkeypatch, tmp_path / "weights.pth").inception.InceptionV3().eval()
    pixels = pictures(4)
    expected = theirs(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255)[0][:, :, 0, 0].numpy()
    features = network_of(state).features(pixels)
    assert relative(expected[1:], expected[:-1]) > 0.01, "the images have the same features"
    assert relative(features, expected) < 1e-5
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4 * expected.mean())
    assert 0.01 < expected.std() < 10


def test_another_process_gets_the_weights_and_computes_the_same_features():
    network = network_of(random_state(divisor=16))
    pixels = pictures(2)
    features = network.features(pixels)  # transforms kernels
    content = pickle.dumps(network)
    assert len(content) < 1.1 * sum(w.nbytes + b.nbytes for w, b in network.__reduce__()[1][0].values())
    assert np.array_equal(pickle.loads(content).features(pixels), features)
