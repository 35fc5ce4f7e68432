"""sentence-transformers embeds with XLM, after `register()`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.shared import shared_path
from xlm_core.errors import XLMWarning
from xlm_torch import XLMModel, for_transformers

sentence_transformers = pytest.importorskip("sentence_transformers")
models = pytest.importorskip("sentence_transformers.models")
TEXTS = ["The function returns a list.", "A value"]


@pytest.mark.filterwarnings(f"ignore::{XLMWarning.__module__}.XLMWarning")  # without langs
def test_means_of_the_last_hidden_states(tmp_path: Path) -> None:
    folder = shared_path("checkpoints/small_mlm_tlm/hf")
    for_transformers.register()
    words = models.Transformer(str(folder), max_seq_length=32)
    assert type(words.auto_model) is for_transformers.XLMModel
    assert type(words.tokenizer) is for_transformers.XLMTokenizer
    pooling = models.Pooling(words.auto_model.config.hidden_size)
    model = sentence_transformers.SentenceTransformer(modules=[words, pooling], device="cpu")
    found = model.encode(TEXTS, convert_to_tensor=True)

    batch = words.tokenizer(TEXTS, padding=True, return_tensors="pt")
    hidden = XLMModel.from_pretrained(folder)(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    expected = (hidden * mask).sum(1) / mask.sum(1)
    assert torch.allclose(found, expected, atol=1e-5)

    model.save(str(tmp_path / "saved"))
    again = sentence_transformers.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert torch.allclose(again.encode(TEXTS, convert_to_tensor=True), found, atol=1e-6)
