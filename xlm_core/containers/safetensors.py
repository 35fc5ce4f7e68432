"""The safetensors container: a header of JSON, then the bytes of all tensors without gaps.

Read and written here, rather than by the safetensors package, to stream: a tensor's bytes go from
file to file without passing through memory as a whole.

Source: the format's description in the safetensors project.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xlm_core.containers.json_files import parse_object
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.sources import FileSource, read_bytes
from xlm_core.containers.streaming import Job, Progress, fill, reserve
from xlm_core.errors import CheckpointError

_NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
_CODES = {name: code for code, name in _NAMES.items()}
# A header has some hundred bytes a tensor.
_LARGEST_HEADER = 16 << 20


def read_safetensors(
    path: str | os.PathLike[str],
) -> tuple[dict[str, LazyTensor], dict[str, str]]:
    """Open a safetensors file.

    Args:
        path: The file.

    Returns:
        Name -> tensor, none of them read, and the file's metadata.

    Raises:
        CheckpointError: If the file is no safetensors file, is damaged or cut off.
    """
    source = FileSource(path)

    def damaged(why: str) -> CheckpointError:
        error: CheckpointError = CheckpointError(
            f"{source.name} is damaged or no safetensors file: {why}."
        )
        return error

    if source.size < 8:
        raise damaged(f"it has {source.size} bytes")
    (length,) = struct.unpack("<Q", read_bytes(source, 0, 8))
    if length > min(_LARGEST_HEADER, source.size - 8):
        raise damaged(
            f"its first 8 bytes say that a header of {length} bytes follows, in a file of "
            f"{source.size}"
        )
    try:
        header = parse_object(read_bytes(source, 8, length), "its header")
    except CheckpointError as error:
        raise damaged(str(error).removesuffix(".")) from error
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise damaged(f"__metadata__ is {metadata!r:.100}, expected texts")
    first = 8 + length
    tensors, extents = {}, []
    for name, entry in header.items():
        try:
            dtype, shape, begin, end = _entry(entry)
            tensor = LazyTensor(source, first + begin, dtype, shape)
        except CheckpointError as error:
            raise damaged(f"{name:.80}: {str(error).removesuffix('.')}") from error
        if end - begin != tensor.nbytes:
            raise damaged(
                f"{name:.80} has {end - begin} bytes, {dtype} of shape {shape} needs "
                f"{tensor.nbytes}"
            )
        tensors[name] = tensor
        extents.append((begin, end, name))
    expected = 0
    for begin, end, name in sorted(extents):
        if begin != expected:
            raise damaged(
                f"{name:.80} begins at byte {begin} of the data, expected {expected}: tensors "
                "neither overlap nor leave gaps"
            )
        expected = end
    if first + expected != source.size:
        raise damaged(
            f"its tensors end at byte {first + expected}, the file at {source.size}: it may be cut "
            "off, get it again"
        )
    return tensors, metadata


def _entry(entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """dtype, shape, first and last byte of an entry of the header."""

    def whole_numbers(value: Any, largest: int) -> bool:
        return (
            isinstance(value, list)
            and len(value) <= largest
            and all(type(n) is int and 0 <= n < 1 << 62 for n in value)
        )

    if (
        not isinstance(entry, dict)
        or entry.keys() != {"dtype", "shape", "data_offsets"}
        or not whole_numbers(entry["shape"], 8)
        or not whole_numbers(entry["data_offsets"], 2)
        or len(entry["data_offsets"]) != 2
    ):
        raise CheckpointError(
            f"its entry is {entry!r:.160}, expected dtype, shape and data_offsets"
        )
    dtype = _NAMES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise CheckpointError(f"dtype {entry['dtype']!r:.40}, expected one of {', '.join(_NAMES)}")
    begin, end = entry["data_offsets"]
    return dtype, tuple(entry["shape"]), begin, end


def write_safetensors(
    path: Path,
    tensors: Mapping[str, LazyTensor],
    metadata: Mapping[str, str],
    progress: Progress | None = None,
) -> None:
    """Write a safetensors file.

    Args:
        path: The file; replaced if it exists.
        tensors: Name -> tensor, as it shall lie in the file.
        metadata: Text for text.
        progress: Called with numbers of bytes, from several threads.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    begins = {}
    # The widest dtypes first, so that every tensor is aligned.
    for name, tensor in sorted(tensors.items(), key=lambda item: -_width(item[1])):
        begins[name] = end
        end += tensor.nbytes
        header[name] = {
            "dtype": _CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begins[name], end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    first = 8 + len(text)
    jobs = [Job(first + begins[name], tensor) for name, tensor in tensors.items()]
    with open(path, "wb") as file:
        reserve(file.fileno(), first + end)
        file.write(struct.pack("<Q", len(text)) + text)
        file.flush()
        fill(file.fileno(), jobs, progress)


def _width(tensor: LazyTensor) -> int:
    return tensor.nbytes // max(1, tensor.size)
