"""Folders: written and read again, and exchanged with transformers 4."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AddedToken as PeerAddedToken
from transformers.models.xlm.tokenization_xlm import XLMTokenizer as Peer

from tests.core.tokenization.comparing_tokenizers import (
    ATTRIBUTES,
    SHARED,
    TEXTS,
    add_tokens,
    assert_same,
    flags,
)
from tests.core.tokenization.conftest import small
from xlm_core import AddedToken, XLMTokenizer
from xlm_core.tokenization.files.vocabulary_files import read_merges

Make = Callable[..., Any]

SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"mode": "v5", "do_lowercase_and_remove_accent": False},
    {"mode": "original", "lang2id": {"en": 0, "fr": 3, "de": 1}, "lang": "fr"},
    {"lang2id": {"en": 4, "x-made-up": 7}, "model_max_length": 117, "padding_side": "left"},
    {"truncation_side": "left", "split_special_tokens": True, "kytea_model": "/some/model"},
    {"model_input_names": ["input_ids"], "clean_up_tokenization_spaces": True, "mode": "v5"},
    {"mask_token": "<special4>", "cls_token": "<s>", "eos_token": "</s>", "pad_token": None},
    {"additional_special_tokens": ["<special0>", "<special7>"]},
)


@pytest.mark.parametrize("added", [False, True], ids=["plain", "added"])
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "+".join(settings) or "default")
def test_round_trip(
    tmp_path: Path, make_tokenizer: Make, settings: dict[str, Any], added: bool
) -> None:
    tokenizer = make_tokenizer(**settings)
    if added:
        add_tokens(tokenizer, AddedToken)
    written = tokenizer.save_pretrained(tmp_path / "once" / "deeper")
    again = XLMTokenizer.from_pretrained(tmp_path / "once" / "deeper")
    assert_same(again, tokenizer, ATTRIBUTES)
    assert again.name_or_path == str(tmp_path / "once" / "deeper")
    # Written again, the same files with the same bytes.
    for before, after in zip(written, again.save_pretrained(tmp_path / "twice"), strict=True):
        assert Path(before).read_bytes() == Path(after).read_bytes()
        assert Path(before).name == Path(after).name
    assert {Path(name) for name in written} == set((tmp_path / "once" / "deeper").iterdir())


def test_a_round_trip_tells_settings_apart(tmp_path: Path, make_tokenizer: Make) -> None:
    """The texts above show whether the settings that change ids came through."""
    ids = {
        str([make_tokenizer(**settings)(text)["input_ids"] for text in TEXTS])
        for settings in (SETTINGS[0], SETTINGS[1], SETTINGS[2], SETTINGS[4])
    }
    assert len(ids) == 4


@pytest.mark.parametrize("added", [False, True], ids=["plain", "added"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_lowercase_and_remove_accent": False},
        {"model_max_length": 117, "padding_side": "left", "truncation_side": "left"},
        {"lang2id": {"en": 0, "fr": 1}, "id2lang": {0: "en", 1: "fr"}},
        {"mask_token": "<special4>", "cls_token": "<s>", "eos_token": "</s>"},
        {"additional_special_tokens": ["<special0>", "<special7>"]},
    ],
    ids=lambda settings: "+".join(settings) or "default",
)
def test_exchange_with_transformers_4(
    tmp_path: Path, make_tokenizer: Make, make_peer: Make, settings: dict[str, Any], added: bool
) -> None:
    peer, ours = make_peer(**settings), make_tokenizer(**settings)
    if added:
        add_tokens(peer, PeerAddedToken)
        add_tokens(ours, AddedToken)
    peer.save_pretrained(tmp_path / "peer")
    opened = XLMTokenizer.from_pretrained(tmp_path / "peer")
    assert opened.mode == "v4"
    assert_same(opened, peer, SHARED)
    assert flags(opened) == flags(peer)
    ours.save_pretrained(tmp_path / "ours")
    opened = Peer.from_pretrained(str(tmp_path / "ours"))
    assert_same(opened, ours, SHARED)
    assert flags(opened) == flags(ours)
    # The vocabulary and the merges are the same bytes, written by either.
    for name in ("vocab.json", "merges.txt"):
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "peer" / name).read_bytes()


def test_keys_that_transformers_writes_are_all_there(
    tmp_path: Path, make_tokenizer: Make, make_peer: Make
) -> None:
    make_peer().save_pretrained(tmp_path / "peer")
    make_tokenizer().save_pretrained(tmp_path / "ours")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        theirs = json.loads((tmp_path / "peer" / name).read_text())
        ours = json.loads((tmp_path / "ours" / name).read_text())
        # A vocabulary without languages is written by transformers as null twice.
        assert {key for key in theirs if theirs[key] is not None} <= ours.keys(), name
        same = {key for key in theirs if ours.get(key) == theirs[key]}
        assert {key for key in theirs if theirs[key] is not None} - same <= {"model_max_length"}


def test_filename_prefix(tmp_path: Path, make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens("newtok")
    written = tokenizer.save_pretrained(tmp_path / "out", filename_prefix="xlm")
    assert sorted(Path(name).name for name in written) == [
        "xlm-added_tokens.json",
        "xlm-merges.txt",
        "xlm-special_tokens_map.json",
        "xlm-tokenizer_config.json",
        "xlm-vocab.json",
    ]
    files = tokenizer.save_vocabulary(tmp_path / "out", "b")
    assert files == (str(tmp_path / "out" / "b-vocab.json"), str(tmp_path / "out" / "b-merges.txt"))
    assert XLMTokenizer(*files).encoder == tokenizer.encoder


def test_opens_from_memory(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer()
    copy = XLMTokenizer(tokenizer.encoder, read_merges(small()[1]))
    assert [copy.tokenize(text) for text in TEXTS] == [tokenizer.tokenize(text) for text in TEXTS]


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, make_tokenizer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = make_tokenizer()
    written = tokenizer.save_pretrained(tmp_path / "out")
    before = {name: Path(name).read_bytes() for name in written}
    tokenizer.lang = "de"

    def refuse(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", refuse)
        with pytest.raises(OSError, match="No space left"):
            tokenizer.save_pretrained(tmp_path / "out")
    assert {name: Path(name).read_bytes() for name in written} == before
    assert {str(path) for path in (tmp_path / "out").iterdir()} == set(written)


def test_a_text_that_cannot_be_written_leaves_the_old_file(
    tmp_path: Path, make_tokenizer: Make
) -> None:
    tokenizer = make_tokenizer()
    vocabulary = Path(tokenizer.save_vocabulary(tmp_path)[0])
    before = vocabulary.read_bytes()
    tokenizer.encoder["\ud800"] = 999
    with pytest.raises(UnicodeEncodeError):
        tokenizer.save_vocabulary(vocabulary.parent)
    assert vocabulary.read_bytes() == before
