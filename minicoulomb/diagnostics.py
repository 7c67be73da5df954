"""What a step measures: losses, how well D and G do, and whether everything was finite."""

from typing import Any, NamedTuple

import numpy as np

from minicoulomb import diagnostics_cuda
from minicoulomb.arrays.backend import on_gpu, to_host
from minicoulomb.arrays.vectors import concatenate, sum_of_squares
from minicoulomb.coulomb import mmd2_of
from minicoulomb.errors import UserError


def diagnostics(result: Any, unit: float = 1.0) -> dict[str, Any]:
    """How well D and G do at one batch, as numbers on the device.

    r2     1 - sum (D - s Phi)^2 / sum (s Phi - mean s Phi)^2 over all points where D learns: D's fit, at most 1;
           absent where D regresses nothing
    mmd2   unit (mean Phi(y) - mean Phi(x)) >= 0, the squared MMD of the two batches, which must fall
    """
    if on_gpu(result.phi_x):
        return diagnostics_cuda.diagnostics(result, unit)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # as in gan.step
        mmd2 = {"mmd2": unit * mmd2_of(result.phi_x, result.phi_y)}
        if result.fit is None:
            return mmd2
        error, scatter = result.fit[0] - result.fit[1], result.fit[1] - result.fit[1].mean()
        return {"r2": 1 - sum_of_squares(error) / sum_of_squares(scatter), **mmd2}


def regression_loss(error: Any, n_x: int) -> Any:
    """(mean_i error_i^2 + mean_j error_j^2) / 2, L_D without penalty: error is (n_x + n_y,), the x_i before the y_j."""
    if on_gpu(error):
        return diagnostics_cuda.regression_loss(error, n_x)
    return (sum_of_squares(error[:n_x]) / n_x + sum_of_squares(error[n_x:]) / (len(error) - n_x)) / 2


def finite_checks(result: Any, finite: Any) -> dict[str, Any]:
    """Whether each loss and gradient is finite, by name, and as "all" whether these are and `finite` is true."""
    found = {"loss_d": result.loss_d, "loss_g": result.loss_g, "gradient dw": result.dw}
    found = {name: n for name, n in (found | {"gradient dtheta": result.dtheta}).items() if n is not None}
    squares = {name: sum_of_squares(value) if value.ndim else value for name, value in found.items()}
    if on_gpu(result.phi_x):
        return diagnostics_cuda.finite_checks(squares, finite)
    checks = {name: np.isfinite(square) for name, square in squares.items()}
    return checks | {"all": finite and all(checks.values())}


class Diverged(UserError):
    """A loss or gradient is not finite; `what` names it. The arrays of the state are those of the last good step."""

    def __init__(self, what: str, message: str = ""):
        super().__init__(message or f"{what} is not finite")
        self.what = what


class Metrics(NamedTuple):
    """What one step measured before its last update, still on the device; `read` gives it as numbers.

    Attributes
    ----------
    result : minicoulomb.gan.Gradients
        Of the last batch, without its large arrays.
    unit : float
        `potential_unit` of the step.
    checks : dict of booleans by name
        Whether each loss and gradient was finite, and "all": these and those of all steps before.
    """

    result: Any
    unit: float
    checks: dict[str, Any]

    def packed(self) -> "Packed":
        """The same as one array on the device."""
        losses = {name: getattr(self.result, name) for name in self.checks if name.startswith("loss")}
        numbers, phi = losses | diagnostics(self.result, self.unit), self.result.phi_x
        all_values = [*numbers.values(), *self.checks.values()]
        if on_gpu(phi):
            values = concatenate([value.reshape(1) for value in all_values])
        else:
            values = np.array(all_values, phi.dtype)
        return Packed((*numbers, *self.checks), len(numbers), values)

    def read(self) -> dict[str, float]:
        """The step's numbers as floats; waits for the device.

        loss_d and loss_g; mmd2, the squared MMD of the batch; r2, D's coefficient of determination, at most 1. An
        objective without a D has no loss_d, and one without a regression no r2. Raises Diverged if anything was not
        finite, now or earlier.
        """
        return self.packed().read()


class Packed(NamedTuple):
    """Metrics of one step as an array: `measured` numbers by their names, and after them the checks."""

    names: tuple[str, ...]
    measured: int
    values: Any

    def read(self) -> dict[str, float]:
        """As Metrics.read."""
        found = list(zip(self.names, to_host(self.values).tolist(), strict=True))
        numbers, checks = dict(found[: self.measured]), dict(found[self.measured :])
        if not checks.pop("all"):
            raise Diverged(next((name for name, good in checks.items() if not good), "a loss or gradient"))
        return numbers
