"""A step of one position by direct calls equals the layers as they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import tests.support.torch_internals as internals
from tests.conftest import make_config
from tests.support.parity import assert_close_to_largest
from xlm_torch import KeyValueCache, XLMForConditionalGeneration, XLMModel, formulas_only


def body_of(decodes: bool, **values: Any) -> Any:
    torch.manual_seed(0)
    config = make_config(init_std=0.4, embed_init_std=1.0, **values)
    if decodes:
        return XLMForConditionalGeneration(config).double().eval().decoder
    config.causal = True
    return XLMModel(config).double().eval()


def step(body: Any, decodes: bool) -> torch.Tensor:
    """The hidden states of the last of five positions, the first of which is padding in one row."""
    ids = torch.arange(6, 16).view(2, 5)
    tokens = torch.ones(2, 5, dtype=torch.bool)
    tokens[0, 0] = False
    source: tuple[torch.Tensor, ...] = ()
    if decodes:
        generator = torch.Generator().manual_seed(1)
        hidden = torch.randn(2, 4, 12, dtype=torch.float64, generator=generator).to(body.dtype)
        source = (hidden, torch.tensor([[True, True, False, False], [True] * 4]))
    positions, cache = torch.arange(5).expand(2, 5), KeyValueCache(max_length=7)
    body.step(ids[:, :4], positions[:, :4], ids[:, :4] * 0, tokens[:, :4], cache, *source)
    found: torch.Tensor = body.step(
        ids[:, 4:], positions[:, 4:], ids[:, 4:] * 0, tokens, cache, *source
    )
    return found


@pytest.mark.parametrize("decodes", [False, True])
@pytest.mark.parametrize("gelu", [False, True])
def test_the_same_as_by_the_formulas(decodes: bool, gelu: bool) -> None:
    body = body_of(decodes, gelu_activation=gelu)
    if not decodes:
        body.prune_heads({1: [0, 2]})
    with torch.no_grad():
        found = step(body, decodes)
        with formulas_only():
            assert_close_to_largest(found, step(body, decodes), 1e-13)


def test_by_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    if internals.ONEDNN is None:
        pytest.skip("no oneDNN to ask by name")
    body = body_of(True)
    with torch.no_grad():
        expected = step(body, True)
        internals.prefer_onednn(monkeypatch, {torch.float32: internals.ANY_ROWS})
        internals.set_smallest_matrix(monkeypatch, 1)
        assert_close_to_largest(step(body.float(), True).double(), expected, 1e-5)


def test_when_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    body, calls = body_of(False), list[int]()
    run = internals.path.run_one_position
    monkeypatch.setattr(
        internals.path, "run_one_position", lambda *given: calls.append(1) or run(*given)
    )
    step(body, False)  # with gradients
    assert not calls
    with torch.no_grad():
        step(body, False)
        assert len(calls) == body.config.n_layers
        calls.clear()
        hook = body.ffns[1].lin1.register_forward_hook(lambda *_: None)
        step(body, False)
        hook.remove()
        body.train()
        step(body, False)
        body.eval()
        with torch.autocast("cpu", torch.bfloat16):
            step(body.float(), False)
    assert not calls
