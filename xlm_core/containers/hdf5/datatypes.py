"""What the elements of an HDF5 dataset or attribute are, and how many: datatype and dataspace."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from enum import Enum

from xlm_core.containers.hdf5.file_bytes import PADDING, Cursor, Hdf5Bytes

# More dimensions the format does not allow.
MOST_DIMENSIONS = 32


class Element(Enum):
    """How elements are read."""

    NUMBER = "a number"
    OPAQUE = "opaque bytes"
    STRING = "a string of fixed length"
    TEXT = "a string of variable length"
    OTHER = "something else"


@dataclass(frozen=True)
class Datatype:
    """The type of an element.

    Attributes:
        element: How it is read.
        size: Its bytes in the file.
        name: numpy's name of a number's dtype; of anything else what to call it.
        padding: How a string ends: 0 at the first zero, 1 before zeros, 2 before blanks.
    """

    element: Element
    size: int
    name: str
    padding: int = 0


def _whole(size: int, signed: bool) -> bytes:
    return struct.pack("<BBBIHH", 8 * signed, 0, 0, size, 0, 8 * size)


def _float(size: int, exponent: int, mantissa: int) -> bytes:
    bits = 8 * size
    bias = (1 << (exponent - 1)) - 1
    fields = (0, bits, mantissa, exponent, 0, mantissa, bias)
    return struct.pack("<BBBIHHBBBBI", 0x20, bits - 1, 0, size, *fields)


# Each number has one encoding, which must match in every bit: what is behind the class, which is
# 0 for whole numbers and 1 for floats. The bit for big-endian is not set in any.
_NUMBERS = {
    0: {
        _whole(size, signed): f"{'' if signed else 'u'}int{8 * size}"
        for size in (1, 2, 4, 8)
        for signed in (True, False)
    },
    1: {
        _float(2, 5, 10): "float16",
        _float(4, 8, 23): "float32",
        _float(8, 11, 52): "float64",
        _float(2, 8, 7): "bfloat16",
    },
}
_LENGTHS = {0: 11, 1: 19}
_OTHERS = {
    0: "an integer of unusual bits",
    1: "a float of unusual bits",
    2: "a time",
    3: "a string",
    4: "a bit field",
    5: "opaque bytes",
    6: "a compound of several fields",
    7: "a reference",
    8: "an enumeration",
    9: "a sequence of variable length",
    10: "an array",
    11: "a complex number",
}


def read_datatype(file: Hdf5Bytes, content: bytes) -> Datatype:
    """The datatype that a message describes.

    Raises:
        CheckpointError: If no datatype is described so.
    """
    cursor = Cursor(file, content, "a datatype")
    version, kind = divmod(cursor.number(1), 16)
    if kind not in _OTHERS or not 1 <= version <= 5:
        raise file.refused(
            f"a datatype of class {kind}, version {version} is unknown", "with h5py's defaults"
        )
    bits, size = cursor.number(3), cursor.number(4)
    other = Datatype(Element.OTHER, size, _OTHERS[kind])
    if kind in _NUMBERS:
        cursor = Cursor(file, content, "a datatype", 1)
        encoding = cursor.take(_LENGTHS[kind])
        cursor.finish(PADDING)
        name = _NUMBERS[kind].get(encoding)
        if name:
            return Datatype(Element.NUMBER, size, name)
        if encoding[0] & 1:
            return Datatype(Element.OTHER, size, "a big-endian number")
    elif kind == 3:
        cursor.finish(PADDING)
        if size and bits & 15 <= 2:
            return Datatype(Element.STRING, size, "a string", bits & 15)
    elif kind == 5:
        cursor.take(bits & 0xFF)
        cursor.finish(PADDING)
        return Datatype(Element.OPAQUE, size, "opaque bytes")
    elif kind == 8 and _is_boolean(content, version):
        return Datatype(Element.NUMBER, 1, "bool")
    elif kind == 9 and bits & 15 == 1 and size == 16:
        return Datatype(Element.TEXT, size, "a string")
    return other


def _is_boolean(content: bytes, version: int) -> bool:
    """Whether this is h5py's type of truth values: an enumeration of two signed bytes."""
    names = b"FALSE\0\0\0TRUE\0\0\0\0" if version < 3 else b"FALSE\0TRUE\0"
    # The signed bytes may be of an earlier version, in the upper half of the byte left out.
    two = struct.pack("<HBI", 2, 0, 1)
    expected = two, _whole(1, True) + names + b"\0\1"
    return (content[1:8], content[9:].rstrip(b"\0")) == expected and content[8] & 15 == 0


def read_shape(file: Hdf5Bytes, content: bytes) -> tuple[int, ...] | None:
    """The shape that a dataspace message describes; None if there is no element on purpose.

    Raises:
        CheckpointError: If no dataspace is described so, or its shape cannot be held in memory.
    """
    cursor = Cursor(file, content, "a dataspace")
    version, rank, flags = cursor.number(1), cursor.number(1), cursor.number(1)
    if version not in (1, 2) or flags > 1:
        raise file.refused(
            f"a dataspace of version {version}, flags {flags} is unknown", "with h5py's defaults"
        )
    kind = cursor.number(1 if version == 2 else 5)
    # Version 1 tells a scalar by its rank alone.
    if version == 1 and not kind:
        kind = 1 if rank else 0
    if rank > MOST_DIMENSIONS or kind > 2 or (kind == 1) != (rank > 0):
        raise file.damaged(f"a dataspace of {rank} dimensions is impossible")
    shape = tuple(cursor.number(8) for _ in range(rank))
    most = tuple(cursor.number(8) for _ in range(rank)) if flags else shape
    cursor.finish(PADDING)
    if any(size > limit for size, limit in zip(shape, most, strict=True)):
        raise file.damaged(f"a shape of {shape} exceeds its own limit {most}")
    if math.prod(max(1, size) for size in shape) > 2**40:
        raise file.damaged(f"a shape of {shape} is impossible")
    return None if kind == 2 else shape
