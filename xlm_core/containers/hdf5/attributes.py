"""Attributes of HDF5 objects: their names and values."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np

from xlm_core.containers.hdf5.datatypes import Datatype, Element, read_datatype, read_shape
from xlm_core.containers.hdf5.dense import read_dense
from xlm_core.containers.hdf5.file_bytes import PADDING, Cursor, Hdf5Bytes
from xlm_core.containers.hdf5.headers import Kind, Message
from xlm_core.containers.hdf5.text import TextHeap, decode
from xlm_core.containers.lazy_tensors import DTYPES

# Says what the numbers of a dataset are, where HDF5 has no such type: read, or refused.
_DTYPE = "dtype"
_LEFT_OUT = object()
# The number of the records of attributes in a B-tree.
_RECORDS = 8


def read_attributes(
    file: Hdf5Bytes, heap: TextHeap, messages: list[Message], needed: Collection[str] = ()
) -> dict[str, Any]:
    """The attributes of an object, in order of creation if known, else by name.

    A value is a str, a (nested) list of str, a numpy scalar or array, or None where an attribute
    is there without a value. Attributes of other types are left out, but for those that are needed.

    Args:
        file: Where they are from.
        heap: The strings of that file.
        messages: The header of the object.
        needed: Names of attributes that are not left out, whatever number follows the name.

    Raises:
        CheckpointError: If one is damaged, is there twice, or is needed but of another type.
    """
    found: list[tuple[int | None, str, Any]] = []
    for message in messages:
        if message.kind is Kind.ATTRIBUTE:
            found.append((message.order, *_read_attribute(file, heap, message.body, needed)))
        elif message.kind is Kind.ATTRIBUTE_INFO:
            # A record: identifier of 8 bytes, flags, when it was made, hash of the name.
            for record, content in read_dense(file, message.body, 2, _RECORDS, 17, 0):
                if record[8] & 2:
                    raise file.refused("it shares an attribute", "with h5py's defaults")
                order = int.from_bytes(record[9:13], "little")
                found.append((order, *_read_attribute(file, heap, content, needed)))
    names = [name for _, name, _ in found]
    if len(set(names)) < len(names):
        raise file.damaged("it has two attributes of one name")
    found.sort(key=lambda item: item[1].encode())
    if all(order is not None for order, _, _ in found):
        found.sort(key=lambda item: item[0] or 0)
    return {name: value for _, name, value in found if value is not _LEFT_OUT}


def _read_attribute(
    file: Hdf5Bytes, heap: TextHeap, content: bytes, needed: Collection[str]
) -> tuple[str, Any]:
    cursor = Cursor(file, content, "an attribute")
    version, flags = cursor.number(1), cursor.number(1)
    if not 1 <= version <= 3 or (flags and version > 1):
        raise file.refused(
            f"an attribute of version {version}, flags {flags} is unknown",
            "with h5py's defaults, without committed datatypes",
        )
    sizes = [cursor.number(2) for _ in range(3)]
    cursor.take(1 if version == 3 else 0)
    parts = []
    for size in sizes:
        parts.append(cursor.take(size))
        if any(cursor.take(-size % 8 if version == 1 else 0)):
            raise file.damaged("the parts of an attribute do not fit together")
    name = decode(file, parts[0][:-1], "the name of an attribute")
    if parts[0][-1:] != b"\0" or not name:
        raise file.damaged("the name of an attribute has no end")
    datatype, shape = read_datatype(file, parts[1]), read_shape(file, parts[2])
    if datatype.element in (Element.OTHER, Element.OPAQUE):
        if name.rstrip("0123456789") in (_DTYPE, *needed):
            raise file.refused(
                f"the attribute {name} is {datatype.name}, expected strings", "with strings there"
            )
        return name, _LEFT_OUT
    if shape is None:
        cursor.finish(PADDING)
        return name, None
    values = cursor.take(math.prod(shape) * datatype.size)
    cursor.finish(PADDING)
    return name, _value(file, heap, values, datatype, shape)


def _value(
    file: Hdf5Bytes, heap: TextHeap, content: bytes, datatype: Datatype, shape: tuple[int, ...]
) -> Any:
    if datatype.element is Element.NUMBER:
        numbers = np.frombuffer(content, DTYPES[datatype.name]).reshape(shape)
        return numbers.copy() if shape else numbers[()]
    size = datatype.size
    file.count(len(content) // size)
    strings = np.empty(len(content) // size, object)
    for index in range(len(strings)):
        raw = content[index * size : (index + 1) * size]
        raw = heap.take(raw) if datatype.element is Element.TEXT else _trimmed(raw, datatype)
        strings[index] = decode(file, raw, "an attribute")
    # Lists of no strings are not nested: a shape may claim any number of them.
    return strings.reshape(shape).tolist() if len(strings) else []


def _trimmed(content: bytes, datatype: Datatype) -> bytes:
    if datatype.padding == 0:
        return content.partition(b"\0")[0]
    return content.rstrip(b"\0" if datatype.padding == 1 else b" ")
