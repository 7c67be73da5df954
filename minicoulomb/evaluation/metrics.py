"""The quality of samples: modes and histograms for mixtures, distances between sets for everything else.

    high quality   within 3 sigma of a mode's centre (after PacGAN, Lin et al., 2018)
    reverse KL     sum_k q_k log(q_k / p_k),  q the histogram of the nearest mode of each generated sample, p = 1/K
    forward KL     sum_k p_k log(p_k / q_k)
    Frechet        |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)): the squared distance of two Gaussians
    kernel distance   the squared MMD of features under the kernel (x.y / m + 1)^3: KID, Binkowski et al., ICLR 2018

Sets of samples are (n, ...), flattened to (n, m). The squared MMD under the Plummer kernel is coulomb.mmd2.
"""

from collections.abc import Iterable

import numpy as np

from minicoulomb.arrays.backend import is_array
from minicoulomb.arrays.threads import for_each
from minicoulomb.errors import UserError

# Rows of one block of pairwise distances.
BLOCK = 256


def mixture_metrics(samples, modes, sigma: float) -> dict[str, float]:
    """Coverage of `modes` (K, m), each a Gaussian of standard deviation sigma, by samples (n, m).

    modes          number of modes with at least one high-quality sample
    modes20        number of modes with at least 20% of their fair share of high-quality samples
    high_quality   share of samples within 3 sigma of a mode
    spread         median distance to the nearest mode / sigma: sqrt(2 ln 2) = 1.18 for the mixture itself in the plane,
                   less where samples shrink within the modes, which high_quality rewards
    reverse_kl, forward_kl   of the histogram of nearest modes, >= 0. An empty mode counts as half a sample in
                             forward_kl, which would be infinite, and the shares are divided by their sum again.
    """
    nearest, distance = nearest_neighbours(samples, modes)
    n, n_modes = len(samples), len(modes)
    high_quality = distance <= 3 * sigma
    hits = np.bincount(nearest[high_quality], minlength=n_modes)
    counts = np.bincount(nearest, minlength=n_modes)
    q, filled = counts / n, np.maximum(counts, 0.5)
    return {
        "modes": int((hits > 0).sum()),
        "modes20": int((hits >= 0.2 * n / n_modes).sum()),
        "high_quality": float(high_quality.mean()),
        "spread": float(np.median(distance) / sigma),
        "reverse_kl": max(0.0, float((q[q > 0] * np.log(q[q > 0] * n_modes)).sum())),
        "forward_kl": max(0.0, float(-np.log(filled / filled.sum() * n_modes).mean())),  # rounding makes -1e-17 of 0
    }


def nearest_neighbours(a, b) -> tuple[np.ndarray, np.ndarray]:
    """Index of the b_j nearest to each a_i (n_a, ...), and their Euclidean distance, (n_a,) each."""
    a, b = flattened(a), flattened(b)
    _check_dimensions(a, b)
    centre = b.mean(axis=0)
    b = b - centre
    squares = np.einsum("ij,ij->i", b, b)
    index = np.empty(len(a), np.intp)
    for start in range(0, len(a), BLOCK):
        index[start : start + BLOCK] = (squares - 2 * (a[start : start + BLOCK] - centre) @ b.T).argmin(axis=1)
    return index, np.sqrt(np.square(a - centre - b[index]).sum(axis=1))


def k_nearest(a, blocks: Iterable, k: int) -> np.ndarray:
    """Indices (n, k) of the k rows of `blocks`, arrays (m, ...), nearest to each a_i (n, ...), nearest first.

    Indices count the rows of all blocks; equally near rows keep their order. One block is in memory at a time.
    """
    a = flattened(a)
    centre = np.median(a, axis=0)  # so that less cancels
    a -= centre
    index: np.ndarray = np.empty((len(a), 0), np.intp)
    squares: np.ndarray = np.empty((len(a), 0))
    start = 0
    for block in blocks:
        b = flattened(block)
        _check_dimensions(a, b)
        b -= centre
        # |a - b|^2 without |a|^2, which is the same for all b
        further = np.einsum("ij,ij->i", b, b) - 2 * a @ b.T  # (n, m)
        rows = np.broadcast_to(np.arange(start, start + len(b)), further.shape)
        squares, index = np.hstack([squares, further]), np.hstack([index, rows])
        nearest = squares.argsort(axis=1, kind="stable")[:, :k]
        squares, index = (np.take_along_axis(array, nearest, axis=1) for array in (squares, index))
        start += len(b)
    return index


def distance_ratio(samples, held_out) -> float | None:
    """Median distance of samples (n,) to their nearest training samples, over that of held-out samples (k,).

    Held-out samples at distance 0 are duplicates of training samples, and do not count; None if all are.
    """
    apart = held_out[held_out > 0]
    return float(np.median(samples) / np.median(apart)) if len(apart) else None


