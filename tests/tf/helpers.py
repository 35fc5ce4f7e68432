"""Tiny models of every head, and batches and labels that fit all of them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.support.cases import Array, random_weights
from tests.support.parity import as_array
from tests.support.tf_internals import array_of, set_tensor
from tests.support.torch_reference import flatten
from xlm_core import XLMConfig
from xlm_core.weights import ARCHITECTURES
from xlm_tf import MODEL_CLASSES

HEADS = tuple(name for name in ARCHITECTURES if name != "XLMModel")
CHOICES = 3
PLAIN = {"num_labels": 2, "problem_type": None, "asm": False}
FLAGS = {"output_hidden_states": True, "output_attentions": True}
ADAPTIVE = {"asm": True, "asm_cutoffs": [10, 30], "asm_div_value": 2.0}


def tiny_config(**values: Any) -> XLMConfig:
    """vocabulary 50, width 12, layers 2, heads 3 of width 4, languages 4, positions 20."""
    sizes = {
        "vocab_size": 50,
        "emb_dim": 12,
        "n_layers": 2,
        "n_heads": 3,
        "n_langs": 4,
        "max_position_embeddings": 20,
        "num_labels": 2,
        "start_n_top": 2,
        "end_n_top": 3,
        "init_std": 0.3,
        "embed_init_std": 1.0,
    }
    return XLMConfig(**{**sizes, **values})


def tiny_model(architecture: str = "XLMModel", *, dtype: Any = "float32", **values: Any) -> Any:
    """A model whose biases and norms are random too: zeros and ones would hide errors."""
    config = tiny_config(**values)
    model = MODEL_CLASSES[architecture](config, dtype=dtype, initialize=False)
    fill(model)
    return model


def fill(model: Any, seed: int = 0) -> None:
    """Give a model random weights."""
    weights = random_weights(model.config, model.architecture, np.random.default_rng(seed))
    for spec in model.tensor_specs():
        if spec.tied_to is None:
            set_tensor(model, spec, weights[spec.path])


def tiny_batch(
    architecture: str = "XLMModel", rows: int = 4, sequence: int = 9, int_type: str = "int64"
) -> dict[str, Array]:
    """input_ids, attention_mask and langs; the first row padded right, the second left."""
    rng = np.random.default_rng(rows)
    choices = (CHOICES,) if architecture == "XLMForMultipleChoice" else ()
    mask = np.ones((rows, *choices, sequence), int_type)
    mask[0, ..., sequence - 3 :] = 0
    mask[1 % rows, ..., :2] = 0
    ids = np.where(mask == 1, rng.integers(6, 50, mask.shape), 2)
    langs = rng.integers(0, 4, mask.shape)
    batch = {"input_ids": ids, "attention_mask": mask, "langs": langs}
    return {name: array.astype(int_type) for name, array in batch.items()}


def tiny_labels(architecture: str, rows: int = 4, sequence: int = 9) -> dict[str, Array]:
    """What asks the head for a loss, integers; nothing for `XLMModel`."""
    rng = np.random.default_rng(rows + 100)
    spans = {
        "start_positions": rng.integers(0, sequence - 4, rows),
        "end_positions": rng.integers(2, sequence - 3, rows),
    }
    if architecture == "XLMModel":
        return {}
    if architecture in ("XLMWithLMHeadModel", "XLMForTokenClassification"):
        classes = 50 if architecture == "XLMWithLMHeadModel" else 2
        labels = rng.integers(0, classes, (rows, sequence))
        labels[:, ::3] = -100
        return {"labels": labels}
    if architecture == "XLMForQuestionAnsweringSimple":
        return spans
    if architecture == "XLMForQuestionAnswering":
        return {
            **spans,
            "cls_index": np.zeros(rows, np.int64),
            "is_impossible": np.arange(rows) % 2,
        }
    classes = CHOICES if architecture == "XLMForMultipleChoice" else 2
    return {"labels": rng.integers(0, classes, rows)}


def tensors(arrays: dict[str, Array], dtype: str | None = None) -> dict[str, tf.Tensor]:
    """The arrays as tensors, in `dtype` if given."""
    return {name: tf.constant(array, dtype) for name, array in arrays.items()}


def results(output: Any) -> dict[str, Array]:
    """A model's output, flat, as arrays: name -> array."""
    return {name: as_array(value) for name, value in flatten(dict(output)).items()}


def states(model: Any) -> dict[str, Array]:
    """Path of the weight table -> array, in PyTorch's orientation."""
    return {s.path: array_of(model, s) for s in model.tensor_specs() if s.tied_to is None}


def dataset(features: Any, *rest: Any, rows: int = 2) -> tf.data.Dataset:
    """A tf.data pipeline of (features, ...) in batches of `rows`."""
    slices = (features, *rest) if rest else features
    return tf.data.Dataset.from_tensor_slices(slices).batch(rows)


def fixed_seed(model: Any, value: int = 5) -> None:
    """Put the model's dropout generator into a fixed state."""
    state = model.encoder().seed_generator.state
    state.assign(keras.ops.convert_to_tensor([value, 0], state.dtype))
