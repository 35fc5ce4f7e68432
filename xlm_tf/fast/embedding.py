"""The matrix that is both the word embeddings and the output, and its one gradient."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from xlm_tf.fast.rule import are_unmodified, code_of
from xlm_tf.layers import Embedding
from xlm_tf.losses import at_least_float32

_EMBEDDING = code_of(Embedding)


def share(weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The matrix as two that share one gradient: for the output, and for the look-up.

    A vocabulary's gradient is as large as the embeddings. By itself, TensorFlow makes one for the
    look-up and one for the output, both dense, and adds them; here the few rows that were looked
    up are added to the output's.

    Args:
        weight: float, shape (vocabulary, hidden).

    Returns:
        Twice the matrix: what the output multiplies by, and the `matrix` of `embedding`.
    """
    output, looked_up = _shared(weight)
    return output, looked_up


def embedding(layer: Any, ids: tf.Tensor, matrix: tf.Tensor | None = None) -> tf.Tensor:
    """layer(ids).

    Args:
        layer: An embedding, or whatever was put in its place.
        ids: integer, shape (...).
        matrix: float, shape (rows, width): the layer's matrix under another name, from `share`.

    Returns:
        float, shape (..., width).
    """
    if matrix is not None and are_unmodified((layer,), _EMBEDDING):
        return layer(ids, table=matrix)
    return layer(ids)


@tf.custom_gradient
def _shared(weight: tf.Tensor) -> Any:
    """A matrix as two; the gradient of the second may be sparse."""

    def gradient(of_output: tf.Tensor, of_rows: Any) -> tf.Tensor:
        if isinstance(of_rows, tf.IndexedSlices):
            # A row of many tokens is a sum of as many, of which a half type would lose most.
            wide, rows = at_least_float32(of_output), at_least_float32(of_rows.values)
            summed = add_rows(wide, of_rows.indices[:, None], rows)
            return tf.cast(summed, of_output.dtype)
        return of_output + of_rows

    return (tf.identity(weight), tf.identity(weight)), gradient


def add_rows(matrix: tf.Tensor, indices: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """`tf.tensor_scatter_nd_add`, in the matrix's own memory where nothing else holds it.

    That one copies the matrix always, 800 MB at 200,000 words (measured).
    """
    return tf.raw_ops.ScatterNdNonAliasingAdd(input=matrix, indices=indices, updates=rows)
