"""The original's binarised text, the `.pth` of its preprocess.py, as a corpus of ours.

Source: index_data in xlm/data/dictionary.py and process_binarized in xlm/data/loader.py of the
original.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from xlm_core.containers.torch_files.reading import read_torch
from xlm_core.corpus.reading import Corpus
from xlm_core.corpus.writing import CorpusWriter
from xlm_core.errors import CorpusError
from xlm_core.tokenization.files.vocabulary_files import Merges, original_vocabulary
from xlm_core.tokenization.tokenizer import XLMTokenizer

# The class of the dictionary in the file, under its names over time.
_DICTIONARIES = frozenset(
    f"{package}.data.dictionary.Dictionary" for package in ("xlm", "src", "XLM.src")
)
_EXPECTED = "text that the original's preprocess.py binarised"
# Sentences that are written together.
_BLOCK = 1 << 16


def convert_binarized(
    path: str | os.PathLike[str],
    target: str | os.PathLike[str],
    languages: Iterable[str],
    *,
    max_vocab: int | None = None,
    overwrite: bool = False,
) -> Corpus:
    """Write the text of a file that the original binarised as a corpus.

    Its vocabulary is that of the tokenizer from the same codes and vocabulary. The whole file is
    held in memory, as it was in the original's. Nothing in it is executed.

    Args:
        path: Such as `train.en.pth`.
        target: The folder to make.
        languages: Those of the text.
        max_vocab: Of the words, keep the most frequent, and make the others unknown, as the option
            of the original's training does.
        overwrite: Whether a corpus that is there may be replaced.

    Raises:
        CheckpointError: If it is no file of `torch.save`, or damaged.
        CorpusError: If it is missing, holds no sentence or something else than binarised text, a
            language has no name, or `target` is taken.
        TokenizerError: If its vocabulary cannot be used.
    """
    languages = [languages] if isinstance(languages, str) else [*languages]
    if not languages or any(not name.strip() for name in languages):
        raise CorpusError(f"languages are {languages!r}: expected names such as 'en'.")
    words, sentences, positions = _read(path)
    vocabulary = original_vocabulary(words, max_vocab)
    tokenizer = XLMTokenizer(vocabulary, Merges(()), mode="original")
    eos, unknown = vocabulary["</s>"], vocabulary["<unk>"]
    most = len(words)
    if sentences.size and int(sentences.max()) >= most:
        raise CorpusError(f"{path} has the id {sentences.max()}, and {most} words: it is damaged.")
    if (positions[1:, 0] != positions[:-1, 1] + 1).any() or (
        sentences[positions[:, 1]] != eos
    ).any():
        raise CorpusError(f"{path} is damaged: a sentence does not end in </s> ({eos}).")
    with CorpusWriter(target, tokenizer, languages, overwrite=overwrite) as writer:
        for first in range(0, len(positions), _BLOCK):
            block = positions[first : first + _BLOCK]
            begin, end = int(block[0, 0]), int(block[-1, 1]) + 1
            inside = np.ones(end - begin, dtype=bool)
            inside[block[:, 1] - begin] = False
            ids = sentences[begin:end][inside].astype(np.int64)
            if max_vocab is not None:
                ids[ids >= max_vocab] = unknown
            writer.add_many(ids, block[:, 1] - block[:, 0])
    return Corpus.open(target)


def _read(
    path: str | os.PathLike[str],
) -> tuple[dict[int, str], npt.NDArray[Any], npt.NDArray[np.int64]]:
    """The word of each id, the ids of all sentences, and where each sentence begins and ends."""
    if not os.path.isfile(path):
        raise CorpusError(f"{path} is no file: expected {_EXPECTED}.")
    found = read_torch(path, namespaces=_DICTIONARIES)
    expected = {"dico", "positions", "sentences"}
    if not isinstance(found, dict) or not expected <= found.keys():
        raise CorpusError(
            f"{path} holds no binarised text: expected {_EXPECTED}, with "
            f"{', '.join(sorted(expected))}."
        )
    dictionary, sentences, positions = (found[name] for name in ("dico", "sentences", "positions"))
    if all(isinstance(each, np.ndarray) and not each.size for each in (sentences, positions)):
        raise CorpusError(f"{path} is empty: expected sentences.")
    words = dictionary.get("id2word") if isinstance(dictionary, dict) else None
    fits = (
        isinstance(words, dict)
        and words.keys() == {*range(len(words))}
        and all(isinstance(word, str) for word in words.values())
        and isinstance(sentences, np.ndarray)
        and sentences.dtype in (np.uint16, np.int32)
        and sentences.ndim == 1
        and isinstance(positions, np.ndarray)
        and positions.dtype == np.int64
        and positions.ndim == 2
        and positions.shape[1] == 2
        and len(positions) > 0
    )
    if not (fits and isinstance(words, dict)):
        raise CorpusError(f"{path} is damaged: its entries have another form than expected.")
    begins, ends = positions[:, 0], positions[:, 1]
    if (begins > ends).any() or begins[0] != 0 or ends.max() + 1 != len(sentences):
        raise CorpusError(f"{path} is damaged: its positions do not fit its {len(sentences)} ids.")
    return words, sentences, positions
