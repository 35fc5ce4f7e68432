"""Nothing is stale: every call works on a model as it is, and runs what stands in its layers."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.cases import Array
from tests.support.parity import (
    as_array,
    assert_close_to_largest,
    assert_equal,
    assert_same_results,
)
from tests.support.tf_fast_paths import (
    compile_every_width,
    count_graphs,
    outputs_and_gradients,
    plainly,
    small_batch,
    small_model,
)
from tests.support.tf_internals import Unpadding, graphs_of, note_unpadding
from tests.tf.helpers import dataset
from xlm_tf.layers import Linear

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


# -- what changes the numbers ----------------------------------------------------------------------


def _assigned(model: Any, _: Path) -> None:
    for variable in model.weights:
        variable.assign(1.25 * variable)


def _weights_set(model: Any, _: Path) -> None:
    model.set_weights([0.8 * weight for weight in model.get_weights()])


def _weights_loaded(model: Any, folder: Path) -> None:
    other = small_model(n_layers=1)
    other.set_weights([0.7 * weight for weight in other.get_weights()])
    other.save_weights(folder / "other.weights.h5")
    model.load_weights(folder / "other.weights.h5")


def _stepped(model: Any, _: Path) -> None:
    with tf.GradientTape() as tape:
        loss = model(BATCH).loss
    gradients = tape.gradient(loss, model.trainable_weights)
    keras.optimizers.Adam(0.05).apply(gradients, model.trainable_weights)


def _fitted(model: Any, _: Path) -> None:
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    model.fit(dataset(BATCH, rows=5), verbose=0)


def _causal(model: Any, _: Path) -> None:
    model.config.causal = True


def _eps(model: Any, _: Path) -> None:
    model.transformer.layer_norm_emb.eps = 0.5


def _layer_replaced(model: Any, _: Path) -> None:
    model.transformer._tracker.unlock()
    ffn = model.transformer.ffns[0]
    ffn._tracker.unlock()
    old, ffn.lin1 = ffn.lin1, Linear(12, 48, name="lin1", dtype="float64")
    ffn.lin1.build()
    ffn.lin1.kernel.assign(0.5 * old.kernel)


CHANGES: dict[str, Callable[[Any, Path], None]] = {
    "variables assigned": _assigned,
    "set_weights": _weights_set,
    "load_weights": _weights_loaded,
    "a step of an optimizer": _stepped,
    "fit": _fitted,
    "heads pruned": lambda model, _: model.prune_heads({0: [1]}),
    "vocabulary resized": lambda model, _: model.resize_token_embeddings(61),
    "causal": _causal,
    "another eps": _eps,
    "a layer replaced": _layer_replaced,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model(decided: list[Unpadding], tmp_path: Path, change: str) -> None:
    model = small_model(n_layers=1)
    before = _logits(model)
    assert count_graphs(model) == 1
    CHANGES[change](model, tmp_path)
    expected = outputs_and_gradients(model, BATCH, plain=True)
    decided.clear()
    assert_same_results(outputs_and_gradients(model, BATCH), expected)
    if change not in ("variables assigned", "set_weights", "load_weights"):
        assert len(decided) <= 1
    else:
        assert not decided  # the graph that was made before has run
    if change == "vocabulary resized":
        assert_close_to_largest(expected["logits"][:, :, :50], before, 1e-12)
        assert expected["logits"].shape == (5, 6, 61)
    else:
        assert np.abs(expected["logits"] - before).max() > 1e-3
    # Graphs of what is gone are gone too; those of other settings stay, for their return.
    assert count_graphs(model.transformer) == (2 if change == "causal" else 1)


def test_settings_that_come_back(decided: list[Unpadding]) -> None:
    model = small_model(n_layers=1)
    both = {causal: _logits(small_model(n_layers=1, causal=causal)) for causal in (False, True)}
    decided.clear()
    for causal in (False, True, False, True):
        model.config.causal = causal
        assert_equal(_logits(model), both[causal])
    assert len(decided) == count_graphs(model.transformer) == 2


def test_dropout_set_after_the_first_call() -> None:
    model = small_model(n_layers=1)
    first = _logits(model, training=True)
    assert_equal(_logits(model, training=True), first)
    model.transformer.config.dropout = 0.5
    assert not np.array_equal(_logits(model, training=True), first)
    model.transformer.config.dropout = 0.0
    assert_equal(_logits(model, training=True), first)
    model.transformer.attentions[0].rate = 0.5
    assert not np.array_equal(_logits(model, training=True), first)


def test_what_is_trainable_is_read_at_each_call() -> None:
    model = small_model(n_layers=1)
    whole = outputs_and_gradients(model, BATCH)
    for frozen in (model.transformer.attentions[0], model.transformer.embeddings):
        frozen.trainable = False
        expected = outputs_and_gradients(model, BATCH, plain=True)
        assert len(expected) < len(whole)
        assert_same_results(outputs_and_gradients(model, BATCH), expected)
        frozen.trainable = True
    assert_same_results(outputs_and_gradients(model, BATCH), whole)
    assert count_graphs(model) == 1


# -- where a model goes ----------------------------------------------------------------------------


def test_models_are_freed() -> None:
    for _ in range(2):
        model = small_model(n_layers=1)
        model(BATCH)
        assert count_graphs(model) == 1
        references = [weakref.ref(model), weakref.ref(model.transformer.ffns[0].lin1)]
        references += [weakref.ref(graph) for graph in graphs_of(model)]
        del model
        gc.collect()
        assert [reference() for reference in references] == [None] * 3


@pytest.mark.parametrize("way", ["copied", "pickled", "saved", "configuration"])
def test_copies_share_nothing(tmp_path: Path, way: str) -> None:
    model = small_model(n_layers=1)
    first = _logits(model)
    if way == "copied":
        other = copy.deepcopy(model)
    elif way == "pickled":
        other = pickle.loads(pickle.dumps(model))
    elif way == "saved":
        model.save(tmp_path / "model.keras")
        other = keras.models.load_model(tmp_path / "model.keras")
    else:
        other = type(model).from_config(model.get_config())
        other.set_weights(model.get_weights())
    assert not count_graphs(other)
    assert_equal(_logits(other), first)
    assert count_graphs(other) == 1
    _assigned(other, tmp_path)
    assert np.abs(_logits(other) - first).max() > 1e-3
    assert_equal(_logits(model), first)
