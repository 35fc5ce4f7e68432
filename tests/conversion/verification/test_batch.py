"""The verification batch: what it must hold for any configuration."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conversion.verification.batch import ROWS, ordinary_words, verification_batch
from tests.conversion.small_checkpoints import small_config
from xlm_core import InputError
from xlm_core.weights import ARCHITECTURES

LM = "XLMWithLMHeadModel"


def batch_of(architecture: str = LM, **values: Any) -> Any:
    return verification_batch(small_config(architecture, **values), architecture)


def test_rows_are_full_padded_on_both_sides_and_single() -> None:
    mask = batch_of().inputs["attention_mask"]
    assert mask[0].all()
    assert mask.shape == (len(ROWS), 19)
    assert any(row[0] == 1 and row[-1] == 0 and row.sum() > 1 for row in mask)
    assert any(row[0] == 0 and row[-1] == 1 for row in mask)
    assert 1 in mask.sum(axis=1)
    assert mask.any(axis=1).all()


def test_ids_are_words_and_padding() -> None:
    batch = batch_of(pad_index=20, mask_index=21, vocab_size=30)
    ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
    assert (ids[mask == 0] == 20).all()
    assert set(ids[mask == 1].tolist()) <= set(range(14, 30)) - {20, 21}


@pytest.mark.parametrize(("size", "words"), [(14, range(6, 14)), (3, [0, 1])])
def test_tiny_vocabularies_have_words_too(size: int, words: Any) -> None:
    config = small_config(vocab_size=size)
    assert set(ordinary_words(config).tolist()) <= set(range(size)) - {config.pad_index}
    assert set(words) <= set(ordinary_words(config).tolist()) | {4}


def test_the_seed_determines_it() -> None:
    first, second = batch_of(), batch_of()
    for name, array in (first.inputs | first.labels).items():
        np.testing.assert_array_equal(array, (second.inputs | second.labels)[name])
    config = small_config()
    other = verification_batch(config, LM, seed=1)
    assert (other.inputs["input_ids"] != first.inputs["input_ids"]).any()


@pytest.mark.parametrize("languages", [2, 5, 15, 100])
def test_languages(languages: int) -> None:
    batch = batch_of(n_langs=languages)
    langs = batch.inputs["langs"]
    assert langs.min() >= 0
    assert langs.max() < languages
    assert batch.languages == len(np.unique(langs)) >= min(languages, 15)


@pytest.mark.parametrize("values", [{"n_langs": 1}, {"use_lang_emb": False}])
def test_no_languages_without_their_embeddings(values: dict[str, Any]) -> None:
    batch = batch_of(**values)
    assert "langs" not in batch.inputs
    assert batch.languages == 0


def test_length() -> None:
    beam = "XLMForQuestionAnswering"
    assert batch_of(max_position_embeddings=512).shape == (6, 32)
    assert batch_of(max_position_embeddings=1).shape == (6, 1)
    assert batch_of(beam, max_position_embeddings=512, end_n_top=40).shape == (6, 40)
    assert batch_of(LM, max_position_embeddings=512, end_n_top=40).shape == (6, 32)
    with pytest.raises(InputError, match="end_n_top is 40"):
        batch_of(beam, max_position_embeddings=39, end_n_top=40)


def test_choices() -> None:
    batch = batch_of("XLMForMultipleChoice")
    assert batch.shape == (3, 2, 19)
    assert batch.inputs["langs"].shape == (3, 2, 19)
    assert batch.labels["labels"].shape == (3,)


@pytest.mark.parametrize("architecture", [*ARCHITECTURES])
def test_every_head_has_labels(architecture: str) -> None:
    batch = batch_of(architecture)
    assert bool(batch.labels) == (architecture != "XLMModel")
    for name, array in (batch.inputs | batch.labels).items():
        assert array.dtype == np.int64, name


def test_labels_count_at_tokens_only() -> None:
    batch = batch_of()
    labels, mask = batch.labels["labels"], batch.inputs["attention_mask"]
    assert (labels[mask == 0] == -100).all()
    assert (labels[mask == 1] == -100).any()
    assert ((labels != -100).sum(axis=1) > 0).all()


@pytest.mark.parametrize(
    ("values", "shape", "kind"),
    [
        ({"num_labels": 1}, (6,), "f"),
        ({"problem_type": "regression"}, (6, 7), "f"),
        ({"problem_type": "multi_label_classification"}, (6, 7), "f"),
        ({"problem_type": "single_label_classification"}, (6,), "i"),
    ],
)
def test_labels_follow_the_problem(values: Any, shape: tuple[int, ...], kind: str) -> None:
    labels = batch_of("XLMForSequenceClassification", **values).labels["labels"]
    assert labels.shape == shape
    assert labels.dtype.kind == kind


def test_no_labels_where_the_summary_is_no_score() -> None:
    assert not batch_of("XLMForSequenceClassification", summary_use_proj=False).labels
