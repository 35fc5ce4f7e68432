"""The seam to xlm_tf's internals: only this file of the tests imports or patches what is private.

Every helper is named for what a test wants of the fast paths, in the words of the library, so that
code that moves changes nothing but this file.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import pytest
import tensorflow as tf

import xlm_tf.model
from tests.support.cases import Array
from xlm_core.weights import TensorSpec
from xlm_tf import language_model, losses, optimizers
from xlm_tf.fast import graphs as kernels
from xlm_tf.fast import unpadding as padding
from xlm_tf.fast.graphs import are_traced, linear, tracing
from xlm_tf.fast.unpadding import Rows as Unpadding
from xlm_tf.fast.unpadding import gather_rows
from xlm_tf.losses import linear_cross_entropy, may_keep_logits

__all__ = [
    "Unpadding",
    "are_traced",
    "gather_rows",
    "linear",
    "linear_cross_entropy",
    "may_keep_logits",
    "tracing",
]

# -- tensors of a model ----------------------------------------------------------------------------


def set_tensor(model: Any, spec: TensorSpec, array: Array) -> None:
    """Assign a tensor of the weight table, in PyTorch's orientation."""
    model._set_variable(spec, array)


def array_of(model: Any, spec: TensorSpec) -> Array:
    """A tensor of the weight table, in PyTorch's orientation."""
    array: Array = model._array_of(spec)
    return array


def owned_specs(model: Any) -> list[TensorSpec]:
    """The tensors that are not tied to another."""
    specs: list[TensorSpec] = model._owned_specs()
    return specs


# -- graphs of eager calls -------------------------------------------------------------------------


