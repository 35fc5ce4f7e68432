"""Datasets of the library `datasets` as pipelines of TensorFlow."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from xlm_core.errors import InputError
from xlm_tf.losses import IGNORED

_LABELS = ("labels", "start_positions", "end_positions")
# What datasets call labels, and collators of transformers rename.
_OTHER_NAMES = {"label": "labels", "label_ids": "labels"}


def prepare_tf_dataset(
    call: Callable[..., Any],
    dataset: Any,
    *,
    batch_size: int,
    shuffle: bool,
    tokenizer: Any,
    collate_fn: Callable[..., Any] | None,
    collate_fn_args: dict[str, Any] | None,
    drop_remainder: bool | None,
    prefetch: bool,
) -> tf.data.Dataset:
    """A pipeline of what `call` takes; arguments as in `KerasModel.prepare_tf_dataset`.

    Raises:
        InputError: If `dataset` is of another library, or has none of the columns.
    """
    if not hasattr(dataset, "to_tf_dataset"):
        raise InputError(
            f"dataset is a {type(dataset).__name__}: expected a Dataset of the library `datasets`, "
            "with to_tf_dataset. For arrays, tf.data.Dataset.from_tensor_slices does it."
        )
    known = set(inspect.signature(call).parameters)
    columns = [name for name in dataset.column_names if _OTHER_NAMES.get(name, name) in known]
    if not columns:
        raise InputError(
            f"the dataset has the columns {', '.join(dataset.column_names)}: none is an argument "
            "of the model."
        )
    unwanted = [name for name in dataset.column_names if name not in columns]
    names = [_OTHER_NAMES.get(name, name) for name in columns]
    pipeline: tf.data.Dataset = dataset.remove_columns(unwanted).to_tf_dataset(
        columns=[name for name in names if name not in _LABELS],
        label_cols=[name for name in names if name in _LABELS] or None,
        batch_size=batch_size,
        shuffle=shuffle,
        drop_remainder=shuffle if drop_remainder is None else drop_remainder,
        collate_fn=collate_fn or _Collator(tokenizer),
        collate_fn_args=collate_fn_args,
        prefetch=prefetch,
    )
    return pipeline


class _Collator:
    """Makes a batch of arrays of a list of rows."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        renamed = [{_OTHER_NAMES.get(name, name): x for name, x in row.items()} for row in rows]
        labels = {
            name: [row.pop(name) for row in renamed] for name in _LABELS if name in renamed[0]
        }
        if self.tokenizer is None:
            batch = {name: _stacked(name, [row[name] for row in renamed]) for name in renamed[0]}
        else:
            batch = dict(self.tokenizer.pad(renamed, return_tensors="np"))
        length = np.shape(batch["input_ids"])[-1] if "input_ids" in batch else 0
        for name, values in labels.items():
            if self.tokenizer is not None and np.ndim(values[0]) == 1:  # of tokens
                values = [[*value, *[IGNORED] * (length - len(value))] for value in values]
            batch[name] = _stacked(name, values)
        return batch


def _stacked(name: str, values: list[Any]) -> np.ndarray[Any, Any]:
    shapes = {np.shape(value) for value in values}
    if len(shapes) > 1:
        raise InputError(
            f"rows of {name} have the shapes {', '.join(map(str, sorted(shapes)))}: give "
            "tokenizer= to pad them, or a collate_fn of your own."
        )
    return np.stack([np.asarray(value) for value in values])
