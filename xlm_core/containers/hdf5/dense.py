"""Many links or attributes of one HDF5 object: a heap of messages, and a B-tree that finds them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from xlm_core.containers.hdf5.file_bytes import NOWHERE, PADDING, Cursor, Hdf5Bytes

# Deeper than any tree or heap of a file that may be read.
_MOST_DEPTH = 8
# Signature, version, type and checksum of a node of a B-tree.
_NODE_FRAME = 10


def _bytes_for(number: int) -> int:
    """Bytes that are used for numbers up to this one."""
    return max(1, -(-number.bit_length() // 8))


def read_dense(
    file: Hdf5Bytes, info: bytes, counter: int, kind: int, size: int, place: int
) -> Iterator[tuple[bytes, bytes]]:
    """The records and messages of an object whose links, or attributes, are in a heap.

    Args:
        file: Where it is from.
        info: The message that tells where heap and B-tree are.
        counter: Bytes of the number of links or attributes ever made, in that message.
        kind: The number of the kind of records that is expected.
        size: Bytes of such a record.
        place: Where in it the identifier of its message begins.

    Raises:
        CheckpointError: If these are damaged.
    """
    cursor = Cursor(file, info, "a message about a heap")
    version, flags = cursor.number(1), cursor.number(1)
    if version or flags > 3:
        raise file.refused(
            f"a heap of version {version}, flags {flags} is unknown", "with h5py's defaults"
        )
    cursor.take(counter if flags & 1 else 0)
    address, tree = cursor.number(8), cursor.number(8)
    cursor.take(8 if flags & 2 else 0)
    cursor.finish(PADDING)
    if (address, tree) == (NOWHERE, NOWHERE):
        return
    heap = FractalHeap(file, address)
    for record in read_records(file, tree, kind, size):
        yield record, heap.take(record[place:])


# -- B-trees of version 2 --------------------------------------------------------------------------


def read_records(file: Hdf5Bytes, address: int, kind: int, size: int) -> list[bytes]:
    """All records of a B-tree of version 2.

    Args:
        file: Where it is from.
        address: Of the tree's header.
        kind: The number of the kind of records that is expected.
        size: Bytes of such a record.

    Raises:
        CheckpointError: If there is no such tree.
    """
    what = "the header of a B-tree"
    content = file.read(address, 38, what)
    cursor = Cursor(file, content, what)
    if cursor.take(6) != b"BTHD\0" + bytes([kind]):
        raise file.damaged(f"no B-tree of records {kind} is at byte {address}")
    file.check_sum(content, what)
    node_size, record_size, depth = cursor.number(4), cursor.number(2), cursor.number(2)
    cursor.take(2)
    root, count, total = cursor.number(8), cursor.number(2), cursor.number(8)
    if record_size != size or depth > _MOST_DEPTH or node_size < _NODE_FRAME + 2 * size:
        raise file.damaged(f"the B-tree at byte {address} has impossible sizes")
    # From the leaves upwards: how many records a node holds, itself and with those below.
    most = below = (node_size - _NODE_FRAME) // size
    count_size, pointer_sizes = _bytes_for(most), [0]
    for level in range(1, depth + 1):
        pointer = 8 + count_size + (_bytes_for(below) if level > 1 else 0)
        most = (node_size - _NODE_FRAME - pointer) // (size + pointer)
        below = most + (most + 1) * below
        pointer_sizes.append(pointer)
    records: list[bytes] = []
    nodes = [(root, count)] if total else []
    for level in range(depth, -1, -1):
        children: list[tuple[int, int]] = []
        for place, number in nodes:
            frame = (b"BTIN\0" if level else b"BTLF\0") + bytes([kind])
            node = file.read(place, node_size, "a B-tree node")
            length = 6 + number * size + (number + 1) * pointer_sizes[level]
            if node[:6] != frame or length + 4 > node_size:
                raise file.damaged(f"no B-tree node of {number} records is at byte {place}")
            file.check_sum(node[: length + 4], "a B-tree node")
            cursor = Cursor(file, node, "a B-tree node", 6)
            file.count(number)
            records += [cursor.take(size) for _ in range(number)]
            for _ in range(number + 1 if level else 0):
                children.append((cursor.number(8), cursor.number(count_size)))
                cursor.take(pointer_sizes[level] - 8 - count_size)
        nodes = children
    if len(records) != total:
        raise file.damaged(f"a B-tree has {len(records)} records, but should have {total}")
    return records


# -- fractal heaps ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Block:
    start: int
    size: int
    address: int


class FractalHeap:
    """A heap of small objects, in blocks that grow.

    Raises:
        CheckpointError: If there is none at that address, or it is compressed.
    """

    def __init__(self, file: Hdf5Bytes, address: int) -> None:
        self._file, self._address = file, address
        what = "the header of a heap"
        # The version, and how long the identifiers of objects are.
        if file.peek(address, 5, what) != b"FRHP\0":
            raise file.damaged(f"no heap is at byte {address}")
        content = file.read(address, 146, what)
        cursor = Cursor(file, content, what, 7)
        if cursor.number(2):
            raise file.refused("a heap is compressed", "with h5py's defaults")
        file.check_sum(content, what)
        self._has_checksums = bool(cursor.number(1) & 2)
        largest = cursor.number(4)
        cursor.take(12 * 8)
        self._width, self._first, self._most = cursor.number(2), cursor.number(8), cursor.number(8)
        bits = cursor.number(2)
        cursor.take(2)
        root, rows = cursor.number(8), cursor.number(2)
        powers = (self._first, self._most, self._width)
        if any(number.bit_count() != 1 for number in powers) or not 8 <= bits <= 64:
            raise file.damaged(f"the heap at byte {address} has impossible sizes")
        self._offset_size = -(-bits // 8)
        self._length_size = min(_bytes_for(self._most), _bytes_for(largest))
        self._blocks: list[_Block] = []
        self._contents: dict[int, bytes] = {}
        # Bytes of the blocks read, and of the objects taken: these are disjoint.
        self._room = self._taken = 0
        if rows:
            self._add_rows(root, 0, rows, 0)
        elif root != NOWHERE:
            self._blocks.append(_Block(0, self._first, root))

    def take(self, identifier: bytes) -> bytes:
        """The object of an identifier.

        Raises:
            CheckpointError: If there is none, or it does not lie in a block.
        """
        cursor = Cursor(self._file, identifier, "an identifier")
        if cursor.number(1):
            raise self._file.refused(
                "an attribute of more than 4,096 bytes lies apart from it", "with h5py's defaults"
            )
        start, length = cursor.number(self._offset_size), cursor.number(self._length_size)
        number = bisect_right(self._blocks, start, key=lambda block: block.start) - 1
        if number < 0:
            raise self._file.damaged("a heap has no block for an object")
        block = self._blocks[number]
        if number not in self._contents:
            self._room += block.size
            self._contents[number] = self._read(block)
        start -= block.start
        self._taken += length
        if start + length > block.size or self._taken > self._room:
            raise self._file.damaged("objects of a heap are longer than their blocks")
        return self._contents[number][start : start + length]

    def _read(self, block: _Block) -> bytes:
        what = "a block of a heap"
        content = self._file.read(block.address, block.size, what)
        self._check_frame(content, b"FHDB", block.start, block.address)
        if self._has_checksums:
            # The checksum lies before the objects and counts itself as zeros.
            end = 13 + self._offset_size
            plain = content[:end] + bytes(4) + content[end + 4 :]
            self._file.check_sum(plain + content[end : end + 4], what)
        return content

    def _check_frame(self, content: bytes, signature: bytes, start: int, address: int) -> None:
        cursor = Cursor(self._file, content, "a block of a heap")
        frame = signature + b"\0" + self._address.to_bytes(8, "little")
        if cursor.take(13) != frame or cursor.number(self._offset_size) != start:
            raise self._file.damaged(f"no block of the heap is at byte {address}")

    def _add_rows(self, address: int, start: int, rows: int, depth: int) -> None:
        """Note the blocks of an indirect block: two rows of the first size, then doubled."""
        what = "an index of a heap"
        if depth > _MOST_DEPTH or not 1 <= rows <= 64:
            raise self._file.damaged("a heap is nested too deeply")
        size = 13 + self._offset_size + 8 * rows * self._width + 4
        content = self._file.read(address, size, what)
        self._file.check_sum(content, what)
        self._check_frame(content, b"FHIB", start, address)
        cursor = Cursor(self._file, content, what, 13 + self._offset_size)
        for row in range(rows):
            size = self._first << max(0, row - 1)
            for _ in range(self._width):
                place = cursor.number(8)
                if place != NOWHERE and size <= self._most:
                    self._blocks.append(_Block(start, size, place))
                elif place != NOWHERE:
                    inner = size.bit_length() - (self._first * self._width).bit_length() + 1
                    self._add_rows(place, start, inner, depth + 1)
                start += size