def smallest_graph_width(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Let models from this width on run their eager calls as graphs."""
    monkeypatch.setattr(kernels, "SMALLEST_WIDTH", width)


def graphs_of(model: Any) -> list[Any]:
    """The graphs of eager calls of `model`, without those of parts of it."""
    return list(kernels._GRAPHS.get(model, {}).values())


def forget_all_graphs() -> None:
    """Drop the graphs of every model."""
    kernels._GRAPHS.clear()


# -- which tokens are computed ---------------------------------------------------------------------


def note_unpadding(monkeypatch: pytest.MonkeyPatch) -> list[Unpadding]:
    """What is decided to compute of each batch: once for each graph, or each call without one."""
    found: list[Unpadding] = []
    decide = padding.rows_of

    def noted(*arguments: Any, **options: Any) -> Unpadding:
        found.append(decide(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(xlm_tf.model, "rows_of", noted)
    return found


def unpadding_of(mask: Array, *, static: bool = False, causal: bool = False) -> Unpadding:
    """What is decided for a mask; `static`: as where shapes must not depend on values."""
    if not static:
        return padding.rows_of(tf.constant(mask), causal=causal)
    with tracing():
        return padding.rows_of(tf.constant(mask), causal=causal)


def whole_batch(mask: Array, *, causal: bool = False) -> Unpadding:
    """Every position is computed, in the shape of the batch."""
    return padding.all_rows(tf.constant(mask), causal=causal)


def flattened(unpadding: Unpadding) -> Unpadding:
    """The same positions, as rows of one matrix."""
    return replace(unpadding, flat=True)


def computed_tokens(unpadding: Unpadding) -> tf.Tensor | None:
    """Where in the flattened batch the computed tokens are; None: every position is computed."""
    return unpadding.places


def is_flat(unpadding: Unpadding) -> bool:
    """Whether positions are rows of one matrix."""
    return unpadding.flat


def computes_everything(unpadding: Unpadding) -> bool:
    """Whether nothing is left out, and nothing prepares to put it back."""
    return unpadding.places is unpadding.slots is unpadding.back is None


def unpad(unpadding: Unpadding, x: tf.Tensor) -> tf.Tensor:
    """(batch, new, ...) to what is computed."""
    return unpadding.pack(x)


def unpad_positions(unpadding: Unpadding, ids: tf.Tensor) -> tf.Tensor:
    """One number for each position, shape (new,), to what is computed."""
    return unpadding.of_positions(ids)


def pad(unpadding: Unpadding, x: tf.Tensor) -> tf.Tensor:
    """What is computed to (batch, new, ...), zeros elsewhere."""
    return unpadding.unpack(x)


def mask_padding(unpadding: Unpadding, x: tf.Tensor) -> tf.Tensor:
    """Zeros where there is padding among what is computed."""
    return unpadding.mask(x)


def attend(
    unpadding: Unpadding, query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, *, n_heads: int
) -> tf.Tensor:
    """Attention within each sentence, over computed tokens, without dropout."""
    return unpadding.attend(query, key, value, n_heads, 0.0, None)


WRONG_UNPADDING: dict[str, Callable[[Unpadding], Unpadding]] = {
    "a token is taken from its neighbour": lambda u: replace(
        u, places=u.places + tf.one_hot(2, u.places.shape[0], dtype=tf.int32)
    ),
    "a token stands in another's slot": lambda u: replace(u, back=tf.reverse(u.back, [0])),
    "padding is seen": lambda u: replace(u, visible=tf.ones_like(u.visible)),
    "a sentence begins late": lambda u: replace(
        u, slots=tf.concat([u.slots[:1], tf.maximum(u.slots[1:] - 1, 0)], 0)
    ),
}


def decide_wrongly(monkeypatch: pytest.MonkeyPatch, mutation: str) -> None:
    """Let every decision from here on be one of `WRONG_UNPADDING`."""
    right, wrong = xlm_tf.model.rows_of, WRONG_UNPADDING[mutation]
    monkeypatch.setattr(xlm_tf.model, "rows_of", lambda *a, **o: wrong(right(*a, **o)))


# -- output positions ------------------------------------------------------------------------------


def note_last_layers(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the last layer left positions out: once for each graph, or each call without one."""
    decide, found = padding.last_rows, []

    def noted(*arguments: Any) -> Any:
        result = decide(*arguments)
        found.append(result[0] is not None)
        return result

    monkeypatch.setattr(xlm_tf.model, "last_rows", noted)
    return found


def nothing_is_pending() -> bool:
    """Whether no request from a head to its encoder waits for an answer: no switch holds one."""
    variables = [
        value
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == "xlm_tf"
        for value in vars(module).values()
        if isinstance(value, ContextVar)
    ]
    return bool(variables) and all(isinstance(v.get(), (bool, type(None))) for v in variables)


# -- layers ----------------------------------------------------------------------------------------


def note_fast_layers(monkeypatch: pytest.MonkeyPatch, model: Any) -> list[int]:
    """The index of each layer of an encoder that runs the fast way, each time that it does."""
    calls, layer_of = [], model._fused_layer

    def counted(layer: int, *rest: Any) -> Any:
        calls.append(layer)
        return layer_of(layer, *rest)

    monkeypatch.setattr(model, "_fused_layer", counted)
    return calls


def fused_attention(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    attention_mask: Array | None,
    *,
    rate: float = 0.0,
    seed: tf.Tensor | None = None,
) -> tf.Tensor:
    """softmax(query key^T / sqrt(head_dim)) value, where a bool mask is True, if there is one."""
    additive = None
    if attention_mask is not None:
        additive = tf.where(attention_mask, tf.zeros((), query.dtype), query.dtype.min)
    return kernels.attention(query, key, value, additive, rate=rate, seed=seed)


def _without_scale(query: Any, key: Any, value: Any, hidden: Any, **_: Any) -> Any:
    return tf.matmul(tf.nn.softmax(tf.matmul(query, key, transpose_b=True) + hidden), value)


def _without_residual(layer: Any, x: Any, activation: str = "none", residual: Any = None) -> Any:
    return kernels._ACTIVATIONS[activation](layer(x))


WRONG_OPERATIONS: dict[str, tuple[str, Any]] = {
    "scale": ("xlm_tf.fast.unpadding.attention", _without_scale),
    "residual": ("xlm_tf.model.linear", _without_residual),
}


def break_operation(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Let a fast operation leave out the scale of attention, or the residual of linear layers."""
    monkeypatch.setattr(*WRONG_OPERATIONS[missing])


# -- the shared matrix -----------------------------------------------------------------------------


def look_up_shared(
    layer: Any, ids: tf.Tensor, weight: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Embeddings of `ids`, the matrix for the output, and those of a later call without it."""
    with kernels.shared_matrix(weight) as output:
        looked_up = kernels.embedding(layer, ids)
    return looked_up, output, kernels.embedding(layer, ids)


# -- the loss of the vocabulary --------------------------------------------------------------------


def set_logits_limits(monkeypatch: pytest.MonkeyPatch, *, kept: int, part: int) -> None:
    """Bytes of logits that are kept for the backward pass, and that are computed at a time."""
    monkeypatch.setattr(losses, "KEPT_LOGITS", kept)
    monkeypatch.setattr(losses, "CHUNK_OF_LOGITS", part)


def compute_words_at_a_time(
    monkeypatch: pytest.MonkeyPatch, words: int | None, labelled: int
) -> None:
    """So many words at a time, for so many labelled tokens of float64; None: all."""
    if words:
        set_logits_limits(monkeypatch, kept=0, part=words * 8 * labelled)


def note_logits_of_parts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many words each product of the loss has."""
    sizes: list[int] = []
    multiply = losses._logits

    def noted(hidden: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        sizes.append(int(weight.shape[0]))
        return multiply(hidden, weight, bias)

    monkeypatch.setattr(losses, "_logits", noted)
    return sizes


def change_logits_of_parts(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[tf.Tensor], tf.Tensor]
) -> None:
    """Let the loss compute with other logits."""
    right = losses._logits
    monkeypatch.setattr(losses, "_logits", lambda *arguments: change(right(*arguments)))


def note_scored_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows each time a language model computes logits for every position."""
    made: list[int] = []
    layer = language_model.XLMPredLayer
    score = layer.call

    def call(self: Any, *arguments: Any) -> Any:
        made.append(1)
        return score(self, *arguments)

    monkeypatch.setattr(layer, "call", call)
    monkeypatch.setitem(language_model._OWN_LAYERS, layer, call)  # else it would be met
    return made


# -- products of integers --------------------------------------------------------------------------

multiplies_integers = kernels.MULTIPLIES_INTEGERS


def sums_integers_exactly(product: Any = None, monkeypatch: Any = None) -> bool:
    """Whether the machine's product of integers passes its check; or another product."""
    if product is None:
        return bool(kernels._sums_exactly())
    monkeypatch.setattr(kernels, "_scaled_products", lambda: product)
    return bool(kernels._sums_exactly.__wrapped__())


# -- optimizers ------------------------------------------------------------------------------------


def decay_in_parts(monkeypatch: pytest.MonkeyPatch, *, smallest: int, part: int) -> None:
    """Bytes from which on AdamW lets a weight decay in parts, and bytes of a part."""
    monkeypatch.setattr(optimizers, "SMALLEST_IN_PARTS", smallest)
    monkeypatch.setattr(optimizers, "PART", part)


def forget_optimizer_functions() -> None:
    """Let AdamW make its functions anew."""
    optimizers._in_parts.cache_clear()
