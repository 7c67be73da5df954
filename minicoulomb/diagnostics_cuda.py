"""diagnostics.py on a GPU, in few CUDA kernels: a step on points is so short that they count."""

from functools import cache

from minicoulomb.arrays.backend import array_module
from minicoulomb.arrays.cuda import ColumnSums, ElementwiseKernel


def diagnostics(result, unit) -> dict:
    """diagnostics.diagnostics."""
    phi_x, phi_y, fit = result.phi_x, result.phi_y, result.fit
    n_x, n_y = len(phi_x), len(phi_y)
    empty = lambda: array_module(phi_x).empty((), phi_x.dtype)
    if fit is None:
        x, y = _POTENTIALS(n_x + n_y, 1, phi_x, phi_y, n_x)
        return {"mmd2": _MMD2(x, y, n_x, n_y, unit, empty(), size=1)}
    d, target = fit
    x, y, error, total = _FIT(n_x + n_y, 1, phi_x, phi_y, n_x, d, target)
    (scatter,) = _SCATTER(n_x + n_y, 1, target, total, n_x + n_y)
    return {"r2": _R2(error, scatter, empty(), size=1), "mmd2": _MMD2(x, y, n_x, n_y, unit, empty(), size=1)}


def regression_loss(error, n_x):
    """diagnostics.regression_loss."""
    return _LOSS(len(error), 1, error, n_x, len(error) - n_x)[0][0]


def finite_checks(squares, finite) -> dict:
    """The checks of diagnostics.finite_checks; `squares` are numbers, not finite where a loss or gradient is not."""
    first = next(iter(squares.values()))
    flags = array_module(first).empty(len(squares) + 1, bool)
    _checks(len(squares))(*squares.values(), finite, flags, size=1)
    return {name: flags[k] for k, name in enumerate((*squares, "all"))}


_LOSS = ColumnSums(
    "raw T error, int64 n_x, int64 n_y",
    ["error[at] * error[at] / (2 * (at < n_x ? n_x : n_y))"],
    "regression_loss",
)
_SUMS = ["at < n_x ? phi_x[at] : T(0)", "at < n_x ? T(0) : phi_y[at - n_x]"]
_POTENTIALS = ColumnSums("raw T phi_x, raw T phi_y, int64 n_x", _SUMS, "potential_sums")
_FIT = ColumnSums(
    "raw T phi_x, raw T phi_y, int64 n_x, raw T d, raw T target",
    [*_SUMS, "(d[at] - target[at]) * (d[at] - target[at])", "target[at]"],
    "fit_sums",
)
_SCATTER = ColumnSums(
    "raw T target, raw T total, int64 n",
    ["(target[at] - total[0] / n) * (target[at] - total[0] / n)"],
    "scatter",
)
_R2 = ElementwiseKernel("raw T error, raw T scatter", "raw T r2", "r2[i] = 1 - error[0] / scatter[0]", "r2")
_MMD2 = ElementwiseKernel(
    "raw T x, raw T y, int64 n_x, int64 n_y, number T unit",
    "raw T mmd2",
    "mmd2[i] = unit * (y[0] / n_y - x[0] / n_x)",
    "mmd2",
)


@cache
def _checks(count) -> ElementwiseKernel:
    squares = "".join(f"raw T square{k}, " for k in range(count))
    code = "".join(f"flags[{k}] = isfinite(square{k}[0]); good = good && flags[{k}];\n" for k in range(count))
    return ElementwiseKernel(
        f"{squares}number bool finite", "raw bool flags", f"bool good = finite;\n{code}flags[{count}] = good;", "checks"
    )
