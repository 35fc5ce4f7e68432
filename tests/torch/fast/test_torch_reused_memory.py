"""Memory of gradients is used again, and never while anybody holds it."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.parity import assert_close_to_largest, assert_equal, assert_same_results
from tests.support.torch_fast_paths import results, small_batch, small_model, take_fast_paths
from tests.support.torch_internals import (
    ReusedMemory,
    prefer_onednn,
    product,
    set_copied_at_a_time,
    set_logits_limits,
    set_smallest_reused,
    spare_blocks,
)

BATCH = {**small_batch(labels=True), "output_logits": False}


@pytest.fixture(autouse=True)
def _every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    take_fast_paths(monkeypatch)


def _step(model: Any) -> Tensor:
    """The gradient of the vocabulary's matrix."""
    model(**BATCH).loss.backward()
    gradient: Tensor = model.pred_layer.proj.weight.grad
    return gradient


# -- blocks ----------------------------------------------------------------------------------------


def test_a_block_comes_back_when_its_last_tensor_is_gone() -> None:
    memory, like = ReusedMemory(), torch.empty(5, 3)
    first = memory.empty_like(like)
    place, last = first.data_ptr(), first[4].detach()
    assert first.shape == like.shape
    assert first.is_contiguous()
    first.fill_(1.0)
    del first
    second = memory.empty_like(like)  # `last` is a part of the first
    assert second.data_ptr() != place
    second.fill_(2.0)
    assert last.tolist() == [1.0] * 3
    array = last.numpy()
    del last
    assert memory.empty_like(like).data_ptr() != place
    assert array.tolist() == [1.0] * 3
    del array, second
    assert len(spare_blocks(memory)) == 1  # the other is given up
    spare = spare_blocks(memory)[0].data_ptr()
    assert memory.empty_like(like).data_ptr() == spare


def test_other_shapes_dtypes_and_places() -> None:
    memory = ReusedMemory()
    for like in (torch.empty(5, 3), torch.empty(3, 5), torch.empty(3, 5, dtype=torch.float64)):
        block = memory.empty_like(like)
        assert (block.shape, block.dtype) == (like.shape, like.dtype)
    assert memory.empty_like(torch.empty(3, 5).t()).is_contiguous()
    del block
    before = [spare.data_ptr() for spare in spare_blocks(memory)]
    for like in (torch.empty(3, 5, dtype=torch.bfloat16), torch.empty(3, 5, device="meta")):
        assert memory.empty_like(like).device == like.device
        assert memory.empty_like(like).dtype == like.dtype
    assert [spare.data_ptr() for spare in spare_blocks(memory)] == before


def test_small_ones_are_left_to_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    set_smallest_reused(monkeypatch, 61)
    memory = ReusedMemory()
    memory.empty_like(torch.empty(5, 3))
    assert not spare_blocks(memory)
    memory.empty_like(torch.empty(4, 4))
    assert len(spare_blocks(memory)) == 1


def test_memory_ends_with_its_owner() -> None:
    memory = ReusedMemory()
    held, spare = memory.empty_like(torch.empty(5, 3)), memory.empty_like(torch.empty(5, 3))
    del spare
    block = weakref.ref(spare_blocks(memory)[0])
    del memory
    gc.collect()
    assert block() is None
    held.fill_(3.0)
    del held


@pytest.mark.parametrize("by_onednn", [False, True])
@pytest.mark.parametrize("copied", [1, 48, 2**20])
def test_products_into_a_block(
    monkeypatch: pytest.MonkeyPatch, by_onednn: bool, copied: int
) -> None:
    if not by_onednn:
        prefer_onednn(monkeypatch, {})
    set_copied_at_a_time(monkeypatch, copied)
    x, weight = torch.randn(4, 11), torch.randn(4, 6)
    out = torch.full((13, 6), torch.nan)
    assert product(x.t(), weight.t(), out=out[1:12]) is not None
    assert_close_to_largest(out[1:12], x.double().t() @ weight.double(), 1e-6)
    assert bool(out[[0, 12]].isnan().all())


# -- models ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_a_step_writes_where_the_last_one_did(
    monkeypatch: pytest.MonkeyPatch, tied: bool, parts: bool
) -> None:
    if parts:
        set_logits_limits(monkeypatch, kept=0, part=2**10)
    model = small_model(tie_word_embeddings=tied)
    first = _step(model)
    place, expected = first.data_ptr(), first.clone()
    del first
    model.zero_grad()
    again = _step(model)
    assert again.data_ptr() == place
    assert_equal(again, expected)


def test_gradients_that_are_kept_stay_as_they_are() -> None:
    model, kept = small_model(), []
    model.pred_layer.proj.weight.register_hook(lambda gradient: kept.append(gradient))
    first = _step(model)
    values = first.clone()
    model.zero_grad()
    with torch.no_grad():
        model.pred_layer.proj.weight.mul_(2)
    _step(model)
    assert_equal(first, values)
    assert len({gradient.data_ptr() for gradient in kept}) == 2
    loss = model(**BATCH).loss
    weight = model.pred_layer.proj.weight
    (one,) = torch.autograd.grad(loss, weight, retain_graph=True)
    copied = one.clone()
    (two,) = torch.autograd.grad(2 * loss, weight)
    assert_equal(one, copied)
    assert_close_to_largest(two, 2 * copied, 1e-6)


def test_accumulated() -> None:
    model = small_model()
    expected = _step(model).clone()
    for times in (2, 3, 4):
        assert_close_to_largest(_step(model), times * expected, 1e-6)


def test_after_a_change_of_dtype_and_size() -> None:
    model = small_model()
    _step(model)
    for change in (lambda: model.double(), lambda: model.resize_token_embeddings(60)):
        model.zero_grad()
        change()
        found = results(model, BATCH)
        assert_same_results(found, results(model, BATCH, plain=True), 1e-12)


def test_neither_copied_nor_saved() -> None:
    model = small_model()
    _step(model)
    model.zero_grad()
    size = len(pickle.dumps(small_model()))
    assert len(pickle.dumps(model)) <= size + 100
    other = copy.deepcopy(model)
    one, two = _step(model), _step(other)
    assert one.data_ptr() != two.data_ptr()
    assert_equal(one, two)


def test_threads() -> None:
    model = small_model()
    expected = _step(model).clone()
    model.zero_grad()
    weight, wrong = model.pred_layer.proj.weight, []

    def many() -> None:
        for _ in range(30):
            (found,) = torch.autograd.grad(model(**BATCH).loss, weight)
            if not torch.allclose(found, expected, rtol=1e-4, atol=1e-5):
                wrong.append(found)

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
