"""What h5py writes, read without it: names, order, attributes, dtypes, shapes and bits."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.containers.hdf5.hdf5_files import (
    assert_same,
    read,
    tensors,
    write_keras,
    write_model,
)
from xlm_core.containers.hdf5.checksum import lookup3

LIBRARY_VERSIONS = ("earliest", "v108", "v110", "v112", "latest")
DTYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")

# What a link or attribute may be called: long ones take several slots of the early format.
NAMES = st.text(
    st.characters(exclude_categories=("C", "Z"), exclude_characters="/."), min_size=1, max_size=30
).filter(str.isprintable)
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=40)
SHAPES = st.lists(st.integers(0, 4), max_size=3)


def random_bits(dtype: str, shape: list[int], seed: int) -> np.ndarray[Any, Any]:
    """Any bits at all, NaNs and denormal numbers among them; truth values are 0 or 1."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    numbers = np.random.default_rng(seed).integers(0, 256, count).astype(np.uint8)
    return (numbers & 1 if dtype == "?" else numbers).view(dtype).reshape(shape)


ARRAYS = st.builds(random_bits, st.sampled_from(DTYPES), SHAPES, st.integers(0, 99))
FIXED = st.lists(st.text("abcxyz_:/.0 ", max_size=9), max_size=4).map(
    lambda texts: np.array(
        [text.encode() for text in texts], f"S{max(map(len, texts), default=1) or 1}"
    )
)
VALUES = st.one_of(
    ARRAYS, TEXTS, FIXED, st.lists(TEXTS, max_size=5).map(lambda texts: np.array(texts, object))
)
ATTRIBUTES = st.dictionaries(NAMES, VALUES, max_size=3)
DATASETS = st.tuples(ARRAYS, ATTRIBUTES)
TREES = st.recursive(
    DATASETS,
    lambda below: st.tuples(st.dictionaries(NAMES, below, max_size=5), ATTRIBUTES),
    max_leaves=8,
)


def set_attributes(item: Any, attributes: dict[str, Any]) -> None:
    for name, value in attributes.items():
        texts = isinstance(value, np.ndarray) and value.dtype == object
        item.attrs.create(name, value, dtype=h5py.string_dtype() if texts else None)


def fill(group: h5py.Group, tree: dict[str, Any], ordered: bool) -> None:
    for name, (content, attributes) in tree.items():
        if isinstance(content, dict):
            item = group.create_group(name, track_order=ordered)
            fill(item, content, ordered)
        else:
            item = group.create_dataset(name, data=content, track_order=ordered)
        set_attributes(item, attributes)


@given(
    tree=st.dictionaries(NAMES, TREES, max_size=10),
    attributes=ATTRIBUTES,
    version=st.sampled_from(LIBRARY_VERSIONS),
    ordered=st.booleans(),
)
def test_random_trees(
    tmp_path_factory: pytest.TempPathFactory,
    tree: dict[str, Any],
    attributes: dict[str, Any],
    version: str,
    ordered: bool,
) -> None:
    path = tmp_path_factory.mktemp("tree") / "tree.h5"
    with h5py.File(path, "w", libver=version, track_order=ordered) as file:
        set_attributes(file, attributes)
        fill(file, tree, ordered)
    with h5py.File(path) as file:
        assert_same(file, read(path))


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("version", ["earliest", "latest"])
@pytest.mark.parametrize("count", [8, 9, 33, 300, 3_000])
def test_many_links(tmp_path: Path, version: str, ordered: bool, count: int) -> None:
    """Nodes split, and heaps and trees grow by levels."""
    name = "a weight with a name " + "of some length " * (14 if count == 3_000 else 1)
    path = tmp_path / "many.h5"
    order = np.random.default_rng(0).permutation(count)
    with h5py.File(path, "w", libver=version, track_order=ordered) as file:
        for number in order:
            file[f"{name}{number}"] = np.int32(number)
    with h5py.File(path) as file:
        assert assert_same(file, read(path)) == count


@pytest.mark.parametrize("count", [3, 8, 9, 70])
@pytest.mark.parametrize("version", LIBRARY_VERSIONS)
def test_many_attributes(tmp_path: Path, version: str, count: int) -> None:
    path = tmp_path / "attributes.h5"
    with h5py.File(path, "w", libver=version) as file:
        for number in range(count):
            file.attrs[f"weight_names{number}"] = [f"weight {number}, {i}" for i in range(9)]
    assert read(path).attributes["weight_names2"][8] == "weight 2, 8"
    with h5py.File(path) as file:
        assert_same(file, read(path))


def test_attributes_of_nearly_64_kilobytes(tmp_path: Path) -> None:
    """As Keras 2 splits layer names, which it writes with a fixed length."""
    path = tmp_path / "long.h5"
    with h5py.File(path, "w") as file:
        for part in range(3):
            names = [f"layer {part}, {number:05d}".ljust(40, "x") for number in range(1_600)]
            file.attrs[f"layer_names{part}"] = np.array(names, "S40")
    found = read(path).attributes
    assert found["layer_names2"][1_599] == "layer 2, 01599".ljust(40, "x")
    assert sum(map(len, found.values())) == 4_800


