"""Greedy search and sampling: each row of the batch is a sequence."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xlm_core.generation import Settled, uniform_numbers
from xlm_torch.generation.callables import Callables
from xlm_torch.generation.decoding import CachedDecoding, MaskedDecoding
from xlm_torch.generation.logits import ScoreRules, sharpen
from xlm_torch.generation.sampling import best_tokens, sample


def generate_rows(
    decoding: CachedDecoding | MaskedDecoding,
    settled: Settled,
    prompt: Tensor,
    callables: Callables,
) -> tuple[NDArray[np.int64], tuple[Tensor, ...] | None]:
    """Take the best token of each row, or draw one, until every row is finished.

    Args:
        decoding: Gives the logits.
        settled: What to do.
        prompt: int64, shape (sentences, tokens): what callables see before what is generated.
        callables: What looks on.

    Returns:
        What rows got, padded after their end, int64, shape (rows, tokens), and with output_scores
        the scores of each step, float, shape (rows, vocabulary).
    """
    progress = settled.progress(drops_finished=not (settled.output_scores or callables.look_on))
    rules = ScoreRules(settled, decoding.history)
    steps = int(settled.limits.max())
    logits = decoding.first(steps)
    rows = settled.rows(np.arange(settled.sentences))
    if settled.copies > 1:
        copies = torch.from_numpy(rows).to(logits.device)
        decoding.select(copies)
        logits, prompt = logits.index_select(0, copies), prompt.index_select(0, copies)
    numbers = None
    if settled.seed is not None:
        uniform = uniform_numbers(settled.seed, len(rows), steps)
        numbers = torch.from_numpy(uniform).to(logits.device)
    callables.put(prompt)
    scores: tuple[Tensor, ...] | None = () if settled.output_scores else None
    for step in range(steps):
        changed = rules(in_full(logits))
        if numbers is None:
            chosen = best_tokens(changed)
        else:
            changed = sharpen(changed.double(), settled)
            drawn = numbers[torch.from_numpy(progress.rows), step]
            chosen = sample(changed, drawn).cpu().numpy()
        if scores is not None:
            scores = (*scores, changed)
        ids, going_on = progress.step(chosen)
        if callables.look_on:
            given = torch.from_numpy(ids).to(prompt.device)
            prompt = torch.cat((prompt, given[:, None]), dim=1)
            callables.put(given)
            progress.stop(callables.stop(prompt, scores).cpu().numpy(), ids)
        if progress.done:
            break
        kept = None if going_on is None else torch.from_numpy(going_on).to(logits.device)
        new = torch.from_numpy(ids).to(logits.device)
        if kept is not None:
            decoding.select(kept)
        rules.append(new, kept)
        logits = decoding.next(new)
    callables.end()
    return progress.generated(), scores


def in_full(logits: Tensor) -> Tensor:
    """In float32 at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
