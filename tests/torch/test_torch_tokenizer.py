"""From text to scores: the tokenizer's tensors go into the models as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import xlm_torch
from tests.support.shared import shared_path
from tests.support.small_tokenizer import small_tokenizer
from xlm_core import XLMTokenizer


def test_sentences_to_the_recorded_scores() -> None:
    folder = shared_path("checkpoints/small_mlm_tlm")
    expected = np.load(folder / "expected.npz")
    tokenizer = XLMTokenizer.from_pretrained(folder / "hf")
    model = xlm_torch.from_pretrained(folder / "hf", dtype="float64").eval()
    # The recorded scores are without token types, which these models look up among the words.
    batch = tokenizer(
        [str(s) for s in expected["sentences"]],
        padding=True,
        return_token_type_ids=False,
        return_tensors="pt",
    )
    assert tokenizer.lang2id is not None
    langs = [[tokenizer.lang2id[str(language)]] for language in expected["languages"]]
    batch["langs"] = torch.tensor(langs).expand_as(batch["input_ids"])
    assert np.array_equal(batch["input_ids"], expected["input_ids"])
    assert np.array_equal(batch["langs"], expected["langs"])
    with torch.no_grad():
        best = model(**batch).logits.topk(5).indices
    assert np.array_equal(
        best[batch["attention_mask"] == 1], expected["top5"][expected["attention_mask"] == 1]
    )


def test_a_batch_of_languages(tmp_path: Path) -> None:
    lang2id = {"en": 0, "fr": 1}
    tokenizer = small_tokenizer(tmp_path, lang2id=lang2id)
    config = xlm_torch.XLMConfig(
        vocab_size=len(tokenizer), emb_dim=16, n_layers=1, n_heads=2, n_langs=2, lang2id=lang2id
    )
    model = xlm_torch.XLMModel(config).eval()
    batch = tokenizer(
        ["abc de", "c"], lang=["en", "fr"], return_langs=True, padding=True, return_tensors="pt"
    )
    assert batch["langs"].tolist() == [[0] * 4, [1] * 4]
    together = model(**batch).last_hidden_state
    alone = model(
        **tokenizer("c", lang="fr", return_langs=True, return_tensors="pt")
    ).last_hidden_state
    torch.testing.assert_close(together[1:, :3], alone)
