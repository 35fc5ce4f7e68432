"""The original's Adam in Keras, beside its formula."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.original_adam import PlainAdam
from tests.support.tf_internals import compile_every_update
from xlm_core.errors import ConfigError
from xlm_tf import formulas_only
from xlm_tf.optimizers import OriginalAdam

OPTIONS: dict[str, Any] = {"betas": (0.9, 0.98), "eps": 1e-3}


@pytest.mark.parametrize("way", ["formula", "operation", "compiled"])
@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_steps_are_the_original_s(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    if way == "compiled":
        compile_every_update(monkeypatch)
    draw = np.random.default_rng(0)
    values = [draw.normal(size=shape) for shape in ((7, 5), (3,))]
    variables = [keras.Variable(value, dtype="float64") for value in values]
    plain = [PlainAdam(value, rate=1e-2, decay=0.1, **OPTIONS) for value in values]
    optimizer = OriginalAdam(1e-2, 0.9, 0.98, 1e-3, weight_decay=0.1)
    optimizer = OriginalAdam.from_config(optimizer.get_config())
    optimizer.build(variables)
    for step in range(12):
        gradients: list[Any] = []
        for expected in plain:
            # The second has no gradient at times, and counts its own steps.
            has_one = expected is plain[0] or step % 3
            gradient = draw.normal(size=expected.value.shape) * 1e-3 if has_one else None
            gradients.append(None if gradient is None else tf.constant(gradient))
            if gradient is not None:
                expected.update(gradient)
        if way == "formula":
            with formulas_only(), warnings.catch_warnings():
                optimizer.apply(gradients, variables)
        else:
            optimizer.apply(gradients, variables)
    assert [one.step for one in plain] == [12, 8]
    for variable, expected in zip(variables, plain, strict=True):
        np.testing.assert_allclose(variable.numpy(), expected.value, rtol=0, atol=2e-15)


@pytest.mark.parametrize("way", ["formula", "operation", "compiled"])
@pytest.mark.parametrize("in_function", [False, True])
def test_clipped_gradients_are_multiplied_once(
    monkeypatch: pytest.MonkeyPatch, way: str, in_function: bool
) -> None:
    """Where the optimizer clips, and where it is given the factor, or both."""
    if way == "compiled":
        compile_every_update(monkeypatch)
    draw = np.random.default_rng(0)
    values, gradients = ([draw.normal(size=s) for s in ((7, 5), (3,))] for _ in range(2))
    norm = np.sqrt(sum((x**2).sum() for x in gradients))
    for largest, factor in ((norm / 4, None), (2 * norm, None), (None, 0.25), (norm / 4, 0.25)):
        variables = [keras.Variable(value, dtype="float64") for value in values]
        optimizer = OriginalAdam(1e-2, epsilon=1e-1, weight_decay=0.1, global_clipnorm=largest)
        optimizer.build(variables)

        given = [tf.constant(x) for x in gradients]
        if factor is None:
            step = partial(optimizer.apply, given, variables)
        else:
            step = partial(optimizer.apply_times, tf.constant(factor, tf.float64), given, variables)
        with formulas_only() if way == "formula" else nullcontext():
            _run(step, in_function)
        share = 1.0 if largest and largest > norm else 0.25
        for variable, value, gradient in zip(variables, values, gradients, strict=True):
            expected = PlainAdam(value, rate=1e-2, decay=0.1, betas=(0.9, 0.999), eps=1e-1)
            expected.update(share * gradient)
            np.testing.assert_allclose(variable.numpy(), expected.value, rtol=0, atol=2e-15)


def _run(step: Callable[[], None], in_function: bool) -> None:
    (tf.function(lambda: step(), autograph=False) if in_function else step)()


def test_a_learning_rate_that_is_set_counts() -> None:
    variable = keras.Variable(np.ones(2), dtype="float64")
    optimizer = OriginalAdam(1e-3)
    optimizer.build([variable])
    optimizer.learning_rate = 0.0
    optimizer.apply([tf.ones(2, tf.float64)], [variable])
    np.testing.assert_array_equal(variable.numpy(), np.ones(2))


def test_what_cannot_be_is_refused() -> None:
    values: list[dict[str, Any]] = [
        {"epsilon": 0},
        {"beta_1": 1.0},
        {"weight_decay": -0.1},
        {"learning_rate": -1e-3},
        {"learning_rate": float("nan")},
    ]
    for wrong in values:
        with pytest.raises(ConfigError, match="expected numbers"):
            OriginalAdam(**wrong)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("decay", [0.1, None])
def test_half_types_compute_in_float32(dtype: str, decay: float | None) -> None:
    """In their own, beta_2 would be 1 and epsilon 0."""
    draw = np.random.default_rng(0)
    half = keras.Variable(draw.normal(size=4), dtype=dtype)
    before = half.numpy().astype("float32")
    exact = keras.Variable(half.numpy().astype("float32"), dtype="float32")
    optimizers = [OriginalAdam(1e-2, weight_decay=decay) for _ in range(2)]
    for optimizer, variable in zip(optimizers, (half, exact), strict=True):
        optimizer.build([variable])
        for step in range(1, 4):
            gradient = tf.constant([0.0, 0.5, -0.25, 1.0]) * step
            optimizer.apply([tf.cast(gradient, variable.dtype)], [variable])
    found = half.numpy().astype("float32")
    np.testing.assert_allclose(found, exact.numpy(), atol=3e-2 if dtype == "bfloat16" else 3e-3)
    assert np.abs(found - before).max() > 0.01


def test_norms_below_0_do_not_clip() -> None:
    """As in Keras' own optimizers."""
    found = []
    for norm in (None, -1.0):
        variable = keras.Variable(np.ones(3), dtype="float64")
        optimizer = OriginalAdam(1e-2, global_clipnorm=norm)
        optimizer.build([variable])
        optimizer.apply([tf.constant([3.0, 4.0, 0.0], tf.float64)], [variable])
        found.append(variable.numpy())
    np.testing.assert_array_equal(*found)
