"""A corpus that is written as a stream, beside its place until it is whole."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from xlm_core.corpus.info import (
    INFO_FILE,
    POSITION_DTYPE,
    POSITIONS_FILE,
    SENTENCES_FILE,
    VERSION,
    CorpusInfo,
    vocab_size_of,
    vocabulary_digest,
)
from xlm_core.errors import CorpusError
from xlm_core.tokenization.tokenizer import XLMTokenizer
from xlm_core.whole_files import put_back, put_folder

# A .npy header of this size holds any shape, so that it can be written anew when that is known.
_HEADER_SIZE = 128
_NPY_1 = b"\x93NUMPY\x01\x00"
# The files are written in blocks of so many bytes.
_BUFFER = 1 << 20


class CorpusWriter:
    """Writes a corpus as a stream, beside its place; at the end of the block it is put there.

    After an error, or where the process ends before, the target is as it was. What a killed
    process left beside it goes when the next one writes there.

        with CorpusWriter("train.en", tokenizer, ["en"]) as writer:
            for text in texts:
                writer.add(tokenizer.encode(text, add_special_tokens=False))

    Args:
        path: The folder to make.
        tokenizer: Whose ids are written.
        languages: Those of the texts.
        overwrite: Whether a corpus that is there may be replaced.

    Raises:
        CorpusError: There is something at `path`, or the tokenizer has no `</s>`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        tokenizer: XLMTokenizer,
        languages: Iterable[str],
        *,
        overwrite: bool = False,
    ) -> None:
        # A link stays, and what it leads to is replaced.
        self.path = Path(os.path.realpath(path))
        self._overwrite = overwrite
        # A string alone is one language, and no list of its letters.
        languages = [languages] if isinstance(languages, str) else list(languages)
        put_back(self.path)
        check_target(self.path, overwrite=overwrite)
        vocabulary = tokenizer.get_vocab()
        eos, unknown = tokenizer.sep_token_id, tokenizer.unk_token_id
        if eos is None:
            raise CorpusError(
                "The tokenizer has no sep_token to write after each sentence: set it."
            )
        self._info = CorpusInfo(
            version=VERSION,
            mode=tokenizer.mode,
            languages=tuple(languages),
            vocab_size=vocab_size_of(vocabulary),
            vocab_digest=vocabulary_digest(vocabulary),
            eos_id=eos,
            unk_id=unknown,
            sentences=0,
            tokens=0,
            unknowns=0,
        )
        left_out = sorted(set(tokenizer.all_special_ids) - {unknown})
        self._left_out = np.array(left_out, dtype=np.int64)
        self.sentences = self.tokens = self.unknowns = self.left_out = 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_over(self.path)
        self._part = _new_part(self.path)
        # Tells others that this process lives.
        self._lock = _locked(self._part)
        self._files: list[BinaryIO] = []
        try:
            for name in (SENTENCES_FILE, POSITIONS_FILE):
                self._files.append((self._part / name).open("wb", buffering=_BUFFER))
                self._files[-1].write(bytes(_HEADER_SIZE))
        except BaseException:
            self.discard()
            raise

    def add(self, ids: Sequence[int]) -> None:
        """Add one sentence; special tokens in it are left out, the unknown one excepted.

        Raises:
            CorpusError: An id is none of the vocabulary.
        """
        self.add_many(ids, [len(ids)])

    def add_many(self, ids: npt.ArrayLike, lengths: npt.ArrayLike) -> None:
        """Add several sentences.

        Args:
            ids: `(tokens,)` integers: those of all sentences, one after the other.
            lengths: `(sentences,)` integers: how many each has.

        Raises:
            CorpusError: An id is none of the vocabulary, or the lengths do not add up.
        """
        if len(self._files) != 2:
            raise CorpusError(f"The writer of {self.path} is closed.")
        flat, counts = _integers(ids, "ids"), _integers(lengths, "lengths")
        if (counts < 0).any() or counts.sum() != flat.size:
            raise CorpusError(f"There are {flat.size} ids, but lengths {counts.tolist()[:10]}.")
        if flat.size and not 0 <= flat.min() <= flat.max() < self._info.vocab_size:
            raise CorpusError(
                f"Ids go from {flat.min()} to {flat.max()}; the vocabulary has ids from 0 to "
                f"{self._info.vocab_size - 1}."
            )
        dropped = np.isin(flat, self._left_out)
        if dropped.any():
            of = np.repeat(np.arange(counts.size), counts)
            counts = counts - np.bincount(of[dropped], minlength=counts.size)
            flat = flat[~dropped]
            self.left_out += int(dropped.sum())
        ends = np.cumsum(counts)
        written = np.insert(flat, ends, self._info.eos_id)
        self._files[0].write(written.astype(self._info.dtype).tobytes())
        # One separator was written for each sentence before.
        ends = ends + self.tokens + self.sentences + np.arange(counts.size)
        positions = np.stack([ends - counts, ends], axis=1)
        self._files[1].write(positions.astype(POSITION_DTYPE).tobytes())
        self.sentences += counts.size
        self.tokens += flat.size
        if self._info.unk_id is not None:
            self.unknowns += int(np.count_nonzero(flat == self._info.unk_id))

    def close(self) -> None:
        """Finish the files and put the corpus in its place.

        Raises:
            CorpusError: Something has come to be there meanwhile.
        """
        if len(self._files) != 2:
            return
        try:
            shape = (self.tokens + self.sentences,), (self.sentences, 2)
            dtypes = self._info.dtype, POSITION_DTYPE
            for file, size, dtype in zip(self._files, shape, dtypes, strict=True):
                file.seek(0)
                file.write(_header(dtype, size))
                file.close()
            counts = {name: getattr(self, name) for name in ("sentences", "tokens", "unknowns")}
            info = json.dumps({**asdict(self._info), **counts}, indent=2, ensure_ascii=False)
            (self._part / INFO_FILE).write_text(info + "\n", encoding="utf-8")
            check_target(self.path, overwrite=self._overwrite)
            put_folder(self._part, self.path)
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove what was written; the target stays as it was."""
        for file in self._files:
            with suppress(OSError):  # a full disk: what is left in the buffer is not wanted
                file.close()
        self._files = []
        shutil.rmtree(self._part, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def check_target(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Raise `CorpusError` if a corpus cannot be written at `path`.

    Only a corpus is ever replaced, whatever `overwrite` says: not a folder with other files.
    """
    target = Path(path)
    if not os.path.lexists(target):
        return
    if not overwrite:
        raise CorpusError(f"{target} exists: give another name, or overwrite=True (--overwrite).")
    ours = {SENTENCES_FILE, POSITIONS_FILE, INFO_FILE}
    found = {entry.name for entry in target.iterdir()} if target.is_dir() else None
    if found is None or (found and INFO_FILE not in found) or found - ours:
        raise CorpusError(
            f"{target} is not a corpus (a folder with {INFO_FILE}, {SENTENCES_FILE} and "
            f"{POSITIONS_FILE} alone), and is not overwritten: remove it, or give another name."
        )


