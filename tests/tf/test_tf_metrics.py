"""Metrics over labels that stand among the features, and models that return tuples, in fit."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.parity import assert_close_to_largest
from tests.tf.helpers import HEADS, dataset, results, tiny_batch, tiny_labels, tiny_model
from xlm_core import InputError

SILENT: dict[str, Any] = {
    "n_layers": 1, "dropout": 0.0, "attention_dropout": 0.0, "summary_first_dropout": 0.0,
}  # fmt: skip


def _accuracy() -> keras.metrics.Metric:
    return keras.metrics.SparseCategoricalAccuracy(name="accuracy")


def _scores(model: Any, **options: Any) -> dict[str, float]:
    model.compile("sgd", jit_compile=False, **options)
    arguments = tiny_batch(model.architecture) | tiny_labels(model.architecture)
    data = dataset(arguments, rows=4)
    scores: dict[str, float] = model.evaluate(data, verbose=0, return_dict=True)
    own = float(model(arguments).loss)
    assert_close_to_largest(scores["loss"], own, 1e-6)
    history = model.fit(data, verbose=0, shuffle=False).history
    assert history.keys() == scores.keys()
    assert_close_to_largest(history["loss"], [own], 1e-6)
    return scores


@pytest.mark.parametrize("architecture", ["XLMForSequenceClassification", "XLMForMultipleChoice"])
def test_one_label_a_row(architecture: str) -> None:
    model = tiny_model(architecture, **SILENT)
    logits = results(model(tiny_batch(architecture)))["logits"]
    expected = (logits.argmax(-1) == tiny_labels(architecture)["labels"]).mean()
    assert _scores(model, metrics=[_accuracy()])["accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["metrics", "weighted_metrics"])
@pytest.mark.parametrize("architecture", ["XLMWithLMHeadModel", "XLMForTokenClassification"])
def test_labels_of_tokens_count_where_there_is_one(architecture: str, kind: str) -> None:
    model = tiny_model(architecture, **SILENT)
    labels = tiny_labels(architecture)["labels"]
    logits = results(model(tiny_batch(architecture)))["logits"]
    expected = (logits.argmax(-1) == labels)[labels != -100].mean()
    scores = _scores(model, **{kind: [_accuracy()]})
    assert scores["accuracy"] == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:You are passing weight as `float`:UserWarning")  # 0 and 1
@pytest.mark.parametrize("kind", ["metrics", "weighted_metrics"])
def test_tokens_count_alike_in_wide_batches_and_narrow_ones(kind: str) -> None:
    """Of a mean and of a count: Keras takes the mean of each row first."""
    architecture = "XLMWithLMHeadModel"
    model = tiny_model(architecture, **SILENT)
    batch, labels = tiny_batch(architecture), tiny_labels(architecture)["labels"]
    logits = results(model(batch))["logits"]
    narrow = {name: x[:, :5] for name, x in batch.items()}
    of_narrow = results(model(narrow))["logits"]
    labels = np.where(labels == -100, logits.argmax(-1), labels)  # some of them right
    parts = [(batch, logits, labels), (narrow, of_narrow, labels[:, :5])]
    right = np.concatenate([(x.argmax(-1) == y).ravel() for _, x, y in parts])
    known = np.concatenate([y.ravel() for *_, y in parts])
    found = np.concatenate([x.argmax(-1).ravel() for _, x, _ in parts])
    model.compile(
        "sgd",
        jit_compile=False,
        run_eagerly=True,
        **{kind: [_accuracy(), keras.metrics.IoU(70, [int(known[0])], sparse_y_pred=False)]},
    )
    batches = [{**features, "labels": of} for features, _, of in parts]
    forms = {name: tf.TensorSpec((None, None), x.dtype) for name, x in batches[0].items()}
    data = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=forms)
    data = data.apply(tf.data.experimental.assert_cardinality(2))
    scores = model.evaluate(data, verbose=0, return_dict=True)
    assert scores["accuracy"] == pytest.approx(right.mean())
    both = ((found == known[0]) & (known == known[0])).sum()
    either = ((found == known[0]) | (known == known[0])).sum()
    assert next(v for k, v in scores.items() if "io_u" in k) == pytest.approx(both / either)


def test_both_ends_of_a_span() -> None:
    architecture = "XLMForQuestionAnsweringSimple"
    model, labels = tiny_model(architecture, **SILENT), tiny_labels(architecture)
    output = results(model(tiny_batch(architecture)))
    scores = _scores(model, metrics=[[_accuracy()], [_accuracy()]])
    found = sorted(value for name, value in scores.items() if "accuracy" in name)
    expected = sorted(
        (output[f"{end}_logits"].argmax(-1) == labels[f"{end}_positions"]).mean()
        for end in ("start", "end")
    )
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("architecture", HEADS)
def test_models_that_return_tuples(architecture: str) -> None:
    model = tiny_model(architecture, return_dict=False, **SILENT)
    batch, labels = tiny_batch(architecture), tiny_labels(architecture)
    own = float(model({**batch, **labels})[0])
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    losses = model.fit(dataset(batch | labels, rows=4), epochs=4, verbose=0, shuffle=False)
    assert losses.history["loss"][0] == pytest.approx(own, rel=1e-6)
    assert losses.history["loss"][-1] < own
    with pytest.raises(InputError, match="no loss to compute"):
        model.evaluate(dataset(batch), verbose=0)


def test_a_keras_loss_on_a_model_that_returns_tuples() -> None:
    model = tiny_model("XLMForSequenceClassification", return_dict=False, **SILENT)
    batch, labels = tiny_batch(), tiny_labels("XLMForSequenceClassification")["labels"]
    own = float(model(batch, labels=labels)[0])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss=loss, metrics=[_accuracy()], run_eagerly=True)
    scores = model.evaluate(dataset(batch, labels, rows=4), verbose=0, return_dict=True)
    assert_close_to_largest(scores["loss"], own, 1e-6)
    expected = (np.asarray(model(batch)[0]).argmax(-1) == labels).mean()
    assert scores["accuracy"] == pytest.approx(expected)
