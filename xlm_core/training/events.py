"""What happens in a run, as its logs hear of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from xlm_core.training.engine import Update


@dataclass(frozen=True)
class Begun:
    """A run begins or goes on.

    Attributes:
        update, tokens: Made and read before.
        resumed: The checkpoint that it goes on from; None: it begins.
        entropies: Of each task's labels in nats, if words were drawn by their counts alone.
    """

    update: int
    tokens: int
    resumed: Path | None = None
    entropies: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Updated:
    """The weights were updated.

    Attributes:
        update: What the engine says of it.
        tokens: Read so far, by all ranks.
        share: How much of the run is done, from 0 to 1.
        seconds: That the update took.
    """

    update: Update
    tokens: int
    share: float
    seconds: float


@dataclass(frozen=True)
class Logged:
    """Means over the updates since the last line of the log.

    Attributes:
        update, tokens: Made and read so far, by all ranks.
        seconds: Since the run began, without what it was interrupted for.
        losses: By task: the mean over its updates.
        learning_rate: Of the last update.
        gradient_norm: The mean, before clipping; None: gradients are not clipped.
        tokens_per_second: Of the updates alone, without evaluations and checkpoints.
        passes: Over each task's text, so far.
    """

    update: int
    tokens: int
    seconds: float
    losses: Mapping[str, float]
    learning_rate: float
    gradient_norm: float | None
    tokens_per_second: float
    passes: Mapping[str, float]


@dataclass(frozen=True)
class Evaluated:
    """The model was evaluated.

    Attributes:
        update, tokens, seconds: As in `Logged`.
        figures: By name.
        is_best: Whether the criterion was never better.
    """

    update: int
    tokens: int
    seconds: float
    figures: Mapping[str, float]
    is_best: bool = False


@dataclass(frozen=True)
class Saved:
    """A checkpoint or a model was written.

    Attributes:
        path: Its folder.
        update: After so many updates.
    """

    path: Path
    update: int


@dataclass(frozen=True)
class Warned:
    """Something is probably not as intended."""

    text: str


@dataclass(frozen=True)
class Failed:
    """A run ended by an error.

    Attributes:
        text: Its message.
        update, tokens: Made and read so far.
    """

    text: str
    update: int
    tokens: int


@dataclass(frozen=True)
class Ended:
    """A run ended.

    Attributes:
        reason: "done", "early" (the criterion got no better) or "interrupted".
        update, tokens, seconds: As in `Logged`.
    """

    reason: str
    update: int
    tokens: int
    seconds: float


Event: TypeAlias = Begun | Updated | Logged | Evaluated | Saved | Warned | Failed | Ended
Listener: TypeAlias = Callable[[Event], None]
