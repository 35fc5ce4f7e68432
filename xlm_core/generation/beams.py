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


@dataclass(frozen=True, eq=False)
class _Hypothesis:
    score: float
    ids: NDArray[np.int64]


class _Candidate(NamedTuple):
    """A token that a row may go on with; ends: by itself, stopped: by the caller."""

    score: float
    token: int
    row: int
    ends: bool
    stopped: bool

    @property
    def may_finish(self) -> bool:
        """Whether its sequence is finished with it: not if it was ruled out, or holds nothing."""
        return (self.ends or self.stopped) and self.score > _NOTHING / 2


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
        self.drops_finished = drops_finished
        self.candidates = max(2, 1 + len(eos)) * beams
        kind = _OriginalSentence if scoring == "original" else _TransformersSentence
        self._sentences = [
            kind(beams, int(limit), int(prompt), closing, float(length_penalty), early_stopping)
            for limit, prompt in zip(limits, prompts, strict=True)
        ]
        self.sentences = np.arange(len(limits))
        self.scores = np.tile([0.0, *[_NOTHING] * (beams - 1)], len(limits))
        self._ids = np.zeros((len(limits) * beams, 0), dtype=np.int64)

    @property
    def done(self) -> bool:
        """Whether every sentence is done."""
        return all(sentence.done for sentence in self._sentences)

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
        scores = scores.astype(np.float64)
        lost = np.isnan(scores).any(axis=1) | (scores[:, 0] == -np.inf)
        lost &= [not self._sentences[number].done for number in self.sentences]
        if lost.any():
            refuse_no_choice(self.sentences[lost])
        beams, ids = (part.astype(np.int64) for part in np.divmod(indices, vocabulary))
        sources = beams + np.arange(len(self.sentences))[:, None] * self.beams
        ends = np.isin(ids, self.eos)
        stopped = np.zeros(ids.shape, dtype=bool)
        if stops is not None:
            continued = np.concatenate([self._ids[sources], ids[..., None]], axis=2)
            stopped = stops(continued.reshape(ids.size, -1)).reshape(ids.shape)
        going_on, parts = [], []
        candidates = zip(
            *(part.tolist() for part in (scores, ids, sources, ends, stopped)), strict=True
        )
        for place, (number, each) in enumerate(zip(self.sentences, candidates, strict=True)):
            sentence = self._sentences[number]
            if not sentence.done:
                kept = sentence.step(
                    [_Candidate(*one) for one in zip(*each, strict=True)], self._ids
                )
            if not sentence.done:
                # Fewer than there are beams only where the caller stopped them.
                lacking = [kept[0]._replace(score=_NOTHING)] * (self.beams - len(kept))
                parts += [(one.token, one.row, one.score) for one in [*kept, *lacking]]
            elif self.drops_finished:
                continue
            else:
                first = place * self.beams
                parts += [(self.pad, row, 0.0) for row in range(first, first + self.beams)]
            going_on.append(number)
        self.sentences = np.array(going_on, dtype=np.int64)
        tokens, rows, sums = zip(*parts, strict=True) if parts else ((), (), ())
        step = BeamStep(
            np.array(tokens, np.int64), np.array(rows, np.int64), np.array(sums, np.float64)
        )
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
        best = [each for sentence in self._sentences for each in sentence.best(self.returned)]
        longest = max((len(each.ids) for each in best), default=0)
        sequences = np.full((len(best), longest), self.pad, dtype=np.int64)
        for row, each in zip(sequences, best, strict=True):
            row[: len(each.ids)] = each.ids
        return sequences, np.array([each.score for each in best])


class _Sentence:
    """The finished sequences of one sentence."""

    def __init__(
        self,
        beams: int,
        limit: int,
        prompt: int,
        closing: int | None,
        length_penalty: float,
        early_stopping: bool | Literal["never"],
    ) -> None:
        self.beams, self.limit, self.prompt, self.closing = beams, limit, prompt, closing
        self.length_penalty, self.early_stopping = length_penalty, early_stopping
        self.done = False
        self.generated = 0  # tokens that each beam has
        self.finished: list[_Hypothesis] = []

    def step(self, candidates: Sequence[_Candidate], rows: NDArray[np.int64]) -> list[_Candidate]:
        """Take the candidates, best first; returns those that are the beams from now on.

        Args:
            candidates: Of this sentence.
            rows: What the rows of the batch got, int64, shape (rows, tokens).
        """
        raise NotImplementedError

    def best(self, number: int) -> list[_Hypothesis]:
        """The best finished sequences, the best first; of equal ones, the first found."""
        return sorted(self.finished, key=lambda each: -each.score)[:number]

    def _finished(
        self, candidate: _Candidate, length: int, rows: NDArray[np.int64], *, at_limit: bool
    ) -> _Hypothesis:
        """A candidate that ends, its token replaced where its sequence must end otherwise."""
        token = candidate.token
        if at_limit and not candidate.ends and self.closing is not None:
            token = self.closing
        score = candidate.score / length**self.length_penalty
        return _Hypothesis(score, np.append(rows[candidate.row], token))


class _OriginalSentence(_Sentence):
    """Scores and ends as in the original's BeamHypotheses."""

    def step(self, candidates: Sequence[_Candidate], rows: NDArray[np.int64]) -> list[_Candidate]:
        """As `_Sentence.step`: candidates are taken until as many go on as there are beams."""
        longest = self.prompt + self.limit - 1
        bound = candidates[0].score / longest**self.length_penalty
        if len(self.finished) >= self.beams and self._worst() >= bound:
            self.done = True
            return []
        at_limit = self.generated + 1 >= self.limit
        going_on: list[_Candidate] = []
        for each in candidates:
            if at_limit or each.may_finish:
                self._add(self._finished(each, self._length, rows, at_limit=at_limit))
            else:
                going_on.append(each)
            if len(going_on) == self.beams:
                break
        self.generated += 1
        full = self.early_stopping is True and len(self.finished) >= self.beams
        self.done = at_limit or full or not going_on
        return going_on

    @property
    def _length(self) -> int:
        """All tokens before the present one."""
        return self.prompt + self.generated

    def _worst(self) -> float:
        return min(each.score for each in self.finished)

    def _add(self, finished: _Hypothesis) -> None:
        """Keep a finished sequence if it is among the best, as many as there are beams."""
        if len(self.finished) < self.beams or finished.score > self._worst():
            self.finished.append(finished)
            if len(self.finished) > self.beams:
                self.finished.remove(min(self.finished, key=lambda each: each.score))


class _TransformersSentence(_Sentence):
    """Scores and ends as in transformers' `_beam_search`."""

    def step(self, candidates: Sequence[_Candidate], rows: NDArray[np.int64]) -> list[_Candidate]:
        """As `_Sentence.step`: only the best, as many as there are beams, may finish."""
        self.generated += 1
        at_limit = self.generated >= self.limit
        self.finished += [
            self._finished(each, self.generated, rows, at_limit=at_limit)
            for each in candidates[: self.beams]
            if at_limit or each.may_finish
        ]
        self.finished = self.best(self.beams)
        going_on = [each for each in candidates if not each.may_finish][: self.beams]
        if at_limit or not going_on:
            self.done = True
        elif len(self.finished) == self.beams:
            never = self.early_stopping == "never" and self.length_penalty > 0
            length = self.limit if never else self.generated
            bound = going_on[0].score / length**self.length_penalty
            self.done = self.early_stopping is True or not bound > self.finished[-1].score
        return going_on
