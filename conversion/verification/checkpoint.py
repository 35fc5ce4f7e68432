"""`verify`: run one batch through a checkpoint in both frameworks and compare everything."""

from __future__ import annotations

import importlib.metadata
import os
import time
from typing import Any

import numpy as np

from conversion.opening.families import FAMILIES, load_family
from conversion.reports.outputs import BARS, Bars
from conversion.reports.progress import ByteProgress
from conversion.reports.verification import Report
from conversion.verification.batch import verification_batch
from conversion.verification.forward import Participant, compare_forward
from xlm_core import distribution
from xlm_core.checkpoints import Checkpoint, match_checkpoint, open_checkpoint
from xlm_core.errors import CheckpointError
from xlm_core.weights import ARCHITECTURES, ENCODER_DECODER


def verify(
    source: str | os.PathLike[str], *, bars: Bars = BARS, progress: ByteProgress | None = None
) -> Report:
    """Check that PyTorch and TensorFlow compute the same from a checkpoint.

    Every hidden state, attention, output and loss is compared, in float64 and in float32. One
    model is in memory at a time.

    Args:
        source: A checkpoint of any layout, as for `open_checkpoint`.
        bars: The bars to meet.
        progress: Shows what is being done; default: nothing is shown.

    Returns:
        The report; its `passed` is the verdict.

    Raises:
        XLMError: If the checkpoint cannot be opened or lacks weights of the head that it names,
            or if a framework is not installed.
    """
    start = time.perf_counter()
    source, progress = os.fspath(source), progress or ByteProgress(None)
    checkpoint = open_checkpoint(source)
    architecture = architecture_of(checkpoint)
    check_complete(checkpoint, architecture)
    batch = verification_batch(checkpoint.config, architecture)
    for family in FAMILIES:
        load_family(family)

    first, second = (Participant(name, name, source, f"it in {name}") for name in FAMILIES)
    seconds: dict[str, Any] = {}
    rows = compare_forward(
        (first, second), architecture, batch, bars=bars, seconds=seconds, progress=progress
    )
    progress.end()
    seconds["total"] = time.perf_counter() - start
    return Report(
        folder=source,
        architecture=architecture,
        batch=batch.shape,
        languages=batch.languages,
        rows=rows,
        bars=bars,
        versions=versions(),
        seconds=seconds,
        layout=checkpoint.layout,
    )


def architecture_of(checkpoint: Checkpoint) -> str:
    """The class that a checkpoint names; `XLMModel` if it names none.

    Raises:
        CheckpointError: If it names only classes that this library does not have.
    """
    if checkpoint.architecture is not None:
        return checkpoint.architecture
    if checkpoint.config.architectures:
        raise CheckpointError(
            f"{checkpoint.source}: config.json has architectures "
            f"{checkpoint.config.architectures!r}: expected one of "
            f"{[*ARCHITECTURES, ENCODER_DECODER]}, or none."
        )
    return "XLMModel"


def check_complete(checkpoint: Checkpoint, architecture: str) -> None:
    """Refuse a checkpoint that lacks weights of its head.

    Each framework would initialise that head with random values of its own, so the outputs could
    not agree.

    Raises:
        CheckpointError: Naming the tensors that are missing or do not fit.
    """
    match = match_checkpoint(checkpoint, architecture, quiet=True)
    if match.fresh:
        raise CheckpointError(
            f"{checkpoint.source} names {architecture}, but does not hold "
            f"{', '.join(spec.path for spec in match.fresh)}: there is no head to verify. Correct "
            "architectures in config.json, or save the model with its head."
        )


def versions() -> dict[str, str]:
    """Map each installed package that takes part to its version."""
    result = {distribution.NAME: distribution.__version__, "numpy": np.__version__}
    for name in ("torch", "tensorflow", "keras"):
        try:
            result[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return result
