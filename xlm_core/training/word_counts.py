"""How often each id stands in corpora, and what a model that knows only that would lose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xlm_core.corpus import Corpus, IdArray
from xlm_core.errors import CorpusError
from xlm_core.objectives import Pairs

Counts = npt.NDArray[np.int64]

# Ids that are counted together, and sentences of pairs, which are short.
_BLOCK, _SENTENCES = 1 << 22, 1 << 14


def count_ids(corpus: Corpus, size: int) -> Counts:
    """How often each id stands in the sentences of a corpus, the `</s>` between them left out.

    Args:
        corpus: Is read once, block by block.
        size: Every id is below it.

    Returns:
        int64, shape (size,).

    Raises:
        CorpusError: If an id is none of the vocabulary.
    """
    counts = np.zeros(size, dtype=np.int64)
    for first in range(0, len(corpus.sentences), _BLOCK):
        counts += _counted(corpus, corpus.sentences[first : first + _BLOCK], size)
    counts[corpus.info.eos_id] -= len(corpus)
    return counts


def count_pairs(pairs: Pairs, size: int) -> tuple[Counts, Counts]:
    """How often each id stands in the sentences of the pairs that are read, `</s>` left out.

    Args:
        pairs: Are read once, some at a time; those that are left out are not.
        size: As in `count_ids`.

    Returns:
        Of the first and of the second sentences, each int64, shape (size,).

    Raises:
        CorpusError: As `count_ids`.
    """
    counts = np.zeros((2, size), dtype=np.int64)
    for first in range(0, len(pairs), _SENTENCES):
        kept = pairs.kept[first : first + _SENTENCES]
        for which, corpus in enumerate(pairs.corpora):
            begins, ends = corpus.positions[kept].T
            lengths = ends - begins
            # Of each id its place in the text: that of its sentence, and how far into it.
            places = np.arange(lengths.sum()) + np.repeat(ends - np.cumsum(lengths), lengths)
            counts[which] += _counted(corpus, corpus.sentences[places], size)
    return counts[0], counts[1]


def _counted(corpus: Corpus, ids: IdArray, size: int) -> Counts:
    if not 0 <= ids.min() <= ids.max() < size:
        raise CorpusError(
            f"{corpus.path} is damaged: its ids go from {ids.min()} to {ids.max()}, and the "
            f"vocabulary has {size}. Make it anew."
        )
    return np.bincount(ids, minlength=size)


def entropy_of(counts: Sequence[int] | npt.NDArray[np.float64 | np.int64]) -> float:
    """The entropy of a distribution in nats: the least mean loss without a context.

    Args:
        counts: Of each outcome, shares or numbers; of nothing the entropy is 0.
    """
    seen = np.asarray(counts, dtype=np.float64)
    seen = seen[seen > 0]
    if not seen.size:
        return 0.0
    shares = seen / seen.sum()
    return float(-(shares * np.log(shares)).sum())
