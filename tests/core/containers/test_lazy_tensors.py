"""Tensors as views of a file: every way to read and to stream gives what numpy gives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.containers import small_blocks
from xlm_core import CheckpointError, ConfigError
from xlm_core.checkpoints import float_dtype_name
from xlm_core.containers.comparing import (
    Comparison,
    compare_tensors,
    count_not_finite,
    same_values,
)
from xlm_core.containers.lazy_tensors import DTYPES, LazyTensor
from xlm_core.containers.sources import FileSource, MemorySource, PartSource, read_bytes
from xlm_core.containers.streaming import Job, fill, fill_with_checksums, in_parallel, reserve


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that every path is taken."""
    small_blocks(monkeypatch)


def in_file(path: Path, array: Any, offset: int = 5) -> LazyTensor:
    path.write_bytes(b"x" * offset + array.tobytes() + b"y")
    return LazyTensor(FileSource(path), offset, array.dtype.name, array.shape)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(tmp_path: Path, dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(DTYPES[dtype])
    lazy = in_file(tmp_path / "file", array)
    assert (lazy.dtype, lazy.shape, lazy.size, lazy.nbytes) == (
        dtype,
        (2, 3, 4),
        24,
        array.nbytes,
    )
    assert lazy.read().dtype == array.dtype
    assert lazy.read().tobytes() == array.tobytes()
    assert lazy.is_verbatim


@pytest.mark.usefixtures("small")
@given(
    shape=st.lists(st.integers(0, 9), max_size=3),
    order=st.permutations([0, 1, 2]),
    cut=st.tuples(st.integers(0, 3), st.integers(1, 3)),
    data=st.data(),
)
def test_any_view_reads_as_numpy_reads_it(
    tmp_path_factory: Any, shape: Any, order: Any, cut: Any, data: Any
) -> None:
    base = np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape)
    view = base.transpose([axis for axis in order if axis < base.ndim])
    if view.ndim:
        view = view[cut[0] :: cut[1]]
    path = tmp_path_factory.mktemp("view") / "file"
    path.write_bytes(base.tobytes())
    start = view.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    strides = tuple(step // 4 for step in view.strides)
    start = 0 if view.size == 0 else start
    lazy = LazyTensor(FileSource(path), start, "int32", view.shape, strides)
    assert np.array_equal(lazy.read(), view)
    assert np.array_equal(lazy.transposed().read(), view.T)
    assert b"".join(block.tobytes() for block in lazy.blocks()) == view.tobytes()
    assert np.array_equal(lazy.astype("float32").read(), view.astype(np.float32))
    if view.ndim:
        stop = data.draw(st.integers(0, view.shape[0]))
        begin = data.draw(st.integers(0, stop))
        assert np.array_equal(lazy.rows(begin, stop), view[begin:stop])
    for tensor, expected in ((lazy, view), (lazy.transposed(), view.T)):
        target = path.with_name("target")
        with open(target, "wb") as file:
            fill(file.fileno(), [Job(3, tensor)])
        content = target.read_bytes()
        assert content[3:] == expected.tobytes()
    pairs = compare_tensors([(lazy, LazyTensor.of(np.ascontiguousarray(view)))])
    assert pairs == [Comparison()]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("shape", [(3, 700), (700, 3), (40, 41)])
def test_large_transposed_matrices(tmp_path: Path, shape: tuple[int, int]) -> None:
    array = np.random.default_rng(0).standard_normal(shape, np.float32)
    lazy = in_file(tmp_path / "file", array, offset=4)
    told: list[int] = []
    jobs = [Job(8, lazy.transposed()), Job(8 + array.nbytes, lazy)]
    with open(tmp_path / "target", "wb") as file:
        fill(file.fileno(), jobs, told.append)
    content = (tmp_path / "target").read_bytes()
    assert content[8:] == array.T.tobytes() + array.tobytes()
    assert sum(told) == 2 * array.nbytes
    with open(tmp_path / "target", "wb") as file:
        checksums = fill_with_checksums(file.fileno(), jobs, told.append)
    assert (tmp_path / "target").read_bytes() == content
    import zlib

    assert checksums == [zlib.crc32(array.T.tobytes()), zlib.crc32(array.tobytes())]


def test_places(tmp_path: Path) -> None:
    lazy = in_file(tmp_path / "file", np.ones((2, 2), np.float32))
    assert lazy.place == LazyTensor(lazy.source, 5, "float32", (2, 2)).place
    assert lazy.place != lazy.transposed().place
    assert lazy.place != lazy.astype("float16").place
    assert lazy.astype("float32").place == lazy.place
    other = LazyTensor.of(np.ones((2, 2), np.float32))
    assert lazy.place != other.place
    assert same_values(lazy, other)
    assert not same_values(lazy, other.astype("float64"))


@pytest.mark.parametrize(
    ("offset", "dtype", "shape", "strides"),
    [
        (1, "float32", (4,), ()),
        (0, "float32", (5,), ()),
        (-4, "float32", (1,), ()),
        (0, "float32", (2, 2), (4, 1)),
        (0, "float32", (1 << 40,), ()),
        (0, "float32", (1 << 62, 1 << 62), ()),
        (0, "float32", (2,), (-1,)),
        (0, "float32", (-2,), ()),
        (0, "float32", (2, 2), (1,)),
        (0, "complex64", (2,), ()),
    ],
)
def test_no_view_leaves_its_source(
    offset: int, dtype: str, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    source = MemorySource(np.zeros(4, np.float32))
    with pytest.raises(CheckpointError):
        LazyTensor(source, offset, dtype, shape, strides)


def test_a_file_that_shrinks_is_an_error(tmp_path: Path) -> None:
    lazy = in_file(tmp_path / "file", np.ones((50, 50)))
    os.truncate(tmp_path / "file", 1000)
    with pytest.raises(CheckpointError, match="was cut off while it was being read"):
        lazy.read()


def test_a_file_that_is_removed_can_be_read(tmp_path: Path) -> None:
    lazy = in_file(tmp_path / "file", np.arange(4.0))
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "file").unlink()
    with pytest.raises(CheckpointError):
        lazy.read()  # it was emptied before
    lazy = in_file(tmp_path / "file", np.arange(4.0))
    (tmp_path / "file").unlink()
    assert lazy.read().tolist() == [0, 1, 2, 3]


def test_without_reading_and_writing_by_position(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows."""
    for name in ("preadv", "pwrite", "posix_fallocate"):
        monkeypatch.delattr(os, name)
    array = np.arange(60.0).reshape(6, 10)
    lazy = in_file(tmp_path / "file", array)
    assert lazy.read().tolist() == array.tolist()
    with open(tmp_path / "target", "wb") as file:
        reserve(file.fileno(), 2 * array.nbytes)
        fill(file.fileno(), [Job(0, lazy), Job(array.nbytes, lazy.transposed())])
    assert (tmp_path / "target").read_bytes() == array.tobytes() + array.T.tobytes()


def test_sources(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(100)))
    part = PartSource(FileSource(tmp_path / "file"), 10, 20, "inner")
    assert part.size == 20
    assert read_bytes(part, 5, 3) == bytes((15, 16, 17))
    with pytest.raises(CheckpointError, match=r"\(inner\) is damaged or cut off"):
        read_bytes(part, 18, 3)
    with pytest.raises(CheckpointError, match="there are 100"):
        PartSource(FileSource(tmp_path / "file"), 90, 11, "inner")
    with pytest.raises(CheckpointError, match="is no file"):
        FileSource(tmp_path)


def test_the_first_error_ends_the_work() -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number == 1:
            raise CheckpointError("one")
        done.append(number)

    with pytest.raises(CheckpointError, match="one"):
        in_parallel(work, range(10_000))
    assert len(done) < 10_000


def test_comparisons() -> None:
    one = np.array([[1.0, -0.0], [np.nan, 4.0]], np.float32)
    other = np.array([[1.0, 0.0], [np.nan, 4.5]], np.float32)
    found = compare_tensors([(LazyTensor.of(one), LazyTensor.of(other))])[0]
    assert found == Comparison(differing=2, largest=0.5, not_finite=1)
    half = np.array([60000, 60000], ml_dtypes.bfloat16)
    assert count_not_finite(half) == 0
    assert count_not_finite(np.full(3, 65504, np.float16)) == 0
    assert count_not_finite(np.array([np.inf, 1], np.float16)) == 1
    assert count_not_finite(np.full(1000, 3e38, np.float32)) == 0  # only the sum is inf


def test_names_of_dtypes() -> None:
    assert float_dtype_name(None, {"float16"}) == "float32"
    assert float_dtype_name("auto", {"float16"}) == "float16"
    assert float_dtype_name("auto", {"float16", "float32"}) == "float32"
    assert float_dtype_name(np.dtype("float64"), set()) == "float64"
    assert float_dtype_name("half", set()) == "float16"
    with pytest.raises(ConfigError, match="dtype is 'int8'"):
        float_dtype_name("int8", set())


def test_no_rows_where_the_step_leads_beyond_the_source() -> None:
    lazy = LazyTensor(LazyTensor.of(np.ones(1, np.float32)).source, 0, "float32", (1,), (2,))
    assert lazy.rows(1, 1).shape == (0,)
    assert lazy.rows(0, 1).tolist() == [1]
    empty = LazyTensor.of(np.ones((2, 0), np.float32))
    assert empty.rows(1, 2).shape == (1, 0)
