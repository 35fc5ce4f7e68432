"""The batches of a run: any of them, for any rank and any reading process."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from xlm_core.config import XLMConfig
from xlm_core.corpus import Corpus
from xlm_core.errors import ConfigError, CorpusError, InputError
from xlm_core.objectives.batch import Batch, Ids, pieces
from xlm_core.objectives.making import BatchMaker
from xlm_core.objectives.masking import Masking
from xlm_core.objectives.randomness import generator_of
from xlm_core.objectives.schedule import Draw, Schedule
from xlm_core.objectives.sentences import Pairs, batches_of
from xlm_core.objectives.settings import ObjectiveSettings, SpecialIds, settings_of
from xlm_core.objectives.sources import PairOfCorpora, corpus_of, pair_of
from xlm_core.objectives.streams import Stream
from xlm_core.objectives.tasks import Task


class TrainingBatches:
    """The batches of a run.

    A global batch, of which the weights are updated once, has `settings.parts` parts. A part is
    made as a whole by whoever needs a piece of it, and then cut, so that masks do not depend on
    who asks. Nothing has to be read of what came before.

    Args:
        config: The model's: special ids, languages, positions.
        tasks: What to train on.
        corpora: The text of each language that a task of one language needs.
        pairs: The two corpora of each pair, in the order of the key; one order serves both.
        settings: How batches are made.
        seed: Of the run.
        counts: As in `Masking`.

    Raises:
        ConfigError, CorpusError: If something is missing or does not go together.
    """

    def __init__(
        self,
        config: XLMConfig,
        tasks: Sequence[Task],
        *,
        corpora: Mapping[str, Corpus] | None = None,
        pairs: Mapping[tuple[str, str], PairOfCorpora] | None = None,
        settings: ObjectiveSettings | None = None,
        seed: int = 0,
        counts: Sequence[int] | npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.config, self.settings = config, (settings := settings_of(settings))
        self.tasks, self.seed = tuple(tasks), seed
        ids = SpecialIds.of(config)
        self._maker = BatchMaker(config, settings, Masking(settings, ids, counts))
        self._maker.check_tasks(self.tasks)
        self._streams: dict[Task, Stream] = {}
        self._pairs: dict[Task, Pairs] = {}
        self._swapped: dict[Task, bool] = {}
        read: dict[PairOfCorpora, Pairs] = {}
        for task in self.tasks:
            if task.is_stream:
                corpus = corpus_of(task, corpora or {})
                self._maker.check_corpus(corpus)
                self._streams[task] = Stream(corpus, settings.stream_rows, settings.bptt)
                continue
            both, self._swapped[task] = pair_of(task, pairs or {})
            for corpus in both:
                self._maker.check_corpus(corpus)
            if both not in read:
                read[both] = Pairs(*both, settings.max_len)
            self._pairs[task] = read[both]
            longest = int(read[both].lengths.max())
            if task.objective == "clm" and settings.context_size >= longest - 1:
                raise ConfigError(
                    f"context_size is {settings.context_size}, and the longest pair has {longest} "
                    f"tokens: expected less than {longest - 1}, or {task.name} predicts nothing."
                )
        _check_one_vocabulary(
            [each.corpus for each in self._streams.values()]
            + [corpus for pair in self._pairs.values() for corpus in pair.corpora]
        )
        sentences = {
            task: len(self._streams[task].corpus) if task.is_stream else len(self._pairs[task])
            for task in self.tasks
        }
        self.schedule = Schedule(
            self.tasks,
            sentences,
            factor=settings.lg_sampling_factor,
            parts=settings.parts,
            seed=seed,
        )
        # Of each task the order of the pass that was asked for last.
        self._orders: dict[Task, tuple[int, list[Ids] | Ids]] = {}
        # For tasks whose passes differ in batches, how many there are before each pass.
        self._before_pass: dict[Task, list[int]] = {}
        self._batches = {task: self.batches_in(task) for task in self.tasks}

    # -- what a run takes ----------------------------------------------------------------------

    def global_batch(self, step: int) -> list[Batch]:
        """The parts of step `step`, counted from 0."""
        return [self.part(step, part) for part in range(self.settings.parts)]

    def part(self, step: int, part: int) -> Batch:
        """One part of a step, whole."""
        return self._batch(self.schedule.draws(step)[part])

    def local_batches(
        self, step: int, rank: int = 0, ranks: int = 1, *, whole_parts: bool = True
    ) -> list[Batch]:
        """What one of several ranks computes of a step, one forward pass each.

        Args:
            step: Counted from 0.
            rank, ranks: Which of several.
            whole_parts: Give each rank whole parts, if each gets as many. Else each gets a piece
                of every part, so that all ranks work on the same tasks in turn; it may be empty,
                if a part has fewer rows than there are ranks.
        """
        _check_one_of("rank", rank, ranks)
        parts = self.settings.parts
        if parts % ranks == 0 and (whole_parts or ranks == 1):
            mine = range(rank * parts // ranks, (rank + 1) * parts // ranks)
            return [self.part(step, part) for part in mine]
        whole = self.global_batch(step)
        return [batch.rows(*pieces(len(batch), ranks)[rank]) for batch in whole]

    def iterate(
        self,
        first: int = 0,
        *,
        rank: int = 0,
        ranks: int = 1,
        reader: int = 0,
        readers: int = 1,
        whole_parts: bool = True,
    ) -> Iterator[list[Batch]]:
        """`local_batches` of step `first` and all that follow, without end.

        Args:
            first: The first step.
            rank, ranks: Which of several trains on them.
            reader, readers: Which of several processes reads: each takes every `readers`-th step,
                as PyTorch's DataLoader then takes turns among them.
            whole_parts: As in `local_batches`.
        """
        _check_one_of("reader", reader, readers)
        step = first + reader
        while True:
            yield self.local_batches(step, rank, ranks, whole_parts=whole_parts)
            step += readers

    def passes(self, step: int) -> dict[Task, float]:
        """How many times each task's text was read before step `step`."""
        uses = self.schedule.uses(step)
        return {task: use / self._batches[task] for task, use in uses.items()}

    def texts_of(self, task: Task) -> list[str]:
        """What a task reads, in words, by which another text can be told: a corpus, or two."""
        if task.is_stream:
            corpora = [self._streams[task].corpus]
        else:
            corpora = list(self._pairs[task].corpora)
        return [corpus.described() for corpus in corpora]

    def batches_in(self, task: Task, at: int = 0) -> int:
        """Batches of one pass over a task's text, by default the first."""
        if task.is_stream:
            return len(self._streams[task])
        if self.settings.tokens_per_batch is None:
            return -(-len(self._pairs[task]) // (self.settings.batch_size or 1))
        return len(self._order_of(task, 0 if self.settings.group_by_size else at))

    def tokens_in(self, task: Task) -> Ids:
        """Tokens of each batch of the first pass over a task's text; no text is read.

        Where `multiple_of` leaves sentences out, which is by chance, as if each were of the mean
        length of its batch.

        Returns:
            int64, shape (batches,), in the order of the pass.
        """
        multiple = 1 if task.objective == "mt" else self.settings.multiple_of
        if task.is_stream:
            rows = np.full(len(self._streams[task]), self.settings.stream_rows)
            tokens = rows * self.settings.bptt
        else:
            order = self._order_of(task, 0)
            rows = np.array([len(each) for each in order])
            # The first `</s>` of a target is not counted, see `Batch.tokens`.
            lengths = self._pairs[task].lengths - int(task.objective == "mt")
            starts = np.cumsum(rows) - rows
            tokens = np.add.reduceat(lengths[np.concatenate(order)], starts, dtype=np.int64)
        kept = np.where(rows < multiple, rows, rows - rows % multiple)
        return np.asarray(tokens * kept // rows)

    # -- one batch -----------------------------------------------------------------------------

    def _batch(self, draw: Draw) -> Batch:
        task = draw.task
        generator = generator_of(self.seed, "batch", task.name, draw.use)
        at, index = self._place(task, draw.use)
        if task.is_stream:
            window = int(self._order_of(task, at)[index])
            return self._maker.of_stream(task, self._streams[task].batch(window), generator)
        pairs, chosen = self._pairs[task], self._order_of(task, at)[index]
        first, second = (pairs.sentences(which, chosen) for which in (0, 1))
        if self._swapped[task]:
            first, second = second, first
        return self._maker.of_pairs(task, first, second, generator)

    def _place(self, task: Task, use: int) -> tuple[int, int]:
        """Which pass over its text the `use`-th batch of a task is from, and which of it."""
        settings = self.settings
        if task.is_stream or settings.tokens_per_batch is None or settings.group_by_size:
            return divmod(use, self._batches[task])
        # Batches by tokens, of sentences in an order that is new in each pass.
        before = self._before_pass.setdefault(task, [0])
        while before[-1] <= use:
            before.append(before[-1] + self.batches_in(task, len(before) - 1))
        at = bisect_right(before, use) - 1
        return at, use - before[at]

    def _order_of(self, task: Task, at: int) -> list[Ids] | Ids:
        """The order of pass `at`, kept until another is asked for."""
        kept = self._orders.get(task)
        if kept is None or kept[0] != at:
            kept = self._orders[task] = (at, self._new_order(task, at))
        return kept[1]

    def _new_order(self, task: Task, at: int) -> list[Ids] | Ids:
        """The batches of one pass: windows of a stream, or the sentences of each batch."""
        generator = generator_of(self.seed, "order", task.name, at)
        if task.is_stream:
            return generator.permutation(len(self._streams[task]))
        return batches_of(self._pairs[task].lengths, self.settings, generator)


def _check_one_vocabulary(corpora: Sequence[Corpus]) -> None:
    """Raise `CorpusError` if corpora of one number of words have different ones.

    Of another number, words may have been added to the tokenizer in between.
    """
    seen: dict[int, Corpus] = {}
    for corpus in corpora:
        other = seen.setdefault(corpus.info.vocab_size, corpus)
        if other.info.vocab_digest != corpus.info.vocab_digest:
            raise CorpusError(
                f"{other.path} and {corpus.path} were made with different vocabularies: make all "
                "corpora with the same tokenizer."
            )


def _check_one_of(what: str, which: int, number: int) -> None:
    """Raise `InputError` unless `which` of `number` is one of them."""
    if not 0 <= which < number:
        raise InputError(f"{what} is {which} of {number}: expected one from 0 to {number - 1}.")
