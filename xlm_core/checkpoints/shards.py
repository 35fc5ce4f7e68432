"""Sharded checkpoints: several files, and an index that says which tensor is in which."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from xlm_core.containers.json_files import read_object
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.errors import CheckpointError, ConfigError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_UNITS |= {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_INDEX = ".index.json"
Tensors = dict[str, LazyTensor]


@dataclass(frozen=True)
class Shard:
    """One file of a sharded checkpoint: its name and its tensors."""

    file: str
    tensors: dict[str, LazyTensor]


def shard_size(text: str | int) -> int:
    """Bytes of a size such as "500MB" or "2GB" (powers of ten; MiB: powers of two).

    Raises:
        ConfigError: If it is none, or 0.
    """
    found = re.fullmatch(r"\s*(\d{1,15})\s*([KMG]?I?B|)\s*", str(text).upper())
    size = int(found[1]) * _UNITS.get(found[2], 0) if found else 0
    if size <= 0:
        raise ConfigError(f"shard size is {text!r}: expected a size such as 500MB or 2GB.")
    return size


def split(tensors: Mapping[str, LazyTensor], file: str, largest: int | None) -> list[Shard]:
    """Split tensors into shards, in order.

    Args:
        tensors: Name -> tensor.
        file: Name of the file if one is enough, "model.safetensors"; parts are called
            "model-00001-of-00002.safetensors".
        largest: Bytes in a file, if more than one tensor is in it; None: one file.
    """
    groups: list[dict[str, LazyTensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        if largest is not None and groups[-1] and filled + tensor.nbytes > largest:
            groups.append({})
            filled = 0
        groups[-1][name] = tensor
        filled += tensor.nbytes
    if len(groups) == 1:
        return [Shard(file, groups[0])]
    stem, dot, suffix = file.partition(".")
    return [
        Shard(f"{stem}-{number:05}-of-{len(groups):05}{dot}{suffix}", group)
        for number, group in enumerate(groups, 1)
    ]


def index_text(shards: list[Shard], prefix: str = "") -> str:
    """The index of some shards as JSON; `prefix` is put before every name."""
    total = sum(tensor.nbytes for shard in shards for tensor in shard.tensors.values())
    count = sum(tensor.size for shard in shards for tensor in shard.tensors.values())
    weight_map = {prefix + name: shard.file for shard in shards for name in shard.tensors}
    metadata = {"total_parameters": count, "total_size": total}
    return json.dumps({"metadata": metadata, "weight_map": weight_map}, indent=2) + "\n"


def is_plain_name(file: str) -> bool:
    """Whether a text is the plain name of a file in the same folder, on any operating system."""
    return file.isprintable() and PureWindowsPath(file).name == file and file not in ("", ".", "..")


def is_index(file: str) -> bool:
    """Whether a file of this name is an index of shards."""
    return file.endswith(_INDEX)


def with_variant(file: str, variant: str | None) -> str:
    """The name of a file of a variant: "model.safetensors" -> "model.fp16.safetensors"."""
    if not variant:
        return file
    stem, _, suffix = file.rpartition(".")
    return f"{stem}.{variant}.{suffix}"


def without_variant(file: str) -> str:
    """The name that an index of shards has without its variant: "x.index.fp16.json"."""
    return re.sub(r"\.index\.[\w-]+\.json$", _INDEX, file)


def without_index(index: str) -> str:
    """The name that a single file would have in place of the index and its shards."""
    return index.removesuffix(_INDEX)


def is_shard_of(file: str, whole: str) -> bool:
    """Whether a file has the name of a shard of the file `whole`, as `split` makes it."""
    stem, dot, suffix = whole.partition(".")
    pattern = rf"{re.escape(stem)}-\d{{5}}-of-\d{{5}}{re.escape(dot + suffix)}"
    return re.fullmatch(pattern, file) is not None


def shards_in(index: Path) -> list[str]:
    """The names of the shards that an index lists, each once.

    Raises:
        CheckpointError: If it is no index, or names what is no plain name of a file.
    """
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index} is no index of shards: it has no weight_map.")
    for file in weight_map.values():
        if not isinstance(file, str) or not is_plain_name(file):
            raise CheckpointError(
                f"{index} names the shard {file!r:.80}: expected the plain name of a file beside "
                "it. Do not use this checkpoint."
            )
    return sorted(set(weight_map.values()))


def read_shards(
    index: Path, read: Callable[[Path], Tensors], name_in_shard: Callable[[str], str]
) -> Tensors:
    """Read all shards that an index lists.

    Args:
        index: The index.
        read: Opens a shard and returns its tensors.
        name_in_shard: From the name of a tensor in the index to its name in the shard.

    Raises:
        CheckpointError: If the index is damaged, names a file that is not beside it, or a file
            does not hold what the index says.
    """
    try:
        weight_map = read_object(index).get("weight_map")
    except CheckpointError as error:
        raise CheckpointError(f"{index} is not an index of shards: {error}") from error
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index} is not an index of shards: it has no weight_map.")
    wanted: dict[str, set[str]] = {}
    for name, file in weight_map.items():
        if not isinstance(file, str):
            raise CheckpointError(
                f"{index} is not an index of shards: that of {name!r:.80} is {file!r:.80}."
            )
        wanted.setdefault(file, set()).add(name_in_shard(name))
    found: Tensors = {}
    for file, names in sorted(wanted.items()):
        shard = index.parent / file
        if not is_plain_name(file) or not shard.is_file():
            raise CheckpointError(
                f"{index} names the shard {file!r:.80}, which is no file beside it."
            )
        tensors = read(shard)
        if tensors.keys() != names or found.keys() & tensors.keys():
            differing = sorted((tensors.keys() ^ names) or (found.keys() & tensors.keys()))[:5]
            raise CheckpointError(
                f"{shard}: its tensors are not those that {index.name} names for it; they differ "
                f"in {differing}."
            )
        found |= tensors
    return found
