"""sample_weight and class_weight with the model's own loss, and `fit(x, y)` without another."""

from __future__ import annotations

from collections import UserDict
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.cases import Array
from tests.support.parity import assert_all_close, assert_close_to_largest
from tests.tf.helpers import HEADS, dataset, fill, results, tiny_batch, tiny_labels, tiny_model
from xlm_core import ConfigError, InputError

SILENT: dict[str, Any] = {
    "n_layers": 1, "dropout": 0.0, "attention_dropout": 0.0, "summary_first_dropout": 0.0,
}  # fmt: skip
EACH = pytest.mark.parametrize("architecture", HEADS)
WEIGHTS = np.array([0.5, 0.0, 3.0, 1.0], np.float32)
TOKENS = ("XLMWithLMHeadModel", "XLMForTokenClassification")
# One of each kind of loss: by token, by row, by span.
SOON = ("XLMWithLMHeadModel", "XLMForSequenceClassification", "XLMForQuestionAnswering")


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    """One model of each head, compiled without a loss."""
    made = {name: tiny_model(name, **SILENT) for name in HEADS}
    for model in made.values():
        model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    return made


def _row(arrays: dict[str, Array], row: int) -> dict[str, Array]:
    return {name: array[row : row + 1] for name, array in arrays.items()}


def _expected(model: Any, weights: Array) -> float:
    """The mean over labels, from one call for each row."""
    batch, labels = tiny_batch(model.architecture), tiny_labels(model.architecture)
    each = [float(model(**_row(batch, row), **_row(labels, row)).loss) for row in range(4)]
    counts = (labels["labels"] != -100).sum(-1) if model.architecture in TOKENS else np.ones(4)
    return float((np.array(each) * weights * counts).sum() / counts.sum())


@EACH
def test_weights_of_samples(architecture: str, models: dict[str, Any]) -> None:
    model = models[architecture]
    batch, labels = tiny_batch(architecture), tiny_labels(architecture)
    expected = _expected(model, WEIGHTS)
    own = float(model(**batch, **labels).loss)
    together = {**batch, **labels}
    with_weights = tf.data.Dataset.from_tensors((together, WEIGHTS)).map(lambda x, w: (x, None, w))
    found = {
        "fit": model.fit(together, sample_weight=WEIGHTS, batch_size=4, verbose=0).history["loss"],
        "evaluate": model.evaluate(together, sample_weight=WEIGHTS, batch_size=4, verbose=0),
        "data": model.evaluate(with_weights, verbose=0),
        "batch": model.train_on_batch(together, None, WEIGHTS),
    }
    if architecture != "XLMForQuestionAnswering":  # whose hints are features
        apart = labels.get("labels", labels)
        found["apart"] = model.evaluate(batch, apart, sample_weight=WEIGHTS[:, None], verbose=0)
        found["own"] = model.evaluate(batch, apart, verbose=0)
    for name, value in found.items():
        wanted = own if name == "own" else expected
        assert_close_to_largest(np.ravel(value)[0], wanted, 1e-6)


def test_weights_of_a_validation_set(models: dict[str, Any]) -> None:
    model = models["XLMForSequenceClassification"]
    together = tiny_batch() | tiny_labels("XLMForSequenceClassification")
    history = model.fit(together, validation_data=(together, None, WEIGHTS), verbose=0).history
    assert_close_to_largest(history["val_loss"][0], _expected(model, WEIGHTS), 1e-6)


@pytest.mark.parametrize("architecture", TOKENS)
def test_weights_of_tokens(architecture: str, models: dict[str, Any]) -> None:
    model = models[architecture]
    batch, labels = tiny_batch(architecture), tiny_labels(architecture)["labels"]
    weights = np.random.default_rng(1).random(labels.shape)
    log_probs = tf.nn.log_softmax(model(batch).logits).numpy()
    losses = -np.take_along_axis(log_probs, np.maximum(labels, 0)[..., None], -1)[..., 0]
    expected = (losses * weights)[labels != -100].sum() / (labels != -100).sum()
    found = model.evaluate({**batch, "labels": labels}, sample_weight=weights, verbose=0)
    assert_close_to_largest(found, expected, 1e-6)


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification"])
def test_weights_of_other_losses(problem: str) -> None:
    model = tiny_model("XLMForSequenceClassification", problem_type=problem, **SILENT)
    model.compile("sgd", run_eagerly=True)
    batch, labels = tiny_batch(), np.array([[0, 1], [1, 1], [0, 0], [1, 0]], np.float32)
    each = [float(model(**_row(batch, i), labels=labels[i : i + 1]).loss) for i in range(4)]
    found = model.evaluate(batch, labels, sample_weight=WEIGHTS, verbose=0)
    assert_close_to_largest(found, (np.array(each) * WEIGHTS).mean(), 1e-6)
    with pytest.raises(InputError, match="class_weight needs labels that are classes"):
        model.fit(batch, labels, class_weight={0: 2.0}, verbose=0)


