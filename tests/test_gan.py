"""Algorithm 1: both gradients against autograd, and what each option changes."""

from copy import deepcopy

import numpy as np
import pytest
from autodiff_cases import OPTIONS, TEXT, assert_agree, check_algorithm_1, fresh_state, problem, take_step
from test_optim import defining_adam

from minicoulomb.arrays import blocks
from minicoulomb.arrays.threads import set_threads
from minicoulomb.arrays.workspace import Workspace
from minicoulomb.baselines import OBJECTIVES
from minicoulomb.config import Algorithm
from minicoulomb.conv import correlation, winograd
from minicoulomb.coulomb import potentials
from minicoulomb.diagnostics import Diverged, diagnostics
from minicoulomb.errors import UserError
from minicoulomb.gan import generate, gradients, initial_state, step
from minicoulomb.layers import Linear, Reshape
from minicoulomb.network import Network
from minicoulomb.optim import adam_rates
from minicoulomb.schedules import rates_at
from minicoulomb.verify.oracles import open_oracle

oracle = open_oracle("autograd")
POINTS = ("mlp", "mlp", (2,))
IMAGES = ("my", "my", (16, 16, 1))  # the smallest with batch normalization in both networks


def start(problem):
    """The problem's state of step 0."""
    state = fresh_state(problem.G, problem.D, problem.config)
    state.theta[:], state.w[:] = problem.theta, problem.w
    if problem.config.algorithm.average:
        state.average[:] = problem.theta
    return state


def run(problem, batches=None):
    """(state, scalars) after one step."""
    state = start(problem)
    return state, take_step(problem.G, problem.D, state, batches or problem.batches, problem.config).read()


def at(problem, batch, **settings):
    """gradients at the problem's (theta, w)."""
    config = problem.config.replace(**settings)
    return gradients(problem.G, problem.D, problem.theta, problem.w, batch, config.algorithm, config.algorithm.eps)


@pytest.mark.parametrize("options", [{}, *({name: value} for name, value in OPTIONS.items()), OPTIONS], ids=str)
def test_both_gradients_agree_with_autograd(options):
    check_algorithm_1(oracle, *POINTS, **options)


@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["defaults", "options"])
@pytest.mark.parametrize("networks", [IMAGES, ("resnet", "resnet", (8, 8, 1)), TEXT], ids=["my", "resnet", "text"])
def test_both_gradients_of_networks_with_batch_norm_agree_with_autograd(networks, options):
    check_algorithm_1(oracle, *networks, **options)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "tanh"])
def test_both_gradients_agree_for_every_activation(activation):
    check_algorithm_1(oracle, *POINTS, g_activation=activation, d_activation=activation, g_depth=1, d_depth=2)


def test_both_gradients_are_taken_before_either_vector_changes():
    """One step is one Adam step along each of the gradients at the old (theta, w)."""
    case = problem(*POINTS, lr_g=0.1, lr_d=0.2)
    state, _ = run(case)
    result = at(case, case.batches[0])
    config = case.config
    for new, old, gradient, lr in (
        (state.theta, case.theta, result.dtheta, config.algorithm.lr_g),
        (state.w, case.w, result.dw, config.algorithm.lr_d),
    ):
        assert_agree(
            new,
            defining_adam(
                old, [gradient], lr, config.algorithm.beta1_g, config.algorithm.beta2, config.algorithm.adam_epsilon
            ),
        )


def test_three_steps_are_three_adam_steps_along_the_gradients_of_autograd():
    """Schedules, noise, penalty and a relative potential included."""
    options = {**OPTIONS, "eps_end": 0.2, "lr_decay": 0.1, "lr_decay_d": 0.5, "steps": 4, "lr_g": 0.05, "lr_d": 0.03}
    case = problem(*POINTS, batches=3, **options, beta1_g=0.5, beta1_d=0.7)
    G, D, config = case.G, case.D, case.config
    state = start(case)
    gradients_g, gradients_d = [], []
    for number, batch in enumerate(case.batches):
        eps = 0.8 * (0.2 / 0.8) ** (number / 4)
        dtheta, dw, _, _ = oracle.objective(G, D, state.theta, state.w, batch, config.algorithm, eps)
        gradients_g.append(dtheta)
        gradients_d.append(dw)
        before = state.theta.copy(), state.w.copy()
        take_step(G, D, state, [batch], config)
        decay_g, decay_d = 0.1 ** (number / 4), 0.5 ** (number / 4)
        for old, new, history, lr, beta1 in (
            (before[0], state.theta, gradients_g, 0.05 * decay_g, 0.5),
            (before[1], state.w, gradients_d, 0.03 * decay_d, 0.7),
        ):
            # The moments depend on the gradients alone: the last step at this rate is the difference of two histories.
            until_now, before_now = (defining_adam(old, h, lr, beta1, 0.999, 1e-8) for h in (history, history[:-1]))
            assert_agree(new, old + (until_now - before_now), bound=1e-8)


