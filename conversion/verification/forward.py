"""One batch through two models, in float64 and in float32, compared tensor by tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from conversion.reports.outputs import Bars, Row
from conversion.reports.progress import ByteProgress
from conversion.verification.batch import Array, Batch
from conversion.verification.outputs import compare
from conversion.verification.run import run_family

# float64 first: its outputs decide which differences of float32 are near-ties.
DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class Participant:
    """A checkpoint that is run in one framework.

    Attributes:
        title: Its name in the report, such as "PyTorch" or "A in PyTorch".
        family: The framework, a key of `FAMILIES`.
        source: The checkpoint, as for `open_checkpoint`.
        announcement: What the progress line calls it, such as "it in PyTorch".
    """

    title: str
    family: str
    source: str
    announcement: str


def compare_forward(
    participants: tuple[Participant, Participant],
    architecture: str,
    batch: Batch,
    *,
    bars: Bars,
    seconds: dict[str, Any],
    progress: ByteProgress,
) -> tuple[Row, ...]:
    """Run a batch through two models and compare everything that they return.

    One model is in memory at a time.

    Args:
        participants: The two models.
        architecture: The class to open both in.
        batch: What to run.
        bars: The bars to meet.
        seconds: Receives, by title and dtype, the time to open the checkpoint and to run it, as
            in seconds["PyTorch"]["float64"]["open"].
        progress: Shows which model runs.

    Returns:
        The comparisons, float64 first, each dtype in order of computation.

    Raises:
        XLMError: If one of them cannot be opened or run.
    """
    titles = (participants[0].title, participants[1].title)
    rows: list[Row] = []
    judge: dict[str, Array] | None = None
    for dtype in DTYPES:
        first, second = (
            _run(participant, architecture, batch, dtype, seconds, progress)
            for participant in participants
        )
        judge = first if judge is None else judge
        rows += compare(first, second, dtype=dtype, judge=judge, bars=bars, titles=titles)
    return tuple(rows)


def _run(
    participant: Participant,
    architecture: str,
    batch: Batch,
    dtype: str,
    seconds: dict[str, Any],
    progress: ByteProgress,
) -> dict[str, Array]:
    progress.say(f"running {participant.announcement}, {dtype}")
    result = run_family(participant.family, participant.source, architecture, batch, dtype)
    spent = {"open": result.open_seconds, "run": result.run_seconds}
    seconds.setdefault(participant.title, {})[dtype] = spent
    return result.tensors
