"""Members of zip archives: found where zipfile and torch put them, and refused where unsure."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Any

import numpy as np
import pytest
import torch

from tests.core.containers.torch_files.torch_files import saved
from xlm_core.containers.archives.reading import MOST_MEMBERS, members, names
from xlm_core.containers.sources import MemorySource, read_bytes
from xlm_core.errors import CheckpointError

CONTENTS = {"a": b"", "folder/b": b"hello", "folder/ü": bytes(range(256)), "c": b"PK\x05\x06" * 9}


def read(archive: bytes) -> dict[str, bytes]:
    source = MemorySource(np.frombuffer(archive, np.uint8), "x.zip")
    return {name: read_bytes(part, 0, part.size) for name, part in members(source).items()}


def zipped(contents: dict[str, bytes] = CONTENTS, comment: bytes = b"", **options: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.comment = comment
        for name, content in contents.items():
            with file.open(zipfile.ZipInfo(name), "w", **options) as member:
                member.write(content)
    return buffer.getvalue()


def changed(archive: bytes, place: int, content: bytes) -> bytes:
    place %= len(archive)
    return archive[:place] + content + archive[place + len(content) :]


def entries(archive: bytes) -> list[int]:
    """Where the entries of the directory begin."""
    start = archive.index(b"PK\x01\x02")
    found = [start]
    while (start := archive.find(b"PK\x01\x02", start + 1)) >= 0:
        found.append(start)
    return found


class Unseekable(io.RawIOBase):
    """A stream that zipfile cannot go back in: sizes then follow the contents."""

    def __init__(self) -> None:
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.content += data
        return len(data)


def test_members_of_zipfile() -> None:
    assert read(zipped()) == CONTENTS
    assert list(read(zipped())) == list(CONTENTS)
    assert read(zipped(comment=b"PK\x05\x06 a comment")) == CONTENTS
    assert read(zipped({})) == {}


def test_long_sizes() -> None:
    assert read(zipped(force_zip64=True)) == CONTENTS


def test_sizes_after_contents() -> None:
    stream = Unseekable()
    with zipfile.ZipFile(stream, "w") as file:  # type: ignore[call-overload]
        for name, content in CONTENTS.items():
            file.writestr(name, content)
    assert read(bytes(stream.content)) == CONTENTS


def test_folders_are_left_out() -> None:
    assert read(zipped({"folder/": b"", "folder/a": b"1"})) == {"folder/a": b"1"}
    with pytest.raises(CheckpointError, match="the folder 'folder/' has a content"):
        read(zipped({"folder/": b"1"}))


def test_members_of_torch() -> None:
    archive = saved({"a": torch.arange(5), "b": torch.zeros(0)})
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        assert read(archive) == {name: file.read(name) for name in file.namelist()}


def test_names_and_where() -> None:
    source = MemorySource(np.frombuffer(zipped(), np.uint8), "x.zip")
    part = members(source)["folder/b"]
    assert part.name == "x.zip (folder/b)"
    with pytest.raises(CheckpointError, match=r"x\.zip \(folder/b\)"):
        read_bytes(part, 1, 5)


def test_names_also_of_compressed_members() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("packed", b"0" * 100)
        file.writestr("folder/", b"")
    assert names(MemorySource(np.frombuffer(buffer.getvalue(), np.uint8))) == ["packed", "folder/"]


def test_compressed() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("packed", b"0" * 100)
    with pytest.raises(CheckpointError, match="'packed' is compressed"):
        read(buffer.getvalue())


# Fields of an entry of the directory by their place: flags 8, method 10, sizes 20 and 24,
# name 46; of a header: flags 6, method 8, sizes 18 and 22, name 30.
@pytest.mark.parametrize(
    ("place", "content", "message"),
    [
        (8, b"\x01", "'folder/b' is encrypted"),
        (8, b"\x40", "'folder/b' is encrypted"),
        (10, b"\x08", "'folder/b' is compressed"),
        (10, b"\x63", "'folder/b' is compressed"),
        (20, b"\x04", "'folder/b' is compressed"),
        (20, b"\x04\0\0\0\x04", "header of the member 'folder/b'.* disagrees"),
        (34, b"\x01", "should lie in another file"),
        (42, b"\xff\xff\xff\x7f", "cut off"),
        (42, b"\0\0\0\0", "header of the member 'folder/b'.* disagrees"),
        (46, b"g", "header of the member 'golder/b'.* disagrees"),
        (46, b"\0", "a member has the name"),
        (30, b"\x03", "an extra field|no entry"),
    ],
)
def test_directory_entry(place: int, content: bytes, message: str) -> None:
    archive = zipped()
    with pytest.raises(CheckpointError, match=message):
        read(changed(archive, entries(archive)[1] + place, content))


@pytest.mark.parametrize(
    ("place", "content"),
    [(0, b"XX"), (6, b"\x01"), (8, b"\x08"), (18, b"\x04"), (22, b"\x09"), (30, b"g"), (26, b"\0")],
)
def test_header(place: int, content: bytes) -> None:
    archive = zipped()
    start = archive.index(b"PK\x03\x04", 1)
    with pytest.raises(CheckpointError, match="header of the member 'folder/b'"):
        read(changed(archive, start + place, content))


def test_name_that_is_no_utf8() -> None:
    archive = zipped()
    assert "ü".encode() in archive
    with pytest.raises(CheckpointError, match="a member has the name"):
        read(archive.replace("ü".encode(), b"\xff\xff"))


def test_long_name() -> None:
    assert len(read(zipped({"a" * 500: b""}))) == 1
    with pytest.raises(CheckpointError, match="a member has the name") as caught:
        read(zipped({"a" * 501: b""}))
    assert len(str(caught.value)) < 200


def test_same_name_twice() -> None:
    archive = zipped({"aa": b"1", "ab": b"2"}).replace(b"ab", b"aa")
    with pytest.raises(CheckpointError, match="two members have the name 'aa'"):
        read(archive)


def test_overlap() -> None:
    """Two members over the same bytes, and one that reaches into the directory."""
    inner = zipped({"b": b"2"})
    header = inner[: inner.index(b"PK\x01\x02")]
    archive = zipped({"a": header, "b": b"2"})
    place = archive.index(header)
    twice = changed(archive, entries(archive)[1] + 42, struct.pack("<L", place))
    with pytest.raises(CheckpointError, match="the member 'a' reaches into the member 'b'"):
        read(twice)
    archive = zipped({"a": b"1"})
    for start in (entries(archive)[0] + 20, archive.index(b"PK\x03\x04") + 18):
        archive = changed(archive, start, struct.pack("<2L", 40, 40))
    with pytest.raises(CheckpointError, match="the member 'a' reaches into its directory"):
        read(archive)


# Fields of the last record, from the end: disks -18 and -16, counts -14 and -12, size -10,
# offset -6, length of the comment -2.
@pytest.mark.parametrize(
    ("place", "content", "message"),
    [
        (-18, b"\x01", "one part of an archive in several files"),
        (-16, b"\x01", "one part of an archive in several files"),
        (-14, b"\x05", "one part of an archive in several files"),
        (-14, b"\x05\0\x05\0", "should have 5 entries"),
        (-14, b"\x03\0\x03\0", "bytes after its last entry"),
        (-14, b"\xff\xff\xff\xff", "its directory should have 65535 entries"),
        (-10, b"\x01", "its directory should"),
        (-6, b"\x01\x02", "its directory should"),
        (-2, b"\x01", "is missing or cut off"),
        (-22, b"X", "is missing or cut off"),
    ],
)
def test_last_record(place: int, content: bytes, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read(changed(zipped(), place, content))


def test_long_last_record() -> None:
    """torch always writes it; it and the short one must agree, and be where they should."""
    archive = saved(torch.zeros(1))
    place = archive.rindex(b"PK\x06\x06")
    for field in (24, 32, 40, 48):
        with pytest.raises(CheckpointError, match="disagree"):
            read(changed(archive, place + field, b"\x77"))
    locator = archive.rindex(b"PK\x06\x07")
    with pytest.raises(CheckpointError, match=r"cut off|disagree"):
        read(changed(archive, locator + 8, struct.pack("<Q", 2**63)))
    many = struct.pack("<2Q", MOST_MEMBERS + 1, MOST_MEMBERS + 1)
    short = changed(changed(archive, place + 24, many), -14, b"\xff" * 4)
    with pytest.raises(CheckpointError, match=f"{MOST_MEMBERS + 1} entries"):
        read(short)


@pytest.mark.parametrize("archive", [zipped(), saved(torch.zeros(1))], ids=["zipfile", "torch"])
def test_cut_off_anywhere(archive: bytes) -> None:
    for end in range(len(archive)):
        with pytest.raises(CheckpointError):
            read(archive[:end])
    with pytest.raises(CheckpointError, match="is missing or cut off"):
        read(archive + b"\0")


@pytest.mark.parametrize("archive", [zipped(), saved(torch.zeros(1))], ids=["zipfile", "torch"])
def test_every_changed_byte(archive: bytes) -> None:
    """Either an error, or members of the same sizes: nothing else, whatever is damaged."""
    sizes = sorted(map(len, read(archive).values()))
    for place in range(len(archive)):
        for flip in (0x01, 0x80, 0xFF):
            try:
                contents = read(changed(archive, place, bytes([archive[place] ^ flip])))
            except CheckpointError:
                continue
            assert sorted(map(len, contents.values())) == sizes, place
