"""Steps of one new position a sentence, as generation takes them, by the fewest calls.

Products of one row take as long as their matrices take to be read, after which no cache holds
anything else: code and objects that lie between them come from memory again, and cost many times
what they cost in a loop of their own (measured: a view 10 µs for 1, attention 90 for 16). So
everything is asked and looked up once for all steps, which then are few operations; the same as
`xlm_torch.fast.layer` would choose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xlm_torch.cache import KeyValueCache, Pair
from xlm_torch.fast import onednn
from xlm_torch.fast.linear import linear as by_best_product
from xlm_torch.fast.packing import PACKED
from xlm_torch.fast.rule import are_traced, are_unmodified, code_of, is_on_cpu


class OnePosition:
    """An encoder whose sublayers are unmodified and which `can_run_directly`, for many steps.

    Args:
        encoder: An `XLMModel`; nobody changes it, or its dtype, device or mode, between steps.
        cache: Holds the keys and values of earlier positions, in reserved memory; of a decoder,
            those of the source too.
    """

    def __init__(self, encoder: Any, cache: KeyValueCache) -> None:
        self._cache = cache
        self._words: Tensor = encoder.embeddings.weight
        self._places: Tensor = encoder.position_embeddings.weight
        has_langs = encoder.config.has_lang_embeddings
        self._langs: Tensor | None = encoder.lang_embeddings.weight if has_langs else None
        self._norm = _Norm.of(encoder.layer_norm_emb)
        self._layers = [_Layer.of(encoder, index) for index in range(encoder.config.n_layers)]
        self._large = encoder.config.emb_dim**2 >= onednn.SMALLEST_MATRIX

    def __call__(
        self,
        ids: Tensor,
        positions: Tensor,
        langs: Tensor | None,
        mask: Tensor | None,
        source_mask: Tensor | None,
    ) -> Tensor:
        """Hidden states of one new position a sentence.

        Args:
            ids, positions: int64, shape (batch,).
            langs: int64, shape (batch,), or None.
            mask: Additive, of the dtype of the model, broadcastable to (batch, heads, 1, key): of
                the positions that are cached and the new one; None: all are seen.
            source_mask: Of a decoder: the same for its source.

        Returns:
            float, shape (batch, hidden).
        """
        hidden = torch.embedding(self._words, ids).add_(torch.embedding(self._places, positions))
        if langs is not None and self._langs is not None:
            hidden.add_(torch.embedding(self._langs, langs))
        hidden = self._norm(hidden)
        products = _products_for(hidden, large=self._large)
        rooms = self._cache.open_position()
        for index, (layer, room) in enumerate(zip(self._layers, rooms, strict=True)):
            source = self._cache.cross(index) if layer.to_source else None
            hidden = layer(hidden, products, room, mask, source, source_mask)
        return hidden

    def additive(self, visible: Tensor) -> Tensor:
        """An additive attention mask.

        Args:
            visible: bool, shape (batch, key); each sentence has a key that it sees, if it is one of
                a source, or sees all.

        Returns:
            Of the dtype of the model, shape (batch, 1, 1, key).
        """
        seen = visible | ~visible.any(1, keepdim=True)
        mask = torch.zeros(seen.shape, dtype=self._words.dtype, device=seen.device)
        return mask.masked_fill_(~seen, -torch.inf)[:, None, None, :]


def output_of(layer: Any) -> Callable[[Tensor], Tensor]:
    """How logits of a few rows are computed: by the best product, or by calling the output layer.

    Args:
        layer: An `XLMPredLayer`, or whatever was put in its place.
    """
    own = type(layer).forward.__module__ == "xlm_torch.language_model"
    if own and not layer.asm and are_unmodified((layer,), code_of(type(layer))):
        return partial(by_best_product, layer.proj)
    found: Callable[[Tensor], Tensor] = layer
    return found


def can_run_directly(encoder: Any, cache: KeyValueCache) -> bool:
    """Whether `OnePosition` may stand in for the steps of an encoder.

    Args:
        encoder: An `XLMModel` that is unmodified within.
        cache: Of the steps.
    """
    weight, parameters = encoder.embeddings.weight, list(encoder.parameters())
    return (
        not torch.is_grad_enabled()
        and not encoder.training
        and not PACKED
        and not are_traced(*parameters)
        and not torch._C._len_torch_function_stack()
        and not torch.is_autocast_enabled(weight.device.type)
        and (is_on_cpu(weight) or weight.is_cuda)
        and cache.is_reserved(encoder.config.n_layers)
        and (encoder.config.is_encoder or cache.cross(0) is not None)
        and all(
            (each.dtype, each.device, each.layout) == (weight.dtype, weight.device, torch.strided)
            for each in parameters
        )
        and all(
            type(layer) is nn.Linear and layer.bias is not None for layer in _linear_layers(encoder)
        )
    )


def _linear_layers(encoder: Any) -> Iterable[nn.Module]:
    for attention in (*encoder.attentions, *getattr(encoder, "encoder_attn", ())):
        yield from attention._modules.values()
    for feed_forward in encoder.ffns:
        yield from feed_forward._modules.values()


# -- products --------------------------------------------------------------------------------------


class _Products(NamedTuple):
    """Products of a few rows by one library.

    Attributes:
        linear: (x, weight, bias) to the product.
        add: (x, weight, bias, residual) to the product and the residual.
        write: (x, weight, bias, out) writes the product to `out`, whose rows may lie apart.
    """

    linear: Callable[[Tensor, Tensor, Tensor], Tensor]
    add: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    write: Callable[[Tensor, Tensor, Tensor, Tensor], object]


def _products_for(x: Tensor, *, large: bool) -> _Products:
    rows = x.shape[0]
    if not large or not is_on_cpu(x):
        return _BY_PYTORCH
    if x.dtype == torch.float32 and rows in onednn.PREFER_TRANSPOSED:
        return _BY_TRANSPOSED
    return _BY_ONEDNN if rows in onednn.PREFER_ONEDNN.get(x.dtype, range(0)) else _BY_PYTORCH


def _add(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    return F.linear(x, weight, bias).add_(residual)


def _write(x: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> object:
    return torch.addmm(bias, x, weight.t(), out=out)


def _onednn(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    product: Tensor = onednn.multiply(x, weight, bias, "none", [], "")
    return product


def _add_onednn(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    total: Tensor = onednn.multiply.binary(x, residual, weight, bias, "add")
    return total


def _write_onednn(x: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> object:
    return out.copy_(onednn.multiply(x, weight, bias, "none", [], ""))


def _transposed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    product = x.new_empty((x.shape[0], weight.shape[0]))
    return torch.add(torch.mm(weight, x.t()).t(), bias, out=product)


def _add_transposed(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    return torch.add(residual, bias).add_(torch.mm(weight, x.t()).t())


def _write_transposed(x: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> object:
    return torch.add(torch.mm(weight, x.t()).t(), bias, out=out)


_BY_PYTORCH = _Products(F.linear, _add, _write)
_BY_TRANSPOSED = _Products(_transposed, _add_transposed, _write_transposed)
_BY_ONEDNN = _Products(_onednn, _add_onednn, _write_onednn)


# -- layers ----------------------------------------------------------------------------------------


class _Norm(NamedTuple):
    """A layer normalisation."""

    shape: Sequence[int]
    weight: Tensor
    bias: Tensor
    epsilon: float

    @classmethod
    def of(cls, norm: Any) -> _Norm:
        return cls(norm.normalized_shape, norm.weight, norm.bias, norm.eps)

    def __call__(self, hidden: Tensor) -> Tensor:
        return torch.layer_norm(hidden, self.shape, self.weight, self.bias, self.epsilon)


class _Linear(NamedTuple):
    """A linear layer."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, layer: Any) -> _Linear:
        return cls(layer.weight, layer.bias)


