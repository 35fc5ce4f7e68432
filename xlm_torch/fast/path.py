"""The question that a model asks once a call: do the fast paths serve it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from xlm_torch.attention import MultiHeadAttention, attention_mask_of
from xlm_torch.cache import CacheBuffers, KeyValueCache
from xlm_torch.fast.layer import (
    Attend,
    attend_to_cache,
    attend_to_sentence,
    attend_to_source,
    attend_with_weights,
    run_layer,
)
from xlm_torch.fast.linear import OWN_LINEAR
from xlm_torch.fast.one_position import OnePosition, can_run_directly
from xlm_torch.fast.rule import are_unmodified, code_of, have_their_methods
from xlm_torch.fast.unpadding import (
    Unpadding,
    choose_source,
    choose_unpadding,
    has_varlen,
    keep_new_positions,
    keep_one_position,
    keep_padding,
    keep_source,
    select_last,
)
from xlm_torch.feed_forward import TransformerFFN

_SUBLAYERS = code_of(MultiHeadAttention, TransformerFFN, nn.ModuleList)
_OTHERS = code_of(nn.Embedding, nn.LayerNorm)


@dataclass(frozen=True)
class FastPath:
    """How one call of an encoder is computed: `FormulaPath`'s methods, by fast operations.

    Attributes:
        encoder: The `XLMModel` that is called.
        unpadding: Which tokens of the batch are computed.
        attends: For each layer, how it attends.
        selected: int64, shape (some,): which of these the last layer is computed for; None: all.
        last: The unpadding of what the last layer returns.
        attend_to_source: How each layer of a decoder attends to its source; None: it has none.
    """

    encoder: Any
    unpadding: Unpadding
    attends: Sequence[Attend]
    selected: Tensor | None
    last: Unpadding
    attend_to_source: Attend | None = None

    def unpad(self, x: Tensor) -> Tensor:
        """(batch, new, ...), or (new,) for all sentences, to the computed tokens."""
        return self.unpadding.unpad_shared(x) if x.dim() == 1 else self.unpadding.unpad(x)

    def pad(self, hidden: Tensor, *, last: bool = False) -> Tensor:
        """Hidden states of the computed tokens, or those after the `last` layer, to the batch."""
        return (self.last if last else self.unpadding).pad(hidden)

    def zero_padding(self, hidden: Tensor) -> Tensor:
        """Zeros where padding is computed."""
        return self.unpadding.zero_padding(hidden)

    def layer(self, index: int, hidden: Tensor) -> tuple[Any, ...]:
        """One layer, as in `XLMModel._layer`; weights are None where attention is fused."""
        selected = self.selected if index == self.encoder.config.n_layers - 1 else None
        hidden, *weights = run_layer(
            self.encoder, index, hidden, self.attends[index], selected, self.attend_to_source
        )
        return (self.zero_padding(hidden) if selected is None else hidden), *weights


def fast_path(
    encoder: Any,
    tokens: Tensor,
    *,
    cache: Any,
    cached: int | None,
    head_masks: Sequence[Tensor | None],
    output_attentions: bool,
    output_hidden_states: bool,
    output_positions: Tensor | int | None,
    source: Any = None,
) -> FastPath | None:
    """How the fast paths compute this call; None where the formulas have to.

    Sublayers must be the library's own: where anything inside them is not, each is called as it
    is, with the whole batch. Attention is fused where nobody asks for its weights.

    Args:
        encoder: The `XLMModel` that is called.
        tokens: bool, shape (batch, sequence): False for padding.
        cache: What holds earlier keys and values, or None.
        cached: Positions that it holds; None: one is new, and sees all tokens.
        head_masks: For each layer, what its weights are multiplied by, if anything.
        output_attentions, output_hidden_states, output_positions: As in `XLMModel.forward`.
        source: What a decoder attends to, an `xlm_torch.model.Source`.
    """
    fuses = (
        not output_attentions
        and all(mask is None for mask in head_masks)
        and (cache is None or type(cache) in (KeyValueCache, CacheBuffers))
        and _is_unmodified_within(encoder)
    )
    if not _has_own_sublayers(encoder, unmodified=fuses):
        return None
    if not fuses:
        return _with_weights(encoder, tokens, cache, cached, head_masks, source)
    if cache is not None:
        return _with_cache(encoder, tokens, cache, cached, source)
    if output_hidden_states:
        output_positions = None
    return _unpadded(encoder, tokens, output_positions, source)


def one_position(encoder: Any, cache: Any) -> OnePosition | None:
    """What computes all steps of one new position that follow; None: each is a call of its own.

    Args:
        encoder: The `XLMModel` whose steps they are; nobody changes anything inside it meanwhile.
        cache: What holds earlier keys and values.
    """
    serves = (
        type(cache) is KeyValueCache
        and all(_runs_own(encoder, method) for method in ("step", "_run", "_embed"))
        and _is_unmodified_within(encoder)
        and _has_own_sublayers(encoder, unmodified=True)
        and can_run_directly(encoder, cache)
    )
    return OnePosition(encoder, cache) if serves else None


def _with_weights(
    encoder: Any,
    tokens: Tensor,
    cache: Any,
    cached: int | None,
    head_masks: Sequence[Tensor | None],
    source: Any,
) -> FastPath:
    """The formula's attention between fast linear layers; all positions are computed."""
    causal = encoder.config.causal
    if cached is None:
        mask = tokens[:, None, None, :]
        whole = Unpadding((tokens.shape[0], 1), causal)
    else:
        mask = attention_mask_of(tokens, causal=causal, cached=cached)
        shape = (tokens.shape[0], tokens.shape[1] - cached)
        whole = Unpadding(shape, causal, tokens=tokens[:, cached:, None])
    attends = [partial(attend_with_weights, mask, head_mask, cache) for head_mask in head_masks]
    to_source = None
    if source is not None:
        to_source = partial(
            attend_with_weights, source.attention_mask, None, cache, source=source.hidden
        )
    return FastPath(encoder, whole, attends, None, whole, to_source)


