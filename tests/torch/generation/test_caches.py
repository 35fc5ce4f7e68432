"""Caches with reserved memory, reordered rows, and a compiled step of fixed shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.parity import assert_close_to_largest, assert_equal
from tests.torch.generation.conftest import prompts, random_model
from xlm_core.errors import InputError
from xlm_torch import KeyValueCache, XLMForConditionalGeneration
from xlm_torch.cache import CacheBuffers


def pairs(rows: int, new: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    key, value = torch.randn(2, rows, 3, new, 4, generator=generator)
    return key, value


@pytest.mark.parametrize("max_length", [None, 9])
def test_positions_are_appended_and_rows_selected(max_length: int | None) -> None:
    cache, held = KeyValueCache(max_length), None
    for step, (new, rows) in enumerate(
        [(4, [2, 0, 0, 1]), (1, [1, 0, 3, 2]), (2, [3, 3]), (1, [0])]
    ):
        batch = 3 if held is None else len(held[0])
        key, value = pairs(batch, new, step)
        held = (key, value) if held is None else tuple(
            torch.cat(each, dim=2) for each in zip(held, (key, value), strict=True)
        )  # fmt: skip
        for found, expected in zip(cache.update(key, value, 0), held, strict=True):
            assert_equal(found, expected)
        assert cache.get_seq_length() == held[0].shape[2]
        cache.select(torch.tensor(rows))
        held = tuple(each[rows] for each in held)
    if max_length is not None:
        with pytest.raises(InputError, match="holds up to 9 positions, and these make 10"):
            cache.update(*pairs(1, 2), 0)
    with pytest.raises(InputError, match="1 sentences and the call 2"):
        cache.update(*pairs(2, 1), 0)


def test_memory_is_reserved_once() -> None:
    cache = KeyValueCache(20)
    first, _ = cache.update(*pairs(2, 3), 0)
    cache.select(torch.tensor([1, 0]))
    later, _ = cache.update(*pairs(2, 1), 0)
    assert later.data_ptr() == first.data_ptr()


def test_only_what_rows_do_not_hold_yet_is_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, moved = KeyValueCache(20), list[int]()
    copy = Tensor.index_copy_
    monkeypatch.setattr(
        Tensor, "index_copy_", lambda *given: moved.append(len(given[2])) or copy(*given)
    )
    cache.update(*pairs(1, 5), 0)
    cache.select(torch.tensor([0, 0, 0]))
    assert not moved  # they are copies of one row
    cache.update(*pairs(3, 1, 1), 0)
    cache.select(torch.tensor([0, 0, 2]))
    assert moved == [1, 1]
    cache.update(*pairs(3, 2, 2), 0)
    cache.select(torch.tensor([2, 1, 0]))  # all but the five of the prompt
    assert moved[2:] == [6, 6]


def test_positions_written_by_the_caller() -> None:
    caches = [KeyValueCache(5) for _ in range(2)]
    for cache in caches:
        for layer in range(2):
            cache.update(*pairs(3, 4, layer), layer)
    assert caches[0].is_reserved(2)
    assert not caches[0].is_reserved(3)
    assert not KeyValueCache(5).is_reserved(0)
    for layer, (new_key, new_value, keys, values) in enumerate(caches[0].open_position()):
        key, value = pairs(3, 1, 7 + layer)
        new_key.copy_(key.flatten(1))
        new_value.copy_(value.flatten(1))
        for found, expected in zip(
            (keys, values), caches[1].update(key, value, layer), strict=True
        ):
            assert_equal(found, expected)
    assert not caches[0].is_reserved(2)  # no room is left
    with pytest.raises(InputError, match="holds up to 5 positions, and these make 6"):
        caches[0].open_position()


def test_sources_are_reordered_unless_they_stay() -> None:
    cache = KeyValueCache()
    assert cache.cross(0) is None
    key, value = pairs(2, 5)
    cache.update_cross(key, value, 0)
    cache.select(torch.tensor([1, 1]), sources=False)
    assert cache.cross(0) is not None
    assert_equal(cache.cross(0)[0], key)  # type: ignore[index]
    cache.select(torch.tensor([1]))
    assert_equal(cache.cross(0)[1], value[1:])  # type: ignore[index]


def test_gradients_flow_through_a_cache_with_a_limit(causal: Any) -> None:
    ids, langs = prompts(1), torch.zeros(3, 4, dtype=torch.long)
    gradients = []
    for limit in (None, 10):
        causal.zero_grad()
        cache = KeyValueCache(limit)
        causal(ids[:, :2], langs=langs[:, :2], cache=cache)
        causal(ids, langs=langs, cache=cache).logits.sum().backward()
        gradients.append(causal.transformer.attentions[0].k_lin.weight.grad)
    assert_equal(gradients[1], gradients[0])


def test_a_compiled_step_of_fixed_shapes() -> None:
    ids, capacity = prompts(2, rows=2, length=9), 12
    decoder = random_model(3, XLMForConditionalGeneration, causal=False, n_layers=1).decoder
    source = (torch.randn(2, 5, 12, dtype=torch.float64), torch.ones(2, 5, dtype=torch.bool))
    seen: list[Any] = []

    def counting(graph: Any, _: Any) -> Any:
        seen.append(graph)
        return graph.forward

    @torch.compile(backend=counting, fullgraph=True, dynamic=False)
    def step(new: Tensor, place: Tensor, tokens: Tensor, *held: Any) -> Tensor:
        keys, values, crosses = held
        cache = CacheBuffers(keys, values, length=place, cross=crosses)
        positions = place.expand(len(new))[:, None]
        hidden: Tensor = decoder.step(
            new[:, None], positions, new[:, None] * 0, tokens, cache, *source
        )
        return hidden

    with torch.no_grad():
        cache = CacheBuffers(capacity=capacity)
        tokens = torch.ones(2, 3, dtype=torch.bool)
        positions = torch.arange(3).expand(2, 3)
        decoder.step(ids[:, :3], positions, ids[:, :3] * 0, tokens, cache, *source)
        held = (cache.keys, cache.values, cache.crosses)
        whole = decoder(
            ids, langs=ids * 0, encoder_hidden_states=source[0], encoder_attention_mask=source[1]
        ).last_hidden_state
        for place in range(3, 9):
            tokens = (torch.arange(capacity) <= place).expand(2, capacity)
            hidden = step(ids[:, place], torch.tensor(place), tokens, *held)
            assert_close_to_largest(hidden[:, 0], whole[:, place], 1e-12)
    assert len(seen) == 1
