"""What is computed of a batch: all of it, or its tokens alone, without the padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from xlm_tf.fast.graphs import are_traced, attention
from xlm_tf.layers import shape_of

_Step = Callable[[tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class Rows:
    """The rows of a batch that layers work on, and which of them see each other.

    Everything in a layer but attention treats each token by itself, so padding can be left out:
    `pack` takes the tokens of all sentences as rows of one matrix, `attend` lets each sentence see
    itself only, and `unpack` puts the rows back among zeros.

    Attributes:
        shape: (batch, new), of the positions of this call.
        flat: Rows are those of one matrix, (rows, ...), else they have shape (batch, new, ...).
        places: int32, shape (tokens,): where in the flattened batch the tokens are; None: nothing
            is left out.
        slots: int32, shape (batch, longest): which row stands at each place of a batch in which
            sentences begin at 0 and the longest has no padding; for padding, a row of the same
            sentence, if it has one.
        back: int32, shape (tokens,): where each row stands in the flattened `slots`.
        visible: bool, broadcastable to (batch, heads, query, key): which key each position sees,
            among `slots` where padding is left out.
        tokens: bool, shape (batch, new, 1), or (rows, 1) where flat: False for padding; None:
            there is none among the rows.
    """

    shape: tuple[Any, Any]
    visible: tf.Tensor
    flat: bool = False
    places: tf.Tensor | None = None
    slots: tf.Tensor | None = None
    back: tf.Tensor | None = None
    tokens: tf.Tensor | None = None

    def pack(self, x: tf.Tensor) -> tf.Tensor:
        """(batch, new, ...) to rows."""
        if not self.flat:
            return x
        x = tf.reshape(x, (-1, *shape_of(x)[2:]))
        if self.places is None:
            return x
        return gather_rows(x, self.places) if x.dtype.is_floating else tf.gather(x, self.places)

    def of_positions(self, ids: tf.Tensor) -> tf.Tensor:
        """One number for each position, shape (new,), to rows."""
        return self.pack(tf.tile(ids[None], (self.shape[0], 1))) if self.flat else ids[None]

    def unpack(self, rows: tf.Tensor) -> tf.Tensor:
        """Rows to (batch, new, ...), with zeros for padding."""
        if not self.flat:
            return rows
        batch, new = self.shape
        width = rows.shape[-1]
        if self.places is not None:
            rows = tf.scatter_nd(self.places[:, None], rows, (batch * new, width))
        return tf.reshape(rows, (batch, new, width))

    def mask(self, rows: tf.Tensor) -> tf.Tensor:
        """Zeros where there is padding."""
        return rows if self.tokens is None else rows * tf.cast(self.tokens, rows.dtype)

    def only(self, wanted: tf.Tensor) -> tuple[tf.Tensor, Rows]:
        """Fewer rows: which of these they are, int32, shape (wanted tokens,), and what they are of.

        For what treats each row by itself: they do not say who sees whom.

        Args:
            wanted: bool, shape (batch, new): False for padding.
        """
        wanted = tf.reshape(wanted, (-1,))
        places = kept = tf.cast(tf.where(wanted)[:, 0], tf.int32)
        if self.places is not None:
            kept = tf.cast(tf.where(tf.gather(wanted, self.places))[:, 0], tf.int32)
        return kept, Rows(self.shape, self.visible, flat=True, places=places)

    def attend(
        self,
        query: tf.Tensor,
        key: tf.Tensor,
        value: tf.Tensor,
        heads: int,
        rate: float,
        seed: tf.Tensor | None,
    ) -> tf.Tensor:
        """Attention within each sentence, for flat rows.

        Args:
            query, key, value: float, shape (rows, heads * head_dim).
            heads: How many.
            rate: At which weights are dropped.
            seed: Of the dropout, in training.

        Returns:
            As query.
        """
        inner = query.shape[-1]
        split, merge = self._by_heads(heads, inner // heads)
        hidden = tf.where(self.visible, tf.zeros((), query.dtype), query.dtype.min)
        context = attention(split(query), split(key), split(value), hidden, rate=rate, seed=seed)
        return tf.reshape(merge(context), (-1, inner))

    def _by_heads(self, heads: int, width: int) -> tuple[_Step, _Step]:
        """Rows to (batch, heads, query, head_dim), and that to (rows, heads, head_dim)."""
        if self.slots is None or self.back is None:
            shape = (*self.shape, heads, width)

            def turn(x: tf.Tensor) -> tf.Tensor:
                return tf.transpose(x, (0, 2, 1, 3))

            return lambda x: turn(tf.reshape(x, shape)), turn
        # Heads are gathered with the rows, which saves turning them.
        head, longest = tf.range(heads), shape_of(self.slots)[1]
        slots = self.slots[:, None] * heads + head[:, None]
        sentence, column = self.back[:, None] // longest, self.back[:, None] % longest
        back = tf.reshape((sentence * heads + head) * longest + column, (-1,))
        return (
            lambda x: _spread(tf.reshape(x, (-1, width)), slots, back),
            lambda x: gather_rows(tf.reshape(x, (-1, width)), back),
        )


@tf.custom_gradient
def _spread(rows: tf.Tensor, slots: tf.Tensor, back: tf.Tensor) -> Any:
    """The rows at each of `slots`; a row's gradient comes from its own slot, `back`, alone."""

    def gradient(of_slots: tf.Tensor) -> tuple[tf.Tensor, None, None]:
        return gather_rows(tf.reshape(of_slots, (-1, of_slots.shape[-1])), back), None, None

    return tf.gather(rows, slots), gradient