def _with_cache(
    encoder: Any, tokens: Tensor, cache: KeyValueCache, cached: int | None, source: Any
) -> FastPath:
    """Fused attention to the cached positions and the new ones, all of which are computed."""
    of_source = None if source is None else keep_source(source.tokens)
    if cached is None:
        whole = keep_one_position(tokens)
    else:
        whole = keep_new_positions(tokens, cached=cached)
    attends = [partial(attend_to_cache, whole, cache)] * encoder.config.n_layers
    to_source = None
    if of_source is not None:
        to_source = partial(attend_to_source, whole, of_source, cache, source.hidden)
    return FastPath(encoder, whole, attends, None, whole, to_source)


def _unpadded(
    encoder: Any, tokens: Tensor, output_positions: Tensor | int | None, source: Any
) -> FastPath:
    """Fused attention within each sentence, padding left out where that saves work."""
    config = encoder.config
    dropout = config.attention_dropout if encoder.training else 0.0
    varlen = has_varlen(encoder.embeddings.weight, config.head_dim, dropout)
    unpadding = choose_unpadding(tokens, causal=config.causal, width=config.emb_dim, varlen=varlen)
    to_source = None
    if source is not None:
        of_source = choose_source(unpadding, tokens, source.tokens)
        if of_source is None:
            unpadding = keep_padding(tokens, causal=config.causal)
            of_source = keep_source(source.tokens)
        rows = of_source.unpad(source.hidden)
        to_source = partial(attend_to_source, unpadding, of_source, None, rows)
    selected, last = select_last(unpadding, tokens, output_positions)
    attends = [partial(attend_to_sentence, unpadding)] * config.n_layers
    return FastPath(encoder, unpadding, attends, selected, last, to_source)


def _sublayers(encoder: Any) -> list[nn.Module]:
    lists = [encoder.attentions, encoder.layer_norm1, encoder.ffns, encoder.layer_norm2]
    if not encoder.config.is_encoder:
        lists += [encoder.encoder_attn, encoder.layer_norm15]
        return [*lists, *encoder.attentions, *encoder.encoder_attn, *encoder.ffns]
    return [*lists, *encoder.attentions, *encoder.ffns]


def _runs_own(encoder: Any, method: str) -> bool:
    """Whether a method is that of `XLMModel`: a subclass's own, or a patched one, is called."""
    found = getattr(type(encoder), method)
    return method not in encoder.__dict__ and found.__module__ == "xlm_torch.model"


def _is_unmodified_within(encoder: Any) -> bool:
    return are_unmodified(_inside(encoder), _SUBLAYERS | _OTHERS | OWN_LINEAR)


def _has_own_sublayers(encoder: Any, *, unmodified: bool) -> bool:
    """Whether a layer of `encoder` is the library's own, but for what its sublayers consist of.

    Args:
        encoder: An `XLMModel`.
        unmodified: Whether its sublayers are known to be unmodified.
    """
    sublayers = _sublayers(encoder)
    return (
        _runs_own(encoder, "_layer")
        and all(type(each) in _SUBLAYERS for each in sublayers)
        and (unmodified or are_unmodified(sublayers, _SUBLAYERS))
        and have_their_methods(sublayers, _SUBLAYERS)
        and not any(feed_forward.chunk_size for feed_forward in encoder.ffns)
    )


def _inside(encoder: Any) -> list[nn.Module]:
    """All modules but those of the output layer, which parts of an encoder-decoder have."""
    found = [each for name, each in encoder._modules.items() if name != "pred_layer" and each]
    for module in found:  # which grows; `Module.modules` takes three times as long
        found += filter(None, module._modules.values())
    return found