def test_the_scalars_are_what_they_say():
    case = problem(*POINTS, potential_scale=3.0)
    G, D, theta, w, (batch,), config = case
    _, scalars = run(case)
    x = G.forward(theta, batch.z)[0]
    phi_x, phi_y = potentials(x, batch.y, config.algorithm.d, config.algorithm.eps)
    d_x, d_y = D.forward(w, x)[0], D.forward(w, batch.y)[0]
    phi, d = np.concatenate([phi_x, phi_y]), np.concatenate([d_x, d_y]) / 3
    loss_d = (np.mean((d_x - 3 * phi_x) ** 2) + np.mean((d_y - 3 * phi_y) ** 2)) / 2
    assert scalars["loss_d"] == pytest.approx(loss_d)
    assert scalars["loss_g"] == pytest.approx(-d_x.mean() / 2)
    assert scalars["mmd2"] == pytest.approx(phi_y.mean() - phi_x.mean())
    assert scalars["r2"] == pytest.approx(1 - ((d - phi) ** 2).sum() / ((phi - phi.mean()) ** 2).sum())


@pytest.mark.parametrize("networks", [POINTS, IMAGES])
def test_the_penalties_pull_at_kernels_alone_and_at_those_of_convolutions_where_there_are_any(networks):
    case = problem(*networks)
    free, penalized = at(case, case.batches[0]), at(case, case.batches[0], l2=0.3, l2_g=0.2)
    assert (free.loss_d, free.loss_g) == (penalized.loss_d, penalized.loss_g)
    for net, vector, l2, pull in (
        (case.D, case.w, 0.3, penalized.dw - free.dw),
        (case.G, case.theta, 0.2, penalized.dtheta - free.dtheta),
    ):
        difference, penalized_axes = net.named_views(pull), {2} if networks == POINTS else {4}
        for name, view in net.named_views(vector).items():
            counts = name.endswith("kernel") and view.ndim in penalized_axes
            np.testing.assert_allclose(difference[name], l2 * view * counts, atol=1e-13)
    algorithm = case.config.replace(l2_g=0.2).algorithm
    arguments = case.G, case.D, case.theta, case.w, case.batches[0], algorithm
    assert gradients(*arguments, eps=1.0, train_g=False).dtheta is None


def test_noise_moves_where_d_learns_and_not_what_g_climbs():
    case = problem(*POINTS, noise=0.5)
    noisy = at(case, case.batches[0])
    plain = at(case, case.batches[0]._replace(noise_x=None, noise_y=None), noise=0.0)
    np.testing.assert_allclose(noisy.dtheta, plain.dtheta, rtol=1e-12, atol=1e-15)  # a GPU sums in another order
    assert noisy.loss_g == pytest.approx(plain.loss_g, rel=1e-14)
    assert diagnostics(noisy)["mmd2"] == pytest.approx(diagnostics(plain)["mmd2"], rel=1e-12)
    assert np.linalg.norm(noisy.dw - plain.dw) > 0.01 * np.linalg.norm(plain.dw)


def test_noise_without_draws_is_refused():
    case = problem(*POINTS)
    with pytest.raises(UserError, match="noise 0.5: the batch has none; pass noise_x and noise_y"):
        at(case, case.batches[0], noise=0.5)


def test_a_step_needs_a_batch_for_each_update_of_d():
    case = problem(*POINTS)
    for batches in (case.batches[0], case.batches * 2):
        with pytest.raises(UserError, match="batches: must be a list of 1, one for each update of D"):
            step(case.G, case.D, start(case), batches, case.config.algorithm, rates_at(case.config.algorithm, 0))


@pytest.mark.parametrize("layers", [[Linear(2, 1)], [Linear(3, 1), Reshape(())]])
def test_a_discriminator_that_does_not_fit_is_refused(layers):
    G, D = Network([Linear(2, 2)], (2,)), Network(layers, (layers[0].c_in,))
    with pytest.raises(UserError, match=r"G gives \(2,\), and D turns .*; end D with Linear\(c, 1\), Reshape\(\(\)\)"):
        initial_state(G, D)


