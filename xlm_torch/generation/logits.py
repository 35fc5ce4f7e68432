"""What changes the scores of the next token: penalties, bans, and what sampling leaves out.

Source: names, formulas and order are those of transformers' logits processors, 4.57. Padding counts
as no token here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xlm_core.generation import Settled

# Stands for padding in the tokens of a row.
NO_TOKEN = -1


class ScoreRules:
    """What a call asks of the scores of every step, and the tokens that it depends on.

    Args:
        settled: What the call is to do.
        history: int64, shape (sentences, tokens): what each sentence begins with, padded on the
            left with `NO_TOKEN`.
    """

    def __init__(self, settled: Settled, history: Tensor) -> None:
        self.settled = settled
        self._looks_back = (
            settled.repetition_penalty != 1
            or settled.no_repeat_ngram_size > 0
            or any(len(word) > 1 for word in settled.bad_words_ids)
        )
        self._history = history.repeat_interleave(settled.copies, dim=0)
        minimums = torch.from_numpy(settled.rows(settled.minimums))
        self._minimums = minimums.to(history.device) if settled.minimums.any() else None
        self._longest_minimum = int(settled.minimums.max())
        self._generated = 0

    def __call__(self, scores: Tensor) -> Tensor:
        """Change the scores of the next token.

        Args:
            scores: float, shape (rows, vocabulary).
        """
        settled = self.settled
        if settled.repetition_penalty != 1:
            scores = penalise_repetition(scores, self._history, settled.repetition_penalty)
        if settled.no_repeat_ngram_size:
            scores = ban_repeated_ngrams(scores, self._history, settled.no_repeat_ngram_size)
        if settled.bad_words_ids:
            scores = ban_words(scores, self._history, settled.bad_words_ids)
        if self._minimums is not None and self._generated < self._longest_minimum:
            scores = ban_ends(scores, self._minimums > self._generated, settled.eos)
        if settled.forced_bos_token_id is not None and self._generated == 0:
            scores = force(scores, settled.forced_bos_token_id)
        return scores

    def append(self, ids: Tensor, rows: Tensor | None = None) -> None:
        """Go on with these rows (None: all), each of which gets a token, int64, shape (rows,)."""
        self._generated += 1
        if rows is not None and self._minimums is not None:
            self._minimums = self._minimums.index_select(0, rows)
        if self._looks_back:
            history = self._history if rows is None else self._history.index_select(0, rows)
            self._history = torch.cat((history, ids[:, None]), dim=1)


def penalise_repetition(scores: Tensor, history: Tensor, penalty: float) -> Tensor:
    """Divide the scores of tokens that were there by `penalty`, or multiply them if negative.

    Args:
        scores: float, shape (rows, vocabulary).
        history: int64, shape (rows, tokens), `NO_TOKEN` for padding.
        penalty: Above 0.
    """
    penalised = torch.where(scores < 0, scores * penalty, scores / penalty)
    return torch.where(_among(history, scores), penalised, scores)


def ban_repeated_ngrams(scores: Tensor, history: Tensor, size: int) -> Tensor:
    """Rule out tokens that would complete an n-gram of this size that was there.

    Args:
        scores, history: As in `penalise_repetition`.
        size: Of the n-grams, at least 1.
    """
    if history.shape[1] < size:
        return scores
    ngrams = history.unfold(1, size, 1)
    begun = history[:, history.shape[1] - size + 1 :]
    repeated = (ngrams[:, :, :-1] == begun[:, None]).all(2) & (ngrams != NO_TOKEN).all(2)
    completing = torch.where(repeated, ngrams[:, :, -1], NO_TOKEN)
    return scores.masked_fill(_among(completing, scores), -torch.inf)


def ban_words(scores: Tensor, history: Tensor, words: Sequence[Sequence[int]]) -> Tensor:
    """Rule out tokens that would complete one of these words.

    Args:
        scores, history: As in `penalise_repetition`.
        words: Each the ids of a word.
    """
    scores = scores.clone()
    alone = [word[0] for word in words if len(word) == 1]
    if alone:
        scores[:, alone] = -torch.inf
    for *begin, last in words:
        if 0 < len(begin) <= history.shape[1]:
            wanted = torch.tensor(begin, device=history.device)
            begun = (history[:, history.shape[1] - len(begin) :] == wanted).all(1)
            scores[:, last] = scores[:, last].masked_fill(begun, -torch.inf)
    return scores


def ban_ends(scores: Tensor, rows: Tensor, eos: Sequence[int]) -> Tensor:
    """Rule out the tokens `eos` in some rows.

    Args:
        scores: float, shape (rows, vocabulary).
        rows: bool, shape (rows,): True where they are ruled out.
        eos: Ids.
    """
    ends = torch.zeros(scores.shape[1], dtype=torch.bool, device=scores.device)
    ends[list(eos)] = True
    return scores.masked_fill(rows[:, None] & ends, -torch.inf)


def force(scores: Tensor, token: int) -> Tensor:
    """Rule out every token but one."""
    forced = torch.full_like(scores, -torch.inf)
    forced[:, token] = 0
    return forced


def sharpen(scores: Tensor, settled: Settled) -> Tensor:
    """Temperature, top-k and top-p of sampling.

    Args:
        scores: float, shape (rows, vocabulary).
        settled: What the call is to do.
    """
    if settled.temperature != 1:
        scores = scores / settled.temperature
    if 0 < settled.top_k < scores.shape[1]:
        scores = keep_top_k(scores, settled.top_k)
    if settled.top_p < 1:
        scores = keep_top_p(scores, settled.top_p)
    return scores


def keep_top_k(scores: Tensor, count: int) -> Tensor:
    """Rule out all tokens but the best `count`, and those that are as good as the last of them."""
    return scores.masked_fill(scores < scores.topk(count)[0][:, -1:], -torch.inf)


def keep_top_p(scores: Tensor, reached: float) -> Tensor:
    """Rule out all tokens but the fewest best whose probabilities add up to `reached` or more."""
    ordered, order = scores.sort(dim=-1, stable=True)
    left_out = ordered.softmax(-1).cumsum(-1) <= 1 - reached
    left_out[:, -1] = False
    return scores.masked_fill(left_out.scatter(1, order, left_out), -torch.inf)


def _among(tokens: Tensor, scores: Tensor) -> Tensor:
    """bool, shape (rows, vocabulary): whether a token is among those of its row.

    Args:
        tokens: int64, shape (rows, tokens), `NO_TOKEN` for none.
        scores: float, shape (rows, vocabulary).
    """
    rows, vocabulary = scores.shape
    among = torch.zeros((rows, vocabulary + 1), dtype=torch.bool, device=scores.device)
    places = torch.where(tokens == NO_TOKEN, vocabulary, tokens)
    return among.scatter_(1, places, value=True)[:, :vocabulary]
