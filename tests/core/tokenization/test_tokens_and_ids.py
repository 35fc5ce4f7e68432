"""Tokens, ids and texts, in every form that the methods take, beside transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests.core.tokenization.conftest import learned, new_ours, new_peer
from xlm_core import InputError, UnknownArgumentError, XLMTokenizer

Make = Callable[..., Any]

TEXT = "The House of Mr. Smith isn't 'new', is it? n't . 's 漢 <special1> newtok x"


@pytest.fixture(scope="module")
def both() -> tuple[XLMTokenizer, Any]:
    ours, theirs = new_ours(), new_peer()
    for tokenizer in (ours, theirs):
        tokenizer.add_tokens(["newtok"])
        tokenizer.add_tokens(["<ent>"], special_tokens=True)
    return ours, theirs


def test_tokenize(both: tuple[XLMTokenizer, Any]) -> None:
    ours, theirs = both
    tokens = ours.tokenize(TEXT)
    assert tokens == theirs.tokenize(TEXT)
    assert tokens[:5] == ["the</w>", "house</w>", "of</w>", "mr.</w>", "smith</w>"]
    assert ours.convert_tokens_to_ids(tokens) == theirs.convert_tokens_to_ids(tokens)
    assert ours.encode(TEXT) == theirs.encode(TEXT) == ours(TEXT).input_ids


@pytest.mark.parametrize(
    "tokens",
    ["the</w>", "the", "", "<special1>", "newtok", "漢", [], ["the</w>", "漢", "newtok"], None],
    ids=repr,
)
def test_tokens_to_ids(both: tuple[XLMTokenizer, Any], tokens: Any) -> None:
    ours, theirs = both
    assert ours.convert_tokens_to_ids(tokens) == theirs.convert_tokens_to_ids(tokens)


def test_tokens_to_ids_and_back(both: tuple[XLMTokenizer, Any]) -> None:
    ours, _ = both
    vocabulary = ours.get_vocab()
    assert len(vocabulary) == len(ours) == 318
    assert ours.convert_tokens_to_ids(list(vocabulary)) == list(vocabulary.values())
    assert ours.convert_ids_to_tokens(list(vocabulary.values())) == list(vocabulary)
    assert ours.convert_tokens_to_ids(("a", "b")) == ours.convert_tokens_to_ids(["a", "b"])
    for wrong in ([5], [b"a"], [None], [["a"]]):
        with pytest.raises(InputError, match="Tokens are strings"):
            ours.convert_tokens_to_ids(wrong)


def as_given(ids: list[int], form: str) -> Any:
    forms: dict[str, Callable[[list[int]], Any]] = {
        "list": list,
        "tuple": tuple,
        "numpy": np.array,
        "int32": lambda ids: np.array(ids, np.int32),
        "numpy scalars": lambda ids: [np.int64(i) for i in ids],
        "torch": torch.tensor,
        "torch scalars": lambda ids: list(torch.tensor(ids)),
    }
    return forms[form](ids)


@pytest.mark.parametrize("skip", [False, True], ids=["all", "skip"])
@pytest.mark.parametrize(
    "form", ["list", "tuple", "numpy", "int32", "numpy scalars", "torch", "torch scalars"]
)
def test_ids_to_tokens_and_text(both: tuple[XLMTokenizer, Any], form: str, skip: bool) -> None:
    ours, theirs = both
    ids = [0, *range(330), 1, 317, 316, 317, 16, 316, 40, 1, 5, 317]
    given = as_given(ids, form)
    expected = theirs.convert_ids_to_tokens(ids, skip_special_tokens=skip)
    assert ours.convert_ids_to_tokens(given, skip_special_tokens=skip) == expected
    for clean in (None, False, True):
        assert ours.decode(given, skip, clean) == theirs.decode(ids, skip, clean)
    batch = [given[:7], given[300:]]
    expected = theirs.batch_decode([ids[:7], ids[300:]], skip_special_tokens=skip)
    assert ours.batch_decode(batch, skip_special_tokens=skip) == expected


@pytest.mark.parametrize("i", [0, 16, 3, 168, 315, 316, 317, 318, 10**9, -1, -316])
def test_one_id(both: tuple[XLMTokenizer, Any], i: int) -> None:
    ours, theirs = both
    assert ours.convert_ids_to_tokens(i) == theirs.convert_ids_to_tokens(i)
    for one in (i, np.int64(i), np.array(i), torch.tensor(i)):
        assert ours.convert_ids_to_tokens(one) == theirs.convert_ids_to_tokens(i)
        assert ours.decode(one) == theirs.decode(i)
        assert ours.decode(one, skip_special_tokens=True) == theirs.decode(
            i, skip_special_tokens=True
        )


def test_batches_of_arrays(both: tuple[XLMTokenizer, Any]) -> None:
    ours, theirs = both
    rows = [[0, 168, 40, 1], [0, 317, 5, 1]]
    expected = theirs.batch_decode(rows)
    assert ours.batch_decode(np.array(rows)) == expected
    assert ours.batch_decode(torch.tensor(rows)) == expected
    assert ours.batch_decode([]) == theirs.batch_decode([]) == []
    assert ours.decode([]) == theirs.decode([]) == ""
    options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": True}
    assert ours.batch_decode(rows, **options) == theirs.batch_decode(rows, **options)


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        ["the</w>"],
        ["<s>", "the</w>", "</s>"],
        ["a", "</w>", "b</w>"],
        [" ", "x</w>", " "],
        ["</w>", "</w>"],
        ["</w", ">"],
    ],
    ids=repr,
)
def test_tokens_to_text(both: tuple[XLMTokenizer, Any], tokens: list[str]) -> None:
    ours, theirs = both
    assert ours.convert_tokens_to_string(tokens) == theirs.convert_tokens_to_string(tokens)


def test_clean_up(both: tuple[XLMTokenizer, Any]) -> None:
    text = "a . b ? c ! d , e ' f n't g 'm h 's i 've j 're k ' ' l  .  . 'mm"
    expected = both[1].clean_up_tokenization(text)
    assert both[0].clean_up_tokenization(text) == expected
    assert expected.startswith("a. b? c! d, e'f")
    tokenizer = new_ours(clean_up_tokenization_spaces=True)
    ids = tokenizer("the cat .", add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == "the cat."
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == "the cat ."


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("v4", "<s>the newtok cat </s><ent> newtok newtok </s>"),
        ("v5", "<s>the newtokcat </s><ent>newtoknewtok</s>"),
        ("original", "<s> the newtok cat </s> <ent> newtok newtok </s>"),
    ],
)
def test_blanks_around_added_tokens(mode: str, text: str) -> None:
    tokenizer = new_ours(mode=mode)
    tokenizer.add_tokens(["newtok"])
    tokenizer.add_special_tokens({"mask_token": "<ent>"})
    ids = tokenizer.convert_tokens_to_ids(
        ["<s>", "the</w>", "newtok", "cat</w>", "</s>", "<ent>", "newtok", "newtok", "</s>"]
    )
    assert tokenizer.decode(ids) == text


def test_decode_of_what_was_encoded() -> None:
    """Lower-case words of the vocabulary's letters come back, with blanks where Moses puts them."""
    for mode in ("v4", "v5", "original"):
        tokenizer = new_ours(mode=mode)
        ids = tokenizer("The cat, it's in the house.").input_ids
        text = tokenizer.decode(ids, skip_special_tokens=True)
        assert text == "the cat , it 's in the house ."


