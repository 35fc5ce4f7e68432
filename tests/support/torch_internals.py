"""The seam between the tests of PyTorch's fast paths and where these live.

Tests look at internals only by the names of this file: what a fast path computes, what sets its
limits, what was decided of a batch. Where code moves, this file alone follows.
"""

# ruff: noqa: F401  (names that tests import from here)
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import xlm_torch.heads
import xlm_torch.language_model
import xlm_torch.model
import xlm_torch.sequence_summary
from xlm_torch.attention import MultiHeadAttention
from xlm_torch.fast import formulas_only, integers, memory, onednn, packing, path
from xlm_torch.fast import layer as layers
from xlm_torch.fast import unpadding as unpaddings
from xlm_torch.fast import vocabulary_loss as loss
from xlm_torch.fast.attention import FlashAttention, attend_within_sentences, fused_attention
from xlm_torch.fast.embedding import EmbeddingRows, embedding, share
from xlm_torch.fast.integers import (
    FLOATS,
    integer_feed_forward,
    integer_linears,
    is_exact_and_fast,
    round_rows,
)
from xlm_torch.fast.integers import chosen_product as chosen_integer_product
from xlm_torch.fast.linear import linear
from xlm_torch.fast.memory import ReusedMemory
from xlm_torch.fast.onednn import OneDNNLinear, product
from xlm_torch.fast.unpadding import Unpadding, choose_unpadding, has_varlen, keep_padding
from xlm_torch.fast.vocabulary_loss import VocabularyLoss, linear_cross_entropy
from xlm_torch.feed_forward import TransformerFFN
from xlm_torch.losses import cross_entropy
from xlm_torch.quantization import QuantizedLinear, rounded

# -- limits and rules ------------------------------------------------------------------------------

ANY_ROWS = onednn.ANY_ROWS
MULTIPLIES_INTEGERS = integers.chosen_product() is not integers.FLOATS
ONEDNN = onednn.multiply


def integer_products() -> list[integers.IntegerProduct]:
    """All products of integers that are exact on this machine, fast or not."""
    return [integers.FLOATS, *filter(integers.is_exact, integers.available())]


def use_integer_product(monkeypatch: pytest.MonkeyPatch, chosen: integers.IntegerProduct) -> None:
    """Multiply integers so, and forget matrices that are packed for another product."""
    packing.PACKED.clear()
    packing.PACKED_TOGETHER.clear()
    monkeypatch.setattr(integers, "chosen_product", lambda: chosen)


