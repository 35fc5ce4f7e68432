"""Files made up to do harm: loops, impossible sizes and the same bytes for two purposes."""

from __future__ import annotations

import struct
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.core.containers.hdf5.hdf5_files import read_content, write_model
from tests.core.containers.hdf5.hdf5_made_up import (
    FIRST,
    FLOAT,
    REST,
    SPARE,
    TEXT,
    attribute,
    dataspace,
    group,
    heap,
    made_up,
    refused,
    strings,
    table,
    tree,
)
from tests.support.containers import set_limits


def test_made_up_file_is_sound() -> None:
    """What the others differ from."""
    message = attribute(b"name", FLOAT, dataspace(2), struct.pack("<2f", 1.5, 2.5))
    root = read_content(group((0x0C, message)))
    assert root.attributes["name"].tolist() == [1.5, 2.5]
    assert (root.groups, root.tensors) == ({}, {})


def test_lists_of_nothing() -> None:
    names = attribute(b"layer_names", TEXT, dataspace(2**39, 0), b"")
    assert read_content(group((0x0C, names))).attributes == {"layer_names": []}
    # A string that was never set lies nowhere.
    names = attribute(b"layer_names", TEXT, dataspace(2), bytes(32))
    assert read_content(group((0x0C, names))).attributes == {"layer_names": ["", ""]}


