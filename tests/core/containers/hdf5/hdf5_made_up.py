"""HDF5 files of the early format, put together byte by byte, for what no library writes."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Sequence

import pytest

from tests.core.containers.hdf5.hdf5_files import read_content
from xlm_core import CheckpointError

NOWHERE = 2**64 - 1
# The header of the root, and its first message.
HEADER, FIRST = 96, 112
# What follows a header with one message of 16 bytes.
REST = FIRST + 8 + 16
# No part of anything: without this, much is found at once that takes more bytes than there are.
SPARE = bytes(4_000)
FLOAT = struct.pack("<BBBBIHHBBBBI", 0x11, 0x20, 31, 0, 4, 0, 32, 23, 8, 0, 23, 127)
TEXT = struct.pack("<BBBBI", 0x19, 1, 0, 0, 16) + struct.pack("<BBBBIHH", 0x10, 0, 0, 0, 1, 0, 8)


def made_up(
    messages: Sequence[tuple[int, bytes]], rest: bytes = b"", *, flags: int = 0, count: int = -1
) -> bytes:
    """A file of the early format whose root has these messages, with more bytes after them."""
    rest += SPARE
    body = b""
    for kind, content in messages:
        content += bytes(-len(content) % 8)
        body += struct.pack("<HHB3x", kind, len(content), flags) + content
    header = struct.pack("<BxHII4x", 1, len(messages) if count < 0 else count, 1, len(body)) + body
    end = HEADER + len(header) + len(rest)
    versions = bytes([0, 0, 0, 0, 0, 8, 8, 0])
    superblock = b"\x89HDF\r\n\x1a\n" + versions + struct.pack("<HHI", 4, 16, 0)
    superblock += struct.pack("<QQQQ", 0, NOWHERE, end, NOWHERE) + struct.pack("<QQ24x", 0, HEADER)
    return superblock + header + rest


def group(*messages: tuple[int, bytes], rest: bytes = b"", count: int = -1) -> bytes:
    """A file with nothing in its root but these messages."""
    place = len(made_up([*messages, table(0)])) - len(SPARE)
    empty = tree(0) + heap(place + 544, bytes(8))
    return made_up([*messages, table(place)], empty + rest, count=count)


def dataspace(*shape: int) -> bytes:
    return struct.pack(f"<BBB5x{len(shape)}Q", 1, len(shape), 0, *shape)


def attribute(name: bytes, datatype: bytes, space: bytes, content: bytes) -> bytes:
    parts = name + b"\0", datatype, space
    padded = b"".join(part + bytes(-len(part) % 8) for part in parts)
    return struct.pack("<BxHHH", 1, *map(len, parts)) + padded + content


def table(rest_at: int) -> tuple[int, bytes]:
    """A message of a group whose tree comes first in the rest, and 544 bytes on its heap."""
    return 0x11, struct.pack("<QQ", rest_at, rest_at + 544)


def tree(level: int, *children: int, key: int = 0) -> bytes:
    words = [0]
    for child in children:
        words += [child, key]
    node = struct.pack("<4sBBHQQ", b"TREE", 0, level, len(children), NOWHERE, NOWHERE)
    return (node + struct.pack(f"<{len(words)}Q", *words)).ljust(544, b"\0")


def heap(address: int, names: bytes) -> bytes:
    return struct.pack("<4sB3xQQQ", b"HEAP", 0, len(names), NOWHERE, address + 32) + names


def strings(*entries: tuple[int, bytes], size: int = 4096) -> bytes:
    content = struct.pack("<4sB3xQ", b"GCOL", 1, size)
    for index, text in entries:
        content += struct.pack("<HHIQ", index, 0, 0, len(text)) + text + bytes(-len(text) % 8)
    return content.ljust(4096, b"\0")


def refused(content: bytes, message: str) -> None:
    """Refused, with little memory: nothing is made on a mere claim."""
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=message):
            read_content(content)
        assert tracemalloc.get_traced_memory()[1] < (1 << 20) + 2 * len(content)
    finally:
        tracemalloc.stop()
