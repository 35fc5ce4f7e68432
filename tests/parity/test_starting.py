"""Models that runs start from: the same in both families, and of one function with their source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.core.training.test_data import config
from tests.support.small_tokenizer import small_tokenizer
from tests.support.starting import ENCODER_DECODER, NEW, OLD, other_tokenizer, write_model
from xlm_core import XLMTokenizer
from xlm_core.corpus import CorpusWriter
from xlm_core.training.data import TrainingData
from xlm_tf.training.starting import start_from as tf_start_from
from xlm_tf.training.starting import start_model as tf_start_model
from xlm_torch import XLMForConditionalGeneration, XLMWithLMHeadModel
from xlm_torch.training.starting import start_from, start_model

TEXT = "abc b c abc"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("starting")
    write_model(folder / "lm")
    write_model(folder / "pair", ENCODER_DECODER)
    other_tokenizer(folder / "other")
    return folder


def ids_of(folder: Path) -> tuple[XLMTokenizer, Any]:
    tokenizer = XLMTokenizer.from_pretrained(folder)
    ids = tokenizer(TEXT)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    return tokenizer, torch.tensor([ids])


def common_logits(logits: Any, tokenizer: XLMTokenizer, words: list[str]) -> Any:
    return np.asarray(logits)[..., [tokenizer.get_vocab()[word] for word in words]]


@pytest.mark.parametrize("language", ["en", "fr"])
def test_texts_of_common_words_are_read_as_before(folder: Path, language: str) -> None:
    own, ids = ids_of(folder / "lm")
    other, new = ids_of(folder / "other")
    assert not torch.equal(ids, new)
    before = XLMWithLMHeadModel.from_pretrained(folder / "lm", dtype="float64")
    words = sorted(own.get_vocab().keys() & other.get_vocab().keys())
    with torch.no_grad():
        expected = before(ids, langs=torch.full_like(ids, OLD[language])).logits
        model, report = start_from(other, model=folder / "lm", match="words", dtype="float64")
        found = model(new, langs=torch.full_like(new, NEW[language])).logits
    tf_model, tf_report = tf_start_from(other, model=folder / "lm", match="words", dtype="float64")
    tf_found = tf_model(new.numpy(), langs=np.full_like(new.numpy(), NEW[language])).logits
    expected = common_logits(expected, own, words)
    scale = np.abs(expected).max()
    for logits in (found, tf_found):
        assert np.abs(common_logits(logits, other, words) - expected).max() < 1e-12 * scale
    assert report == tf_report


@pytest.mark.parametrize("named", [{"en": 0}, None])
def test_a_model_of_one_language_stays_the_same_function(
    folder: Path, tmp_path: Path, named: dict[str, int] | None
) -> None:
    own = tmp_path / "one"
    write_model(own, n_langs=1, lang2id=named)
    old, ids = ids_of(own)
    other, new = ids_of(folder / "other")
    words = sorted(old.get_vocab().keys() & other.get_vocab().keys())
    langs = torch.full_like(new, NEW["en"])
    with torch.no_grad():
        before = XLMWithLMHeadModel.from_pretrained(own, dtype="float64")(ids).logits
        model, report = start_from(other, model=own, match="words", dtype="float64")
        found = model(new, langs=langs).logits
    tf_model, tf_report = tf_start_from(other, model=own, match="words", dtype="float64")
    tf_found = tf_model(new.numpy(), langs=langs.numpy()).logits
    expected = common_logits(before, old, words)
    for logits in (found, tf_found):
        difference = np.abs(common_logits(logits, other, words) - expected).max()
        assert difference < 1e-12 * np.abs(expected).max()
    assert report == tf_report


def test_translations_of_common_words_are_read_as_before(folder: Path) -> None:
    own, ids = ids_of(folder / "pair")
    other, new = ids_of(folder / "other")
    before = XLMForConditionalGeneration.from_pretrained(folder / "pair", dtype="float64")
    words = sorted(own.get_vocab().keys() & other.get_vocab().keys())

    def called(model: Any, given: Any, table: dict[str, int]) -> Any:
        like = torch.full_like
        langs, decoder_langs = like(given, table["en"]), like(given, table["fr"])
        with torch.no_grad():
            return model(
                given, langs=langs, decoder_input_ids=given, decoder_langs=decoder_langs
            ).logits

    expected = common_logits(called(before, ids, OLD), own, words)
    model, _ = start_from(other, model=folder / "pair", match="words", dtype="float64")
    found = common_logits(called(model, new, NEW), other, words)
    assert np.abs(found - expected).max() < 1e-12 * np.abs(expected).max()


@pytest.mark.parametrize("start", [{}, {"encoder": "lm", "decoder": "lm"}])
def test_both_families_start_from_the_same_weights(
    folder: Path, tmp_path: Path, start: dict[str, str]
) -> None:
    tokenizer = small_tokenizer(tmp_path / "same", lang2id=OLD)
    for name in OLD:
        with CorpusWriter(tmp_path / name, tokenizer, [name]) as writer:
            writer.add([14, 15])
    made = config(
        tokenizer="same",
        model={"emb_dim": 12, "n_layers": 2, "n_heads": 4} if not start else {},
        data={"train": {"en": "en", "fr": "fr", "en-fr": ["en", "fr"]}},
        start=start,
        precision="float64",
    )
    data = TrainingData.open(made, tmp_path)
    state = torch.get_rng_state()
    model, report = start_model(made, data, base=folder)
    assert torch.equal(torch.get_rng_state(), state)
    tf_model, tf_report = tf_start_model(made, data, base=folder)
    assert report == tf_report
    assert isinstance(model, XLMForConditionalGeneration)
    assert model.dtype == torch.float64
    model.save_pretrained(tmp_path / "torch")
    tf_model.save_pretrained(tmp_path / "tf")
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("torch", "tf")]
    assert files[0] == files[1]
