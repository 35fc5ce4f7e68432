"""Beam search: which candidates go on, which are finished, and when a sentence is done.

The families compute the scores of candidates; what is chosen among them is decided here, once.

Source: `generate_beam` and `BeamHypotheses` in xlm/model/transformer.py of the original;
`_beam_search` of transformers 4.57.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xlm_core.generation.progress import refuse_no_choice

Scoring = Literal["original", "transformers"]
# What the sequences of the candidates are stopped by, besides their end: int64, shape
# (candidates, tokens), to bool, shape (candidates,).
Stops = Callable[[NDArray[np.int64]], NDArray[np.bool_]]

# The score of beams that hold nothing yet: all begin alike, and only one of them may count.
_NOTHING = -1e9


@dataclass(frozen=True)
class BeamStep:
    """How the rows of a batch go on.

    Attributes:
        ids: int64, shape (rows,): the token that is appended to each row.
        sources: int64, shape (rows,): which row of the batch before it goes on from.
        scores: float64, shape (rows,): the sum of log-probabilities of each row.
    """

    ids: NDArray[np.int64]
    sources: NDArray[np.int64]
    scores: NDArray[np.float64]


class BeamSearch:
    """The beams of a batch of sentences, which do not know of each other.

    Args:
        limits: int64, shape (sentences,): how many tokens each sentence may get.
        prompts: int64, shape (sentences,): tokens that it begins with, without padding.
        beams: How many beams a sentence has.
        returned: How many sequences are asked for a sentence.
        eos: Tokens that end a sentence.
        pad: What a row gets whose sentence is done.
        closing: The token that replaces the last one of a sequence that reaches its limit without
            an end-of-sentence token; None: nothing does.
        scoring: What is compared. "original": the sum of log-probabilities over
            length ** length_penalty, the length being all tokens before the last one, the prompt's
            too; "transformers": the same over the number of generated tokens.
        length_penalty: See scoring.
        early_stopping: Whether a sentence is done when it has as many finished sequences as beams;
            False: when none that goes on can become better than the worst of these, bounded by the
            best sum over the longest length (original) or over the present one (transformers);
            "never", with transformers' scoring: over the longest length, for a penalty above 0.
        drops_finished: Whether the rows of sentences that are done leave the batch; else they stay.

    Attributes:
        sentences: int64, shape (active,): which sentences of the call those of the batch are.
        candidates: How many candidates `step` wants of each: as many as leave enough where each
            beam ends.
        scores: float64, shape (active * beams,): the sums of log-probabilities of the rows.
    """

    def __init__(
        self,
        limits: NDArray[np.int64],
        prompts: NDArray[np.int64],
        *,
        beams: int,
        returned: int,
        eos: Sequence[int],
        pad: int,
        closing: int | None,
        scoring: Scoring,
        length_penalty: float,
        early_stopping: bool | Literal["never"],
        drops_finished: bool = True,
    ) -> None:
        self.beams, self.returned, self.eos, self.pad = beams, returned, eos, pad
        self.drops_finished, self.closing = drops_finished, closing
        self.candidates = max(2, 1 + len(eos)) * beams
        self.early_stopping = early_stopping
        self._limits, self._prompts = limits, prompts
        self._by_original = scoring == "original"
        self._powers = _Powers(float(length_penalty))
        self._finished = _Finished(len(limits), beams, drops_first=self._by_original)
        self._done = np.zeros(len(limits), dtype=bool)  # of the sentences of the call
        self.sentences = np.arange(len(limits))
        self.scores = np.tile([0.0, *[_NOTHING] * (beams - 1)], len(limits))
        self._ids = np.zeros((len(limits) * beams, 0), dtype=np.int64)

    @property
    def done(self) -> bool:
        """Whether every sentence is done."""
        return bool(self._done.all())

    def step(
        self,
        scores: NDArray[np.floating],
        indices: NDArray[np.integer],
        vocabulary: int,
        stops: Stops | None = None,
    ) -> BeamStep:
        """Choose among the best candidates of each sentence.

        Args:
            scores: float, shape (active, candidates): sums of log-probabilities, best first.
            indices: integer, shape (active, candidates): beam * vocabulary + token.
            vocabulary: Number of tokens.
            stops: Which candidates end for another reason than their last token.

        Returns:
            How the rows of the batch go on, those of sentences that are done left out (or, where
            these stay, unchanged with padding).

        Raises:
            GenerationError: If there is no candidate for a sentence that is not done.
        """
        sums: NDArray[np.float64] = scores.astype(np.float64)
        lost = np.isnan(sums).any(axis=1) | (sums[:, 0] == -np.inf)
        lost &= ~self._done[self.sentences]
        if lost.any():
            refuse_no_choice(self.sentences[lost])
        beams, ids = (part.astype(np.int64) for part in np.divmod(indices, vocabulary))
        rows = beams + np.arange(len(self.sentences))[:, None] * self.beams
        ends = np.isin(ids, self.eos)
        stopped = np.zeros(ids.shape, dtype=bool)
        if stops is not None:
            continued = np.concatenate([self._ids[rows], ids[..., None]], axis=2)
            stopped = stops(continued.reshape(ids.size, -1)).reshape(ids.shape)
        candidates = _Candidates(sums, ids, rows, ends, stopped)
        choose = self._choose_original if self._by_original else self._choose_transformers
        step = self._going_on(candidates, choose(candidates))
        self.scores = step.scores
        self._ids = np.concatenate([self._ids[step.sources], step.ids[:, None]], axis=1)
        return step

    def finish(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The best sequences of each sentence, the best first.

        Returns:
            What they got after the prompt, padded after their end, int64, shape
            (sentences * returned, tokens), and their scores, float64, shape
            (sentences * returned,).
        """
        return self._finished.best(self.returned, self.pad)

    def _choose_original(self, candidates: _Candidates) -> NDArray[np.bool_]:
        """Finish sequences, and sentences, as in the original's `generate_beam`.

        Candidates are taken, best first, until as many go on as there are beams.

        Returns:
            bool, shape (active, candidates): which of the candidates go on.
        """
        numbers, finished = self.sentences, self._finished
        prompts, limits = self._prompts[numbers], self._limits[numbers]
        bounds = candidates.scores[:, 0] / self._powers.of(prompts + limits - 1)
        beaten = finished.are_full(numbers) & (finished.worst(numbers) >= bounds)
        at_limit = self._ids.shape[1] + 1 >= limits
        finishing = at_limit[:, None] | candidates.may_finish
        taken = _before(~finishing) < self.beams
        going_on = taken & ~finishing
        active = ~self._done[numbers] & ~beaten
        self._add(candidates, taken & finishing & active[:, None], prompts + self._ids.shape[1])
        full = finished.are_full(numbers) & (self.early_stopping is True)
        self._done[numbers] |= beaten | at_limit | full | ~going_on.any(1)
        return going_on

    def _choose_transformers(self, candidates: _Candidates) -> NDArray[np.bool_]:
        """As `_choose_original`, as in transformers' `_beam_search`.

        Only the best candidates, as many as there are beams, may finish.
        """
        numbers, finished = self.sentences, self._finished
        limits, generated = self._limits[numbers], self._ids.shape[1] + 1
        at_limit = generated >= limits
        finishing = at_limit[:, None] | candidates.may_finish
        finishing[:, self.beams :] = False
        goes_on = ~candidates.may_finish
        going_on = goes_on & (_before(goes_on) < self.beams)
        active = ~self._done[numbers]
        lengths = np.full(len(numbers), generated)
        self._add(candidates, finishing & active[:, None], lengths)
        if self.early_stopping == "never" and self._powers.exponent > 0:
            lengths = limits
        best = candidates.scores[np.arange(len(numbers)), going_on.argmax(1)]
        beaten = ~(best / self._powers.of(lengths) > finished.worst(numbers))
        beaten |= self.early_stopping is True
        beaten &= finished.are_full(numbers)
        self._done[numbers] |= at_limit | ~going_on.any(1) | beaten
        return going_on

    def _add(
        self, candidates: _Candidates, finishing: NDArray[np.bool_], lengths: NDArray[np.int64]
    ) -> None:
        """Add the sequences of some candidates, best first, to those that are finished.

        Args:
            candidates: All.
            finishing: bool, shape (active, candidates): which of them.
            lengths: int64, shape (active,): what their scores are divided by a power of.
        """
        at_limit = self._ids.shape[1] + 1 >= self._limits[self.sentences]
        for column in np.flatnonzero(finishing.any(0)).tolist():
            of = np.flatnonzero(finishing.T[column])
            tokens = candidates.ids[of, column]
            if self.closing is not None:
                closes = at_limit[of] & ~candidates.ends[of, column]
                tokens = np.where(closes, self.closing, tokens)
            before = self._ids[candidates.rows[of, column]]
            self._finished.add(
                self.sentences[of],
                candidates.scores[of, column] / self._powers.of(lengths[of]),
                np.concatenate([before, tokens[:, None]], axis=1),
            )

    def _going_on(self, candidates: _Candidates, going_on: NDArray[np.bool_]) -> BeamStep:
        """The rows of the next batch, and which sentences they are of.

        Args:
            candidates: All.
            going_on: bool, shape (active, candidates): which of them are the beams from now on.
        """
        done = self._done[self.sentences]
        columns = np.argsort(~going_on, axis=1, kind="stable")[:, : self.beams]
        # Fewer than there are beams only where the caller stopped them.
        lacking = ~np.take_along_axis(going_on, columns, axis=1)
        columns = np.where(lacking, columns[:, :1], columns)
        ids = np.take_along_axis(candidates.ids, columns, axis=1)
        rows = np.take_along_axis(candidates.rows, columns, axis=1)
        scores = np.take_along_axis(candidates.scores, columns, axis=1)
        scores[lacking] = _NOTHING
        if self.drops_finished:
            ids, rows, scores = ids[~done], rows[~done], scores[~done]
            self.sentences = self.sentences[~done]
        else:
            ids[done], scores[done] = self.pad, 0.0
            rows[done] = np.arange(rows.size).reshape(rows.shape)[done]
        return BeamStep(ids.ravel(), rows.ravel(), scores.ravel())


