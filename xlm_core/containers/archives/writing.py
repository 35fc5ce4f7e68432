"""Write a zip archive of stored members, large ones streamed, each at a multiple of 64 bytes."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.streaming import Job, Progress, fill_with_checksums, reserve

ALIGNMENT = 64
# The largest size, offset or number that a field of 32 or 16 bits holds; then 64 bits elsewhere.
LARGEST, MOST = 0xFFFFFFFE, 0xFFFE
_UTF8 = 0x800
# 1 January 1980: the same content gives the same bytes.
_DATE = 0x21
_PADDING = 0x4246


@dataclass(frozen=True)
class _Member:
    name: bytes
    content: bytes | LazyTensor
    size: int
    header: int
    offset: int

    def head(self, checksum: int) -> bytes:
        """The header in front of the content, filled up to where that begins."""
        sizes, long = _split(self.size, self.size)
        extra = _extra(long)
        padding = self.offset - self.header - 30 - len(self.name) - len(extra) - 4
        extra += struct.pack("<2H", _PADDING, padding) + bytes(padding)
        fields = (45 if long else 20, _UTF8, 0, 0, _DATE, checksum, *sizes)
        lengths = (len(self.name), len(extra))
        return struct.pack("<4s5H3L2H", b"PK\x03\x04", *fields, *lengths) + self.name + extra

    def entry(self, checksum: int) -> bytes:
        """Its entry in the directory."""
        (packed, unpacked, header), long = _split(self.size, self.size, self.header)
        version, extra = 45 if long else 20, _extra(long)
        fields = (version, version, _UTF8, 0, 0, _DATE, checksum, packed, unpacked)
        lengths = (len(self.name), len(extra), 0)
        rest = (0, 0, 0, header)
        packed_fields = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *fields, *lengths, *rest)
        return packed_fields + self.name + extra


def write_archive(
    path: str | os.PathLike[str],
    contents: Sequence[tuple[str, bytes | LazyTensor]],
    progress: Progress | None = None,
) -> None:
    """Write a file, a few blocks of tensors in memory at a time.

    Args:
        path: Written as it goes: the caller gives a temporary name and renames.
        contents: Names and contents of the members, in order; of a tensor, its elements in
            row-major order.
        progress: Called with numbers of bytes of tensors, from several threads.

    Raises:
        CheckpointError: If a tensor cannot be read.
        OSError: If the file cannot be written.
    """
    members, position = [], 0
    for name, content in contents:
        member = _place(name.encode(), content, position)
        members.append(member)
        position = member.offset + member.size
    streamed = [Job(m.offset, m.content) for m in members if isinstance(m.content, LazyTensor)]
    with open(path, "wb") as file:
        reserve(file.fileno(), position)
        sums = iter(fill_with_checksums(file.fileno(), streamed, progress))
        directory = b""
        for member in members:
            if isinstance(member.content, bytes):
                checksum = zlib.crc32(member.content)
                file.seek(member.offset)
                file.write(member.content)
            else:
                checksum = next(sums)
            file.seek(member.header)
            file.write(member.head(checksum))
            directory += member.entry(checksum)
        file.seek(position)
        file.write(directory + _ends(len(members), position, len(directory)))


def _place(name: bytes, content: bytes | LazyTensor, position: int) -> _Member:
    size = len(content) if isinstance(content, bytes) else content.nbytes
    offset = position + 30 + len(name) + len(_extra(_split(size, size)[1])) + 4
    return _Member(name, content, size, position, offset + -offset % ALIGNMENT)


def _split(*values: int) -> tuple[list[int], list[int]]:
    """What stands in the 32-bit fields, and the values that go into an extra field."""
    long = [value for value in values if value > LARGEST]
    return [value if value <= LARGEST else 0xFFFFFFFF for value in values], long


def _extra(long: list[int]) -> bytes:
    return struct.pack(f"<2H{len(long)}Q", 1, 8 * len(long), *long) if long else b""


def _ends(count: int, start: int, size: int) -> bytes:
    """The records that end an archive, in 64 bits and in as many as there were before."""
    end = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, start + size, 1)
    short = count if count <= MOST else 0xFFFF
    (size, start), _ = _split(size, start)
    return (
        end + locator + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, short, short, size, start, 0)
    )
