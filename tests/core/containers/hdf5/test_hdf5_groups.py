"""Groups of the early format whose entries, names and nodes do not fit together."""

from __future__ import annotations

import struct
from pathlib import Path

import h5py
import pytest

from tests.core.containers.hdf5.hdf5_made_up import REST, heap, made_up, refused, table, tree


@pytest.mark.parametrize(
    ("count", "places", "message"),
    [
        (2, (8, 24), "no object header is at byte 0"),
        (1, (8, 24), "miscounts its 1 links"),
        (0, (8, 24), "miscounts its 0 links"),
        (9, (8, 24), "no symbol node is at byte"),
        (2, (24, 24), "are not in order"),
        (2, (12, 24), "a link has no name at byte 12"),
        (2, (0, 24), "are not in order|cannot be the name of a link"),
        (2, (32, 24), "a link has no name at byte 32"),
        (2, (2**64 - 8, 24), "a link has no name at byte 18446744073709551608"),
    ],
)
def test_entries_of_a_group(count: int, places: tuple[int, int], message: str) -> None:
    """Two links in a group, "abcdefghijk" and "z"."""
    names = bytes(8) + b"abcdefghijk\0\0\0\0\0" + b"z" + bytes(7)
    entries = b"".join(struct.pack("<QQI20x", place, 0, 0) for place in places)
    node = (struct.pack("<4sBxH", b"SNOD", 1, count) + entries).ljust(328, b"\0")
    nodes = tree(0, REST + 544 + 32 + 32, key=24) + heap(REST + 544, names) + node
    refused(made_up([table(REST)], nodes), message)


def test_one_name_within_another() -> None:
    names = bytes(8) + b"abcdefghz\0\0\0\0\0\0\0" + bytes(8)
    entries = b"".join(struct.pack("<QQI20x", place, 0, 0) for place in (8, 16))
    node = (struct.pack("<4sBxH", b"SNOD", 1, 2) + entries).ljust(328, b"\0")
    nodes = tree(0, REST + 544 + 32 + 32, key=16) + heap(REST + 544, names) + node
    refused(made_up([table(REST)], nodes), "two links have names at byte 16")


@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("level", [0, 1])
def test_counts_of_nodes(tmp_path: Path, level: int, change: int) -> None:
    """A child less, and its links would be lost; what keeps them is the key after the last one."""
    path = tmp_path / "many.h5"
    with h5py.File(path, "w") as file:
        for number in range(400):
            file[f"{number:03d}"] = number
    content = path.read_bytes()
    nodes = [place for place in range(len(content)) if content.startswith(b"TREE", place)]
    below = [place for place in nodes if content[place + 5] == 0]
    symbols = [place for place in range(len(content)) if content.startswith(b"SNOD", place)]
    assert len(below) > 2
    for place in below if level else symbols:
        count = place + 6
        changed = bytearray(content)
        changed[count] += change
        refused(bytes(changed), "some.h5 is damaged at /")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (0x0F, "it has a message SHARED_TABLE"),
        (0x13, "sizes of B-trees are impossible"),
        (0x14, "it has a message DRIVER"),
        (0x30, "unknown message, number 48"),
    ],
)
def test_header_after_the_superblock(tmp_path: Path, kind: int, message: str) -> None:
    path = tmp_path / "page.h5"
    h5py.File(path, "w", fs_strategy="page").close()
    content = bytearray(path.read_bytes())
    (header,) = struct.unpack_from("<Q", content, 20)
    assert content[header + 16] == 0x17
    content[header + 16] = kind
    refused(bytes(content), message)
