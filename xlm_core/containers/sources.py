"""Where bytes lie: a file, a part of one, or memory; read by position."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from xlm_core.errors import CheckpointError


class Source(Protocol):
    """Bytes that are read by position; several threads may read at once.

    Attributes:
        name: What to call it in messages.
        size: Number of bytes.
    """

    name: str
    size: int

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer`, of bytes, from `offset` on.

        Raises:
            CheckpointError: If the bytes are not all there.
        """


def read_bytes(source: Source, offset: int, count: int) -> bytes:
    """The `count` bytes of a source from `offset` on.

    Nothing is allocated for bytes that are not there.

    Raises:
        CheckpointError: If the source ends before, or the place is negative.
    """
    check_extent(source, offset, count)
    buffer = bytearray(count)
    if count:
        source.read_into(offset, memoryview(buffer))
    return bytes(buffer)


def check_extent(source: Source, offset: int, count: int, what: str = "") -> None:
    """Raise `CheckpointError` unless `count` bytes from `offset` on lie within the source."""
    if offset < 0 or count < 0 or offset + count > source.size:
        raise CheckpointError(
            f"{source.name} is damaged or cut off: {what or 'something'} should lie at bytes "
            f"{offset} to {offset + count}, but there are {source.size}. Get the file again."
        )


class FileSource:
    """A file, kept open: removing or replacing it under its name has no effect here.

    Raises:
        CheckpointError: If it cannot be opened or is no regular file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        self._descriptor = -1
        if not Path(path).is_file():
            raise CheckpointError(f"{self.name} is no file: expected one with weights.")
        try:
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise CheckpointError(f"{self.name} cannot be read: {error.strerror}.") from error
        self.size = os.fstat(self._descriptor).st_size
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """The file descriptor, for copies within the kernel."""
        return self._descriptor

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """See `Source`."""
        check_extent(self, offset, len(buffer))
        try:
            while buffer:
                count = self._read_some(offset, buffer)
                if count == 0:
                    raise CheckpointError(f"{self.name} was cut off while it was being read.")
                offset, buffer = offset + count, buffer[count:]
        except OSError as error:
            raise CheckpointError(f"{self.name} cannot be read: {error.strerror}.") from error

    def _read_some(self, offset: int, buffer: memoryview) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [buffer], offset)
        with self._lock:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            content = os.read(self._descriptor, len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


class PartSource:
    """A part of another source, such as a file stored in an archive."""

    def __init__(self, whole: Source, offset: int, size: int, name: str) -> None:
        check_extent(whole, offset, size, name)
        self.name, self.size = f"{whole.name} ({name})", size
        self._whole, self._offset = whole, offset

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """See `Source`."""
        check_extent(self, offset, len(buffer))
        self._whole.read_into(self._offset + offset, buffer)


class MemorySource:
    """The bytes of a contiguous array."""

    def __init__(self, array: np.ndarray[Any, Any], name: str = "memory") -> None:
        self._bytes = array.reshape(-1).view(np.uint8)
        self.name, self.size = name, self._bytes.size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """See `Source`."""
        check_extent(self, offset, len(buffer))
        np.frombuffer(buffer, np.uint8)[:] = self._bytes[offset : offset + len(buffer)]
