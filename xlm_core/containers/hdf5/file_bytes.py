"""The bytes of an HDF5 file, read by address: each byte belongs to one structure, or none."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from xlm_core.containers.hdf5.checksum import lookup3
from xlm_core.containers.sources import Source, read_bytes
from xlm_core.errors import CheckpointError

# What the format writes for an address where there is nothing.
NOWHERE = 2**64 - 1
# Messages of the early format are filled up to a multiple of eight bytes.
PADDING = 7
# Far more than a checkpoint has, few enough to end within seconds whatever the bytes say.
MOST_PARTS = 400_000
MOST_CHECKED = 16 << 20
# Small structures lie close together: one read of the file serves several of them.
WINDOW = 8 << 10


class _Extent(NamedTuple):
    start: int
    end: int
    what: str


class Hdf5Bytes:
    """Reads structures of a file and keeps where each lies.

    A damaged address mostly leads outside the file, to bytes that are no such structure, or into
    another structure. The last is found because no two may share a byte, and this also ends
    every loop: as much as the file is long can be read, and no more.

    Attributes:
        source: The file.
        end: Where it ends by its own account, at most at the end of the source.
        path: The group or dataset that is being read, for messages.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.end = source.size
        self.path = "/"
        self._extents: list[_Extent] = []
        self._claimed = 0
        self._parts = 0
        self._checked = 0
        self._window = b""
        self._window_start = 0

    # -- reading -------------------------------------------------------------------------------

    def read(self, address: int, size: int, what: str) -> bytes:
        """The bytes of a structure, which no other may share.

        Raises:
            CheckpointError: If they are not all in the file, or too many were read before.
        """
        self.claim(address, size, what)
        return self.peek(address, size, what)

    def peek(self, address: int, size: int, what: str) -> bytes:
        """The same without a claim: the beginning of what says only there how long it is.

        Raises:
            CheckpointError: If they are not all in the file.
        """
        self._check(address, size, what)
        start = address - self._window_start
        if start < 0 or start + size > len(self._window):
            if size > WINDOW // 2:
                return read_bytes(self.source, address, size)
            self._window = read_bytes(self.source, address, min(WINDOW, self.end - address))
            self._window_start, start = address, 0
        return self._window[start : start + size]

    def claim(self, address: int, size: int, what: str) -> None:
        """Note that a structure, or a dataset's numbers, take these bytes.

        Raises:
            CheckpointError: If they are not all in the file, or too many were claimed before.
        """
        self._check(address, size, what)
        self._claimed += size
        if self._claimed > self.end:
            raise self.damaged(f"its parts take more than its {self.end} bytes, so some share them")
        self.count(1)
        self._extents.append(_Extent(address, address + size, f"{what} of {self.path}"))

    def count(self, number: int) -> None:
        """Note that so many structures, messages, links or strings more are read.

        Raises:
            CheckpointError: If that makes more than any checkpoint has.
        """
        self._parts += number
        if self._parts > MOST_PARTS:
            raise self.refused(f"it has more than {MOST_PARTS} parts", "in smaller files")

    def _check(self, address: int, size: int, what: str) -> None:
        if address + size > self.end:
            place = "nowhere" if address == NOWHERE else f"at bytes {address} to {address + size}"
            raise self.damaged(f"{what} should lie {place}, but the file ends at {self.end}")

    def check_claims(self) -> None:
        """Raise `CheckpointError` if two structures share a byte."""
        self._extents.sort()
        for one, other in pairwise(self._extents):
            if other.start < one.end:
                raise self.damaged(
                    f"{one.what} at bytes {one.start} to {one.end} and {other.what} at bytes "
                    f"{other.start} to {other.end} overlap"
                )

    # -- verdicts ------------------------------------------------------------------------------

    def check_sum(self, block: bytes, what: str) -> None:
        """Raise `CheckpointError` unless a block ends in the checksum of what precedes it."""
        self._checked += len(block)
        if self._checked > MOST_CHECKED:
            raise self.refused("it has too much besides tensors", "in smaller files")
        if lookup3(block[:-4]) != int.from_bytes(block[-4:], "little"):
            raise self.damaged(f"the checksum of {what} does not fit")

    def damaged(self, found: str) -> CheckpointError:
        """An error for a file that is damaged."""
        error: CheckpointError = CheckpointError(
            f"{self.source.name} is damaged at {self.path}: {found}. Get the file again."
        )
        return error

    def refused(self, found: str, instead: str) -> CheckpointError:
        """An error for a feature that is not read; says how to save the file without it."""
        error: CheckpointError = CheckpointError(
            f"{self.source.name} cannot be used: {self.path}: {found}. Save it again {instead}."
        )
        return error


class Cursor:
    """Takes the fields of a structure from its bytes, one after the other.

    Attributes:
        position: Bytes taken so far.
    """

    def __init__(self, file: Hdf5Bytes, content: bytes, what: str, position: int = 0) -> None:
        self._file, self._content, self._what = file, content, what
        self.position = position

    def take(self, count: int) -> bytes:
        """The next `count` bytes.

        Raises:
            CheckpointError: If there are fewer.
        """
        start, self.position = self.position, self.position + count
        if self.position > len(self._content):
            raise self._file.damaged(
                f"{self._what} has {len(self._content)} bytes, but should have "
                f"{self.position} or more"
            )
        return self._content[start : self.position]

    def number(self, size: int) -> int:
        """The next `size` bytes as an unsigned integer."""
        return int.from_bytes(self.take(size), "little")

    @property
    def left(self) -> int:
        """Number of bytes not yet taken."""
        return len(self._content) - self.position

    def finish(self, padding: int = 0) -> None:
        """Raise `CheckpointError` unless only up to `padding` zeros are left."""
        rest = self._content[self.position :]
        if len(rest) > padding or any(rest):
            raise self._file.damaged(f"{self._what} has {len(rest)} bytes too many")
