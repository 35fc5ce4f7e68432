"""What a corpus says of itself: the names and types of its files, and corpus.json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import Any

import numpy as np

from xlm_core.errors import CorpusError

VERSION = 1
SENTENCES_FILE = "sentences.npy"
POSITIONS_FILE = "positions.npy"
INFO_FILE = "corpus.json"

POSITION_DTYPE = np.dtype("<i8")


@dataclass(frozen=True)
class CorpusInfo:
    """What corpus.json holds.

    Attributes:
        version: Of the format.
        mode: Of the tokenizer: "v4", "v5" or "original".
        languages: Those of the texts.
        vocab_size: Every id is below it.
        vocab_digest: `vocabulary_digest` of the tokenizer.
        eos_id: The id after each sentence.
        unk_id: The id of what the vocabulary lacks; None if there is none.
        sentences: Number of sentences, empty ones included.
        tokens: Number of ids in them, without those after each.
        unknowns: How many of these are `unk_id`.
    """

    version: int
    mode: str
    languages: tuple[str, ...]
    vocab_size: int
    vocab_digest: str
    eos_id: int
    unk_id: int | None
    sentences: int
    tokens: int
    unknowns: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the ids: uint16 while they fit, else int32."""
        return np.dtype("<u2" if self.vocab_size < 1 << 16 else "<i4")


def read_info(file: Path) -> CorpusInfo:
    """What the file holds.

    Raises:
        CorpusError: It is missing, damaged or of another version.
    """
    try:
        values = json.loads(file.read_bytes().decode("utf-8"))
    except FileNotFoundError as error:
        raise CorpusError(f"There is no file {file}: {file.parent} is no corpus.") from error
    except OSError as error:
        raise CorpusError(f"{file} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{file} is damaged: {error}.") from error
    if not isinstance(values, dict):
        raise CorpusError(f"{file} is damaged: it holds no object.")
    if values.get("version") != VERSION:
        raise CorpusError(
            f"{file} has version {values.get('version')!r}, and this library reads version "
            f"{VERSION}: make the corpus anew, or update the library."
        )
    types: dict[str, Any] = {field.name: int for field in fields(CorpusInfo)}
    types |= {"mode": str, "languages": list, "vocab_digest": str, "unk_id": int | None}
    for name, kind in types.items():
        value = values.get(name, ...)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise CorpusError(f"{file} has {name}={value!r}, which is of the wrong type.")
        if isinstance(value, int) and not 0 <= value < 1 << 48:
            raise CorpusError(f"{file} has {name}={value!r}, which is out of range.")
    if not all(isinstance(language, str) for language in values["languages"]):
        raise CorpusError(f"{file} has languages={values['languages']!r}; expected names.")
    values["languages"] = tuple(values["languages"])
    info = CorpusInfo(**{name: values[name] for name in types})
    if info.eos_id >= info.vocab_size or info.vocab_size > 1 << 31:
        raise CorpusError(f"{file} has eos_id={info.eos_id} and vocab_size={info.vocab_size}.")
    return info


def vocabulary_digest(vocabulary: Mapping[str, int], below: int | None = None) -> str:
    """SHA-256 over the ids and their tokens, in the order of the ids.

    Args:
        vocabulary: Id of each token, as `XLMTokenizer.get_vocab()` gives them.
        below: Leave out ids from here on.
    """
    lines = [
        # JSON, so that no token can look like the end of one.
        f"{i} {encode_basestring_ascii(token)}\n"
        for i, token in sorted((i, token) for token, i in vocabulary.items())
        if below is None or i < below
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def vocab_size_of(vocabulary: Mapping[str, int]) -> int:
    """Every id of the vocabulary is below it."""
    # Not their number: ids may have gaps.
    return max(vocabulary.values(), default=-1) + 1
