"""Heads that look at a few positions: the last layer is computed for these alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.cases import Array
from tests.support.parity import assert_close_to_largest, assert_same_results
from tests.support.tf_fast_paths import (
    MASK,
    compile_every_width,
    outputs_and_gradients,
    plainly,
    small_batch,
    small_model,
    unknown_sizes,
)
from tests.support.tf_internals import note_last_layers, nothing_is_pending
from xlm_core.errors import InputError
from xlm_tf import TFXLMModel
from xlm_tf.layers import Linear

WHOLE = np.ones_like(MASK)


@pytest.fixture
def lasts(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether rows were left out: once for each graph, or each call without one."""
    compile_every_width(monkeypatch)
    return note_last_layers(monkeypatch)


def _case(name: str, mask: Array) -> tuple[Any, dict[str, Array], dict[str, Any]]:
    """A model, its batch, and options of the call."""
    batch = small_batch(mask, labels=name.startswith("language"))
    if name.startswith("language"):
        adaptive = {"asm": True, "asm_cutoffs": [10, 30], "asm_div_value": 2.0}
        values = adaptive if "asm" in name else {}
        model = small_model(causal=name.endswith("causal"), **values)
        return model, batch, {"output_logits": False}
    kind, _, summary = name.partition(", ")
    if kind == "sequence":
        return small_model("XLMForSequenceClassification", summary_type=summary), batch, {}
    batch = {name: value[None] for name, value in batch.items()}
    return small_model("XLMForMultipleChoice", summary_type=summary), batch, {}


NAMES = [
    "language model",
    "language model, causal",
    "language model, asm",
    "sequence, first",
    "sequence, last",
    "sequence, cls_index",
    "choices, first",
    "choices, cls_index",
]


# How a head picks its rows has nothing to do with padding: one of each kind is tried without.
WITHOUT_PADDING = ("language model", "sequence, cls_index")


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        *(pytest.param(name, MASK, id=f"{name}-padded") for name in NAMES),
        *(
            pytest.param(
                name,
                WHOLE,
                id=f"{name}-full",
                marks=[] if name in WITHOUT_PADDING else [pytest.mark.full],
            )
            for name in NAMES
        ),
    ],
)
def test_the_same_function(lasts: list[bool], name: str, mask: Array) -> None:
    model, batch, options = _case(name, mask)
    expected = outputs_and_gradients(model, batch, plain=True, **options)
    assert lasts == []
    assert_same_results(outputs_and_gradients(model, batch, **options), expected, 1e-12)
    assert lasts == [True]
    found = outputs_and_gradients(model, batch, around=lambda f: unknown_sizes(f, batch), **options)
    assert_same_results(found, expected, 1e-12)
    assert lasts[1:]
    assert all(lasts)
    model.gradient_checkpointing_enable()
    assert_same_results(
        outputs_and_gradients(model, batch, training=True, **options), expected, 1e-12
    )


def test_a_graph_takes_the_labels_of_each_call(lasts: list[bool]) -> None:
    model, batch, options = _case("language model", MASK)
    for seed in range(3):
        ignored = np.random.default_rng(seed).random(MASK.shape) < 0.6
        batch["labels"] = np.where(ignored, -100, batch["input_ids"])
        expected = outputs_and_gradients(model, batch, plain=True, **options)
        assert_same_results(outputs_and_gradients(model, batch, **options), expected, 1e-12)
    assert lasts == [True]  # one graph


def test_no_label_at_all(lasts: list[bool]) -> None:
    model, batch, options = _case("language model", MASK)
    batch["labels"] = np.full_like(batch["labels"], -100)
    assert float(model(batch, **options).loss) == 0


def test_with_dropout(lasts: list[bool]) -> None:
    model = small_model(dropout=0.3, attention_dropout=0.3)
    found = outputs_and_gradients(
        model, small_batch(labels=True), training=True, output_logits=False
    )
    assert lasts == [True]
    assert all(np.isfinite(value).all() for value in found.values())


