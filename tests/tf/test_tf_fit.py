"""compile, fit, evaluate and predict on a tf.data pipeline, for every head."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tests.support.parity import assert_all_close, assert_close_to_largest
from tests.tf.helpers import HEADS, dataset, fill, results, tiny_batch, tiny_labels, tiny_model
from xlm_core import InputError

EACH = pytest.mark.parametrize("architecture", HEADS)
WITH_KERAS_LOSS = [name for name in HEADS if name != "XLMForQuestionAnswering"]
SILENT: dict[str, Any] = {
    "n_layers": 1, "dropout": 0.0, "attention_dropout": 0.0, "summary_first_dropout": 0.0,
}  # fmt: skip
# What Keras 3 itself says of every dataset that is given to fit.
FIT: dict[str, Any] = {"verbose": 0, "shuffle": False}


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    """One model of each head; weights are put back before each use."""
    return {name: tiny_model(name, **SILENT) for name in HEADS}


def _fresh(models: dict[str, Any], architecture: str) -> Any:
    fill(models[architecture])
    return models[architecture]


def _targets(architecture: str) -> Any:
    """Labels as the second part of (features, labels)."""
    labels = tiny_labels(architecture)
    if architecture == "XLMForQuestionAnsweringSimple":
        names = {"start_positions": "start_logits", "end_positions": "end_logits"}
        return {names[name]: array for name, array in labels.items()}
    return np.maximum(labels["labels"], 0)  # Keras' losses know no -100


def _loss_and_metric(architecture: str) -> dict[str, Any]:
    def loss() -> keras.losses.Loss:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def metric() -> keras.metrics.Metric:
        return keras.metrics.SparseCategoricalAccuracy(name="accuracy")

    if architecture == "XLMForQuestionAnsweringSimple":
        names = ("start_logits", "end_logits")
        return {"loss": {n: loss() for n in names}, "metrics": {n: [metric()] for n in names}}
    return {"loss": loss(), "metrics": [metric()]}


# "auto" is no XLA where there is no GPU.
WAYS = [
    *(pytest.param(name, {}, id=f"{name}-auto") for name in HEADS),
    *(pytest.param(name, {"run_eagerly": True}, id=f"{name}-eager") for name in HEADS[::2]),
    pytest.param("XLMWithLMHeadModel", {"jit_compile": True}, id="XLMWithLMHeadModel-xla"),
]


@pytest.mark.parametrize(("architecture", "options"), WAYS)
def test_labels_among_the_features(
    architecture: str, options: dict[str, Any], models: dict[str, Any]
) -> None:
    model = _fresh(models, architecture)
    batch, labels = tiny_batch(architecture), tiny_labels(architecture)
    own = float(model(**batch, **labels).loss)
    model.compile(keras.optimizers.SGD(0.1), **options)
    data = dataset({**batch, **labels}, rows=4)
    assert_close_to_largest(model.evaluate(data, verbose=0), own, 1e-6)
    losses = model.fit(data, epochs=6, **FIT).history["loss"]
    assert_close_to_largest(losses[0], own, 1e-6)
    assert losses[-1] < 0.9 * losses[0]
    after = float(model(**batch, **labels).loss)
    assert after < losses[-1]
    assert_close_to_largest(model.evaluate(data, verbose=0, return_dict=True)["loss"], after, 1e-5)


@pytest.mark.parametrize("architecture", WITH_KERAS_LOSS)
def test_features_and_labels_apart(architecture: str) -> None:
    # A model of its own: Keras keeps the metrics of a compile in all later ones.
    model, batch = tiny_model(architecture, **SILENT), tiny_batch(architecture)
    targets = _targets(architecture)
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False, **_loss_and_metric(architecture))
    data = dataset(batch, targets, rows=4)
    own_names = {"start_logits": "start_positions", "end_logits": "end_positions"}
    own_labels = {own_names[n]: array for n, array in targets.items()} if isinstance(
        targets, dict) else {"labels": targets}  # fmt: skip
    own = float(model(**batch, **own_labels).loss)
    scores = model.evaluate(data, verbose=0, return_dict=True)
    losses = 2 if isinstance(targets, dict) else 1  # Keras adds start and end, the model halves
    assert_close_to_largest(scores["loss"], losses * own, 1e-6)
    accuracies = {name: value for name, value in scores.items() if "accuracy" in name}
    output = results(model(batch))
    for name, value in accuracies.items():
        part = name.removesuffix("_accuracy") if isinstance(targets, dict) else "logits"
        wanted = targets[part] if isinstance(targets, dict) else targets
        assert value == pytest.approx((output[part].argmax(-1) == wanted).mean())
    assert len(accuracies) == losses
    history = model.fit(data, epochs=5, **FIT).history
    assert history["loss"][-1] < 0.9 * history["loss"][0]
    assert history.keys() == scores.keys()


def test_labels_apart_under_the_names_of_the_arguments() -> None:
    model = tiny_model("XLMForQuestionAnsweringSimple", **SILENT)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    names = ("start_positions", "end_positions")
    model.compile("sgd", loss=dict.fromkeys(names, loss), jit_compile=False)
    batch, labels = tiny_batch(), tiny_labels("XLMForQuestionAnsweringSimple")
    own = float(model(**batch, **labels).loss)
    scores = model.evaluate(dataset(batch, labels, rows=4), verbose=0, return_dict=True)
    assert_close_to_largest(scores["loss"], 2 * own, 1e-6)


def test_sample_weights() -> None:
    model = tiny_model("XLMForSequenceClassification", **SILENT)
    batch, labels = tiny_batch(), tiny_labels("XLMForSequenceClassification")["labels"]
    weights = np.array([0.0, 1.0, 2.0, 0.5], np.float32)
    model.compile("sgd", jit_compile=False, **_loss_and_metric("XLMForSequenceClassification"))
    each = [
        float(model(**{n: a[i : i + 1] for n, a in batch.items()}, labels=labels[i : i + 1]).loss)
        for i in range(4)
    ]
    expected = np.dot(each, weights) / 4
    data = dataset(batch, labels, weights, rows=4)
    found = model.evaluate(data, verbose=0, return_dict=True)["loss"]
    assert_close_to_largest(found, expected, 1e-6)
    model.fit(data, **FIT)


@EACH
def test_no_labels_at_all_is_a_clear_error(architecture: str, models: dict[str, Any]) -> None:
    model = _fresh(models, architecture)
    traced = architecture == "XLMWithLMHeadModel"
    model.compile("sgd", run_eagerly=not traced, jit_compile=False)
    for step in (lambda d: model.fit(d, **FIT), lambda d: model.evaluate(d, verbose=0)):
        with pytest.raises(InputError, match="no loss to compute: give labels among the features"):
            step(dataset(tiny_batch(architecture)))


@EACH
def test_predict_leaves_labels_aside(architecture: str, models: dict[str, Any]) -> None:
    model, batch = _fresh(models, architecture), tiny_batch(architecture)
    labels = tiny_labels(architecture)
    hints = {"cls_index": labels["cls_index"]} if "cls_index" in labels else {}
    expected = results(model(**batch, **hints))
    model.compile(jit_compile=False)
    found = model.predict(dataset(batch | labels, rows=3), verbose=0)  # a last batch of one row
    assert_all_close(dict(found), expected, 1e-6)
    assert all(isinstance(array, np.ndarray) for array in found.values())


def test_predict_gives_hidden_states_where_the_configuration_asks() -> None:
    model = tiny_model("XLMForTokenClassification", output_hidden_states=True)
    batch = tiny_batch()
    expected = model(batch)
    found = model.predict(batch, verbose=0)
    assert [array.shape for array in found["hidden_states"]] == [(4, 9, 12)] * 3
    assert_close_to_largest(found["hidden_states"][-1], expected.hidden_states[-1], 1e-6)


def test_arrays_without_a_pipeline() -> None:
    model = tiny_model("XLMForSequenceClassification", **SILENT)
    batch, labels = tiny_batch(), tiny_labels("XLMForSequenceClassification")["labels"]
    model.compile("sgd", jit_compile=False, **_loss_and_metric("XLMForSequenceClassification"))
    first = model.train_on_batch(batch, labels, return_dict=True)["loss"]
    assert_close_to_largest(first, float(model.test_on_batch(batch, labels)[0]), 0.5)
    model.fit(batch, labels, batch_size=2, validation_data=(batch, labels), verbose=0)
    assert model.predict_on_batch(batch)["logits"].shape == (4, 2)
