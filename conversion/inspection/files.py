"""The files that a checkpoint consists of, and which of its tensors share bytes of them."""

from __future__ import annotations

from collections.abc import Mapping

from conversion.reports.inspection import File
from xlm_core.checkpoints.opening import Checkpoint
from xlm_core.checkpoints.original import FILE as ORIGINAL_FILE
from xlm_core.checkpoints.shards import is_index, shards_in
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.tokenization.files.folder import FOLDER_FILES

# Of a tokenizer, in the folder of a checkpoint; the last two are the original's.
_TOKENIZER_FILES = (*FOLDER_FILES, "codes*", "vocab")


def files_of(checkpoint: Checkpoint) -> tuple[File, ...]:
    """The files of an opened checkpoint: its weights first, then what lies beside them."""
    weights = checkpoint.file
    names = {weights: "weights"}
    if is_index(weights.name):
        names[weights] = "index"
        names |= {weights.parent / name: "weights" for name in shards_in(weights)}
    folder = checkpoint.folder
    if not checkpoint.carries_config:
        names[folder / "config.json"] = "configuration"
    names[folder / ORIGINAL_FILE] = "the original's data"
    for pattern in _TOKENIZER_FILES:
        names |= dict.fromkeys(sorted(folder.glob(pattern)), "tokenizer")
    within = dict.fromkeys(FOLDER_FILES, "tokenizer") | {ORIGINAL_FILE: "the original's data"}
    return (
        *(File(f.name, f.stat().st_size, role) for f, role in names.items() if f.is_file()),
        *(
            File(name, part.size, within.get(name, "text"))
            for name, part in checkpoint.text_files.items()
        ),
    )


def shared_bytes(tensors: Mapping[str, LazyTensor]) -> dict[str, str]:
    """Name -> the name of an earlier tensor whose bytes overlap its own."""
    ranges = []
    for order, (name, tensor) in enumerate(tensors.items()):
        if tensor.size:
            end = tensor.offset + tensor.span * tensor.itemsize
            ranges.append((id(tensor.source), tensor.offset, end, order, name))
    result: dict[str, str] = {}
    source, reach, first = -1, -1, ""
    # Along each source, a tensor that begins before the furthest end so far shares bytes.
    for where, begin, end, _, name in sorted(ranges):
        if where == source and begin < reach:
            result[name] = first
            reach = max(reach, end)
        else:
            source, reach, first = where, end, name
    return result
