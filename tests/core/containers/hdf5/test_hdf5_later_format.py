"""Structures of HDF5's later format that contradict each other, under checksums that are right."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.core.containers.hdf5.hdf5_files import assert_same, read, read_content, write_keras
from tests.support.containers import without_checksums
from xlm_core import CheckpointError


@pytest.fixture
def no_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if whoever changed a byte had computed its checksum anew."""
    without_checksums(monkeypatch)


def changed(content: bytes, mark: bytes, place: int, value: bytes) -> bytes:
    """The content with other bytes at a place after the first mark."""
    start = content.index(mark) + place
    return content[:start] + value + content[start + len(value) :]


def with_many(path: Path, kind: str, count: int = 20) -> bytes:
    with h5py.File(path, "w", libver="latest") as file:
        for number in range(count):
            if kind == "links":
                file[f"weight {number}"] = np.float32(number)
            else:
                file.attrs[f"name{number}"] = np.float32(number)
    return path.read_bytes()


@pytest.mark.usefixtures("no_checksums")
@pytest.mark.parametrize(
    ("mark", "place", "value", "message"),
    [
        (b"FRHP", 4, b"\1", "no heap is at byte"),
        (b"FRHP", 7, b"\1", "a heap is compressed"),
        (b"FRHP", 110, b"\3", "the heap at byte .* has impossible sizes"),
        (b"FRHP", 128, b"\0", "the heap at byte .* has impossible sizes"),
        (b"FRHP", 132, b"\xff" * 8, "should lie nowhere|no block for an object"),
        (b"FRHP", 140, b"\x41", "a heap is nested too deeply"),
        (b"FHDB", 4, b"\1", "no block of the heap is at byte"),
        (b"FHDB", 5, b"\1", "no block of the heap is at byte"),
        (b"FHDB", 14, b"\1", "no block of the heap is at byte"),
        (b"FHIB", 4, b"\1", "no block of the heap is at byte"),
        (b"BTHD", 5, b"\7", "no B-tree of records 5 is at byte"),
        (b"BTHD", 6, b"\x10\0\0\0", "the B-tree at byte .* has impossible sizes"),
        (b"BTHD", 10, b"\7", "the B-tree at byte .* has impossible sizes"),
        (b"BTHD", 12, b"\xff", "the B-tree at byte .* has impossible sizes"),
        (b"BTHD", 12, b"\1", "no B-tree node of 20 records is at byte"),
        (b"BTHD", 24, b"\x15", "a B-tree has 21 records, but should have 20|longer|no block"),
        (b"BTHD", 24, b"\xff\xff", "no B-tree node of 65535 records is at byte"),
        (b"BTHD", 26, b"\1", "a B-tree has 20 records, but should have 1"),
        (b"BTLF", 4, b"\1", "no B-tree node of 20 records is at byte"),
        (b"BTLF", 10, b"\x10", "lies apart from it"),
        (b"BTLF", 11, b"\xff" * 4, "objects of a heap are longer than their blocks"),
        (b"BTLF", 15, b"\xff\xff", "objects of a heap are longer than their blocks"),
        (b"weight 3", 0, b"weight 4", "a group has two links of one name"),
        (b"weight 3", 0, b"weig\0t 3", "the name of a link has a zero within"),
        (b"weight 3", 0, b"we/ght 3", "'we/ght 3' cannot be the name of a link"),
        (b"weight 3", 0, b"weight\n3", "cannot be the name of a link"),
        (b"weight 3", -3, b"\2", "a link of version 2"),
    ],
)
def test_links(tmp_path: Path, mark: bytes, place: int, value: bytes, message: str) -> None:
    content = with_many(tmp_path / "links.h5", "links", 60 if mark == b"FHIB" else 20)
    with pytest.raises(CheckpointError, match=message):
        read_content(changed(content, mark, place, value))


@pytest.mark.usefixtures("no_checksums")
def test_one_message_for_many_records(tmp_path: Path) -> None:
    """Short records must not multiply a long message."""
    path = tmp_path / "attributes.h5"
    with h5py.File(path, "w", libver="latest") as file:
        for number in range(20):
            file.attrs[f"name{number}"] = np.zeros(300, np.uint8)
    content = path.read_bytes()
    first = content.index(b"BTLF") + 6
    for number in range(1, 20):
        place = first + number * 17
        content = content[:place] + content[first : first + 17] + content[place + 17 :]
    with pytest.raises(CheckpointError, match="objects of a heap are longer than their blocks"):
        read_content(content)


@pytest.mark.usefixtures("no_checksums")
@pytest.mark.parametrize(
    ("mark", "place", "value", "message"),
    [
        (b"BTLF", 14, b"\2", "it shares an attribute"),
        (b"name3", 0, b"name4", "two attributes of one name"),
        (b"name3", -9, b"\4", "an attribute of version 4"),
        (b"name3", -8, b"\1", "an attribute of version 3, flags 1"),
    ],
)
def test_attributes(tmp_path: Path, mark: bytes, place: int, value: bytes, message: str) -> None:
    content = with_many(tmp_path / "attributes.h5", "attributes")
    with pytest.raises(CheckpointError, match=message):
        read_content(changed(content, mark, place, value))


@pytest.mark.usefixtures("no_checksums")
@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (4, b"\3", "the object header is of version 3"),
        (5, b"\xc0", "the object header is of version 2 with flags 192"),
        (5, b"\x03", "an object header should lie|unknown message|should have"),
    ],
)
def test_header(tmp_path: Path, place: int, value: bytes, message: str) -> None:
    content = with_many(tmp_path / "links.h5", "links", 2)
    with pytest.raises(CheckpointError, match=message):
        read_content(changed(content, b"OHDR", place, value))


@pytest.mark.usefixtures("no_checksums")
def test_continued_header(tmp_path: Path) -> None:
    write_keras(tmp_path / "keras.h5", libver="latest")
    content = (tmp_path / "keras.h5").read_bytes()
    with pytest.raises(CheckpointError, match="no continued object header is at byte"):
        read_content(changed(content, b"OCHK", 3, b"X"))


@pytest.mark.usefixtures("no_checksums")
@pytest.mark.parametrize(("place", "value"), [(-2, b"\1"), (-1, b"\x04")])
def test_message_about_a_heap(tmp_path: Path, place: int, value: bytes) -> None:
    content = with_many(tmp_path / "links.h5", "links")
    address = content.index(b"FRHP").to_bytes(8, "little")
    with pytest.raises(CheckpointError, match=r"a heap of version \d, flags \d is unknown"):
        read_content(changed(content, address, place, value))


def test_three_levels_of_a_tree(tmp_path: Path) -> None:
    """And blocks of the heap that are themselves found by way of another index."""
    path = tmp_path / "levels.h5"
    with h5py.File(path, "w", libver="latest") as file:
        for number in range(2_500):
            file.create_group(f"{'x' * 250}{number}")
    with h5py.File(path) as file:
        assert assert_same(file, read(path)) == 0
    content = path.read_bytes()
    tree = content.index(b"BTHD")
    assert content[tree + 12] == 2
    assert content.count(b"FHIB") > 1
