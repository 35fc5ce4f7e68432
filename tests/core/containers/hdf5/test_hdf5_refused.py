"""What is not read is refused by name: nothing is followed, guessed, or filled with zeros."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.core.containers.hdf5.hdf5_files import read, read_content, write_model
from xlm_core import CheckpointError
from xlm_core.containers.hdf5.checksum import lookup3

VERSIONS = pytest.mark.parametrize("version", ["earliest", "latest"])


def external(file: h5py.File) -> None:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_external(b"/etc/hostname", 0, 8)
    space = h5py.h5s.create_simple((1,))
    h5py.h5d.create(file.id, b"w", h5py.h5t.IEEE_F64LE, space, properties)


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "w", (3,))
    file.create_virtual_dataset("w", layout)


def hard_link(file: h5py.File) -> None:
    file["v"] = np.arange(3.0)
    file["w"] = file["v"]


def cycle(file: h5py.File) -> None:
    group = file.create_group("v")
    group["w"] = group


def committed(file: h5py.File) -> None:
    file["w"] = np.dtype("f4")


def shared_type(file: h5py.File) -> None:
    file["w"] = np.dtype("f4")
    file.create_dataset("v", data=np.arange(3.0), dtype=file["w"])


def chunked_later(file: h5py.File) -> None:
    file.create_dataset("w", (3,), maxshape=(None,))


def nested(file: h5py.File) -> None:
    file.create_group("/".join(["w"] * 70))


def linked(link: h5py.SoftLink | h5py.ExternalLink) -> Callable[[h5py.File], None]:
    def write(file: h5py.File) -> None:
        file["there"] = np.arange(3.0)
        file["w"] = link

    return write


def dataset(**options: object) -> Callable[[h5py.File], None]:
    return lambda file: file.create_dataset("w", **options)


REFUSED = {
    "soft link": (linked(h5py.SoftLink("/there")), "w is a soft link"),
    "external link": (linked(h5py.ExternalLink("/etc/x.h5", "/")), "w is a link to another file"),
    "external data": (external, "its numbers are in another file"),
    "virtual": (virtual, r"is a view of other datasets \(virtual\)"),
    "hard link": (hard_link, "it is linked 2 times"),
    "cycle": (cycle, "it is linked 2 times"),
    "committed type": (committed, "it is a committed datatype"),
    "shared type": (shared_type, "/v: it shares its DATATYPE with other objects"),
    "chunks": (dataset(data=np.ones(8), chunks=(4,)), "/w: it is stored in chunks"),
    "compression": (dataset(data=np.ones(8), compression="gzip"), "/w: it is compressed"),
    "resizable": (chunked_later, "without chunks, compression and maxshape"),
    "unwritten": (dataset(shape=(3, 4), dtype="f4"), "/w: its numbers were never written"),
    "big-endian": (dataset(data=np.ones(3, ">f4")), "a big-endian number"),
    "big-endian integer": (dataset(data=np.ones(3, ">u2")), "a big-endian number"),
    "long double": (dataset(data=np.ones(3, np.longdouble)), "a float of unusual bits"),
    "complex": (dataset(data=np.ones(3, "c8")), "a compound of several fields"),
    "strings": (dataset(data=["a", "b"]), "its elements are a string"),
    "fixed strings": (dataset(data=np.array([b"a"])), "its elements are a string"),
    "opaque": (dataset(data=np.zeros(3, "V2")), "opaque bytes"),
    "enumeration": (dataset(data=[1], dtype=h5py.enum_dtype({"a": 1})), "an enumeration"),
    "array type": (dataset(shape=(2,), dtype=np.dtype(("f4", 3))), "an array"),
    "sequence": (dataset(shape=(2,), dtype=h5py.vlen_dtype("f4")), "a sequence"),
    "empty": (dataset(data=h5py.Empty("f4")), "it is an empty dataset"),
    "deep": (nested, "more than 64 groups within each other"),
    "long path": (lambda file: file.create_group("w" * 1_200), "a path of over 1000 characters"),
}


@VERSIONS
@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(tmp_path: Path, case: str, version: str) -> None:
    write, message = REFUSED[case]
    path = tmp_path / "refused.h5"
    with h5py.File(path, "w", libver=version) as file:
        file["before"] = np.arange(5.0)
        write(file)
    with pytest.raises(CheckpointError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "Save it again " in str(caught.value)


@VERSIONS
@pytest.mark.parametrize("name", ["layer_names", "layer_names0", "weight_names", "weight_names12"])
def test_names_are_never_left_out(tmp_path: Path, name: str, version: str) -> None:
    path = tmp_path / "names.h5"
    with h5py.File(path, "w", libver=version) as file:
        file.attrs[name] = np.zeros(2, [("a", "f4")])
    with pytest.raises(CheckpointError, match=f"the attribute {name} is a compound"):
        read(path)


def test_large_dense_attribute(tmp_path: Path) -> None:
    path = tmp_path / "large.h5"
    with h5py.File(path, "w", libver="latest") as file:
        for number in range(9):
            file.attrs[f"layer_names{number}"] = np.zeros(5_000, "u1")
    with pytest.raises(CheckpointError, match="more than 4,096 bytes lies apart"):
        read(path)


def test_contradicting_bfloat16(tmp_path: Path) -> None:
    path = tmp_path / "contradicting.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("0", data=np.ones(3, "f4")).attrs["dtype"] = "bfloat16"
    with pytest.raises(CheckpointError, match="says that it is bfloat16, but it is float32"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"\x89HDF", b"\x89HDF\r\n\x1a\n", b"PK\3\4" + bytes(99)])
def test_other_files(content: bytes) -> None:
    with pytest.raises(CheckpointError, match=r"some\.h5 is no HDF5 file"):
        read_content(content)


def test_user_block(tmp_path: Path) -> None:
    path = tmp_path / "block.h5"
    h5py.File(path, "w", userblock_size=512).close()
    with pytest.raises(CheckpointError, match="a user block before that must be saved again"):
        read(path)


def test_sizes_of_addresses(tmp_path: Path) -> None:
    path = tmp_path / "small.h5"
    properties = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    properties.set_sizes(4, 4)
    h5py.h5f.create(bytes(path), fcpl=properties).close()
    with pytest.raises(CheckpointError, match="addresses have 4 bytes and lengths 4, expected 8"):
        read(path)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (8, 4, "the superblock is of version 4, known are 0 to 3"),
        (10, 1, "names unknown versions"),
        (16, 0, "gives B-trees no room"),
        (20, 1, "it was not closed"),
        (25, 2, "after a user block"),
        (48, 0, "it is one of several files"),
    ],
)
def test_early_superblock(tmp_path: Path, place: int, value: int, message: str) -> None:
    write_model(tmp_path / "model.h5")
    content = bytearray((tmp_path / "model.h5").read_bytes())
    content[place] = value
    with pytest.raises(CheckpointError, match=message):
        read_content(content)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (8, 4, "the superblock is of version 4"),
        (10, 4, "addresses have 8 bytes and lengths 4"),
        (11, 1, "it was not closed by what wrote it"),
        (13, 2, "after a user block"),
        (34, 1, "it is cut off|is cut off: it should have"),
    ],
)
def test_later_superblock(tmp_path: Path, place: int, value: int, message: str) -> None:
    write_model(tmp_path / "model.h5", libver="latest")
    content = bytearray((tmp_path / "model.h5").read_bytes())
    content[place] = value
    content[44:48] = struct.pack("<I", lookup3(bytes(content[:44])))
    with pytest.raises(CheckpointError, match=message):
        read_content(content)


def test_still_being_written(tmp_path: Path) -> None:
    path = tmp_path / "open.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["w"] = np.arange(3.0)
        file.flush()
        content = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"not closed by what wrote it|is cut off"):
        read_content(content)