class _Candidates(NamedTuple):
    """Tokens that rows may go on with, best first; each of shape (active, candidates).

    Attributes:
        scores: float64: sums of log-probabilities.
        ids: int64: the tokens.
        rows: int64: what they are appended to, of the rows of the batch.
        ends: bool: those that end a sentence by themselves.
        stopped: bool: those whose sequences the caller ends.
    """

    scores: NDArray[np.float64]
    ids: NDArray[np.int64]
    rows: NDArray[np.int64]
    ends: NDArray[np.bool_]
    stopped: NDArray[np.bool_]

    @property
    def may_finish(self) -> NDArray[np.bool_]:
        """Whether a sequence is finished with it: not if it was ruled out, or holds nothing."""
        return (self.ends | self.stopped) & (self.scores > _NOTHING / 2)


class _Powers:
    """Lengths to the power of `exponent`, by Python's own function: numpy's may round otherwise."""

    def __init__(self, exponent: float) -> None:
        self.exponent = exponent

    def of(self, lengths: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64, of the shape of `lengths`, which are of one dimension."""
        known = {length: length**self.exponent for length in set(lengths.tolist())}
        return np.array([known[length] for length in lengths.tolist()], dtype=np.float64)


class _Finished:
    """The best finished sequences of each sentence, as many as it has beams.

    Args:
        sentences: How many there are.
        size: How many sequences are kept of each.
        drops_first: Which of equally bad ones makes room for a better one: the first found, as in
            the original, or the last.
    """

    def __init__(self, sentences: int, size: int, *, drops_first: bool) -> None:
        self._drops_first = drops_first
        self._counts = np.zeros(sentences, dtype=np.int64)
        self._scores = np.zeros((sentences, size))
        self._order = np.zeros((sentences, size), dtype=np.int64)  # in which they were found
        self._ids: list[list[NDArray[np.int64] | None]] = [[None] * size for _ in range(sentences)]
        self._found = 0

    def are_full(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool, shape (numbers,): whether so many are finished of these sentences."""
        full: NDArray[np.bool_] = self._counts[numbers] == self._scores.shape[1]
        return full

    def worst(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64, shape (numbers,): the worst score of these sentences; no number if not full."""
        worst: NDArray[np.float64] = self._scores[numbers].min(1)
        return worst

    def add(
        self, numbers: NDArray[np.int64], scores: NDArray[np.float64], ids: NDArray[np.int64]
    ) -> None:
        """Keep a sequence of each of these sentences, if it is among the best.

        Args:
            numbers: int64, shape (some,): sentences, each once.
            scores: float64, shape (some,).
            ids: int64, shape (some, tokens).
        """
        better = ~self.are_full(numbers) | (scores > self.worst(numbers))
        numbers, scores, ids = numbers[better], scores[better], ids[better]
        order = self._order[numbers] if self._drops_first else -self._order[numbers]
        replaced = np.lexsort((order, self._scores[numbers]), axis=1)[:, 0]
        slots = np.where(self.are_full(numbers), replaced, self._counts[numbers])
        self._counts[numbers] += ~self.are_full(numbers)
        self._scores[numbers, slots] = scores
        self._order[numbers, slots] = self._found
        self._found += 1
        for number, slot, sequence in zip(numbers.tolist(), slots.tolist(), ids, strict=True):
            self._ids[number][slot] = sequence

    def best(self, number: int, pad: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The best of each sentence, the best first; of equal ones, the first found.

        Args:
            number: How many at most of each.
            pad: What fills a sequence after its end.

        Returns:
            As `BeamSearch.finish`.
        """
        empty = np.arange(self._scores.shape[1]) >= self._counts[:, None]
        ranked = np.lexsort((self._order, -self._scores, empty), axis=1)
        best = [
            (sentence, slot)
            for sentence, slots in enumerate(ranked.tolist())
            for slot in slots[: min(number, int(self._counts[sentence]))]
        ]
        found = [ids for sentence, slot in best if (ids := self._ids[sentence][slot]) is not None]
        longest = max((len(ids) for ids in found), default=0)
        sequences = np.full((len(found), longest), pad, dtype=np.int64)
        for row, ids in zip(sequences, found, strict=True):
            row[: len(ids)] = ids
        return sequences, np.array([self._scores[one] for one in best])


def _before(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """int64, of the shape of `chosen`: how many are chosen before each, in its row."""
    before: NDArray[np.int64] = chosen.cumsum(1) - chosen
    return before
