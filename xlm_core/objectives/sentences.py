"""Sentences and pairs of them as batches: which belong together, framing, joining.

Source: Dataset and ParallelDataset in xlm/data/dataset.py, and concat_batches in xlm/utils.py, of
the original.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xlm_core.corpus import Corpus, IdArray
from xlm_core.errors import CorpusError
from xlm_core.objectives.batch import Ids, Mask
from xlm_core.objectives.settings import ObjectiveSettings, SpecialIds


class Pairs:
    """Two corpora whose sentences translate each other, read together.

    Args:
        first, second: The corpora, with as many sentences.
        max_len: Pairs of which one is longer are left out; 0: none. Those of which one is empty
            always are.

    Raises:
        CorpusError: If they do not belong together, or no pair is left.
    """

    def __init__(self, first: Corpus, second: Corpus, max_len: int = 0) -> None:
        if len(first) != len(second):
            raise CorpusError(
                f"{first.path} has {len(first)} sentences and {second.path} has {len(second)}: "
                "expected a translation of each. Make both corpora from files of the same lines."
            )
        if first.info.vocab_digest != second.info.vocab_digest:
            raise CorpusError(
                f"{first.path} and {second.path} were made with different vocabularies: make both "
                "with the same tokenizer."
            )
        self.corpora = (first, second)
        lengths = [each.positions[:, 1] - each.positions[:, 0] for each in self.corpora]
        kept = (lengths[0] > 0) & (lengths[1] > 0)
        if max_len:
            kept &= (lengths[0] <= max_len) & (lengths[1] <= max_len)
        # In few bytes: every process holds these of all pairs.
        self.kept = np.flatnonzero(kept).astype(_integers_to(len(first)))
        if not len(self.kept):
            limit = f" with at most {max_len} tokens" if max_len else ""
            raise CorpusError(f"{first.path} and {second.path} have no pair of sentences{limit}.")
        self.left_out = len(first) - len(self.kept)
        # Both sentences, each with </s> at both ends.
        whole = (lengths[0] + lengths[1])[self.kept] + 4
        self.lengths = whole.astype(_integers_to(int(whole.max())))

    def __len__(self) -> int:
        return len(self.kept)

    def sentences(self, which: int, indices: Ids) -> list[IdArray]:
        """The first (0) or second (1) sentences of these pairs, without `</s>`."""
        corpus = self.corpora[which]
        return [corpus[at] for at in self.kept[indices]]


def _integers_to(largest: int) -> type[np.int32] | type[np.int64]:
    return np.int32 if largest < 1 << 31 else np.int64


def batches_of(
    lengths: Ids, settings: ObjectiveSettings, generator: np.random.Generator | None
) -> list[Ids]:
    """Which sentences make each batch of one pass.

    Args:
        lengths: int32 or int64, shape (sentences,): what each costs.
        settings: batch_size or tokens_per_batch, max_batch_size, group_by_size.
        generator: Orders sentences and batches; None: they keep their order, the sentences of a
            batch apart, if they are grouped by size.

    Returns:
        The indices of each batch, int32 or int64.
    """
    count = len(lengths)
    order: Ids = np.arange(count, dtype=_integers_to(count))
    if generator is not None:
        generator.shuffle(order)  # as permutation(count) does
    if settings.group_by_size:
        order = order[np.argsort(lengths[order], kind="stable")]
    if settings.tokens_per_batch is None:
        size = settings.batch_size or 1
        batches = np.array_split(order, -(-count // size))
    else:
        number = np.cumsum(lengths[order]) // settings.tokens_per_batch
        batches = np.split(order, np.flatnonzero(np.diff(number)) + 1)
    if most := settings.max_batch_size:
        if generator is not None:
            batches = [x if len(x) <= most else generator.permutation(x) for x in batches]
        batches = [batch[:most] for batch in batches]
    if generator is not None:
        batches = [batches[at] for at in generator.permutation(len(batches))]
    return batches


def frame(sentences: Sequence[IdArray] | Sequence[Ids], ids: SpecialIds) -> tuple[Ids, Ids]:
    """Put `</s>` at both ends of every sentence, and pad.

    Returns:
        int64, shape (batch, longest + 2), and their lengths, int64, shape (batch,).
    """
    lengths = np.array([len(sentence) + 2 for sentence in sentences], dtype=np.int64)
    framed = np.full((len(sentences), int(lengths.max())), ids.pad, dtype=np.int64)
    framed[:, 0] = ids.eos
    for row, sentence in enumerate(sentences):
        framed[row, 1 : len(sentence) + 1] = sentence
        framed[row, len(sentence) + 1] = ids.eos
    return framed, lengths


def join(first: tuple[Ids, Ids], second: tuple[Ids, Ids], pad: int) -> tuple[Ids, Ids, Ids, Mask]:
    """Put each second sentence behind its first: `</s> first </s> </s> second </s>`.

    Args:
        first, second: Framed sentences and their lengths, from `frame`.
        pad: Id of the padding.

    Returns:
        The ids, int64, shape (batch, sequence); their lengths, int64, shape (batch,); positions,
        int64, shape (batch, sequence), which begin anew with the second sentence, and in padding
        are none that no sentence has; and where the second one is, bool, shape (batch, sequence):
        padding counts as its part.
    """
    (ids1, len1), (ids2, len2) = first, second
    lengths = len1 + len2
    sequence = np.arange(int(lengths.max()))
    joined = np.full((len(lengths), len(sequence)), pad, dtype=np.int64)
    is_second = sequence >= len1[:, None]
    joined[~is_second & (sequence < ids1.shape[1])] = ids1[np.arange(ids1.shape[1]) < len1[:, None]]
    in_second = is_second & (sequence < lengths[:, None])
    joined[in_second] = ids2[np.arange(ids2.shape[1]) < len2[:, None]]
    positions = np.where(is_second, sequence - len1[:, None], sequence)
    # Padding may not run out of the position table.
    positions = np.minimum(positions, max(int(len1.max()), int(len2.max())) - 1)
    return joined, lengths, positions, is_second
