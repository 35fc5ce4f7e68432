"""Calls that both families must refuse with the same error class and the same text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch

import xlm_torch
from tests.support.cases import Array
from tests.tf.helpers import tiny_config
from xlm_core import InputError, XLMError
from xlm_tf import MODEL_CLASSES, KeyValueCache

IDS = np.random.default_rng(0).integers(6, 50, (2, 6))
LANGS = np.zeros_like(IDS)
GOOD = {"input_ids": IDS, "langs": LANGS}
VECTOR = np.array([0, 1])
_MODELS: dict[Any, tuple[Any, Any]] = {}


def pair(architecture: str = "XLMModel", **values: Any) -> tuple[Any, Any]:
    """The Keras model and the PyTorch model of one configuration."""
    key = (architecture, *values.items())
    if key not in _MODELS:
        labels = 2 if architecture == "XLMForQuestionAnsweringSimple" else 7
        config = tiny_config(**{"num_labels": labels, **values})
        in_torch = xlm_torch.MODEL_CLASSES[architecture](config).eval()
        _MODELS[key] = MODEL_CLASSES[architecture](config.copy()), in_torch
    return _MODELS[key]


def for_torch(value: Any) -> Any:
    if isinstance(value, KeyValueCache):
        return xlm_torch.KeyValueCache()
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value


def assert_refused_alike(
    models: tuple[Any, Any], arguments: dict[str, Any], error: type[XLMError] = InputError
) -> str:
    """Both families refuse with the same class and text; Keras may add to its end.

    Returns:
        The text.
    """
    model, in_torch = models
    given = {name: value for name, value in arguments.items() if value is not None}
    with pytest.raises(error) as expected:
        in_torch(**{name: for_torch(value) for name, value in given.items()})
    text = str(expected.value)
    if "expected a torch.Tensor" in text:
        text = text.replace("torch.Tensor.", "tf.Tensor or a numpy array.")
    for call in (lambda: model(**given), lambda: model(given)):
        if not all(tf.is_tensor(v) or isinstance(v, np.ndarray) for v in given.values()):
            call = lambda: model(**given)  # noqa: E731  (Keras takes tensors only in a dictionary)
        with pytest.raises(error) as caught:
            call()
        assert type(caught.value) is type(expected.value)
        assert str(caught.value).startswith(text), f"{caught.value}\nexpected: {text}"
    return text


def with_value(array: Array, value: int) -> Array:
    changed = array.copy()
    changed[0, 1] = value
    return changed
