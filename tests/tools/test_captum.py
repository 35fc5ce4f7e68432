"""Captum: integrated gradients with its own module in place of the word embeddings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from xlm_core import XLMConfig, XLMError
from xlm_torch import XLMForSequenceClassification

attr = pytest.importorskip("captum.attr", reason="run by make test-tools")


def test_integrated_gradients_through_the_embeddings(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = XLMForSequenceClassification(
        XLMConfig(vocab_size=53, emb_dim=12, n_layers=2, n_heads=4)
    ).eval()
    ids = torch.tensor([[0, 14, 15, 16, 1]])
    logits = model(ids).logits
    layer = attr.configure_interpretable_embedding_layer(model, "transformer.embeddings")
    vectors = layer.indices_to_embeddings(ids)
    assert torch.allclose(model(inputs_embeds=vectors).logits, logits, atol=1e-6)
    gradients = attr.IntegratedGradients(lambda x: model(inputs_embeds=x).logits[:, 1])
    found, error = gradients.attribute(vectors, n_steps=100, return_convergence_delta=True)
    assert found.shape == vectors.shape
    assert float(error.detach().abs().max()) < 1e-2 * float(found.detach().abs().sum())
    with pytest.raises(XLMError, match=r"transformer\.embeddings"):
        model.save_pretrained(tmp_path)
    attr.remove_interpretable_embedding_layer(model, layer)
    assert torch.equal(model(ids).logits, logits)
    model.save_pretrained(tmp_path)
