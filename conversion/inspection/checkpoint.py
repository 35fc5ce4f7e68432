"""`inspect`: describe a checkpoint of any layout, and report what is missing or extra in it."""

from __future__ import annotations

import os
import time

import numpy as np

from conversion.inspection.files import files_of, shared_bytes
from conversion.inspection.values import values_of
from conversion.reports.inspection import Inspection, OriginalData, Tensor, Values
from conversion.reports.progress import ByteProgress
from xlm_core.checkpoints.fitting import Fit, class_of, fit_checkpoint
from xlm_core.checkpoints.layouts import LAYOUTS, why_not
from xlm_core.checkpoints.opening import Checkpoint, open_checkpoint
from xlm_core.containers.comparing import bits
from xlm_core.containers.lazy_tensors import DTYPES


def inspect(
    source: str | os.PathLike[str], *, values: bool = False, progress: ByteProgress | None = None
) -> Inspection:
    """Describe a checkpoint, and report what is missing or extra in it without raising.

    Args:
        source: A checkpoint of any layout, as for `open_checkpoint`.
        values: Whether to read all tensors and describe their values; else nothing large is read.
        progress: Shows how many bytes are read; default: nothing is shown.

    Raises:
        XLMError: If it cannot be opened at all.
    """
    start = time.perf_counter()
    progress = progress or ByteProgress(None)
    checkpoint = open_checkpoint(source)
    architecture = class_of(checkpoint)
    fit = fit_checkpoint(checkpoint, architecture)
    seconds = {"open": time.perf_counter() - start}

    described: list[Values | None] = [None] * len(checkpoint.tensors)
    if values:
        began = time.perf_counter()
        read = [*checkpoint.tensors.values()]
        progress.begin("reading", sum(tensor.nbytes for tensor in read))
        described = [*values_of(read, progress.add)]
        ties = fit.differing_ties()
        progress.end()
        seconds["values"] = time.perf_counter() - began
    else:
        ties = [pair for pair in fit.repeated if _begin_differently(fit, pair)]
    owned = [spec for spec in fit.specs if spec.tied_to is None]
    # Without buffers, which no layout is asked to hold: their whole numbers have a place in none.
    in_file = {tensor.dtype for _, tensor in fit.placed.values()}
    parameters = sum(spec.size for spec in owned)
    seconds["total"] = time.perf_counter() - start
    return Inspection(
        source=os.fspath(source),
        layout=checkpoint.layout,
        folder=os.fspath(checkpoint.folder),
        files=files_of(checkpoint),
        architecture=architecture,
        config=checkpoint.config,
        tensors=_tensors(checkpoint, fit, described),
        parameters=parameters,
        trainable=sum(spec.size for spec in owned if spec.trainable),
        memory={"float32": 4 * parameters} | _memory_as_stored(fit, in_file),
        missing={spec.path: spec.shape for spec in fit.missing},
        unexpected=fit.unexpected,
        misshapen=fit.misshapen,
        left_out=fit.left_out,
        differing_ties=tuple(ties),
        dropped=checkpoint.dropped,
        original=_original_data(checkpoint),
        why_not={
            name: why_not(layout, checkpoint.config, architecture, in_file)
            for name, layout in LAYOUTS.items()
        },
        notes=_notes(checkpoint, fit, architecture, whole=values),
        seconds=seconds,
    )


def _begin_differently(fit: Fit, pair: tuple[str, str]) -> bool:
    """Whether two tied tensors differ in their first block, which is quick to read."""
    first, second = (fit.placed[path][1] for path in pair)
    if first.place == second.place:
        return False
    if first.shape != second.shape or first.dtype != second.dtype:
        return True
    return first.size > 0 and not np.array_equal(
        bits(next(first.blocks())), bits(next(second.blocks()))
    )


def _memory_as_stored(fit: Fit, in_file: set[str]) -> dict[str, int]:
    if len(in_file) == 1:
        (dtype,) = in_file
        count = sum(spec.size for spec in fit.specs if spec.tied_to is None)
        return {dtype: DTYPES[dtype].itemsize * count}
    return {}


def _tensors(
    checkpoint: Checkpoint, fit: Fit, described: list[Values | None]
) -> tuple[Tensor, ...]:
    notes = dict.fromkeys(fit.unexpected, "unexpected")
    notes |= dict.fromkeys(fit.left_out, "of another head")
    notes |= dict.fromkeys(fit.ignored, "without meaning for the model")
    tied = {spec.path: spec.tied_to for spec in fit.specs if spec.tied_to is not None}
    for path, (name, _) in fit.placed.items():
        if path in fit.misshapen:
            notes[name] = "misshapen"
        elif path in tied:
            notes[name] = f"tied to {tied[path]}"
    shared = shared_bytes(checkpoint.tensors)
    pairs = zip(checkpoint.tensors.items(), described, strict=True)
    return tuple(
        Tensor(
            name,
            tensor.shape,
            tensor.dtype,
            tensor.nbytes,
            notes.get(name, ""),
            shared.get(name),
            values,
        )
        for (name, tensor), values in pairs
    )


def _original_data(checkpoint: Checkpoint) -> OriginalData | None:
    original = checkpoint.original
    if original is None:
        return None
    return OriginalData(
        tuple(map(str, original.params)),
        None if original.words is None else len(original.words),
        any(original.counts or ()),
        original.code_counts is not None,
        tuple(map(str, original.extra)),
    )


def _notes(checkpoint: Checkpoint, fit: Fit, architecture: str, *, whole: bool) -> tuple[str, ...]:
    notes = []
    if checkpoint.architecture is None:
        named = checkpoint.config.architectures
        notes.append(
            f"the configuration names the classes {named!r}, none of which is known"
            if named
            else "nothing says its class"
        )
        notes[-1] += f": its tensors were compared with {architecture}"
    notes += checkpoint.notes
    notes += [f"{spec.path} is a fixed table, made when it is loaded" for spec in fit.made]
    if fit.repeated and not whole:
        apart = [
            path
            for path, other in fit.repeated
            if fit.placed[path][1].place != fit.placed[other][1].place
        ]
        notes += [f"{path} is stored twice; only its beginning was compared" for path in apart]
    return tuple(notes)