@pytest.mark.parametrize("dtype", [np.float16, int])
def test_another_dtype_than_single_or_double_precision_is_refused(dtype):
    case = problem(*POINTS)
    with pytest.raises(UserError, match="dtype .*: must be float32 or float64"):
        initial_state(case.G, case.D, dtype=dtype)


def test_the_numbers_of_a_diverged_step_cause_no_warning():
    case = problem(*POINTS)
    result = at(case, case.batches[0])
    huge = np.float32(3e38) * np.ones(4, np.float32)
    assert not np.isfinite(diagnostics(result._replace(phi_x=-huge, phi_y=huge, fit=(huge, -huge)))["mmd2"])


def test_a_relative_potential_is_the_potential_in_units_of_its_largest_value():
    case = problem(*POINTS, eps=0.3, d=2.0)
    relative = at(case, case.batches[0], relative_potential=True, potential_scale=5.0)
    scaled = at(case, case.batches[0], potential_scale=5.0 * 0.3**2)
    assert_agree(relative.dw, scaled.dw)


def test_only_the_discriminators_gradient_is_computed_where_that_is_asked_for():
    case = problem(*POINTS)
    result = gradients(case.G, case.D, case.theta, case.w, case.batches[0], case.config.algorithm, 1.0, train_g=False)
    assert result.dtheta is None
    np.testing.assert_array_equal(result.dw, at(case, case.batches[0]).dw)


def test_with_three_d_steps_d_moves_three_times_and_g_once_with_the_last():
    case = problem(*POINTS, batches=3, d_steps=3, lr_d=0.1, lr_g=0.1)
    G, D, theta, w, batches, config = case
    state, _ = run(case)
    history = []
    for batch in batches:
        current = defining_adam(w, history, 0.1, 0.9, 0.999, 1e-8)
        result = gradients(G, D, theta, current, batch, config.algorithm, 1.0)
        history.append(result.dw)
    assert_agree(state.w, defining_adam(w, history, 0.1, 0.9, 0.999, 1e-8))
    assert_agree(state.theta, defining_adam(theta, [result.dtheta], 0.1, 0.9, 0.999, 1e-8))
    assert state.step == 1


def three_steps(case, d_steps=1, **arguments):
    """The state after three steps, as arrays by name."""
    state = start(case)
    for first in range(0, 3 * d_steps, d_steps):
        take_step(case.G, case.D, state, case.batches[first : first + d_steps], case.config, **arguments)
    return vars(state)


@pytest.mark.parametrize("options", [{}, {"d_steps": 2}, {"noise": 0.5, "average": 0.9}], ids=str)
@pytest.mark.parametrize("discriminator", ["my", "my-big", "dcgan", "resnet"])
def test_steps_in_memory_of_their_own_are_equal_to_the_last_bit(discriminator, options):
    """Each with the transforms of its own parameters, which change from step to step."""
    generator = discriminator.removesuffix("-big")
    d_steps = options.get("d_steps", 1)
    rates = {"lr_g": 0.01, "lr_d": 0.01, "convolution": "winograd"}
    case = problem(generator, discriminator, (16, 16, 3), 3 * d_steps, **rates, **options)
    plain = three_steps(case, d_steps)
    for name, value in three_steps(case, d_steps, workspace=Workspace()).items():
        np.testing.assert_array_equal(value, plain[name])


@pytest.mark.host
@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
@pytest.mark.parametrize("model", ["my", "resnet"])
def test_the_number_of_threads_changes_no_bit_of_a_step(monkeypatch, model, algorithm):
    for module in (correlation, winograd):
        monkeypatch.setattr(module, "BLOCK_ELEMENTS", 2**12)
    monkeypatch.setattr(blocks, "BLOCK", 2**9)
    monkeypatch.setattr(winograd, "PART_ELEMENTS", 2**9)
    case = problem(model, model, (16, 16, 3), 3, convolution=algorithm, lr_g=0.01, lr_d=0.01)
    set_threads(1)
    alone = three_steps(case, workspace=Workspace())
    try:
        set_threads(3)
        for name, value in three_steps(case, workspace=Workspace()).items():
            np.testing.assert_array_equal(value, alone[name])
    finally:
        set_threads(1)


