"""The loss of a language model without its logits: labelled rows only, the vocabulary in parts."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

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
    compile_every_width,
    count_graphs,
    outputs_and_gradients,
    plainly,
    small_batch,
    small_model,
    unknown_sizes,
)
from tests.support.tf_internals import (
    change_logits_of_parts,
    compute_words_at_a_time,
    linear_cross_entropy,
    note_logits_of_parts,
    note_scored_calls,
)
from tests.tf.helpers import ADAPTIVE, dataset, tensors
from xlm_core.errors import InputError
from xlm_tf import TFXLMWithLMHeadModel
from xlm_tf.losses import cross_entropy

KINDS = {"tied": {}, "untied": {"tie_word_embeddings": False}, "asm": ADAPTIVE}
EACH = pytest.mark.parametrize("values", KINDS.values(), ids=KINDS)
# 50 words: whole, in parts that do not divide them, in parts of one word.
PARTS = pytest.mark.parametrize("words", [None, 7, 1], ids=["whole", "seven", "one"])
BATCH = small_batch(labels=True)
LABELLED = int((BATCH["labels"] != -100).sum())


def _in_parts(monkeypatch: pytest.MonkeyPatch, words: int | None, labelled: int = LABELLED) -> None:
    """See `compute_words_at_a_time`; by default for the labels of `BATCH`."""
    compute_words_at_a_time(monkeypatch, words, labelled)


def _without_logits(results: dict[str, Array]) -> dict[str, Array]:
    return {name: value for name, value in results.items() if name != "logits"}


@PARTS
@EACH
def test_equals_the_loss_of_all_logits(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], words: int | None
) -> None:
    model = small_model(**values)
    assert int(((BATCH["labels"] != -100) & (MASK == 1)).sum()) < LABELLED  # some are on padding
    expected = outputs_and_gradients(model, BATCH, plain=True)
    _in_parts(monkeypatch, words)
    found = outputs_and_gradients(model, BATCH, output_logits=False)
    assert "logits" not in found
    assert_same_results(found, _without_logits(expected))
    assert_same_results(outputs_and_gradients(model, BATCH), expected)


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        *((kind, where) for kind in KINDS for where in ("as a graph", "in a function")),
        ("tied", "tape outside"),
        ("tied", "xla"),
    ],
)
def test_in_graphs(monkeypatch: pytest.MonkeyPatch, kind: str, where: str) -> None:
    """Where the matrix of tied embeddings gets one gradient of both its uses."""
    model = small_model(n_layers=1, **KINDS[kind])
    expected = outputs_and_gradients(model, BATCH, plain=True)
    _in_parts(monkeypatch, 7)
    options: dict[str, Any] = {}
    if where == "as a graph":
        compile_every_width(monkeypatch)
    elif where == "in a function":
        options["around"] = lambda f: unknown_sizes(f, BATCH)
    elif where == "tape outside":
        options["within"] = lambda f: unknown_sizes(f, BATCH)
    else:
        options["around"] = lambda f: tf.function(f, jit_compile=True)
    found = outputs_and_gradients(model, BATCH, output_logits=False, **options)
    assert_same_results(found, _without_logits(expected))
    assert count_graphs(model) == (where == "as a graph")


# -- which labels ----------------------------------------------------------------------------------


@PARTS
@EACH
def test_labels(monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], words: int | None) -> None:
    model, batch = small_model(n_layers=1, **values), small_batch()
    ids = batch["input_ids"]
    one = np.full_like(ids, -100)
    one[1, 5] = 0  # on padding
    _in_parts(monkeypatch, words, labelled=ids.size)
    for labels in (ids, ids.astype(np.int32), one, np.full_like(ids, 49)):
        given = batch | {"labels": labels}
        expected = _without_logits(outputs_and_gradients(model, given, plain=True))
        found = outputs_and_gradients(model, given, output_logits=False)
        assert_same_results(found, expected)


@pytest.mark.parametrize("output_logits", [False, True])
@PARTS
@EACH
def test_no_label_at_all(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], words: int | None, output_logits: bool
) -> None:
    _in_parts(monkeypatch, words, labelled=1)
    batch = small_batch()
    batch["labels"] = np.full_like(batch["input_ids"], -100)
    model = small_model(n_layers=1, **values)
    found = outputs_and_gradients(model, batch, output_logits=output_logits)
    assert found["loss"] == 0
    gradients = {name: value for name, value in found.items() if "gradient of" in name}
    assert any("embeddings" in name for name in gradients)
    for name, gradient in gradients.items():
        assert_equal(gradient, np.zeros_like(gradient), name)


@pytest.mark.parametrize("wrong", [50, -1, 2**31 - 1])
@PARTS
def test_a_label_outside_the_vocabulary(
    monkeypatch: pytest.MonkeyPatch, words: int | None, wrong: int
) -> None:
    """Refused where values can be seen; in a graph, no plausible number comes of it."""
    _in_parts(monkeypatch, words)
    model, labels = small_model(n_layers=1), BATCH["labels"].copy()
    labels[np.nonzero(labels != -100)[0][0], np.nonzero(labels != -100)[1][0]] = wrong
    given = BATCH | {"labels": labels}
    with pytest.raises(InputError, match="labels"):
        model(given, output_logits=False)
    function = tf.function(lambda given: model(given, output_logits=False).loss)
    assert np.isfinite(function(tensors(BATCH)))
    if words:
        assert np.isnan(function(tensors(given)))
        model.check_values = False
        with tf.GradientTape() as tape:
            loss = model(given, output_logits=False).loss
        kernel = model.transformer.ffns[0].lin1.kernel
        assert np.isnan(loss)
        assert np.isnan(tape.gradient(loss, kernel.value)).all()
    else:
        try:  # by TensorFlow's own kernel, on a CPU; NaN elsewhere
            assert np.isnan(function(tensors(given)))
        except tf.errors.InvalidArgumentError as error:
            assert "outside the valid range" in str(error)


# -- how it is asked for ---------------------------------------------------------------------------


def test_output_logits() -> None:
    model = small_model(n_layers=1)
    assert model(BATCH).logits.shape == (5, 6, 50)
    loss = model(BATCH, output_logits=False, return_dict=False)
    assert len(loss) == 1
    model.output_logits = False
    output = model(BATCH)
    assert output.logits is None
    assert_equal(output.loss, loss[0])
    assert_close_to_largest(model(BATCH, output_logits=True).loss, output.loss, 1e-14)
    assert model(BATCH, output_logits=True).logits.shape == (5, 6, 50)
    unlabelled = small_batch()
    assert model(unlabelled).logits.shape == (5, 6, 50)
    with pytest.raises(InputError, match="no labels"):
        model(unlabelled, output_logits=False)


@pytest.mark.parametrize("metrics", [False, True])
def test_fit_and_evaluate(monkeypatch: pytest.MonkeyPatch, metrics: bool) -> None:
    """Without metrics nobody looks at logits, so there are none; the loss is the same."""
    made = note_scored_calls(monkeypatch)
    model = small_model(n_layers=1)
    expected = float(model(BATCH, output_logits=False).loss)
    assert not made
    wanted = {"weighted_metrics": ["sparse_categorical_accuracy"]} if metrics else {}
    model.compile(optimizer=keras.optimizers.SGD(0.1), **wanted)
    data = dataset(BATCH, rows=5)
    results = model.evaluate(data, verbose=0, return_dict=True)
    assert results.keys() == {"loss", *wanted.get("weighted_metrics", ())}
    assert results["loss"] == pytest.approx(expected, rel=1e-6)
    history = model.fit(data, epochs=2, verbose=0).history
    assert history["loss"][0] == pytest.approx(expected, rel=1e-6)
    assert history["loss"][1] < history["loss"][0]
    assert bool(made) is metrics
    predicted = model.predict(data, verbose=0)
    assert predicted["logits"].shape == (5, 6, 50)
    assert_close_to_largest(predicted["logits"], model(BATCH).logits, 1e-12)


def test_labels_that_are_no_numbers() -> None:
    model = small_model(n_layers=1)
    for output_logits in (True, False):
        with pytest.raises(InputError, match="labels"):
            model({**BATCH, "labels": BATCH["labels"] > 3}, output_logits=output_logits)


def test_a_loss_of_ones_own_finds_logits() -> None:
    class Own(TFXLMWithLMHeadModel):
        def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *_: Any) -> Any:
            return tf.reduce_mean(tf.square(y_pred["logits"]))

    model = Own(small_model(n_layers=1).config)
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    losses_of = model.fit(dataset(BATCH, rows=5), epochs=2, verbose=0).history["loss"]
    assert losses_of[1] < losses_of[0]


# -- what it saves ---------------------------------------------------------------------------------


def test_parts_bound_what_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward and backward, no product of rows and words is larger than a part."""
    sizes = note_logits_of_parts(monkeypatch)
    _in_parts(monkeypatch, 7)
    outputs_and_gradients(small_model(n_layers=1), BATCH, output_logits=False)
    assert sizes == [*[7] * 7, 1] * 2


