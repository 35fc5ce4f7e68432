"""Which tokens of a batch are computed: all positions, or the tokens without the padding."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor

from xlm_torch.attention import attention_mask_of
from xlm_torch.fast.rule import are_traced


@dataclass(frozen=True)
class Unpadding:
    """Which tokens of a batch are computed, and which of them see each other.

    Everything in a layer but attention treats each token by itself, so padding can be left out:
    `unpad` takes the tokens of all sentences as the rows of one matrix, and `pad` puts the rows
    back among zeros.

    Attributes:
        shape: (batch, new), of the positions of this call.
        causal: Positions see earlier ones and themselves only.
        positions: int64, shape (tokens,): where in the flattened batch the tokens are; None:
            nothing is left out, and what is computed has shape (batch, new, ...).
        lengths: Tokens of each sentence that has any, if padding is left out.
        bounds: int32, shape (sentences + 1,), on the device: where each of these begins and ends;
            None: sentences attend one after the other.
        attention_mask: bool, broadcastable to (batch, heads, new, key): True where visible; None:
            all are, or with `causal` all up to the query.
        tokens: bool, shape (batch, new, 1): False for padding; None: there is none.
    """

    shape: tuple[int, int]
    causal: bool
    positions: Tensor | None = None
    lengths: tuple[int, ...] = ()
    bounds: Tensor | None = None
    attention_mask: Tensor | None = None
    tokens: Tensor | None = None

    def unpad(self, x: Tensor) -> Tensor:
        """(batch, new, ...) to (tokens, ...), or as it is."""
        return x if self.positions is None else x.flatten(0, 1).index_select(0, self.positions)

    def unpad_shared(self, x: Tensor) -> Tensor:
        """(new, ...), the same for all sentences, to (tokens, ...), or as it is."""
        return x if self.positions is None else x[self.positions % self.shape[1]]

    def pad(self, x: Tensor) -> Tensor:
        """(tokens, ...) to (batch, new, ...), with zeros for padding."""
        if self.positions is None:
            return x
        batch, new = self.shape
        empty = x.new_zeros((batch * new, *x.shape[1:]))
        return empty.index_copy(0, self.positions, x).unflatten(0, (batch, new))

    def zero_padding(self, x: Tensor) -> Tensor:
        """Zeros where padding was not left out."""
        return x if self.tokens is None else x * self.tokens.to(x.dtype)

    def select(self, wanted: Tensor) -> tuple[Tensor, Unpadding]:
        """Restrict to the wanted positions.

        Args:
            wanted: bool, shape (batch, new): False for padding.

        Returns:
            Which of the computed tokens these are, int64, shape (wanted tokens,), and their
            unpadding, without an attention mask: for position-wise use only.
        """
        wanted = wanted.flatten()
        if self.positions is None:
            positions = selected = wanted.nonzero().squeeze(1)
        else:
            selected = wanted.index_select(0, self.positions).nonzero().squeeze(1)
            positions = self.positions.index_select(0, selected)
        return selected, Unpadding(self.shape, self.causal, positions)


def choose_unpadding(
    tokens: Tensor, *, causal: bool, width: int, varlen: bool = False
) -> Unpadding:
    """Decide what to compute of a batch.

    Padding is left out where that can be decided (running eagerly, on a device whose attention
    takes sentences of any lengths) and saves more time than it costs.

    Args:
        tokens: bool, shape (batch, sequence): False for padding.
        causal: Positions see earlier ones and themselves only.
        width: Of the hidden states.
        varlen: Whether the device has attention over sentences of any lengths, see `has_varlen`.
    """
    batch, sequence = shape = (tokens.shape[0], tokens.shape[1])
    if not are_traced(tokens) and (tokens.device.type == "cpu" or varlen):
        if bool(tokens.all()):
            return Unpadding(shape, causal)
        lengths = [length for length in tokens.sum(1).tolist() if length]
        if _saves_work(batch * sequence, sum(lengths), len(lengths), width):
            positions = tokens.flatten().nonzero().squeeze(1)
            bounds = _bounds(lengths, tokens.device) if varlen else None
            return Unpadding(shape, causal, positions, tuple(lengths), bounds)
    return keep_padding(tokens, causal=causal)


def keep_padding(tokens: Tensor, *, causal: bool, cached: int = 0) -> Unpadding:
    """Leave nothing out: padding is computed, and zeroed.

    Padding may see anything, since it is zeroed afterwards; it has to see something, because fused
    attention divides by zero where a query sees no key.

    Args:
        tokens: bool, shape (batch, sequence): False for padding.
        causal: Positions see earlier ones and themselves only.
        cached: Positions that are in a cache and not computed again.
    """
    batch, sequence = tokens.shape
    attention_mask = attention_mask_of(tokens, causal=causal, cached=cached)
    if causal:
        key = torch.arange(sequence, device=tokens.device)
        attention_mask = attention_mask | (key == key[cached:, None])
    else:
        attention_mask = attention_mask | ~tokens.any(1)[:, None, None, None]
    return Unpadding(
        (batch, sequence - cached),
        causal,
        attention_mask=attention_mask,
        tokens=tokens[:, cached:, None],
    )


def keep_new_positions(tokens: Tensor, *, cached: int) -> Unpadding:
    """Leave nothing out of a causal call with a cache; without padding, nothing is masked.

    Args:
        tokens: bool, shape (batch, sequence): False for padding.
        cached: Positions that are in the cache and not computed again.
    """
    batch, sequence = tokens.shape
    new = sequence - cached
    decides = not are_traced(tokens) and tokens.device.type == "cpu"
    if decides and (new == 1 or cached == 0) and bool(tokens.all()):
        return Unpadding((batch, new), causal=new > 1)
    return keep_padding(tokens, causal=True, cached=cached)


def keep_one_position(tokens: Tensor) -> Unpadding:
    """The one new position of each sentence, which sees all tokens among the keys of a cache.

    Args:
        tokens: bool, shape (batch, key): False for padding; each sentence has a token.
    """
    attention_mask = None if _are_seen_all(tokens) else tokens[:, None, None, :]
    return Unpadding((tokens.shape[0], 1), causal=False, attention_mask=attention_mask)


def keep_source(tokens: Tensor) -> Unpadding:
    """Leave nothing out of the sources of a batch; queries see no padding.

    Args:
        tokens: bool, shape (batch, source): False for padding.
    """
    if _are_seen_all(tokens):
        return Unpadding((tokens.shape[0], tokens.shape[1]), causal=False)
    # Fused attention divides by zero where a query sees no key.
    seen = tokens | ~tokens.any(1, keepdim=True)
    return Unpadding(
        (tokens.shape[0], tokens.shape[1]), causal=False, attention_mask=seen[:, None, None, :]
    )


def choose_source(target: Unpadding, tokens: Tensor, source: Tensor) -> Unpadding | None:
    """Decide what to compute of the sources of a batch, as it was decided for the batch itself.

    Where that leaves padding out, so do its sources, which are then those of the sentences that
    have tokens.

    Args:
        target: The unpadding of the batch.
        tokens: bool, shape (batch, sequence): False for padding in the batch.
        source: bool, shape (batch, source): False for padding in the sources.

    Returns:
        The unpadding of the sources; None: one of them is empty, so that none can be unpadded.
    """
    if target.positions is None:
        return keep_source(source)
    seen = source & tokens.any(1, keepdim=True)
    lengths = [
        length
        for length, any_token in zip(seen.sum(1).tolist(), tokens.any(1).tolist(), strict=True)
        if any_token
    ]
    if 0 in lengths:
        return None
    positions = seen.flatten().nonzero().squeeze(1)
    shape = (source.shape[0], source.shape[1])
    bounds = None if target.bounds is None else _bounds(lengths, source.device)
    return Unpadding(shape, False, positions, tuple(lengths), bounds)


def _bounds(lengths: list[int], device: torch.device) -> Tensor:
    """int32, shape (sentences + 1,): where sentences of these lengths begin and end."""
    return torch.tensor([0, *lengths]).cumsum(0).to(device, torch.int32)


def _are_seen_all(tokens: Tensor) -> bool:
    """Whether there is no padding, as far as may be decided without waiting for a device."""
    return not are_traced(tokens) and tokens.device.type == "cpu" and bool(tokens.all())


def select_last(
    unpadding: Unpadding, tokens: Tensor, wanted: Tensor | int | None
) -> tuple[Tensor | None, Unpadding]:
    """Restrict the last layer to the wanted positions.

    After the last attention every position is on its own, so a caller that looks at a few can
    skip the rest: it saves a tenth of a masked language model's step.

    Args:
        unpadding: That of the other layers.
        tokens: bool, shape (batch, new): False for padding.
        wanted: bool, shape (batch, new): True for positions that matter; or the one position of
            each sentence that does; None: all do.

    Returns:
        As in `Unpadding.select`; None and `unpadding` where nothing is gained or can be decided.
    """
    # On a GPU only where the lengths of sentences were waited for already.
    decides = not are_traced(tokens) and (bool(unpadding.lengths) or tokens.device.type == "cpu")
    if wanted is None or not decides:
        return None, unpadding
    if isinstance(wanted, int):
        column, wanted = wanted, torch.zeros_like(tokens)
        wanted[:, column] = True
    if wanted.shape != tokens.shape:
        return None, unpadding
    selected, last = unpadding.select(wanted & tokens)
    whole = tokens.numel() if unpadding.positions is None else len(unpadding.positions)
    return (selected, last) if len(selected) < whole else (None, unpadding)


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
