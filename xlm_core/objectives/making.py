"""From framed sentences or running text to a batch of a task.

Source: generate_batch, clm_step, mlm_step and mt_step in xlm/trainer.py of the original.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from xlm_core.config import XLMConfig
from xlm_core.corpus import Corpus, IdArray
from xlm_core.errors import ConfigError, CorpusError, nearest
from xlm_core.objectives.agreement import check_causal
from xlm_core.objectives.batch import IGNORED, Batch, Ids
from xlm_core.objectives.masking import Masking
from xlm_core.objectives.sentences import frame, join
from xlm_core.objectives.settings import LARGEST, ObjectiveSettings, SpecialIds
from xlm_core.objectives.tasks import Task


def language_id(config: XLMConfig, name: str) -> int:
    """The id of a language.

    Raises:
        ConfigError: If the model does not have it.
    """
    known = config.lang2id or {}
    if name not in known:
        raise ConfigError(
            f"the model has no language {name!r}: it has {', '.join(known) or 'no names'} "
            f"(lang2id).{nearest(name, known)}"
        )
    return known[name]


def next_words(input_ids: Ids, lengths: Ids) -> Ids:
    """The next word of each position, as labels; none behind the last.

    Args:
        input_ids: int64, shape (batch, sequence).
        lengths: int64, shape (batch,).

    Returns:
        int64, shape (batch, sequence), -100 where nothing follows.
    """
    labels = np.full_like(input_ids, IGNORED)
    labels[:, :-1] = input_ids[:, 1:]
    labels[np.arange(labels.shape[1]) >= lengths[:, None] - 1] = IGNORED
    return labels


class BatchMaker:
    """Makes batches for one model.

    Args:
        config: The model's: special ids, languages, positions.
        settings: How batches are made.
        masking: Draws what is masked.
    """

    def __init__(self, config: XLMConfig, settings: ObjectiveSettings, masking: Masking) -> None:
        self.config, self.settings, self.masking = config, settings, masking
        self.ids = SpecialIds.of(config)

    # -- what is checked before a run ------------------------------------------------------------

    def check_tasks(self, tasks: Iterable[Task]) -> None:
        """Raise `ConfigError` if a task does not go with the model."""
        limit = self.config.max_position_embeddings
        longest = self.settings.max_len + 2
        for task in tasks:
            if self.config.n_langs > 1 or self.config.lang2id:
                for language in task.languages:
                    self.language(language)
            multiple = self.settings.multiple_of
            if task.is_stream:
                needed, setting = self.settings.bptt, f"bptt is {self.settings.bptt}"
                self._check_rows(task)
                rounds = self.settings.stream_rows >= multiple
            else:
                # Positions of a causal pair run on, those of others begin anew.
                needed = 2 * longest if task.objective == "clm" else longest
                setting = f"max_len is {self.settings.max_len}"
                rounds = task.objective == "clm"  # a batch of pairs has any number of rows
                if not self.settings.max_len:
                    raise ConfigError(
                        f"{task.name}: max_len is 0, which lets sentences of any length in, and "
                        f"the model has {limit} positions: give a max_len."
                    )
            if rounds and multiple > 1:
                needed += -needed % multiple
                setting += f", multiple_of {multiple}"
            if needed > limit:
                raise ConfigError(
                    f"{task.name} needs {needed} positions ({setting}), and the model has {limit} "
                    "(max_position_embeddings): make it smaller."
                )
            check_causal(task, self.config)

    def _check_rows(self, task: Task) -> None:
        """Raise `ConfigError` if there is nothing to predict in a row of running text."""
        bptt, context = self.settings.bptt, self.settings.context_size
        if bptt < 3:
            raise ConfigError(
                f"bptt is {bptt}: expected at least 3, because neither end of a row is predicted."
            )
        rows = self.settings.stream_rows
        if rows * bptt > LARGEST:
            raise ConfigError(
                f"a batch of {task.name} has {rows} rows of {bptt} tokens: expected at most "
                f"{LARGEST} tokens. Make batch_size smaller."
            )
        if task.objective == "clm" and context >= bptt - 1:
            raise ConfigError(
                f"context_size is {context} and bptt {bptt}: expected less than {bptt - 1}, or "
                f"{task.name} predicts nothing."
            )

    def check_corpus(self, corpus: Corpus) -> None:
        """Raise `CorpusError` if a corpus does not go with the model."""
        info, ids = corpus.info, self.ids
        if info.vocab_size > ids.words or info.eos_id != ids.eos:
            raise CorpusError(
                f"{corpus.path} has ids below {info.vocab_size} with </s> {info.eos_id}, and the "
                f"model has {ids.words} words with </s> {ids.eos}: use the tokenizer and the model "
                "that belong together."
            )

    def language(self, name: str) -> int:
        """As `language_id`."""
        return language_id(self.config, name)

    # -- batches -------------------------------------------------------------------------------

    def of_stream(self, task: Task, rows: Ids, generator: np.random.Generator) -> Batch:
        """A batch of running text, int64, shape (rows, bptt)."""
        return self._with_labels(self._rounded(self.of_window(task, rows), generator), generator)

    def of_window(self, task: Task, rows: Ids) -> Batch:
        """Running text, int64, shape (rows, bptt), without labels."""
        lengths = np.full(len(rows), rows.shape[1], dtype=np.int64)
        return Batch(task, rows, lengths, rows, self._same_language(rows, task.languages[0]))

    def of_pairs(
        self,
        task: Task,
        first: Sequence[IdArray],
        second: Sequence[IdArray],
        generator: np.random.Generator,
    ) -> Batch:
        """A batch of pairs: sentences of the task's two languages, without `</s>`."""
        if task.objective == "mt":
            return self.of_translations(task, first, second)
        whole = self.joined(task, first, second)
        if task.objective == "clm":
            # In training, the original's positions of a causal pair run on.
            whole = Batch(task, whole.input_ids, whole.lengths, whole.labels, whole.langs)
        return self._with_labels(self._rounded(whole, generator), generator)

    def joined(self, task: Task, first: Sequence[IdArray], second: Sequence[IdArray]) -> Batch:
        """Pairs behind each other, positions beginning anew, without labels."""
        framed = frame(first, self.ids), frame(second, self.ids)
        ids, lengths, positions, is_second = join(*framed, self.ids.pad)
        langs = None
        if self.config.n_langs > 1:
            one, two = map(self.language, task.languages)
            langs = np.where(is_second, two, one)
        return Batch(task, ids, lengths, ids, langs, positions)

    def of_translations(
        self, task: Task, source: Sequence[IdArray], target: Sequence[IdArray]
    ) -> Batch:
        """Sources, and targets as labels: every word of them and the closing `</s>`."""
        ids, lengths = frame(source, self.ids)
        labels = next_words(*frame(target, self.ids))[:, :-1]
        return Batch(
            task,
            ids,
            lengths,
            labels,
            self._same_language(ids, task.languages[0]),
            None,
            self._same_language(labels, task.languages[1]),
        )

    def _with_labels(self, batch: Batch, generator: np.random.Generator) -> Batch:
        if batch.task.objective == "clm":
            ids, labels = batch.input_ids, next_words(batch.input_ids, batch.lengths)
            labels[:, : self.settings.context_size] = IGNORED
        else:
            ids, labels = self.masking.mask(batch.input_ids, batch.lengths, generator)
        return Batch(batch.task, ids, batch.lengths, labels, batch.langs, batch.position_ids)

    def _same_language(self, like: Ids, name: str) -> Ids | None:
        return np.full_like(like, self.language(name)) if self.config.n_langs > 1 else None

    def _rounded(self, batch: Batch, generator: np.random.Generator) -> Batch:
        """Leave sentences out and pad until both sizes are multiples of settings.multiple_of."""
        multiple, rows = self.settings.multiple_of, len(batch)
        if multiple == 1 or rows < multiple:
            return batch
        if rows % multiple:
            kept = generator.permutation(rows)[: rows - rows % multiple]
            longest = int(batch.lengths[kept].max())
            ids = batch.input_ids[kept, :longest]
            langs, positions = (
                None if x is None else x[kept, :longest] for x in (batch.langs, batch.position_ids)
            )
            batch = Batch(batch.task, ids, batch.lengths[kept], ids, langs, positions)
        if more := -batch.input_ids.shape[1] % multiple:
            sides = ((0, 0), (0, more))
            ids = np.pad(batch.input_ids, sides, constant_values=self.ids.pad)
            langs = None if batch.langs is None else np.pad(batch.langs, sides, mode="edge")
            positions = batch.position_ids
            if positions is not None:
                # Padding may not run out of the position table.
                positions = np.pad(positions, sides, mode="edge")
            batch = Batch(batch.task, ids, batch.lengths, ids, langs, positions)
        return batch
