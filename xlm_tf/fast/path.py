"""The question that a model asks once a call: do the fast paths serve it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import tensorflow as tf

from xlm_tf.attention import MultiHeadAttention
from xlm_tf.cache import CacheBuffers, KeyValueCache
from xlm_tf.fast.layer import (
    Attend,
    AttendToSource,
    attend_to_cache,
    attend_to_sentence,
    attend_to_source,
    run_layer,
)
from xlm_tf.fast.linear import OWN_LINEAR
from xlm_tf.fast.rule import are_unmodified, code_of, have_their_methods
from xlm_tf.fast.unpadding import (
    Unpadding,
    choose_source,
    choose_unpadding,
    keep_new_positions,
    keep_source,
    select_last,
)
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
        attend_to_source: How each layer of a decoder attends to its source; None: it has none.
        source: The hidden states of the source, as `attend_to_source` takes them.
    """

    encoder: Any
    unpadding: Unpadding
    attend: Attend
    selected: tf.Tensor | None
    last: Unpadding
    attend_to_source: AttendToSource | None = None
    source: tf.Tensor | None = None

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
        self,
        index: int,
        hidden: tf.Tensor,
        seed: tf.Tensor | None,
        source: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, None, None]:
        """One layer, as in `TFXLMModel._layer`, without attention weights; `source`: the path's."""
        selected = self.selected if index == self.encoder.config.n_layers - 1 else None
        to_source = None
        if source is not None and self.attend_to_source is not None:
            to_source = partial(self.attend_to_source, source)
        hidden = run_layer(self.encoder, index, hidden, self.attend, selected, seed, to_source)
        return (self.zero_padding(hidden) if selected is None else hidden), None, None


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
    source: Any = None,
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
        source: What a decoder attends to, an `xlm_tf.model.Source`.
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
        return _with_cache(encoder, tokens, cache, cached, new, source)
    if output_hidden_states:
        output_positions = None
    return _unpadded(encoder, tokens, output_positions, source)


def _with_cache(
    encoder: Any,
    tokens: tf.Tensor,
    cache: KeyValueCache | CacheBuffers,
    cached: int | tf.Tensor,
    new: int | tf.Tensor | None,
    source: Any,
) -> FastPath:
    """Attention to the cached positions and the new ones, all of which are computed."""
    whole = keep_new_positions(tokens, cached=cached, new=new)
    attend = partial(attend_to_cache, whole, cache)
    if source is None:
        return FastPath(encoder, whole, attend, None, whole)
    to_source = partial(attend_to_source, whole, keep_source(source.tokens), cache)
    return FastPath(encoder, whole, attend, None, whole, to_source, source.hidden)


def _unpadded(
    encoder: Any, tokens: tf.Tensor, output_positions: tf.Tensor | int | None, source: Any
) -> FastPath:
    """Attention within each sentence, padding left out unless shapes must not depend on values."""
    unpadding = choose_unpadding(tokens, causal=encoder.config.causal)
    selected, last = select_last(unpadding, tokens, output_positions)
    attend = partial(attend_to_sentence, unpadding)
    if source is None:
        return FastPath(encoder, unpadding, attend, selected, last)
    of_source = choose_source(source.tokens)
    to_source = partial(attend_to_source, unpadding, of_source, None)
    rows = of_source.unpad(source.hidden)
    return FastPath(encoder, unpadding, attend, selected, last, to_source, rows)


def _runs_own_layer(encoder: Any) -> bool:
    """Whether `_layer` is that of `TFXLMModel`: a subclass's own, or a patched one, is called."""
    layer = type(encoder)._layer
    return "_layer" not in encoder.__dict__ and layer.__module__ == "xlm_tf.model"


def _inside(encoder: Any) -> list[Any]:
    """All layers but those of the output layer, which parts of an encoder-decoder have."""
    output = getattr(encoder, "pred_layer", None)
    outside = {id(each) for each in output._flatten_layers()} if output is not None else set()
    return [each for each in encoder._flatten_layers(include_self=False) if id(each) not in outside]
