"""A corpus on disk: sentences as ids, written as a stream and read by mapping it into memory.

A folder of three files:

- sentences.npy, `(tokens + sentences,)` uint16, or int32 from 65,536 ids on: the ids of all
  sentences, each followed by `</s>`;
- positions.npy, `(sentences, 2)` int64: begin and end of each sentence there, without its `</s>`;
- corpus.json: what `CorpusInfo` holds.

Both arrays are as the original has them in memory (`index_data` of xlm/data/dictionary.py), which
also leaves special tokens out, the unknown one excepted.
"""

from __future__ import annotations

import hashlib
import json
import operator
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, SupportsIndex

import numpy as np
import numpy.typing as npt

from xlm_core.errors import CorpusError
from xlm_core.tokenization.tokenizer import XLMTokenizer

VERSION = 1
SENTENCES_FILE = "sentences.npy"
POSITIONS_FILE = "positions.npy"
INFO_FILE = "corpus.json"

_POSITION_DTYPE = np.dtype("<i8")
# A .npy header of this size holds any shape, so that it can be written anew when that is known.
_HEADER_SIZE = 128
_NPY_1 = b"\x93NUMPY\x01\x00"
# Ids are written, and positions checked, so many at a time.
_BLOCK = 1 << 20

IdArray = npt.NDArray[np.uint16] | npt.NDArray[np.int32]


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


def vocabulary_digest(vocabulary: Mapping[str, int], below: int | None = None) -> str:
    """SHA-256 over the ids and their tokens, in the order of the ids.

    Args:
        vocabulary: Id of each token, as `XLMTokenizer.get_vocab()` gives them.
        below: Leave out ids from here on.
    """
    digest = hashlib.sha256()
    for i, token in sorted((i, token) for token, i in vocabulary.items()):
        if below is None or i < below:
            # JSON, so that no token can look like the end of one.
            digest.update(f"{i} {json.dumps(token)}\n".encode())
    return digest.hexdigest()


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
        info = _read_info(folder / INFO_FILE)
        sentences = _map(folder / SENTENCES_FILE, info.dtype, (info.tokens + info.sentences,))
        positions = _map(folder / POSITIONS_FILE, _POSITION_DTYPE, (info.sentences, 2))
        _check_positions(positions, info, folder / POSITIONS_FILE)
        corpus = cls(folder, info, sentences, positions)
        if tokenizer is not None:
            corpus.check_tokenizer(tokenizer)
        return corpus

    def check_tokenizer(self, tokenizer: XLMTokenizer) -> None:
        """Raise `CorpusError` unless the ids are of this tokenizer's vocabulary.

        Tokens that were added to it later, with ids of their own, do no harm.
        """
        found = vocabulary_digest(tokenizer.get_vocab(), below=self.info.vocab_size)
        if found != self.info.vocab_digest:
            raise CorpusError(
                f"{self.path} was made with another vocabulary (of {self.info.vocab_size} ids, "
                f"digest {self.info.vocab_digest[:12]}) than this tokenizer's (of "
                f"{_vocab_size(tokenizer.get_vocab())} ids, digest {found[:12]}): its ids would "
                "mean other subwords. Use the tokenizer that it was made with, or make it anew."
            )

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


class CorpusWriter:
    """Writes a corpus as a stream, beside its place; at the end of the block it is put there.

    After an error, or where the process ends before, the target is as it was.

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
            vocab_size=_vocab_size(vocabulary),
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
        self._part = _beside(self.path, "part")
        self._files: list[BinaryIO] = []
        self._part.mkdir(parents=True)
        try:
            for name in (SENTENCES_FILE, POSITIONS_FILE):
                self._files.append((self._part / name).open("wb", buffering=_BLOCK))
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
        self._files[1].write(positions.astype(_POSITION_DTYPE).tobytes())
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
            dtypes = self._info.dtype, _POSITION_DTYPE
            for file, size, dtype in zip(self._files, shape, dtypes, strict=True):
                file.seek(0)
                file.write(_header(dtype, size))
                file.close()
            counts = {name: getattr(self, name) for name in ("sentences", "tokens", "unknowns")}
            info = json.dumps({**asdict(self._info), **counts}, indent=2, ensure_ascii=False)
            (self._part / INFO_FILE).write_text(info + "\n", encoding="utf-8")
            check_target(self.path, overwrite=self._overwrite)
            _put(self._part, self.path)
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove what was written; the target stays as it was."""
        for file in self._files:
            file.close()
        self._files = []
        shutil.rmtree(self._part, ignore_errors=True)

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


def _put(part: Path, target: Path) -> None:
    """Rename a folder to `target`, in place of a folder that may be there."""
    if not target.exists():
        part.rename(target)
        return
    # A folder cannot be renamed onto a full one.
    old = _beside(target, "old")
    target.rename(old)
    try:
        part.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _beside(path: Path, suffix: str) -> Path:
    """A name in the same folder, so of the same disk, that is not in use."""
    number = 0
    while (found := path.with_name(f".{path.name}.{os.getpid()}.{number}.{suffix}")).exists():
        number += 1
    return found


def _vocab_size(vocabulary: Mapping[str, int]) -> int:
    # Not their number: ids may have gaps.
    return max(vocabulary.values(), default=-1) + 1


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


def _read_info(file: Path) -> CorpusInfo:
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
    mapped = np.memmap(file, dtype, "r", offset, shape)
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
