"""Folders as others write them: transformers 5, transformers before 4.34, the original."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers.models.xlm.tokenization_xlm import XLMTokenizer as Peer

from tests.core.tokenization.comparing_tokenizers import ATTRIBUTES, SHARED, assert_same, flags
from tests.core.tokenization.conftest import learned, write_files
from xlm_core import XLMTokenizer

Make = Callable[..., Any]


def v5_folder(folder: Path, **more: Any) -> Path:
    """As transformers 5 writes one."""
    write_files(folder)
    added = {
        str(i): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": True,
        }
        for i, token in enumerate(["<s>", "</s>", "<pad>", "<unk>", "<special0>", "<special1>"])
    }
    added["316"] = {**added["0"], "content": "newtok", "special": False, "normalized": True}
    settings = {
        "added_tokens_decoder": added,
        "backend": "custom",
        "bos_token": "<s>",
        "cls_token": "</s>",
        "do_lowercase_and_remove_accent": True,
        "extra_special_tokens": ["<special0>", "<special1>"],
        "id2lang": None,
        "is_local": True,
        "lang2id": None,
        "mask_token": "<special1>",
        "model_max_length": 512,
        "pad_token": "<pad>",
        "sep_token": "</s>",
        "tokenizer_class": "XLMTokenizer",
        "unk_token": "<unk>",
        **more,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def test_folder_of_transformers_5(tmp_path: Path, make_tokenizer: Make) -> None:
    tokenizer = XLMTokenizer.from_pretrained(v5_folder(tmp_path / "five"))
    assert len(learned()[0]) == 316
    assert tokenizer.mode == "v5"
    assert tokenizer.additional_special_tokens == ["<special0>", "<special1>"]
    assert tokenizer.model_max_length == 512
    assert tokenizer.get_added_vocab()["newtok"] == 316
    assert tokenizer.model_input_names == ["input_ids", "attention_mask"]
    # Not lowercased before Moses: a period before "They" is one of its own.
    assert tokenizer.tokenize("cat. They newtok") == ["cat</w>", ".</w>", "they</w>", "newtok"]
    # <special5> is an ordinary text there, since it is not among the added tokens.
    assert "<special5>" not in tokenizer.tokenize("<special5>")
    again = XLMTokenizer.from_pretrained(Path(tokenizer.save_pretrained(tmp_path / "a")[0]).parent)
    assert_same(again, tokenizer, ATTRIBUTES)


def test_mode_of_a_folder_and_overrides(tmp_path: Path) -> None:
    five = v5_folder(tmp_path / "five", mode="original")
    assert XLMTokenizer.from_pretrained(five).mode == "original"
    assert XLMTokenizer.from_pretrained(five, mode="v4").mode == "v4"
    opened = XLMTokenizer.from_pretrained(
        str(five), lang="de", unk_token="<special2>", model_max_length=5, name_or_path="else"
    )
    assert (opened.lang, opened.unk_token_id, opened.model_max_length) == ("de", 6, 5)
    assert opened.name_or_path == "else"
    write_files(tmp_path / "bare")
    assert XLMTokenizer.from_pretrained(tmp_path / "bare").mode == "v4"


def test_unknown_keys_are_kept(tmp_path: Path) -> None:
    folder = v5_folder(tmp_path / "five", chat_template="{{ x }}", nested={"é": [1, None]})
    XLMTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "out")
    settings = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text("utf-8"))
    assert settings["chat_template"] == "{{ x }}"
    assert settings["nested"] == {"é": [1, None]}
    assert settings["tokenizer_class"] == "XLMTokenizer"
    assert "backend" not in settings
    assert "is_local" not in settings


# -- transformers before 4.34, and less than a whole folder ---------------------------------------


def test_vocabulary_and_merges_alone(tmp_path: Path, make_peer: Make) -> None:
    write_files(tmp_path / "bare")
    opened = XLMTokenizer.from_pretrained(tmp_path / "bare")
    assert_same(opened, make_peer(), SHARED)
    assert opened.mode == "v4"


def legacy_folder(folder: Path) -> Path:
    write_files(folder)
    roles: dict[str, Any] = {
        "bos_token": "<s>",
        "mask_token": {"content": "<special2>", "lstrip": True, "__type": "AddedToken"},
        "unk_token": "<unk>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "cls_token": "</s>",
        "additional_special_tokens": ["<special0>", "<ent>"],
    }
    del roles["mask_token"]["__type"]
    (folder / "special_tokens_map.json").write_text(json.dumps(roles))
    (folder / "added_tokens.json").write_text(json.dumps({"newtok": 317, "<ent>": 316}))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"model_max_length": 512, "do_lowercase_and_remove_accent": False})
    )
    return folder


def test_tokens_in_files_of_their_own(tmp_path: Path) -> None:
    folder = legacy_folder(tmp_path / "legacy")
    opened = XLMTokenizer.from_pretrained(folder)
    assert opened.mask_token_id == 6
    assert opened.additional_special_tokens == ["<special0>", "<ent>"]
    assert opened.model_max_length == 512
    assert opened.tokenize("a <ent> newtok <special0> <special1>")[:4] == [
        "a</w>",
        "<ent>",
        "newtok",
        "<special0>",
    ]
    assert_same(opened, Peer.from_pretrained(str(folder)), SHARED)
    again = XLMTokenizer.from_pretrained(Path(opened.save_pretrained(tmp_path / "a")[0]).parent)
    assert_same(again, opened, ATTRIBUTES)
    assert flags(again) == flags(opened)


def test_languages_of_the_model(tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"lang2id": {"en": 0, "ur": 1}}))
    opened = XLMTokenizer.from_pretrained(tmp_path)
    assert opened.lang2id == {"en": 0, "ur": 1}
    assert opened.id2lang == {0: "en", 1: "ur"}
    # The tokenizer's own file counts more, an argument most.
    settings = {"lang2id": {"en": 1, "ar": 0}, "id2lang": {"1": "en", "0": "ar"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert XLMTokenizer.from_pretrained(tmp_path).id2lang == {0: "ar", 1: "en"}
    opened = XLMTokenizer.from_pretrained(tmp_path, lang2id={"de": 5}, id2lang=None)
    assert opened.lang2id == {"de": 5}
