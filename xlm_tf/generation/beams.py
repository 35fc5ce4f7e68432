"""Beam search: what goes on is decided by `xlm_core.generation.beams`, of the steps' candidates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlm_core.generation import Settled
from xlm_tf.generation.callables import Callables
from xlm_tf.generation.steps import Steps


def generate_beams(
    decoding: Steps, settled: Settled, prompt: NDArray[np.int64], callables: Callables
) -> tuple[NDArray[np.int64], NDArray[np.float64], tuple[NDArray[Any], ...] | None]:
    """Search with several beams a sentence.

    Args:
        decoding, settled, prompt, callables: As in `generate_rows`.

    Returns:
        The best sequences, padded after their end, int64, shape (sequences, tokens); their scores,
        float64, shape (sequences,); and with output_scores the log-probabilities of each step,
        float, shape (sentences * beams, vocabulary).
    """
    search = settled.beam_search(drops_finished=not settled.output_scores)
    vocabulary: int = decoding.model.config.vocab_size
    scores: tuple[NDArray[Any], ...] | None = () if settled.output_scores else None
    found = decoding.first(candidates=search.candidates, sums=search.scores)
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
        found = decoding.next(
            step.ids,
            step.sources,
            rows.reshape(-1),
            sentences=len(search.sentences) != len(sentences),
            sums=step.scores,
        )
