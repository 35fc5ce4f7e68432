"""The figures of a model in training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

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
        figures |= figures_of(split, tallies)
    return figures
