"""Event files, which TensorBoard shows: scalars by step, written as they come.

A file is a sequence of records, each a message of the protocol-buffer type Event: TensorFlow's
tf_record format, with Castagnoli's cyclic redundancy check. Nothing but numbers is written.

Source: tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto, and the format
of records in tensorflow/core/lib/io/record_writer.h.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_POLYNOMIAL = 0x82F63B78
_NAME = re.compile(r"events\.out\.tfevents\.(\d{10})\.")


class EventFile:
    """A file of scalars.

    Args:
        folder: Where it is made, by a name that TensorBoard knows.
        first: Scalars of this step and later ones that other files of the folder hold do not count;
            None: all count.
    """

    def __init__(self, folder: str | os.PathLike[str], *, first: int | None = None) -> None:
        where = Path(folder)
        where.mkdir(parents=True, exist_ok=True)
        now = time.time()
        # TensorBoard reads files by name, whatever the times of their events are, and the first of
        # a file voids what came before: where a clock went back, this one is the last still.
        made = (_NAME.match(entry.name) for entry in where.iterdir())
        second = max([int(now), *(1 + int(match[1]) for match in made if match)])
        name = f"events.out.tfevents.{second:010}.{socket.gethostname()}.{os.getpid()}"
        self._file = (where / name).open("ab")
        self._write(_double(1, now) + _bytes(3, b"brain.Event:2"))
        if first is not None:
            begins = _varint(1, 1)  # SessionLog: START
            self._write(_double(1, now) + _varint(2, first) + _bytes(7, begins))

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write scalars of one step by their tags."""
        values = b"".join(
            _bytes(1, _bytes(1, tag.encode()) + _float(2, value)) for tag, value in scalars.items()
        )
        self._write(_double(1, time.time()) + _varint(2, step) + _bytes(5, values))

    def _write(self, event: bytes) -> None:
        size = struct.pack("<Q", len(event))
        parts = (size, struct.pack("<I", _masked(size)), event, struct.pack("<I", _masked(event)))
        self._file.write(b"".join(parts))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _key(field: int, kind: int) -> bytes:
    return _number(field << 3 | kind)


def _number(value: int) -> bytes:
    """A whole number from 0 in groups of seven bits."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _varint(field: int, value: int) -> bytes:
    return _key(field, _VARINT) + _number(value)


def _double(field: int, value: float) -> bytes:
    return _key(field, _FIXED64) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    try:
        packed = struct.pack("<f", value)
    except OverflowError:  # larger than a float32
        packed = struct.pack("<f", float("inf") if value > 0 else float("-inf"))
    return _key(field, _FIXED32) + packed


def _bytes(field: int, value: bytes) -> bytes:
    return _key(field, _BYTES) + _number(len(value)) + value


def _remainder(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_REMAINDERS = [_remainder(byte) for byte in range(256)]


def _masked(data: bytes) -> int:
    """CRC-32C, rotated and shifted as the format has it."""
    check = 0xFFFFFFFF
    for byte in data:
        check = _REMAINDERS[(check ^ byte) & 0xFF] ^ check >> 8
    check ^= 0xFFFFFFFF
    return ((check >> 15 | check << 17) + 0xA282EAD8) & 0xFFFFFFFF
