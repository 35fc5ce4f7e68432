"""The encoding: a dictionary, and the way back from tokens to words and characters."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from tests.core.tokenization.counting_tokenizer import Stub, make_pair
from tests.support.tokenizer_parts import layout_of_row
from xlm_core.errors import InputError, XLMWarning
from xlm_core.tokenization.calls.alignment import Row
from xlm_core.tokenization.calls.encoding import BatchEncoding, CharSpan, TokenSpan

# Tokens: abc</w> de</w> fg h</w> | a</w> b c</w>; the words are abc, de, fgh and a, bc.
TEXT, OTHER = "abc  de fgh", "a bc"


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_pair(tmp_path_factory.mktemp("tokenizer"))[1]


@pytest.fixture
def ours(oracle: Any) -> Stub:
    return Stub(oracle)


@pytest.fixture
def pairs(ours: Stub) -> BatchEncoding:
    return ours([TEXT, OTHER], [OTHER, TEXT], padding="max_length", max_length=12)


def test_alignment_of_a_pair(pairs: BatchEncoding) -> None:
    tokens = ["<s>", "abc</w>", "de</w>", "fg", "h</w>", "</s>", "a</w>", "b", "c</w>", "</s>"]
    assert pairs.tokens(0) == [*tokens, "<pad>", "<pad>"]
    assert pairs.word_ids(0) == [None, 0, 1, 2, 2, None, 0, 1, 1, None, None, None]
    assert pairs.sequence_ids(0) == [None, 0, 0, 0, 0, None, 1, 1, 1, None, None, None]
    assert pairs.sequence_ids(1) == [None, 0, 0, 0, None, 1, 1, 1, 1, None, None, None]
    assert pairs.n_sequences == 2


def test_questions_about_tokens(pairs: BatchEncoding) -> None:
    assert [pairs.token_to_word(i) for i in (0, 3, 5, 8, 10, 50)] == [None, 2, None, 1, None, None]
    assert [pairs.token_to_sequence(0, i) for i in (0, 3, 8, -12, -4)] == [None, 0, 1, None, 1]
    assert pairs.token_to_chars(0, 3) == CharSpan(8, 10)
    assert pairs.token_to_chars(3) == CharSpan(8, 10)
    assert pairs.token_to_chars(0, -4) == CharSpan(3, 4)
    assert pairs.token_to_chars(0) is None
    assert pairs.token_to_chars(1, 0) is None
    assert pairs.token_to_chars(1, 7) == CharSpan(8, 10)
    assert pairs.token_to_chars(-1, 7) == CharSpan(8, 10)


def test_questions_about_characters(pairs: BatchEncoding) -> None:
    assert [pairs.char_to_token(c) for c in (0, 3, 4, 5, 9, 10)] == [1, None, None, 2, 3, 4]
    assert pairs.char_to_token(0, 2, sequence_index=1) == 7
    assert pairs.char_to_token(1, 5, 1) == 6
    assert [pairs.char_to_word(c) for c in (2, 4, 10)] == [0, None, 2]
    assert pairs.char_to_word(0, 3, sequence_index=1) == 1


def test_questions_about_words(pairs: BatchEncoding) -> None:
    assert pairs.word_to_tokens(2) == TokenSpan(3, 5)
    assert pairs.word_to_tokens(0, 1, sequence_index=1) == (7, 9)
    assert pairs.word_to_tokens(0, 9) is None
    assert pairs.word_to_chars(2) == CharSpan(8, 11)
    assert pairs.word_to_chars(0, 1, 1) == (2, 4)
    assert pairs.word_to_chars(9) is None


def test_one_text(ours: Stub) -> None:
    encoding = ours(TEXT, return_offsets_mapping=True)
    assert encoding["offset_mapping"] == [(0, 0), (0, 3), (5, 7), (8, 10), (10, 11), (0, 0)]
    assert encoding.word_ids() == [None, 0, 1, 2, 2, None]
    assert encoding.n_sequences == 1
    tensors = ours(TEXT, return_offsets_mapping=True, return_tensors="np")
    assert tensors["offset_mapping"].shape == (1, 6, 2)
    assert tensors.word_ids(0) == encoding.word_ids(0)


def test_words(ours: Stub) -> None:
    encoding = ours([["abc", "fgh"]], is_split_into_words=True, return_offsets_mapping=True)
    assert encoding["offset_mapping"] == [[(0, 0), (0, 3), (0, 2), (2, 3), (0, 0)]]
    assert encoding.word_ids() == [None, 0, 1, 1, None]


def test_truncation_and_padding_on_the_left(oracle: Any) -> None:
    ours = Stub(oracle, truncation_side="left", padding_side="left")
    encoding = ours([TEXT, "a"], truncation=True, max_length=5, padding=True)
    assert encoding.word_ids(0) == [None, 1, 2, 2, None]
    assert encoding.word_ids(1) == [None, None, None, 0, None]
    assert encoding.tokens(1) == ["<pad>", "<pad>", "<s>", "a</w>", "</s>"]
    assert encoding.char_to_token(0, 0) is None
    assert encoding.char_to_token(0, 5) == 1


def test_without_special_tokens(ours: Stub) -> None:
    encoding = ours(TEXT, OTHER, add_special_tokens=False)
    assert encoding.word_ids() == [0, 1, 2, 2, 0, 1, 1]
    assert encoding.sequence_ids() == [0, 0, 0, 0, 1, 1, 1]


def test_layout_of_rows(ours: Stub) -> None:
    encoding = ours(
        [OTHER, TEXT], ["a"] * 2, truncation="only_first", max_length=6, stride=0,
        return_windows=True, padding="max_length",
    )  # fmt: skip
    assert encoding["overflow_to_sample_mapping"] == [0, 0, 1, 1]
    assert [layout_of_row(encoding, i) for i in range(4)] == [
        Row(0, (0, 2), (0, 1), 0, 0, (1, 1)),
        Row(0, (2, 3), (0, 1), 0, 1, (1, 1)),
        Row(1, (0, 2), (0, 1), 0, 0, (1, 1)),
        Row(1, (2, 4), (0, 1), 0, 0, (1, 1)),
    ]
    assert [encoding.word_ids(i)[1] for i in range(4)] == [0, 1, 0, 2]


def test_alignment_is_computed_when_asked(ours: Stub) -> None:
    encoding = ours([TEXT, OTHER], truncation=True, max_length=4, return_windows=True)
    assert ours.asked_alignment == 0
    for _ in range(2):
        for row in range(len(encoding["input_ids"])):
            encoding.word_ids(row)
    assert ours.asked_alignment == 2  # once a text


def test_no_alignment(ours: Stub) -> None:
    for encoding in (
        ours([[5, 6]]),
        ours.encode_plus(["a</w>"]),
        ours.encode_plus(TEXT, [5]),
        ours.pad(ours([TEXT])),
        BatchEncoding({"input_ids": [5]}),
    ):
        for method in ("tokens", "word_ids", "sequence_ids"):
            with pytest.raises(InputError, match=f"{method}: this encoding does not know"):
                getattr(encoding, method)()
        with pytest.raises(InputError, match="char_to_token: this"):
            encoding.char_to_token(0)
    with pytest.raises(InputError, match="there is no row 2, this encoding has 1"):
        ours([TEXT]).tokens(2)


def test_is_a_dictionary(ours: Stub) -> None:
    encoding = ours([TEXT, OTHER])
    assert isinstance(encoding, dict)
    assert list({**encoding}) == ["input_ids", "token_type_ids", "attention_mask"]
    assert encoding.input_ids is encoding["input_ids"]
    assert encoding.data is encoding
    assert not encoding.is_fast
    assert not hasattr(encoding, "labels")
    encoding["labels"] = [1, 0]
    assert encoding.labels == [1, 0]
    with pytest.raises(AttributeError, match=r"no key 'input_idz'; its keys are \['input_ids'"):
        encoding.input_idz  # noqa: B018
    assert BatchEncoding((key, value) for key, value in encoding.items()) == encoding
    assert BatchEncoding() == {}


def test_rows(ours: Stub) -> None:
    for options in ({}, {"padding": True, "return_tensors": "np"}):
        encoding = ours([TEXT, OTHER, "a"], return_length=True, **options)
        part = encoding[1:]
        assert len(part["input_ids"]) == 2
        assert part.word_ids(0) == encoding.word_ids(1)
        row = encoding[-1]
        assert list(row["input_ids"]) == list(encoding["input_ids"][2])
        assert row["length"] == 3
        assert row.word_ids() == encoding.word_ids(2)
        with pytest.raises(IndexError):
            encoding[3]
    with pytest.raises(KeyError, match="rows are taken from a batch"):
        ours(TEXT)[0]


@pytest.mark.parametrize("asked", [False, True])
def test_copies(ours: Stub, asked: bool) -> None:
    encoding = ours([TEXT, OTHER], padding=True, return_tensors="pt")
    words = Stub(ours.oracle)([TEXT, OTHER], padding=True).word_ids(1)
    if asked:
        encoding.word_ids(0)
    copies = [encoding.copy(), copy.copy(encoding), copy.deepcopy(encoding)]
    data = pickle.dumps(encoding)
    assert b"oracle" not in data  # the tokenizer stays at home
    copies.append(pickle.loads(data))
    for other in copies:
        assert type(other) is BatchEncoding
        assert other.word_ids(1) == words
        assert other[1:].word_ids(0) == words
        assert other.n_sequences == 1
        assert list(other) == list(encoding)
        assert torch.equal(other["input_ids"], encoding["input_ids"])
    assert copies[0]["input_ids"] is encoding["input_ids"]
    assert copies[2]["input_ids"] is not encoding["input_ids"]
    assert pickle.loads(pickle.dumps(ours([[5]]))) == ours([[5]])


def test_to(ours: Stub) -> None:
    encoding = ours([TEXT], return_tensors="pt")
    encoding["names"] = ["a"]
    assert encoding.to("meta") is encoding
    assert encoding["input_ids"].device.type == "meta"
    assert encoding["names"] == ["a"]
    assert encoding.to(torch.device("meta"), non_blocking=True)["input_ids"].device.type == "meta"
    with pytest.warns(XLMWarning, match="expected a device"):
        encoding.to(torch.float16)
    assert encoding["input_ids"].dtype == torch.int64


def test_frameworks_take_it(ours: Stub) -> None:
    encoding = ours([TEXT, OTHER], padding=True, return_tensors="pt")
    loader = torch.utils.data.DataLoader([encoding[0], encoding[1]], batch_size=2)
    batch = next(iter(loader))
    assert torch.equal(batch["input_ids"], encoding["input_ids"])
    arrays = ours([TEXT, OTHER], padding=True, return_tensors="np")
    assert {key: value.dtype for key, value in arrays.items()} == dict.fromkeys(
        arrays, np.dtype("int64")
    )
