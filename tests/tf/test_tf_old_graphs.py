"""Changes through the encoder: graphs that Keras made before, with old variables, are dropped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.support.parity import assert_close_to_largest
from tests.tf.helpers import results, tiny_batch, tiny_labels, tiny_model
from xlm_core import ConfigError
from xlm_tf import quantize

ARCHITECTURE = "XLMForSequenceClassification"
CHANGES: dict[str, Callable[[Any], Any]] = {
    "resized": lambda model: model.transformer.resize_token_embeddings(61),
    "pruned": lambda model: model.transformer.prune_heads({0: [1]}),
    "pruned whole": lambda model: model.prune_heads({1: [0]}),
    "int8": lambda model: quantize(model.transformer),
}


@pytest.fixture(scope="module")
def model() -> Any:
    made = tiny_model(ARCHITECTURE)
    for variable in made.variables:  # far from what pruning leaves alike
        variable.assign(np.asarray(variable) * 3)
    made.compile("sgd", jit_compile=False)
    return made


@pytest.mark.parametrize("change", CHANGES)
def test_predictions_follow(model: Any, change: str) -> None:
    """In this order: int8 comes last, since there is no way back."""
    batch = tiny_batch()
    before = model.predict(batch, verbose=0)["logits"]
    CHANGES[change](model)
    after = model.predict(batch, verbose=0)["logits"]
    assert_close_to_largest(after, results(model(batch))["logits"], 1e-5)
    assert change == "resized" or np.abs(after - before).max() > 1e-4


def test_training_goes_on_after_another_compile() -> None:
    model = tiny_model(ARCHITECTURE)
    features = tiny_batch() | tiny_labels(ARCHITECTURE)
    model.compile("sgd", jit_compile=False)
    model.train_on_batch(features)
    model.transformer.prune_heads({0: [1]})
    with pytest.raises(ConfigError, match="Compile the model again"):
        model.fit(features, verbose=0)
    model.compile("sgd", jit_compile=False)
    before = np.asarray(model.transformer.attentions[0].q_lin.kernel)
    model.train_on_batch(features)
    assert np.abs(np.asarray(model.transformer.attentions[0].q_lin.kernel) - before).max() > 0


def test_averages_go_to_their_own_variables() -> None:
    """Keras puts them back by place, which are others once a layer is frozen."""
    model = tiny_model(ARCHITECTURE)
    features = tiny_batch() | tiny_labels(ARCHITECTURE)
    optimizer = keras.optimizers.SGD(0.1, use_ema=True)
    model.compile(optimizer, jit_compile=False)
    model.fit(features, verbose=0)
    model.transformer.attentions[0].trainable = False
    model.compile(optimizer, jit_compile=False)
    with pytest.raises(ConfigError, match=r"keeps averages \(use_ema\)"):
        model.fit(features, verbose=0)


def test_an_output_that_was_left_behind_is_not_saved(tmp_path: Path) -> None:
    model = tiny_model("XLMWithLMHeadModel")
    model.transformer.resize_token_embeddings(61)
    for save in (
        lambda: model.save(tmp_path / "a.keras"),
        lambda: model.save_weights(tmp_path / "a.weights.h5"),
        lambda: model.export(tmp_path / "a", verbose=False),
    ):
        with pytest.raises(ConfigError, match=r"call resize_token_embeddings\(61\)"):
            save()
    assert not list(tmp_path.iterdir())
    model.resize_token_embeddings(61)
    model.save(tmp_path / "a.keras")
