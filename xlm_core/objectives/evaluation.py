"""The batches by which a model is evaluated: the same at every evaluation.

Source: xlm/evaluation/evaluator.py of the original.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from xlm_core.config import XLMConfig
from xlm_core.corpus import Corpus
from xlm_core.errors import ConfigError
from xlm_core.objectives.batch import Batch
from xlm_core.objectives.making import BatchMaker, next_words
from xlm_core.objectives.masking import Masking
from xlm_core.objectives.sentences import Pairs, batches_of
from xlm_core.objectives.settings import ObjectiveSettings, SpecialIds, settings_of
from xlm_core.objectives.sources import PairOfCorpora, corpus_of, pair_of
from xlm_core.objectives.streams import Stream
from xlm_core.objectives.tasks import Task


class EvaluationBatches:
    """What is evaluated of a task: its text in order, masked alike each time.

    Running text is one row, `bptt` tokens a batch. Pairs are sorted by length, `batch_size` in a
    batch. Causal models predict every word but the first, where positions of a pair begin anew
    with its second sentence. Masked models predict `word_pred` of the words, at least one a
    sentence, all of them masked and none the `</s>` at an end.

    Args:
        config: The model's.
        settings: bptt, batch_size, word_pred.
        every: Of running text, read so many times fewer batches, the first ones, at least one. The
            original has 5 (of its test sets 10) for models of more than 5 languages.
        most_pairs: Read so many pairs, the first ones; None: all. The original has 1,500 (300).

    Raises:
        ConfigError: For values that cannot be.
    """

    def __init__(
        self,
        config: XLMConfig,
        settings: ObjectiveSettings | None = None,
        *,
        every: int = 1,
        most_pairs: int | None = None,
    ) -> None:
        settings = settings_of(settings)
        if settings.batch_size is None:
            settings = replace(settings, tokens_per_batch=None, batch_size=32)
        # The original evaluates all sentences, but its models have no more positions than this.
        longest = config.max_position_embeddings // (2 if config.causal else 1) - 2
        self.settings = replace(
            settings, max_len=max(longest, 1), group_by_size=True, max_batch_size=0, multiple_of=1
        )
        numbers = {"every": every} | ({} if most_pairs is None else {"most_pairs": most_pairs})
        for name, value in numbers.items():
            if not hasattr(value, "__index__") or value < 1:
                raise ConfigError(f"{name} is {value!r}: expected a positive whole number.")
        self.every, self.most_pairs = every, most_pairs
        self._masking = Masking(replace(self.settings, sample_alpha=0.0), SpecialIds.of(config))
        self._maker = BatchMaker(config, self.settings, self._masking)

    def batches(
        self,
        task: Task,
        *,
        corpora: Mapping[str, Corpus] | None = None,
        pairs: Mapping[tuple[str, str], PairOfCorpora] | None = None,
    ) -> Iterator[Batch]:
        """The batches of one task.

        Args:
            task: What to evaluate.
            corpora, pairs: As in `TrainingBatches`.

        Raises:
            ConfigError, CorpusError: If something is missing or does not go together.
        """
        self._maker.check_tasks([task])
        if task.is_stream:
            corpus = corpus_of(task, corpora or {})
            self._maker.check_corpus(corpus)
            return self._of_stream(task, Stream(corpus, 1, self.settings.bptt))
        both, swapped = pair_of(task, pairs or {})
        for corpus in both:
            self._maker.check_corpus(corpus)
        return self._of_pairs(task, Pairs(*both, self.settings.max_len), swapped)

    def _of_stream(self, task: Task, stream: Stream) -> Iterator[Batch]:
        generator = np.random.RandomState(0)
        for window in range(max(len(stream) // self.every, 1)):
            yield self._labelled(self._maker.of_window(task, stream.batch(window)), generator)

    def _of_pairs(self, task: Task, pairs: Pairs, swapped: bool) -> Iterator[Batch]:
        generator = np.random.RandomState(0)
        for chosen in batches_of(pairs.lengths[: self.most_pairs], self.settings, None):
            first, second = (pairs.sentences(which, chosen) for which in (0, 1))
            if swapped:
                first, second = second, first
            if task.objective == "mt":
                yield self._maker.of_translations(task, first, second)
            else:
                yield self._labelled(self._maker.joined(task, first, second), generator)

    def _labelled(self, batch: Batch, generator: np.random.RandomState) -> Batch:
        if batch.task.objective == "clm":
            return replace(batch, labels=next_words(batch.input_ids, batch.lengths))
        ids, labels = self._masking.mask_for_evaluation(batch.input_ids, batch.lengths, generator)
        return replace(batch, input_ids=ids, labels=labels)
