"""`convert`: a checkpoint of any layout into any other that can hold it, bit for bit."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

from conversion.convert.losses import files_lost, not_copied, tensors_lost
from conversion.convert.target import check_space, check_target, clear_errors, staged
from conversion.convert.tokenizer_files import unused_options, with_dictionary, write_tokenizer
from conversion.opening.text_files import gathered, text_folder
from conversion.reports.conversion import Summary
from conversion.reports.progress import ByteProgress
from xlm_core.checkpoints.layouts import LAYOUTS
from xlm_core.checkpoints.layouts.base import Layout
from xlm_core.checkpoints.matching import match_checkpoint
from xlm_core.checkpoints.opening import Checkpoint, open_checkpoint
from xlm_core.checkpoints.original import FILE as ORIGINAL_FILE
from xlm_core.checkpoints.shards import shard_size
from xlm_core.checkpoints.weights import Weights
from xlm_core.checkpoints.writing import check_fits, write_alone, write_folder
from xlm_core.config import differing_fields
from xlm_core.containers.comparing import compare_tensors
from xlm_core.containers.lazy_tensors import FLOAT_DTYPES, LazyTensor
from xlm_core.errors import CheckpointError, ConfigError, nearest
from xlm_core.hub import fetch
from xlm_core.tokenization.files.folder import PUBLISHED_FILES
from xlm_core.tokenization.text.pipeline import MODES
from xlm_core.weights import ARCHITECTURES, ENCODER_DECODER


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    to: str,
    dtype: str | None = None,
    head: str | None = None,
    largest: str | int | None = None,
    overwrite: bool = False,
    check: bool = True,
    tied: str | None = None,
    codes: str | os.PathLike[str] | None = None,
    mode: str | None = None,
    progress: ByteProgress | None = None,
) -> Summary:
    """Write a checkpoint anew in another layout.

    The target appears whole at the end, or not at all.

    Args:
        source: The checkpoint: a path or a published name, as `open_checkpoint` takes it.
        target: A folder; for the layouts "facebook" and "keras" also a file, .pth or .keras.
            Folders above it that are missing are made.
        to: Key of `LAYOUTS`.
        dtype: Float dtype of the tensors; default: as they are.
        head: Class to write, such as "XLMModel" for the encoder alone; default: what it is.
        largest: Bytes in a file, such as "500MB"; default: one file.
        overwrite: Replace the target if it exists.
        check: Read every tensor back and compare it with the source.
        tied: Which of two tied tensors to keep if they differ, "embeddings" or "output".
            Default: raise.
        codes: BPE codes of the original, for a source that is one of its files; default: codes*
            beside it.
        mode: Of the tokenizer that is made from these; see docs/tokenizer.md. Default "v4", as
            published folders have it.
        progress: Is told about bytes.

    Returns:
        What was written, and in `dropped` everything that the source holds and the target does
        not.

    Raises:
        CheckpointError: If the source cannot be used, the target not be written, the layout
            not hold the model, or a tensor does not come back as it was.
        ConfigError: For an argument that cannot be.
    """
    start = time.perf_counter()
    progress = progress or ByteProgress(None)
    layout = _layout(to)
    _check_mode(mode)
    size = None if largest is None else shard_size(largest)
    target = Path(target)
    alone = layout.alone is not None and target.suffix == layout.alone
    checkpoint = open_checkpoint(source, tied=tied)
    notes = [*checkpoint.notes, *_fetch_tokenizer(source)]
    check_target(target, checkpoint, layout, alone=alone, overwrite=overwrite)
    weights = weights_of(checkpoint, head)
    dropped = [*checkpoint.dropped, *tensors_lost(checkpoint, weights.architecture)]
    cast = {}
    if dtype is not None:
        before = weights.dtypes
        weights = _cast(weights, dtype)
        cast = {name: dtype for name in before if name != dtype}
    check_fits(weights, layout, size)
    check_space(target, weights, layout, alone=alone)
    seconds = {"open": time.perf_counter() - start}

    with (
        clear_errors(target),
        staged(target, alone=alone) as stage,
        text_folder(checkpoint) as folder,
    ):
        began = time.perf_counter()
        if layout.holds_dictionary:
            weights, said = with_dictionary(folder, weights)
            notes += said
        notes += layout.notes(weights)
        if not alone:
            weights, said = write_tokenizer(stage, folder, weights, layout.text_files, codes, mode)
            notes += said
        elif layout.holds_text_files:
            with gathered() as texts:
                weights, said = write_tokenizer(
                    texts.folder, folder, weights, layout.text_files, codes, mode
                )
                weights = replace(weights, text_files=texts.read())
            notes += [*said, *_within(weights)]
        else:
            notes += unused_options({"mode": mode, "codes": codes})
        dropped += files_lost(folder, layout, weights, alone=alone, codes=codes)
        notes += not_copied(source, checkpoint)
        progress.begin("writing", sum(t.nbytes for t in layout.named(weights).values()))
        if alone:
            write_alone(stage, weights, layout, progress=progress.add)
        else:
            write_folder(stage, weights, layout, largest=size, progress=progress.add)
        seconds["write"] = time.perf_counter() - began
        if check:
            began = time.perf_counter()
            progress.begin("checking", weights.nbytes)
            notes += read_back(stage, weights, progress)
            seconds["check"] = time.perf_counter() - began
        progress.end()
        written = [stage] if alone else sorted(stage.iterdir())
        files = {target.name if alone else f.name: f.stat().st_size for f in written}
    seconds["total"] = time.perf_counter() - start
    return Summary(
        source=os.fspath(source),
        target=os.fspath(target),
        came_from=checkpoint.layout,
        went_to=layout.name,
        architecture=weights.architecture,
        tensors=len(weights.tensors),
        nbytes=weights.nbytes,
        files=files,
        dropped=tuple(dropped),
        notes=tuple(notes),
        checked=check,
        seconds=seconds,
        cast=cast,
    )


def weights_of(checkpoint: Checkpoint, head: str | None = None) -> Weights:
    """The tensors of an opened checkpoint as one of the classes, all of them explained.

    Args:
        checkpoint: What was opened.
        head: The class, if not the one that it is.

    Raises:
        CheckpointError: If tensors are missing, unexpected, misshapen, or of another head.
        ConfigError: If there is no such class.
    """
    known = (*ARCHITECTURES, ENCODER_DECODER)
    architecture = checkpoint.architecture
    if head is not None:
        architecture = head.removeprefix("TF")
        if architecture not in known:
            raise ConfigError(
                f"head is {head!r}: expected one of {', '.join(known)}."
                f"{nearest(architecture, known)}"
            )
        if architecture != ENCODER_DECODER:
            checkpoint = checkpoint.as_model()
    if architecture is None:
        raise CheckpointError(
            f"{checkpoint.source}: its configuration names the classes "
            f"{checkpoint.config.architectures!r}, none of which is known. Name one (head=): "
            f"{', '.join(known)}."
        )
    match = match_checkpoint(checkpoint, architecture, quiet=True)
    if match.fresh:
        raise CheckpointError(
            f"{checkpoint.source} does not hold {', '.join(s.path for s in match.fresh)}, which "
            f"{architecture} has: a conversion does not make up a head. Choose another (head=)."
        )
    if match.left_out and head is None:
        raise CheckpointError(
            f"{checkpoint.source} is a {architecture}, but holds {', '.join(match.left_out[:5])} "
            "of another head as well. Choose what to write (head=)."
        )
    return Weights(checkpoint.config, architecture, match.found, checkpoint.original)


def read_back(path: Path, weights: Weights, progress: ByteProgress) -> list[str]:
    """Open what was written and compare it with what was to be written, bit by bit.

    Returns:
        Notes on values that are not finite.

    Raises:
        CheckpointError: If anything differs.
    """
    again = weights_of(open_checkpoint(path), weights.architecture)
    fields = differing_fields(again.config, weights.config)
    if fields:
        raise CheckpointError(f"{path}: the configuration came back different in {fields}.")
    written = {spec.path: tensor for spec, tensor in again.tensors}
    pairs: list[tuple[LazyTensor, LazyTensor]] = []
    for spec, tensor in weights.tensors:
        other = written.get(spec.path)
        if other is None or (other.dtype, other.shape) != (tensor.dtype, tensor.shape):
            raise CheckpointError(f"{path}: {spec.path} did not come back as it was written.")
        pairs.append((tensor, other))
    notes = []
    found = compare_tensors(pairs, progress.add)
    for (spec, tensor), comparison in zip(weights.tensors, found, strict=True):
        if comparison.differing:
            raise CheckpointError(
                f"{path}: {spec.path} came back different in {comparison.differing} of "
                f"{tensor.size} values: is the disk or the memory faulty?"
            )
        if comparison.not_finite:
            notes.append(f"{spec.path} has {comparison.not_finite} values that are NaN or infinite")
    return notes


def _fetch_tokenizer(source: str | os.PathLike[str]) -> list[str]:
    """Have the tokenizer of a published checkpoint beside its weights; notes if there is none."""
    if Path(source).exists() or not isinstance(source, str):
        return []
    try:
        fetch(source, PUBLISHED_FILES)
    except CheckpointError as error:
        return [f"no tokenizer: {error}"]
    return []


def _within(weights: Weights) -> list[str]:
    """What a file that holds text files has within it, for the user."""
    names = [*weights.text_files, *([ORIGINAL_FILE] if weights.original is not None else [])]
    if not names:
        return []
    inside = "within the file, from where a conversion takes the tokenizer and other data out again"
    return [f"{', '.join(names)}: {inside}"]


def _layout(name: str) -> Layout:
    if name not in LAYOUTS:
        raise ConfigError(
            f"layout is {name!r}: expected one of {', '.join(LAYOUTS)}.{nearest(name, LAYOUTS)}"
        )
    return LAYOUTS[name]


def _check_mode(mode: str | None) -> None:
    if mode is not None and mode not in MODES:
        raise ConfigError(
            f"mode is {mode!r}: expected one of {', '.join(MODES)}.{nearest(mode, MODES)}"
        )


def _cast(weights: Weights, dtype: str) -> Weights:
    if dtype not in FLOAT_DTYPES:
        raise ConfigError(
            f"dtype is {dtype!r}: expected one of {', '.join(FLOAT_DTYPES)}."
            f"{nearest(dtype, FLOAT_DTYPES)}"
        )
    cast = tuple((spec, tensor.astype(dtype)) for spec, tensor in weights.tensors)
    return replace(weights, tensors=cast)
