"""A small tokenizer that counts what is asked of it, and transformers' of the same files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers.models.xlm.tokenization_xlm import XLMTokenizer as Oracle

from tests.support.tokenizer_parts import OpenTokenizer
from xlm_core.tokenization.files.vocabulary_files import Merges

LETTERS = "abcdefgh"
LANG2ID = {"en": 0, "fr": 1, "de": 2}


def write_files(folder: Path) -> tuple[str, str]:
    """vocab.json and merges.txt of 34 tokens: letters, some pairs, the special tokens."""
    tokens = ["<s>", "</s>", "<pad>", "<unk>", *(f"<special{i}>" for i in range(10))]
    merges = [("a", "b"), ("ab", "c</w>"), ("d", "e</w>"), ("f", "g")]
    tokens += [letter + end for letter in LETTERS for end in ("", "</w>")]
    tokens += ["".join(pair) for pair in merges]
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("".join(f"{a} {b}\n" for a, b in merges))
    return str(folder / "vocab.json"), str(folder / "merges.txt")


class Stub(OpenTokenizer):
    """`XLMTokenizer` with notes of the calls of its two halves' seam."""

    def __init__(self, oracle: Any, **values: Any) -> None:
        super().__init__(
            dict(oracle.encoder),
            Merges(tuple(oracle.bpe_ranks)),
            lang2id=dict(LANG2ID),
            model_max_length=oracle.model_max_length,
            padding_side=oracle.padding_side,
            truncation_side=oracle.truncation_side,
        )
        self.oracle = oracle
        self.calls: list[Any] = []
        self.asked_alignment = 0
        for name, value in values.items():
            setattr(self, name, value)

    def ids_of_texts(self, texts: Any, langs: Any, *, words: bool, **more: Any) -> Any:
        self.calls.append((langs, words, more))
        return super().ids_of_texts(texts, langs, words=words, **more)

    def alignment_of(self, text: Any, lang: Any, **more: Any) -> Any:
        self.asked_alignment += 1
        return super().alignment_of(text, lang, **more)


def make_pair(folder: Path, **settings: Any) -> tuple[Stub, Oracle]:
    """Ours and the oracle, of the same files and settings."""
    oracle = Oracle(*write_files(folder), **settings)
    return Stub(oracle), oracle
