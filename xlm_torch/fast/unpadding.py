"""What is computed of a batch: all of it, or its tokens alone, without the padding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from xlm_torch.fast.linear import are_traced, attention


@dataclass(frozen=True)
class Rows:
    """The rows of a batch that layers work on, and which of them see each other.

    Everything in a layer but attention treats each token by itself, so padding can be left out:
    `pack` takes the tokens of all sentences as rows of one matrix, `attend` lets each sentence see
    itself only, and `unpack` puts the rows back among zeros.

    Attributes:
        shape: (batch, new), of the positions of this call.
        causal: Positions see earlier ones and themselves only.
        places: int64, shape (tokens,): where in the flattened batch the tokens are; None: nothing
            is left out, and rows have shape (batch, new, ...).
        lengths: Tokens of each sentence that has any, if padding is left out.
        bounds: int32, shape (sentences + 1,), on the device: where each of these begins and ends;
            None: sentences attend one after the other.
        visible: bool, broadcastable to (batch, heads, new, key): which key each position sees;
            None: all, or with `causal` all up to it.
        tokens: bool, shape (batch, new, 1): False for padding; None: there is none.
    """

    shape: tuple[int, int]
    causal: bool
    places: Tensor | None = None
    lengths: tuple[int, ...] = ()
    bounds: Tensor | None = None
    visible: Tensor | None = None
    tokens: Tensor | None = None

    def pack(self, x: Tensor) -> Tensor:
        """(batch, new, ...) to rows: (tokens, ...), or as it is."""
        return x if self.places is None else x.flatten(0, 1).index_select(0, self.places)

    def of_positions(self, ids: Tensor) -> Tensor:
        """One number for each position, shape (new,), to rows."""
        return ids if self.places is None else ids[self.places % self.shape[1]]

    def unpack(self, rows: Tensor) -> Tensor:
        """Rows to (batch, new, ...), with zeros for padding."""
        if self.places is None:
            return rows
        batch, new = self.shape
        empty = rows.new_zeros((batch * new, *rows.shape[1:]))
        return empty.index_copy(0, self.places, rows).unflatten(0, (batch, new))

    def mask(self, rows: Tensor) -> Tensor:
        """Zeros where there is padding."""
        return rows if self.tokens is None else rows * self.tokens.to(rows.dtype)

    def only(self, wanted: Tensor) -> tuple[Tensor, Rows]:
        """Fewer rows: which of these they are, int64, shape (wanted tokens,), and what they are of.

        For what treats each row by itself: they do not say who sees whom.

        Args:
            wanted: bool, shape (batch, new): False for padding.
        """
        wanted = wanted.flatten()
        if self.places is None:
            places = kept = wanted.nonzero().squeeze(1)
        else:
            kept = wanted.index_select(0, self.places).nonzero().squeeze(1)
            places = self.places.index_select(0, kept)
        return kept, Rows(self.shape, self.causal, places)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
        """Attention within each sentence.

        Args:
            query, key, value: float, shape (tokens, heads, head_dim) where padding is left out,
                else (batch, new or key, heads, head_dim).
            dropout: Rate at which weights are dropped.

        Returns:
            As query, with heads and head_dim made one.
        """
        if self.places is None:
            attended = attention(
                query.transpose(1, 2),
                key.transpose(1, 2),
                value.transpose(1, 2),
                self.visible,
                causal=self.causal and self.visible is None,
                dropout=dropout,
            )
            return attended.transpose(1, 2).flatten(2)
        if self.bounds is not None:
            from torch.nn.attention.varlen import varlen_attn  # sets filters of warnings

            longest, window = max(self.lengths), (-1, 0) if self.causal else (-1, -1)
            return varlen_attn(
                query, key, value, self.bounds, self.bounds, longest, longest, window_size=window
            ).flatten(1)
        sentences = zip(*(x.split(self.lengths) for x in (query, key, value)), strict=True)
        parts = [
            attention(
                *(x.transpose(0, 1)[None] for x in sentence), causal=self.causal, dropout=dropout
            )[0].transpose(0, 1)
            for sentence in sentences
        ]
        return torch.cat(parts).flatten(1)


def rows_of(tokens: Tensor, *, causal: bool, width: int, varlen: bool = False) -> Rows:
    """What to compute of a batch.

    Padding is left out where that can be decided (running eagerly, on a device whose attention
    takes sentences of any lengths) and saves more time than it costs.

    Args:
        tokens: bool, shape (batch, sequence): False for padding.
        causal: Positions see earlier ones and themselves only.
        width: Of the hidden states.
        varlen: See `has_varlen`.
    """
    batch, sequence = shape = tokens.shape
    if not are_traced(tokens) and (tokens.device.type == "cpu" or varlen):
        if bool(tokens.all()):
            return Rows(shape, causal)
        lengths = [length for length in tokens.sum(1).tolist() if length]
        if _saves_work(batch * sequence, sum(lengths), len(lengths), width):
            places = tokens.flatten().nonzero().squeeze(1)
            bounds = None
            if varlen:
                ends = torch.tensor([0, *lengths]).cumsum(0)
                bounds = ends.to(tokens.device, torch.int32)
            return Rows(shape, causal, places, tuple(lengths), bounds)
    rows = all_rows(tokens, causal=causal)
    # Fused attention divides by zero where nothing is seen. Padding may see anything: its rows
    # are zeroed afterwards.
    assert rows.visible is not None
    if causal:
        key = torch.arange(sequence, device=tokens.device)
        return replace(rows, visible=rows.visible | (key == key[:, None]))
    return replace(rows, visible=rows.visible | ~tokens.any(1)[:, None, None, None])


def all_rows(tokens: Tensor, *, causal: bool, cached: int = 0) -> Rows:
    """Rows with nothing left out.

    Args:
        tokens, causal: As of `rows_of`.
        cached: Positions that are in a cache and not computed again.
    """
    batch, sequence = tokens.shape
    visible = tokens[:, None, None, :]
    if causal:
        key = torch.arange(sequence, device=tokens.device)
        visible = visible & (key <= key[cached:, None])
    return Rows(
        (batch, sequence - cached), causal, visible=visible, tokens=tokens[:, cached:, None]
    )


# -- where the last layer ends ---------------------------------------------------------------------

_WANTED: ContextVar[tuple[nn.Module, Tensor | int] | None] = ContextVar("wanted", default=None)


@contextmanager
def wanted_rows(encoder: nn.Module, wanted: Tensor | int | None) -> Iterator[None]:
    """Under it, the next call of `encoder` need not compute other positions' last hidden states.

    Args:
        encoder: Who is asked; any other that runs meanwhile is not.
        wanted: bool, shape (batch, new): True for positions that matter; or the one position of
            each sentence that does; None: all do.
    """
    token = _WANTED.set(None if wanted is None else (encoder, wanted))
    try:
        yield
    finally:
        _WANTED.reset(token)


def asked_rows(encoder: nn.Module) -> Tensor | int | None:
    """What `wanted_rows` says to `encoder`: once, and nothing to compilers."""
    asked = None if torch.compiler.is_compiling() else _WANTED.get()
    if asked is None or asked[0] is not encoder:
        return None
    _WANTED.set(None)
    return asked[1]


def last_rows(
    rows: Rows, tokens: Tensor, wanted: Tensor | int | None
) -> tuple[Tensor | None, Rows]:
    """Which rows of the last layer are wanted, None for all, and the rows that it ends with.

    After the last attention every position is on its own, so who asks for a few has no use for the
    others: a tenth of a masked language model's step.

    Args:
        rows: Those of the other layers.
        tokens: bool, shape (batch, new): False for padding.
        wanted: See `wanted_rows`.
    """
    # On a GPU only where the lengths of sentences were waited for already.
    decides = not are_traced(tokens) and (bool(rows.lengths) or tokens.device.type == "cpu")
    if wanted is None or not decides:
        return None, rows
    if isinstance(wanted, int):
        column, wanted = wanted, torch.zeros_like(tokens)
        wanted[:, column] = True
    if wanted.shape != tokens.shape:
        return None, rows
    kept, last = rows.only(wanted & tokens)
    whole = tokens.numel() if rows.places is None else len(rows.places)
    return (kept, last) if len(kept) < whole else (None, rows)


# -- whether it pays -------------------------------------------------------------------------------

# What a sentence's own attention costs in a layer, in squares of width for one row of padding.
SENTENCE_COST = 1024**2 // 2


def _saves_work(rows: int, tokens: int, sentences: int, width: int) -> bool:
    """Whether leaving padding out gains more than attention by sentences costs.

    Measured on a CPU: a sentence costs about 60 us more in a layer, a row of width 1024 about
    twice that, and a row's cost grows with the square of the width.
    """
    return tokens > 0 and (rows - tokens) * width**2 >= sentences * SENTENCE_COST


def has_varlen(weight: Tensor, head_dim: int, dropout: float) -> bool:
    """Whether the device has a kernel for attention over sentences of any lengths.

    FlashAttention's: half types, without dropout. Finding the lengths waits for the device, which
    the recording of a CUDA graph cannot do.

    Args:
        weight: Any parameter: its device and dtype.
        head_dim: Width of a head.
        dropout: Rate at which attention weights are dropped.
    """
    return (
        weight.device.type == "cuda"
        and weight.dtype in (torch.float16, torch.bfloat16)
        and head_dim % 8 == 0
        and head_dim <= 256
        and dropout == 0
        and torch.cuda.get_device_capability(weight.device) >= (8, 0)
        and not torch.cuda.is_current_stream_capturing()
        and find_spec("torch.nn.attention.varlen") is not None  # PyTorch 2.10
    )
