"""Datasets of HDF5 files as lazy tensors: numbers in one piece, written, and little-endian."""

from __future__ import annotations

import math
from typing import Any

from xlm_core.containers.hdf5.datatypes import Element, read_datatype, read_shape
from xlm_core.containers.hdf5.file_bytes import NOWHERE, PADDING, Cursor, Hdf5Bytes
from xlm_core.containers.hdf5.headers import Kind, Message
from xlm_core.containers.lazy_tensors import LazyTensor

UNCHUNKED = "without chunks, compression and maxshape"
_COMPACT, _CONTIGUOUS = 0, 1
_OTHER_LAYOUTS = {2: "is stored in chunks", 3: "is a view of other datasets (virtual)"}


def read_dataset(
    file: Hdf5Bytes, messages: dict[Kind, Message], attributes: dict[str, Any]
) -> LazyTensor:
    """The tensor that a dataset holds.

    Args:
        file: Where it is from.
        messages: The header of the dataset.
        attributes: Those of the dataset: Keras notes there that two opaque bytes are a bfloat16.

    Raises:
        CheckpointError: If it is damaged, holds no numbers or unusual ones, or these lie in
            pieces, elsewhere, or nowhere.
    """
    for kind in (Kind.DATASPACE, Kind.DATATYPE):
        if kind not in messages:
            raise file.damaged(f"a dataset has no message {kind.name}")
    shape = read_shape(file, messages[Kind.DATASPACE].body)
    if shape is None:
        raise file.refused("it is an empty dataset", "without it")
    dtype = _dtype(file, messages[Kind.DATATYPE].body, attributes.get("dtype"))
    # Its extent is checked below, against the end that the file itself tells.
    size = math.prod(shape) * LazyTensor(file.source, 0, dtype, (0,)).itemsize
    offset = _place(file, messages[Kind.LAYOUT], size)
    return LazyTensor(file.source, offset, dtype, shape)


def _dtype(file: Hdf5Bytes, content: bytes, noted: Any) -> str:
    # A list or an array would not compare to one truth value.
    is_bfloat16 = isinstance(noted, str) and noted == "bfloat16"
    datatype = read_datatype(file, content)
    name = datatype.name
    if datatype.element is Element.OPAQUE and datatype.size == 2 and is_bfloat16:
        return "bfloat16"
    if datatype.element is not Element.NUMBER:
        raise file.refused(
            f"its elements are {name} ({datatype.size} bytes each), expected numbers",
            "with little-endian integers, floats or truth values",
        )
    if is_bfloat16 and name != "bfloat16":
        raise file.damaged(f"its attribute says that it is bfloat16, but it is {name}")
    return name


def _place(file: Hdf5Bytes, message: Message, size: int) -> int:
    """Where the numbers of a dataset begin in the file, all of them in one piece."""
    cursor = Cursor(file, message.body, "a layout")
    version = cursor.number(1)
    if version not in (3, 4):
        raise file.refused(
            f"a layout of version {version} is unknown, known are 3 and 4", "with h5py's defaults"
        )
    kind = cursor.number(1)
    if kind == _COMPACT:
        stored = cursor.number(2)
        address = message.offset + cursor.position
        cursor.take(stored)
    elif kind == _CONTIGUOUS:
        address, stored = cursor.number(8), cursor.number(8)
    else:
        raise file.refused(f"it {_OTHER_LAYOUTS.get(kind, 'is stored otherwise')}", UNCHUNKED)
    cursor.finish(PADDING)
    if stored != size:
        raise file.damaged(f"its numbers take {stored} bytes, but should take {size}")
    if size == 0:
        return 0
    if kind == _CONTIGUOUS:
        if address == NOWHERE:
            raise file.refused("its numbers were never written", "after writing them")
        file.claim(address, size, "the numbers")
    return address
