"""A corpus of a few sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xlm_core import XLMTokenizer
from xlm_core.corpus import INFO_FILE, POSITIONS_FILE, SENTENCES_FILE, CorpusWriter

FILES = {SENTENCES_FILE, POSITIONS_FILE, INFO_FILE}
# Among them empty ones, the unknown id and, in the fourth, other special tokens.
SENTENCES = [[14, 15], [], [3, 29, 3], [1, 20, 0, 3, 5, 21], [], [30]]


def write(
    path: Path, tokenizer: XLMTokenizer, sentences: Sequence[Sequence[int]] = SENTENCES, **more: Any
) -> None:
    with CorpusWriter(path, tokenizer, ["en"], **more) as writer:
        for ids in sentences:
            writer.add(ids)
