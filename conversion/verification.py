"""`verify`: open a folder in both frameworks, run one batch, and compare everything."""

from __future__ import annotations

import importlib.metadata
import os
import time
import warnings
from typing import Any

import numpy as np

from conversion import run
from conversion.batch import verification_batch
from conversion.compare import BARS, Bars, Row, compare
from conversion.report import Report
from xlm_core.checkpoints import Checkpoint, match_tensors, open_checkpoint
from xlm_core.errors import CheckpointError, XLMWarning
from xlm_core.weights import ARCHITECTURES


def verify(folder: str | os.PathLike[str], *, bars: Bars = BARS) -> Report:
    """Check that PyTorch and TensorFlow compute the same from a checkpoint folder.

    Every hidden state, attention, output and loss is compared, in float64 and in float32. One
    model is held at a time.

    Args:
        folder: With config.json and model.safetensors.
        bars: What must be reached.

    Returns:
        The report; `passed` is the verdict.

    Raises:
        XLMError: If the folder cannot be opened, holds no weights for the head that it names,
            or a framework is not installed.
    """
    start = time.perf_counter()
    source = os.fspath(folder)
    checkpoint = open_checkpoint(source)
    architecture = architecture_of(checkpoint)
    _check_complete(checkpoint, architecture)
    batch = verification_batch(checkpoint.config, architecture)
    for title in run.FAMILIES:
        run.load_family(title)

    rows: list[Row] = []
    seconds: dict[str, Any] = {title: {} for title in run.FAMILIES}
    judge: dict[str, Any] | None = None
    for dtype in ("float64", "float32"):
        tensors = []
        for title, function in (("PyTorch", run.run_torch), ("TensorFlow", run.run_tf)):
            result = function(source, architecture, batch, dtype)
            seconds[title][dtype] = {"open": result.open_seconds, "run": result.run_seconds}
            tensors.append(result.tensors)
        judge = tensors[0] if judge is None else judge
        rows += compare(tensors[0], tensors[1], dtype=dtype, judge=judge, bars=bars)
    seconds["total"] = time.perf_counter() - start
    return Report(
        folder=source,
        architecture=architecture,
        batch=batch.shape,
        languages=batch.languages,
        rows=tuple(rows),
        bars=bars,
        versions=_versions(),
        seconds=seconds,
    )


def architecture_of(checkpoint: Checkpoint) -> str:
    """The class that the folder names; `XLMModel` if it names none.

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


def _check_complete(checkpoint: Checkpoint, architecture: str) -> None:
    """Raise where a head would start fresh: with random values in each, nothing can agree."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XLMWarning)
        match = match_tensors(
            checkpoint.tensors, checkpoint.config, architecture, checkpoint.source
        )
    if match.fresh:
        raise CheckpointError(
            f"{checkpoint.source} names {architecture}, but does not hold "
            f"{', '.join(spec.path for spec in match.fresh)}: there is no head to verify. Correct "
            "architectures in config.json, or save the model with its head."
        )


def _versions() -> dict[str, str]:
    versions = {"numpy": np.__version__}
    for name in ("torch", "tensorflow", "keras", "xlm-models"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # run from a source tree, or installed under another name
    return versions