def _new_part(target: Path) -> Path:
    """A new folder beside `target`, so on the same disk."""
    for number in count():
        part = target.with_name(f".{target.name}.{os.getpid()}.{number}.part")
        with suppress(FileExistsError):
            part.mkdir()
            break
    return part


def _locked(folder: Path) -> int | None:
    """A descriptor that holds a folder until it is closed, or its process ends, however that ends.

    None if another one holds it, or there are no locks here.
    """
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):  # Windows, which opens no folders
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove_left_over(target: Path) -> None:
    """Remove what killed processes left of a corpus; where there are no locks to tell, it stays."""
    name = re.compile(rf"\.{re.escape(target.name)}\.\d+\.\d+\.part")
    for entry in [each for each in target.parent.iterdir() if name.fullmatch(each.name)]:
        if (descriptor := _locked(entry)) is not None:
            shutil.rmtree(entry, ignore_errors=True)
            os.close(descriptor)


def _integers(values: npt.ArrayLike, name: str) -> npt.NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise CorpusError(
            f"{name} has shape {array.shape} and dtype {array.dtype}: expected one axis of "
            "integers."
        )
    return array.astype(np.int64)


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The header of a .npy file of version 1.0, of `_HEADER_SIZE` bytes."""
    text = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    length = _HEADER_SIZE - len(_NPY_1) - 2
    return _NPY_1 + length.to_bytes(2, "little") + (text.ljust(length - 1) + "\n").encode("latin1")
