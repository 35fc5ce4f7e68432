"""The seam to xlm_tf's internals: only this file of the tests imports or patches what is private.

Every helper is named for what a test wants of the fast paths, in the words of the library, so that
code that moves changes nothing but this file.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf

import xlm_tf.model
from tests.support.cases import Array
from xlm_core.weights import TensorSpec
from xlm_tf import heads, language_model, optimizers, sequence_summary
from xlm_tf.fast import adam, attention, graphs, integers, path, vocabulary_loss
from xlm_tf.fast import embedding as embeddings
from xlm_tf.fast import layer as layers
from xlm_tf.fast import linear as linears
from xlm_tf.fast.integers import chosen_product as chosen_integer_product
from xlm_tf.fast.integers import integer_feed_forward, integer_linears, is_exact, round_rows
from xlm_tf.fast.integers import rounded_up as compiled_rows
from xlm_tf.fast.linear import linear
from xlm_tf.fast.norm import normalise
from xlm_tf.fast.rule import are_traced, tracing
from xlm_tf.fast.unpadding import Unpadding, choose_unpadding, gather_rows
from xlm_tf.fast.vocabulary_loss import linear_cross_entropy, may_keep_logits
from xlm_tf.model import FormulaPath

__all__ = [
    "Unpadding",
    "are_traced",
    "chosen_integer_product",
    "compiled_rows",
    "gather_rows",
    "integer_feed_forward",
    "integer_linears",
    "is_exact",
    "linear",
    "linear_cross_entropy",
    "may_keep_logits",
    "normalise",
    "round_rows",
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
    monkeypatch.setattr(graphs, "SMALLEST_WIDTH", width)


def graphs_of(model: Any) -> list[Any]:
    """The graphs of eager calls of `model`, without those of parts of it."""
    return list(graphs._GRAPHS.get(model, {}).values())


def forget_all_graphs() -> None:
    """Drop the graphs of every model."""
    graphs._GRAPHS.clear()


# -- which tokens are computed ---------------------------------------------------------------------


def note_unpadding(monkeypatch: pytest.MonkeyPatch) -> list[Unpadding]:
    """What is decided to compute of each batch: once for each graph, or each call without one."""
    found: list[Unpadding] = []

    def noted(*arguments: Any, **options: Any) -> Unpadding:
        found.append(choose_unpadding(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(path, "choose_unpadding", noted)
    return found


def unpadding_of(mask: Array, *, static: bool = False, causal: bool = False) -> Unpadding:
    """What is decided for a mask; `static`: as where shapes must not depend on values."""
    if not static:
        return choose_unpadding(tf.constant(mask), causal=causal)
    with tracing():
        return choose_unpadding(tf.constant(mask), causal=causal)


def whole_batch(mask: Array, *, causal: bool = False) -> FormulaPath:
    """Every position is computed, in the shape of the batch."""
    encoder: Any = SimpleNamespace(config=SimpleNamespace(causal=causal))
    return FormulaPath(encoder, tf.constant(mask), cache=None, cached=0, head_masks=[])


def flattened(whole: FormulaPath) -> Unpadding:
    """The same positions, as rows of one matrix."""
    shape, tokens = whole.tokens.shape[:2], tf.reshape(whole.tokens, (-1, 1))
    return Unpadding(tuple(shape), whole.attention_mask, tokens=tokens)


def computed_tokens(unpadding: Unpadding) -> tf.Tensor | None:
    """Where in the flattened batch the computed tokens are; None: every position is computed."""
    return unpadding.positions


def is_flat(unpadding: Unpadding) -> bool:
    """Whether positions are rows of one matrix."""
    return isinstance(unpadding, Unpadding)


def computes_everything(unpadding: Unpadding) -> bool:
    """Whether nothing is left out, and nothing prepares to put it back."""
    return unpadding.positions is unpadding.aligned is unpadding.back is None


def unpad(unpadding: Unpadding | FormulaPath, x: tf.Tensor) -> tf.Tensor:
    """(batch, new, ...) to what is computed."""
    return unpadding.unpad(x)


def unpad_positions(unpadding: Unpadding, ids: tf.Tensor) -> tf.Tensor:
    """One number for each position, shape (new,), to what is computed."""
    return unpadding.unpad_shared(ids)


def pad(unpadding: Unpadding | FormulaPath, x: tf.Tensor) -> tf.Tensor:
    """What is computed to (batch, new, ...), zeros elsewhere."""
    return unpadding.pad(x)


def mask_padding(unpadding: Unpadding | FormulaPath, x: tf.Tensor) -> tf.Tensor:
    """Zeros where there is padding among what is computed."""
    return unpadding.zero_padding(x)


def attend(
    unpadding: Unpadding, query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, *, n_heads: int
) -> tf.Tensor:
    """Attention within each sentence, over computed tokens, without dropout."""
    return attention.attend_within_sentences(unpadding, query, key, value, n_heads, 0.0, None)


WRONG_UNPADDING: dict[str, Callable[[Unpadding], Unpadding]] = {
    "a token is taken from its neighbour": lambda u: replace(
        u, positions=u.positions + tf.one_hot(2, u.positions.shape[0], dtype=tf.int32)
    ),
    "a token stands in another's slot": lambda u: replace(u, back=tf.reverse(u.back, [0])),
    "padding is seen": lambda u: replace(u, attention_mask=tf.ones_like(u.attention_mask)),
    "a sentence begins late": lambda u: replace(
        u, aligned=tf.concat([u.aligned[:1], tf.maximum(u.aligned[1:] - 1, 0)], 0)
    ),
}


def decide_wrongly(monkeypatch: pytest.MonkeyPatch, mutation: str) -> None:
    """Let every decision from here on be one of `WRONG_UNPADDING`."""
    right, wrong = path.choose_unpadding, WRONG_UNPADDING[mutation]
    monkeypatch.setattr(path, "choose_unpadding", lambda *a, **o: wrong(right(*a, **o)))


# -- output positions ------------------------------------------------------------------------------


def note_last_layers(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the last layer left positions out: once for each graph, or each call without one."""
    decide, found = path.select_last, []

    def noted(*arguments: Any) -> Any:
        result = decide(*arguments)
        found.append(result[0] is not None)
        return result

    monkeypatch.setattr(path, "select_last", noted)
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
    calls, run = [], path.run_layer

    def counted(encoder: Any, index: int, *rest: Any) -> Any:
        if encoder is model:
            calls.append(index)
        return run(encoder, index, *rest)

    monkeypatch.setattr(path, "run_layer", counted)
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
    return attention.fused_attention(query, key, value, attention_mask, rate=rate, seed=seed)