def test_roles_of_the_frame() -> None:
    for mode, first in (("v4", 0), ("v5", 0), ("original", 1)):
        tokenizer = new_ours(mode=mode)
        assert tokenizer.build_inputs_with_special_tokens([50], [60]) == [first, 50, 1, 60, 1]
        ids = tokenizer("the", "cat").input_ids
        assert ids == [first, 168, 1, 208, 1]


@pytest.mark.parametrize(
    "call",
    [
        lambda tok, **kw: tok.tokenize("a", **kw),
        lambda tok, **kw: tok("a", **kw),
        lambda tok, **kw: tok.encode("a", **kw),
        lambda tok, **kw: tok.decode([1], **kw),
        lambda tok, **kw: tok.batch_decode([[1]], **kw),
    ],
    ids=["tokenize", "call", "encode", "decode", "batch_decode"],
)
def test_unknown_arguments(call: Callable[..., Any]) -> None:
    with pytest.raises((UnknownArgumentError, TypeError), match="nonsense"):
        call(new_ours(), nonsense=1)


def test_vocabulary_of_the_small_tokenizer() -> None:
    """What the ids in these tests stand for."""
    tokens = list(learned()[0])
    assert [tokens[i] for i in (16, 40, 168, 208)] == ["b", "n", "the</w>", "cat</w>"]
