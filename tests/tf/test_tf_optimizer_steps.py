"""A step of training is that of the formulas: what Keras' optimizers make of our gradients."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import xlm_tf
from tests.support.parity import assert_all_close
from tests.support.tf_fast_paths import compile_every_width, plainly, small_batch, small_model
from tests.tf.helpers import states

BATCH = small_batch(labels=True)
UNTIED = {"tie_word_embeddings": False}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "tied": ("XLMWithLMHeadModel", {}),
    "untied": ("XLMWithLMHeadModel", UNTIED),
    "classifier": ("XLMForSequenceClassification", {}),
    "tagger": ("XLMForTokenClassification", {}),
}
OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "ours": lambda: xlm_tf.AdamW(0.01, weight_decay=0.1),
    "AdamW": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
    "RMSprop": lambda: keras.optimizers.RMSprop(0.01),
    "clipped values": lambda: keras.optimizers.SGD(0.1, clipvalue=1e-3),
    "clipped norms": lambda: keras.optimizers.SGD(0.1, clipnorm=1e-2),
}


@pytest.fixture(autouse=True)
def _every_width(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_every_width(monkeypatch)


def _batch(name: str) -> dict[str, Any]:
    if name == "classifier":
        return {**BATCH, "labels": np.array([0, 1, 1, 0, 1])}
    if name == "tagger":
        return {**BATCH, "labels": np.where(BATCH["labels"] == -100, -100, BATCH["labels"] % 2)}
    return BATCH


def _cases() -> Iterator[Any]:
    """Every optimizer on the model that has both kinds of shared rows, ours on each model.

    The formulas alone have the gradients of TensorFlow itself: one optimizer is enough there.
    """
    for name, optimizer, plain in itertools.product(MODELS, OPTIMIZERS, (False, True)):
        soon = optimizer == "ours" or (name == "tied" and not plain)
        marks = [] if soon else [pytest.mark.full]
        yield pytest.param(name, optimizer, plain, id=f"{name}-{optimizer}-{plain}", marks=marks)


@pytest.mark.parametrize(("name", "optimizer", "plain"), [*_cases()])
def test_a_step_is_one_of_dense_gradients(name: str, optimizer: str, plain: bool) -> None:
    """Ids and positions come up several times, so their rows' gradients are sums."""
    architecture, values = MODELS[name]
    batch, made = _batch(name), OPTIMIZERS[optimizer]
    model, reference = (small_model(architecture, n_layers=1, **values) for _ in range(2))
    model.compile(made(), jit_compile=False)
    with plainly(plain):
        model.train_on_batch(batch)
    variables = reference.trainable_variables
    with tf.GradientTape() as tape, plainly(True):
        loss = reference(batch, training=True).loss
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    step = made()
    step.build(variables)
    step.apply([tf.convert_to_tensor(gradient) for gradient in gradients], variables)
    found, expected = (
        # Of the others, the gradient is 0 up to rounding, which these optimizers make steps of.
        {key: value for key, value in states(each).items() if "k_lin.bias" not in key}
        for each in (model, reference)
    )
    assert found
    assert_all_close(found, expected, 1e-9)
