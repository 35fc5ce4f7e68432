"""Checks of what a model is called with; rules and texts are `xlm_core.inputs`'.

Shapes, dtypes and names are checked on every call. Values are checked when running eagerly on a
CPU; elsewhere the check would wait for the device, so there it is only made where the model's
`check_values` is True. Nothing here is traced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xlm_core import inputs as rules
from xlm_core.errors import InputError, warn
from xlm_torch.fast.rule import are_traced

if TYPE_CHECKING:
    from xlm_torch.pretrained import XLMPreTrainedModel


def describe(name: str, tensor: Any) -> rules.TensorInfo:
    """Shape and kind of dtype.

    Raises:
        InputError: If it is no tensor.
    """
    if not isinstance(tensor, Tensor):
        raise InputError(f"{name} is a {type(tensor).__name__}: expected a torch.Tensor.")
    kind: rules.DtypeKind = "integer"
    if tensor.dtype == torch.bool:
        kind = "bool"
    elif tensor.is_floating_point():
        kind = "float"
    elif tensor.is_complex():
        kind = "complex"
    return rules.TensorInfo(tuple(tensor.shape), kind)


def values_are_visible(model: XLMPreTrainedModel, tensor: Tensor) -> bool:
    """Whether the values of `tensor` may be looked at in this call."""
    if are_traced(tensor):
        return False
    if model.check_values is None:
        return tensor.device.type == "cpu"
    return model.check_values


def check_inputs(
    model: XLMPreTrainedModel, tensors: Mapping[str, Tensor | None], cached: int | None
) -> tuple[int, int]:
    """Check the tensors of a call of `XLMModel`, by argument name; None is not given.

    Returns:
        (batch, sequence).
    """
    config = model.config
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    shape = rules.check_call(config, {n: describe(n, t) for n, t in given.items()}, cached)
    batch, sequence = shape
    assert batch is not None and sequence is not None

    visible = {name: t for name, t in given.items() if values_are_visible(model, t)}
    for name, (limit, rule) in rules.value_limits(config, sequence).items():
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
    if types is not None and int(types.max()) <= rules.LARGEST_TOKEN_TYPE:
        model.warned_of_token_types = True
        warn(rules.TYPES_GIVEN)
    return batch, sequence


def check_source(
    model: XLMPreTrainedModel,
    hidden: Tensor | None,
    mask: Tensor | None,
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
        tokens = (mask != 0).any(1)
        if not bool(tokens.all()):
            rules.refuse_empty_source(int((~tokens).nonzero()[0]))


def check_requests(
    model: XLMPreTrainedModel,
    new: int | None,
    output_positions: Tensor | int | None,
    embedding_matrix: Tensor | None,
) -> None:
    """Check what a head asks of the encoder besides, see `XLMModel.forward`.

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
            if isinstance(output_positions, Tensor)
            else None
        )
        rules.check_output_positions(output_positions, info, new)
    if embedding_matrix is not None:
        info = describe("embedding_matrix", embedding_matrix)
        shape = (config.vocab_size, config.emb_dim)
        rules.check_tensor("embedding_matrix", info, shape, "(vocabulary, hidden)", ("float",))


def as_index(tensor: Tensor) -> Tensor:
    """An integer tensor in a width that look-ups take."""
    if tensor.dtype in (torch.int64, torch.int32):
        return tensor
    return tensor.long()


def _check_range(name: str, tensor: Tensor, limit: int, rule: str) -> None:
    if tensor.numel():
        wide = tensor if tensor.is_floating_point() else tensor.long()
        smallest, largest = (bound.item() for bound in torch.aminmax(wide.detach()))
        rules.check_range(name, smallest, largest, limit, rule)


def check_flags(name: str, tensor: Tensor) -> None:
    """Raise `InputError` unless all values are 0 or 1."""
    if tensor.dtype != torch.bool and bool(((tensor != 0) & (tensor != 1)).any()):
        rules.refuse_fractions(name)


def check_labels(
    model: XLMPreTrainedModel,
    name: str,
    labels: Tensor,
    shape: tuple[int, ...],
    axes: str,
    *,
    limit: int | None = None,
    rule: str = "",
    ignored: int | None = -100,
    kinds: tuple[rules.DtypeKind, ...] = ("integer",),
) -> Tensor:
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
        labels = labels.squeeze(-1)
        info = rules.TensorInfo(info.shape[:-1], info.kind)
    rules.check_tensor(name, info, shape, axes, kinds)
    if info.kind == "integer":
        labels = as_index(labels)
    if limit is not None and values_are_visible(model, labels):
        real = labels if ignored is None else labels[labels != ignored]
        _check_range(name, real, limit, rule)
    return labels
