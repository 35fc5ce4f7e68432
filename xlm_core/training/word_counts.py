"""How often each id stands in corpora, and what a model that knows only that would lose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xlm_core.corpus import Corpus
from xlm_core.errors import CorpusError

Counts = npt.NDArray[np.int64]

# Ids that are counted together.
_BLOCK = 1 << 22


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
        block = corpus.sentences[first : first + _BLOCK]
        if not 0 <= block.min() <= block.max() < size:
            raise CorpusError(
                f"{corpus.path} is damaged: its ids go from {block.min()} to {block.max()}, and "
                f"the vocabulary has {size}. Make it anew."
            )
        counts += np.bincount(block, minlength=size)
    counts[corpus.info.eos_id] -= len(corpus)
    return counts


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
