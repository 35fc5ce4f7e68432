"""The loss under autocast: of the labelled rows alone, its product in half precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.support.torch_fast_paths import Taken, small_model, take_fast_paths
from tests.support.torch_internals import formulas_only
from xlm_torch import XLMWithLMHeadModel
from xlm_torch.fast import vocabulary_loss


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    return take_fast_paths(monkeypatch)


@pytest.mark.parametrize("tied", [True, False])
def test_labelled_rows_alone_are_computed(
    taken: Taken, monkeypatch: pytest.MonkeyPatch, tied: bool
) -> None:
    del taken
    shapes = []
    plain = vocabulary_loss.VocabularyLoss.apply
    monkeypatch.setattr(
        vocabulary_loss.VocabularyLoss,
        "apply",
        lambda *tensors: shapes.append((tensors[0].shape, tensors[0].dtype)) or plain(*tensors),
    )
    model: Any = small_model(XLMWithLMHeadModel, share_inout_emb=tied)
    ids = torch.arange(12).reshape(2, 6) + 14
    labels = torch.full((2, 6), -100)
    labels[0, 2], labels[1, 4], labels[1, 5] = 20, 21, 22

    def computed() -> dict[str, torch.Tensor]:
        model.zero_grad()
        loss = model(input_ids=ids, langs=ids % 2, labels=labels, output_logits=False).loss
        assert loss.dtype == torch.float32
        loss.backward()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        return {"loss": loss.detach(), **gradients}

    exact = computed()
    shapes.clear()
    with torch.autocast("cpu", torch.bfloat16):
        found = computed()
        assert shapes == [(torch.Size([3, model.config.emb_dim]), torch.bfloat16)]
        with formulas_only():
            expected = computed()
    assert len(shapes) == 1
    for name, value in exact.items():
        assert found[name].dtype == torch.float32
        bound = 2 * float((expected[name] - value).abs().max())
        bound += 2e-2 * float(value.abs().max()) + 1e-3  # some gradients are zero
        torch.testing.assert_close(found[name], value, rtol=0, atol=bound)