@pytest.mark.parametrize(
    "architecture", ["XLMForSequenceClassification", "XLMForMultipleChoice", *TOKENS]
)
def test_weights_of_classes(architecture: str, models: dict[str, Any]) -> None:
    model = models[architecture]
    batch, labels = tiny_batch(architecture), tiny_labels(architecture)["labels"]
    by_label = np.where(labels == 1, 5.0, np.where(labels == 0, 0.25, 1.0))
    together = {**batch, "labels": labels}
    expected = model.evaluate(together, sample_weight=by_label, batch_size=4, verbose=0)
    assert abs(expected - float(model(together).loss)) > 1e-3
    options: dict[str, Any] = {"class_weight": {0: 0.25, 1: 5.0}, "verbose": 0}
    for given in (
        {"x": together, "batch_size": 4},
        {"x": dataset(together, rows=4)},
        {"x": batch, "y": labels, "batch_size": 4},
    ):
        found = model.fit(**given, **options).history["loss"]
        assert_close_to_largest(found, [expected], 1e-6)
    found = model.train_on_batch(together, class_weight={0: 0.25, 1: 5.0})
    assert_close_to_largest(found, expected, 1e-6)
    twice = model.fit(together, sample_weight=np.full(4, 2.0), batch_size=4, **options)
    assert_close_to_largest(twice.history["loss"], [2 * expected], 1e-6)


def test_weights_of_classes_leave_the_next_fit_alone() -> None:
    model = tiny_model("XLMForSequenceClassification", **SILENT)
    model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    together = tiny_batch() | tiny_labels("XLMForSequenceClassification")
    own = float(model(together).loss)
    losses = [
        model.fit(together, class_weight=weights, batch_size=4, verbose=0).history["loss"][0]
        for weights in (None, {0: 3.0, 1: 3.0}, None)
    ]
    assert_close_to_largest(losses, [own, 3 * own, own], 1e-6)


def test_a_loss_of_keras_with_weights_of_classes_of_tokens() -> None:
    model = tiny_model("XLMForTokenClassification", **SILENT)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-100)
    model.compile(keras.optimizers.SGD(0.0), loss=loss, run_eagerly=True)
    batch, labels = tiny_batch(), tiny_labels("XLMForTokenClassification")["labels"]
    weights = np.where(labels == 1, 5.0, 1.0)
    expected = model.evaluate(batch, labels, sample_weight=weights, verbose=0)
    found = model.fit(batch, labels, class_weight={1: 5.0}, batch_size=4, verbose=0)
    assert_close_to_largest(found.history["loss"], [expected], 1e-6)


@pytest.mark.parametrize(
    "architecture",
    [pytest.param(name, marks=[] if name in SOON else [pytest.mark.full]) for name in HEADS],
)
def test_training_with_the_models_own_loss(architecture: str, models: dict[str, Any]) -> None:
    model = tiny_model(architecture, **SILENT)
    fill(model)
    batch, labels = tiny_batch(architecture), tiny_labels(architecture)
    own = float(model(**batch, **labels).loss)
    model.compile("adam", jit_compile=False)
    apart = labels.get("labels", labels)
    history = model.fit(batch, apart, epochs=2, batch_size=4, verbose=0).history
    assert_close_to_largest(history["loss"][0], own, 1e-6)
    assert history["loss"][1] < own


