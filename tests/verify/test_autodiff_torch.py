"""Layers, field and Algorithm 1 against PyTorch, which computes and differentiates by its own operations."""

import pytest
from autodiff_cases import (
    BASELINE_OPTIONS,
    MODELS,
    OPTIONS,
    TEXT,
    assert_agree,
    charges,
    check_algorithm_1,
    check_baseline,
    check_field,
    check_network,
    every_kind,
    fresh_state,
    passes,
    problem,
    take_step,
)
from hypothesis import given
from hypothesis import strategies as st

from minicoulomb.arrays.workspace import Workspace
from minicoulomb.verify.oracles import open_oracle

torch = pytest.importorskip("torch", reason="PyTorch is a further witness; pip install torch to run this")
oracle = open_oracle("torch")


@every_kind
@given(st.data())
def test_every_layer_agrees_with_torch(kind, data):
    check_network(oracle, *data.draw(passes(kind)))


@given(charges())
def test_the_field_agrees_with_torch(case):
    check_field(oracle, *case)


@pytest.mark.parametrize("side", [8, 16])
@pytest.mark.parametrize(("generator", "discriminator"), MODELS)
def test_both_gradients_of_algorithm_1_agree_with_torch(generator, discriminator, side):
    check_algorithm_1(oracle, generator, discriminator, (side, side, 3))


@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["defaults", "options"])
def test_both_gradients_of_text_agree_with_torch(options):
    check_algorithm_1(oracle, *TEXT, g_depth=2, d_depth=2, **options)


def test_both_gradients_agree_with_torch_at_32x32_with_every_option():
    check_algorithm_1(oracle, "my", "my-big", (32, 32, 3), **OPTIONS)


@pytest.mark.parametrize("objective", ["gan", "field"])
@pytest.mark.parametrize(("generator", "discriminator", "shape"), [*((*m, (8, 8, 3)) for m in MODELS), TEXT])
def test_the_baselines_gradients_agree_with_torch(generator, discriminator, shape, objective):
    check_baseline(oracle, objective, generator, discriminator, shape, **BASELINE_OPTIONS[objective])


@pytest.mark.parametrize(
    ("generator", "discriminator", "objective"),
    [*((*models, "coulomb") for models in MODELS), *((*MODELS[1], objective) for objective in ("gan", "field"))],
)
def test_weights_after_three_steps_agree_with_torchs_adam(generator, discriminator, objective):
    options = {"lr_g": 3e-3, "lr_d": 1e-3, "beta1_g": 0.5, "beta1_d": 0.9, "convolution": "winograd"}
    case = problem(generator, discriminator, (16, 16, 3), batches=3, objective=objective, **options)
    G, D, theta, w, batches, config = case
    state = fresh_state(G, D, config)
    state.theta[:], state.w[:] = theta, w
    theirs = [torch.tensor(vector, requires_grad=True) for vector in (theta, w)]
    groups = [
        {
            "params": [theirs[0]],
            "lr": config.algorithm.lr_g,
            "betas": (config.algorithm.beta1_g, config.algorithm.beta2),
        },
        {
            "params": [theirs[1]],
            "lr": config.algorithm.lr_d,
            "betas": (config.algorithm.beta1_d, config.algorithm.beta2),
        },
    ]
    workspace = Workspace()
    optimizer = torch.optim.Adam(groups, eps=config.algorithm.adam_epsilon)
    for batch in batches:
        take_step(G, D, state, [batch], config, workspace=workspace)
        numbers = [vector.detach().numpy() for vector in theirs]
        theirs_now = oracle.objective(G, D, *numbers, batch, config.algorithm, config.algorithm.eps)
        for vector, gradient in zip(theirs, theirs_now, strict=False):  # the losses come behind the gradients
            vector.grad = None if gradient is None else torch.tensor(gradient)
        optimizer.step()
    for ours, their, start in zip((state.theta, state.w), theirs, (theta, w)):
        assert_agree(ours, their.detach().numpy(), bound=1e-8)
        assert_agree(ours - start, their.detach().numpy() - start, bound=1e-6)
        assert (ours == start).all() == (objective == "field" and start is w)  # who follows the field leaves D alone
