"""Weights of Inception's shapes, drawn so that features neither vanish nor explode, and differ between images."""

import numpy as np

from minicoulomb.fid.architecture import kernel_shapes


def random_state(seed=0, divisor=1):
    """A state dict of FID's Inception, float32; with a divisor of its channels, 3 and the 1008 classes apart.

    Kernels of mean 0 and variance 2 / fan-in keep the size of what passes through a ReLU (He et al., 2015), and their
    sum of 0 keeps images apart, which would otherwise all end at the same features.
    """
    rng, state = np.random.default_rng(seed), {}
    for name, (c_out, c_in, kh, kw) in kernel_shapes().items():
        c_out, c_in = c_out // divisor, c_in if c_in == 3 else c_in // divisor
        w = rng.standard_normal((c_out, c_in, kh, kw), np.float32)
        w -= w.mean(axis=(1, 2, 3), keepdims=True)
        state[f"{name}.conv.weight"] = w * np.float32(np.sqrt(2 / (c_in * kh * kw)))
        state[f"{name}.bn.weight"] = rng.uniform(0.8, 1.2, c_out).astype(np.float32)
        state[f"{name}.bn.bias"] = rng.normal(0, 0.1, c_out).astype(np.float32)
        state[f"{name}.bn.running_mean"] = rng.normal(0, 0.1, c_out).astype(np.float32)
        state[f"{name}.bn.running_var"] = rng.uniform(0.8, 1.2, c_out).astype(np.float32)
        state[f"{name}.bn.num_batches_tracked"] = np.array(0)
    state["fc.weight"] = np.zeros((1008, 2048 // divisor), np.float32)
    state["fc.bias"] = np.zeros(1008, np.float32)
    return state
