"""Object headers of HDF5: the messages that describe a group or a dataset."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

from xlm_core.containers.hdf5.file_bytes import Cursor, Hdf5Bytes

_EARLY_PREFIX = struct.Struct("<BxHII4x")
_EARLY_MESSAGE = struct.Struct("<HHB3s")


class Kind(IntEnum):
    """What a message is about, by its number in the file."""

    NOTHING = 0x00
    DATASPACE = 0x01
    LINK_INFO = 0x02
    DATATYPE = 0x03
    EARLY_FILL_VALUE = 0x04
    FILL_VALUE = 0x05
    LINK = 0x06
    EXTERNAL_FILES = 0x07
    LAYOUT = 0x08
    GROUP_INFO = 0x0A
    FILTERS = 0x0B
    ATTRIBUTE = 0x0C
    COMMENT = 0x0D
    SHARED_TABLE = 0x0F
    CONTINUATION = 0x10
    SYMBOL_TABLE = 0x11
    TIME = 0x12
    BTREE_SIZES = 0x13
    DRIVER = 0x14
    ATTRIBUTE_INFO = 0x15
    REFERENCES = 0x16
    FREE_SPACE = 0x17


KINDS = {int(kind): kind for kind in Kind}
_REPEATED = (Kind.NOTHING, Kind.LINK, Kind.ATTRIBUTE, Kind.CONTINUATION)


@dataclass(frozen=True)
class Message:
    """A part of an object header.

    Attributes:
        kind: What it is about.
        body: Its bytes.
        offset: Where these begin in the file.
        order: When an attribute was made, counted from 0, where the file tells.
    """

    kind: Kind
    body: bytes
    offset: int
    order: int | None


def read_header(file: Hdf5Bytes, address: int) -> list[Message]:
    """The messages of the object at an address, in order, without those that are none.

    Raises:
        CheckpointError: If it is damaged, linked more than once, or has messages that are
            unknown or shared with other objects.
    """
    beginning = file.peek(address, 16, "an object header")
    if beginning[:4] == b"OHDR":
        messages = _later(file, address)
    elif beginning[0] == 1:
        messages = _early(file, address, beginning)
    else:
        raise file.damaged(f"no object header is at byte {address}")
    found = set()
    for message in messages:
        if message.kind in found and message.kind not in _REPEATED:
            raise file.damaged(f"the object header has two messages {message.kind.name}")
        found.add(message.kind)
        if message.kind is Kind.REFERENCES:
            cursor = Cursor(file, message.body, "a reference count")
            _check_references(file, cursor.number(5) >> 8)
    return messages


def _check_references(file: Hdf5Bytes, references: int) -> None:
    if references != 1:
        raise file.refused(
            f"it is linked {references} times, expected once", "with a copy instead of a hard link"
        )


def _message(file: Hdf5Bytes, number: int, flags: int, body: bytes, offset: int) -> Message:
    file.count(1)
    kind = KINDS.get(number)
    if kind is None:
        raise file.refused(
            f"the object header has an unknown message, number {number}", "with h5py's defaults"
        )
    if flags & 2:
        raise file.refused(
            f"it shares its {kind.name} with other objects", "without committed datatypes"
        )
    return Message(kind, body, offset, None)


def _continued(file: Hdf5Bytes, message: Message) -> tuple[int, int]:
    cursor = Cursor(file, message.body, "a continuation message")
    return cursor.number(8), cursor.number(8)


# -- version 1 -------------------------------------------------------------------------------------


def _early(file: Hdf5Bytes, address: int, prefix: bytes) -> list[Message]:
    _, count, references, size = _EARLY_PREFIX.unpack(prefix)
    _check_references(file, references)
    chunk = file.read(address, 16 + size, "an object header")
    chunks = [(address + 16, chunk[16:])]
    messages: list[Message] = []
    seen = 0
    for start, content in chunks:
        for message in _early_messages(file, start, content):
            seen += 1
            if message.kind is Kind.CONTINUATION:
                place, size = _continued(file, message)
                chunks.append((place, file.read(place, size, "a continued object header")))
            elif message.kind is not Kind.NOTHING:
                messages.append(message)
    if seen != count:
        raise file.damaged(f"the object header has {seen} messages, but should have {count}")
    return messages


def _early_messages(file: Hdf5Bytes, start: int, content: bytes) -> Iterator[Message]:
    position = 0
    while position < len(content):
        if len(content) - position < 8:
            raise file.damaged("the object header ends within a message")
        number, size, flags, reserved = _EARLY_MESSAGE.unpack_from(content, position)
        position += 8
        if size % 8 or position + size > len(content) or any(reserved):
            raise file.damaged(f"a message of the object header, number {number}, is impossible")
        body = content[position : position + size]
        yield _message(file, number, flags, body, start + position)
        position += size


# -- version 2 -------------------------------------------------------------------------------------


def _later(file: Hdf5Bytes, address: int) -> list[Message]:
    version, flags = file.peek(address + 4, 2, "an object header")
    if version != 2 or flags & 0xC0:
        raise file.refused(
            f"the object header is of version {version} with flags {flags}, known are 1 and 2",
            "with h5py's defaults",
        )
    # Four times, and two limits on the number of attributes, of no use here.
    length = 6 + 16 * (flags >> 5 & 1) + 4 * (flags >> 4 & 1) + (1 << (flags & 3))
    prefix = file.peek(address, length, "an object header")
    size = int.from_bytes(prefix[-(1 << (flags & 3)) :], "little")
    chunk = file.read(address, length + size + 4, "an object header")
    chunks = [(address, chunk, length)]
    messages: list[Message] = []
    for start, content, skipped in chunks:
        file.check_sum(content, "an object header")
        for message in _later_messages(file, start, content, skipped, bool(flags & 4)):
            if message.kind is Kind.CONTINUATION:
                place, size = _continued(file, message)
                chunk = file.read(place, size, "a continued object header")
                if chunk[:4] != b"OCHK":
                    raise file.damaged(f"no continued object header is at byte {place}")
                chunks.append((place, chunk, 4))
            elif message.kind is not Kind.NOTHING:
                messages.append(message)
    return messages


def _later_messages(
    file: Hdf5Bytes, start: int, content: bytes, position: int, ordered: bool
) -> Iterator[Message]:
    cursor = Cursor(file, content[:-4], "an object header", position)
    # What is too short for a message at the end is a gap.
    while cursor.left >= (6 if ordered else 4):
        number, size, flags = cursor.number(1), cursor.number(2), cursor.number(1)
        order = cursor.number(2) if ordered else None
        offset = start + cursor.position
        message = _message(file, number, flags, cursor.take(size), offset)
        yield replace(message, order=order)
