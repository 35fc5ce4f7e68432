"""The files that a checkpoint consists of, and which of its tensors share bytes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from xlm_core.checkpoints.json_files import read_object
from xlm_core.checkpoints.opening import Checkpoint, weights_file
from xlm_core.checkpoints.original import FILE as ORIGINAL_FILE
from xlm_core.checkpoints.tensors import LazyTensor
from xlm_core.tokenization import files as tokenizer_files

# Of a tokenizer, in the folder of a checkpoint; the last two are the original's.
_TOKENIZER_FILES = (
    tokenizer_files.VOCAB_FILE,
    tokenizer_files.MERGES_FILE,
    tokenizer_files.CONFIG_FILE,
    tokenizer_files.SPECIAL_TOKENS_FILE,
    tokenizer_files.ADDED_TOKENS_FILE,
    "codes*",
    "vocab",
)


@dataclass(frozen=True)
class File:
    """A file of a checkpoint: its name, its bytes, and what it is for."""

    name: str
    nbytes: int
    role: str


def files_of(checkpoint: Checkpoint) -> tuple[File, ...]:
    """The files of an opened checkpoint: its weights first, then what lies beside them."""
    place = Path(checkpoint.source)
    weights = weights_file(place if place.exists() else checkpoint.folder)
    names = {weights: "weights"}
    if weights.name.endswith(".index.json"):
        names[weights] = "index"
        shards = set(read_object(weights)["weight_map"].values())
        names |= {weights.parent / name: "weights" for name in sorted(shards)}
    folder = checkpoint.folder
    carries_config = weights.suffix == ".keras" or (
        checkpoint.layout == "facebook" and checkpoint.original and checkpoint.original.params
    )
    if not carries_config:
        names[folder / "config.json"] = "configuration"
    names[folder / ORIGINAL_FILE] = "the original's data"
    for pattern in _TOKENIZER_FILES:
        names |= dict.fromkeys(sorted(folder.glob(pattern)), "tokenizer")
    return tuple(
        File(file.name, file.stat().st_size, role) for file, role in names.items() if file.is_file()
    )


def shared_bytes(tensors: Mapping[str, LazyTensor]) -> dict[str, str]:
    """Name -> the name of an earlier tensor whose bytes overlap its own."""
    ranges = []
    for order, (name, tensor) in enumerate(tensors.items()):
        if tensor.size:
            steps = zip(tensor.shape, tensor.strides, strict=True)
            span = 1 + sum((count - 1) * step for count, step in steps)
            end = tensor.offset + span * tensor.itemsize
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
