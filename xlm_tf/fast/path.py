"""The question that a model asks once a call: do the fast paths serve it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import tensorflow as tf

from xlm_tf.attention import MultiHeadAttention
from xlm_tf.cache import CacheBuffers, KeyValueCache
from xlm_tf.fast.layer import Attend, attend_to_cache, attend_to_sentence, run_layer
from xlm_tf.fast.linear import OWN_LINEAR
from xlm_tf.fast.rule import are_unmodified, code_of, have_their_methods
from xlm_tf.fast.unpadding import Unpadding, choose_unpadding, keep_new_positions, select_last
from xlm_tf.feed_forward import TransformerFFN
from xlm_tf.layers import Embedding, LayerNorm

_SUBLAYERS = code_of(MultiHeadAttention, TransformerFFN)
_OTHERS = code_of(Embedding, LayerNorm)


@dataclass(frozen=True)
class FastPath:
    """How one call of an encoder is computed: `FormulaPath`'s methods, by fast operations.

    Attributes:
        encoder: The `TFXLMModel` that is called.
        unpadding: Which tokens of the batch are computed.
        attend: How each layer attends.
        selected: int32, shape (some,): which of these the last layer is computed for; None: all.
        last: The unpadding of what the last layer returns.
    """

    encoder: Any
    unpadding: Unpadding
    attend: Attend
    selected: tf.Tensor | None
    last: Unpadding

    def unpad(self, x: tf.Tensor) -> tf.Tensor:
        """(batch, new, ...), or (new,) for all sentences, to the computed tokens."""
        return self.unpadding.unpad_shared(x) if x.shape.rank == 1 else self.unpadding.unpad(x)

    def pad(self, hidden: tf.Tensor, *, last: bool = False) -> tf.Tensor:
        """Hidden states of the computed tokens, or those after the `last` layer, to the batch."""
        return (self.last if last else self.unpadding).pad(hidden)

    def zero_padding(self, hidden: tf.Tensor) -> tf.Tensor:
        """Zeros where padding is computed."""
        return self.unpadding.zero_padding(hidden)

    def layer(
        self, index: int, hidden: tf.Tensor, seed: tf.Tensor | None
    ) -> tuple[tf.Tensor, None]:
        """One layer, as in `TFXLMModel._layer`, without attention weights."""
        selected = self.selected if index == self.encoder.config.n_layers - 1 else None
        hidden = run_layer(self.encoder, index, hidden, self.attend, selected, seed)
        return (self.zero_padding(hidden) if selected is None else hidden), None


def fast_path(
    encoder: Any,
    tokens: tf.Tensor,
    *,
    cache: Any,
    cached: int | tf.Tensor,
    head_masks: Sequence[tf.Tensor | None],
    output_attentions: bool,
    output_hidden_states: bool,
    output_positions: tf.Tensor | int | None,
    new: int | tf.Tensor | None = None,
) -> FastPath | None:
    """How the fast paths compute this call; None where the formulas have to.

    All layers must be the library's own: where anything inside the encoder is not, each layer is
    called as it is, with the whole batch. So it is where somebody asks for attention weights.

    Args:
        encoder: The `TFXLMModel` that is called.
        tokens: bool, shape (batch, sequence): False for padding.
        cache: What holds earlier keys and values, or None.
        cached: Positions that it holds.
        head_masks: For each layer, what its weights are multiplied by, if anything.
        output_attentions, output_hidden_states, output_positions: As in `TFXLMModel.call`.
        new: Positions that are computed after the cached ones; None: all that follow.
    """
    if (
        output_attentions
        or any(mask is not None for mask in head_masks)
        or not (cache is None or type(cache) in (KeyValueCache, CacheBuffers))
        or not _runs_own_layer(encoder)
        or not are_unmodified(inside := _inside(encoder), _SUBLAYERS | _OTHERS | OWN_LINEAR)
        or not have_their_methods(inside, _SUBLAYERS)
        or any(feed_forward.chunk_size for feed_forward in encoder.ffns)
    ):
        return None
    if cache is not None:
        return _with_cache(encoder, tokens, cache, cached, new)
    return _unpadded(encoder, tokens, None if output_hidden_states else output_positions)


def _with_cache(
    encoder: Any,
    tokens: tf.Tensor,
    cache: KeyValueCache | CacheBuffers,
    cached: int | tf.Tensor,
    new: int | tf.Tensor | None,
) -> FastPath:
    """Attention to the cached positions and the new ones, all of which are computed."""
    whole = keep_new_positions(tokens, cached=cached, new=new)
    return FastPath(encoder, whole, partial(attend_to_cache, whole, cache), None, whole)


def _unpadded(
    encoder: Any, tokens: tf.Tensor, output_positions: tf.Tensor | int | None
) -> FastPath:
    """Attention within each sentence, padding left out unless shapes must not depend on values."""
    unpadding = choose_unpadding(tokens, causal=encoder.config.causal)
    selected, last = select_last(unpadding, tokens, output_positions)
    return FastPath(encoder, unpadding, partial(attend_to_sentence, unpadding), selected, last)


def _runs_own_layer(encoder: Any) -> bool:
    """Whether `_layer` is that of `TFXLMModel`: a subclass's own, or a patched one, is called."""
    layer = type(encoder)._layer
    return "_layer" not in encoder.__dict__ and layer.__module__ == "xlm_tf.model"


def _inside(encoder: Any) -> list[Any]:
    return list(encoder._flatten_layers(include_self=False))
