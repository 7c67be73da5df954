"""Adam and exponential averages on a GPU, one CUDA kernel each; optim.py has the formulas."""

from minicoulomb.arrays.cuda import ElementwiseKernel


def adam(theta, gradient, moments, rates, where) -> None:
    """optim.adam where `where`, which may lie on the device."""
    step_size, beta1, beta2, epsilon = rates
    _ADAM(gradient, beta1, 1 - beta1, beta2, 1 - beta2, step_size, epsilon, where, theta, *moments)


def update_average(target, value, decay, where) -> None:
    """optim.update_average where `where`, which may lie on the device."""
    _UPDATE_AVERAGE(value, decay, where, target)


_ADAM = ElementwiseKernel(
    "T g, T beta1, T rest1, T beta2, T rest2, number T step_size, number T epsilon, number bool where",
    "T theta, T m, T v",
    """
    if (where) {
        m = beta1 * m + rest1 * g;
        v = beta2 * v + rest2 * g * g;
        theta -= step_size * (m / (sqrt(v) + epsilon));
    }
    """,
    "adam",
)


_UPDATE_AVERAGE = ElementwiseKernel(
    "T value, number T decay, number bool where",
    "T target",
    "if (where) target = decay * target + (1 - decay) * value;",
    "update_average",
)
