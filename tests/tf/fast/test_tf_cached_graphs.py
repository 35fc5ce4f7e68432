"""Steps with the library's own cache run as graphs, one for all lengths; others run eagerly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.cases import Array
from tests.support.parity import (
    as_array,
    assert_all_close,
    assert_close_to_largest,
)
from tests.support.tf_fast_paths import (
    MASK,
    compile_every_width,
    count_graphs,
    plainly,
    small_batch,
    small_model,
)
from tests.support.tf_internals import note_fast_layers
from tests.tf.helpers import FLAGS, tensors
from xlm_tf import KeyValueCache

LEFT = np.array([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1]])
BATCH = small_batch(LEFT)


class _Cache(KeyValueCache):
    """The same, but not the library's own."""


@pytest.fixture(autouse=True)
def _every_width(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_every_width(monkeypatch)


def _steps(
    model: Any, cache: Any, batch: dict[str, Array] = BATCH, ends: Any = (3, 4, 6), **options: Any
) -> list[dict[str, tf.Tensor]]:
    given = tensors(batch)
    return [
        dict(model({name: x[:, :end] for name, x in given.items()}, cache=cache, **options))
        for end in ends
    ]


@pytest.mark.parametrize("mask", [LEFT, MASK], ids=["left", "holes"])
@pytest.mark.parametrize("kind", ["XLMModel", "XLMWithLMHeadModel"])
def test_steps_are_those_of_the_formulas(kind: str, mask: Array) -> None:
    model, batch = small_model(kind, causal=True), small_batch(mask)
    with plainly(True):
        expected = _steps(model, KeyValueCache(), batch)
    assert not count_graphs(model.encoder())
    cache = KeyValueCache()
    for found, right in zip(_steps(model, cache, batch), expected, strict=True):
        assert_all_close(found, right, 1e-12)
    assert cache.get_seq_length() == 6


def test_one_graph_for_all_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one for the start, of whatever length."""
    model = small_model(causal=True)
    calls = note_fast_layers(monkeypatch, model.transformer)
    for ends in ((1, 2, 3, 4, 5, 6), (4, 6), (2, 3)):
        cache = KeyValueCache()
        _steps(model, cache, ends=ends)
        assert cache.get_seq_length() == ends[-1]
    assert calls == [0, 1] * 2
    assert count_graphs(model.transformer) == 2
    _steps(model, KeyValueCache(), {name: x[:2] for name, x in BATCH.items()})
    assert count_graphs(model.transformer) == 2


def test_any_other_cache_takes_the_formulas_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model(causal=True)
    calls = note_fast_layers(monkeypatch, model.transformer)
    found, expected = _steps(model, _Cache()), _steps(model, KeyValueCache())
    assert calls == [0, 1] * 2  # of the library's own
    assert count_graphs(model.transformer) == 2
    for mine, right in zip(found, expected, strict=True):
        assert_all_close(mine, right, 1e-12)


@pytest.mark.parametrize("asked", ["attentions", "head mask"])
def test_what_needs_attention_weights_takes_the_formula(
    monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    model = small_model("XLMModel", causal=True)
    options: dict[str, Any] = (
        FLAGS if asked == "attentions" else {"head_mask": np.array([1.0, 0, 1])}
    )
    with plainly(True):
        expected = _steps(model, KeyValueCache(), **options)
    calls = note_fast_layers(monkeypatch, model)
    found = _steps(model, KeyValueCache(), **options)
    assert not calls
    for mine, right in zip(found, expected, strict=True):
        assert_all_close(_flat(mine), _flat(right), 1e-12)


def _flat(output: dict[str, Any]) -> dict[str, tf.Tensor]:
    return dict(enumerate(tf.nest.flatten(output)))


def test_gradients_through_cached_keys() -> None:
    """Of a loss of the last step, with respect to what was cached, in graphs and by formulas."""
    model = small_model(causal=True)
    variables = {v.path: v.value for v in model.trainable_variables}
    found = []
    for plain in (True, False):
        cache = KeyValueCache()
        with tf.GradientTape() as tape, plainly(plain):
            last = _steps(model, cache)[-1]["logits"]
            loss = tf.reduce_sum(tf.sin(last))
        gradients = tape.gradient(loss, variables)
        found.append({n: tf.convert_to_tensor(g) for n, g in gradients.items() if g is not None})
    assert_all_close(found[1], found[0], 1e-12, one_scale=True)
    kernel = model.transformer.attentions[0].k_lin.kernel.path
    assert np.abs(as_array(found[1][kernel])).max() > 0
    assert count_graphs(model.transformer) == 2


def test_pruned_heads_and_other_weights() -> None:
    model = small_model("XLMModel", causal=True)
    model.prune_heads({0: [1], 1: [0, 2]})
    for _ in range(2):
        with plainly(True):
            expected = _steps(model, KeyValueCache())[-1]
        assert_all_close(_steps(model, KeyValueCache())[-1], expected, 1e-12)
        assert count_graphs(model) == 2
        for variable in model.weights:
            variable.assign(1.25 * variable)


@pytest.mark.parametrize("policy", ["mixed_float16", "float16", "bfloat16"])
def test_half_types_see_no_padding(policy: str) -> None:
    """Where a query sees no key, nothing is NaN, nor later what sees its key."""
    model, exact = (small_model("XLMModel", causal=True, dtype=d) for d in (policy, "float64"))
    for mine, right in zip(
        _steps(model, KeyValueCache()), _steps(exact, KeyValueCache()), strict=True
    ):
        state = tf.cast(mine["last_hidden_state"], tf.float64)
        assert_close_to_largest(state, right["last_hidden_state"], 0.05)


def test_a_cache_goes_from_graphs_to_formulas_and_back() -> None:
    model, cache = small_model("XLMModel", causal=True), KeyValueCache()
    expected = _steps(model, KeyValueCache(), ends=range(1, 7))
    given = tensors(BATCH)
    for end in range(1, 7):
        with plainly(end % 2 == 0):
            step = model({name: x[:, :end] for name, x in given.items()}, cache=cache)
        assert_close_to_largest(
            step.last_hidden_state, expected[end - 1]["last_hidden_state"], 1e-12
        )


def test_labels_of_the_new_positions() -> None:
    """`output_positions` asks for positions that are new; all of these are computed."""
    model, cache = small_model(causal=True), KeyValueCache()
    _steps(model, cache, ends=(4,))
    given = tensors(BATCH)
    labels = tf.where(given["attention_mask"] == 1, given["input_ids"], -100)[:, 4:]
    loss = model(given, cache=cache, labels=labels, output_logits=False).loss
    with plainly(True):
        other = KeyValueCache()
        _steps(model, other, ends=(4,))
        expected = model(given, cache=other, labels=labels)
    assert_close_to_largest(loss, expected.loss, 1e-12)
    assert cache.get_seq_length() == other.get_seq_length() == 6
