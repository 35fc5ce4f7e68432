"""Folders of other classes of tokenizer: their files look alike, and their ids are others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers.models.flaubert.tokenization_flaubert import FlaubertTokenizer

from tests.support.small_tokenizer import write_folder, write_original
from xlm_core import TokenizerError, XLMTokenizer, XLMWarning


class MyTokenizer(XLMTokenizer):
    """A class of a user's own."""


@pytest.mark.parametrize(
    ("settings", "config", "what"),
    [
        ({"tokenizer_class": "FlaubertTokenizer"}, {}, "tokenizer_class='FlaubertTokenizer'"),
        ({"tokenizer_class": "BertTokenizerFast"}, {}, "tokenizer_class='BertTokenizerFast'"),
        ({"tokenizer_class": "XLMRobertaTokenizer"}, {}, "'XLMRobertaTokenizer'"),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, {}, "'PreTrainedTokenizerFast'"),
        ({"tokenizer_class": "CLIPTokenizer"}, {"model_type": "xlm"}, "'CLIPTokenizer'"),
        ({}, {"tokenizer_class": "GPT2Tokenizer"}, "config.json says tokenizer_class"),
        ({}, {"model_type": "xlm", "tokenizer_class": "BertTokenizer"}, "'BertTokenizer'"),
        ({}, {"model_type": "flaubert"}, "model_type='flaubert'"),
        ({}, {"model_type": "openai-gpt"}, "model_type='openai-gpt'"),
        ({"tokenizer_class": None}, {"model_type": "xlm-roberta"}, "model_type='xlm-roberta'"),
        ({"do_lowercase": True}, {}, "do_lowercase, a setting of FlaubertTokenizer"),
        ({"do_lower_case": True, "do_basic_tokenize": True}, {}, "a setting of BertTokenizer"),
        ({"add_prefix_space": False}, {}, "add_prefix_space, a setting of"),
        ({"sp_model_kwargs": {}}, {}, "sp_model_kwargs, a setting of"),
        ({"auto_map": {"AutoTokenizer": ["own.Own", None]}}, {}, "code of its own (auto_map)"),
        ({}, {"architectures": ["FlaubertWithLMHeadModel"]}, "['FlaubertWithLMHeadModel']"),
        ({"do_lower_case": False}, {"architectures": ["RobertaModel"]}, "['RobertaModel']"),
    ],
)
def test_refused(
    tmp_path: Path, settings: dict[str, Any], config: dict[str, Any], what: str
) -> None:
    write_folder(tmp_path, **settings)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(TokenizerError, match="another class") as error:
        XLMTokenizer.from_pretrained(tmp_path)
    assert what in str(error.value)
    assert "expected XLMTokenizer" in str(error.value)


@pytest.mark.parametrize(
    ("settings", "config"),
    [
        ({"tokenizer_class": "XLMTokenizer"}, {}),
        ({"tokenizer_class": "XLMTokenizerFast"}, {}),
        ({"tokenizer_class": "XLMTokenizer"}, {"model_type": "my-encoder"}),
        ({}, {"model_type": "xlm"}),
        ({}, {"model_type": None, "tokenizer_class": None}),
        ({}, {"model_type": "my-encoder", "tokenizer_class": "XLMTokenizer"}),
        ({}, {"emb_dim": 8}),
        ({}, {"architectures": ["TFXLMModel"]}),
        ({}, {"architectures": None}),
        ({}, {"architectures": ["MyEncoder", "XLMWithLMHeadModel"]}),
        ({"do_lower_case": True}, {}),
        ({"tokenizer_class": "XLMTokenizer", "do_lowercase": True}, {"architectures": ["Mine"]}),
        ({"tokenizer_class": "XLMTokenizer", "auto_map": {"AutoTokenizer": ["a.B", None]}}, {}),
    ],
)
def test_opened(tmp_path: Path, settings: dict[str, Any], config: dict[str, Any]) -> None:
    write_folder(tmp_path, **settings)
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert XLMTokenizer.from_pretrained(tmp_path).tokenize("abc") == ["abc</w>"]


@pytest.mark.parametrize(
    "files",
    [
        {"vocab.txt": "[PAD]\n[UNK]\n"},
        {"tokenizer.json": "{}"},
        {"sentencepiece.bpe.model": "", "vocab.json": "{}"},
        {"source.spm": "", "vocab.json": "{}"},
    ],
)
def test_what_others_have_is_named(tmp_path: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(TokenizerError, match="belong to another class of tokenizer") as error:
        XLMTokenizer.from_pretrained(tmp_path)
    assert next(iter(files)) in str(error.value)


def test_secrets_in_a_file_are_not_kept(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", token="hf_secret", cache_dir="/home/me", colour="blue")
    with pytest.warns(XLMWarning, match="arguments of loading: cache_dir, token"):
        tokenizer = XLMTokenizer.from_pretrained(tmp_path / "a")
    tokenizer.save_pretrained(tmp_path / "b")
    written = json.loads((tmp_path / "b" / "tokenizer_config.json").read_text())
    assert written["colour"] == "blue"
    assert not {"token", "cache_dir"} & written.keys()


def test_a_keras_file_says_how_to_take_its_tokenizer_out(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"")
    with pytest.raises(TokenizerError, match=r"xlm convert .*model\.keras NEW_FOLDER --to"):
        XLMTokenizer.from_pretrained(tmp_path / "model.keras")


def test_of_a_class_of_ones_own(tmp_path: Path) -> None:
    write_folder(tmp_path, tokenizer_class="MyTokenizer")
    assert type(MyTokenizer.from_pretrained(tmp_path)) is MyTokenizer
    with pytest.raises(TokenizerError, match="'MyTokenizer'"):
        XLMTokenizer.from_pretrained(tmp_path)


def test_the_originals_files_beside_a_model_of_flaubert(tmp_path: Path) -> None:
    write_original(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "flaubert"}')
    with pytest.raises(TokenizerError, match="model_type='flaubert'"):
        XLMTokenizer.from_pretrained(tmp_path)


def test_what_transformers_writes_for_flaubert(tmp_path: Path) -> None:
    """It does give other ids: no lowercasing, another normalisation."""
    write_folder(tmp_path / "a")
    peer = FlaubertTokenizer(str(tmp_path / "a" / "vocab.json"), str(tmp_path / "a" / "merges.txt"))
    peer.save_pretrained(tmp_path / "b")
    with pytest.raises(TokenizerError, match="'FlaubertTokenizer'"):
        XLMTokenizer.from_pretrained(tmp_path / "b")
    ours = XLMTokenizer.from_pretrained(tmp_path / "a")
    assert peer("ABC").input_ids != ours("ABC").input_ids