@tf.custom_gradient
def gather_rows(x: tf.Tensor, places: tf.Tensor) -> Any:
    """The rows of `x`, (rows, width), at places, each of which is named once."""
    # Of the graph in which this is called, which may be that of a gradient: so it has its own.
    places = tf.identity(places)

    def gradient(of_rows: tf.Tensor) -> tuple[tf.Tensor, None]:
        return tf.scatter_nd(places[:, None], of_rows, tf.shape(x)), None

    return tf.gather(x, places), gradient


def rows_of(tokens: tf.Tensor, *, causal: bool) -> Rows:
    """What to compute of a batch: flat rows, without padding unless shapes must not depend on it.

    Args:
        tokens: bool, shape (batch, sequence): False for padding.
        causal: Positions see earlier ones and themselves only.
    """
    batch, sequence = shape_of(tokens)
    if are_traced():
        visible = _visible(tokens, causal)
        return Rows((batch, sequence), visible, flat=True, tokens=tf.reshape(tokens, (-1, 1)))
    lengths = tf.reduce_sum(tf.cast(tokens, tf.int32), axis=1)
    places = tf.cast(tf.where(tf.reshape(tokens, (-1,)))[:, 0], tf.int32)
    longest = tf.maximum(tf.reduce_max(lengths), 0)  # which is less where there is no sentence
    column = tf.range(longest)
    starts = tf.cumsum(lengths, exclusive=True)
    taken = column < lengths[:, None]
    # At padding a sentence sees a row of its own, not NaN of another; without tokens, any.
    first = tf.where(lengths > 0, starts, 0)
    slots = tf.where(taken, starts[:, None] + column, first[:, None])
    back = tf.cast(tf.where(tf.reshape(taken, (-1,)))[:, 0], tf.int32)
    return Rows((batch, sequence), _visible(taken, causal), True, places, slots, back)


def all_rows(tokens: tf.Tensor, *, causal: bool, cached: int = 0) -> Rows:
    """Rows with nothing left out, of the shape of the batch.

    Args:
        tokens, causal: As of `rows_of`.
        cached: Positions that are in a cache and not computed again.
    """
    batch, sequence = shape_of(tokens)
    visible = _visible(tokens, causal, cached)
    return Rows((batch, sequence - cached), visible, tokens=tokens[:, cached:, None])


# -- where the last layer ends ---------------------------------------------------------------------

_WANTED: ContextVar[tuple[Any, tf.Tensor | int] | None] = ContextVar("wanted", default=None)


@contextmanager
def wanted_rows(encoder: Any, wanted: tf.Tensor | int | None) -> Iterator[None]:
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


def asked_rows(encoder: Any) -> tf.Tensor | int | None:
    """What `wanted_rows` says to `encoder`: once."""
    asked = _WANTED.get()
    if asked is None or asked[0] is not encoder:
        return None
    _WANTED.set(None)
    return asked[1]


def last_rows(
    rows: Rows, tokens: tf.Tensor, wanted: tf.Tensor | int | None
) -> tuple[tf.Tensor | None, Rows]:
    """Which rows of the last layer are wanted, None for all, and the rows that it ends with.

    After the last attention every position is on its own, so who asks for a few has no use for the
    others: a tenth of a masked language model's step.

    Args:
        rows: Those of the other layers.
        tokens: bool, shape (batch, new): False for padding.
        wanted: See `wanted_rows`.
    """
    if wanted is None or are_traced():
        return None, rows
    if isinstance(wanted, int):
        sequence = shape_of(tokens)[1]
        wanted = (tf.range(sequence) == (wanted if wanted >= 0 else sequence + wanted))[None]
    return rows.only(wanted & tokens)


# -- what sees what --------------------------------------------------------------------------------


def _visible(tokens: tf.Tensor, causal: bool, cached: int = 0) -> tf.Tensor:
    visible = tokens[:, None, None, :]
    if causal:
        key = tf.range(shape_of(tokens)[1])
        visible = visible & (key <= key[cached:, None])
    return visible
