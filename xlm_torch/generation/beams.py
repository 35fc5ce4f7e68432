"""Beam search: the tensors of a step; what goes on is decided by `xlm_core.generation.beams`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xlm_core.generation import BeamSearch, Settled
from xlm_torch.generation.callables import Callables
from xlm_torch.generation.decoding import CachedDecoding, MaskedDecoding
from xlm_torch.generation.greedy import in_full
from xlm_torch.generation.logits import ScoreRules


def generate_beams(
    decoding: CachedDecoding | MaskedDecoding,
    settled: Settled,
    prompt: Tensor,
    callables: Callables,
) -> tuple[NDArray[np.int64], NDArray[np.float64], tuple[Tensor, ...] | None]:
    """Search with several beams a sentence.

    Args:
        decoding, settled, prompt, callables: As in `generate_rows`.

    Returns:
        The best sequences, padded after their end, int64, shape (sequences, tokens); their scores,
        float64, shape (sequences,); and with output_scores the log-probabilities of each step,
        float, shape (sentences * beams, vocabulary).
    """
    search = settled.beam_search(drops_finished=not settled.output_scores)
    rules = ScoreRules(settled, decoding.history)
    logits = decoding.first(int(settled.limits.max()))
    copies = torch.from_numpy(settled.rows(np.arange(settled.sentences))).to(logits.device)
    decoding.select(copies)
    logits = logits.index_select(0, copies)
    scores: tuple[Tensor, ...] | None = () if settled.output_scores else None
    while True:
        changed = rules(in_full(logits).log_softmax(-1))
        if scores is not None:
            scores = (*scores, changed)
        sentences = search.sentences
        best, indices = _candidates(changed, search)

        def stops(generated: NDArray[np.int64], scores: object = scores) -> NDArray[np.bool_]:
            of_candidates = np.repeat(search.sentences, search.candidates)
            begun = prompt[torch.from_numpy(of_candidates).to(prompt.device)]
            ids = torch.cat((begun, torch.from_numpy(generated).to(prompt.device)), dim=1)
            return callables.stop(ids, scores).cpu().numpy()

        step = search.step(best, indices, changed.shape[1], stops if callables.criteria else None)
        if search.done:
            break
        new, sources = (
            torch.from_numpy(each).to(logits.device) for each in (step.ids, step.sources)
        )
        decoding.select(sources, sentences=len(search.sentences) != len(sentences))
        rules.append(new, sources)
        logits = decoding.next(new)
    sequences, reached = search.finish()
    return sequences, reached, scores


def _candidates(
    scores: Tensor, search: BeamSearch
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """The best candidates of each sentence: their sums, and beam * vocabulary + token."""
    sums = torch.from_numpy(search.scores).to(scores.device, scores.dtype)
    totals = (scores + sums[:, None]).view(len(search.sentences), -1)
    best, indices = totals.topk(search.candidates)
    return best.cpu().numpy(), indices.cpu().numpy()
