"""Text in HDF5 files: UTF-8, and the collections in which strings of variable length lie."""

from __future__ import annotations

from xlm_core.containers.hdf5.file_bytes import NOWHERE, Cursor, Hdf5Bytes


def decode(file: Hdf5Bytes, content: bytes, what: str) -> str:
    """Text of UTF-8 bytes without zeros.

    Raises:
        CheckpointError: If it is none.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise file.damaged(f"{what} is no text in UTF-8: {content[:40]!r}") from error
    if "\0" in text:
        raise file.damaged(f"{what} has a zero within: {content[:40]!r}")
    return text


class TextHeap:
    """The strings of variable length of a file, which lie in collections somewhere in it."""

    def __init__(self, file: Hdf5Bytes) -> None:
        self._file = file
        self._collections: dict[int, dict[int, bytes]] = {}

    def take(self, reference: bytes) -> bytes:
        """The string that 16 bytes refer to; each is given once, so that none is mistaken.

        Raises:
            CheckpointError: If it is not there, or was given before.
        """
        cursor = Cursor(self._file, reference, "a reference to a string")
        length, address, index = cursor.number(4), cursor.number(8), cursor.number(4)
        if length == 0 and address in (0, NOWHERE):
            return b""
        if address not in self._collections:
            self._collections[address] = self._read_collection(address)
        content = self._collections[address].pop(index, None)
        if content is None or len(content) != length:
            found = "there is none" if content is None else f"there is one of {len(content)} bytes"
            raise self._file.damaged(
                f"an attribute refers to string {index} at byte {address}, of {length} bytes, but "
                f"{found} that no other refers to"
            )
        return content

    def _read_collection(self, address: int) -> dict[int, bytes]:
        what = "a collection of strings"
        size = int.from_bytes(self._file.peek(address, 16, what)[8:], "little")
        content = self._file.read(address, max(16, size), what)
        if content[:8] != b"GCOL\1\0\0\0":
            raise self._file.damaged(f"no collection of strings is at byte {address}")
        cursor = Cursor(self._file, content, what, 16)
        strings: dict[int, bytes] = {}
        while cursor.left >= 16:
            self._file.count(1)
            index, _, size = cursor.number(2), cursor.number(6), cursor.number(8)
            if index == 0:
                # What is free follows all strings.
                break
            if index in strings:
                raise self._file.damaged(f"string {index} at byte {address} is there twice")
            strings[index] = cursor.take(size)
            cursor.take(-size % 8)
        return strings
