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


def test_rows_of_a_batch_that_was_made_before_refuse_too(tmp_path: Path) -> None:
    """As the batch does: their alignment would be another tokenizer's."""
    tokenizer = small_tokenizer(tmp_path)
    batch = tokenizer(["abc de", "fg"])
    tokenizer.add_tokens(["abc de"])
    for rows in (batch, batch[0], batch[:1]):
        with pytest.raises(InputError, match="can no longer be told"):
            rows.word_ids(0)
    shorter = tokenizer("fg a")
    shorter["input_ids"].pop()
    with pytest.raises(InputError, match="can no longer be told"):
        shorter.word_ids()


def test_languages_that_are_set_are_saved(tmp_path: Path) -> None:
    """Both tables of the file say the same, whichever was there before."""
    for before in (None, {"en": 0, "fr": 1}):
        tokenizer = small_tokenizer(tmp_path / "made")
        tokenizer.lang2id = before
        tokenizer.id2lang = before and {0: "en", 1: "fr"}
        tokenizer.lang2id = {"en": 0, "fr": 1, "de": 2}
        tokenizer.save_pretrained(tmp_path / "saved")
        opened = XLMTokenizer.from_pretrained(tmp_path / "saved")
        assert opened.lang2id == {"en": 0, "fr": 1, "de": 2}
        assert opened.id2lang == {0: "en", 1: "fr", 2: "de"}


def test_special_tokens_of_other_kinds_of_numbers(tmp_path: Path) -> None:
    class ByIdentity(int):  # as the entries of a tensor of PyTorch
        __hash__ = object.__hash__

    tokenizer = small_tokenizer(tmp_path)
    ids = [ByIdentity(token) for token in tokenizer("abc")["input_ids"]]
    found = tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True)
    assert found == [1, 0, 1]


@pytest.mark.parametrize("name", ["workers", "stride"])
def test_numbers_that_have_to_be_given(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"{name}=None: expected an integer of at least \d\.$"):
        small_tokenizer(tmp_path)(["abc"], **{name: None})