def _without_scale(query: Any, key: Any, value: Any, attention_mask: Any, **_: Any) -> Any:
    scores = tf.matmul(query, key, transpose_b=True)
    return tf.matmul(tf.nn.softmax(tf.where(attention_mask, scores, scores.dtype.min)), value)


def _without_residual(
    layer: Any, x: Any, activation: str = "none", residual: Any = None, *, trained: bool = False
) -> Any:
    return linears._ACTIVATIONS[activation](layer(x))


WRONG_OPERATIONS: dict[str, tuple[Any, str, Any]] = {
    "scale": (attention, "fused_attention", _without_scale),
    "residual": (layers, "linear", _without_residual),
}


def break_operation(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Let a fast operation leave out the scale of attention, or the residual of linear layers."""
    monkeypatch.setattr(*WRONG_OPERATIONS[missing])


# -- the shared matrix -----------------------------------------------------------------------------


def look_up_shared(
    layer: Any, ids: tf.Tensor, weight: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Embeddings of `ids`, the matrix for the output, and those of a later call without it."""
    output, matrix = embeddings.share(weight)
    looked_up = embeddings.embedding(layer, ids, matrix)
    return looked_up, output, embeddings.embedding(layer, ids)


# -- the loss of the vocabulary --------------------------------------------------------------------


def set_logits_limits(monkeypatch: pytest.MonkeyPatch, *, kept: int, part: int) -> None:
    """Bytes of logits that are kept for the backward pass, and that are computed at a time."""
    monkeypatch.setattr(vocabulary_loss, "KEPT_LOGITS", kept)
    monkeypatch.setattr(vocabulary_loss, "PART_OF_LOGITS", part)
    monkeypatch.setattr(vocabulary_loss, "_KEPT_WIDTHS", 0)


def compute_words_at_a_time(
    monkeypatch: pytest.MonkeyPatch, words: int | None, labelled: int
) -> None:
    """So many words at a time, for so many labelled tokens of float64; None: all."""
    monkeypatch.setattr(vocabulary_loss, "_KEPT_WIDTHS", 0)
    if words:
        set_logits_limits(monkeypatch, kept=0, part=words * 8 * labelled)


def note_logits_of_parts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many words each product of the loss has."""
    sizes: list[int] = []
    multiply = vocabulary_loss._logits

    def noted(hidden: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        sizes.append(int(weight.shape[0]))
        return multiply(hidden, weight, bias)

    monkeypatch.setattr(vocabulary_loss, "_logits", noted)
    return sizes


def change_logits_of_parts(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[tf.Tensor], tf.Tensor]
) -> None:
    """Let the loss compute with other logits."""
    right = vocabulary_loss._logits
    monkeypatch.setattr(vocabulary_loss, "_logits", lambda *arguments: change(right(*arguments)))


def note_scored_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows each time a language model computes logits for every position."""
    made: list[int] = []
    layer = language_model.XLMPredLayer
    score = layer.call

    def call(self: Any, *arguments: Any) -> Any:
        made.append(1)
        return score(self, *arguments)

    monkeypatch.setattr(layer, "call", call)
    monkeypatch.setitem(language_model._CODE[layer], "call", call)  # else it would be met
    return made


# -- products of integers --------------------------------------------------------------------------

multiplies_integers = bool(integers._has_vnni())


def integer_products() -> list[integers.IntegerProduct]:
    """All products of integers that are exact on this machine, fast or not."""
    return list(filter(integers.is_exact, integers.available()))


def use_integer_product(
    monkeypatch: pytest.MonkeyPatch, chosen: integers.IntegerProduct | None
) -> None:
    """Multiply integers so, however small the matrix is."""
    monkeypatch.setattr(integers, "chosen_product", lambda compiled=True: chosen)


def multiplies_int8(function: Any, product: integers.IntegerProduct) -> bool:
    """Whether a concrete function multiplies by this product."""
    definition = function.graph.as_graph_def()
    functions = definition.library.function
    if product.compiled:
        return any(each.attr["_XlaMustCompile"].b for each in functions)
    nodes = [*definition.node, *(node for each in functions for node in each.node_def)]
    return any(node.op == "_QuantizedMatMul" for node in nodes)


# -- optimizers ------------------------------------------------------------------------------------


def decay_in_parts(monkeypatch: pytest.MonkeyPatch, *, smallest: int, part: int) -> None:
    """Bytes from which on AdamW lets a weight decay in parts, and bytes of a part."""
    monkeypatch.setattr(optimizers, "SMALLEST_IN_PARTS", smallest)
    monkeypatch.setattr(optimizers, "PART", part)


def compile_every_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let XLA compile the updates of variables of every size."""
    monkeypatch.setattr(adam, "SMALLEST_COMPILED", 0)


def forget_optimizer_functions() -> None:
    """Let AdamW make its functions anew."""
    optimizers._in_parts.cache_clear()


# -- without fast paths ----------------------------------------------------------------------------


def answer_no(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every question whether a fast path serves be answered "no", and none of them run."""

    def fail(*_: Any, **__: Any) -> Any:
        raise AssertionError("a fast path ran")

    monkeypatch.setattr(xlm_tf.model, "fast_path", lambda *_, **__: None)
    for module in (heads, language_model, sequence_summary):
        monkeypatch.setattr(module, "are_unmodified", lambda *_: False)
    for module, name in (
        (layers, "linear"),
        (attention, "fused_attention"),
        (layers, "attend_within_sentences"),
        (path, "choose_unpadding"),
        (embeddings, "_shared"),
        (language_model, "linear_cross_entropy"),
    ):
        monkeypatch.setattr(module, name, fail)
