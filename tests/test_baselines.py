"""What Algorithm 1 is compared with: gradients, what a step does with them, and where the field leads."""

import json
import math
from copy import deepcopy

import numpy as np
import pytest
from autodiff_cases import BASELINE_OPTIONS, BASELINES, assert_agree, check_baseline, fresh_state, problem, take_step
from cli_cases import SMALL, SMALL_IMAGES, arrays
from cli_cases import run as run_command
from test_optim import defining_adam

from minicoulomb.arrays.backend import open_backend
from minicoulomb.arrays.upload import Upload
from minicoulomb.arrays.workspace import Workspace
from minicoulomb.baselines import field_gradients, gan_gradients, sigmoid, softplus
from minicoulomb.config import Config
from minicoulomb.coulomb import field, potentials
from minicoulomb.data.mixtures import ring
from minicoulomb.diagnostics import Diverged, diagnostics
from minicoulomb.errors import UserError
from minicoulomb.evaluation.metrics import mixture_metrics
from minicoulomb.gan import gradients
from minicoulomb.models import SampleSpace
from minicoulomb.presets import resolve
from minicoulomb.training.checkpoint import initial
from minicoulomb.training.sampling import samples
from minicoulomb.training.steps import draw_batches
from minicoulomb.verify.oracles import open_oracle

oracle = open_oracle("autograd")
POINTS = ("mlp", "mlp", (2,))
IMAGES = ("my", "my", (16, 16, 1))
SHOWN = {"loss_d", "loss_g", "mmd2", "r2"}
both = pytest.mark.parametrize("objective", ["gan", "field"])


def start(problem):
    """The problem's state of step 0."""
    state = fresh_state(problem.G, problem.D, problem.config)
    state.theta[:], state.w[:] = problem.theta, problem.w
    if problem.config.algorithm.average:
        state.average[:] = problem.theta
    return state


def at(problem, **settings):
    """The baseline's gradients at the problem's (theta, w)."""
    config = problem.config.replace(**settings)
    function = BASELINES[config.algorithm.objective]
    G, D, theta, w, (batch, *_), _ = problem
    return function(G, D, theta, w, batch, config.algorithm, config.algorithm.eps)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_field_share_mixes_the_slopes_of_algorithm_1_and_of_the_field(noise):
    case = problem(*POINTS, noise=noise, potential_scale=3.0)
    at = lambda gradients, **settings: gradients(
        case.G, case.D, case.theta, case.w, case.batches[0], case.config.replace(**settings).algorithm, 1.0
    )
    of_d, of_field, mixed = at(gradients), at(field_gradients, noise=0.0), at(gradients, field_share=0.3)
    assert_agree(mixed.dtheta, 0.7 * of_d.dtheta + 0.3 * of_field.dtheta, bound=1e-14)
    assert mixed.loss_g == pytest.approx(0.7 * of_d.loss_g + 0.3 * of_field.loss_g, rel=1e-14)
    np.testing.assert_array_equal(mixed.dw, of_d.dw)  # D learns the potential, whatever G climbs


@both
@pytest.mark.parametrize("options", [{}, BASELINE_OPTIONS], ids=["defaults", "options"])
def test_the_gradients_agree_with_autograd(options, objective):
    check_baseline(oracle, objective, *POINTS, **options.get(objective, {}))


@both
def test_the_gradients_of_networks_with_batch_norm_agree_with_autograd(objective):
    check_baseline(oracle, objective, *IMAGES, **BASELINE_OPTIONS[objective])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softplus_and_sigmoid_are_right_where_the_exponential_is_not(dtype):
    t = np.array([-1e4, -800, -90, -20, -1, 0, 1, 20, 90, 800, 1e4], dtype)
    expected = np.array([max(u, 0) + math.log1p(math.exp(-abs(u))) for u in t.tolist()])
    rounding = 4 * np.finfo(dtype).eps
    with np.errstate(all="raise", under="ignore"):
        p, q = softplus(t), sigmoid(t)
    assert (p.dtype, q.dtype) == (dtype, dtype)
    np.testing.assert_allclose(p, expected, rtol=rounding, atol=np.finfo(dtype).tiny)
    # exp(-softplus) turns a rounding of softplus into that many roundings of the result.
    np.testing.assert_allclose(q, np.exp(t.astype(float) - expected), rtol=100 * rounding, atol=np.finfo(dtype).tiny)
    np.testing.assert_allclose(q + sigmoid(-t), 1, rtol=rounding)


@pytest.mark.parametrize("logit", [-500.0, 500.0])
def test_a_discriminator_that_is_sure_leaves_every_number_finite(logit):
    case = problem(*POINTS, objective="gan")
    case.D.named_views(case.w)["7.bias"][...] = logit
    result = at(case)
    assert all(np.isfinite(part).all() for part in (result.dtheta, result.dw, result.loss_d, result.loss_g))
    assert result.loss_g == pytest.approx(max(-logit, 0), abs=50)
    # It is not sure of generated samples that it takes for real ones: then and only then G has learned all.
    assert (np.linalg.norm(result.dtheta) > 1e-3) == (logit < 0)


