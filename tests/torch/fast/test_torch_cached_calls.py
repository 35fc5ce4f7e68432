"""The library's own cache takes fused attention; every other cache takes the formula."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from tests.support.parity import assert_all_close, assert_close_to_largest
from tests.support.torch_fast_paths import small_model, take_fast_paths
from tests.support.torch_internals import formulas_only, on_formula_attention
from xlm_torch import KeyValueCache, XLMModel, XLMWithLMHeadModel

LENGTH = 9
WHOLE = torch.ones(3, LENGTH, dtype=torch.long)
PADDED = {
    "none": WHOLE,
    "right": WHOLE.clone().index_put(
        (torch.tensor([1, 1, 2]), torch.tensor([7, 8, 8])), torch.tensor(0)
    ),
    "left": (torch.arange(LENGTH) >= torch.tensor([[0], [3], [5]])).long(),
}
ENDS = {"single": range(1, LENGTH + 1), "chunks": (4, 5, LENGTH)}


@pytest.fixture
def formulas(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The layers whose attention ran by the formula."""
    take_fast_paths(monkeypatch)
    ran: list[int] = []
    on_formula_attention(monkeypatch, ran.append)
    return ran


def _batch(padding: str = "none") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        "input_ids": torch.randint(6, 53, (3, LENGTH), generator=generator),
        "langs": torch.randint(5, (3, LENGTH), generator=generator),
        "attention_mask": PADDED[padding],
    }


def _steps(model: Any, batch: dict[str, Tensor], cache: Any, ends: Any, **asked: Any) -> Tensor:
    """The new hidden states of all steps, joined."""
    found = []
    for end in ends:
        given = {name: tensor[:, :end] for name, tensor in batch.items()}
        found.append(model(**given, cache=cache, **asked)[0])
    return torch.cat(found, 1)


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("padding", PADDED)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_same_numbers(formulas: list[int], padding: str, ends: str, dtype: torch.dtype) -> None:
    model = small_model(XLMModel, causal=True).to(dtype).eval()
    batch = _batch(padding)
    with torch.no_grad():
        with formulas_only():
            expected = _steps(model, batch, KeyValueCache(), ENDS[ends])
        assert formulas
        formulas.clear()
        found = _steps(model, batch, KeyValueCache(), ENDS[ends])
        whole = model(**batch).last_hidden_state
    assert not formulas
    bound = 1e-12 if dtype == torch.float64 else 3e-6
    assert_close_to_largest(found, expected, bound)
    assert_close_to_largest(found, whole, bound)


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("padding", PADDED)
def test_gradients_go_through_cached_keys(formulas: list[int], padding: str, ends: str) -> None:
    model, batch = small_model(XLMModel, causal=True).double(), _batch(padding)
    gradients = []
    for way in ("formulas", "fast", "whole"):
        model.zero_grad()
        if way == "whole":
            states = model(**batch).last_hidden_state
        elif way == "fast":
            formulas.clear()
            states = _steps(model, batch, KeyValueCache(), ENDS[ends])
            assert not formulas
        else:
            with formulas_only():
                states = _steps(model, batch, KeyValueCache(), ENDS[ends])
        # The last position alone: what reaches earlier ones went through the cache.
        (states[:, -1].sin().sum() + states[0].square().sum()).backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters()})
    assert float(gradients[0]["attentions.0.k_lin.weight"].abs().max()) > 0
    assert_all_close(gradients[1], gradients[0], 1e-12, one_scale=True)
    assert_all_close(gradients[1], gradients[2], 1e-12, one_scale=True)


class _Subclass(KeyValueCache):
    """Somebody else's."""


OTHERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "another cache": (DynamicCache, {}),
    "a subclass": (_Subclass, {}),
    "attention weights": (KeyValueCache, {"output_attentions": True}),
    "a head mask": (KeyValueCache, {"head_mask": torch.tensor([1.0, 0.5, 0.0, 1.0])}),
}


@pytest.mark.parametrize("other", OTHERS)
def test_the_formula_serves_all_else(formulas: list[int], other: str) -> None:
    make_cache, asked = OTHERS[other]
    model = small_model(XLMModel, causal=True).double().eval()
    with torch.no_grad():
        found = _steps(model, _batch("left"), make_cache(), (4, LENGTH), **asked)
        assert formulas == [*range(model.config.n_layers)] * 2
        with formulas_only():
            expected = _steps(model, _batch("left"), make_cache(), (4, LENGTH), **asked)
    assert_close_to_largest(found, expected, 1e-12)


def test_a_language_model(formulas: list[int]) -> None:
    model = small_model(XLMWithLMHeadModel, causal=True).double().eval()
    with torch.no_grad():
        whole = model(**_batch()).logits
        found = _steps(model, _batch(), KeyValueCache(), (1, 5, LENGTH))
    assert not formulas
    assert_close_to_largest(found, whole, 1e-12)


def test_dropout_of_attention_acts(formulas: list[int]) -> None:
    model = small_model(XLMModel, causal=True, attention_dropout=0.5)
    first, second = (_steps(model, _batch(), KeyValueCache(), (4, LENGTH)) for _ in range(2))
    assert bool(first.isfinite().all())
    assert not torch.equal(first, second)
    assert not formulas
