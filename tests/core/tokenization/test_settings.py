"""Settings are checked when they are set, and what transformers' attributes give is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.core.tokenization.conftest import new_ours, new_peer
from xlm_core import AddedToken, TokenizerError


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model_input_names", "input_ids", "expected a list of names"),
        ("model_input_names", [1], "expected a list of names"),
        ("model_input_names", [], "is empty"),
        ("padding_side", "up", "expected one of 'right', 'left'"),
        ("truncation_side", None, "expected one of 'right', 'left'"),
        ("model_max_length", "many", "expected a whole number"),
        ("clean_up_tokenization_spaces", "false", "expected True or False"),
        ("split_special_tokens", 1, "expected True or False"),
    ],
)
def test_what_cannot_be_is_refused_at_once(name: str, value: Any, message: str) -> None:
    tokenizer = new_ours()
    before = getattr(tokenizer, name)
    with pytest.raises(TokenizerError, match=f"{name} is .*{message}|{name} {message}"):
        setattr(tokenizer, name, value)
    assert getattr(tokenizer, name) == before
    with pytest.raises(TokenizerError):
        new_ours(**{name: value or "x"})


@pytest.mark.parametrize("make", [new_ours, new_peer])
def test_special_tokens_that_are_unset(make: Callable[..., Any], tmp_path: Any) -> None:
    tokenizer = make()
    tokenizer.additional_special_tokens = None
    assert tokenizer.additional_special_tokens is None
    assert tokenizer.all_special_tokens == ["<s>", "<unk>", "</s>", "<pad>", "<special1>"]
    assert tokenizer("the <special4>").input_ids
    tokenizer.additional_special_tokens_ids = [6]
    assert tokenizer.additional_special_tokens == ["<special2>"]
    assert tokenizer.additional_special_tokens_ids == [6]
    tokenizer.additional_special_tokens = None
    tokenizer.add_special_tokens({"additional_special_tokens": ["<new>"]})
    assert tokenizer.additional_special_tokens == ["<new>"]


def test_unset_special_tokens_are_saved(tmp_path: Any) -> None:
    tokenizer = new_ours()
    tokenizer.additional_special_tokens = None
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    assert "<special4>" not in again.all_special_tokens
    assert again("<special4>").input_ids == tokenizer("<special4>").input_ids


def test_tokens_with_how_they_are_found() -> None:
    ours, peer = new_ours(), new_peer()
    ours.add_special_tokens({"cls_token": AddedToken("<c>", lstrip=True, special=True)})
    assert ours.special_tokens_map_extended["cls_token"] == AddedToken(
        "<c>", lstrip=True, special=True
    )
    found = new_ours().special_tokens_map_extended
    assert found.keys() == peer.special_tokens_map_extended.keys()
    assert list(map(str, new_ours().all_special_tokens_extended)) == list(
        map(str, peer.all_special_tokens_extended)
    )


@pytest.mark.parametrize("mode", ["v4", "original"])
def test_subwords_of_a_pair_and_with_special_tokens(mode: str) -> None:
    tokenizer = new_ours(mode=mode)
    for args in (("the cat",), ("the cat", "sat")):
        framed = tokenizer.tokenize(*args, add_special_tokens=True)
        assert tokenizer.convert_tokens_to_ids(framed) == tokenizer.encode(*args)
        assert framed == tokenizer(*args).tokens()
        assert tokenizer.tokenize(*args) == [
            token for text in args for token in tokenizer.tokenize(text)
        ]
    assert tokenizer.tokenize("the", pair="cat")[-1] == "cat</w>"


def test_the_names_that_collators_of_whole_words_ask() -> None:
    ours, peer = new_ours(), new_peer()
    ids = [0, 14, 2, 5]
    assert [ours._convert_id_to_token(i) for i in ids] == list(map(peer._convert_id_to_token, ids))
    assert ours._convert_id_to_token(10**6) == "<unk>"
    for token in ("the</w>", "<pad>", "nothing"):
        assert ours._convert_token_to_id(token) == peer._convert_token_to_id(token)
