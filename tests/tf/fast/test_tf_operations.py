"""TensorFlow's fast operations compute what the formulas do, derivatives included."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.parity import as_array, assert_all_close, assert_close_to_largest
from tests.support.tf_fast_paths import (
    plainly,
    small_batch,
    small_model,
)
from tests.support.tf_internals import (
    compute_words_at_a_time,
    fused_attention,
    linear,
    linear_cross_entropy,
    may_keep_logits,
    normalise,
    note_unpadding,
)
from xlm_tf.layers import LayerNorm, Linear, dropout
from xlm_tf.losses import cross_entropy

BATCH = small_batch(labels=True)


def _random(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).normal(size=shape))


# -- linear layers and attention -------------------------------------------------------------------

FORMULAS = {
    "none": lambda y: y,
    "relu": lambda y: np.maximum(y, 0),
    "gelu": lambda y: y * 0.5 * (1 + np.vectorize(math.erf)(y / math.sqrt(2))),
}


@pytest.mark.parametrize("shape", [(7,), (1, 5), (3, 2, 5)])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", FORMULAS)
def test_linear(activation: str, bias: bool, residual: bool, shape: tuple[int, ...]) -> None:
    layer = Linear(24, 31, use_bias=bias, dtype="float64")
    layer.build()
    for seed, variable in enumerate(layer.weights):
        variable.assign(_random(*variable.shape, seed=seed))
    x, other = _random(*shape, 24, seed=2), _random(*shape, 31, seed=3)
    expected = as_array(x) @ layer.get_weights()[0] + (layer.get_weights()[1] if bias else 0)
    expected = FORMULAS[activation](expected) + (as_array(other) if residual else 0)
    found = linear(layer, x, activation, other if residual else None)
    assert_close_to_largest(found, expected, 1e-14)
    traced = tf.function(lambda x: linear(layer, x, activation, other if residual else None))
    assert_close_to_largest(traced(x), expected, 1e-14)


MASKS = {
    "nothing": None,
    "some keys": [[1, 0, 1, 1], [0, 0, 0, 1]],
    "some for each query": np.tril(np.ones((4, 4))),
}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", MASKS)
def test_attention(kind: str, dtype: str) -> None:
    query, key, value = (tf.cast(_random(2, 3, 4, 5, seed=seed), dtype) for seed in range(3))
    exact = [as_array(tf.cast(x, "float64")) for x in (query, key, value)]
    scores = exact[0] @ exact[1].swapaxes(2, 3) / np.sqrt(5)
    seen = None
    if MASKS[kind] is not None:
        seen = np.array(MASKS[kind], bool)
        seen = seen[:, None, None, :] if seen.shape == (2, 4) else seen
        scores = np.where(seen, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    expected = weights / weights.sum(-1, keepdims=True) @ exact[2]
    found = fused_attention(query, key, value, seen)
    assert found.dtype == dtype
    bound = {"float64": 1e-14, "float32": 1e-6, "float16": 3e-3, "bfloat16": 2e-2}[dtype]
    assert_close_to_largest(tf.cast(found, "float64"), expected, bound)


def test_attention_drops_weights() -> None:
    query, key, value = (_random(1, 1, 4, 4, seed=seed) for seed in range(3))
    seed = tf.constant([3, 4], tf.int64)
    weights = fused_attention(query, key, tf.eye(4, dtype="float64")[None, None], None)
    found = fused_attention(query, key, value, None, rate=0.5, seed=seed)
    dropped = dropout(weights, 0.5, seed, site=0)
    assert (as_array(dropped) == 0).any()
    assert_close_to_largest(found, dropped @ value, 1e-14)


# -- what has a gradient of its own ----------------------------------------------------------------


@pytest.mark.parametrize("in_function", [False, True])
@pytest.mark.parametrize("kind", ["norm", "gelu"])
def test_gradients_of_what_is_trained(kind: str, in_function: bool) -> None:
    """The formula's, and so are their own derivatives."""
    layer: Any = LayerNorm(5, 1e-12, dtype="float64")
    if kind == "gelu":
        layer = Linear(5, 6, dtype="float64")
    layer.build()
    for number, variable in enumerate(layer.weights):
        variable.assign(_random(*variable.shape, seed=number))
    given = [_random(4, 5, seed=7), *[variable.value for variable in layer.weights]]

    def way(trained: bool) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as second:
            second.watch(given)
            with tf.GradientTape() as first:
                first.watch(given)
                if kind == "norm":
                    y = normalise(layer, given[0], trained=trained)
                else:
                    y = linear(layer, given[0], "gelu", trained=trained)
                loss = tf.reduce_sum(y**3)
            found = first.gradient(loss, given)
            penalty = sum(tf.reduce_sum(x**2) for x in found)
        more = second.gradient(penalty, given)
        return {"y": y} | {f"{n}": x for n, x in enumerate([*found, *more])}

    run = tf.function(way, autograph=False) if in_function else way
    assert_all_close(run(True), way(False), 1e-12)


