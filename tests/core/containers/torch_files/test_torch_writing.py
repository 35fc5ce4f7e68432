"""What is written without torch, torch loads: with weights_only and without, old form and new."""

from __future__ import annotations

import os
import pickle
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from tests.core.containers.torch_files.torch_files import assert_same
from tests.support.containers import set_limits
from xlm_core.containers.lazy_tensors import DTYPES, LazyTensor
from xlm_core.containers.torch_files import read_torch, write_torch
from xlm_core.containers.torch_files.storages import CLASSES
from xlm_core.errors import CheckpointError

forms = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
strictness = pytest.mark.parametrize("weights_only", [True, False], ids=["strict", "free"])


def tensor(dtype: str, *shape: int) -> LazyTensor:
    raw = np.random.default_rng(0).integers(0, 256, (*shape, DTYPES[dtype].itemsize), np.uint8)
    if dtype == "bool":
        raw &= 1
    return LazyTensor.of(raw.reshape(-1).view(DTYPES[dtype]).reshape(shape))


def written(content: Any, path: Path, *, legacy: bool, weights_only: bool) -> Any:
    """What torch loads of it, compared with what this project reads of it."""
    write_torch(path / "x.pth", content, legacy=legacy)
    theirs = torch.load(path / "x.pth", weights_only=weights_only)
    assert_same(read_torch(path / "x.pth"), theirs)
    return theirs


@forms
@strictness
def test_tensors(tmp_path: Path, legacy: bool, weights_only: bool) -> None:
    content = {
        f"{dtype} {shape}": tensor(dtype, *shape)
        for dtype in (CLASSES if legacy else DTYPES)
        for shape in ((3, 5), (), (0,), (2, 0, 3), (2, 3, 4))
    }
    theirs = written(content, tmp_path, legacy=legacy, weights_only=weights_only)
    assert_same(content, theirs)
    for value in theirs.values():
        assert value.is_contiguous()
        assert not value.requires_grad


@forms
@strictness
def test_state_dict(tmp_path: Path, legacy: bool, weights_only: bool) -> None:
    module = torch.nn.TransformerEncoderLayer(8, 2, 16)
    content = OrderedDict(
        (name, LazyTensor.of(value.numpy())) for name, value in module.state_dict().items()
    )
    theirs = written(content, tmp_path, legacy=legacy, weights_only=weights_only)
    assert type(theirs) is OrderedDict
    torch.nn.TransformerEncoderLayer(8, 2, 16).load_state_dict(theirs, strict=True)
    assert_same(dict(content), module.state_dict())


@forms
@strictness
def test_tied_tensors_share_a_storage(tmp_path: Path, legacy: bool, weights_only: bool) -> None:
    one = tensor("float32", 4, 6)
    content = {"a": one, "b": one, "c": one.part(0, 4), "d": one.transposed(), "e": one.part(1, 3)}
    theirs = written(content, tmp_path, legacy=legacy, weights_only=weights_only)
    assert theirs["a"].data_ptr() == theirs["b"].data_ptr() == theirs["c"].data_ptr()
    assert len({value.data_ptr() for value in theirs.values()}) == 3
    assert_same(content, theirs)
    assert os.path.getsize(tmp_path / "x.pth") < 3 * one.nbytes + 4_000


@forms
@strictness
def test_views_and_casts(tmp_path: Path, legacy: bool, weights_only: bool) -> None:
    one = LazyTensor.of(np.linspace(-9, 9, 2400, dtype=np.float32).reshape(40, 60))
    content = {"t": one.transposed(), "half": one.astype("float16"), "part": one.part(3, 30)}
    theirs = written(content, tmp_path, legacy=legacy, weights_only=weights_only)
    assert_same(content, theirs)


@forms
@strictness
def test_plain_values(tmp_path: Path, legacy: bool, weights_only: bool) -> None:
    content = {
        "int": [0, 1, 255, 256, 65535, 65536, -1, 2**31 - 1, 2**31, -(2**31), -(2**63), 2**64 - 1],
        "float": [0.5, -0.0, float("inf"), float("nan")],
        "text": ["", "a" * 300, "日本語 \U0001f600", "x\n\0"],
        "others": (None, True, False, (), [], {}, (1,), (1, 2, 3, 4)),
        "sets": {"a", "b", 3},
        ("en", "fr"): {1: "a", None: "b", False: "c", 2.5: "d"},
        "ordered": OrderedDict([("z", 1), ("a", OrderedDict())]),
        "bytes": (b"", b"\x00\xff"),
    }
    if weights_only:
        # torch knows no empty bytes there.
        content["bytes"] = b"\x00\xff"
    theirs = written(content, tmp_path, legacy=legacy, weights_only=weights_only)
    assert_same(content | {"ordered": {"z": 1, "a": {}}}, theirs)
    assert type(theirs["ordered"]) is OrderedDict


@forms
def test_numpy_values(tmp_path: Path, legacy: bool) -> None:
    names = ["bool", "int8", "int64", "uint16", "float16", "float32", "float64", "complex64"]
    cube = np.arange(24.0).reshape(2, 3, 4)
    content = {
        "scalars": [np.dtype(name).type(1.7) for name in names] + [np.str_("aé"), np.bytes_(b"x")],
        "empty": [np.str_(""), np.zeros(0), np.zeros((2, 0), np.int8)],
        "arrays": [np.ones((2, 3), name) for name in names] + [np.array(["a", "bcé"])],
        "orders": [cube.T, cube[:, ::2], np.array(3.0), np.asfortranarray(cube[0])],
    }
    assert_same(content, written(content, tmp_path, legacy=legacy, weights_only=False))
    big_endian = {"a": np.arange(3, dtype=">f4"), "b": np.array(1.5, ">f8")[()]}
    theirs = written(big_endian, tmp_path, legacy=legacy, weights_only=False)
    assert theirs["a"].tolist() == [0, 1, 2]
    assert theirs["b"] == 1.5
    raw = (tmp_path / "x.pth").read_bytes()
    assert b"numpy.core.multiarray" in raw
    assert b"numpy._core" not in raw


