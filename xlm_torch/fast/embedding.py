"""The matrix that is both the word embeddings and the output, and its one gradient."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xlm_torch.fast.rule import are_unmodified, code_of
from xlm_torch.losses import at_least_float32

_EMBEDDING = code_of(nn.Embedding)


def share(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The matrix as two that share one gradient: for the output, and for the look-up.

    A vocabulary's gradient is as large as the embeddings. By itself, PyTorch makes one for the
    look-up and one for the output, both dense, and adds them; here the few rows that were looked up
    are added to the output's.

    Args:
        weight: float, shape (vocabulary, hidden).

    Returns:
        Twice the matrix: what the output multiplies by, and the `matrix` of `embedding`.
    """
    output, looked_up = SharedMatrix.apply(weight)
    return output, looked_up


def embedding(layer: nn.Module, ids: Tensor, matrix: Tensor | None = None) -> Tensor:
    """layer(ids).

    Args:
        layer: An embedding, or whatever was put in its place.
        ids: integer, shape (...).
        matrix: float, shape (rows, width): the layer's matrix under another name, from `share`.

    Returns:
        float, shape (..., width).
    """
    if matrix is not None and only_looks_up(layer):
        rows: Tensor = EmbeddingRows.apply(matrix, ids, layer.padding_idx)
        return rows
    looked_up: Tensor = layer(ids)
    return looked_up


def only_looks_up(layer: nn.Module) -> bool:
    """Whether `layer` is an unmodified embedding that changes neither its rows nor gradients."""
    if not are_unmodified((layer,), _EMBEDDING):
        return False
    options = cast(nn.Embedding, layer)
    return options.max_norm is None and not options.scale_grad_by_freq


class SharedMatrix(torch.autograd.Function):
    """A matrix as two; the gradient of the second may be sparse."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> tuple[Tensor, Tensor]:
        """`weight`, twice."""
        ctx.set_materialize_grads(False)
        return weight.view_as(weight), weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, of_output: Tensor | None, of_rows: Tensor | None) -> Tensor | None:
        """Their sum, dense; `of_output` is `VocabularyLoss`'s own and may be written to."""
        if of_rows is None:
            return of_output
        if of_output is None:
            return of_rows.to_dense()
        if torch.is_grad_enabled():
            return of_output + of_rows.to_dense()
        # A row of many tokens is a sum of as many, of which a half type would lose most.
        wide = at_least_float32(of_output)
        wide.index_add_(0, of_rows._indices()[0], of_rows._values().to(wide.dtype))
        return wide.to(of_output.dtype)


class EmbeddingRows(torch.autograd.Function):
    """`F.embedding` with a sparse gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, padding_idx: int | None) -> Tensor:
        """As in `F.embedding`."""
        ctx.save_for_backward(ids)
        ctx.shape, ctx.padding_idx = weight.shape, padding_idx
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of `weight`: one row for each id, none of them for padding."""
        ids = ctx.saved_tensors[0].flatten().long()
        values = gradient.reshape(-1, gradient.shape[-1])
        if ctx.padding_idx is not None:
            values = values.masked_fill((ids == ctx.padding_idx)[:, None], 0)
        rows = torch.sparse_coo_tensor(ids[None], values, ctx.shape, check_invariants=False)
        return rows, None, None
