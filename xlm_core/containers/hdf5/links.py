"""Links of HDF5 groups: the names of what is in a group, and where that is."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from xlm_core.containers.hdf5.dense import read_dense
from xlm_core.containers.hdf5.file_bytes import NOWHERE, PADDING, Cursor, Hdf5Bytes
from xlm_core.containers.hdf5.headers import Kind, Message
from xlm_core.containers.hdf5.superblock import Superblock
from xlm_core.containers.hdf5.text import decode

_TREE = struct.Struct("<4sBBHQQ")
_HEAP = struct.Struct("<4sB3sQQQ")
_ENTRY = struct.Struct("<QQI4x16x")
# The number of the records of links in a B-tree.
_RECORDS = 5
# Groups keep their paths, so these must not be long for each of many.
_MOST_PATH = 1_000
# In bytes, with the zero after it.
_LONGEST_NAME = 4 * _MOST_PATH + 1
_COPY = "with a copy instead of the link"


@dataclass(frozen=True)
class Link:
    """A name in a group.

    Attributes:
        name: Without the path.
        address: Where the object header is.
        order: When it was made, counted from 0, where the file tells.
    """

    name: str
    address: int
    order: int | None = None


def read_links(file: Hdf5Bytes, superblock: Superblock, messages: list[Message]) -> list[Link]:
    """The links of a group, in the order in which they were made if that is known, else by name.

    Args:
        file: Where it is from.
        superblock: Of that file; gives the sizes of nodes.
        messages: The header of the group.

    Raises:
        CheckpointError: If the links are damaged, two have one name, or one leads to another
            file or to a path instead of an object.
    """
    links: list[Link] = []
    for message in messages:
        if message.kind is Kind.SYMBOL_TABLE:
            links += _read_symbol_table(file, superblock, message.body)
        elif message.kind is Kind.LINK:
            links.append(_read_link(file, message.body))
        elif message.kind is Kind.LINK_INFO:
            # A record: hash of the name, then the identifier.
            for _, content in read_dense(file, message.body, 8, _RECORDS, 11, 4):
                links.append(_read_link(file, content))
    if len({link.name for link in links}) < len(links):
        raise file.damaged("a group has two links of one name")
    links.sort(key=lambda link: link.name.encode())
    if all(link.order is not None for link in links):
        links.sort(key=lambda link: link.order or 0)
    return links


def _checked_name(file: Hdf5Bytes, content: bytes) -> str:
    name = decode(file, content, "the name of a link")
    if not name.isprintable() or "/" in name or name in ("", "."):
        raise file.damaged(f"{name[:40]!r} cannot be the name of a link")
    if len(file.path) + len(name) > _MOST_PATH:
        raise file.refused(f"a path of over {_MOST_PATH} characters", "with shorter names")
    return name


# -- links as messages, and in heaps ---------------------------------------------------------------


def _read_link(file: Hdf5Bytes, content: bytes) -> Link:
    cursor = Cursor(file, content, "a link")
    version, flags = cursor.number(1), cursor.number(1)
    if version != 1 or flags & 0xE0:
        raise file.refused(
            f"a link of version {version}, flags {flags} is unknown", "with h5py's defaults"
        )
    kind = cursor.number(1) if flags & 8 else 0
    order = cursor.number(8) if flags & 4 else None
    cursor.take(1 if flags & 16 else 0)
    name = _checked_name(file, cursor.take(cursor.number(1 << (flags & 3))))
    if kind:
        named = {1: "a soft link", 64: "a link to another file"}.get(kind, "a link of unknown kind")
        raise file.refused(f"{name} is {named}, which is not followed", _COPY)
    address = cursor.number(8)
    cursor.finish(PADDING)
    return Link(name, address, order)


# -- links of groups with a symbol table -----------------------------------------------------------


def _read_symbol_table(file: Hdf5Bytes, superblock: Superblock, content: bytes) -> list[Link]:
    cursor = Cursor(file, content, "a symbol table message")
    tree, heap = cursor.number(8), cursor.number(8)
    cursor.finish()
    names = _read_heap(file, heap)
    links: list[Link] = []
    spans: list[tuple[int, int]] = []
    last = b""
    for place, address, kind in _entries(file, superblock, tree):
        # Names begin at multiples of eight; what is behind the zero may be left from another.
        end = names.find(b"\0", place, place + _LONGEST_NAME)
        if place % 8 or end < 0:
            raise file.damaged(f"a link has no name at byte {place} of its group's names")
        raw = names[place:end]
        if raw <= last:
            raise file.damaged(f"the links {last[:40]!r} and {raw[:40]!r} are not in order")
        name, last = _checked_name(file, raw), raw
        if kind > 1 or address == NOWHERE:
            raise file.refused(f"{name} is a soft link, which is not followed", _COPY)
        links.append(Link(name, address))
        spans.append((place, end))
    spans.sort()
    for (_, end), (start, _) in pairwise(spans):
        if start <= end:
            raise file.damaged(f"two links have names at byte {start} of their group's names")
    return links


def _read_heap(file: Hdf5Bytes, address: int) -> bytes:
    what = "the names of a group"
    signature, version, reserved, size, _, place = _HEAP.unpack(file.read(address, 32, what))
    if signature != b"HEAP" or version or any(reserved):
        raise file.damaged(f"no heap of names is at byte {address}")
    return file.read(place, size, what)


def _entries(file: Hdf5Bytes, superblock: Superblock, tree: int) -> Iterator[tuple[int, int, int]]:
    """Place of the name, address and kind of each entry of all symbol nodes, in order."""
    room = 2 * superblock.leaf_size
    for address, key in _symbol_nodes(file, superblock, tree):
        node = file.read(address, 8 + room * _ENTRY.size, "a symbol node")
        count = int.from_bytes(node[6:8], "little")
        if node[:6] != b"SNOD\1\0" or count > room:
            raise file.damaged(f"no symbol node is at byte {address}")
        file.count(count)
        entries = list(_ENTRY.iter_unpack(node[8 : 8 + count * _ENTRY.size]))
        # The key after a child of a B-tree is its last name, so that no link can be lost.
        if not entries or entries[-1][0] != key:
            raise file.damaged(f"the symbol node at byte {address} miscounts its {count} links")
        yield from entries


def _symbol_nodes(
    file: Hdf5Bytes, superblock: Superblock, tree: int
) -> list[tuple[int, int | None]]:
    """The addresses of the symbol nodes of a B-tree, each with the key after it."""
    room = 2 * superblock.internal_size
    nodes: list[tuple[int, int | None]] = [(tree, None)]
    depth = -1
    while True:
        children: list[tuple[int, int | None]] = []
        beside = [NOWHERE, *(address for address, _ in nodes), NOWHERE]
        for place, (address, key) in enumerate(nodes):
            node = file.read(address, 24 + 16 * room + 8, "a B-tree node")
            signature, kind, level, count, *neighbours = _TREE.unpack_from(node)
            depth = level if depth < 0 else depth
            expected = [beside[place], beside[place + 2]]
            if signature != b"TREE" or kind or level != depth or neighbours != expected:
                raise file.damaged(f"no B-tree node of a group is at byte {address}")
            if count > room:
                raise file.damaged(f"the B-tree node at byte {address} has {count} children")
            # Keys and children take turns, eight bytes each, with a key at both ends.
            words = struct.unpack_from(f"<{2 * count + 1}Q", node, 24)
            if key not in (None, words[-1]):
                raise file.damaged(f"the B-tree node at byte {address} miscounts its children")
            children += zip(words[1::2], words[2::2], strict=True)
        if depth <= 0:
            return children
        nodes, depth = children, depth - 1
