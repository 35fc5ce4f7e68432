"""The figures of a model in training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

from xlm_core.errors import TrainingError
from xlm_core.objectives import Batch, Task
from xlm_core.training.engine import Engine
from xlm_core.training.figures import Tally, figures_of


def evaluate(
    engine: Engine,
    splits: Mapping[str, Iterable[tuple[Task, Iterable[Batch]]]],
    words_in: Callable[[Batch], int],
) -> dict[str, float]:
    """Perplexities and accuracies on all splits; every rank calls it, all get the same.

    Args:
        engine: What is evaluated.
        splits: "valid" or "test", to the batches of each task.
        words_in: How many labels of a batch end a word, for causal models.

    Raises:
        TrainingError: If a loss is NaN or infinite.
    """
    figures: dict[str, float] = {}
    for split, tasks in splits.items():
        tallies: dict[Task, Tally] = {}
        for task, batches in tasks:
            words = [0]

            def counted(of: Iterable[Batch], words: list[int] = words) -> Iterator[Batch]:
                for batch in of:
                    words[0] += words_in(batch)
                    yield batch

            causal = task.objective == "clm"
            tally = tallies[task] = engine.evaluate(counted(batches) if causal else batches)
            tally.words = words[0]
            check_finite(split, task, tally.loss, engine.update)
        figures |= figures_of(split, tallies)
    return figures


def check_finite(split: str, task: Task, loss: float, update: int) -> None:
    """Raise `TrainingError` if the loss of an evaluation is NaN or infinite: weights are bad."""
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss of {task.name} on {split} is {loss}, evaluated after {update} updates. The "
            "learning rate may be too high, or the warm-up too short."
        )
