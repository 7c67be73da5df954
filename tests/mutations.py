"""Are the tests able to fail? `python tests/mutations.py` breaks one line of the numerics at a time and runs them.

`python tests/mutations.py conv.py gan.py` does so in these files alone. Each mutation is made in a copy of the
repository, where the fast tests then must fail. Prints which test noticed; exits with status 1 if one survives. Only
the light `test` extra is used, neither PyTorch nor JAX, and a C++ compiler, with which the stand-in for CuPy runs
kernels.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = [
    "conv/test_conv",
    "conv/test_winograd",
    "arrays/test_blocks",
    "arrays/test_matmul",
    "arrays/test_workspace",
    "layers/test_layers",
    "layers/test_formulas",
    "test_network",
    "coulomb/test_coulomb",
    "test_optim",
    "test_baselines",
    "test_gan",
    "coulomb/test_theory",
    "test_particles",
]

# (file, a text that stands there once, what takes its place)
MUTATIONS = [
    ("conv/im2col.py", "windows[:, :, :, i, taps] += cols", "windows[:, :, :, i, taps] = cols"),
    ("conv/im2col.py", "xp.ascontiguousarray(xp.pad(x", "(xp.pad(x"),
    ("conv/im2col.py", "stride[1] * c, w * c, 1  #", "stride[1] * c, w * c, 0  #"),
    ("arrays/blocks.py", "term if sums[k] is None else sums[k] + term", "term"),
    ("arrays/matmul.py", "*operand(b, row_b), *operand(a, row_a)", "*operand(a, row_a), *operand(b, row_b)"),
    ("arrays/matmul.py", "return True, max(column, n)", "return False, max(column, n)"),
    ("arrays/matmul.py", "(row >= m or n == 1)", "True"),
    ("arrays/matmul.py", "function.argtypes, function.restype = types, c_int", "pass"),
    ("arrays/matmul.py", "if not out.size or not k:", "if not out.size:"),
    ("arrays/blocks.py", "[k :: len(sums)]", "[k::8]"),
    ("arrays/blocks.py", "slice(start, min(n, start + length))", "slice(start, min(n - 1, start + length))"),
    ("conv/winograd_plan.py", "low - root * high", "low + root * high"),
    ("conv/winograd_plan.py", " / prod(a - b for b in others(a))", ""),
    ("conv/winograd.py", "windows[:, :, :, i, j] += gathered", "windows[:, :, :, i, j] = gathered"),
    ("conv/winograd.py", "taps += (group.G.T", "taps[...] = (group.G.T"),
    ("conv/winograd.py", "y[images] = whole[:, :u, :v]", "y[images] = whole[:, -u:, -v:]"),
    ("conv/winograd.py", "xpad[:, :top] = xpad[:, bottom:] = 0", "xpad[:, :top] = 0"),
    ("conv/winograd.py", "        dxpad[...] = 0\n", ""),
    ("conv/winograd_plan.py", "{(False, True): 0, (True, True): 1,", "{(True, True): 0, (False, True): 1,"),
    ("conv/winograd_plan.py", "inputs = len(B0) - (t0 < r0)", "inputs = len(B0) - 2 * (t0 < r0)"),
    ("conv/winograd.py", "if plan.key not in self._transforms:", "if not self._transforms:"),
    ("conv/winograd.py", "return self._transforms[plan.key]", "return next(iter(self._transforms.values()))"),
    ("conv/winograd.py", "return w if w._keep else", "return w if not w._keep else"),
    ("arrays/workspace.py", "free.pop() if free", "free[-1] if free"),
    ("arrays/workspace.py", "self._buffers = local()", "self._buffers = lambda: 0"),
    ("layers/layer.py", "dy = dy * weights", "dy = dy + 0 * weights"),
    ("layers/linear.py", "else matmul(dy, kernel.T)", "else 1.001 * matmul(dy, kernel.T)"),
    ("layers/linear.py", "matmul(x.T, dy), dy.sum(axis=0)", "matmul(x.T, dy), dy.mean(axis=0)"),
    ("layers/convolution.py", "else rows.sum(axis=0)", "else rows.mean(axis=0)"),
    ("layers/convolution.py", "correlate(dy, kernel, self.stride", "correlate(dy, kernel, 1"),
    ("layers/convolution.py", "        return dy, x\n", "        return -dy, x\n"),
    ("layers/batch_norm.py", "dscale / -len(x)", "dscale / len(x)"),
    ("layers/batch_norm.py", "dz - offset) * factor", "dz) * factor"),
    ("layers/batch_norm.py", "if residuals.variance is None:", "if False:"),
    ("layers/batch_norm.py", "return (x - mean) * dz, dz", "return x * dz, dz"),
    ("layers/batch_norm.py", "((x - mean) ** 2,)", "(x**2 - mean**2,)"),
    ("layers/batch_norm.py", "activation.f(z) if activation else z", "z"),
    ("layers/activations.py", "return dy * (y > 0)", "return dy * (y > 1)"),
    ("layers/activations.py", "astype(dy.dtype), slope, 1)", "astype(dy.dtype), 0, 1)"),
    ("layers/activations.py", "minimum(y, 0) + 1", "minimum(y, 0)"),
    ("layers/activations.py", "(slope / amplitude)", "(slope * amplitude)"),
    ("layers/activations.py", "dy - (y * dy).sum(", "dy - (y * dy).mean("),
    ("layers/composite.py", "shortcut.input_gradient(residuals[1], dy) + branch", "dy + branch"),
    ("layers/composite.py", "floats(dy).multiply(self.scale, dy), weights", "dy, weights"),
    ("layers/composite.py", "shortcut.gradients(residuals[1], dy", "shortcut.gradients(residuals[1], -dy"),
    ("layers/composite.py", "layer.gradients(residual, dy, weights)", "layer.gradients(residual, dy)"),
    ("layers/composite.py", "return g + self.scale * f", "return x + self.scale * f"),
    ("layers/resampling.py", "factor * x[:, :, None", "factor * x[::-1, :, None"),
    ("layers/resampling.py", "y[:, ::2, 1::2]", "y[:, 1::2, ::2]"),
    ("layers/resampling.py", "lambda y: factor *", "lambda y: 2 * factor *"),
    ("layers/resampling.py", "return repeat(dy, 0.25)", "return repeat(dy)"),
    ("layers/resampling.py", "        return block_sum(dy)\n", "        return block_sum(dy, 0.25)\n"),
    ("layers/composite.py", "return floats(dy).multiply(float(self.factor), dy)", "return dy / self.factor"),
    ("coulomb/formulas.py", "s == 0, np.inf", "s == 0, 1"),
    ("coulomb/formulas.py", "_kernel(a, p, d, eps) @ q", "_kernel(a, p, d, eps).sum(axis=1)"),
    ("coulomb/formulas.py", "@ (a[:, None] - p)", "@ (p - a[:, None])"),
    ("coulomb/formulas.py", "(_mean(offset_sums, a, y, d + 2, eps) -", "(_mean(offset_sums, a, y, d + 1, eps) -"),
    ("coulomb/formulas.py", "return -d * (", "return d * ("),
    ("coulomb/formulas.py", "len(x) + len(y), 1 / len(y)", "len(x) + len(y), 1 / len(x)"),
    ("coulomb/formulas.py", "p.dtype), d, eps) / len(p)", "p.dtype), d, eps)"),
    ("coulomb/formulas.py", "-d / len(y) * offsets", "-(d + 2) / len(y) * offsets"),
    ("coulomb/formulas.py", "return mmd2(x, y, d, eps) / 2", "return mmd2(x, y, d, eps)"),
    ("coulomb/arguments.py", "d, eps = float(d), float(eps)", "float(d), float(eps)"),
    ("coulomb/arguments.py", "else np.float64)\n", "else np.float32)\n"),
    ("coulomb/pairs.py", "from_a * (k @ q)", "a * (k @ q)"),
    ("coulomb/pairs.py", "k.astype(np.float64, copy=False)", "k"),
    ("coulomb/pairs.py", "a[rows], q[rows], k.T)", "a[rows], q[columns], k.T)"),
    ("coulomb/pairs.py", "if symmetric and columns != rows:", "if symmetric:"),
    ("coulomb/pairs.py", "symmetric = p is a and ", "symmetric = "),
    ("coulomb/pairs.py", "function(number if symmetric else 0, rows", "function(0, rows"),
    ("coulomb/pairs.py", "            k /= s\n", "            k *= s\n"),
    ("coulomb/pairs.py", "            s[s == 0] = np.inf", "            pass"),
    ("coulomb/pairs.py", "np.sqrt(s) if d == 3 else s, out", "s, out"),
    ("coulomb/pairs.py", "if is_singular(eps) else _by_products", "if not is_singular(eps) else _by_products"),
    ("coulomb/pairs.py", "squares[0] += square", "squares[0] = square"),
    ("coulomb/pairs.py", "r2 -= products", "r2 += products"),
    ("particles.py", "x += eta * E", "x -= eta * E"),
    ("particles.py", "u_x.mean() / 2 +", "u_x.mean() +"),
    ("particles.py", " + 0 * (x * x).sum()", ""),
    ("particles.py", "(eps**-d - mean_yy) * n_y / (n_y - 1)", "(eps**-d - mean_yy)"),
    ("particles.py", "mean_kernel(points, y, d + 2, eps)", "mean_kernel(points, y, d, eps)"),
    ("particles.py", "2 * share ** (d / 2 + 2)", "2 * share ** (d / 2 + 1)"),
    ("gan.py", "    target = s * phi", "    target = phi"),
    ("gan.py", "(d_y - target[n_x:]) / n_y", "(d_y - target[n_x:]) / n_x"),
    ("gan.py", "slopes / (-2 * n_x)", "slopes / -n_x"),
    ("gan.py", "d_x, residuals_x = D.forward(of_w, x)", "_, residuals_x = D.forward(of_w, x)"),
    ("gan.py", "gradient[kernel] += l2 * theta", "gradient[kernel] += 2 * l2 * theta"),
    ("gan.py", "add_penalty(dtheta, G, theta, algorithm.l2_g)", "add_penalty(dtheta, G, theta, algorithm.l2)"),
    ("baselines.py", "add_penalty(dtheta, G, theta, algorithm.l2_g)", "pass"),
    ("network.py", "of_convolutions or kernels", "kernels"),
    ("diagnostics.py", "result.fit[1] - result.fit[1].mean()", "result.fit[1]"),
    ("gan.py", '            finite = checks["all"]\n', ""),
    ("gan.py", "    state.finite = finite\n", ""),
    ("gan.py", "    if len(batches) > 1:  # so", "    if len(batches) > 2:  # so"),
    ("gan.py", "= state.theta, state.statistics", "= state.theta, state.average_statistics"),
    ("one_pass.py", "(error[n_x:], n_y)", "(error[n_x:], n_x)"),
    ("one_pass.py", "dw, dx[:n_x] if slopes", "dw, dx[-n_x:] if slopes"),
    ("schedules.py", "first = step * c.d_steps + 1", "first = step * c.d_steps"),
    ("schedules.py", "min(c.average, warm_up)", "c.average"),
    ("baselines.py", "sigmoid(-d_y) / -n_y", "sigmoid(-d_y) / -n_x"),
    ("baselines.py", "sigmoid(d_x) / n_x", "sigmoid(-d_x) / -n_x"),
    ("baselines.py", "sigmoid(-d_x) / -n_x", "sigmoid(d_x) / -n_x"),  # the saturating GAN
    ("baselines.py", "exp(-softplus(-t))", "exp(t - softplus(-t))"),
    ("baselines.py", "force * (-half_s / len(x))", "force * (-half_s / len(batch.y))"),
    ("baselines.py", "half_s = target_scale(algorithm, eps) / 2", "half_s = target_scale(algorithm, eps)"),
    ("optim.py", "m += (1 - rates.beta1) * g", "m += g"),
    ("optim.py", "lr * correction", "lr / correction"),
    ("optim.py", "epsilon * correction)", "epsilon / correction)"),
]  # fmt: skip

# Of what runs on a GPU alone: with these the tests run on the stand-in for CuPy.
GPU_MUTATIONS = [
    ("optim_cuda.py", "    if (where) {", "    {"),
    ("optim_cuda.py", "if (where) target", "target"),
    ("arrays/cuda.py", "first < rows; first +=", "first < parts; first +="),
    ("arrays/cuda.py", "[lane] += row < rows ? term{k} : T(0);", "[lane] += term{k};"),
    ("arrays/cuda.py", "i - begin{low}", "i"),
    ("coulomb/pairs_cuda.py", "s == 0 ? T(0) : {k}", "{k}"),
    ("coulomb/pairs_cuda.py", "term -= lost", "term += lost"),
    ("coulomb/pairs_cuda.py", "begin + min(length, n_p - begin)", "begin + min(length, n_p - begin) - 1"),
    ("coulomb/pairs_cuda.py", "c < end; ++c", "c < end - 1; ++c"),
    ("coulomb/pairs_cuda.py", "q[unsigned(i) / n_a]", "q[unsigned(i) % n_a]"),
    ("coulomb/pairs_cuda.py", "points[h]] * (held[h] - other)", "points[h]] * held[h]"),
    ("coulomb/pairs_cuda.py", "total[h] += sum[h];", "total[h] = sum[h];"),
    ("conv/im2col_cuda.py", "if (begin + k < kh) cols", "cols"),
    ("conv/im2col_cuda.py", "line >= 0 && line < height", "line < height"),
    ("conv/im2col_cuda.py", "if (y >= u) continue;", ""),
    ("conv/im2col_cuda.py", "if (z < v) sum", "sum"),
    ("conv/winograd_cuda.py", "dx[...] = 0", "pass"),
    ("conv/winograd_cuda.py", "(is_first ? T(0) : dw[{p}])", "T(0)"),
    ("conv/winograd_cuda.py", "if (ty >= {back[0]}", "if (ty > {back[0]}"),
    ("conv/winograd_cuda.py", "row + {i} >= 0 && row", "row"),
    ("layers/batch_norm_cuda.py", "(dz - offset - ", "(dz - "),
    ("layers/batch_norm_cuda.py", "inverse_std[column] * {dz}", "inverse_std[column]"),
    ("layers/batch_norm_cuda.py", "const T mean = total[column] / T(n)", "const T mean = 0 * total[column]"),
    ("layers/batch_norm_cuda.py", "count * pivot + total0", "total0"),
    ("layers/composite_cuda.py", "residuals.append((x, kernel))", "residuals.append((y, kernel))"),
    ("layers/activations_cuda.py", "activation(y + bias[column])", "activation(y)"),
    ("layers/activations.py", "y > 0 ? dy : {0} * dy", "y > 0 ? dy : dy"),
]  # fmt: skip


def run_tests(repository: Path, on: tuple[str, ...] = ()) -> str | None:
    """The first test that fails, or None where all pass; `on` is an option for the array library."""
    files = [f"tests/{name}.py" for name in TESTS]
    options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "-k", "not torch"]
    # Bytecode is trusted by time and size, which a mutation within the same second may leave as they were.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", *options, *on, *files]
    result = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)
    if result.returncode == 0:
        return None
    return re.search(r"^(?:FAILED|ERROR) (.*?)(?: - |$)", result.stdout, re.MULTILINE)[1]


def main(*files: str) -> int:
    both = [((), mutation) for mutation in MUTATIONS] + [(("--on", "strict"), mutation) for mutation in GPU_MUTATIONS]
    survivors, mutations = 0, [(on, mutation) for on, mutation in both if not files or mutation[0] in files]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("minicoulomb", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        for on in sorted({on for on, _ in mutations}):
            if failure := run_tests(copy, on):
                sys.exit(f"{failure}: fails without any mutation; mend that first")
        for on, (file, old, new) in mutations:
            path = copy / "minicoulomb" / file
            text = path.read_text(encoding="utf-8")
            if text.count(old) != 1:
                sys.exit(f"{file}: {old!r} stands there {text.count(old)} times, must be once; adapt MUTATIONS")
            path.write_text(text.replace(old, new), encoding="utf-8")
            killer = run_tests(copy, on)
            path.write_text(text, encoding="utf-8")
            survivors += killer is None
            print(f"{'killed' if killer else 'SURVIVED':10}{file:25}{old.strip()}  ->  {new.strip() or 'nothing'}")
            print(f"          by {killer or 'no test'}", flush=True)
    print(f"{len(mutations) - survivors} of {len(mutations)} mutations were noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
