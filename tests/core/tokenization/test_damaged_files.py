"""Damaged files and contradictory tables: refused with what was found, or read as they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers.models.xlm.tokenization_xlm import XLMTokenizer as Peer

from tests.core.tokenization.conftest import learned, write_files
from xlm_core import InputError, UnknownArgumentError, XLMTokenizer, XLMWarning
from xlm_core.errors import TokenizerError
from xlm_core.tokenization.files.vocabulary_files import Merges, read_merges

Make = Callable[..., Any]

VOCABULARY = json.dumps(learned()[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_files(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b"{}", "holds no subwords"),
        (VOCABULARY.encode()[:-1], "not valid JSON"),
        (VOCABULARY.encode()[: len(VOCABULARY) // 2], "not valid JSON"),
        (b'["<s>", "</s>"]', "a JSON list; expected an object"),
        (b"null", "a JSON NoneType; expected an object"),
        (b"[" * 100_000, "not valid JSON"),
        (VOCABULARY.encode()[:-1] + b', "the</w>": 900}', "more than one id for 'the</w>'"),
        (VOCABULARY.encode()[:-1] + b', "the</w>": 16}', "more than one id for 'the</w>'"),
        (VOCABULARY.encode()[:-1] + b', "new": 15}', r"same id .*'new' \(15\)"),
        (VOCABULARY.encode()[:-1] + b', "new": -1}', "whole numbers from 0 up: 'new': -1"),
        (VOCABULARY.encode()[:-1] + b', "new": true}', "whole numbers from 0 up: 'new': True"),
        (VOCABULARY.encode()[:-1] + b', "new": "900"}', "whole numbers from 0 up: 'new': '900'"),
        (VOCABULARY.encode()[:-1] + b', "new": 900.0}', "whole numbers from 0 up: 'new': 900.0"),
        (VOCABULARY.encode()[:-1] + b', "new": null}', "whole numbers from 0 up: 'new': None"),
        (VOCABULARY.encode()[:-1] + b', "n\xff": 900}', "not UTF-8"),
        (VOCABULARY.encode("utf-16"), "not UTF-8"),
    ],
)
def test_vocabulary(folder: Path, content: bytes, message: str) -> None:
    (folder / "vocab.json").write_bytes(content)
    with pytest.raises(TokenizerError, match=rf"vocab\.json.*{message}") as error:
        XLMTokenizer.from_pretrained(folder)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize("vocabulary", [{"a": -1}, {"a": True}, {"a": "1"}, {"a": 1, "b": 1}])
def test_vocabulary_in_memory(vocabulary: Any) -> None:
    with pytest.raises(TokenizerError, match="The vocabulary"):
        XLMTokenizer(vocabulary, Merges(()))


def test_missing_folder_and_files(folder: Path) -> None:
    with pytest.raises(TokenizerError, match=r"There is no folder .*nowhere"):
        XLMTokenizer.from_pretrained(folder / "nowhere")
    with pytest.raises(TokenizerError, match=r"There is no folder .*vocab\.json"):
        XLMTokenizer.from_pretrained(folder / "vocab.json")
    (folder / "empty").mkdir()
    with pytest.raises(TokenizerError, match=r"found: none of these"):
        XLMTokenizer.from_pretrained(folder / "empty")
    with pytest.raises(TokenizerError, match="nowhere is not a folder"):
        XLMTokenizer.from_pretrained(folder).save_vocabulary(folder / "nowhere")
    for name in ("vocab.json", "merges.txt"):
        write_files(folder)
        (folder / name).unlink()
        with pytest.raises(TokenizerError, match=f"There is no file .*{name}"):
            XLMTokenizer.from_pretrained(folder)
        (folder / name).mkdir()
        with pytest.raises(TokenizerError, match=rf"(no file|{name} cannot be read)"):
            XLMTokenizer.from_pretrained(folder)
        (folder / name).rmdir()


@pytest.mark.parametrize("name", ["tokenizer_config.json", "config.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": ', "not valid JSON"),
        (b"[]", "expected an object"),
        (b'{"\xe9": 1}', "not UTF-8"),
    ],
)
def test_other_files(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(TokenizerError, match=f"{name}.*{message}"):
        XLMTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("name", ["special_tokens_map.json", "added_tokens.json"])
def test_other_files_of_tokens(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"[")
    with pytest.raises(TokenizerError, match=f"{name}.*not valid JSON"):
        XLMTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "v3"},
        {"padding_side": "up"},
        {"truncation_side": 1},
        {"lang": "xx"},
        {"added_tokens_decoder": {"x": {"content": "a"}}},
        {"added_tokens_decoder": {"1": {"contents": "a"}}},
        {"added_tokens_decoder": {"1": {"content": 5}}},
        {"added_tokens_decoder": [1]},
        {"model_max_length": "many"},
        {"lang2id": {"en": "first"}},
        {"lang2id": {"en": 0.5}},
        {"id2lang": {"first": "en"}},
        {"added_tokens_decoder": {"16": {"content": "<special0>"}}},
        {"added_tokens_decoder": {"316": {"content": "<special0>"}}},
        {"added_tokens_decoder": {"-1": {"content": "newtok"}}},
        {"lang2id": ["en", "fr"]},
        {"lang2id": {"en": 0, "fr": 0}},
        {"bos_token": 5},
        {"additional_special_tokens": [5]},
    ],
    ids=str,
)
def test_settings_that_cannot_be(folder: Path, settings: dict[str, Any]) -> None:
    """Never another error than ours, and never in silence."""
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises((TokenizerError, InputError)):
        XLMTokenizer.from_pretrained(folder)


def test_the_last_merge_counts(folder: Path) -> None:
    (folder / "merges.txt").write_text("t h\nth e</w>")
    assert XLMTokenizer.from_pretrained(folder).tokenize("the") == ["the</w>"]


@pytest.mark.parametrize("ending", ["\r\n", "\r", "\n"])
def test_line_breaks_of_merges(folder: Path, ending: str) -> None:
    (folder / "merges.txt").write_bytes(ending.join(["t h", "th e</w>", ""]).encode())
    assert read_merges(folder / "merges.txt").lines == (("t", "h"), ("th", "e</w>"))
    assert XLMTokenizer.from_pretrained(folder).tokenize("the") == ["the</w>"]


def test_malformed_merges_merge_nothing_and_keep_their_place(folder: Path) -> None:
    (folder / "merges.txt").write_text("t h\n\nalone\n   \nh e</w> 5 6\nt h\n", encoding="utf-8")
    merges = read_merges(folder / "merges.txt")
    assert merges.lines == (("t", "h"), (), ("alone",), (), ("h", "e</w>"), ("t", "h"))
    assert merges.ranks() == {("h", "e</w>"): 4, ("t", "h"): 5}
    tokenizer = XLMTokenizer.from_pretrained(folder)
    assert tokenizer.tokenize("the") == ["t", "he</w>"]
    tokenizer.save_vocabulary(folder)
    assert read_merges(folder / "merges.txt").ranks() == merges.ranks()


def test_merges_that_are_not_text(folder: Path) -> None:
    (folder / "merges.txt").write_bytes(b"t h\n\xff\xfe\n")
    with pytest.raises(TokenizerError, match=r"merges\.txt is not UTF-8 \(byte 4\)"):
        XLMTokenizer.from_pretrained(folder)


def test_language_tables(make_tokenizer: Make) -> None:
    for tables in (
        {"lang2id": {"en": 0, "fr": 1}, "id2lang": {0: "en", 1: "de"}},
        {"lang2id": {"en": 0, "fr": 1}, "id2lang": {0: "en"}},
    ):
        with pytest.raises(TokenizerError, match="contradict each other"):
            make_tokenizer(**tables)
    with pytest.raises(TokenizerError, match="one number to two languages"):
        make_tokenizer(lang2id={"en": 0, "fr": 0})
    assert make_tokenizer(id2lang={"0": "en", "7": "fr"}).lang2id == {"en": 0, "fr": 7}
    assert make_tokenizer(lang2id={"en": 3}).id2lang == {3: "en"}


def test_unknown_arguments(folder: Path, make_tokenizer: Make) -> None:
    with pytest.raises(
        UnknownArgumentError, match=r"'do_lower'.*Known arguments: vocab_file, .*mo"
    ):
        make_tokenizer(do_lower=True)
    with pytest.raises(UnknownArgumentError, match="'nonsense'"):
        XLMTokenizer.from_pretrained(folder, nonsense=1)
    with pytest.raises(TokenizerError, match="mode is 'v6'; expected one of 'v4', 'v5', 'original"):
        make_tokenizer(mode="v6")
    tokenizer = make_tokenizer()
    with pytest.raises(TokenizerError, match="mode is 'perl'"):
        tokenizer.mode = "perl"
    assert tokenizer.mode == "v4"


@pytest.mark.parametrize(
    "missing",
    [
        ["<pad>"],
        ["</s>"],
        ["<unk>", "<s>"],
        ["<special1>", "<special9>", "<special0>"],
        ["<s>", "</s>", "<pad>", "<unk>", *(f"<special{i}>" for i in range(10))],
    ],
    ids=lambda missing: f"{missing[0]} of {len(missing)}",
)
def test_missing_special_tokens(folder: Path, missing: list[str]) -> None:
    vocabulary = {token: i for token, i in learned()[0].items() if token not in missing}
    vocabulary = {token: i for i, token in enumerate(vocabulary)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    with pytest.warns(XLMWarning, match="The vocabulary lacks") as caught:
        tokenizer = XLMTokenizer.from_pretrained(folder)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert all(repr(token) in str(caught[0].message) for token in missing)
    peer = Peer(
        *(str(folder / name) for name in ("vocab.json", "merges.txt")),
        additional_special_tokens=[f"<special{i}>" for i in range(10)],
    )
    assert tokenizer.get_vocab() == peer.get_vocab()
    assert tokenizer.get_added_vocab() == peer.get_added_vocab()
    assert tokenizer.all_special_ids == peer.all_special_ids
    assert len(tokenizer) == len(peer) == 316
    text = "the cat 漢 <special1></s> sat"
    # Without an <unk> in the vocabulary itself, transformers gives None for what is unknown.
    expected = [peer.unk_token_id if i is None else i for i in peer(text).input_ids]
    assert tokenizer(text).input_ids == expected
