"""The checksum of HDF5's newer structures: Bob Jenkins' lookup3 for byte strings."""

from __future__ import annotations

import struct

_MASK = 0xFFFFFFFF
_THREE = struct.Struct("<III")


def lookup3(content: bytes) -> int:
    """The 32-bit hash of some bytes, with an initial value of 0.

    Source: Jenkins, "lookup3.c" (2006, public domain), function hashlittle.
    """
    a: int
    b: int
    c: int
    a = b = c = (0xDEADBEEF + len(content)) & _MASK
    if not content:
        return c
    # The last one to twelve bytes, filled up with zeros, are mixed in another way.
    last = (len(content) - 1) // 12 * 12
    for x, y, z in _THREE.iter_unpack(content[:last]):
        # Each line: subtract, exclude by the third word rotated to the left, add.
        a, b, c = (a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK
        a, c = ((a - c) & _MASK) ^ ((c << 4 | c >> 28) & _MASK), (c + b) & _MASK
        b, a = ((b - a) & _MASK) ^ ((a << 6 | a >> 26) & _MASK), (a + c) & _MASK
        c, b = ((c - b) & _MASK) ^ ((b << 8 | b >> 24) & _MASK), (b + a) & _MASK
        a, c = ((a - c) & _MASK) ^ ((c << 16 | c >> 16) & _MASK), (c + b) & _MASK
        b, a = ((b - a) & _MASK) ^ ((a << 19 | a >> 13) & _MASK), (a + c) & _MASK
        c, b = ((c - b) & _MASK) ^ ((b << 4 | b >> 28) & _MASK), (b + a) & _MASK
    x, y, z = _THREE.unpack(content[last:].ljust(12, b"\0"))
    a, b, c = (a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK
    c = ((c ^ b) - (b << 14 | b >> 18)) & _MASK
    a = ((a ^ c) - (c << 11 | c >> 21)) & _MASK
    b = ((b ^ a) - (a << 25 | a >> 7)) & _MASK
    c = ((c ^ b) - (b << 16 | b >> 16)) & _MASK
    a = ((a ^ c) - (c << 4 | c >> 28)) & _MASK
    b = ((b ^ a) - (a << 14 | a >> 18)) & _MASK
    return ((c ^ b) - (b << 24 | b >> 8)) & _MASK