def test_forms_of_features_and_labels(models: dict[str, Any]) -> None:
    batch, spans = tiny_batch(), tiny_labels("XLMForQuestionAnsweringSimple")
    model = models["XLMForQuestionAnsweringSimple"]
    own = float(model(**batch, **spans).loss)
    pair = (spans["start_positions"], spans["end_positions"])
    named = {"start_logits": pair[0], "end_logits": pair[1]}
    for data in ((batch, spans), (batch, pair), (batch, named)):
        found = model.evaluate(tf.data.Dataset.from_tensors(data), verbose=0)
        assert_close_to_largest(found, own, 1e-6)
    classifier = models["XLMForSequenceClassification"]
    labels = tiny_labels("XLMForSequenceClassification")["labels"]
    classifier.transformer.warned_of_langs = True
    alone = classifier({"input_ids": batch["input_ids"]}, labels=labels).loss
    assert_close_to_largest(
        classifier.evaluate(batch["input_ids"], labels, verbose=0), float(alone), 1e-6
    )
    inputs = [batch["input_ids"], batch["attention_mask"], batch["langs"]]
    own = float(classifier(batch, labels=labels).loss)
    for data in ((tuple(inputs), labels), (batch, {"labels": labels})):
        found = classifier.evaluate(tf.data.Dataset.from_tensors(data), verbose=0)
        assert_close_to_largest(found, own, 1e-6)
    encoding: UserDict[str, Any] = UserDict(batch)  # the kind of transformers' BatchEncoding
    logits = results(classifier(batch))
    for given in (encoding, inputs, tuple(inputs)):
        assert_all_close(results(classifier(given)), logits, 1e-6)
    flagged = classifier({**batch, "return_dict": False, "output_attentions": True, "cache": None})
    assert isinstance(flagged, tuple)
    assert_close_to_largest(flagged[0], logits["logits"], 1e-5)
    assert len(classifier([inputs[0], None, inputs[2], *[None] * 7, True]).attentions) == 1
    with pytest.raises(InputError, match="in a dictionary and beside it: return_dict"):
        classifier({**batch, "return_dict": False}, return_dict=True)
    with pytest.raises(InputError, match="there are 50 inputs in a list"):
        classifier([batch["input_ids"]] * 50)
    assert_all_close(dict(classifier.predict(encoding, verbose=0)), logits, 1e-6)
    assert_close_to_largest(classifier.evaluate(encoding, labels, verbose=0), own, 1e-6)


def test_columns_after_rows_in_one_graph(models: dict[str, Any]) -> None:
    """Keras makes one graph of both, in which the weights have no rank."""
    for architecture in ("XLMForSequenceClassification", "XLMForTokenClassification"):
        model, batch, labels = models[architecture], tiny_batch(), tiny_labels(architecture)
        model.compile("sgd", jit_compile=False)
        expected = _expected(model, WEIGHTS)
        for weights in (WEIGHTS, WEIGHTS[:, None], WEIGHTS):
            loss = model.evaluate(batch | labels, sample_weight=weights, verbose=0)
            assert_close_to_largest(loss, expected, 1e-6)


def test_weights_of_the_parts_of_labels(models: dict[str, Any]) -> None:
    model = models["XLMForQuestionAnsweringSimple"]
    batch, labels = tiny_batch(), tiny_labels(model.architecture)
    model.compile("sgd", run_eagerly=True)
    ends = {"start_positions": WEIGHTS, "end_positions": WEIGHTS[::-1]}
    expected = model.evaluate(batch, labels, sample_weight=ends, verbose=0)
    for weights in (ends, tuple(ends.values()), [*ends.values()]):
        loss = model.evaluate(batch | labels, sample_weight=weights, verbose=0)
        assert_close_to_largest(loss, expected, 1e-6)
    alone = models["XLMForSequenceClassification"]
    alone.compile("sgd", run_eagerly=True)
    features = batch | tiny_labels(alone.architecture)
    losses = [
        alone.evaluate(features, sample_weight=weights, verbose=0)
        for weights in (WEIGHTS, {"labels": WEIGHTS}, {"logits": WEIGHTS})
    ]
    assert_close_to_largest(losses, [_expected(alone, WEIGHTS)] * 3, 1e-6)


def test_metrics_of_labels_apart_leave_missing_ones_out() -> None:
    model = tiny_model("XLMForTokenClassification", **SILENT)
    batch, labels = tiny_batch(), tiny_labels("XLMForTokenClassification")["labels"]
    right = model(batch).logits.numpy().argmax(-1) == labels
    expected = right[labels != -100].mean()
    ignoring = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-100)
    for loss in (None, ignoring):
        model.compile("sgd", loss, metrics=["accuracy"], jit_compile=False)
        scores = model.evaluate(batch, labels, verbose=0, return_dict=True)
        assert scores["accuracy"] == pytest.approx(expected)
    weighted = (right * WEIGHTS[:, None])[labels != -100].sum()
    weighted /= (WEIGHTS[:, None] * (labels != -100)).sum()
    model.compile("sgd", weighted_metrics=["accuracy"], run_eagerly=True)
    scores = model.evaluate(batch, labels, sample_weight=WEIGHTS, verbose=0, return_dict=True)
    assert scores["accuracy"] == pytest.approx(weighted)