def round_in_blocks(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Set how many rows are rounded at a time."""
    monkeypatch.setattr(integers, "BLOCK", rows)


def prefer_onednn(monkeypatch: pytest.MonkeyPatch, rows: dict[torch.dtype, range]) -> None:
    """Set for how many rows of which dtype products are oneDNN's."""
    monkeypatch.setattr(onednn, "PREFER_ONEDNN", rows)


def prefer_transposed(monkeypatch: pytest.MonkeyPatch, rows: range) -> None:
    """Set for how many rows products of a step of generation are weight x^T."""
    monkeypatch.setattr(onednn, "PREFER_TRANSPOSED", rows)


def set_smallest_matrix(monkeypatch: pytest.MonkeyPatch, numbers: int) -> None:
    """Set how large a matrix must be for oneDNN."""
    monkeypatch.setattr(onednn, "SMALLEST_MATRIX", numbers)


def set_packed_rows(monkeypatch: pytest.MonkeyPatch, rows: range) -> None:
    """Set for how many rows packed matrices are used where oneDNN is not preferred."""
    monkeypatch.setattr(packing, "PACKED_ROWS", rows)


def has_onednn(monkeypatch: pytest.MonkeyPatch, available: bool) -> None:
    """Say whether there is oneDNN."""
    monkeypatch.setattr(onednn, "HAS_ONEDNN", available)


def replace_onednn(monkeypatch: pytest.MonkeyPatch, multiply: Any) -> None:
    """Put something in the place of oneDNN's product."""
    monkeypatch.setattr(onednn, "multiply", multiply)


def set_sentence_cost(monkeypatch: pytest.MonkeyPatch, cost: int) -> None:
    """Set what attention by sentences costs: 0 leaves all padding out, 2**60 none."""
    monkeypatch.setattr(unpaddings, "SENTENCE_COST", cost)


def set_logits_limits(
    monkeypatch: pytest.MonkeyPatch, *, kept: int | None = None, part: int | None = None
) -> None:
    """Set how many bytes of logits are kept for the backward pass, and are made at a time."""
    if kept is not None:
        monkeypatch.setattr(loss, "KEPT_LOGITS", kept)
    if part is not None:
        monkeypatch.setattr(loss, "PART_OF_LOGITS", part)


def set_smallest_reused(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Set from how many bytes on the memory of gradients is used again."""
    monkeypatch.setattr(memory, "SMALLEST_REUSED", size)


def set_copied_at_a_time(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Set how many bytes of oneDNN's products are copied at a time."""
    monkeypatch.setattr(onednn, "COPIED_AT_A_TIME", size)


def on_products_of_the_loss(
    monkeypatch: pytest.MonkeyPatch, note: Callable[[tuple[int, ...]], None]
) -> None:
    """Tell `note` the shape of each product of the vocabulary's loss."""
    multiply = loss.product

    def noted(*arguments: Any, **options: Any) -> Tensor:
        result = multiply(*arguments, **options)
        note(tuple(result.shape))
        return result

    monkeypatch.setattr(loss, "product", noted)


# -- what was decided of a batch -------------------------------------------------------------------


def on_unpadding(monkeypatch: pytest.MonkeyPatch, change: Callable[[Unpadding], Unpadding]) -> None:
    """Let `change` see, and replace, what models decide to compute of each batch."""
    decide = path.choose_unpadding
    monkeypatch.setattr(path, "choose_unpadding", lambda *a, **o: change(decide(*a, **o)))


def on_last_layer(monkeypatch: pytest.MonkeyPatch, note: Callable[[int | None], None]) -> None:
    """Tell `note` for how many positions each call computes its last layer; None for all."""
    decide = path.select_last

    def noted(*arguments: Any) -> Any:
        found = decide(*arguments)
        note(None if found[0] is None else len(found[0]))
        return found

    monkeypatch.setattr(path, "select_last", noted)


def on_formula_attention(monkeypatch: pytest.MonkeyPatch, note: Callable[[int], None]) -> None:
    """Tell `note` the layer whenever attention runs by its formula, which stays its own code."""
    attend = MultiHeadAttention.attend

    def noted(self: Any, *arguments: Any) -> Any:
        note(self.layer)
        return attend(self, *arguments)

    monkeypatch.setattr(MultiHeadAttention, "attend", noted)
    monkeypatch.setitem(path._SUBLAYERS[MultiHeadAttention], "attend", noted)


def have_varlen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say that the device has attention over sentences of any lengths."""
    monkeypatch.setattr(path, "has_varlen", lambda *_: True)


def positions_of(unpadding: Unpadding) -> Tensor | None:
    """Where the tokens are in the flattened batch; None if nothing is left out."""
    return unpadding.positions


def attention_mask_of(unpadding: Unpadding) -> Tensor | None:
    """Which key each query sees."""
    return unpadding.attention_mask


def changed(unpadding: Unpadding, **fields: Any) -> Unpadding:
    """The same with other `positions`, `lengths`, `attention_mask`, `causal` or `tokens`."""
    return replace(unpadding, **fields)


def make_unpadding(shape: Any, causal: bool, **fields: Any) -> Unpadding:
    """Of these fields alone."""
    return changed(Unpadding(tuple(shape), causal), **fields)


def unpad(unpadding: Unpadding, x: Tensor) -> Tensor:
    """(batch, sequence, ...) to (tokens, ...)."""
    return unpadding.unpad(x)


def pad(unpadding: Unpadding, x: Tensor) -> Tensor:
    """(tokens, ...) to (batch, sequence, ...)."""
    return unpadding.pad(x)


def unpad_positions(unpadding: Unpadding, table: Tensor) -> Tensor:
    """(sequence, ...), the same for each sentence, to (tokens, ...)."""
    return unpadding.unpad_shared(table)


def zero_padding(unpadding: Unpadding, x: Tensor) -> Tensor:
    """Zeros where there is padding."""
    return unpadding.zero_padding(x)


def attend(unpadding: Unpadding, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention within each sentence, without dropout."""
    return attend_within_sentences(unpadding, query, key, value, 0.0)


# -- what is kept between calls --------------------------------------------------------------------


def packed_layers() -> list[nn.Module]:
    """Layers whose matrices are packed."""
    return list(packing.PACKED)


def is_packed_as_it_is(layer: nn.Module) -> bool:
    """Whether the packed matrix is that of the layer as it is now."""
    return packing.PACKED[layer].is_of((layer.weight,))


def spare_blocks(memory: ReusedMemory) -> list[Tensor]:
    """Blocks that nobody holds now."""
    return memory._spare


# -- the matrix that is both the word embeddings and the output ------------------------------------


@contextmanager
def shared_matrix(weight: Tensor) -> Iterator[tuple[Tensor, Callable[..., Tensor]]]:
    """The output's matrix, and a look-up of a layer's ids that shares its gradient."""
    output, looked_up = share(weight)
    yield (
        output,
        lambda layer, ids: embedding(layer, ids, looked_up if layer.weight is weight else None),
    )


# -- without fast paths ----------------------------------------------------------------------------


def answer_no(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every question whether a fast path serves be answered "no", and none of them run."""

    def fail(*_: Any, **__: Any) -> Any:
        raise AssertionError("a fast path ran")

    monkeypatch.setattr(xlm_torch.model, "fast_path", lambda *_, **__: None)
    for module in (xlm_torch.heads, xlm_torch.language_model, xlm_torch.sequence_summary):
        monkeypatch.setattr(module, "are_unmodified", lambda *_: False)
    for module, name in (
        (layers, "linear"),
        (layers, "linears"),
        (layers, "fused_attention"),
        (layers, "attend_within_sentences"),
        (path, "choose_unpadding"),
        (onednn, "multiply"),
        (EmbeddingRows, "apply"),
        (VocabularyLoss, "apply"),
        (FlashAttention, "apply"),
    ):
        monkeypatch.setattr(module, name, fail)
