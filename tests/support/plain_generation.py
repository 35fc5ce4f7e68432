"""Generation as plain loops over one sentence, without a cache: what both families must give.

`logits_of` takes the ids of a sentence, a list, and returns the logits of the next token, float64,
shape (vocabulary,).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Logits = Callable[[list[int]], "np.ndarray[Any, Any]"]


def log_softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """In float64."""
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def greedy(logits_of: Logits, prompt: list[int], limit: int, eos: int | None) -> list[int]:
    """What follows the prompt: the best token at each step."""
    ids = list(prompt)
    while len(ids) < len(prompt) + limit and (len(ids) == len(prompt) or ids[-1] != eos):
        ids.append(int(logits_of(ids).argmax()))
    return ids[len(prompt) :]


def sampled(
    logits_of: Logits,
    prompt: list[int],
    numbers: np.ndarray[Any, Any],
    eos: int | None,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> list[int]:
    """What follows the prompt: at each step the first token whose probabilities exceed a number."""
    ids = list(prompt)
    for number in numbers:
        scores = logits_of(ids) / temperature
        order = np.argsort(-scores, kind="stable")
        kept = order[: top_k or len(order)]
        probabilities = np.exp(scores[kept] - scores.max())
        probabilities /= probabilities.sum()
        # As many as it takes: the last is the one that reaches the sum.
        kept = kept[: 1 + int((probabilities.cumsum() < top_p - 1e-15).sum())]
        left = np.zeros(len(scores))
        left[kept] = np.exp(scores[kept] - scores.max())
        sums = left.cumsum()
        ids.append(int((sums > number * sums[-1]).argmax()))
        if ids[-1] == eos:
            break
    return ids[len(prompt) :]


def beams_of_original(
    logits_of: Logits,
    prompt: list[int],
    limit: int,
    eos: int,
    *,
    beams: int,
    length_penalty: float = 1.0,
    early_stopping: bool = False,
) -> list[tuple[float, list[int]]]:
    """Finished sequences with their scores, the best first, as `generate_beam` has them."""
    finished: list[tuple[float, list[int]]] = []
    going_on = [(0.0, list(prompt))]
    longest = len(prompt) + limit - 1
    for length in range(len(prompt), len(prompt) + limit):
        candidates = [
            (total + float(score), ids, token)
            for total, ids in going_on
            for token, score in enumerate(log_softmax(logits_of(ids)))
        ]
        candidates = sorted(candidates, key=lambda each: -each[0])[: 2 * beams]
        if len(finished) == beams and (
            early_stopping or finished[-1][0] >= candidates[0][0] / longest**length_penalty
        ):
            break
        going_on = []
        for total, ids, token in candidates:
            if token == eos or length == longest:
                finished.append((total / length**length_penalty, [*ids, eos]))
                finished = sorted(finished, key=lambda each: -each[0])[:beams]
            else:
                going_on.append((total, [*ids, token]))
            if len(going_on) == beams:
                break
    return [(score, ids[len(prompt) :]) for score, ids in finished]