def test_the_scalars_of_the_gan_are_what_they_say():
    case = problem(*POINTS, objective="gan", relative_potential=True, eps=0.7)
    x = case.G.forward(case.theta, case.batches[0].z)[0]
    y = case.batches[0].y
    real = lambda a: 1 / (1 + np.exp(-case.D.forward(case.w, a)[0]))
    phi_x, phi_y = potentials(x, y, 1.0, 0.7)
    seen = take_step(case.G, case.D, start(case), case.batches, case.config).read()
    assert seen["loss_d"] == pytest.approx(-np.log(real(y)).mean() - np.log(1 - real(x)).mean())
    assert seen["loss_g"] == pytest.approx(-np.log(real(x)).mean())
    assert seen["mmd2"] == pytest.approx(0.7 * (phi_y.mean() - phi_x.mean()))
    assert set(seen) == {"loss_d", "loss_g", "mmd2"}


def test_g_follows_the_target_that_d_would_regress():
    """dtheta is that of L_G with a D that is s Phi, without an error."""
    case = problem(*POINTS, objective="field", relative_potential=True, potential_scale=3.0, d=2.0, eps=0.7)
    x, residuals = case.G.forward(case.theta, case.batches[0].z)
    y, s = case.batches[0].y, 3 * 0.7**2
    force = field(x, y, x, 2.0, 0.7)
    assert_agree(at(case).dtheta, case.G.param_gradient(residuals, -0.5 * s * force / len(x)))
    phi_x, phi_y = potentials(x, y, 2.0, 0.7)
    seen = take_step(case.G, case.D, start(case), case.batches, case.config).read()
    assert seen["loss_g"] == pytest.approx(-0.5 * s * phi_x.mean())
    assert seen["mmd2"] == pytest.approx(0.7**2 * (phi_y.mean() - phi_x.mean()))
    assert set(seen) == {"loss_g", "mmd2"}


@both
def test_mmd2_is_that_of_algorithm_1_at_the_same_weights(objective):
    case = problem(*POINTS, objective=objective, relative_potential=True, eps=0.7)
    of_algorithm_1 = gradients(
        case.G, case.D, case.theta, case.w, case.batches[0], case.config.algorithm, case.config.algorithm.eps
    )
    assert diagnostics(at(case))["mmd2"] == pytest.approx(diagnostics(of_algorithm_1)["mmd2"], rel=1e-12)


@both
@pytest.mark.parametrize("networks", [POINTS, IMAGES], ids=["mlp", "my"])
def test_one_step_is_adam_along_the_gradients_at_the_old_weights(networks, objective):
    case = problem(*networks, objective=objective, lr_g=0.1, lr_d=0.2, average=0.9)
    state, result = start(case), at(case)
    take_step(case.G, case.D, state, case.batches, case.config)
    moved = {"theta": result.dtheta} | ({"w": result.dw} if objective == "gan" else {})
    for name, gradient in moved.items():
        lr = {"theta": 0.1, "w": 0.2}[name]
        assert_agree(getattr(state, name), defining_adam(getattr(case, name), [gradient], lr, 0.9, 0.999, 1e-8))
    assert_agree(state.average, 0.1 * case.theta + 0.9 * state.theta)
    if objective == "field":
        np.testing.assert_array_equal(state.w, case.w)
        assert not state.moments_d.any()


def test_with_three_d_steps_the_gans_d_moves_three_times_and_g_once_with_the_last():
    case = problem(*POINTS, objective="gan", batches=3, d_steps=3, lr_d=0.1, lr_g=0.1)
    G, D, theta, w, batches, config = case
    state, history = start(case), []
    take_step(G, D, state, batches, config)
    for batch in batches:
        current = defining_adam(w, history, 0.1, 0.9, 0.999, 1e-8)
        result = gan_gradients(G, D, theta, current, batch, config.algorithm, 1.0)
        history.append(result.dw)
    assert_agree(state.w, defining_adam(w, history, 0.1, 0.9, 0.999, 1e-8))
    assert_agree(state.theta, defining_adam(theta, [result.dtheta], 0.1, 0.9, 0.999, 1e-8))
    alone = gan_gradients(G, D, theta, w, batches[0], config.algorithm, 1.0, train_g=False)
    assert alone.dtheta is None
    np.testing.assert_array_equal(alone.dw, history[0])


@both
@pytest.mark.parametrize("discriminator", ["my-big", "resnet"])
def test_steps_in_memory_of_their_own_are_equal_to_the_last_bit(discriminator, objective):
    rates = {"lr_g": 0.01, "lr_d": 0.01, "convolution": "winograd", "average": 0.9}
    generator = discriminator.removesuffix("-big")
    case = problem(generator, discriminator, (16, 16, 3), 3, objective=objective, **rates)
    states, workspaces = [start(case), start(case)], [{}, {"workspace": Workspace()}]
    for state, workspace in zip(states, workspaces, strict=True):
        for batch in case.batches:
            take_step(case.G, case.D, state, [batch], case.config, **workspace)
    for name, value in vars(states[0]).items():
        np.testing.assert_array_equal(value, vars(states[1])[name])


