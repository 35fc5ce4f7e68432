"""What a conversion loses: every tensor and every file that the target does not hold, by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from conversion.opening.text_files import codes_in
from xlm_core.checkpoints.fitting import fit_checkpoint
from xlm_core.checkpoints.layouts.base import MODEL_FOLDER, Layout, TextFiles
from xlm_core.checkpoints.opening import Checkpoint
from xlm_core.checkpoints.original import FILE as ORIGINAL_FILE
from xlm_core.checkpoints.shards import is_index, shards_in
from xlm_core.checkpoints.weights import Weights
from xlm_core.tokenization.files.folder import FOLDER_FILES, MERGES_FILE, VOCAB_FILE
from xlm_core.weights import ENCODER_DECODER

_MOST = 5


def tensors_lost(checkpoint: Checkpoint, architecture: str) -> list[str]:
    """The tensors of a checkpoint that a class does not have, in words.

    Args:
        checkpoint: What was opened.
        architecture: The class that is written.
    """
    lost = []
    if checkpoint.architecture == ENCODER_DECODER != architecture:
        decoder = [name for name in checkpoint.tensors if name.startswith("decoder.")]
        lost.append(f"the decoder ({len(decoder)} tensors: {_some(decoder)})")
        checkpoint = checkpoint.as_model()
    fit = fit_checkpoint(checkpoint, architecture)
    if fit.left_out:
        lost.append(f"another head than {architecture}'s: {_some(fit.left_out)}")
    if fit.ignored:
        lost.append(f"buffers without meaning for the model: {_some(fit.ignored)}")
    if checkpoint.tied is not None:
        for path, other in fit.differing_ties():
            gone = other if checkpoint.tied == "output" else path
            lost.append(f"the values of {gone}, which differ from those that it is tied to")
    return lost


def files_lost(
    folder: Path,
    layout: Layout,
    weights: Weights,
    *,
    alone: bool,
    codes: str | os.PathLike[str] | None,
) -> list[str]:
    """The text files of a checkpoint that have no place in the target, in words.

    Args:
        folder: Where the source has its text files.
        layout: The layout of the target.
        weights: What is written, with the dictionary that it holds.
        alone: Whether the target is a single file.
        codes: The original's BPE codes, if the caller named them.
    """
    held = TextFiles() if alone and not layout.holds_text_files else layout.text_files
    is_whole = (folder / VOCAB_FILE).is_file() and (folder / MERGES_FILE).is_file()
    kept = {*held.copied, *(FOLDER_FILES if held.tokenizer and is_whole else ())}
    if layout.holds_dictionary and weights.original is not None and weights.original.words:
        kept.add(VOCAB_FILE)
    if held.codes is not None and is_whole:
        kept.add(MERGES_FILE)
    why = (
        f"{layout.title} has no place for it"
        if is_whole or not held.tokenizer
        else f"a tokenizer is copied where {VOCAB_FILE} and {MERGES_FILE} are both there"
    )
    lost = [
        f"{name}: {why}"
        for name in (*FOLDER_FILES, *MODEL_FOLDER.copied)
        if name not in kept and (folder / name).is_file()
    ]
    if held.codes is None and not held.tokenizer:
        given = [Path(codes)] if codes is not None else codes_in(folder)
        names = ", ".join(file.name for file in given)
        lost += [f"{names}: BPE codes stand beside a file of this layout"] if given else []
    return lost


def not_copied(source: str | os.PathLike[str], checkpoint: Checkpoint) -> list[str]:
    """A note on the files of a source's folder that are no part of the checkpoint."""
    folder = Path(source)
    if not folder.is_dir():
        return []
    weights = checkpoint.file
    own = {weights.name, "config.json", ORIGINAL_FILE, *FOLDER_FILES, *MODEL_FOLDER.copied}
    own |= {"vocab", *(file.name for file in codes_in(folder))}
    own |= {*shards_in(weights)} if is_index(weights.name) else set()
    others = sorted(
        file.name for file in folder.iterdir() if file.name not in own and file.name[0] != "."
    )
    return [f"no part of the checkpoint, so not copied: {_some(others)}"] if others else []


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return f"{', '.join(names[:_MOST])}{more}"
