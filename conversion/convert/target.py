"""The target of a conversion: whether it may be written, room for it, and its appearing whole."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xlm_core.checkpoints.layouts import LAYOUTS
from xlm_core.checkpoints.layouts.base import Layout
from xlm_core.checkpoints.opening import Checkpoint
from xlm_core.checkpoints.shards import is_shard_of
from xlm_core.checkpoints.weights import Weights
from xlm_core.errors import CheckpointError
from xlm_core.tokenization.files.folder import FOLDER_FILES
from xlm_core.whole_files import folder_written_whole, written_whole

# Files that a conversion, or transformers, writes: only a folder of these is replaced as a whole.
_KNOWN_NAMES = frozenset(
    (
        *FOLDER_FILES,
        *(name for layout in LAYOUTS.values() for name in layout.text_files.names),
        *(layout.file for layout in LAYOUTS.values()),
        *(layout.index for layout in LAYOUTS.values() if layout.sharded),
    )
)
# A target that ends so is meant to be a file.
_FILE_SUFFIXES = frozenset(
    (
        ".json",
        *(Path(layout.file).suffix for layout in LAYOUTS.values()),
        *(layout.alone for layout in LAYOUTS.values() if layout.alone is not None),
    )
)


def check_target(
    target: Path, checkpoint: Checkpoint, layout: Layout, *, alone: bool, overwrite: bool
) -> None:
    """Raise `CheckpointError` unless the target may be written."""
    if not alone and target.suffix in _FILE_SUFFIXES and not target.is_dir():
        also = f", or a file {layout.alone}" if layout.alone else ""
        raise CheckpointError(
            f"the target {target} looks like a file: {layout.name} needs the name of a folder"
            f"{also}."
        )
    if not target.name:
        raise CheckpointError(
            f"the target {target} has no name of its own, so nothing can take its place as a "
            "whole. Name a folder within it, or beside it."
        )
    if target.is_symlink() and not target.exists():
        raise CheckpointError(f"the target {target} is a link to nothing. Remove it first.")
    above = nearest_folder(target)
    if not above.is_dir():
        raise CheckpointError(f"{above} is a file: {target} cannot be made in it. Choose another.")
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
        raise CheckpointError(
            f"the target {target} exists already. Replace it with overwrite=True."
        )
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
    is_shard = any(layout.sharded and is_shard_of(name, layout.file) for layout in LAYOUTS.values())
    return file.is_file() and (name in _KNOWN_NAMES or is_shard)


def check_space(target: Path, weights: Weights, layout: Layout, *, alone: bool) -> None:
    """Raise `CheckpointError` unless there is room for the target."""
    needed = layout.bytes_needed(weights, alone=alone)
    above = nearest_folder(target)
    free = shutil.disk_usage(above).free
    if free < needed:
        raise CheckpointError(
            f"{above} has {free / 1e6:,.0f} MB free, {needed / 1e6:,.0f} MB are needed: "
            "make room, or choose another place. Nothing was changed."
        )


def nearest_folder(target: Path) -> Path:
    """The first of the folders above a target that exists."""
    return next(above for above in target.absolute().parents if above.exists())


@contextmanager
def staged(target: Path, *, alone: bool) -> Iterator[Path]:
    """A place beside the target that becomes it at the end; missing folders above are made."""
    made = [above for above in target.absolute().parents if not above.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (written_whole if alone else folder_written_whole)(target) as stage:
            yield stage
    except BaseException:
        for folder in made:  # the innermost first
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


@contextmanager
def clear_errors(target: Path) -> Iterator[None]:
    """Turn an error of the system, such as a full disk, into a `CheckpointError`."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        why = "the disk is full" if full else error.strerror or str(error)
        raise CheckpointError(
            f"{target} could not be written: {why}. What was there before is unchanged."
        ) from error
