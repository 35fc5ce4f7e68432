"""Whatever stands in a layer's place runs at each call, however the model is run."""

from __future__ import annotations

import logging
import threading
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.cases import Array
from tests.support.parity import as_array, assert_all_close, assert_close_to_largest, assert_equal
from tests.support.tf_fast_paths import (
    compile_every_width,
    count_graphs,
    outputs_and_gradients,
    plainly,
    small_batch,
    small_model,
)
from tests.support.tf_internals import Unpadding, note_unpadding
from xlm_tf.attention import MultiHeadAttention
from xlm_tf.feed_forward import TransformerFFN
from xlm_tf.layers import LayerNorm, Linear

BATCH = small_batch(labels=True)


@pytest.fixture(autouse=True)
def _every_width(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_every_width(monkeypatch)


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> list[Unpadding]:
    return note_unpadding(monkeypatch)


def _logits(model: Any, plain: bool = False, **options: Any) -> Array:
    with plainly(plain):
        return as_array(model(BATCH, **options).logits)


# -- what stands in a layer's place ----------------------------------------------------------------


class _Louder(Linear):
    """Counts its calls, and what they hold; `scale` is no variable."""

    scale = 1.5
    shapes: list[Any]

    def call(self, x: tf.Tensor) -> tf.Tensor:
        self.shapes.append(x.shape)
        return self.scale * super().call(x)


def _paths(model: Any) -> dict[str, Any]:
    layer, ffn = model.transformer.attentions[0], model.transformer.ffns[0]
    return {"q_lin": layer.q_lin, "out_lin": layer.out_lin, "lin1": ffn.lin1, "lin2": ffn.lin2}


@pytest.mark.parametrize("name", ["q_lin", "out_lin", "lin1", "lin2"])
def test_a_subclass_is_called(decided: list[Unpadding], name: str) -> None:
    """At each call, with the whole batch, whatever else its code depends on."""
    model = small_model(n_layers=1)
    before = _logits(model)
    layer = _paths(model)[name]
    layer.__class__, layer.__dict__["shapes"] = _Louder, []
    decided.clear()
    results = []
    for scale in (1.5, 1.5, 0.5, 1.0):
        layer.__dict__["scale"] = scale
        results.append(_logits(model))
    assert layer.shapes == [(5, 6, 48 if name == "lin2" else 12)] * 4
    assert not decided
    assert_equal(results[1], results[0])
    assert np.abs(results[2] - results[0]).max() > 1e-3
    assert_close_to_largest(results[3], before, 1e-12)


def test_a_call_of_ones_own_and_a_regularizer_are_met(decided: list[Unpadding]) -> None:
    model = small_model(n_layers=1)
    first = _logits(model)
    layer = model.transformer.attentions[0]
    call = layer.call
    layer.__dict__["call"] = lambda *a, **o: (2 * call(*a, **o)[0], None)
    decided.clear()
    assert np.abs(_logits(model) - first).max() > 1e-3
    del layer.__dict__["call"]
    assert not decided
    assert_equal(_logits(model), first)
    layer.activity_regularizer = keras.regularizers.L2(0.1)
    assert_close_to_largest(_logits(model), first, 1e-12)
    assert model.losses
    assert all(float(loss) > 0 for loss in model.losses)  # and none is a tensor of a graph
    layer.activity_regularizer = None


@pytest.mark.parametrize("kind", [MultiHeadAttention, TransformerFFN, LayerNorm, Linear])
@pytest.mark.parametrize("late", [False, True])
def test_a_patched_class_is_called(
    decided: list[Unpadding], monkeypatch: pytest.MonkeyPatch, kind: Any, late: bool
) -> None:
    """At each call, before and after there is a graph."""
    model, call, calls = small_model(n_layers=1), kind.call, []
    before = _logits(model) if late else None

    def louder(self: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(self)
        result = call(self, *arguments, **options)
        return (2 * result[0], *result[1:]) if isinstance(result, tuple) else 2 * result

    decided.clear()
    with monkeypatch.context() as patched:
        patched.setattr(kind, "call", louder)
        found = _logits(model)
        assert len(set(calls)) > 0
        once = len(calls)
        assert_equal(_logits(model), found)
        assert len(calls) == 2 * once
        assert_close_to_largest(found, _logits(model, plain=True), 1e-12)
    assert not decided
    after = _logits(model)
    assert np.abs(after - found).max() > 1e-3
    if late:
        assert_equal(after, before)


@pytest.mark.parametrize("where", ["class", "instance"])
@pytest.mark.parametrize("method", ["attend", "split_heads", "_chunk", "_layer"])
def test_any_patched_method_is_called(
    decided: list[Unpadding], monkeypatch: pytest.MonkeyPatch, method: str, where: str
) -> None:
    """Not `call` alone, also after there is a graph; a layer of the encoder's own too."""
    model = small_model(n_layers=1)
    base = _logits(model)
    encoder = model.transformer
    owner = {"_chunk": encoder.ffns[0], "_layer": encoder}.get(method, encoder.attentions[0])

    def louder(*arguments: Any, **options: Any) -> Any:
        result = right(*arguments, **options)
        return (2 * result[0], *result[1:]) if isinstance(result, tuple) else 2 * result

    decided.clear()
    with monkeypatch.context() as patched:
        of = type(owner) if where == "class" else owner
        right = getattr(of, method)
        if where == "class":
            patched.setattr(of, method, louder)
        else:
            patched.setitem(owner.__dict__, method, louder)
        found = _logits(model)
        assert_close_to_largest(found, _logits(model, plain=True), 1e-12)
    assert not decided
    assert np.abs(found - base).max() > 1e-3
    assert_equal(_logits(model), base)


def test_the_head_is_met() -> None:
    model = small_model(n_layers=1, tie_word_embeddings=False)
    layer = model.pred_layer.proj
    first = float(model(BATCH, output_logits=False).loss)
    layer.__class__, layer.__dict__["shapes"] = _Louder, []
    second = float(model(BATCH, output_logits=False).loss)
    assert layer.shapes == [(5, 6, 12)]
    assert abs(first - second) > 1e-3


# -- how it is run ---------------------------------------------------------------------------------


def test_functions_run_eagerly(decided: list[Unpadding]) -> None:
    model = small_model(n_layers=1)
    tf.config.run_functions_eagerly(True)
    try:
        found = _logits(model)
        assert_equal(_logits(model), found)
    finally:
        tf.config.run_functions_eagerly(False)
    assert len(decided) == 2
    assert not count_graphs(model)
    assert_close_to_largest(_logits(model), found, 1e-12)
    assert count_graphs(model) == 1


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy: str) -> None:
    model, exact = small_model(n_layers=1, dtype=policy), small_model(n_layers=1)
    output = model(BATCH)
    assert count_graphs(model) == 1
    assert output.logits.dtype == policy.removeprefix("mixed_")
    assert output.loss.dtype == tf.float32
    bound = 0.1 if policy == "mixed_bfloat16" else 0.01
    assert_close_to_largest(tf.cast(output.logits, tf.float32), _logits(exact, True), bound)
    for layer in model._flatten_layers():  # another policy from here on
        layer.dtype_policy = "float32"
    assert model(BATCH).logits.dtype == tf.float32
    assert_close_to_largest(_logits(model), _logits(exact, True), 1e-5)


def test_two_threads() -> None:
    """Each with other shapes and settings, both while graphs are made and after."""
    model = small_model(n_layers=1)
    batches = [BATCH, {name: array[:2, :4] for name, array in BATCH.items()}]
    with plainly(True):
        expected = [as_array(model(batch).logits) for batch in batches]
    found: list[list[Array]] = [[], []]
    gate = threading.Barrier(2)

    def work(number: int) -> None:
        gate.wait(timeout=60)
        for _ in range(5):
            found[number].append(as_array(model(batches[number]).logits))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(2):
        assert len(found[number]) == 5
        for logits in found[number]:
            assert_close_to_largest(logits, expected[number], 1e-12)
    assert count_graphs(model) == 1


def test_many_models_are_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    """TensorFlow warns of a function that is made again and again; a model's graph is not."""
    with caplog.at_level(logging.WARNING, logger="tensorflow"):
        for _ in range(8):
            small_model("XLMModel", n_layers=1)(small_batch())
    assert not [record for record in caplog.records if "retracing" in record.getMessage()]


def test_nothing_is_kept_on_models_or_written_to_inputs() -> None:
    model = small_model(n_layers=1)
    names = {id(layer): set(layer.__dict__) for layer in model._flatten_layers()}
    states = model.get_weights()
    batch = {name: array.copy() for name, array in BATCH.items()}
    outputs_and_gradients(model, batch)
    assert count_graphs(model) == 1
    new = [set(layer.__dict__) - names[id(layer)] for layer in model._flatten_layers()]
    assert set().union(*new) <= {"_call_context_args", "_called", "built"}
    assert_all_close(dict(enumerate(model.get_weights())), dict(enumerate(states)), 0.0)
    assert_all_close(batch, BATCH, 0.0)
