"""Dropout on CPUs: what is dropped, how often, and that all else is the formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import xlm_torch.fast.attention as attention
from xlm_torch.fast.attention import attend_within_sentences
from xlm_torch.fast.dropout import add_dropout, draws_fast, dropout_factors
from xlm_torch.fast.unpadding import Unpadding


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_elements_are_dropped_at_the_rate_and_the_others_grow(
    dtype: torch.dtype, rate: float
) -> None:
    torch.manual_seed(0)
    factors = dropout_factors(torch.empty(99, 1001, dtype=dtype), rate)
    assert factors.dtype == dtype
    assert sorted(factors.unique().tolist()) == pytest.approx([0, 1 / (1 - rate)], rel=4e-3)
    dropped = (factors == 0).double()
    error = (rate * (1 - rate) / dropped.numel()) ** 0.5
    assert dropped.mean().item() == pytest.approx(rate, abs=4 * error)
    # Neighbours come from one number of 64 bits; none says anything about another.
    for distance in (1, 2, 3, 4, 1001):
        both = (dropped.flatten()[distance:] * dropped.flatten()[:-distance]).mean()
        assert both.item() == pytest.approx(rate**2, abs=6 * error)


def test_the_mean_stays() -> None:
    torch.manual_seed(1)
    factors = dropout_factors(torch.empty(2**18, dtype=torch.float64), 0.1)
    assert factors.mean().item() == pytest.approx(1, abs=3e-3)


def test_a_seed_repeats_what_is_dropped() -> None:
    x = torch.ones(7, 13)
    torch.manual_seed(3)
    first, second = dropout_factors(x, 0.5), dropout_factors(x, 0.5)
    torch.manual_seed(3)
    assert dropout_factors(x, 0.5).equal(first)
    assert not second.equal(first)


@pytest.mark.parametrize("rate", [0.0, 1e-9, 1.0])
def test_rates_that_no_draw_can_have_take_the_other_way(rate: float) -> None:
    x = torch.ones(64, 64, dtype=torch.float64)
    assert not draws_fast(x, rate)
    assert add_dropout(x, x, rate).unique().tolist() in ([1.0], [pytest.approx(2.0)])


def test_nothing_is_drawn_of_nothing() -> None:
    x = torch.ones(0, 5)
    assert add_dropout(x, x, 0.1).shape == (0, 5)


def test_gradients_pass_where_nothing_was_dropped() -> None:
    x, residual = (torch.randn(5, 9, dtype=torch.float64, requires_grad=True) for _ in range(2))
    torch.manual_seed(5)
    result = add_dropout(residual, x, 0.3)
    torch.manual_seed(5)
    factors = dropout_factors(x, 0.3)
    torch.testing.assert_close(result, residual + x * factors, rtol=0, atol=1e-15)
    result.sum().backward()
    assert x.grad is not None
    assert residual.grad is not None
    assert x.grad.equal(factors)
    assert residual.grad.equal(torch.ones_like(factors))


def test_tensors_without_values_take_pytorch_s_own() -> None:
    assert not draws_fast(torch.ones(8, device="meta"), 0.5)
    assert add_dropout(*[torch.ones(8, device="meta")] * 2, 0.5).shape == (8,)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lengths", [(), (5, 70, 1)])
def test_attention_that_drops_is_the_formula(
    monkeypatch: pytest.MonkeyPatch, causal: bool, lengths: tuple[int, ...]
) -> None:
    drawn: list[Tensor] = []

    def remembered(like: Tensor, rate: float) -> Tensor:
        drawn.append(dropout_factors(like, rate))
        return drawn[-1]

    monkeypatch.setattr(attention, "dropout_factors", remembered)
    generator = torch.Generator().manual_seed(0)
    shape = (sum(lengths), 3, 4) if lengths else (2, 66, 3, 4)
    given: dict[str, Any] = {"dtype": torch.float64, "generator": generator}
    inputs = [torch.randn(shape, **given).requires_grad_() for _ in range(3)]
    if lengths:
        unpadding = Unpadding((3, 70), causal, positions=torch.arange(76), lengths=lengths)
        sentences = list(zip(*(x.split(lengths) for x in inputs), strict=True))
    else:
        unpadding = Unpadding((2, 66), causal)
        sentences = list(zip(*inputs, strict=True))
    found = attend_within_sentences(unpadding, *inputs, 0.25)
    assert len(drawn) == len(sentences)

    expected = []
    for (query, key, value), factors in zip(sentences, drawn, strict=True):
        scores = torch.einsum("qhd,khd->hqk", query, key) / 2
        if causal:
            scores = scores + torch.full(scores.shape[1:], -torch.inf).triu(1)
        weights = F.softmax(scores, -1) * factors
        expected.append(torch.einsum("hqk,khd->qhd", weights, value).flatten(1))
    whole = torch.cat(expected).view(found.shape)
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-12)
    gradient = torch.randn(found.shape, **given)
    for own, formula in zip(
        torch.autograd.grad(found, inputs, gradient),
        torch.autograd.grad(whole, inputs, gradient),
        strict=True,
    ):
        torch.testing.assert_close(own, formula, rtol=0, atol=1e-12)
