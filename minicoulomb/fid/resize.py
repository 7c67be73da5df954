"""Bilinear resizing as two small matrices: y = R_h x R_w^T for each image and channel.

    position of output i in the input    t_i = max(0, (i + 1/2) n / m - 1/2),    n pixels to m
    R[i, floor t] = 1 - (t - floor t),   R[i, floor t + 1] = t - floor t          at the end only the last pixel

This is torch.nn.functional.interpolate(mode="bilinear", align_corners=False), by which pytorch-fid resizes. It does
not antialias: images larger than the target alias, and FIDs agree only if both sides are resized in the same way.
"""

import numpy as np

from minicoulomb.arrays.backend import array_module


def bilinear(n: int, m: int) -> np.ndarray:
    """R (m, n), float32; positions are rounded as in PyTorch: n / m to float32, then the sum (an FMA) once."""
    positions = (np.arange(m) + 0.5) * float(np.float32(n / m)) - 0.5
    positions = np.maximum(positions, 0).astype(np.float32)
    before = np.minimum(positions.astype(np.intp), n - 1)
    share = positions - before.astype(np.float32)
    R = np.zeros((m, n), np.float32)
    np.add.at(R, (np.arange(m), before), 1 - share)
    np.add.at(R, (np.arange(m), np.minimum(before + 1, n - 1)), share)
    return R


def resize(x, rows, columns):
    """x (n, h, w, c) resized to (n, h', w', c) by R_h = rows (h', h) and R_w = columns (w', w)."""
    xp, (n, h, w, c) = array_module(x), x.shape
    y = xp.matmul(rows, x.reshape(n, h, w * c)).reshape(n * len(rows), w, c)  # (n h', w, c)
    return xp.matmul(columns, y).reshape(n, len(rows), len(columns), c)
