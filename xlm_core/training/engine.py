"""What the loop of a run asks of a framework: updates of the weights, evaluation, checkpoints."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from xlm_core.errors import ConfigError, warn
from xlm_core.objectives import Batch
from xlm_core.training.figures import Tally

# A loss scale below this (it halves with every overflow) says that gradients are never finite.
LOWEST_LOSS_SCALE = 2.0**-20


@dataclass(frozen=True)
class Update:
    """One update of the weights.

    Attributes:
        number: Counted from 0.
        losses: Mean loss over the labels of all ranks, of each task that took part, by its name.
        predicted, tokens: Labels and tokens of all ranks.
        learning_rate: That it was made with.
        gradient_norm: Before clipping; None: gradients are not clipped.
    """

    number: int
    losses: dict[str, float]
    predicted: int
    tokens: int
    learning_rate: float
    gradient_norm: float | None


class Engine(Protocol):
    """A model in training, on one process or several: `TrainingRun` of either family.

    Every rank makes the same calls in the same order.
    """

    update: int
    """Number of updates made."""
    tokens: int
    """Tokens read so far, by all ranks."""
    updates_before: int
    """Those of a run of the original that this one goes on from: the learning rate counts them."""
    notes: tuple[str, ...]
    """What is to be said of how the run begins."""

    @property
    def ranks(self) -> int:
        """Number of processes or devices that share a global batch."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and logs."""

    def updates(self, until: int | None = None) -> Iterator[Update]:
        """Make one update for each item taken, until there are `until` in all.

        Raises:
            TrainingError: If a loss is NaN or infinite; the weights are those of before.
        """

    def go_to(self, update: int) -> None:
        """Make update `update` next; weights stay."""

    def of_all_ranks(self, value: float) -> list[float]:
        """The value that each rank calls this with, in the order of ranks, on all of them."""

    def lost_process(self, error: BaseException) -> str | None:
        """What an error says of another process that ended; None: it is about something else."""

    def evaluate(self, batches: Iterable[Batch]) -> Tally:
        """Sums over batches without dropout: every rank takes its turn, all get the whole."""

    def save_model(self, folder: str | os.PathLike[str]) -> None:
        """Write the model alone, as `save_pretrained` does."""

    def save(
        self,
        folder: str | os.PathLike[str],
        state: Mapping[str, Any] | None = None,
        *,
        add_to_model: Callable[[Path], object] | None = None,
    ) -> None:
        """Write a folder from which the run goes on exactly: whole, or not at all.

        Args:
            folder: Replaced if it exists.
            state: What the caller wants back, as JSON holds it.
            add_to_model: Writes into the model's folder what belongs beside it, on the main rank.
        """

    def resume(self, folder: str | os.PathLike[str]) -> dict[str, Any]:
        """Go on from what `save` wrote.

        Returns:
            The caller's state.

        Raises:
            CheckpointError: If it is damaged, or of another run.
        """


def text_of_ended_process(why: str) -> str:
    """What to say where another process of a run ended.

    Args:
        why: What a framework says of it.
    """
    return (
        f"another process of this run ended, or answers no more ({why:.200}): its own error says "
        "why; without one, it was killed, as where memory runs out."
    )


def check_accumulate(accumulate: object) -> None:
    """Raise `ConfigError` unless it is a number of global batches that can make one update."""
    if type(accumulate) is not int or accumulate < 1:
        raise ConfigError(f"accumulate is {accumulate!r:.80}: expected a positive whole number.")


def warn_of_other_ranks(saved: object, ranks: int) -> None:
    """Warn if a checkpoint was saved by another number of ranks than go on from it."""
    if saved != ranks:
        warn(
            f"the run was saved by {saved} ranks and goes on with {ranks}: its batches are the "
            "same, and dropout is drawn otherwise."
        )


def check_learning_rate(rate: object) -> None:
    """Raise `ConfigError` unless it is a learning rate by updates, or None."""
    if rate is not None and not callable(getattr(rate, "at", None)):
        raise ConfigError(
            f"learning_rate is {rate!r:.80}: expected an InverseSquareRoot; one that stays is the "
            "optimizer's own."
        )


def check_clip_grad_norm(largest: object) -> None:
    """Raise `ConfigError` unless gradients can be clipped to this norm; 0 is any norm."""
    if not isinstance(largest, (int, float)) or math.isnan(largest) or largest < 0:
        raise ConfigError(
            f"clip_grad_norm is {largest!r:.80}: expected the largest norm, a number from 0 (any "
            "norm)."
        )