@both
def test_a_step_that_diverges_is_told_by_name_and_leaves_the_state_alone(objective):
    case = problem(*IMAGES, objective=objective, average=0.9)
    state = start(case)
    state.theta[0] = np.nan
    before = deepcopy(state)
    first = {"gan": "loss_d", "field": "loss_g"}[objective]
    with pytest.raises(Diverged, match=f"^{first} is not finite$"):
        take_step(case.G, case.D, state, case.batches, case.config).read()
    with pytest.raises(Diverged, match="is not finite"):
        take_step(case.G, case.D, state, case.batches, case.config).read()
    for name, value in vars(before).items():
        if name not in ("step", "finite"):
            np.testing.assert_array_equal(getattr(state, name), value)


@both
def test_a_step_in_single_precision_stays_there(objective):
    case = problem(*IMAGES, objective=objective, average=0.9)
    config = case.config.replace(dtype="float32")
    batch = type(case.batches[0])(*(array.astype(np.float32) for array in case.batches[0][:2]))
    state = fresh_state(case.G, case.D, config)
    take_step(case.G, case.D, state, [batch], config)
    vectors = {name: value.dtype for name, value in vars(state).items() if name not in ("step", "finite")}
    assert set(vectors.values()) == {np.dtype(np.float32)}
    result = BASELINES[objective](case.G, case.D, state.theta, state.w, batch, config.algorithm, 1.0)
    numbers = [part for part in result[:6] if part is not None]
    assert {part.dtype for part in numbers} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("objective", "setting", "value"),
    [("gan", "noise", 1.0), ("field", "noise", 0.5), ("field", "d_steps", 2), ("field", "l2", 1e-7)],
)
def test_a_setting_that_the_objective_does_not_have_is_refused(objective, setting, value):
    flag = setting.replace("_", "-")
    with pytest.raises(UserError, match=f"^{setting} {value}: .*; use --{flag} "):
        Config.of(objective=objective, **{setting: value})


# On the command line


@pytest.mark.host
@pytest.mark.parametrize(("objective", "absent"), [("gan", {"r2"}), ("field", {"r2", "loss_d", "lr_d"})])
def test_a_run_tells_what_its_objective_has_and_goes_on_bit_for_bit(tmp_path, objective, absent):
    for settings, name in ((SMALL, "ring"), (SMALL_IMAGES, "digits-conv")):
        options = [*settings, "--objective", objective, "--steps", 6, "--log-every", 3, "--out", tmp_path / name]
        output = run_command("train", *options)
        halves = tmp_path / name / f"00001-{name}"
        run_command("train", *options, "--until", 3)
        run_command("train", "--resume", halves)
        last = "checkpoints/step-0000006.npz"
        assert arrays(halves / last) == arrays(tmp_path / name / f"00000-{name}" / last)
        metrics = [json.loads(line) for line in (halves / "metrics.jsonl").read_text().splitlines()]
        assert metrics[-1]["step"] == 6
        assert all(
            line.keys() >= {"loss_d", "loss_g", "mmd2", "r2", "eps", "lr_g", "lr_d"} - absent for line in metrics
        )
        assert not any(line.keys() & absent for line in metrics)
        (shown,) = (line for line in output.splitlines() if line.startswith("step 6/6"))
        assert {word for word in SHOWN if word in shown} == SHOWN - absent
    run_command("train", "--resume", halves, "--objective", "coulomb", status=2)


# Where the steps lead


@pytest.mark.host
@pytest.mark.parametrize("objective", ["coulomb", "field"])
def test_a_generator_that_collapsed_onto_one_mode_comes_to_all_of_them(objective):
    """Of 10 seeds each, all reached 8 modes, and an mmd2 of 0.061 of the first or less."""
    config = resolve("ring", objective=objective, steps=600, lr_decay=0.1)
    data = ring()
    _, _, G, D, state = initial(config, SampleSpace(data.shape, data.scale, data.bound))
    *_, kernel, bias = G.named_views(state.theta).values()
    kernel *= 0.01
    bias[...] = np.arctanh(data.modes[0] / data.bound) * data.bound / data.scale
    state.average[...] = state.theta
    before = mixture_metrics(samples(G, state, 1000, 0), data.modes, data.sigma)
    assert (before["modes"], before["high_quality"]) == (1, 1.0)
    upload, mmd2 = Upload(open_backend("numpy")), []
    while state.step < config.algorithm.steps:
        metrics = take_step(G, D, state, draw_batches(data, state.step, config, upload), config)
        mmd2.append(metrics.read()["mmd2"])
    after = mixture_metrics(samples(G, state, 1000, 0), data.modes, data.sigma)
    assert after["modes"] >= 7
    assert np.mean(mmd2[-20:]) < 0.1 * mmd2[0]
