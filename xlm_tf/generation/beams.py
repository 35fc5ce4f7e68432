"""Beam search: what goes on is decided by `xlm_core.generation.beams`, of the steps' candidates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlm_core.generation import BeamSearch, Settled
from xlm_tf.generation.callables import Callables
from xlm_tf.generation.steps import Steps


def generate_beams(
    steps: Steps,
    search: BeamSearch,
    settled: Settled,
    prompt: NDArray[np.int64],
    callables: Callables,
    vocabulary: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64], tuple[NDArray[Any], ...] | None]:
    """Search with several beams a sentence.

    Args:
        steps: Give candidates.
        search: Chooses among them.
        settled, prompt, callables: As in `generate_rows`.
        vocabulary: Number of tokens.

    Returns:
        The best sequences, padded after their end, int64, shape (sequences, tokens); their scores,
        float64, shape (sequences,); and with output_scores the log-probabilities of each step,
        float, shape (sentences * beams, vocabulary).
    """
    scores: tuple[NDArray[Any], ...] | None = () if settled.output_scores else None
    found = steps.first(sums=search.scores)
    while True:
        if scores is not None:
            scores = (*scores, found["scores"])
        sentences = search.sentences

        def stops(
            generated: NDArray[np.int64],
            sentences: NDArray[np.int64] = sentences,
            scores: tuple[NDArray[Any], ...] | None = scores,
        ) -> NDArray[np.bool_]:
            begun = prompt[np.repeat(sentences, search.candidates)]
            return callables.stop(np.concatenate((begun, generated), axis=1), scores)

        step = search.step(
            found["sums"], found["indices"], vocabulary, stops if callables.criteria else None
        )
        if search.done:
            return *search.finish(), scores
        rows = search.sentences[:, None] * search.beams + np.arange(search.beams)
        found = steps.next(
            step.ids,
            step.sources,
            rows.reshape(-1),
            sentences=len(search.sentences) != len(sentences),
            sums=step.scores,
        )
