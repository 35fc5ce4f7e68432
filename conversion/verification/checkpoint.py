"""`verify`: open a checkpoint in both frameworks, run one batch, and compare everything."""

from __future__ import annotations

import importlib.metadata
import os
import time
from typing import Any

import numpy as np

from conversion.reports.outputs import BARS, Bars, Row
from conversion.reports.progress import ByteProgress
from conversion.reports.verification import Report
from conversion.verification import run
from conversion.verification.batch import verification_batch
from conversion.verification.outputs import compare
from xlm_core.checkpoints import Checkpoint, match_checkpoint, open_checkpoint
from xlm_core.errors import CheckpointError
from xlm_core.weights import ARCHITECTURES, ENCODER_DECODER

ENCODER_ONLY = (
    f"an encoder-decoder ({ENCODER_DECODER}): its encoder was run, with the encoder's output "
    "layer; no class runs the decoder yet"
)


def verify(
    source: str | os.PathLike[str], *, bars: Bars = BARS, progress: ByteProgress | None = None
) -> Report:
    """Check that PyTorch and TensorFlow compute the same from a checkpoint.

    Every hidden state, attention, output and loss is compared, in float64 and in float32. One
    model is held at a time.

    Args:
        source: Of any layout, as of `open_checkpoint`. Of an encoder-decoder, the encoder is run.
        bars: What must be reached.
        progress: Is told what is being done.

    Returns:
        The report; `passed` is the verdict.

    Raises:
        XLMError: If the checkpoint cannot be opened, holds no weights for the head that it names,
            or a framework is not installed.
    """
    start = time.perf_counter()
    source, progress = os.fspath(source), progress or ByteProgress(None)
    checkpoint = open_checkpoint(source)
    notes = (ENCODER_ONLY,) if checkpoint.as_model() is not checkpoint else ()
    checkpoint = checkpoint.as_model()
    architecture = architecture_of(checkpoint)
    check_complete(checkpoint, architecture)
    batch = verification_batch(checkpoint.config, architecture)
    for title in run.FAMILIES:
        run.load_family(title)

    rows: list[Row] = []
    seconds: dict[str, Any] = {title: {} for title in run.FAMILIES}
    judge: dict[str, Any] | None = None
    for dtype in ("float64", "float32"):
        tensors = []
        for title in run.FAMILIES:
            progress.say(f"running it in {title}, {dtype}")
            result = run.run_family(title, source, architecture, batch, dtype)
            seconds[title][dtype] = {"open": result.open_seconds, "run": result.run_seconds}
            tensors.append(result.tensors)
        judge = tensors[0] if judge is None else judge
        rows += compare(tensors[0], tensors[1], dtype=dtype, judge=judge, bars=bars)
    progress.end()
    seconds["total"] = time.perf_counter() - start
    return Report(
        folder=source,
        architecture=architecture,
        batch=batch.shape,
        languages=batch.languages,
        rows=tuple(rows),
        bars=bars,
        versions=versions(),
        seconds=seconds,
        layout=checkpoint.layout,
        notes=notes,
    )


def architecture_of(checkpoint: Checkpoint) -> str:
    """The class that the checkpoint names; `XLMModel` if it names none.

    Raises:
        CheckpointError: If it names only classes that this library does not have.
    """
    if checkpoint.architecture is not None:
        return checkpoint.architecture
    if checkpoint.config.architectures:
        raise CheckpointError(
            f"{checkpoint.source}: config.json has architectures "
            f"{checkpoint.config.architectures!r}: expected one of {list(ARCHITECTURES)}, or none."
        )
    return "XLMModel"


def check_complete(checkpoint: Checkpoint, architecture: str) -> None:
    """Raise where a head would start fresh: with random values in each, nothing can agree.

    Raises:
        CheckpointError: With the tensors that are not there, or do not fit.
    """
    match = match_checkpoint(checkpoint, architecture, quiet=True)
    if match.fresh:
        raise CheckpointError(
            f"{checkpoint.source} names {architecture}, but does not hold "
            f"{', '.join(spec.path for spec in match.fresh)}: there is no head to verify. Correct "
            "architectures in config.json, or save the model with its head."
        )


def versions() -> dict[str, str]:
    """Package -> version, of what is installed and takes part."""
    result = {"numpy": np.__version__}
    for name in ("torch", "tensorflow", "keras", "xlm-models"):
        try:
            result[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # run from a source tree, or installed under another name
    return result
