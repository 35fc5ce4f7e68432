"""The superblock of an HDF5 file: its first bytes, which say how the rest is written."""

from __future__ import annotations

from dataclasses import dataclass

from xlm_core.containers.hdf5.file_bytes import NOWHERE, Cursor, Hdf5Bytes
from xlm_core.errors import CheckpointError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_REMEDY = "with h5py's defaults"


@dataclass(frozen=True)
class Superblock:
    """What a file says about itself.

    Attributes:
        root: Address of the header of the root group.
        leaf_size: Half the number of links in a full symbol node.
        internal_size: Half the number of children in a full B-tree node of symbol nodes.
        extension: Address of a header with more such values, or `NOWHERE`.
    """

    root: int
    leaf_size: int = 4
    internal_size: int = 16
    extension: int = NOWHERE


def read_superblock(file: Hdf5Bytes) -> Superblock:
    """The superblock of versions 0 to 3; `file.end` is what it says from here on.

    Raises:
        CheckpointError: If the file is no HDF5 file, is cut off, was not closed by what wrote
            it, or has a user block, other than 8-byte addresses or an unknown version.
    """
    if file.end < 9 or file.peek(0, 8, "the signature") != SIGNATURE:
        raise CheckpointError(
            f"{file.source.name} is no HDF5 file: it should begin with {SIGNATURE!r} (a file with "
            "a user block before that must be saved again without)."
        )
    version = file.peek(8, 1, "the superblock")[0]
    if version > 3:
        raise file.refused(f"the superblock is of version {version}, known are 0 to 3", _REMEDY)
    size = {0: 96, 1: 100, 2: 48, 3: 48}[version]
    content = file.read(0, size, "the superblock")
    cursor = Cursor(file, content, "the superblock", 9)
    if version < 2:
        return _early(file, cursor, version)
    file.check_sum(content, "the superblock")
    _check_sizes(file, cursor)
    if cursor.number(1):
        raise file.damaged("it was not closed by what wrote it")
    base, extension = cursor.number(8), cursor.number(8)
    _check_span(file, base, cursor.number(8))
    return Superblock(cursor.number(8), extension=extension)


def _early(file: Hdf5Bytes, cursor: Cursor, version: int) -> Superblock:
    if any(cursor.take(4)):
        raise file.damaged("the superblock names unknown versions of its parts")
    _check_sizes(file, cursor)
    cursor.take(1)
    leaf_size, internal_size = cursor.number(2), cursor.number(2)
    if not leaf_size or not internal_size:
        raise file.damaged("the superblock gives B-trees no room")
    if cursor.number(4):
        raise file.damaged("it was not closed by what wrote it")
    cursor.take(4 if version else 0)
    base = cursor.number(8)
    cursor.take(8)
    _check_span(file, base, cursor.number(8))
    if cursor.number(8) != NOWHERE:
        raise file.refused("it is one of several files of a driver", _REMEDY)
    cursor.take(8)
    return Superblock(cursor.number(8), leaf_size, internal_size)


def _check_sizes(file: Hdf5Bytes, cursor: Cursor) -> None:
    addresses, lengths = cursor.number(1), cursor.number(1)
    if (addresses, lengths) != (8, 8):
        raise file.refused(
            f"addresses have {addresses} bytes and lengths {lengths}, expected 8 and 8", _REMEDY
        )


def _check_span(file: Hdf5Bytes, base: int, end: int) -> None:
    if base:
        raise file.refused(f"it begins at byte {base}, after a user block", "without that")
    if end > file.source.size:
        raise CheckpointError(
            f"{file.source.name} is cut off: it should have {end} bytes, but has "
            f"{file.source.size}. Get the file again."
        )
    file.end = end