def test_what_does_not_fit_is_refused_in_our_words(models: dict[str, Any]) -> None:
    batch, labels = tiny_batch(), tiny_labels("XLMForSequenceClassification")["labels"]
    model, together = models["XLMForSequenceClassification"], {**batch, "labels": labels}
    for options, words in (
        ({"sample_weight": np.ones((4, 9))}, r"sample_weight has shape \(4, 9\)"),
        ({"sample_weight": np.ones(3)}, r"shape \(3,\), and there are 4 rows"),
        ({"sample_weight": 2.0}, r"shape \(\), and there are 4 rows"),
        ({"sample_weight": {"start_positions": np.ones(4), "b": np.ones(4)}}, "is a dict"),
        ({"class_weight": [1.0, 2.0]}, "class_weight is a list"),
        ({"class_weight": {"a": 2.0}}, "expected integers"),
        ({"class_weight": {7: 2.0}}, r"names the class 7: expected classes in \[0, 2\)"),
    ):
        with pytest.raises(InputError, match=words):
            model.fit(together, verbose=0, **options)
    with pytest.raises(InputError, match="among the features and apart"):
        model.fit(together, labels, verbose=0)
    spans = models["XLMForQuestionAnsweringSimple"]
    with pytest.raises(InputError, match="labels of spans are a"):
        spans.fit(batch, labels, verbose=0)
    with pytest.raises(InputError, match="class_weight needs labels that are classes"):
        spans.fit({**batch, **tiny_labels(spans.architecture)}, class_weight={0: 1.0}, verbose=0)
    other = tiny_model("XLMForSequenceClassification", **SILENT)
    other.compile("sgd", loss={"logits": "mse"}, run_eagerly=True)
    with pytest.raises(ConfigError, match=r"losses by name \(logits\).*without names"):
        other.fit(batch, labels, verbose=0)


class _Rows:
    """What `prepare_tf_dataset` uses of a dataset of the library `datasets`."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows, self.column_names = rows, list(rows[0])

    def remove_columns(self, names: list[str]) -> _Rows:
        kept = [n for n in self.column_names if n not in names]
        return _Rows([{name: row[name] for name in kept} for row in self.rows])

    def to_tf_dataset(self, columns: Any, label_cols: Any, collate_fn: Any, **_: Any) -> Any:
        batch = collate_fn(self.rows)
        labels = None if label_cols is None else batch[label_cols[0]]
        return tf.data.Dataset.from_tensors(({name: batch[name] for name in columns}, labels))


class _Padding:
    """What `prepare_tf_dataset` uses of a tokenizer."""

    def pad(self, rows: list[dict[str, Any]], return_tensors: str) -> dict[str, Array]:
        longest = max(len(row["input_ids"]) for row in rows)
        return {
            n: np.array([row[n] + [0] * (longest - len(row[n])) for row in rows]) for n in rows[0]
        }


def test_datasets_of_the_library_of_that_name(models: dict[str, Any]) -> None:
    model = models["XLMForTokenClassification"]
    rows = [
        {
            "text": "a",
            "input_ids": [6, 7],
            "langs": [1, 1],
            "attention_mask": [1, 1],
            "label": [0, 1],
        },
        {"text": "b", "input_ids": [8], "langs": [2], "attention_mask": [1], "label": [1]},
    ]
    data = model.prepare_tf_dataset(_Rows(rows), tokenizer=_Padding())
    x, y = next(iter(data))
    assert set(x) == {"input_ids", "langs", "attention_mask"}
    assert y.numpy().tolist() == [[0, 1], [1, -100]]
    assert_close_to_largest(
        model.evaluate(data, verbose=0), float(model({**x, "labels": y}).loss), 1e-6
    )
    for given, words in (
        (_Rows(rows), "rows of input_ids have the shapes"),
        (_Rows([{"text": "a"}]), "none is an argument of the model"),
        (rows, "dataset is a list: expected a Dataset"),
    ):
        with pytest.raises(InputError, match=words):
            model.prepare_tf_dataset(given)
