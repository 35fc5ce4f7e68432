"""From text to scores: the tokenizer's tensors go into the models as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

import xlm_tf
from tests.support.shared import shared_path
from tests.support.small_tokenizer import small_tokenizer
from xlm_core import XLMTokenizer


def test_sentences_to_the_recorded_scores() -> None:
    folder = shared_path("checkpoints/small_mlm_tlm")
    expected = np.load(folder / "expected.npz")
    tokenizer = XLMTokenizer.from_pretrained(folder / "hf")
    model = xlm_tf.from_pretrained(folder / "hf", dtype="float64")
    # The recorded scores are without token types, which these models look up among the words.
    batch = tokenizer(
        [str(s) for s in expected["sentences"]],
        padding=True,
        return_token_type_ids=False,
        return_tensors="tf",
    )
    assert tokenizer.lang2id is not None
    langs = [[tokenizer.lang2id[str(language)]] for language in expected["languages"]]
    batch["langs"] = tf.constant(langs) + tf.zeros_like(batch["input_ids"])
    assert np.array_equal(batch["input_ids"], expected["input_ids"])
    assert np.array_equal(batch["langs"], expected["langs"])
    best = tf.math.top_k(model(batch).logits, 5).indices.numpy()
    assert np.array_equal(
        best[batch["attention_mask"] == 1], expected["top5"][expected["attention_mask"] == 1]
    )


def test_a_batch_of_languages(tmp_path: Path) -> None:
    lang2id = {"en": 0, "fr": 1}
    tokenizer = small_tokenizer(tmp_path, lang2id=lang2id)
    config = xlm_tf.XLMConfig(
        vocab_size=len(tokenizer), emb_dim=16, n_layers=1, n_heads=2, n_langs=2, lang2id=lang2id
    )
    model = xlm_tf.TFXLMModel(config)
    batch = tokenizer(
        ["abc de", "c"], lang=["en", "fr"], return_langs=True, padding=True, return_tensors="tf"
    )
    assert batch["langs"].numpy().tolist() == [[0] * 4, [1] * 4]
    together = model(batch).last_hidden_state
    alone = model(
        **tokenizer("c", lang="fr", return_langs=True, return_tensors="tf")
    ).last_hidden_state
    np.testing.assert_allclose(together[1:, :3], alone, atol=1e-6)


def test_keras_fits_and_predicts_what_the_tokenizer_returns(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path)
    config = xlm_tf.XLMConfig(
        vocab_size=len(tokenizer), emb_dim=16, n_layers=1, n_heads=2, num_labels=2
    )
    model = xlm_tf.TFXLMForSequenceClassification(config)
    batch = tokenizer(["abc de", "fg"], padding=True, return_tensors="np")
    predicted = model.predict(batch, verbose=0)
    np.testing.assert_allclose(predicted["logits"], model(batch).logits, atol=1e-6)
    batch["labels"] = np.array([0, 1])
    model.compile("adam")
    history = model.fit(batch, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