@pytest.mark.parametrize(
    "padding", [h5py.h5t.STR_NULLTERM, h5py.h5t.STR_NULLPAD, h5py.h5t.STR_SPACEPAD]
)
def test_paddings_of_strings(tmp_path: Path, padding: int) -> None:
    path = tmp_path / "strings.h5"
    filler = b" " if padding == h5py.h5t.STR_SPACEPAD else b"\0"
    with h5py.File(path, "w") as file:
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(6)
        kind.set_strpad(padding)
        space = h5py.h5s.create_simple((2,))
        attribute = h5py.h5a.create(file.id, b"weight_names", kind, space)
        content = np.array([b"abcd".ljust(6, filler), b"x y".ljust(6, filler)], "V6")
        attribute.write(content.view("S6"), mtype=kind)
    assert read(path).attributes == {"weight_names": ["abcd", "x y"]}


def test_other_attributes_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "others.h5"
    with h5py.File(path, "w") as file:
        file.attrs["fields"] = np.zeros(2, [("a", "f4"), ("b", "i8")])
        file.attrs["reference"] = file.ref
        file.attrs["numbers"] = np.array([1, 2], ">i4")
        file.attrs["opaque"] = np.void(b"abc")
        file.attrs["kept"] = h5py.Empty("f4")
    assert read(path).attributes == {"kept": None}


@pytest.mark.parametrize("value", [np.zeros(0), np.ones(2), ["bfloat16", "x"], 3, "float32"])
def test_dtype_of_another_meaning(tmp_path: Path, value: Any) -> None:
    """Only a text "bfloat16" says something."""
    path = tmp_path / "dtype.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("0", data=[1.5, 2.5]).attrs["dtype"] = value
    with h5py.File(path) as file:
        assert assert_same(file, read(path)) == 1


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_compact_and_timed_datasets(tmp_path: Path, version: str) -> None:
    path = tmp_path / "compact.h5"
    with h5py.File(path, "w", libver=version) as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((3, 5))
        data = h5py.h5d.create(file.id, b"small", h5py.h5t.IEEE_F32LE, space, properties)
        data.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(15, dtype="f4").reshape(3, 5))
        file.create_dataset("timed", data=[1.5, 2.5], track_times=True)
    with h5py.File(path) as file:
        assert assert_same(file, read(path)) == 2


@pytest.mark.parametrize("strategy", ["fsm", "page", "aggregate", "none"])
def test_strategies_of_file_space(tmp_path: Path, strategy: str) -> None:
    """These add a header after the superblock."""
    path = tmp_path / "strategy.h5"
    with h5py.File(path, "w", fs_strategy=strategy, fs_persist=strategy in ("fsm", "page")) as file:
        file["a/b/0"] = np.arange(5.0)
        file["gone"] = np.arange(900.0)
        del file["gone"]
    with h5py.File(path) as file:
        assert assert_same(file, read(path)) == 1


@pytest.mark.parametrize("strategy", [None, "page"])
def test_sizes_of_nodes(tmp_path: Path, strategy: str | None) -> None:
    """Other sizes than usual are in the superblock, or in the header after it."""
    path = tmp_path / "sizes.h5"
    properties = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    assert libhdf5().H5Pset_sym_k(ctypes.c_int64(properties.id), 3, 2) == 0
    if strategy:
        properties.set_file_space_strategy(h5py.h5f.FSPACE_STRATEGY_PAGE, False, 1)
    h5py.h5f.create(bytes(path), fcpl=properties).close()
    with h5py.File(path, "a") as file:
        for number in range(80):
            file[f"{number}"] = number
    with h5py.File(path) as file:
        assert assert_same(file, read(path)) == 80


def libhdf5() -> ctypes.CDLL:
    """The library below h5py, which has no function for the sizes of nodes."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("the library of a process is only found on Linux")
    files = {line.split()[-1] for line in maps.read_text().splitlines() if "libhdf5" in line}
    return ctypes.CDLL(next(file for file in files if "libhdf5_hl" not in file))


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_tensors_stay_in_the_file(tmp_path: Path, version: str) -> None:
    path = tmp_path / "model.h5"
    for write in (write_model, write_keras):
        write(path, libver=version)
        found = tensors(read(path))
        with h5py.File(path) as file:
            for name, tensor in found.items():
                assert tensor.offset == file[name].id.get_offset()
                assert tensor.is_verbatim


def test_checksum() -> None:
    """Values that its author gives."""
    assert lookup3(b"") == 0xDEADBEEF
    assert lookup3(b"Four score and seven years ago") == 0x17770551
