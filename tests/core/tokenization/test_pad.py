"""`pad`, as data collators call it, against transformers 4.57.6."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from transformers import DataCollatorForLanguageModeling, DataCollatorWithPadding

from tests.core.tokenization.comparing_batches import LONG, SHORT, Pair, plain, quiet
from xlm_core.errors import InputError

FEATURES = [
    {"input_ids": [0, 20, 21, 1], "token_type_ids": [0] * 4, "labels": 1},
    {"input_ids": [0, 22, 1], "token_type_ids": [0] * 3, "labels": 0},
]


def shapes_of(features: list[dict[str, Any]]) -> Iterator[Any]:
    yield features
    yield {key: [sample[key] for sample in features] for key in features[0]}
    yield {key: value for key, value in features[0].items() if key != "labels"}
    for make in (np.array, torch.tensor):
        yield [{key: make(value) for key, value in sample.items()} for sample in features]
        yield {key: [make(sample[key]) for sample in features] for key in features[0]}
        yield {key: make([sample[key]] * 2) for sample in features[:1] for key in sample}


@pytest.mark.parametrize(
    "options",
    [
        {},
        dict(padding=False),
        dict(padding="max_length", max_length=9),
        dict(padding="max_length", max_length=3),
        dict(padding=True, pad_to_multiple_of=8, padding_side="left"),
        dict(return_attention_mask=False),
        dict(return_attention_mask=True, return_tensors="np"),
        dict(return_tensors="pt"),
    ],
)
def test_pad(pair: Pair, options: Any) -> None:
    ours, oracle = pair
    for features in shapes_of(FEATURES):
        try:
            expected = quiet(lambda given=features: oracle.pad(copy.deepcopy(given), **options))
        except ValueError:  # ragged rows
            with pytest.raises(InputError, match="one length"):
                ours.pad(features, **options)
            continue
        before = repr(features)
        if any(getattr(value, "dtype", None) == np.dtype(object) for value in expected.values()):
            with pytest.raises(InputError, match="one length"):
                ours.pad(features, **options)
            continue
        assert list(plain(ours.pad(features, **options)).items()) == list(plain(expected).items())
        assert repr(features) == before


def test_pad_keeps_masks(pair: Pair) -> None:
    for encoding in (
        pair[1]([SHORT, LONG], return_special_tokens_mask=True),
        [pair[1](text, return_special_tokens_mask=True) for text in (SHORT, LONG)],
        pair[1](SHORT),
    ):
        expected = plain(pair[1].pad(encoding, padding="max_length", max_length=12))
        assert plain(pair[0].pad(encoding, padding="max_length", max_length=12)) == expected


def test_pad_of_nothing(pair: Pair) -> None:
    for features in ({"input_ids": []}, {"input_ids": [[]], "a": [[1]]}, {"input_ids": [[], [5]]}):
        for mask in (None, True, False):
            expected = pair[1].pad(dict(features), return_attention_mask=mask)
            assert dict(pair[0].pad(features, return_attention_mask=mask)) == dict(expected)
    assert pair[0].pad([]) == {"input_ids": []}


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"ids": [1]}, "expected a mapping with 'input_ids'"),
        ([[1, 2]], "holds list"),
        ("abc", "got str"),
        ([{"input_ids": [1], "labels": 1}, {"input_ids": [2]}], "some lack 'labels'"),
        ({"input_ids": [[1], [2]], "labels": [1]}, "expected as many"),
        ({"input_ids": [[1], [2]], "labels": 1}, "expected as many"),
    ],
)
def test_pad_refuses(ours: Any, features: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ours.pad(features)


def test_data_collators(pair: Pair) -> None:
    ours, oracle = pair
    texts = [SHORT, LONG, "a"]
    mine, theirs = [ours(text) for text in texts], [oracle(text) for text in texts]
    got = DataCollatorWithPadding(ours)(mine)
    assert plain(got) == plain(DataCollatorWithPadding(oracle)(theirs))
    assert {key: tuple(value.shape) for key, value in got.items()}["input_ids"] == (3, 12)
    results = []
    for tokenizer, features in ((ours, mine), (oracle, theirs)):
        torch.manual_seed(0)
        collator = DataCollatorForLanguageModeling(tokenizer, pad_to_multiple_of=8)
        results.append(plain(collator(features)))
    assert results[0] == results[1]
