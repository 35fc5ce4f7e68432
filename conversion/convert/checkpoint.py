"""`convert`: a checkpoint of any layout into any other that can hold it, bit for bit."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from conversion.convert.tokenizer_files import FILES as TOKENIZER_FILES
from conversion.convert.tokenizer_files import with_dictionary, write_tokenizer
from conversion.reports.progress import ByteProgress
from xlm_core.checkpoints import hub
from xlm_core.checkpoints.comparing import compare_tensors
from xlm_core.checkpoints.layouts import LAYOUTS, Layout
from xlm_core.checkpoints.matching import match_checkpoint
from xlm_core.checkpoints.opening import Checkpoint, open_checkpoint
from xlm_core.checkpoints.original import FILE as ORIGINAL_FILE
from xlm_core.checkpoints.shards import shard_size
from xlm_core.checkpoints.tensors import FLOAT_DTYPES, LazyTensor
from xlm_core.checkpoints.writing import Weights, check_fits, write_alone, write_folder
from xlm_core.config import differing_fields
from xlm_core.errors import CheckpointError, ConfigError
from xlm_core.weights import ARCHITECTURES, ENCODER_DECODER
from xlm_core.whole_files import folder_written_whole, written_whole

# Files that a conversion, or transformers, writes: only a folder of these is replaced as a whole.
_KNOWN_NAMES = frozenset(
    (
        "config.json",
        ORIGINAL_FILE,
        "codes",
        "vocab",
        *TOKENIZER_FILES,
        *(layout.file for layout in LAYOUTS.values()),
        *(layout.index for layout in LAYOUTS.values() if layout.sharded),
    )
)
_SHARD = re.compile(r"(model|pytorch_model|tf_model)-\d{5}-of-\d{5}\.(safetensors|bin|h5)")
_FILE_SUFFIXES = (".safetensors", ".bin", ".h5", ".pth", ".keras", ".json")


@dataclass(frozen=True)
class Summary:
    """What a conversion did.

    Attributes:
        source, target: As they were given.
        came_from, went_to: Names of the layouts.
        architecture: The class.
        tensors: Number of tensors.
        nbytes: Bytes of these.
        files: Name -> bytes, of what was written.
        dropped: What the source holds and the target does not, in words.
        notes: What else to know.
        checked: Whether every tensor was read back and compared.
        seconds: "open", "write", "check", "total".
    """

    source: str
    target: str
    came_from: str
    went_to: str
    architecture: str
    tensors: int
    nbytes: int
    files: dict[str, int]
    dropped: tuple[str, ...]
    notes: tuple[str, ...]
    checked: bool
    seconds: dict[str, float]

    def text(self) -> str:
        """For people, a few lines."""
        megabytes = sum(self.files.values()) / 1e6
        layouts = f"{self.source} ({self.came_from}) -> {self.target} ({self.went_to})"
        lines = [
            f"{layouts}: {self.architecture}, {self.tensors} tensors",
            f"{len(self.files)} files, {megabytes:,.1f} MB: {', '.join(self.files)}",
            *(f"dropped: {what}" for what in self.dropped),
            *(f"note: {note}" for note in self.notes),
        ]
        times = ", ".join(f"{name} {spent:.2f} s" for name, spent in self.seconds.items())
        how = "read back and equal bit by bit" if self.checked else "not read back"
        return "\n".join([*lines, f"every tensor {how}; {times}"])


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
        source: As of `open_checkpoint`.
        target: A folder; for the layouts "facebook" and "keras" also a file, .pth or .keras.
        to: Key of `LAYOUTS`.
        dtype: Float dtype of the tensors; default: as they are.
        head: Class to write, such as "XLMModel" for the encoder alone; default: what it is.
        largest: Bytes in a file, such as "500MB"; default: one file.
        overwrite: Replace the target if it exists.
        check: Read every tensor back and compare it with the source.
        tied: See `open_checkpoint`.
        codes: BPE codes of the original, for a source that is one of its files; default: codes*
            beside it.
        mode: Of the tokenizer that is made from these; see docs/tokenizer.md. Default "v4", as
            published folders have it.
        progress: Is told about bytes.

    Raises:
        CheckpointError: If the source cannot be used, the target not be written, the layout
            not hold the model, or a tensor does not come back as it was.
        ConfigError: For an argument that cannot be.
    """
    start = time.perf_counter()
    progress = progress or ByteProgress(None)
    layout = _layout(to)
    size = None if largest is None else shard_size(largest)
    target = Path(target)
    alone = layout.alone is not None and target.suffix == layout.alone
    checkpoint = open_checkpoint(source, tied=tied)
    notes = _fetch_tokenizer(source)
    _check_target(target, checkpoint, layout, alone=alone, overwrite=overwrite)
    weights = weights_of(checkpoint, head)
    if dtype is not None:
        weights = _cast(weights, dtype)
    check_fits(weights, layout, size)
    _check_space(target, weights, layout, alone=alone)
    seconds = {"open": time.perf_counter() - start}

    with _clear_errors(target), _staged(target, alone=alone) as stage:
        began = time.perf_counter()
        if layout.name == "facebook":
            weights, said = with_dictionary(checkpoint, weights)
            notes += said
        if not alone:
            weights, said = write_tokenizer(stage, checkpoint, weights, layout, codes, mode)
            notes += said
        progress.begin("writing", sum(t.nbytes for t in weights.named(layout).values()))
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
        dropped=checkpoint.dropped,
        notes=tuple(notes),
        checked=check,
        seconds=seconds,
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
            raise ConfigError(f"head is {head!r}: expected one of {', '.join(known)}.")
        if architecture != ENCODER_DECODER:
            checkpoint = checkpoint.as_model()
    if architecture is None:
        raise CheckpointError(
            f"{checkpoint.source}: its configuration names the classes "
            f"{checkpoint.config.architectures!r}, none of which is known. Name one (--head): "
            f"{', '.join(known)}."
        )
    match = match_checkpoint(checkpoint, architecture, quiet=True)
    if match.fresh:
        raise CheckpointError(
            f"{checkpoint.source} does not hold {', '.join(s.path for s in match.fresh)}, which "
            f"{architecture} has: a conversion does not make up a head. Choose another (--head)."
        )
    if match.left_out and head is None:
        raise CheckpointError(
            f"{checkpoint.source} is a {architecture}, but holds {', '.join(match.left_out[:5])} "
            "of another head as well. Choose what to write (--head)."
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
        hub.fetch(source, files="tokenizer")
    except CheckpointError as error:
        return [f"no tokenizer: {error}"]
    return []


def _layout(name: str) -> Layout:
    if name not in LAYOUTS:
        raise ConfigError(f"layout is {name!r}: expected one of {', '.join(LAYOUTS)}.")
    return LAYOUTS[name]


def _cast(weights: Weights, dtype: str) -> Weights:
    if dtype not in FLOAT_DTYPES:
        raise ConfigError(f"dtype is {dtype!r}: expected one of {', '.join(FLOAT_DTYPES)}.")
    cast = tuple((spec, tensor.astype(dtype)) for spec, tensor in weights.tensors)
    return replace(weights, tensors=cast)


def _check_target(
    target: Path, checkpoint: Checkpoint, layout: Layout, *, alone: bool, overwrite: bool
) -> None:
    """Raise `CheckpointError` unless the target may be written."""
    if not alone and target.suffix in _FILE_SUFFIXES and not target.is_dir():
        also = f", or a file {layout.alone}" if layout.alone else ""
        raise CheckpointError(
            f"the target {target} looks like a file: {layout.name} needs the name of a folder"
            f"{also}."
        )
    if target.is_symlink() and not target.exists():
        raise CheckpointError(f"the target {target} is a link to nothing. Remove it first.")
    if not target.parent.is_dir():
        raise CheckpointError(f"the target's folder {target.parent} does not exist. Make it first.")
    if not target.exists():
        return
    here, there = target.resolve(), checkpoint.folder.resolve()
    if here == there or here in there.parents or here == Path(checkpoint.source).resolve():
        raise CheckpointError(
            f"the target {target} is or contains the source {checkpoint.source}. Choose another."
        )
    if alone != target.is_file():
        kind = "a file" if target.is_file() else "a folder"
        raise CheckpointError(f"the target {target} is {kind} already. Choose another name.")
    content = [] if alone else sorted(target.iterdir())
    if not overwrite and (alone or content):
        raise CheckpointError(f"the target {target} exists already. Replace it with --overwrite.")
    foreign = [f.name for f in content if not _is_known(f)]
    if foreign:
        raise CheckpointError(
            f"the target {target} holds {', '.join(foreign[:3])}, which is no part of a checkpoint "
            "and would be lost: only a folder of a checkpoint is replaced as a whole. Choose "
            "another, or move that away."
        )
    if target.is_symlink():
        raise CheckpointError(f"the target {target} is a link. Name what it points to.")


def _is_known(file: Path) -> bool:
    name = file.name
    return file.is_file() and (name in _KNOWN_NAMES or _SHARD.fullmatch(name) is not None)


def _check_space(target: Path, weights: Weights, layout: Layout, *, alone: bool) -> None:
    needed = sum(tensor.nbytes for tensor in weights.named(layout).values())
    if layout.name == "keras" and alone:
        needed *= 2  # the weights first, then the archive around them
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise CheckpointError(
            f"{target.parent} has {free / 1e6:,.0f} MB free, {needed / 1e6:,.0f} MB are needed: "
            "make room, or choose another place. Nothing was changed."
        )


@contextmanager
def _staged(target: Path, *, alone: bool) -> Iterator[Path]:
    """A place beside the target that becomes it at the end."""
    with (written_whole if alone else folder_written_whole)(target) as stage:
        yield stage


@contextmanager
def _clear_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        why = "the disk is full" if full else error.strerror or str(error)
        raise CheckpointError(
            f"{target} could not be written: {why}. What was there before is unchanged."
        ) from error
