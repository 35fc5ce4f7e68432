"""Running text as batches: sentences one after another, cut into rows of one length.

Source: StreamDataset in xlm/data/dataset.py of the original.
"""

from __future__ import annotations

import numpy as np

from xlm_core.corpus import Corpus
from xlm_core.errors import CorpusError
from xlm_core.objectives.batch import Ids


class Stream:
    """A corpus as one text, `</s>` after each sentence, laid out in `rows` long rows.

    Each row continues from one batch to the next, and begins with a `</s>`. What the text lacks to
    fill the last batch is put in front of it, as `</s>`. Nothing is copied: a batch is read from
    the files when it is asked for.

    Args:
        corpus: Of one language.
        rows: Of a batch.
        bptt: Tokens of a row in a batch.

    Raises:
        CorpusError: If the corpus is empty.
    """

    def __init__(self, corpus: Corpus, rows: int, bptt: int) -> None:
        tokens = len(corpus.sentences)
        if corpus.info.tokens == 0:
            raise CorpusError(f"{corpus.path} holds no word: give a corpus with some text.")
        self.corpus, self.rows, self.bptt = corpus, rows, bptt
        self.batches = -(-tokens // (rows * bptt))
        self._row_length = self.batches * bptt
        self._filled = self._row_length * rows - tokens  # in front

    def __len__(self) -> int:
        """Batches of one pass."""
        return self.batches

    def batch(self, index: int) -> Ids:
        """Batch `index` in the order of the text: int64, shape (rows, bptt)."""
        eos, text = self.corpus.info.eos_id, self.corpus.sentences
        batch = np.full((self.rows, self.bptt), eos, dtype=np.int64)
        for row in range(self.rows):
            # Each row is its text behind one </s>, so that of a batch begins one token earlier.
            begin = row * self._row_length + index * self.bptt - 1
            skipped = 1 if index == 0 else 0
            start, end = begin + skipped - self._filled, begin + self.bptt - self._filled
            if end > 0:
                found = text[max(start, 0) : end]
                batch[row, self.bptt - len(found) :] = found
        return batch