def test_a_norm_of_others_is_called() -> None:
    class Zeros(LayerNorm):
        def call(self, x: tf.Tensor) -> tf.Tensor:
            return tf.zeros_like(x)

    layer = Zeros(5, 1e-12, dtype="float64")
    layer.build()
    assert not as_array(normalise(layer, _random(4, 5, seed=0), trained=True)).any()


def test_rates_that_sixteen_bits_cannot_tell_from_none() -> None:
    seed, x = tf.constant([1, 2], tf.int64), tf.ones(7, tf.float64)
    assert as_array(dropout(x, 1e-6, seed, 0)).min() == 1 / (1 - 1e-6)
    assert not as_array(dropout(x, 1 - 1e-6, seed, 0)).any()


# -- the loss by itself ----------------------------------------------------------------------------


@pytest.mark.parametrize("words", [None, 3, 1])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_by_itself(monkeypatch: pytest.MonkeyPatch, dtype: str, words: int | None) -> None:
    compute_words_at_a_time(monkeypatch, words, labelled=4)
    rng = np.random.default_rng(0)
    exact = {n: rng.normal(size=s) for n, s in (("h", (4, 3)), ("w", (11, 3)), ("b", (11,)))}
    labels = tf.constant([0, 10, 4, 4])
    found = []
    for kind, way in (
        (dtype, lambda h, w, b: linear_cross_entropy(h, w, b, labels, keeps_logits=not words)),
        ("float64", lambda h, w, b: cross_entropy(h @ tf.transpose(w) + b, labels)),
    ):
        given = {name: tf.cast(tf.constant(array), kind) for name, array in exact.items()}
        with tf.GradientTape() as tape:
            tape.watch(given)
            loss = way(**given)
        gradients = tape.gradient(loss, given)
        assert {g.dtype.name for g in gradients.values()} == {kind}
        assert loss.dtype == ("float64" if kind == "float64" else "float32")
        found.append({n: tf.cast(g, "float64") for n, g in {**gradients, "loss": loss}.items()})
    bound = {"float64": 1e-14, "float32": 1e-6, "float16": 4e-3, "bfloat16": 3e-2}[dtype]
    assert_all_close(*found, bound)


def test_what_may_be_kept() -> None:
    """256 MB of logits; of how many rows is not always known."""
    assert may_keep_logits(1000, 60_000, tf.float32)
    assert not may_keep_logits(1200, 60_000, tf.float32)
    assert not may_keep_logits(600, 60_000, tf.float64)
    assert not may_keep_logits(None, 60_000, tf.float32)


# -- the switch ------------------------------------------------------------------------------------


def test_formulas_only_ends_with_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    decided = note_unpadding(monkeypatch)
    model = small_model("XLMModel", n_layers=1)

    def fail() -> None:
        with plainly(True):
            with plainly(True):
                model(small_batch())
            model(small_batch())
            assert not decided
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    model(small_batch())
    assert len(decided) == 1
