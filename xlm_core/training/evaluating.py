"""The figures of a model in training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from xlm_core.errors import TrainingError
from xlm_core.objectives import Batch, Task
from xlm_core.objectives.batch import IGNORED
from xlm_core.training.engine import Engine
from xlm_core.training.figures import Tally, figures_of


def evaluate(
    engine: Engine,
    splits: Mapping[str, Iterable[tuple[Task, Iterable[Batch]]]],
    words_in: Callable[[Batch], int],
    eos: int,
) -> dict[str, float]:
    """Perplexities and accuracies on all splits; every rank calls it, all get the same.

    Args:
        engine: What is evaluated.
        splits: "valid" or "test", to the batches of each task.
        words_in, eos: As in `tally_of`.

    Raises:
        TrainingError: If a loss is NaN or infinite.
    """
    figures: dict[str, float] = {}
    for split, tasks in splits.items():
        tallies: dict[Task, Tally] = {}
        for task, batches in tasks:
            tally = tally_of(task, batches, engine.evaluate, words_in, eos)
            tallies[task] = tally
            check_finite(split, task, tally.loss, engine.update)
        figures |= figures_of(split, tallies)
    return figures


def tally_of(
    task: Task,
    batches: Iterable[Batch],
    evaluate: Callable[[Iterable[Batch]], Tally],
    words_in: Callable[[Batch], int] | None,
    eos: int,
) -> Tally:
    """What `evaluate` sums over the batches of a task; of a causal model with the number of words.

    The `</s>` that fill the beginning of a text, to a whole number of rows, are no words of it:
    their losses are summed once more by themselves.

    Args:
        task: What is evaluated.
        batches: Of one text, from its beginning.
        evaluate: Sums over batches.
        words_in: How many labels of a batch end a word; None: that is not counted.
        eos: The id of `</s>`.
    """
    if task.objective != "clm" or words_in is None:
        return evaluate(batches)
    words, filling = 0, []

    def counted() -> Iterator[Batch]:
        nonlocal words
        for place, batch in enumerate(batches):
            # Behind nothing but `</s>` one more of them, which somebody's text has nowhere else.
            begins = np.logical_and.accumulate(batch.input_ids == eos, axis=1)
            fills = begins & (batch.labels == eos)
            if place or not fills.any():
                words += words_in(batch)
            else:
                words += words_in(replace(batch, labels=np.where(fills, IGNORED, batch.labels)))
                filling.append(replace(batch, labels=np.where(fills, batch.labels, IGNORED)))
            yield batch

    tally = evaluate(counted())
    tally.words = words
    if filling:
        tally.filling = evaluate(filling).loss
    return tally


def check_finite(split: str, task: Task, loss: float, update: int) -> None:
    """Raise `TrainingError` if the loss of an evaluation is NaN or infinite: weights are bad."""
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss of {task.name} on {split} is {loss}, evaluated after {update} updates. The "
            "learning rate may be too high, or the warm-up too short."
        )
