"""Folders of other classes of tokenizer: their files look alike, and their ids are others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers.models.flaubert.tokenization_flaubert import FlaubertTokenizer

from tests.support.small_tokenizer import write_folder, write_original
from xlm_core import TokenizerError, XLMTokenizer


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
    ],
)
def test_opened(tmp_path: Path, settings: dict[str, Any], config: dict[str, Any]) -> None:
    write_folder(tmp_path, **settings)
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert XLMTokenizer.from_pretrained(tmp_path).tokenize("abc") == ["abc</w>"]


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