@pytest.mark.host
def test_the_passes_of_an_update_share_the_transforms_of_ds_kernels(monkeypatch):
    transformed, transform = [], winograd.transform_kernel
    note = lambda w, plan, out: transformed.append(w) or transform(w, plan, out)
    monkeypatch.setattr(winograd, "transform_kernel", note)
    case = problem("my", "my", (16, 16, 3), noise=0.5, convolution="winograd")
    at(case, case.batches[0])  # D passes three times forward and back
    assert sum(np.shares_memory(kernel, case.w) for kernel in transformed) == 2


def test_the_numbers_of_a_step_follow_their_schedules():
    algorithm = Algorithm(eps=0.8, eps_end=0.2, lr_g=0.05, lr_d=0.03, lr_decay=0.1, steps=4, d_steps=3, beta1_d=0.5)
    for number in range(4):
        rates, decay = rates_at(algorithm, number), 0.1 ** (number / 4)
        assert rates.eps == pytest.approx(0.8 * 0.25 ** (number / 4))
        assert rates.adam_g == pytest.approx(adam_rates(number + 1, 0.05 * decay))
        for k, adam_d in enumerate(rates.adam_d, 1):
            assert adam_d == pytest.approx(adam_rates(3 * number + k, 0.03 * decay, 0.5))
        assert len(rates.adam_d) == 3


@pytest.mark.parametrize(("first", "decays"), [(0, (1 / 10, 2 / 11)), (200, (0.9, 0.9))])
def test_averages_follow_the_weights_fast_at_first(first, decays):
    case = problem(*IMAGES, batches=2, average=0.9, lr_g=0.1)
    state = start(case)
    state.step = first
    average = case.theta.copy()
    for decay, batch in zip(decays, case.batches, strict=True):
        take_step(case.G, case.D, state, [batch], case.config)
        average = decay * average + (1 - decay) * state.theta
        assert_agree(state.average, average)
    assert np.linalg.norm(state.average - state.theta) > 0.01 * np.linalg.norm(state.theta)


def test_running_statistics_are_those_of_the_passes_and_the_first_ones_do_not_linger():
    case = problem(*IMAGES, average=0.9, lr_g=0.1)
    G, batch = case.G, case.batches[0]
    state, _ = run(case)
    for statistics, theta in ((state.statistics, case.theta), (state.average_statistics, state.average)):
        expected = G.init_statistics(np.float64)
        G.update_statistics(expected, G.forward(theta, batch.z)[1], momentum=1 / 10)
        assert_agree(statistics, expected)
    assert np.linalg.norm(state.statistics - state.average_statistics) > 1e-6


def test_without_averaging_samples_come_from_the_weights_themselves():
    case = problem(*IMAGES)
    state, _ = run(case)
    assert state.average is None
    assert state.average_statistics is None
    z = case.batches[0].z
    assert_agree(generate(case.G, state, z), oracle.forward(case.G, state.theta, z, state.statistics))


def test_a_sample_does_not_depend_on_its_batch_but_with_batch_statistics():
    case = problem(*IMAGES, average=0.9)
    state, _ = run(case)
    z = case.batches[0].z
    together = generate(case.G, state, z)
    assert_agree(together, oracle.forward(case.G, state.average, z, state.average_statistics))
    assert_agree(generate(case.G, state, z[:1]), together[:1])
    official = generate(case.G, state, z, batch_statistics=True)
    assert_agree(official, oracle.forward(case.G, state.average, z))
    assert np.linalg.norm(generate(case.G, state, z[:2], batch_statistics=True) - official[:2]) > 1e-3


@pytest.mark.parametrize("vector", ["theta", "w"])
def test_a_step_that_diverges_leaves_the_state_alone(vector):
    case = problem(*IMAGES, average=0.9)
    state = start(case)
    getattr(state, vector)[0] = np.nan
    before = deepcopy(state)
    with pytest.raises(Diverged, match="^loss_d is not finite$"):
        take_step(case.G, case.D, state, case.batches, case.config).read()
    assert (state.step, state.finite) == (1, False)
    for name, value in vars(before).items():
        if name not in ("step", "finite"):
            np.testing.assert_array_equal(getattr(state, name), value)


def test_divergence_in_a_later_update_of_d_leaves_the_state_unchanged():
    case = problem(*POINTS)
    state = start(case)
    before = deepcopy(state)
    good = case.batches[0]
    with pytest.raises(Diverged):
        take_step(case.G, case.D, state, [good, good._replace(y=good.y * np.nan)], case.config).read()
    for name, value in vars(before).items():
        if name not in ("step", "finite"):
            np.testing.assert_array_equal(getattr(state, name), value)


