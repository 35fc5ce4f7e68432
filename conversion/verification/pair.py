"""`verify_pair`: compare two checkpoints of any layouts, their tensors and their outputs."""

from __future__ import annotations

import math
import os
import time
from dataclasses import replace
from typing import Any

from conversion.opening.families import loadable
from conversion.reports.outputs import BARS, Bars
from conversion.reports.pair import Forward, PairReport, Side
from conversion.reports.progress import ByteProgress
from conversion.reports.tensors import ABSENT, ROUNDED, TensorRow
from conversion.verification.batch import verification_batch
from conversion.verification.checkpoint import architecture_of, versions
from conversion.verification.forward import Participant, compare_forward
from conversion.verification.tensors import compare_weights
from xlm_core.checkpoints import Checkpoint, open_checkpoint
from xlm_core.checkpoints.fitting import Fit, fit_checkpoint
from xlm_core.config import differing_fields
from xlm_core.errors import XLMError

Checkpoints = tuple[Checkpoint, Checkpoint]


def verify_pair(
    first: str | os.PathLike[str],
    second: str | os.PathLike[str],
    *,
    bars: Bars = BARS,
    progress: ByteProgress | None = None,
) -> PairReport:
    """Check that two checkpoints are the same model.

    Every tensor is compared bit by bit, under the names and in the orientation of the weight
    table. Then comes the forward proof: one batch runs through both models, in float64 and in
    float32, A in PyTorch and B in TensorFlow where both frameworks are installed, else both in
    the one that is. Without any framework the verdict rests on the tensors alone, and the report
    says so.

    Args:
        first, second: A and B, each of any layout, as for `open_checkpoint`.
        bars: The bars that the forward proof must meet.
        progress: Shows what is being done; default: nothing is shown.

    Raises:
        XLMError: If one of them cannot be opened, or names only classes that are not known.
    """
    start = time.perf_counter()
    progress = progress or ByteProgress(None)
    checkpoints = (open_checkpoint(first), open_checkpoint(second))
    a, b = checkpoints
    fits = (fit_checkpoint(a, architecture_of(a)), fit_checkpoint(b, architecture_of(b)))
    seconds: dict[str, Any] = {"open": time.perf_counter() - start}
    began = time.perf_counter()
    tensors = compare_weights(fits, progress)
    sides = (_side(a, fits[0]), _side(b, fits[1]))
    seconds["tensors"] = time.perf_counter() - began

    reason = _not_comparable(fits, tensors, sides)
    families, missing = loadable() if reason is None else ((), ())
    forward = Forward(left_out=reason)
    if reason is None and families:
        forward = _forward(checkpoints, (families[0], families[-1]), bars, seconds, progress)
        if _only_rounded(tensors):
            forward = _without_bars(forward)
    elif reason is None:
        forward = Forward(left_out=" ".join(missing))
    progress.end()
    seconds["total"] = time.perf_counter() - start
    return PairReport(
        sides=sides,
        fields={
            name: (getattr(a.config, name), getattr(b.config, name))
            for name in differing_fields(a.config, b.config)
        },
        tensors=tensors,
        forward=forward,
        not_proven=_not_proven(forward, families, missing),
        notes=tuple(_notes(checkpoints)),
        bars=bars,
        versions=versions(),
        seconds=seconds,
    )


def _side(checkpoint: Checkpoint, fit: Fit) -> Side:
    ties = [
        f"{path} and {other} are tied, but the file holds different values"
        for path, other in fit.differing_ties()
    ]
    return Side(
        source=checkpoint.source,
        layout=checkpoint.layout,
        architecture=fit.architecture,
        tensors=len(checkpoint.tensors),
        nbytes=sum({t.place: t.nbytes for t in checkpoint.tensors.values()}.values()),
        dtypes=tuple(sorted({tensor.dtype for tensor in checkpoint.tensors.values()})),
        problems=(*fit.problems(), *ties),
    )


def _not_comparable(
    fits: tuple[Fit, Fit], tensors: tuple[TensorRow, ...], sides: tuple[Side, Side]
) -> str | None:
    """Why the forward proof makes no sense for these two checkpoints; None if it does."""
    if fits[0].architecture != fits[1].architecture:
        return "they are of different classes"
    for letter, side in zip("AB", sides, strict=True):
        if side.problems:
            return f"{letter} does not fit its own configuration"
    if any(row.result == ABSENT or row.shapes[0] != row.shapes[1] for row in tensors):
        return "they have different tensors, or tensors of different shapes"
    return None


def _forward(
    checkpoints: Checkpoints,
    families: tuple[str, str],
    bars: Bars,
    seconds: dict[str, Any],
    progress: ByteProgress,
) -> Forward:
    architecture = architecture_of(checkpoints[0])
    titles = (f"A in {families[0]}", f"B in {families[1]}")
    a, b = (
        Participant(title, family, model.source, title)
        for title, family, model in zip(titles, families, checkpoints, strict=True)
    )
    try:
        batch = verification_batch(checkpoints[0].config, architecture)
        rows = compare_forward(
            (a, b), architecture, batch, bars=bars, seconds=seconds, progress=progress
        )
    except XLMError as error:
        return Forward(titles, failure=" ".join(str(error).split()))
    return Forward(titles, rows, batch.shape, batch.languages)


def _only_rounded(tensors: tuple[TensorRow, ...]) -> bool:
    """Whether values differ, and only because one file holds them rounded."""
    differing = [row for row in tensors if row.differing]
    return bool(differing) and all(row.result == ROUNDED for row in differing)


def _without_bars(forward: Forward) -> Forward:
    """The forward proof of weights that rounding has changed: what it costs, with no bar."""
    rows = tuple(
        replace(row, bar=None, problem=None)
        if math.isfinite(row.difference) or row.index_equal is not None
        else row
        for row in forward.rows
    )
    return replace(forward, rows=rows, has_bars=False)


def _not_proven(
    forward: Forward, families: tuple[str, ...], missing: tuple[str, ...]
) -> tuple[str, ...]:
    """What the report leaves unproven, in words.

    Args:
        forward: The forward proof.
        families: The families that load.
        missing: Why the others do not.
    """
    if not forward.has_bars:
        why = "the weights are rounded in one of the files. Verify each by itself for that"
        return (f"that both frameworks compute the same: {why}",)
    if forward.left_out is not None:
        return (f"that both compute the same: {forward.left_out}",)
    if len(families) == 1:
        return (f"that the two frameworks compute the same, both ran in one: {' '.join(missing)}",)
    return ()


def _notes(checkpoints: Checkpoints) -> list[str]:
    notes = []
    for letter, checkpoint in zip("AB", checkpoints, strict=True):
        notes += [f"{letter} holds beside its tensors: {what}" for what in checkpoint.dropped]
    return notes
