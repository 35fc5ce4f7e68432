"""The rows of a batch by themselves: packed, attending, unpacked, for any mask."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.cases import Array
from tests.support.parity import as_array, assert_all_close, assert_close_to_largest, assert_equal
from tests.support.tf_fast_paths import (
    MASK,
)
from tests.support.tf_internals import (
    attend,
    computed_tokens,
    flattened,
    gather_rows,
    is_flat,
    mask_padding,
    pad,
    unpad,
    unpad_positions,
    unpadding_of,
    whole_batch,
)

HEADS, WIDTH = 2, 6


@st.composite
def masks(draw: st.DrawFn) -> Array:
    """bool, shape (batch, sequence): anything."""
    batch, sequence = draw(st.integers(1, 4)), draw(st.integers(1, 7))
    flags = st.lists(st.booleans(), min_size=sequence, max_size=sequence)
    return np.array(draw(st.lists(flags, min_size=batch, max_size=batch)))


def _random(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).normal(size=shape))


# -- packing by itself -----------------------------------------------------------------------------


@pytest.mark.parametrize("static", [False, True])
@given(mask=masks())
@example(mask=np.zeros((2, 3), bool))
@example(mask=np.zeros((0, 3), bool))
@example(mask=np.zeros((2, 0), bool))
def test_pack_and_unpack(static: bool, mask: Array) -> None:
    rows, x = unpadding_of(mask, static=static), _random(*mask.shape, 3)
    packed = unpad(rows, x)
    assert is_flat(rows)
    assert (computed_tokens(rows) is None) is static
    assert_equal(packed, as_array(x).reshape(-1, 3) if static else as_array(x)[mask])
    zeroed = as_array(x) * mask[..., None]
    assert_equal(pad(rows, mask_padding(rows, packed)), zeroed)
    ids = tf.range(mask.size)[:, None]
    assert_equal(
        unpad(rows, tf.reshape(ids, mask.shape)), ids[:, 0] if static else ids[mask.ravel()][:, 0]
    )
    positions = tf.range(mask.shape[1]) * 3
    everywhere = np.broadcast_to(as_array(positions), mask.shape)
    assert_equal(
        unpad_positions(rows, positions), everywhere.ravel() if static else everywhere[mask]
    )
    dense = whole_batch(mask)
    assert unpad(dense, x) is pad(dense, x) is x
    assert_equal(mask_padding(dense, x), zeroed)


def _dense_attention(query: Array, key: Array, value: Array, mask: Array, causal: bool) -> Array:
    """Of each token alone, in numpy: what it sees is gathered first. Zeros at padding."""
    context = np.zeros_like(query)
    for row, at in np.argwhere(mask):
        seen = [k for k in np.flatnonzero(mask[row]) if k <= at or not causal]
        for head in range(HEADS):
            part = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
            scores = key[row, seen, part] @ query[row, at, part] / np.sqrt(WIDTH // HEADS)
            weights = np.exp(scores - scores.max())
            context[row, at, part] = weights / weights.sum() @ value[row, seen, part]
    return context


@pytest.mark.parametrize("static", [False, True])
@given(mask=masks(), causal=st.booleans())
@example(mask=MASK.astype(bool), causal=False)
@example(mask=MASK.astype(bool), causal=True)
@example(mask=np.zeros((2, 3), bool), causal=True)
@example(mask=np.zeros((0, 3), bool), causal=False)
def test_attend(static: bool, mask: Array, causal: bool) -> None:
    """What sentences see, with derivatives: no padding and no other sentence, for any mask."""
    rows = unpadding_of(mask, static=static, causal=causal)
    dense = whole_batch(mask, causal=causal)
    inputs = [_random(*mask.shape, WIDTH, seed=seed) for seed in range(3)]
    gradients = []
    for way in (rows, flattened(dense)):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            context = attend(way, *(unpad(way, x) for x in inputs), n_heads=HEADS)
            context = mask_padding(dense, pad(way, context))
            objective = tf.reduce_sum(tf.sin(context) * _random(*mask.shape, WIDTH, seed=9))
        gradients.append(dict(zip("qkv", tape.gradient(objective, inputs), strict=True)))
        expected = _dense_attention(*map(as_array, inputs), mask, causal)
        if mask.any():
            assert_close_to_largest(context, expected, 1e-14)
        else:
            assert_equal(context, expected)
    if mask.any():
        assert_all_close(*gradients, 1e-13, one_scale=True)


def test_what_is_gathered_once_has_derivatives_of_any_order() -> None:
    x, places = _random(5, 2), tf.constant([3, 0, 4])
    found = []
    for gather in (gather_rows, tf.gather):
        with tf.GradientTape() as second, tf.GradientTape() as first:
            for tape in (first, second):
                tape.watch(x)
            y = tf.reduce_sum(tf.sin(gather(x, places)) ** 2)
            g = tf.convert_to_tensor(first.gradient(y, x))
            penalty = tf.reduce_sum(g**3)
        found.append({"1": g, "2": tf.convert_to_tensor(second.gradient(penalty, x))})
    assert_all_close(*found, 1e-14)