def frechet_distance(a, b) -> float:
    """Squared Frechet distance of the Gaussians with the means and covariances of a (n_a, ...) and b (n_b, ...).

    UserError for fewer than two of either, which have no covariance.
    """
    a, b = flattened(a), flattened(b)
    _check_dimensions(a, b)
    if (n := min(len(a), len(b))) < 2:
        raise UserError(f"{n} samples: a covariance needs at least 2 of each; use more")
    s_1, s_2 = np.atleast_2d(np.cov(a, rowvar=False)), np.atleast_2d(np.cov(b, rowvar=False))
    return frechet_distance_of(a.mean(axis=0), s_1, b.mean(axis=0), s_2)


def frechet_distance_of(mu_1, s_1, mu_2, s_2) -> float:
    """Squared Frechet distance of the Gaussians with means (m,) and covariances (m, m), float64.

    With S_k = R_k R_k^T, R_k = V_k diag(sqrt(lambda_k)) from the eigenvalues of S_k, tr (S_1 S_2)^(1/2) is the sum of
    the singular values of R_1^T R_2. Their squares are the eigenvalues of the symmetric S_1^(1/2) S_2 S_1^(1/2), but
    the root of an eigenvalue that is 1e-16 instead of 0 is 1e-8, and a covariance of Inception's features has 2048.
    """
    roots = {}

    def find_root(number):
        values, vectors = np.linalg.eigh((s_1, s_2)[number])
        roots[number] = vectors * np.sqrt(np.maximum(values, 0))  # (m, m)

    for_each(find_root, range(2))
    cross = np.linalg.svd(roots[0].T @ roots[1], compute_uv=False).sum()
    offset = mu_1 - mu_2
    return max(0.0, float(offset @ offset + np.trace(s_1) + np.trace(s_2) - 2 * cross))


def kernel_distance(x, y, rng: np.random.Generator, subsets: int = 100, size: int = 1000) -> tuple[float, float]:
    """Mean and standard deviation, over random subsets of `size` of each, of the unbiased squared MMD of x and y.

    k(a, b) = (a.b / m + 1)^3,   sum_{i != j} (k(x_i, x_j) + k(y_i, y_j)) / (n (n - 1)) - 2 mean_{i, j} k(x_i, y_j)

    x (n_x, m), y (n_y, m); subsets have at most as many samples as the smaller set. Products are in the features'
    dtype, sums in float64.
    """
    n = min(size, len(x), len(y))
    if n < 2:
        raise UserError(f"{n} samples: the kernel distance needs at least 2 of each; use more")
    rows = [(rng.choice(len(x), n, replace=False), rng.choice(len(y), n, replace=False)) for _ in range(subsets)]
    distances = np.empty(subsets)

    def measure(number):
        a, b = x[rows[number][0]], y[rows[number][1]]
        within = sum(k.sum() - np.trace(k) for k in (_cubic(a, a), _cubic(b, b)))
        distances[number] = within / (n * (n - 1)) - 2 * _cubic(a, b).mean()

    for_each(measure, range(subsets))
    return float(distances.mean()), float(distances.std())


def _cubic(a, b):
    """(a_i.b_j / m + 1)^3, (n_a, n_b), float64."""
    k = (a @ b.T).astype(np.float64)
    k /= a.shape[1]
    k += 1
    return k * k * k


def class_metrics(samples, images, labels) -> dict[str, float]:
    """Spread of samples (n, ...) over the classes of labelled `images`, by the label of the nearest image.

    classes   number of classes with at least 2% of the samples
    entropy   of the class shares, in nats; at most log(number of classes)
    """
    nearest, _ = nearest_neighbours(samples, images)
    shares = np.bincount(labels[nearest], minlength=int(labels.max()) + 1) / len(samples)
    entropy = -(shares[shares > 0] * np.log(shares[shares > 0])).sum()
    return {"classes": int((shares >= 0.02).sum()), "entropy": float(entropy)}


def flattened(array):
    """Samples (n, ...) as a new array (n, m) of float64; UserError unless they are finite real numbers."""
    if not is_array(array) or not array.ndim or array.dtype.kind not in "biuf" or not array.size:
        raise UserError(f"samples {str(array)[:50]!r}: must be an array (n, ...) of real numbers; use numpy.asarray")
    flat = array.reshape(len(array), -1).astype(np.float64)
    if bad := len(flat) - np.isfinite(flat).all(axis=1).sum():
        raise UserError(f"{bad} of {len(flat)} samples: must be finite; leave them out, or use another checkpoint")
    return flat


def _check_dimensions(a, b):
    """UserError unless the points (n, m) and (k, m) have as many coordinates."""
    if a.shape[1] != b.shape[1]:
        raise UserError(f"samples of {a.shape[1]} and {b.shape[1]} numbers: must be of one shape; use data of one kind")
