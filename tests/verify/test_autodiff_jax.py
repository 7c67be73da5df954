"""Layers, field and Algorithm 1 against JAX, which computes and differentiates by its own operations."""

import pytest
from autodiff_cases import (
    BASELINE_OPTIONS,
    MODELS,
    OPTIONS,
    TEXT,
    charges,
    check_algorithm_1,
    check_baseline,
    check_field,
    check_network,
    every_kind,
    passes,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from minicoulomb.verify.oracles import open_oracle

pytest.importorskip("jax", reason="JAX is a further witness; pip install jax to run this")
oracle = open_oracle("jax")


@every_kind
@given(st.data())
@settings(max_examples=4)  # JAX compiles each geometry
def test_every_layer_agrees_with_jax(kind, data):
    check_network(oracle, *data.draw(passes(kind)))


@given(charges())
@settings(max_examples=10)
def test_the_field_agrees_with_jax(case):
    check_field(oracle, *case)


@pytest.mark.parametrize("side", [8, 16])
@pytest.mark.parametrize(("generator", "discriminator"), MODELS)
def test_both_gradients_of_algorithm_1_agree_with_jax(generator, discriminator, side):
    check_algorithm_1(oracle, generator, discriminator, (side, side, 3))


def test_both_gradients_of_text_agree_with_jax():
    check_algorithm_1(oracle, *TEXT, g_depth=1, d_depth=1)


@pytest.mark.parametrize("objective", ["gan", "field"])
def test_the_baselines_gradients_agree_with_jax(objective):
    check_baseline(oracle, objective, "my", "my", (8, 8, 3), **BASELINE_OPTIONS[objective])


def test_both_gradients_agree_with_jax_at_32x32_with_every_option():
    check_algorithm_1(oracle, "my", "my-big", (32, 32, 3), **OPTIONS)