HOSTILE = {
    "header that ends too soon": (
        made_up([(0x10, struct.pack("<QQ", FIRST + 24, 20))]),
        "the object header ends within a message|should have",
    ),
    "old layout": (
        made_up([(1, dataspace(1)), (3, FLOAT), (8, b"\1\1\1" + bytes(21))]),
        "a layout of version 1 is unknown, known are 3 and 4",
    ),
    "time of no version": (group((0x12, b"\2" + bytes(7))), "its time of change is impossible"),
    "unknown datatype": (
        made_up([(1, dataspace(1)), (3, b"\x1c" + FLOAT[1:]), (8, b"\3\1" + bytes(16))]),
        "a datatype of class 12, version 1 is unknown",
    ),
    "unknown dataspace": (
        made_up([(1, b"\3" + dataspace(1)[1:]), (3, FLOAT), (8, b"\3\1" + bytes(16))]),
        "a dataspace of version 3",
    ),
    "empty header": (made_up([]), "neither a group nor a dataset"),
    "unknown message": (made_up([(0x19, bytes(8))]), "unknown message, number 25"),
    "message that must be known": (
        made_up([(0x4C, bytes(8))], flags=0x80),
        "unknown message, number 76",
    ),
    "message twice": (made_up([table(REST)] * 2, bytes(999)), "two messages SYMBOL_TABLE"),
    "message count": (group(count=2), "1 messages, but should have 2"),
    "continued in itself": (
        made_up([(0x10, struct.pack("<QQ", FIRST, 24))]),
        "its parts take more than its 4136 bytes",
    ),
    "continued in the superblock": (
        group((0x10, struct.pack("<QQ", 40, 16)), count=4),
        "number|overlap|should have",
    ),
    "continued outside": (
        made_up([(0x10, struct.pack("<QQ", 2**63, 2**63))]),
        "should lie at bytes 9223372036854775808",
    ),
    "tree in itself": (
        made_up([table(REST)], tree(1, REST) + heap(REST + 544, bytes(8))),
        f"no B-tree node of a group is at byte {REST}",
    ),
    "tree of endless levels": (
        made_up([table(REST)], tree(255, *[REST] * 32) + heap(REST + 544, bytes(8))),
        "no B-tree node of a group",
    ),
    "node without room": (
        made_up([table(REST)], tree(0, 8) + heap(REST + 544, bytes(8))),
        "no symbol node is at byte 8",
    ),
    "tree of too many children": (
        made_up([table(REST)], tree(0)[:6] + b"\x21" + tree(0)[7:] + heap(REST + 544, bytes(8))),
        f"the B-tree node at byte {REST} has 33 children",
    ),
    "heap of another version": (
        made_up([table(REST)], tree(0) + b"HEAP\1" + heap(REST + 544, bytes(8))[5:]),
        f"no heap of names is at byte {REST + 544}",
    ),
    "message of odd size": (
        made_up([(0, bytes(8))]).replace(b"\0\0\x08\0\0\0\0\0", b"\0\0\x04\0\0\0\0\0"),
        "a message of the object header, number 0, is impossible",
    ),
    "shape over its limit": (
        made_up(
            [(1, struct.pack("<BBB5xQQ", 1, 1, 1, 3, 2)), (3, FLOAT), (8, b"\3\1" + bytes(16))]
        ),
        r"a shape of \(3,\) exceeds its own limit \(2,\)",
    ),
    "tree outside": (
        made_up([table(2**40)]),
        "the names of a group should lie at bytes 1099511628320",
    ),
    "heap of impossible size": (
        made_up([table(REST)], tree(0) + struct.pack("<4s4xQQQ", b"HEAP", 2**62, 0, 0)),
        "should lie at bytes 0 to 4611686018427387904",
    ),
    "names over the tree": (
        made_up([table(REST)], tree(0) + struct.pack("<4s4xQQQ", b"HEAP", 544, 0, REST)),
        "overlap",
    ),
    "root with numbers": (
        made_up([(1, dataspace(1)), (3, FLOAT), (8, b"\3\0\4\0" + bytes(4))]),
        "its root is no group",
    ),
    "dataset without a type": (made_up([(1, dataspace(1)), (8, bytes(24))]), "no message DATATYPE"),
    "shape of 2**60 nothings": (
        group((0x0C, attribute(b"name", TEXT, dataspace(2**60, 0), b""))),
        "a shape of .* is impossible",
    ),
    "shape that overflows": (
        made_up([(1, dataspace(*[2**63] * 32)), (3, FLOAT), (8, b"\3\1" + bytes(16))]),
        "is impossible",
    ),
    "33 dimensions": (
        made_up([(1, dataspace(*[1] * 33)), (3, FLOAT), (8, b"\3\1" + bytes(16))]),
        "33 dimensions is impossible",
    ),
    "numbers over the header": (
        made_up([(1, dataspace(2)), (3, FLOAT), (8, b"\3\1" + struct.pack("<QQ", FIRST, 8))]),
        "overlap",
    ),
    "numbers of another size": (
        made_up([(1, dataspace(2)), (3, FLOAT), (8, b"\3\1" + struct.pack("<QQ", FIRST, 12))]),
        "take 12 bytes, but should take 8",
    ),
    "attribute cut off": (
        group((0x0C, attribute(b"name", FLOAT, dataspace(2**20), bytes(8)))),
        "an attribute has",
    ),
    "attribute that is too long": (
        group((0x0C, attribute(b"name", FLOAT, dataspace(2), b"x" * 32))),
        "an attribute has 24 bytes too many",
    ),
    "attribute without a name": (
        group((0x0C, attribute(b"", FLOAT, dataspace(1), bytes(4)))),
        "the name of an attribute has no end",
    ),
    "attribute that is no text": (
        group((0x0C, attribute(b"\xff", FLOAT, dataspace(1), bytes(4)))),
        "no text in UTF-8",
    ),
    "strings of nowhere": (
        group((0x0C, attribute(b"name", TEXT, dataspace(), struct.pack("<IQI", 4, 2**40, 1)))),
        "a collection of strings should lie",
    ),
    "attribute made a comment": (
        group((0x0D, b"\1\0\4\0text\0junk\0\0\0")),
        "a comment has a zero within",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_refused(case: str) -> None:
    refused(*HOSTILE[case])


@pytest.mark.parametrize(
    ("references", "collection", "message"),
    [
        ([(4, 1), (4, 1)], strings((1, b"text")), "refers to string 1 .* none that no other"),
        ([(4, 1), (4, 2)], strings((1, b"text"), (1, b"more")), "string 1 .* is there twice"),
        ([(4, 1), (5, 2)], strings((1, b"text"), (2, b"more")), "there is one of 4 bytes"),
        ([(4, 1)], strings((1, b"text"), size=2**63), "a collection of strings should lie"),
        ([(4, 1)], strings((1, b"text"), size=3), "a collection of strings has 16 bytes|refers"),
        ([(4, 1)], bytes(4096), "no collection of strings is at byte"),
        ([(4, 1)], strings((1, b"te\0t")), "an attribute has a zero within"),
        ([(4, 1)], strings((1, b"te\xfft")), "an attribute is no text in UTF-8"),
    ],
)
def test_strings(references: list[tuple[int, int]], collection: bytes, message: str) -> None:
    def made(address: int) -> bytes:
        content = b"".join(struct.pack("<IQI", n, address, index) for n, index in references)
        names = attribute(b"layer_names", TEXT, dataspace(len(references)), content)
        return group((0x0C, names), rest=collection)

    refused(made(len(made(0)) - len(SPARE) - len(collection)), message)


def test_groups_in_a_circle(tmp_path: Path) -> None:
    """Each group counts one link, but is in itself."""
    path = tmp_path / "circle.h5"
    with h5py.File(path, "w") as file:
        file["a/b/c"] = file.create_group("a/b")
    content = bytearray(path.read_bytes())
    count = struct.pack("<BxHI", 1, 1, 2)
    assert content.count(count) == 1
    content[content.index(count) + 4] = 1
    refused(bytes(content), "its parts take more|overlap|within each other")


def test_two_datasets_at_one_place(tmp_path: Path) -> None:
    path = tmp_path / "same.h5"
    with h5py.File(path, "w") as file:
        for name in ("a", "b"):
            file[name] = np.arange(5.0)
        first, second = (file[name].id.get_offset() for name in ("a", "b"))
    content = path.read_bytes()
    refused(
        content.replace(struct.pack("<QQ", second, 40), struct.pack("<QQ", first + 8, 40)),
        "the numbers of /a at bytes .* and the numbers of /b at bytes .* overlap",
    )


def test_number_of_parts_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("earliest", "latest"):
        write_model(tmp_path / "model.h5", libver=version)
        content = (tmp_path / "model.h5").read_bytes()
        set_limits(monkeypatch, hdf5_parts=40)
        refused(content, "it has more than 40 parts")
        monkeypatch.undo()
    set_limits(monkeypatch, hdf5_checked_bytes=1_000)
    refused(content, "too much besides tensors")


def test_long_row_of_nothings() -> None:
    """65,535 messages are all that a header may count; more are not read on and on."""
    many = made_up([(0, b"")] * 70_000, count=65_535)
    refused(many, "messages, but should have 65535")
