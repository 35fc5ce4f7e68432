"""Zip archives whose members are stored as they are: where each of them lies in the file."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import NamedTuple

from xlm_core.containers.sources import PartSource, Source, read_bytes
from xlm_core.errors import CheckpointError

_END_MARK = b"PK\x05\x06"
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_HEADER = struct.Struct("<4s5H3L2H")
# What a field of 32 or 16 bits holds where the value stands in a field of 64 bits elsewhere.
_LONG, _SHORT = 0xFFFFFFFF, 0xFFFF
# Bits of the flags: encrypted in any way, or a patch; sizes follow the content; UTF-8 names.
_UNREADABLE, _SIZES_FOLLOW, _UTF8 = 0x2061, 0x08, 0x800
# A torch file has one member for each tensor, some hundreds.
MOST_MEMBERS = 100_000
_LONGEST_NAME = 500


class Extent(NamedTuple):
    """Where the content of a member lies in the archive, in bytes."""

    offset: int
    size: int


class _Entry(NamedTuple):
    name: str
    raw_name: bytes
    flags: int
    method: int
    header: int
    packed: int
    size: int


def members(source: Source) -> dict[str, PartSource]:
    """Every member of a zip archive, by name and in the directory's order.

    Checksums are not looked at. Folders are left out.

    Raises:
        CheckpointError: If the archive is damaged or in several files, or if a member is
            compressed, encrypted, there twice, described in two ways, or shares bytes with
            another one or with the directory.
    """
    return {
        name: PartSource(source, extent.offset, extent.size, name)
        for name, extent in extents(source).items()
    }


def names(source: Source) -> list[str]:
    """Names in the directory of a zip archive, also of members that cannot be read here.

    Raises:
        CheckpointError: If the directory is damaged.
    """
    return [entry.name for entry in _entries(source, *_directory(source))]


def extents(source: Source) -> dict[str, Extent]:
    """As `members`, but only where they lie."""
    count, start, size = _directory(source)
    found: dict[str, Extent] = {}
    ends = []
    for entry in _entries(source, count, start, size):
        if entry.name in found:
            raise _damaged(source, f"two members have the name {entry.name!r}")
        found[entry.name] = extent = _locate(source, entry)
        ends.append((entry.header, extent.offset + extent.size, f"the member {entry.name!r}"))
    places = [*sorted(ends), (start, start + size, "its directory")]
    for (_, end, name), (begin, _, other) in pairwise(places):
        if end > begin:
            raise _damaged(source, f"{name} reaches into {other}")
    return {name: extent for name, extent in found.items() if not name.endswith("/")}


def _directory(source: Source) -> tuple[int, int, int]:
    """Number of entries, offset and size of the central directory."""
    tail_start = max(0, source.size - _END.size - _SHORT)
    tail = read_bytes(source, tail_start, source.size - tail_start)
    at = _last_record(tail)
    if at < 0:
        raise _damaged(source, "the record that ends an archive is missing or cut off")
    end = tail_start + at
    _, disk, first_disk, here, count, size, start, _ = _END.unpack_from(tail, at)
    disks = (disk, first_disk)
    if end >= _LOCATOR.size:
        locator = read_bytes(source, end - _LOCATOR.size, _LOCATOR.size)
        if locator[:4] == b"PK\x06\x07":
            _, last_disk, place, _ = _LOCATOR.unpack(locator)
            record = read_bytes(source, place, _END_64.size)
            long = _END_64.unpack(record)
            shorts = ((disk, first_disk, here, count), (size, start))
            if (
                record[:4] != b"PK\x06\x06"
                or place + 12 + long[1] != end - _LOCATOR.size
                or any(a not in (b, _SHORT) for a, b in zip(shorts[0], long[4:8], strict=True))
                or any(a not in (b, _LONG) for a, b in zip(shorts[1], long[8:], strict=True))
            ):
                raise _damaged(source, f"its last records, at bytes {place} and {end}, disagree")
            end, here, count, size, start = place, *long[6:]
            disks = (last_disk, *long[4:6])
    if any(disks) or here != count:
        raise CheckpointError(
            f"{source.name} is one part of an archive in several files. Join them to one first."
        )
    if start + size != end or count * _ENTRY.size > size or count > MOST_MEMBERS:
        raise _damaged(
            source,
            f"its directory should have {count} entries in bytes {start} to {start + size} and "
            f"end at byte {end}",
        )
    return count, start, size


def _last_record(tail: bytes) -> int:
    """Where the last record begins. A comment may follow, and may hold what looks like one."""
    at = tail.rfind(_END_MARK)
    while at >= 0:
        comment = tail[at + _END.size - 2 : at + _END.size]
        if at + _END.size + int.from_bytes(comment, "little") == len(tail):
            break
        at = tail.rfind(_END_MARK, 0, at + len(_END_MARK) - 1)
    return at


def _entries(source: Source, count: int, start: int, size: int) -> list[_Entry]:
    """The entries of the central directory, which must fill it to the byte."""
    content = read_bytes(source, start, size)
    entries, position = [], 0
    for index in range(count):
        if len(content) - position < _ENTRY.size or content[position : position + 2] != b"PK":
            raise _damaged(source, f"entry {index} of its directory is no entry")
        fields = _ENTRY.unpack_from(content, position)
        flags, method, packed, unpacked = fields[3], fields[4], fields[8], fields[9]
        disk, header = fields[13], fields[16]
        lengths = fields[10:13]
        position += _ENTRY.size
        raw_name = content[position : position + lengths[0]]
        extra = content[position + lengths[0] : position + lengths[0] + lengths[1]]
        position += sum(lengths)
        if fields[0] != b"PK\x01\x02" or position > size:
            raise _damaged(source, f"entry {index} of its directory is no entry, or cut off")
        name = _text(source, raw_name, flags)
        unpacked, packed, header, disk = _long_values(
            source, name, extra, (unpacked, packed, header, disk)
        )
        if disk != 0:
            raise _damaged(source, f"the member {name!r} should lie in another file")
        entries.append(_Entry(name, raw_name, flags, method, header, packed, unpacked))
    if position != size:
        raise _damaged(source, f"its directory has {size - position} bytes after its last entry")
    return entries


def _text(source: Source, raw_name: bytes, flags: int) -> str:
    try:
        name = raw_name.decode("utf-8" if flags & _UTF8 else "cp437")
    except UnicodeDecodeError:
        name = ""
    if not name or "\0" in name or len(name) > _LONGEST_NAME:
        raise _damaged(source, f"a member has the name {raw_name[:40]!r}")
    return name


def _long_values(
    source: Source, name: str, extra: bytes, values: tuple[int, int, int, int]
) -> tuple[int, ...]:
    """The values, those that are marked replaced by the 64-bit ones of the extra field."""
    limits = (_LONG, _LONG, _LONG, _SHORT)
    position, fields = 0, b""
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == 1:
            fields = extra[position + 4 : position + 4 + length]
        position += 4 + length
    if position > len(extra):
        raise _damaged(source, f"an extra field of the member {name!r} is cut off")
    result = []
    for value, limit in zip(values, limits, strict=True):
        width = 8 if limit == _LONG else 4
        if value == limit and fields:
            if len(fields) < width:
                raise _damaged(source, f"the long sizes of the member {name!r} are cut off")
            value, fields = int.from_bytes(fields[:width], "little"), fields[width:]
        result.append(value)
    return tuple(result)


def _locate(source: Source, entry: _Entry) -> Extent:
    """Where the content begins: after a header that must say what the directory says."""
    if entry.flags & _UNREADABLE:
        raise CheckpointError(
            f"{source.name}: the member {entry.name!r} is encrypted. Unpack the archive with its "
            "password, and pack it again without one and without compression."
        )
    if entry.method != 0 or entry.packed != entry.size:
        raise CheckpointError(
            f"{source.name}: the member {entry.name!r} is compressed, but only members stored as "
            "they are can be read. Unpack the archive and pack it again without compression."
        )
    if entry.name.endswith("/") and entry.size:
        raise _damaged(source, f"the folder {entry.name!r} has a content")
    header = read_bytes(source, entry.header, _HEADER.size)
    fields = _HEADER.unpack(header)
    flags, method, packed, unpacked, name_length, extra_length = *fields[2:4], *fields[7:]
    rest = read_bytes(source, entry.header + _HEADER.size, name_length + extra_length)
    unpacked, packed, *_ = _long_values(
        source,
        entry.name,
        rest[name_length:] if packed == _LONG or unpacked == _LONG else b"",
        (unpacked, packed, 0, 0),
    )
    sizes_follow = flags & _SIZES_FOLLOW and packed == unpacked == 0
    if (
        fields[0] != b"PK\x03\x04"
        or rest[:name_length] != entry.raw_name
        or method != 0
        or flags & _UNREADABLE
        or not (sizes_follow or packed == unpacked == entry.size)
    ):
        raise _damaged(
            source,
            f"the header of the member {entry.name!r}, at byte {entry.header}, disagrees with the "
            "directory",
        )
    return Extent(entry.header + _HEADER.size + name_length + extra_length, entry.size)


def _damaged(source: Source, what: str) -> CheckpointError:
    error: CheckpointError = CheckpointError(
        f"{source.name} is a damaged zip archive, or none: {what}. Get the file again."
    )
    return error
