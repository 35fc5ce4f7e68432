"""Layers of one new position a sentence, a step of generation, by the fewest calls.

Products of one row take as long as their matrices take to be read; what is asked and called between
them adds a fifth to that. Here everything is asked once for all layers, and then computed by
functions alone: the same operations as `xlm_torch.fast.layer` would choose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xlm_torch.fast import onednn
from xlm_torch.fast.linear import linear as by_best_product
from xlm_torch.fast.packing import PACKED
from xlm_torch.fast.rule import are_traced, are_unmodified, code_of, is_on_cpu
from xlm_torch.fast.unpadding import Unpadding

# (x, weight, bias) to the product; (x, weight, bias, residual) to the product and the residual.
Linear = Callable[[Tensor, Tensor, Tensor], Tensor]
AddLinear = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def run_one_position(
    encoder: Any,
    index: int,
    hidden: Tensor,
    unpadding: Unpadding,
    cache: Any,
    source_mask: Tensor | None,
) -> Tensor:
    """A layer whose sublayers are unmodified and which `can_run_directly`.

    Args:
        encoder: An `XLMModel`.
        index: Which layer.
        hidden: float, shape (batch, 1, hidden).
        unpadding: Which keys are seen.
        cache: Holds the keys and values of earlier positions; of a decoder, those of the source
            too.
        source_mask: Of a decoder: bool, broadcastable to (batch, heads, 1, source); None: all are
            seen.

    Returns:
        float, shape (batch, 1, hidden).
    """
    by_onednn = onednn.rows_of(hidden) in onednn.PREFER_ONEDNN.get(hidden.dtype, range(0))
    linear, add = (_onednn, _add_onednn) if by_onednn else (F.linear, _add)
    attention, feed_forward = encoder.attentions[index], encoder.ffns[index]
    heads = (hidden.shape[0], 1, attention.n_heads, attention.head_dim)
    query, key, value = (
        linear(hidden, layer.weight, layer.bias).view(heads).transpose(1, 2)
        for layer in (attention.q_lin, attention.k_lin, attention.v_lin)
    )
    key, value = cache.update(key, value, index)
    hidden = _attended(attention, query, key, value, unpadding.attention_mask, hidden, add)
    hidden = _normalised(hidden, encoder.layer_norm1[index])
    held = None if encoder.config.is_encoder else cache.cross(index)
    if held is not None:
        attention = encoder.encoder_attn[index]
        query = linear(hidden, attention.q_lin.weight, attention.q_lin.bias)
        query = query.view(heads).transpose(1, 2)
        key, value = held
        hidden = _attended(attention, query, key, value, source_mask, hidden, add)
        hidden = _normalised(hidden, encoder.layer_norm15[index])
    first, second = feed_forward.lin1, feed_forward.lin2
    inner = linear(hidden, first.weight, first.bias)
    inner = F.gelu(inner) if feed_forward.activation == "gelu" else torch.relu_(inner)
    hidden = add(inner, second.weight, second.bias, hidden)
    return _normalised(hidden, encoder.layer_norm2[index])


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


def can_run_directly(encoder: Any, cache: Any) -> bool:
    """Whether `run_one_position` may stand in for the layers of a step.

    Args:
        encoder: An `XLMModel` that is unmodified within.
        cache: Of the step.
    """
    weight = encoder.embeddings.weight
    return (
        not torch.is_grad_enabled()
        and not encoder.training
        and not PACKED
        and not are_traced(weight)
        and not torch._C._len_torch_function_stack()
        and not torch.is_autocast_enabled(weight.device.type)
        and (is_on_cpu(weight) or weight.is_cuda)
        and (encoder.config.is_encoder or cache.cross(0) is not None)
        and all(
            type(layer) is nn.Linear and layer.weight.dtype == weight.dtype
            for layer in _linear_layers(encoder)
        )
    )


def _linear_layers(encoder: Any) -> Iterable[nn.Module]:
    for attention in (*encoder.attentions, *getattr(encoder, "encoder_attn", ())):
        yield from attention._modules.values()
    for feed_forward in encoder.ffns:
        yield from feed_forward._modules.values()


def _attended(
    attention: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    residual: Tensor,
    add: AddLinear,
) -> Tensor:
    context = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    context = context.transpose(1, 2).flatten(2)
    return add(context, attention.out_lin.weight, attention.out_lin.bias, residual)


def _normalised(hidden: Tensor, norm: nn.LayerNorm) -> Tensor:
    return F.layer_norm(hidden, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _add(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    return F.linear(x, weight, bias).add_(residual)


def _onednn(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    product: Tensor = onednn.multiply(x, weight, bias, "none", [], "")
    return product


def _add_onednn(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    total: Tensor = onednn.multiply.binary(x, residual, weight, bias, "add")
    return total