@forms
def test_numpy_values_with_weights_only(tmp_path: Path, legacy: bool) -> None:
    """torch reads them once it is told that they are harmless."""
    write_torch(tmp_path / "x", {"a": np.float64(0.5)}, legacy=legacy)
    with pytest.raises(pickle.UnpicklingError, match="scalar"):
        torch.load(tmp_path / "x", weights_only=True)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "A object cannot be written"),
        (torch.zeros(1), "A Tensor cannot be written"),
        (Path("x"), "A PosixPath cannot be written"),
        (1j, "A complex cannot be written"),
        (np.array([None]), "A numpy array of object"),
        (np.zeros(2, ml_dtypes.bfloat16), "A numpy array of bfloat16"),
        (np.zeros(2, np.longdouble), "A numpy array of float128"),
        ("\ud800", "half of a character"),
        (2**600, "An integer of 76 bytes"),
        ({b"a": 1}, "a key is a bytes"),
        ({2**64: 1}, "a key is an integer of more than 64 bits"),
        (dict.fromkeys(range(0, 10**9, 10**4)), "do not count up"),
    ],
)
@forms
def test_refused(tmp_path: Path, value: Any, message: str, legacy: bool) -> None:
    with pytest.raises(CheckpointError, match=message):
        write_torch(tmp_path / "x", {"a": [value]}, legacy=legacy)


def test_dtypes_that_the_old_form_has_not(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="A tensor of uint16 cannot be written"):
        write_torch(tmp_path / "x", [tensor("uint16", 3)], legacy=True)


def test_too_deep(tmp_path: Path) -> None:
    own: list[Any] = []
    own.append(own)
    with pytest.raises(CheckpointError, match="or in themselves"):
        write_torch(tmp_path / "x", own)


@forms
def test_same_bytes_each_time(tmp_path: Path, legacy: bool) -> None:
    for name in ("x", ".y.tmp"):
        write_torch(tmp_path / name, {"a": tensor("float32", 5), "s": set("abcdef")}, legacy=legacy)
    assert (tmp_path / "x").read_bytes() == (tmp_path / ".y.tmp").read_bytes()


@forms
def test_memory_and_progress(tmp_path: Path, legacy: bool) -> None:
    """100 MB are written within 40 MB, and reported to the byte."""
    big = LazyTensor.of(np.zeros((2500, 10_000), np.float32))
    done: list[int] = []
    tracemalloc.start()
    write_torch(tmp_path / "x", {"a": big}, legacy=legacy, progress=done.append)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 << 20
    assert sum(done) == big.nbytes


def test_error_of_the_file_system(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="absent"):
        write_torch(tmp_path / "absent" / "x", {"a": 1})


# -- the archive ---------------------------------------------------------------------------------


def test_archive(tmp_path: Path) -> None:
    """zipfile finds sound checksums; all members but the pickle's begin at multiples of 64."""
    write_torch(tmp_path / "x", {"a": tensor("float32", 30), "b": tensor("int8", 7), "c": 1})
    with zipfile.ZipFile(tmp_path / "x") as file:
        assert file.testzip() is None
        names = ["data.pkl", "byteorder", "data/0", "data/1", "version"]
        assert file.namelist() == [f"archive/{name}" for name in names]
        assert {info.compress_type for info in file.infolist()} == {zipfile.ZIP_STORED}
        assert file.read("archive/byteorder") == b"little"
        content = (tmp_path / "x").read_bytes()
        for name in names:
            assert content.index(file.read(f"archive/{name}")) >= 0
    loaded = torch.load(tmp_path / "x", mmap=True)
    assert_same(read_torch(tmp_path / "x"), loaded)
    for value in (loaded["a"], loaded["b"]):
        assert value.data_ptr() % 64 == 0


def test_long_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What files of more than 4 GiB need, tried on a small one."""
    set_limits(monkeypatch, archive_size=50, archive_members=2)
    content = {"a": tensor("float32", 30), "b": tensor("int8", 7)}
    for weights_only in (True, False):
        assert_same(content, written(content, tmp_path, legacy=False, weights_only=weights_only))
    with zipfile.ZipFile(tmp_path / "x.pth") as file:
        assert file.testzip() is None
        assert len(file.namelist()) == 5


@pytest.mark.full
def test_more_than_4_gib(tmp_path: Path) -> None:
    row = LazyTensor.of(np.arange(1 << 20, dtype=np.float32))
    many = LazyTensor(row.source, 0, "float32", (1100, 1 << 20), (0, 1))
    write_torch(tmp_path / "x", {"a": many, "b": row})
    with zipfile.ZipFile(tmp_path / "x") as file:
        assert file.testzip() is None
    theirs = torch.load(tmp_path / "x", mmap=True)
    assert torch.equal(theirs["a"][-1], theirs["b"])
    torch.save(theirs, tmp_path / "y")
    for path in (tmp_path / "x", tmp_path / "y"):
        ours = read_torch(path)
        assert np.array_equal(ours["a"].part(1099, 1100).read()[0], ours["b"].read())