def test_after_a_step_that_diverged_later_ones_change_nothing():
    """Nobody may look at a device's numbers for many steps: the state then still is that of the last good one."""
    case = problem(*POINTS, average=0.9)
    state = start(case)
    good = case.batches[0]
    take_step(case.G, case.D, state, [good._replace(y=good.y * np.nan)], case.config)
    before = deepcopy(state)
    with pytest.raises(Diverged, match="^a loss or gradient is not finite$"):
        take_step(case.G, case.D, state, [good], case.config).read()
    assert not state.finite
    for name, value in vars(before).items():
        if name not in ("step", "finite"):
            np.testing.assert_array_equal(getattr(state, name), value)


@pytest.mark.host
@pytest.mark.parametrize("name", ["loss_d", "loss_g", "dw", "dtheta"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_divergence_is_told_by_the_quantitys_name(monkeypatch, name, value):
    case = problem(*POINTS)
    result = at(case, case.batches[0])
    with np.errstate(invalid="ignore"):
        broken = result._replace(**{name: value * getattr(result, name)})
    monkeypatch.setitem(OBJECTIVES, "coulomb", lambda *_, **__: broken)
    with pytest.raises(Diverged, match=f"^{'gradient ' * (name in ('dw', 'dtheta'))}{name} is not finite"):
        run(case)


def test_training_starts_from_the_seed_alone():
    case = problem(*IMAGES)
    first, second = (fresh_state(case.G, case.D, case.config) for _ in range(2))
    other = fresh_state(case.G, case.D, case.config.replace(seed=1))
    np.testing.assert_array_equal(first.theta, second.theta)
    np.testing.assert_array_equal(first.w, second.w)
    assert (first.theta != other.theta).any()
    assert first.step == 0
    assert not first.moments_g.any()
    assert not first.moments_d.any()


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_step_in_single_precision_stays_there(average):
    case = problem(*IMAGES, average=average, noise=0.5, l2=0.1)
    config = case.config.replace(dtype="float32")
    batch = type(case.batches[0])(*(array.astype(np.float32) for array in case.batches[0]))
    state = fresh_state(case.G, case.D, config)
    take_step(case.G, case.D, state, [batch], config)
    arrays = (value for name, value in vars(state).items() if name not in ("step", "finite"))
    assert {array.dtype for array in arrays if array is not None} == {np.dtype(np.float32)}
    assert gradients(case.G, case.D, state.theta, state.w, batch, config.algorithm, 1.0).dtheta.dtype == np.float32


@pytest.mark.host
@pytest.mark.parametrize("seed", [-1, 1.5, None, "0"])
def test_a_seed_that_is_no_natural_number_is_refused(seed):
    case = problem(*POINTS)
    with pytest.raises(UserError, match="seed .*: must be an int >= 0; use 0"):
        initial_state(case.G, case.D, seed)


def test_a_seed_may_be_a_number_of_numpy():
    case = problem(*POINTS)
    equal = [initial_state(case.G, case.D, seed).theta for seed in (3, np.int64(3), np.uint8(3))]
    assert (equal[0] == equal[1]).all()
    assert (equal[0] == equal[2]).all()


def test_draws_of_other_shapes_are_refused():
    case = problem(*POINTS, noise=0.5)
    batch = case.batches[0]
    for name in ("y", "noise_x", "noise_y"):
        rows = getattr(batch, name)
        for other in (rows[:, :1], rows[..., None], rows[:1] if name != "y" else rows[:, :0]):
            with pytest.raises(UserError, match=f"{name} of shape .*: must be .*, as D takes it; reshape the samples"):
                at(case, batch._replace(**{name: other}), noise=0.5)


def test_a_tuple_for_a_batch_and_a_config_for_an_algorithm_are_refused():
    case = problem(*POINTS)
    G, D, theta, w, (batch,), config = case
    for objective in OBJECTIVES.values():
        with pytest.raises(UserError, match=r"tuple: has no noise_x; pass a Batch\(z, y\)"):
            objective(G, D, theta, w, (batch.z, batch.y), config.algorithm, 1.0)
        with pytest.raises(UserError, match="Config: has no noise; pass .* an Algorithm"):
            objective(G, D, theta, w, batch, config, 1.0)
