"""Special tokens, truncation, padding and masks, against transformers 4.57.6."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.tokenization.comparing_batches import LONG, SHORT, Pair, compare
from tests.core.tokenization.counting_tokenizer import LETTERS, make_pair
from xlm_core.errors import InputError
from xlm_core.tokenization.calls.batching import Batching

WORDS = st.text(LETTERS, min_size=1, max_size=4)
WORD_LISTS = st.lists(WORDS, min_size=1, max_size=6)
TEXTS = WORD_LISTS.map(" ".join) | st.just("")
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "add_special_tokens": st.booleans(),
        "padding": st.sampled_from([True, False, "longest", "max_length", "do_not_pad"]),
        "truncation": st.sampled_from(
            [True, False, None, "longest_first", "only_first", "only_second", "do_not_truncate"]
        ),
        "max_length": st.integers(1, 20),
        "stride": st.integers(0, 3),
        "pad_to_multiple_of": st.sampled_from([2, 3, 8]),
        "padding_side": st.sampled_from(["left", "right", None]),
        "return_token_type_ids": st.sampled_from([True, False, None]),
        "return_attention_mask": st.sampled_from([True, False, None]),
        "return_special_tokens_mask": st.booleans(),
        "return_overflowing_tokens": st.booleans(),
        "return_length": st.booleans(),
        "return_tensors": st.sampled_from([None, "np", "pt"]),
    },
)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    """With every combination of sides, with and without a model_max_length."""
    folder = tmp_path_factory.mktemp("tokenizers")
    return [
        make_pair(folder, padding_side=pad, truncation_side=cut, **known)
        for pad in ("right", "left")
        for cut in ("right", "left")
        for known in ({}, {"model_max_length": 9})
    ]


@given(data=st.data())
def test_calls_are_those_of_transformers(pairs: list[Pair], data: st.DataObject) -> None:
    pair, options = pairs[data.draw(st.integers(0, 7))], data.draw(OPTIONS)
    words, with_pair, single = (data.draw(st.booleans()) for _ in range(3))
    one = WORD_LISTS if words else TEXTS
    size = data.draw(st.integers(1, 4))
    many = one if single else st.lists(one, min_size=size, max_size=size)
    args = [data.draw(many), data.draw(many) if with_pair else None]
    compare(pair, "__call__", *args, is_split_into_words=words, **options)


@given(data=st.data())
def test_pairs_as_entries(pairs: list[Pair], data: st.DataObject) -> None:
    pair, options, words = (
        pairs[data.draw(st.integers(0, 7))],
        data.draw(OPTIONS),
        data.draw(st.booleans()),
    )
    one = WORD_LISTS if words else TEXTS
    entries = data.draw(st.lists(st.tuples(one, one), min_size=1, max_size=3))
    # transformers takes pairs of word lists in one of the two only.
    for method in ("batch_encode_plus",) if words else ("__call__", "batch_encode_plus"):
        compare(pair, method, entries, is_split_into_words=words, **options)


@given(data=st.data())
def test_ids_and_tokens(pairs: list[Pair], data: st.DataObject) -> None:
    pair, options = pairs[data.draw(st.integers(0, 7))], data.draw(OPTIONS)
    ids = st.lists(st.integers(14, 30), min_size=1, max_size=9)
    tokens = st.lists(st.sampled_from(["a", "b</w>", "abc</w>", "?"]), min_size=1, max_size=9)
    a, b = data.draw(ids), data.draw(ids | st.none())
    compare(pair, "encode_plus", a, b, **options)
    compare(pair, "encode_plus", data.draw(tokens), b, **options)
    compare(pair, "batch_encode_plus", [(a, b)], **options)
    options["prepend_batch_axis"] = data.draw(st.booleans())
    if not options.get("return_tensors") or options["prepend_batch_axis"]:
        compare(pair, "prepare_for_model", a, b, **options)


@given(data=st.data())
def test_truncate_sequences(pairs: list[Pair], data: st.DataObject) -> None:
    ours, oracle = pairs[data.draw(st.integers(0, 7))]
    ids = st.lists(st.integers(14, 30), max_size=7)
    a, b = data.draw(ids), data.draw(ids | st.none())
    strategy = data.draw(st.sampled_from(["longest_first", "only_first", "only_second"]))
    total = {"only_first": len(a), "only_second": len(b or [])}.get(strategy, len(a + (b or [])))
    count = data.draw(st.integers(-1, total + 1))
    stride = data.draw(st.integers(0, 3))
    if count > 0 and count > total:
        with pytest.raises(InputError, match=r"must be removed|cannot shorten"):
            ours.truncate_sequences(a, b, count, strategy, stride)
        return
    got = ours.truncate_sequences(a, b, count, strategy, stride)
    if count < total or (strategy == "longest_first" and b is not None):
        assert got == oracle.truncate_sequences(a, b, count, strategy, stride)
    elif count > 0:  # transformers does not remove all
        assert len(got[0] + (got[1] or [])) == len(a + (b or [])) - count


def test_encode_is_the_ids(pair: Pair) -> None:
    ours, oracle = pair
    for args in [
        (SHORT,),
        (SHORT, LONG),
        (LONG, None, False),
        (LONG, None, True, "max_length", True, 5),
    ]:
        assert ours.encode(*args) == oracle.encode(*args)
    assert ours.encode(SHORT, return_tensors="pt").tolist() == [oracle.encode(SHORT)]
    words = SHORT.split()
    assert ours.encode(words, is_split_into_words=True) == oracle.encode(
        words, is_split_into_words=True
    )


def test_special_tokens(pair: Pair) -> None:
    ours, oracle = pair
    for a, b in [([], None), ([20, 21], None), ([20], [21, 22, 23]), ([], [])]:
        for name in (
            "build_inputs_with_special_tokens",
            "create_token_type_ids_from_sequences",
            "get_special_tokens_mask",
        ):
            assert getattr(ours, name)(a, b) == getattr(oracle, name)(a, b)
    row = [0, 20, 5, 3, 1, 2]
    expected = oracle.get_special_tokens_mask(row, already_has_special_tokens=True)
    assert ours.get_special_tokens_mask(row, already_has_special_tokens=True) == expected
    with pytest.raises(InputError, match="one whole row"):
        ours.get_special_tokens_mask(row, row, already_has_special_tokens=True)
    assert [ours.num_special_tokens_to_add(p) for p in (False, True)] == [2, 3]


def test_lengths_of_the_model(pairs: list[Pair]) -> None:
    for ours, oracle in pairs:
        assert ours.max_len_single_sentence == oracle.max_len_single_sentence
        assert ours.max_len_sentences_pair == oracle.max_len_sentences_pair


def test_one_empty_row_is_not_padded(pair: Pair) -> None:
    # But in a batch it is: so it is in transformers.
    options = dict(add_special_tokens=False, padding="max_length", max_length=3)
    assert pair[0]("", **options)["input_ids"] == []
    assert pair[0]([""], **options)["input_ids"] == [[2, 2, 2]]
    for text in ("", [""]):
        compare(pair, "__call__", text, return_length=True, **options)


def test_targets(pair: Pair) -> None:
    for options in ({}, {"padding": True, "return_tensors": "np"}):
        for args in [
            ([SHORT, LONG], None, [LONG, "a"], None),
            (None, None, [LONG, "a"], [SHORT, "b"]),
        ]:
            compare(pair, "__call__", *args, **options)


def test_enumerations_of_transformers(pair: Pair) -> None:
    from transformers.tokenization_utils_base import (
        PaddingStrategy,
        TensorType,
        TruncationStrategy,
    )

    options = dict(
        padding=PaddingStrategy.MAX_LENGTH,
        truncation=TruncationStrategy.ONLY_FIRST,
        max_length=6,
        return_tensors=TensorType.NUMPY,
    )
    compare(pair, "__call__", [SHORT, LONG], **options)


def test_is_a_mixin() -> None:
    assert not vars(Batching).keys() & {"mode", "model_max_length", "_ids_of_texts"}


# What is framed as the models were trained, and what transformers 5 does differently.


def test_original_framing(ours: Any) -> None:
    ours.mode = "original"
    assert ours([20], add_special_tokens=True)["input_ids"] == [1, 20, 1]
    encoding = ours.encode_plus([20], [21, 22])
    assert encoding["input_ids"] == [1, 20, 1, 21, 22, 1]
    assert list(encoding) == ["input_ids", "attention_mask"]
    encoding = ours.encode_plus([20], [21, 22], return_token_type_ids=True)
    assert encoding["token_type_ids"] == [0, 0, 0, 1, 1, 1]
    assert ours.build_inputs_with_special_tokens([20]) == [1, 20, 1]


def test_version_5(ours: Any) -> None:
    # Recorded from transformers 5.23.
    ours.mode, ours.model_input_names = "v5", ["input_ids", "attention_mask"]
    masks = dict(return_token_type_ids=True, return_special_tokens_mask=True, return_length=True)
    assert list(ours("abc de", "fg fg", **masks).items()) == [
        ("input_ids", [0, 31, 32, 1, 24, 27, 24, 27, 1]),
        ("token_type_ids", [0, 0, 0, 0, 1, 1, 1, 1, 1]),
        ("special_tokens_mask", [1, 0, 0, 1, 0, 0, 0, 0, 1]),
        ("attention_mask", [1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("length", 9),
    ]
    framed_not = ours("abc de", "fg fg", return_token_type_ids=True, add_special_tokens=False)
    assert framed_not["token_type_ids"] == [0] * 6
    cut = dict(max_length=4, truncation=True, return_overflowing_tokens=True, stride=1)
    assert list(ours(["abc abc abc a", "de a a a"], **cut).items()) == [
        ("input_ids", [[0, 31, 31, 1], [0, 32, 15, 1]]),
        ("overflowing_tokens", [[31, 31, 15], [15, 15, 15]]),
        ("num_truncated_tokens", [2, 2]),
        ("attention_mask", [[1, 1, 1, 1], [1, 1, 1, 1]]),
    ]
    assert list(ours("abc abc abc a", return_tensors="np", **cut)) == [
        "input_ids",
        "attention_mask",
    ]
    assert ours("abc abc abc", max_length=2, truncation=True)["input_ids"] == [0, 1]
    assert ours("abc", return_overflowing_tokens=True) == ours("abc")