class _Attention(NamedTuple):
    """An attention layer with what follows it."""

    heads: int
    width: int  # of one
    query: _Linear
    key: _Linear
    value: _Linear
    out: _Linear
    norm: _Norm

    @classmethod
    def of(cls, attention: Any, norm: Any) -> _Attention:
        return cls(
            attention.n_heads,
            attention.head_dim,
            _Linear.of(attention.q_lin),
            _Linear.of(attention.k_lin),
            _Linear.of(attention.v_lin),
            _Linear.of(attention.out_lin),
            _Norm.of(norm),
        )

    def __call__(
        self, hidden: Tensor, products: _Products, held: Pair, mask: Tensor | None
    ) -> Tensor:
        """Attend to the keys and values `held`, (batch, heads, key, width), and normalise."""
        query = products.linear(hidden, *self.query).view(-1, self.heads, 1, self.width)
        context = F.scaled_dot_product_attention(query, *held, attn_mask=mask)
        context = context.reshape(len(hidden), self.heads * self.width)
        return self.norm(products.add(context, *self.out, hidden))


class _Layer(NamedTuple):
    """A layer: attention, to a source as well in a decoder, and the feed-forward layer."""

    attention: _Attention
    to_source: _Attention | None
    first: _Linear
    second: _Linear
    gelu: bool
    norm: _Norm

    @classmethod
    def of(cls, encoder: Any, index: int) -> _Layer:
        feed_forward = encoder.ffns[index]
        to_source = None
        if not encoder.config.is_encoder:
            to_source = _Attention.of(encoder.encoder_attn[index], encoder.layer_norm15[index])
        return cls(
            _Attention.of(encoder.attentions[index], encoder.layer_norm1[index]),
            to_source,
            _Linear.of(feed_forward.lin1),
            _Linear.of(feed_forward.lin2),
            feed_forward.activation == "gelu",
            _Norm.of(encoder.layer_norm2[index]),
        )

    def __call__(
        self,
        hidden: Tensor,
        products: _Products,
        room: tuple[Tensor, Tensor, Tensor, Tensor],
        mask: Tensor | None,
        source: Pair | None,
        source_mask: Tensor | None,
    ) -> Tensor:
        """float, shape (batch, hidden), to the same; `room` as in `KeyValueCache.open_position`."""
        new_key, new_value, keys, values = room
        products.write(hidden, *self.attention.key, new_key)
        products.write(hidden, *self.attention.value, new_value)
        hidden = self.attention(hidden, products, (keys, values), mask)
        if self.to_source is not None and source is not None:
            hidden = self.to_source(hidden, products, source, source_mask)
        inner = products.linear(hidden, *self.first)
        inner = F.gelu(inner) if self.gelu else torch.relu_(inner)
        return self.norm(products.add(inner, *self.second, hidden))
