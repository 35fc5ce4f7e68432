"""Which tokens of a batch are computed: all positions, or the tokens without the padding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from xlm_tf.attention import attention_mask_of
from xlm_tf.fast.rule import are_traced
from xlm_tf.layers import shape_of


@dataclass(frozen=True)
class Unpadding:
    """Which tokens of a batch are computed, and which of them see each other.

    Everything in a layer but attention treats each token by itself, so padding can be left out:
    `unpad` takes the tokens of all sentences as the rows of one matrix, and `pad` puts the rows
    back among zeros. Attention sees them as a left-aligned batch, in which sentences begin at 0
    and the longest has no padding.

    Attributes:
        shape: (batch, new), of the positions of this call.
        attention_mask: bool, broadcastable to (batch, heads, query, key): True where visible, in
            the left-aligned batch where padding is left out; None: see nothing, where only single
            tokens are computed.
        positions: int32, shape (tokens,): where in the flattened batch the tokens are; None:
            nothing is left out, and all positions are rows.
        aligned: int32, shape (batch, longest): which token stands at each place of the
            left-aligned batch; at padding, one of the same sentence, if it has any.
        back: int32, shape (tokens,): where each token stands in the flattened `aligned`.
        tokens: bool, shape (rows, 1): False for padding; None: there is none.
    """

    shape: tuple[Any, Any]
    attention_mask: tf.Tensor | None = None
    positions: tf.Tensor | None = None
    aligned: tf.Tensor | None = None
    back: tf.Tensor | None = None
    tokens: tf.Tensor | None = None

    def unpad(self, x: tf.Tensor) -> tf.Tensor:
        """(batch, new, ...) to (tokens, ...)."""
        x = tf.reshape(x, (-1, *shape_of(x)[2:]))
        if self.positions is None:
            return x
        if not x.dtype.is_floating:
            return tf.gather(x, self.positions)
        return gather_rows(x, self.positions)

    def unpad_shared(self, x: tf.Tensor) -> tf.Tensor:
        """(new,), the same for all sentences, to (tokens,)."""
        return self.unpad(tf.tile(x[None], (self.shape[0], 1)))

    def pad(self, x: tf.Tensor) -> tf.Tensor:
        """(tokens, width) to (batch, new, width), with zeros for padding."""
        batch, new = self.shape
        width = x.shape[-1]
        if self.positions is not None:
            x = tf.scatter_nd(self.positions[:, None], x, (batch * new, width))
        return tf.reshape(x, (batch, new, width))

    def zero_padding(self, x: tf.Tensor) -> tf.Tensor:
        """Zeros where padding was not left out."""
        return x if self.tokens is None else x * tf.cast(self.tokens, x.dtype)

    def select(self, wanted: tf.Tensor) -> tuple[tf.Tensor, Unpadding]:
        """Restrict to the wanted positions.

        Args:
            wanted: bool, shape (batch, new): False for padding.

        Returns:
            Which of the computed tokens these are, int32, shape (wanted tokens,), and their
            unpadding, without an attention mask: for position-wise use only.
        """
        wanted = tf.reshape(wanted, (-1,))
        positions = selected = _indices_where(wanted)
        if self.positions is not None:
            selected = _indices_where(tf.gather(wanted, self.positions))
        return selected, Unpadding(self.shape, positions=positions)


@tf.custom_gradient
def gather_rows(x: tf.Tensor, indices: tf.Tensor) -> Any:
    """The rows of `x`, (rows, width), at indices, each of which is named once."""
    # Of the graph in which this is called, which may be that of a gradient: so it has its own.
    indices = tf.identity(indices)

    def gradient(of_rows: tf.Tensor) -> tuple[tf.Tensor, None]:
        return tf.scatter_nd(indices[:, None], of_rows, tf.shape(x)), None

    return tf.gather(x, indices), gradient


def choose_unpadding(tokens: tf.Tensor, *, causal: bool) -> Unpadding:
    """Decide what to compute of a batch.

    Padding is left out unless shapes must not depend on values.

    Args:
        tokens: bool, shape (batch, sequence): False for padding.
        causal: Positions see earlier ones and themselves only.
    """
    if are_traced():
        return keep_padding(tokens, causal=causal)
    batch, sequence = shape_of(tokens)
    lengths = tf.reduce_sum(tf.cast(tokens, tf.int32), axis=1)
    positions = _indices_where(tf.reshape(tokens, (-1,)))
    longest = tf.maximum(tf.reduce_max(lengths), 0)  # which is less where there is no sentence
    column = tf.range(longest)
    starts = tf.cumsum(lengths, exclusive=True)
    taken = column < lengths[:, None]
    # At padding a sentence sees a row of its own, not NaN of another; without tokens, any.
    first = tf.where(lengths > 0, starts, 0)
    return Unpadding(
        (batch, sequence),
        attention_mask_of(taken, causal=causal),
        positions=positions,
        aligned=tf.where(taken, starts[:, None] + column, first[:, None]),
        back=_indices_where(tf.reshape(taken, (-1,))),
    )


def keep_padding(tokens: tf.Tensor, *, causal: bool, cached: int | tf.Tensor = 0) -> Unpadding:
    """Leave nothing out: padding is computed, and zeroed.

    Padding may see anything, since it is zeroed afterwards; it has to see something, because in
    half types an additive mask makes weights NaN where a query sees no key, and zero times NaN is
    NaN.

    Args:
        tokens: bool, shape (batch, sequence): False for padding.
        causal: Positions see earlier ones and themselves only.
        cached: Positions that are in a cache and not computed again.
    """
    batch, sequence = shape_of(tokens)
    attention_mask = attention_mask_of(tokens, causal=causal, cached=cached)
    if causal:
        key = tf.range(sequence)
        attention_mask = attention_mask | (key == tf.expand_dims(key[cached:], 1))
    else:
        empty = ~tf.reduce_any(tokens, axis=1, keepdims=True)
        attention_mask = attention_mask | tf.expand_dims(tf.expand_dims(empty, 1), 1)
    return Unpadding(
        (batch, sequence - cached),
        attention_mask,
        tokens=tf.reshape(tokens[:, cached:], (-1, 1)),
    )


def keep_new_positions(
    tokens: tf.Tensor, *, cached: int | tf.Tensor, new: int | tf.Tensor | None = None
) -> Unpadding:
    """Leave nothing out of a causal call with a cache, for the formula's attention.

    Args:
        tokens: bool, shape (batch, sequence): False for padding.
        cached: Positions that are in the cache and not computed again.
        new: How many of the following are computed; None: all.
    """
    if new is not None:
        batch = shape_of(tokens)[0]
        attention_mask = attention_mask_of(tokens, causal=True, cached=cached, new=new)
        computed = tf.slice(tokens, (0, cached), (batch, new))
        return Unpadding((batch, new), attention_mask, tokens=tf.reshape(computed, (-1, 1)))
    whole = keep_padding(tokens, causal=True, cached=cached)
    return replace(whole, attention_mask=attention_mask_of(tokens, causal=True, cached=cached))


def keep_source(tokens: tf.Tensor) -> Unpadding:
    """Leave nothing out of the sources of a batch; queries see no padding.

    Args:
        tokens: bool, shape (batch, source): False for padding.
    """
    return keep_padding(tokens, causal=False)


def choose_source(tokens: tf.Tensor) -> Unpadding:
    """Decide what to compute of the sources of a batch: all tokens, as `choose_unpadding` does.

    Queries of a sentence whose source is empty see something, so that nothing becomes NaN.

    Args:
        tokens: bool, shape (batch, source): False for padding.
    """
    unpadding = choose_unpadding(tokens, causal=False)
    empty = tf.reshape(~tf.reduce_any(tokens, axis=1), (-1, 1, 1, 1))
    return replace(unpadding, attention_mask=unpadding.attention_mask | empty)


def select_last(
    unpadding: Unpadding, tokens: tf.Tensor, wanted: tf.Tensor | int | None
) -> tuple[tf.Tensor | None, Unpadding]:
    """Restrict the last layer to the wanted positions.

    After the last attention every position is on its own, so a caller that looks at a few can
    skip the rest: it saves a tenth of a masked language model's step.

    Args:
        unpadding: That of the other layers.
        tokens: bool, shape (batch, new): False for padding.
        wanted: bool, shape (batch, new): True for positions that matter; or the one position of
            each sentence that does; None: all do.

    Returns:
        As in `Unpadding.select`; None and `unpadding` where shapes must not depend on values.
    """
    if wanted is None or are_traced():
        return None, unpadding
    if isinstance(wanted, int):
        sequence = shape_of(tokens)[1]
        wanted = (tf.range(sequence) == (wanted if wanted >= 0 else sequence + wanted))[None]
    return unpadding.select(wanted & tokens)


def _indices_where(flags: tf.Tensor) -> tf.Tensor:
    """int32: the indices at which flags of shape (n,) are True."""
    return tf.cast(tf.where(flags)[:, 0], tf.int32)
