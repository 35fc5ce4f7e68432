"""Padding is left out of what TensorFlow computes, for any mask, and put back as zeros."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.cases import Array
from tests.support.parity import (
    as_array,
    assert_all_close,
    assert_close_to_largest,
    assert_equal,
    assert_same_results,
)
from tests.support.tf_fast_paths import (
    MASK,
    outputs_and_gradients,
    plainly,
    small_batch,
    small_model,
)
from tests.support.tf_internals import (
    WRONG_UNPADDING,
    Unpadding,
    computed_tokens,
    decide_wrongly,
    note_unpadding,
)
from tests.tf.helpers import dataset

ANY_MASK = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> list[Unpadding]:
    return note_unpadding(monkeypatch)


@functools.cache
def _model(causal: bool = False) -> Any:
    return small_model("XLMModel", causal=causal)


@st.composite
def masks(draw: st.DrawFn) -> Array:
    """bool, shape (batch, sequence): anything."""
    batch, sequence = draw(st.integers(1, 4)), draw(st.integers(1, 7))
    flags = st.lists(st.booleans(), min_size=sequence, max_size=sequence)
    return np.array(draw(st.lists(flags, min_size=batch, max_size=batch)))


# -- whole models ----------------------------------------------------------------------------------


@ANY_MASK
@given(mask=masks(), causal=st.booleans())
@example(mask=MASK, causal=False)
@example(mask=MASK, causal=True)
@example(mask=np.zeros((2, 3), int), causal=True)
@example(mask=np.ones((2, 3), int), causal=True)
def test_any_mask(decided: list[Unpadding], mask: Array, causal: bool) -> None:
    decided.clear()
    model, batch = _model(causal), small_batch(mask.astype(int))
    expected = outputs_and_gradients(model, batch, plain=True, output_hidden_states=True)
    assert not decided
    found = outputs_and_gradients(model, batch, output_hidden_states=True)
    if mask.any():
        assert_same_results(found, expected)
    else:  # without any token, nothing depends on anything
        assert_all_close(found, expected, 0.0)
    (rows,) = decided
    assert_equal(computed_tokens(rows), np.flatnonzero(mask))
    states = [value for name, value in found.items() if "state" in name]
    assert len(states) == 4
    for state in states:
        assert not state[mask == 0].any()
        assert (state[mask == 1] != 0).any(-1).all()


@pytest.mark.parametrize("how", ["bool", "float32", "int8", "lengths", "from the ids"])
def test_ways_to_say_what_is_padding(decided: list[Unpadding], how: str) -> None:
    mask = np.array([[1] * 6, [1] * 2 + [0] * 4, [0] * 6, [1] * 5 + [0]])
    batch = small_batch(mask)
    expected = _model()(batch).last_hidden_state
    if how == "lengths":
        batch["lengths"] = batch.pop("attention_mask").sum(1)
    elif how == "from the ids":
        del batch["attention_mask"]
    else:
        batch["attention_mask"] = mask.astype(how)
    assert_equal(_model()(batch).last_hidden_state, expected)
    assert [computed_tokens(rows).shape for rows in decided] == [(13,)] * 2


@pytest.mark.parametrize("causal", [False, True])
def test_sentences_never_see_each_other(decided: list[Unpadding], causal: bool) -> None:
    """Another sentence, NaN or any other: bit for bit, the rest of the batch stays."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(*MASK.shape, 12))
    batch = {"attention_mask": MASK, "langs": np.zeros_like(MASK)}
    model = _model(causal)
    first = as_array(model(batch | {"inputs_embeds": inputs}).last_hidden_state)
    for changed in range(4):
        others = [row for row in range(5) if row != changed]
        for value in (rng.normal(size=(6, 12)), np.full((6, 12), np.nan)):
            given = inputs.copy()
            given[changed] = value
            again = as_array(model(batch | {"inputs_embeds": given}).last_hidden_state)
            assert_equal(again[others], first[others])
            assert (again[changed] != first[changed])[MASK[changed] == 1].all()
    assert len(decided) == 9


@pytest.mark.parametrize("causal", [False, True])
def test_what_is_at_padding_does_not_matter(causal: bool) -> None:
    batch, model = small_batch(), _model(causal)
    batch["position_ids"] = np.tile(np.arange(6), (5, 1))
    expected = model(batch).last_hidden_state
    for name, value in (("input_ids", 7), ("langs", 3), ("position_ids", 3)):
        given = batch | {name: np.where(MASK == 0, value, batch[name])}
        assert_equal(model(given).last_hidden_state, expected)


@pytest.mark.parametrize(
    "asked", [{"output_attentions": True}, {"head_mask": np.array([1.0, 0, 1])}]
)
def test_what_needs_attention_weights_takes_the_formula(
    decided: list[Unpadding], asked: dict[str, Any]
) -> None:
    state = _model()(small_batch(), **asked).last_hidden_state
    with plainly(True):
        assert_equal(_model()(small_batch(), **asked).last_hidden_state, state)
    assert not decided
    assert not as_array(state)[MASK == 0].any()


def test_chunks_take_the_formula(decided: list[Unpadding]) -> None:
    chunked = small_model("XLMModel", chunk_size_feed_forward=2)
    state = chunked(small_batch()).last_hidden_state
    assert not decided
    assert_close_to_largest(state, _model()(small_batch()).last_hidden_state, 1e-13)
    assert len(decided) == 1


# -- fit and predict -------------------------------------------------------------------------------


def test_predict_and_fit_leave_padding_out(decided: list[Unpadding]) -> None:
    """In graphs that know no sizes, with the numbers of the formulas."""
    histories, predictions = [], []
    for plain in (False, True):
        model = small_model("XLMForTokenClassification", n_layers=1)
        batch = small_batch(MASK[:4])
        if plain:
            model.transformer.ffns[0].lin1.call = model.transformer.ffns[0].lin1.call
        model.compile(optimizer="sgd")
        predictions.append(model.predict(dataset(batch), verbose=0)["logits"])
        data = dataset(batch | {"labels": batch["langs"] % 2})
        histories.append(model.fit(data, epochs=2, verbose=0).history["loss"])
        assert bool(decided) is not plain
        for rows in decided:  # made for any number of tokens
            assert computed_tokens(rows).shape.as_list() == [None]
        decided.clear()
    assert_close_to_largest(predictions[0], predictions[1], 1e-12)
    assert_close_to_largest(histories[0], histories[1], 1e-12)
    assert histories[0][0] > histories[0][1]


# -- the comparison can fail -----------------------------------------------------------------------


@pytest.mark.parametrize("mutation", WRONG_UNPADDING)
def test_a_wrong_decision_is_seen(monkeypatch: pytest.MonkeyPatch, mutation: str) -> None:
    model, batch = _model(causal=True), small_batch()
    expected = outputs_and_gradients(model, batch, plain=True)
    assert_same_results(outputs_and_gradients(model, batch), expected)
    decide_wrongly(monkeypatch, mutation)
    with pytest.raises(AssertionError, match="differs by"):
        assert_same_results(outputs_and_gradients(model, batch), expected, 1e-4)
