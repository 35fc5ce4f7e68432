"""Training in other surroundings: sizes that change, callbacks, strategies, frozen layers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.cases import Array
from tests.support.parity import assert_close_to_largest
from tests.tf.helpers import dataset, tiny_batch, tiny_labels, tiny_model

SILENT: dict[str, Any] = {
    "n_layers": 1, "dropout": 0.0, "attention_dropout": 0.0, "summary_first_dropout": 0.0,
}  # fmt: skip
# What Keras 3 itself says of every dataset that is given to fit.
FIT: dict[str, Any] = {"verbose": 0, "shuffle": False}


def test_a_short_last_batch_and_other_lengths() -> None:
    model = tiny_model("XLMForTokenClassification", **SILENT)
    model.compile("sgd", jit_compile=False)

    def features() -> Any:
        for rows, sequence in ((2, 9), (2, 6), (1, 7)):
            labels = tiny_labels("XLMForTokenClassification", rows, sequence)
            yield {**tiny_batch(rows=rows, sequence=sequence), **labels}

    signature = {
        name: tf.TensorSpec((None, None), tf.int64)
        for name in ("input_ids", "attention_mask", "langs", "labels")
    }
    data = tf.data.Dataset.from_generator(features, output_signature=signature)
    data = data.apply(tf.data.experimental.assert_cardinality(3))
    assert len(model.fit(data, epochs=2, **FIT).history["loss"]) == 2


def test_the_encoder_alone_with_a_loss_over_its_hidden_states() -> None:
    model, batch = tiny_model(**SILENT), tiny_batch()
    model.compile("sgd", loss="mse", jit_compile=False)
    data = dataset(batch, np.zeros((4, 9, 12), np.float32), rows=4)
    expected = np.mean(model(batch).last_hidden_state.numpy() ** 2)
    assert_close_to_largest(model.evaluate(data, verbose=0), expected, 1e-6)
    model.fit(data, **FIT)


# Keras' own business with numpy 2, in its writer of weights.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_validation_and_a_callback_that_saves(tmp_path: Any) -> None:
    model = tiny_model("XLMForTokenClassification", **SILENT)
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    data = dataset(tiny_batch() | tiny_labels("XLMForTokenClassification"))
    saver = keras.callbacks.ModelCheckpoint(
        str(tmp_path / "best.weights.h5"), monitor="val_loss", save_weights_only=True
    )
    history = model.fit(data, validation_data=data, callbacks=[saver], **FIT).history
    assert history["val_loss"][0] == pytest.approx(model.evaluate(data, verbose=0), rel=1e-6)
    assert (tmp_path / "best.weights.h5").is_file()


def test_a_distribution_strategy() -> None:
    losses = []
    for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0"])):
        with strategy.scope():
            model = tiny_model("XLMForTokenClassification", **SILENT)
            model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
        data = dataset(tiny_batch() | tiny_labels("XLMForTokenClassification"), rows=4)
        losses.append(model.fit(data, epochs=2, **FIT).history["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_frozen_layers_are_not_trained() -> None:
    model = tiny_model("XLMForTokenClassification", **SILENT)
    model.transformer.trainable = False
    kept: Array = model.transformer.attentions[0].q_lin.kernel.numpy()
    head: Array = model.classifier.kernel.numpy()
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    data = dataset({**tiny_batch(), **tiny_labels("XLMForTokenClassification")})
    model.fit(data, epochs=2, **FIT)
    assert np.array_equal(model.transformer.attentions[0].q_lin.kernel.numpy(), kept)
    assert not np.array_equal(model.classifier.kernel.numpy(), head)
