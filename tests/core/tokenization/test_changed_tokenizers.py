"""What a tokenizer refuses, or takes up, when something about it is changed or given wrongly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.small_tokenizer import small_tokenizer, vocabulary, write_folder, write_original
from xlm_core import AddedToken, InputError, TokenizerError, XLMTokenizer, XLMWarning
from xlm_core.tokenization.files.vocabulary_files import Merges

NO_MERGES = Merges(())


def test_batches_refuse_to_be_aligned_by_a_changed_tokenizer(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path)
    asked, not_asked = tokenizer("abc de"), tokenizer("abc de")
    words = asked.word_ids()
    tokenizer.add_tokens("abc de")
    assert asked.word_ids() == words
    with pytest.raises(InputError, match="was changed after it made this batch"):
        not_asked.word_ids()


def test_new_ids_come_after_the_last_one_where_ids_have_holes(tmp_path: Path) -> None:
    ids = vocabulary()
    del ids["<special9>"]
    with pytest.warns(XLMWarning, match="'<special9>'"):
        tokenizer = XLMTokenizer(ids, NO_MERGES)
    highest = max(ids.values())
    assert tokenizer.convert_tokens_to_ids("<special9>") == highest + 1
    tokenizer.add_tokens(["new"])
    assert tokenizer.convert_tokens_to_ids("new") == highest + 2
    assert len(set(tokenizer.get_vocab().values())) == len(tokenizer)


@pytest.mark.parametrize("tokens", ["<x>", b"<x>", 5, {"<x>": 1}])
def test_one_token_is_no_list_of_its_characters(tmp_path: Path, tokens: object) -> None:
    tokenizer = small_tokenizer(tmp_path)
    with pytest.raises(TokenizerError, match="no list of tokens"):
        tokenizer.additional_special_tokens = tokens  # type: ignore[assignment]
    with pytest.raises(TokenizerError, match="no list of tokens"):
        tokenizer.add_special_tokens({"additional_special_tokens": tokens})
    with pytest.raises(TokenizerError, match="no list of tokens"):
        small_tokenizer(tmp_path, additional_special_tokens=tokens)


def test_swapped_files_of_the_original(tmp_path: Path) -> None:
    folder = write_original(tmp_path)
    with pytest.raises(TokenizerError, match="Were the two files swapped"):
        XLMTokenizer.from_facebook(folder / "vocab", folder / "codes")
    with pytest.raises(TokenizerError, match="begins with"):
        XLMTokenizer.from_facebook(folder / "codes", {0: "a", 1: "b"})


@pytest.mark.parametrize("name", ["do_lowercase_and_remove_accent", "split_special_tokens"])
def test_a_string_is_no_truth(tmp_path: Path, name: str) -> None:
    with pytest.raises(TokenizerError, match=f"{name} is 'false'; expected True or False"):
        XLMTokenizer.from_pretrained(write_folder(tmp_path, **{name: "false"}))


def test_one_table_of_languages_replaces_both_of_the_folder(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, lang2id={"en": 0, "de": 1}, id2lang={"0": "en", "1": "de"})
    tokenizer = XLMTokenizer.from_pretrained(folder, lang2id={"fr": 0})
    assert tokenizer.lang2id == {"fr": 0}
    assert tokenizer.id2lang == {0: "fr"}
    with pytest.raises(TokenizerError, match="two numbers to one language"):
        XLMTokenizer.from_pretrained(folder, id2lang={0: "en", 1: "en"})


def test_a_mark_of_byte_order_is_no_part_of_the_first_merge(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    merges = folder / "merges.txt"
    merges.write_text("\ufeff" + merges.read_text(), encoding="utf-8")
    assert XLMTokenizer.from_pretrained(folder).tokenize("abc") == ["abc</w>"]


@pytest.mark.parametrize("ids", [None, "5", [[1, 2]], [1.5], [None]])
def test_what_cannot_be_decoded(tmp_path: Path, ids: object) -> None:
    with pytest.raises(InputError, match="whole numbers"):
        small_tokenizer(tmp_path).decode(ids)


def test_two_ids_for_one_added_token(tmp_path: Path) -> None:
    token = AddedToken("new").to_dict()
    folder = write_folder(tmp_path, added_tokens_decoder={"90": token, "91": token})
    with pytest.raises(TokenizerError, match="contradict the vocabulary"):
        XLMTokenizer.from_pretrained(folder)
    (folder / "tokenizer_config.json").unlink()
    (folder / "added_tokens.json").write_text(json.dumps({"new": 3}))
    with pytest.raises(TokenizerError, match="contradict the vocabulary"):
        XLMTokenizer.from_pretrained(folder)
