"""A corpus that is read by mapping its files into memory."""

from __future__ import annotations

import hashlib
import operator
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from xlm_core.corpus.info import (
    INFO_FILE,
    POSITION_DTYPE,
    POSITIONS_FILE,
    SENTENCES_FILE,
    CorpusInfo,
    read_info,
    vocab_size_of,
    vocabulary_digest,
)
from xlm_core.errors import CorpusError
from xlm_core.tokenization.tokenizer import XLMTokenizer
from xlm_core.whole_files import put_back

# Positions are checked so many at a time.
_BLOCK = 1 << 20
# A text is told from others by so many samples of so many ids.
_SAMPLES, _SAMPLE = 64, 1024

IdArray = npt.NDArray[np.uint16] | npt.NDArray[np.int32]


class Corpus:
    """A corpus that is mapped into memory; `Corpus.open` makes it.

    `len(corpus)` is the number of sentences; `corpus[i]` are the ids of one, a read-only view of
    the file.

    Attributes:
        path: Its folder.
        info: What corpus.json holds.
        sentences: `(tokens + sentences,)` uint16 or int32.
        positions: `(sentences, 2)` int64.
    """

    def __init__(
        self, path: Path, info: CorpusInfo, sentences: IdArray, positions: npt.NDArray[np.int64]
    ) -> None:
        self.path = path
        self.info = info
        self.sentences = sentences
        self.positions = positions

    @classmethod
    def open(cls, path: str | os.PathLike[str], tokenizer: XLMTokenizer | None = None) -> Corpus:
        """Open a corpus.

        Sizes, dtypes and all positions are checked; of the ids nothing is read. Nothing in the
        files is executed.

        Args:
            path: Its folder.
            tokenizer: If given, the ids must be of its vocabulary.

        Raises:
            CorpusError: A file is missing, damaged or of another version, or the vocabulary is
                another one.
        """
        folder = Path(path)
        put_back(folder)
        info = read_info(folder / INFO_FILE)
        sentences = _map(folder / SENTENCES_FILE, info.dtype, (info.tokens + info.sentences,))
        positions = _map(folder / POSITIONS_FILE, POSITION_DTYPE, (info.sentences, 2))
        _check_positions(positions, info, folder / POSITIONS_FILE)
        corpus = cls(folder, info, sentences, positions)
        if tokenizer is not None:
            corpus.check_tokenizer(tokenizer)
        return corpus

    def check_tokenizer(self, tokenizer: XLMTokenizer) -> None:
        """Raise `CorpusError` unless the ids are of this tokenizer's vocabulary.

        Tokens that were added to it later, with ids of their own, do no harm.
        """
        vocabulary = tokenizer.get_vocab()
        if vocabulary_digest(vocabulary, below=self.info.vocab_size) != self.info.vocab_digest:
            raise CorpusError(
                f"{self.path} was made with another vocabulary (of {self.info.vocab_size} ids, "
                f"digest {self.info.vocab_digest[:12]}) than this tokenizer's (of "
                f"{vocab_size_of(vocabulary)} ids, digest {vocabulary_digest(vocabulary)[:12]}): "
                "its ids would mean other subwords. Use the tokenizer that it was made with, or "
                "make it anew."
            )
        # Added tokens apart: what is beyond was cut off, and is unknown in the text.
        own = vocab_size_of(tokenizer.encoder)
        if own > self.info.vocab_size:
            raise CorpusError(
                f"{self.path} was made with the first {self.info.vocab_size} ids of this "
                f"tokenizer's {own} (--max-vocab): the others are unknown in its text, and would "
                "stay untrained. Cut the tokenizer too, from the original's files (which `xlm "
                "build-vocab` writes as well): XLMTokenizer.from_facebook(CODES, VOCAB, "
                f"max_vocab={self.info.vocab_size}).save_pretrained(ANOTHER)."
            )

    def described(self) -> str:
        """Sentences, tokens, and a digest by which another text can be told.

        The digest is of ids from all over the text: of a small one all, of a large one little is
        read.
        """
        ids, digest = self.sentences, hashlib.sha256()
        for first in sorted({len(ids) * at // _SAMPLES for at in range(_SAMPLES)}):
            digest.update(ids[first : first + _SAMPLE].tobytes())
        size = f"{self.info.sentences} sentences, {self.info.tokens} tokens"
        return f"{size} ({digest.hexdigest()[:12]})"

    def __len__(self) -> int:
        return self.info.sentences

    def __getitem__(self, index: SupportsIndex) -> IdArray:
        at = operator.index(index)
        if not -len(self) <= at < len(self):
            raise IndexError(f"sentence {at} of a corpus of {len(self)}")
        begin, end = self.positions[at].tolist()
        return self.sentences[begin:end]

    def __iter__(self) -> Iterator[IdArray]:
        for at in range(len(self)):
            yield self[at]

    def __reduce__(self) -> tuple[Any, ...]:
        # Other processes map the files themselves; the arrays would be copied.
        return Corpus.open, (str(self.path),)

    def __repr__(self) -> str:
        return (
            f"Corpus({str(self.path)!r}, sentences={self.info.sentences}, "
            f"tokens={self.info.tokens}, languages={','.join(self.info.languages)})"
        )


def _map(file: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    """The array in a .npy file, which must be of this dtype and shape, and whole."""
    try:
        with file.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            if version != (1, 0):
                raise ValueError(f"version {version} of the format")
            found_shape, fortran, found_dtype = np.lib.format.read_array_header_1_0(stream)
            offset = stream.tell()
            size = os.fstat(stream.fileno()).st_size
    except FileNotFoundError as error:
        raise CorpusError(f"There is no file {file}: the corpus is incomplete.") from error
    except OSError as error:
        raise CorpusError(f"{file} cannot be read: {error.strerror or error}.") from error
    except Exception as error:
        raise CorpusError(f"{file} is damaged: {error}.") from error
    if found_dtype != dtype or found_shape != shape or fortran:
        raise CorpusError(
            f"{file} holds {found_dtype} of shape {found_shape}; expected {dtype} of shape "
            f"{shape}, as {INFO_FILE} says."
        )
    needed = offset + dtype.itemsize * int(np.prod(shape, dtype=object))
    if size != needed:
        what = "is truncated" if size < needed else "has more than its array"
        raise CorpusError(f"{file} {what}: {size} bytes, expected {needed}.")
    try:
        mapped = np.memmap(file, dtype, "r", offset, shape)
    except OSError as error:
        raise CorpusError(
            f"{file} cannot be mapped: {error.strerror or error}. Each corpus keeps two files "
            "open: ulimit -n says how many a process may have."
        ) from error
    # A plain array over the same memory: views of it are cheaper to make.
    return mapped.view(np.ndarray)


def _check_positions(positions: npt.NDArray[np.int64], info: CorpusInfo, file: Path) -> None:
    """Raise unless each sentence begins after the `</s>` of the one before, and the last ends."""
    expected = 0
    for first in range(0, len(positions), _BLOCK):
        block = positions[first : first + _BLOCK]
        begins, ends = block[:, 0], block[:, 1]
        good = (begins <= ends) & (ends < info.tokens + info.sentences)
        good[0] &= begins[0] == expected
        good[1:] &= begins[1:] == ends[:-1] + 1
        if not good.all():
            at = int(np.argmin(good))
            raise CorpusError(
                f"{file} is damaged: sentence {first + at} is said to go from {begins[at]} to "
                f"{ends[at]}."
            )
        expected = int(ends[-1]) + 1
    if expected != info.tokens + info.sentences:
        raise CorpusError(
            f"{file} is damaged: its sentences end at {expected}, the ids at "
            f"{info.tokens + info.sentences}."
        )
