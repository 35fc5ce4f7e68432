"""Checks of what a model is called with; rules and texts are `xlm_core.inputs`'.

Shapes, dtypes and names are checked on every call. Values are checked when running eagerly on a
CPU; elsewhere the check would wait for the device, so there it is only made where the model's
`check_values` is True. Nothing here is traced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from xlm_core import inputs as rules
from xlm_core.errors import InputError, warn

if TYPE_CHECKING:
    from xlm_tf.pretrained import TFXLMPreTrainedModel


def describe(name: str, tensor: Any) -> rules.TensorInfo:
    """Shape and kind of dtype.

    Raises:
        InputError: If it is no tensor.
    """
    if not tf.is_tensor(tensor) or isinstance(tensor, (tf.RaggedTensor, tf.SparseTensor)):
        raise InputError(
            f"{name} is a {type(tensor).__name__}: expected a tf.Tensor or a numpy array."
        )
    if tensor.shape.rank is None:
        raise InputError(f"{name} has an unknown number of dimensions: give it a shape.")
    kind: rules.DtypeKind = "integer"
    if tensor.dtype == tf.bool:
        kind = "bool"
    elif tensor.dtype.is_floating:
        kind = "float"
    elif tensor.dtype.is_complex:
        kind = "complex"
    return rules.TensorInfo(tuple(tensor.shape), kind)


def values_are_visible(model: TFXLMPreTrainedModel, tensor: tf.Tensor) -> bool:
    """Whether the values of `tensor` may be looked at in this call."""
    if not tf.executing_eagerly() or not hasattr(tensor, "numpy"):
        return False
    if model.check_values is None:
        return "CPU" in tensor.device
    return model.check_values


def check_inputs(
    model: TFXLMPreTrainedModel, tensors: Mapping[str, tf.Tensor | None], cached: int | None
) -> tuple[int | None, int | None]:
    """Check the tensors of a call of `TFXLMModel`, by argument name; None is not given.

    Returns:
        (batch, sequence), None where unknown.
    """
    config = model.config
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    batch, sequence = rules.check_call(
        config, {n: describe(n, t) for n, t in given.items()}, cached
    )

    visible = {name: t for name, t in given.items() if values_are_visible(model, t)}
    for name, (limit, rule) in rules.value_limits(config, sequence or 0).items():
        if name in visible:
            _check_range(name, visible[name], limit, rule)
    if "attention_mask" in visible:
        check_flags("attention_mask", visible["attention_mask"])
    if config.has_lang_embeddings and "langs" not in given and not model.warned_of_langs:
        first = next(iter(given.values()))
        if values_are_visible(model, first):
            model.warned_of_langs = True
            warn(rules.LANGS_MISSING)
    types = None if model.warned_of_token_types else visible.get("token_type_ids")
    if types is not None and int(types.numpy().max()) <= rules.LARGEST_TOKEN_TYPE:
        model.warned_of_token_types = True
        warn(rules.TYPES_GIVEN)
    return batch, sequence


def check_source(
    model: TFXLMPreTrainedModel,
    hidden: tf.Tensor | None,
    mask: tf.Tensor | None,
    batch: int | None = None,
) -> None:
    """Check what a decoder attends to.

    Args:
        model: The decoder.
        hidden, mask: Its arguments encoder_hidden_states and encoder_attention_mask.
        batch: Number of targets, where known.

    Raises:
        InputError: If they do not fit, or a source is empty.
    """
    names = ("encoder_hidden_states", "encoder_attention_mask")
    given = zip(names, (hidden, mask), strict=True)
    infos = [None if tensor is None else describe(name, tensor) for name, tensor in given]
    rules.check_source(model.config, infos[0], infos[1], batch)
    if mask is not None and values_are_visible(model, mask):
        check_flags("encoder_attention_mask", mask)
        tokens = tf.reduce_any(tf.cast(mask, tf.bool), axis=1).numpy()
        if not tokens.all():
            rules.refuse_empty_source(int(tokens.argmin()))


def check_requests(
    model: TFXLMPreTrainedModel,
    new: int | None,
    output_positions: tf.Tensor | int | None,
    embedding_matrix: tf.Tensor | None,
) -> None:
    """Check what a head asks of the encoder besides, see `TFXLMModel.call`.

    Args:
        model: The encoder.
        new: Positions of this call that are not cached, where known.
        output_positions, embedding_matrix: What is asked; None: nothing.

    Raises:
        InputError: If they do not fit.
    """
    config = model.config
    if output_positions is not None:
        info = (
            describe("output_positions", output_positions)
            if tf.is_tensor(output_positions)
            else None
        )
        rules.check_output_positions(output_positions, info, new)
    if embedding_matrix is not None:
        info = describe("embedding_matrix", embedding_matrix)
        shape = (config.vocab_size, config.emb_dim)
        rules.check_tensor("embedding_matrix", info, shape, "(vocabulary, hidden)", ("float",))


def as_index(tensor: tf.Tensor | None) -> tf.Tensor | None:
    """An integer tensor in a width that look-ups take."""
    if tensor is None or tensor.dtype in (tf.int64, tf.int32):
        return tensor
    return tf.cast(tensor, tf.int64)


def _check_range(name: str, tensor: tf.Tensor, limit: int, rule: str) -> None:
    if tensor.shape.num_elements():
        wide = tf.cast(tensor, tf.float64 if tensor.dtype.is_floating else tf.int64)
        smallest, largest = wide.numpy().min(), wide.numpy().max()
        rules.check_range(name, smallest.item(), largest.item(), limit, rule)


def check_flags(name: str, tensor: tf.Tensor) -> None:
    """Raise `InputError` unless all values are 0 or 1."""
    if tensor.dtype != tf.bool and bool(tf.reduce_any((tensor != 0) & (tensor != 1))):
        rules.refuse_fractions(name)


def check_labels(
    model: TFXLMPreTrainedModel,
    name: str,
    labels: tf.Tensor,
    shape: tuple[int | None, ...],
    axes: str,
    *,
    limit: int | None = None,
    rule: str = "",
    ignored: int | None = -100,
    kinds: tuple[rules.DtypeKind, ...] = ("integer",),
) -> tf.Tensor:
    """Check labels of a head, and return them in `shape`.

    Args:
        model: For its `check_values`.
        name: The argument's.
        labels: A trailing dimension of 1 beyond `shape` is accepted and removed.
        shape, axes: What is expected, and its axes in words.
        limit, rule: Values must be in [0, limit - 1], which `rule` says in words; None: any.
        ignored: A value that stands for no label, or None.
        kinds: Kinds of dtype that are accepted.

    Raises:
        InputError: If they do not fit.
    """
    info = describe(name, labels)
    if len(info.shape) == len(shape) + 1 and info.shape[-1] == 1:
        labels = tf.squeeze(labels, axis=-1)
        info = rules.TensorInfo(info.shape[:-1], info.kind)
    rules.check_tensor(name, info, shape, axes, kinds)
    if info.kind == "integer":
        labels = as_index(labels)
    if limit is not None and values_are_visible(model, labels):
        real = labels if ignored is None else tf.boolean_mask(labels, labels != ignored)
        _check_range(name, real, limit, rule)
    return labels
