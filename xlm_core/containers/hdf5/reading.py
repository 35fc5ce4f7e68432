"""HDF5 files with numpy alone: what Keras and h5py write by default, and nothing that is unsafe.

HDF5's own library may hang on damaged files, follows links to other files, and gives zeros for
numbers that were never written. Tensors need little of the format; the rest is refused.
Source: HDF5 File Format Specification, version 3.0.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from xlm_core.containers.hdf5.attributes import read_attributes
from xlm_core.containers.hdf5.datasets import UNCHUNKED, read_dataset
from xlm_core.containers.hdf5.file_bytes import NOWHERE, Cursor, Hdf5Bytes
from xlm_core.containers.hdf5.headers import Kind, Message, read_header
from xlm_core.containers.hdf5.links import Link, read_links
from xlm_core.containers.hdf5.superblock import Superblock, read_superblock
from xlm_core.containers.hdf5.text import TextHeap, decode
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.sources import Source

# Groups within groups; Keras has some ten.
_MOST_DEPTH = 64
_OF_ALL = {
    Kind.ATTRIBUTE,
    Kind.ATTRIBUTE_INFO,
    Kind.COMMENT,
    Kind.TIME,
    Kind.REFERENCES,
}
# What may be in the header of an object that has the first message.
_ALLOWED = {
    Kind.LAYOUT: _OF_ALL
    | {Kind.DATASPACE, Kind.DATATYPE, Kind.EARLY_FILL_VALUE, Kind.FILL_VALUE, Kind.LAYOUT},
    Kind.SYMBOL_TABLE: _OF_ALL | {Kind.SYMBOL_TABLE},
    Kind.LINK_INFO: _OF_ALL | {Kind.LINK_INFO, Kind.GROUP_INFO, Kind.LINK},
}


@dataclass(frozen=True, eq=False)
class Group:
    """A group of an HDF5 file, with all that is in it.

    Attributes:
        path: Where it is in the file; "/" is the root.
        attributes: By name: str, a list of str, numpy scalars and arrays, None for an empty one.
        groups: By name, in the order in which they were made if the file tells, else by name.
        tensors: Its datasets, in the same order; not read yet.
    """

    path: str
    attributes: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    tensors: dict[str, LazyTensor] = field(default_factory=dict)


def read_hdf5(source: Source, *, needed: Collection[str] = ()) -> Group:
    """The root group of an HDF5 file, with all groups, attributes and (lazy) datasets.

    Every structure is checked: it must lie in the file, overlap no other, and be as libhdf5
    writes it. The numbers of the tensors themselves have no checksum in this format.

    Args:
        source: The file, or an uncompressed part of an archive.
        needed: Names of attributes without which the file cannot be understood: where their
            type is not read, the file is refused, while other such attributes are left out.

    Raises:
        CheckpointError: If the file is damaged, cut off or was not closed, or holds what is not
            read: links other than one hard link to each object, chunked, compressed, virtual,
            external or never written datasets, numbers that are not little-endian, committed
            datatypes, a user block, or structures of unknown versions.
    """
    file = Hdf5Bytes(source)
    superblock = _extended(file, read_superblock(file))
    heap = TextHeap(file)
    above = Group("")
    # Objects to come, the next one last, each with the group that takes it up.
    pending = [(Link("", superblock.root), above)]
    while pending:
        link, parent = pending.pop()
        file.path = f"{parent.path.rstrip('/')}/{link.name}"
        messages = read_header(file, link.address)
        found = _checked(file, messages)
        attributes = read_attributes(file, heap, messages, needed)
        if Kind.LAYOUT in found:
            parent.tensors[link.name] = read_dataset(file, found, attributes)
            continue
        if file.path.count("/") > _MOST_DEPTH:
            raise file.refused(f"more than {_MOST_DEPTH} groups within each other", "flatter")
        group = parent.groups[link.name] = Group(file.path, attributes)
        links = read_links(file, superblock, messages)
        pending += ((link, group) for link in reversed(links))
    file.path = "/"
    file.check_claims()
    if not above.groups:
        raise file.damaged("its root is no group")
    return above.groups[""]


def _extended(file: Hdf5Bytes, superblock: Superblock) -> Superblock:
    """The superblock with what a header after it changes."""
    if superblock.extension == NOWHERE:
        return superblock
    for message in read_header(file, superblock.extension):
        if message.kind is Kind.BTREE_SIZES:
            cursor = Cursor(file, message.body, "sizes of B-trees")
            version, _, internal_size, leaf_size = (cursor.number(size) for size in (1, 2, 2, 2))
            if version or not leaf_size or not internal_size:
                raise file.damaged("sizes of B-trees are impossible")
            superblock = replace(superblock, leaf_size=leaf_size, internal_size=internal_size)
        elif message.kind is not Kind.FREE_SPACE:
            raise file.refused(f"it has a message {message.kind.name}", "with h5py's defaults")
    return superblock


def _checked(file: Hdf5Bytes, messages: list[Message]) -> dict[Kind, Message]:
    """The messages of an object by kind, of which all belong to a group, or to a dataset."""
    found = {message.kind: message for message in messages}
    if Kind.FILTERS in found:
        raise file.refused("it is compressed or filtered", UNCHUNKED)
    if Kind.EXTERNAL_FILES in found:
        raise file.refused("its numbers are in another file", "as one file")
    for main, allowed in _ALLOWED.items():
        if main in found and found.keys() <= allowed:
            break
    else:
        if Kind.DATATYPE in found and found.keys() <= _OF_ALL | {Kind.DATATYPE}:
            raise file.refused("it is a committed datatype", "without that")
        names = ", ".join(kind.name for kind in found)
        raise file.damaged(f"it is neither a group nor a dataset, but has messages {names}")
    # An attribute whose kind was damaged into one of these would be lost.
    if Kind.COMMENT in found:
        body = found[Kind.COMMENT].body
        decode(file, body.rstrip(b"\0"), "a comment")
    if Kind.TIME in found and found[Kind.TIME].body[:4] != b"\1\0\0\0":
        raise file.damaged("its time of change is impossible")
    return found