@pytest.mark.parametrize("mutation", ["a word left out", "the last part left out"])
def test_a_wrong_part_is_seen(monkeypatch: pytest.MonkeyPatch, mutation: str) -> None:
    model = small_model(n_layers=1)
    expected = _without_logits(outputs_and_gradients(model, BATCH, plain=True))
    _in_parts(monkeypatch, 7)
    assert_same_results(outputs_and_gradients(model, BATCH, output_logits=False), expected)

    def wrong(logits: tf.Tensor) -> tf.Tensor:
        if mutation == "a word left out":
            return logits - 50.0 * tf.one_hot(2, logits.shape[1], dtype=logits.dtype)
        return logits - 50.0 * float(logits.shape[1] < 7)

    change_logits_of_parts(monkeypatch, wrong)
    with pytest.raises(AssertionError, match="differs by"):
        assert_same_results(
            outputs_and_gradients(model, BATCH, output_logits=False), expected, 1e-3
        )
    assert as_array(expected["loss"]) > 0


# -- derivatives of derivatives --------------------------------------------------------------------


def _orders(loss: Any, given: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Derivatives of the loss, of what depends on these, and of what depends on those."""
    tapes = [tf.GradientTape() for _ in range(3)]
    with tapes[2], tapes[1], tapes[0]:
        for tape in tapes:
            tape.watch(given)
        objective = loss(**given) ** 2
        found = {}
        for order, tape in enumerate(tapes):
            gradients = tape.gradient(objective, given)
            found |= {f"{name} {order}": gradient for name, gradient in gradients.items()}
            objective = objective + tf.add_n([tf.reduce_sum(g**3) for g in gradients.values()])
    return found


@pytest.mark.parametrize("where", ["eager", "in a function"])
@pytest.mark.parametrize("words", [3, 1])
def test_derivatives_of_the_loss_by_itself(
    monkeypatch: pytest.MonkeyPatch, words: int, where: str
) -> None:
    _in_parts(monkeypatch, words, labelled=4)
    rng = np.random.default_rng(0)
    sizes = {"h": (4, 3), "w": (11, 3), "b": (11,)}
    given = {name: tf.constant(rng.normal(size=size)) for name, size in sizes.items()}
    labels = tf.constant([0, 10, 4, 4])
    found, expected = (
        _orders(loss, given) if where == "eager" else tf.function(_orders)(loss, given)
        for loss in (
            lambda h, w, b: linear_cross_entropy(h, w, b, labels),
            lambda h, w, b: cross_entropy(h @ tf.transpose(w) + b, labels),
        )
    )
    assert_all_close(found, expected, 1e-10)


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        *((kind, "eager") for kind in ("tied", "untied")),
        ("tied", "in a function"),
        *(
            pytest.param(*each, marks=pytest.mark.full)
            for each in (
                ("tied", "as a graph"),
                ("untied", "as a graph"),
                ("untied", "in a function"),
            )
        ),
    ],
)
def test_gradient_penalty(monkeypatch: pytest.MonkeyPatch, kind: str, where: str) -> None:
    if where == "as a graph":
        compile_every_width(monkeypatch)
    _in_parts(monkeypatch, 7)
    model, batch = small_model(n_layers=1, **KINDS[kind]), tensors(BATCH)
    variables = {v.path: v.value for v in model.trainable_variables}

    def penalty() -> dict[str, tf.Tensor]:
        with tf.GradientTape() as second:
            with tf.GradientTape() as first:
                loss = model(batch, output_logits=False).loss
            found = first.gradient(loss, list(variables.values()))
            found = [tf.convert_to_tensor(g) for g in found]
            objective = loss + sum(tf.reduce_sum(g**2) for g in found)
        gradients = second.gradient(objective, variables)
        return {name: tf.convert_to_tensor(g) for name, g in gradients.items()}

    found = (tf.function(penalty) if where == "in a function" else penalty)()
    with plainly(True):
        assert_all_close(found, penalty(), 1e-10, one_scale=True)
