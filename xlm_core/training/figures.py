"""The figures of an evaluation, and what they decide.

Source: xlm/evaluation/evaluator.py and end_epoch in xlm/trainer.py of the original.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xlm_core.objectives import Task


def figure_name(split: str, task: Task, kind: str) -> str:
    """The original's name of a figure, such as "valid_en_mlm_ppl".

    Args:
        split: "valid" or "test".
        task: What was evaluated.
        kind: "ppl", "acc", "word_ppl" or "bleu".
    """
    masked = task.objective in ("mlm", "tlm")
    languages = ("_" if masked else "-").join(task.languages)
    return f"{split}_{languages}_{'mlm' if masked else task.objective}_{kind}"


@dataclass
class Tally:
    """Sums over the batches of an evaluation.

    Attributes:
        loss: Of all labels.
        predicted: Number of labels.
        correct: How many of them had the highest logit.
        words: How many of them end a word or a sentence; None: that was not counted.
        filling: What of `loss` is of labels that are no words of the text.
    """

    loss: float = 0.0
    predicted: int = 0
    correct: int = 0
    words: int | None = None
    filling: float = 0.0

    def add(self, loss: float, predicted: int, correct: int) -> None:
        """Add the sums of one batch."""
        self.loss += loss
        self.predicted += predicted
        self.correct += correct

    @property
    def perplexity(self) -> float:
        """exp of the mean loss; infinity beyond what a float holds."""
        return _perplexity(self.loss, self.predicted)

    @property
    def word_perplexity(self) -> float:
        """exp of the loss a word, which can be compared between vocabularies."""
        return _perplexity(self.loss - self.filling, self.words or 0)

    @property
    def accuracy(self) -> float:
        """Share of the labels that were predicted, in percent."""
        return 100 * self.correct / self.predicted if self.predicted else math.nan


def _perplexity(loss: float, number: int) -> float:
    if not number:
        return math.nan
    try:
        return math.exp(loss / number)
    except OverflowError:
        return math.inf


def figures_of(split: str, tallies: Mapping[Task, Tally]) -> dict[str, float]:
    """Perplexity and accuracy of each task, and the means over languages.

    Of causal models, the perplexity per word too, where words were counted.

    Args:
        split: "valid" or "test".
        tallies: Of each task.
    """
    figures: dict[str, float] = {}
    for task, tally in tallies.items():
        figures[figure_name(split, task, "ppl")] = tally.perplexity
        figures[figure_name(split, task, "acc")] = tally.accuracy
        if task.objective == "clm" and tally.words is not None:
            figures[figure_name(split, task, "word_ppl")] = tally.word_perplexity
    for objective in ("clm", "mlm"):
        alone = [task for task in tallies if task.objective == objective and task.is_stream]
        for kind in ("ppl", "acc") if alone else ():
            values = [figures[figure_name(split, task, kind)] for task in alone]
            figures[f"{split}_{objective}_{kind}"] = sum(values) / len(values)
    return figures


class Stopping:
    """Whether a run goes on: it stops after so many evaluations without a better one.

    Args:
        criterion: Name of a figure; with a leading underscore, less is better, as it is for
            perplexities anyhow. None: a run never stops early.
        patience: Evaluations without a better one that are borne.

    Attributes:
        best: The best figure so far; None: there was none.
        waited: Evaluations since.
    """

    def __init__(self, criterion: str | None, patience: int = 10) -> None:
        self.figure = None if criterion is None else criterion.lstrip("_")
        self.less_is_better = criterion is not None and (
            criterion.startswith("_") or criterion.endswith("_ppl")
        )
        self.patience = patience
        self.best: float | None = None
        self.waited = 0

    def is_better(self, figures: Mapping[str, float]) -> bool:
        """Take the figures of an evaluation; returns whether they are the best so far."""
        if self.figure is None:
            return False
        value = figures[self.figure]
        better = not math.isnan(value) and (
            self.best is None or (value < self.best if self.less_is_better else value > self.best)
        )
        if better:
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return better

    @property
    def is_over(self) -> bool:
        """Whether patience has ended."""
        return self.figure is not None and self.waited > self.patience

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"best": self.best, "waited": self.waited}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        self.best, self.waited = state["best"], state["waited"]
