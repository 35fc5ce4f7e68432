"""Step by step with a cache equals one pass over the whole sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch

import xlm_torch
from tests.support.cases import Array
from tests.support.parity import assert_close_to_largest, assert_equal
from tests.tf.helpers import FLAGS, tensors, tiny_labels, tiny_model
from xlm_core import InputError
from xlm_tf import KeyValueCache

LENGTH = 9
ROWS = 3


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model(dtype="float64", causal=True)


@pytest.fixture(scope="module")
def language_model() -> Any:
    return tiny_model("XLMWithLMHeadModel", dtype="float64", causal=True)


def _batch(*names: str) -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(2)
    shape = (ROWS, LENGTH)
    batch: dict[str, Array] = {"input_ids": rng.integers(6, 50, shape)}
    mask = np.ones(shape, np.int64)
    if "right" in names:
        mask[1, 6:] = 0
        mask[2, 1:] = 0
    if "left" in names:
        mask[0, :4] = 0
    if mask.min() == 0:
        batch["attention_mask"] = mask
    batch["langs"] = rng.integers(0, 4, shape)
    if "positions" in names:
        batch["position_ids"] = rng.integers(0, 20, shape)
    if "types" in names:
        batch["token_type_ids"] = 3 + rng.integers(0, 2, shape)
    return tensors(batch)


def _up_to(batch: dict[str, tf.Tensor], end: int) -> dict[str, tf.Tensor]:
    return {name: tensor[:, :end] for name, tensor in batch.items()}


@pytest.mark.parametrize(
    "names", [(), ("right",), ("left",), ("right", "left"), ("positions", "types", "left")]
)
@pytest.mark.parametrize("ends", [range(1, LENGTH + 1), (4, 5, 9)], ids=["single", "chunks"])
def test_step_by_step(names: tuple[str, ...], ends: Any, model: Any) -> None:
    batch, cache = _batch(*names), KeyValueCache()
    mask = batch.get("attention_mask", tf.ones((ROWS, LENGTH), tf.int64))
    whole = model(**batch, **FLAGS)
    begin = 0
    for end in ends:
        step = model(**_up_to(batch, end), cache=cache, **FLAGS)
        assert step.last_hidden_state.shape == (ROWS, end - begin, 12)
        for mine, full in zip(step.hidden_states, whole.hidden_states, strict=True):
            assert_close_to_largest(mine, full[:, begin:end], 1e-12, scale=1.0)
        queries = mask.numpy()[:, None, begin:end, None]  # what padding attends to is not read
        for mine, full in zip(step.attentions, whole.attentions, strict=True):
            assert_close_to_largest(
                mine * queries, full[:, :, begin:end, :end] * queries, 1e-12, scale=1.0
            )
        begin = end
        assert cache.get_seq_length() == end


def test_logits_and_labels_of_the_new_positions(language_model: Any) -> None:
    batch, cache = _batch("left"), KeyValueCache()
    labels = np.roll(batch["input_ids"].numpy(), -1, 1)
    whole = language_model(**batch).logits
    language_model(**_up_to(batch, 5), cache=cache)
    step = language_model(**_up_to(batch, 8), cache=cache, labels=labels[:, 5:8])
    assert_close_to_largest(step.logits, whole[:, 5:8], 1e-12)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels[:, 5:8], whole[:, 5:8])
    assert_close_to_largest(step.loss, tf.reduce_mean(losses), 1e-12)


def test_steps_are_those_of_the_pytorch_family(language_model: Any, tmp_path: Any) -> None:
    language_model.save_pretrained(tmp_path)
    in_torch = xlm_torch.from_pretrained(tmp_path, dtype=torch.float64)
    batch = _batch("left", "positions")
    in_numpy = {name: tensor.numpy() for name, tensor in batch.items()}
    caches = KeyValueCache(), xlm_torch.KeyValueCache()
    for end in (3, 4, LENGTH):
        actual = language_model(**_up_to(batch, end), cache=caches[0]).logits
        given = {name: torch.from_numpy(a[:, :end].copy()) for name, a in in_numpy.items()}
        with torch.no_grad():
            expected = in_torch(**given, cache=caches[1]).logits
        assert_close_to_largest(actual, expected, 1e-12)


def test_embeddings_are_sliced_too(model: Any) -> None:
    batch, cache = _batch("left"), KeyValueCache()
    batch["inputs_embeds"] = model.embeddings(batch.pop("input_ids"))
    whole = model(**batch).last_hidden_state
    for begin, end in ((0, 3), (3, 4), (4, LENGTH)):
        step = model(**_up_to(batch, end), cache=cache).last_hidden_state
        assert_close_to_largest(step, whole[:, begin:end], 1e-12)


def test_arrays_and_narrow_integers(model: Any) -> None:
    batch, cache = _batch("left"), KeyValueCache()
    whole = model(**batch).last_hidden_state
    for end in (4, LENGTH):
        given = {name: t.numpy().astype(np.int32) for name, t in _up_to(batch, end).items()}
        step = model(**given, cache=cache).last_hidden_state
    assert_close_to_largest(step, whole[:, 4:], 1e-12)


def test_pruned_heads_with_a_cache() -> None:
    model = tiny_model(dtype="float64", causal=True)
    batch, cache = _batch("right"), KeyValueCache()
    model.prune_heads({0: [1], 1: [0, 2]})
    whole = model(**batch).last_hidden_state
    model(**_up_to(batch, 6), cache=cache)
    assert_close_to_largest(model(**batch, cache=cache).last_hidden_state, whole[:, 6:], 1e-12)


def test_steps_inside_one_function(model: Any) -> None:
    batch = _batch("right")

    @tf.function
    def in_two_steps(given: dict[str, tf.Tensor]) -> tf.Tensor:
        cache = KeyValueCache()
        model(**_up_to(given, 6), cache=cache)
        return model(**given, cache=cache).last_hidden_state

    whole = model(**batch).last_hidden_state
    assert_close_to_largest(in_two_steps(batch), whole[:, 6:], 1e-12)


def test_a_cache_in_half_precision() -> None:
    for dtype in ("mixed_float16", "bfloat16"):
        model = tiny_model(dtype=dtype, causal=True)
        batch, cache = _batch(), KeyValueCache()
        whole = model(**batch).last_hidden_state
        model(**_up_to(batch, 6), cache=cache)
        step = model(**batch, cache=cache).last_hidden_state
        assert_close_to_largest(tf.cast(step, "float32"), tf.cast(whole[:, 6:], "float32"), 0.05)


def test_update_appends() -> None:
    cache = KeyValueCache()
    assert cache.get_seq_length() == 0
    rng = np.random.default_rng(0)
    first, second = tf.constant(rng.random((2, 4, 3, 5))), tf.constant(rng.random((2, 4, 1, 5)))
    key, value = cache.update(first, 2 * first, 0)
    assert_equal(key, first)
    key, value = cache.update(second, 2 * second, 0)
    assert_equal(key, tf.concat((first, second), 2))
    assert_equal(value, 2 * key)
    assert cache.get_seq_length() == 4
    assert_equal(cache.update(second, second, 1)[0], second)


def test_any_object_with_two_methods_serves(model: Any) -> None:
    class Wrapped:
        def __init__(self) -> None:
            self.self_attention_cache = KeyValueCache()

    batch, cache = _batch(), Wrapped()
    whole = model(**batch).last_hidden_state
    model(**_up_to(batch, 6), cache=cache)
    assert_close_to_largest(model(**batch, cache=cache).last_hidden_state, whole[:, 6:], 1e-12)


def test_refused_where_it_cannot_be_right(model: Any) -> None:
    with pytest.raises(InputError, match=r"bidirectional model.*causal=True"):
        tiny_model()(**_batch(), cache=KeyValueCache())
    cache = KeyValueCache()
    model(**_up_to(_batch(), 4), cache=cache)
    for end in (1, 4):
        with pytest.raises(InputError, match=f"cache holds 4 positions and the call {end}"):
            model(**_up_to(_batch(), end), cache=cache)
    for wrong in ({}, (), 3):
        with pytest.raises(InputError) as caught:
            model(**_batch(), cache=wrong)
        with pytest.raises(InputError) as expected:
            xlm_torch.XLMModel(model.config)(torch.ones((1, 2), dtype=torch.int64), cache=wrong)
        assert str(caught.value).startswith(str(expected.value))


def test_labels_of_cached_positions_are_refused(language_model: Any) -> None:
    batch, cache = _batch(), KeyValueCache()
    language_model(**_up_to(batch, 4), cache=cache)
    labels = tiny_labels("XLMWithLMHeadModel", ROWS, LENGTH)
    with pytest.raises(InputError, match=r"labels has shape \(3, 9\): expected .*\(3, 5\)"):
        language_model(**batch, cache=cache, **labels)
