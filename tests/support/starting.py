"""Checkpoints with tokenizers, and a tokenizer of other words: what runs may start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.layout_models import make
from tests.support.small_tokenizer import SPECIAL, write_folder
from xlm_core import XLMTokenizer
from xlm_core.checkpoints import LAYOUTS
from xlm_core.checkpoints.writing import write_folder as write_checkpoint
from xlm_core.weights import ENCODER_DECODER

LM = "XLMWithLMHeadModel"
OLD = {"en": 0, "fr": 1}
NEW = {"de": 0, "en": 1, "fr": 2}
# Of the old vocabulary all that "abc", "c" and "b" need; the others are new.
_WORDS = (*SPECIAL[:10], "c</w>", "x", "c", *SPECIAL[10:], "b", "b</w>", "x</w>", "ab", "abc</w>")
_WORDS = (*_WORDS, "a", "a</w>", "y", "y</w>")
COMMON = ("c</w>", "c", "b", "b</w>", "ab", "abc</w>", "a", "a</w>")


def write_model(folder: Path, architecture: str = LM, **fields: Any) -> Path:
    """A small model beside its tokenizer, by default of the languages `OLD`."""
    write_folder(folder)
    fields = {"vocab_size": 34, "n_langs": 2, "lang2id": OLD} | fields
    kind = "1 language" if fields["n_langs"] == 1 else "2 languages"
    write_checkpoint(folder, make(architecture, kind, **fields), LAYOUTS["safetensors"])
    return folder


def other_tokenizer(folder: Path) -> XLMTokenizer:
    """A tokenizer of other words, in another order, and of the languages `NEW`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(_WORDS)}))
    (folder / "merges.txt").write_text("a b\nab c</w>\n")
    settings = {"lang2id": NEW, "id2lang": {i: name for name, i in NEW.items()}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return XLMTokenizer.from_pretrained(folder)


__all__ = ["COMMON", "ENCODER_DECODER", "LM", "NEW", "OLD", "other_tokenizer", "write_model"]