def test_fit(lasts: list[bool]) -> None:
    """`fit` looks at the loss alone, so it leaves rows out by itself."""
    batch = small_batch(labels=True)
    losses = []
    for plain in (True, False):
        model = small_model()
        model.compile(optimizer="sgd")
        with plainly(plain):
            history = model.fit(batch, batch_size=5, epochs=3, verbose=0, shuffle=False)
        losses.append(history.history["loss"])
    assert_close_to_largest(np.array(losses[1]), np.array(losses[0]), 1e-12)
    assert lasts
    assert all(lasts)


class _Louder(Linear):
    def call(self, x: tf.Tensor) -> tf.Tensor:
        return 1.5 * super().call(x)


class _Scaled(TFXLMModel):
    def call(self, *arguments: Any, **options: Any) -> Any:
        output = super().call(*arguments, **options)
        output.last_hidden_state = output.last_hidden_state - 1
        return output


def _change(layer: Any, kind: type) -> None:
    layer.__class__ = kind


ALL_ROWS: dict[str, Any] = {
    "hidden states": lambda m: setattr(m.config, "output_hidden_states", True),
    "attentions": lambda m: setattr(m.config, "output_attentions", True),
    "another layer": lambda m: _change(m.transformer.ffns[0].lin2, _Louder),
    "another encoder": lambda m: _change(m.transformer, _Scaled),
    "another summary": lambda m: _change(m.sequence_summary.summary, _Louder),
    "mean": lambda m: setattr(m.sequence_summary, "summary_type", "mean"),
}


@pytest.mark.parametrize("name", ALL_ROWS)
def test_all_rows_where_somebody_may_look(lasts: list[bool], name: str) -> None:
    model = small_model("XLMForSequenceClassification")
    ALL_ROWS[name](model)
    batch = small_batch()
    with plainly(True):
        expected = model(batch).logits
    actual = model(batch).logits
    assert not any(lasts)
    assert_close_to_largest(actual, expected, 1e-12)


def test_all_rows_with_logits_and_for_the_encoder_itself(lasts: list[bool]) -> None:
    model, batch, _ = _case("language model", MASK)
    model(batch)
    model.transformer(small_batch())
    assert lasts == [False]  # one graph for both
    assert nothing_is_pending()


def test_another_encoder_that_runs_meanwhile_is_not_asked(lasts: list[bool]) -> None:
    head, other, seen = small_model("XLMForSequenceClassification"), small_model("XLMModel"), []
    batch = small_batch()
    expected = other(batch).last_hidden_state
    layer = head.transformer.ffns[0]
    own = layer.call

    def call(*arguments: Any, **options: Any) -> Any:
        seen.append(other(batch).last_hidden_state)
        return own(*arguments, **options)

    layer.call = call
    head(batch)
    assert_close_to_largest(seen[0], expected, 1e-12)
    assert not any(lasts)


def test_none_are_left_out_for_xla(lasts: list[bool]) -> None:
    model, batch, options = _case("language model", WHOLE)
    expected = model(batch, **options).loss
    lasts.clear()
    found = tf.function(lambda x: model(x, **options).loss, jit_compile=True)(
        {name: tf.constant(value) for name, value in batch.items()}
    )
    assert not any(lasts)
    assert_close_to_largest(found, expected, 1e-12)


def test_labels_that_do_not_fit_are_refused_as_ever(lasts: list[bool]) -> None:
    model = small_model()
    for labels in (np.zeros((3, 4), np.int64), np.full(MASK.shape, 10**6)):
        with pytest.raises(ValueError, match="labels"):
            model(small_batch(), labels=labels, output_logits=False)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "beyond the sequence": ({"output_positions": 6}, "is 6: expected .* among the 6 new"),
    "a bool": ({"output_positions": True}, "is a bool"),
    "a name": ({"output_positions": "first"}, "is a str"),
    "integers": ({"output_positions": tf.ones((5, 6), tf.int32)}, "holds integers"),
    "another width": ({"embedding_matrix": tf.zeros((53, 5))}, "embedding_matrix has shape"),
    "a matrix of integers": (
        {"embedding_matrix": tf.zeros((53, 12), tf.int32)},
        "embedding_matrix",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_requests_that_cannot_be_met_are_refused(wrong: str) -> None:
    given, message = WRONG[wrong]
    with pytest.raises(InputError, match=message):
        small_model().transformer(small_batch(), **given)
