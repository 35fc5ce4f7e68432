"""Steps of one position by direct calls equal the layers as they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import tests.support.torch_internals as internals
from tests.conftest import make_config
from tests.support.parity import assert_close_to_largest
from xlm_torch import XLMForConditionalGeneration, XLMModel, formulas_only
from xlm_torch.generation.decoding import CachedDecoding


def body_of(decodes: bool, **values: Any) -> Any:
    torch.manual_seed(0)
    config = make_config(init_std=0.4, embed_init_std=1.0, **values)
    if decodes:
        return XLMForConditionalGeneration(config).double().eval().decoder
    config.causal = True
    return XLMModel(config).double().eval()


def steps(body: Any, decodes: bool) -> torch.Tensor:
    """The hidden states of the last two of six positions; the first is padding in one row.

    Between the steps, the rows change places.
    """
    ids = torch.arange(6, 18).view(2, 6)
    tokens = torch.ones(2, 6, dtype=torch.bool)
    tokens[0, 0] = False
    langs = torch.tensor([0, 1]) if body.config.has_lang_embeddings else None
    source = None
    if decodes:
        generator = torch.Generator().manual_seed(1)
        hidden = torch.randn(2, 4, 12, dtype=torch.float64, generator=generator).to(body.dtype)
        source = (hidden, torch.tensor([[True, True, False, False], [True] * 4]))
    decoding = CachedDecoding(
        "translation" if decodes else "causal",
        body,
        lambda hidden: hidden,
        steps=True,
        prompt=ids[:, :4],
        tokens=tokens[:, :4],
        langs=None if langs is None else langs[:, None].expand(2, 4),
        following=langs,
        source=source,
    )
    decoding.first(3)
    found = [decoding.next(ids[:, 4])]
    decoding.select(torch.tensor([1, 0]))
    found += [decoding.next(ids[:, 5])]
    return torch.cat(found)


@pytest.mark.parametrize("decodes", [False, True])
@pytest.mark.parametrize("gelu", [False, True])
def test_the_same_as_by_the_formulas(decodes: bool, gelu: bool) -> None:
    body = body_of(decodes, gelu_activation=gelu)
    if not decodes:
        body.prune_heads({1: [0, 2]})
    with torch.no_grad():
        found = steps(body, decodes)
        with formulas_only():
            assert_close_to_largest(found, steps(body, decodes), 1e-13)


@pytest.mark.parametrize("by", ["PyTorch", "oneDNN", "transposed"])
def test_products_in_single_precision(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if by == "oneDNN" and internals.ONEDNN is None:
        pytest.skip("no oneDNN to ask by name")
    body = body_of(True)
    rows = {torch.float32: internals.ANY_ROWS} if by == "oneDNN" else {}
    with torch.no_grad():
        expected = steps(body, True)
        internals.prefer_onednn(monkeypatch, rows)
        internals.prefer_transposed(monkeypatch, range(2, 3) if by == "transposed" else range(0))
        internals.set_smallest_matrix(monkeypatch, 1)
        assert_close_to_largest(steps(body.float(), True).double(), expected, 1e-5)


def test_when_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    body, calls = body_of(False), list[int]()
    one_position = internals.path.OnePosition
    monkeypatch.setattr(
        internals.path, "OnePosition", lambda *given: calls.append(1) or one_position(*given)
    )
    steps(body, False)  # with gradients
    assert not calls
    with torch.no_grad():
        steps(body, False)
        assert len(calls) == 1  # for all steps
        calls.clear()
        hook = body.ffns[1].lin1.register_forward_hook(lambda *_: None)
        steps(body, False)
        hook.remove()
        body.train()
        steps(body, False)
        body.eval()
        monkeypatch.setattr(body, "_embed", body._embed)
        steps(body, False)
        monkeypatch.undo()
        body.ffns[0].lin1.bias = None
        steps(body, False)
        body = body_of(False).float()
        with torch.autocast("cpu", torch.bfloat16):
            steps(body, False)
    assert not calls
