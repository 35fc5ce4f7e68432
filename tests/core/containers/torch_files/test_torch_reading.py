"""Tensors in torch files of every form are read as torch reads them, to the bit."""

from __future__ import annotations

import io
import os
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.core.containers.torch_files.torch_files import FORM_NAMES, FORMS, assert_same, save
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.sources import FileSource
from xlm_core.containers.torch_files import read_torch
from xlm_core.errors import CheckpointError

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]
UNSIGNED = [torch.uint16, torch.uint32, torch.uint64]

forms = pytest.mark.parametrize(("legacy", "protocol"), FORMS, ids=FORM_NAMES)


def random(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Every pattern of bits that the dtype can have is as likely as the others."""
    generator = torch.Generator().manual_seed(1)
    if dtype is torch.bool:
        return torch.randint(0, 2, shape, generator=generator).bool()
    size = torch.empty((), dtype=dtype).element_size()
    raw = torch.randint(0, 256, (*shape, size), generator=generator, dtype=torch.uint8)
    return raw.view(dtype).reshape(shape)


def round_trip(value: Any, path: Path, legacy: bool, protocol: int) -> Any:
    """The value as it is read, compared with what torch reads."""
    save(value, path / "x.pth", legacy=legacy, protocol=protocol)
    ours = read_torch(path / "x.pth")
    assert_same(ours, torch.load(path / "x.pth", weights_only=False))
    assert_same(ours, value)
    return ours


@forms
def test_dtypes(tmp_path: Path, legacy: bool, protocol: int) -> None:
    tensors = {str(dtype): random(3, 5, dtype=dtype) for dtype in DTYPES}
    tensors["nan"] = torch.tensor([float("nan"), float("inf"), -0.0])
    round_trip(tensors, tmp_path, legacy, protocol)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_unsigned_dtypes(tmp_path: Path, protocol: int) -> None:
    """torch 2 keeps these as bytes, and cannot load them from its older format."""
    base = random(40, dtype=torch.uint64)
    tensors = {str(dtype): random(3, 5, dtype=dtype) for dtype in UNSIGNED}
    tensors |= {"slice": base[7:20], "strided": base[1::3], "same": base}
    round_trip(tensors, tmp_path, False, protocol)


@forms
def test_shapes(tmp_path: Path, legacy: bool, protocol: int) -> None:
    shapes = [(), (1,), (0,), (3, 0, 2), (0, 3), (1, 1, 1), (2, 3, 4, 5)]
    round_trip([random(*shape) for shape in shapes], tmp_path, legacy, protocol)


@forms
def test_views(tmp_path: Path, legacy: bool, protocol: int) -> None:
    """Of one storage: with an offset, with gaps, transposed, permuted."""
    base = random(4, 5, 6)
    views = [
        base,
        base[2],
        base[1:3, ::2, 3],
        base.T if base.ndim == 2 else base.permute(2, 0, 1),
        base[0].T,
        base[3, 4, 5],
        base[:0],
        base.flatten().as_strided((5, 8), (1, 5), 7),
        base.flatten().as_strided((10, 2), (1, 10)),
    ]
    ours = round_trip(views, tmp_path, legacy, protocol)
    assert len({tensor.source for tensor in ours}) == 1
    assert isinstance(ours[0].source, FileSource)


@forms
def test_tied_tensors_have_one_place(tmp_path: Path, legacy: bool, protocol: int) -> None:
    weight = random(3, 4)
    value = {"a": weight, "b": weight, "c": weight.view(3, 4), "d": weight.clone(), "e": weight.T}
    ours = round_trip(value, tmp_path, legacy, protocol)
    assert ours["a"].place == ours["b"].place == ours["c"].place
    assert len({ours[name].place for name in "ade"}) == 3


@forms
def test_modules(tmp_path: Path, legacy: bool, protocol: int) -> None:
    """A state dict with its versions, parameters outside of one, and their own attributes."""
    module = torch.nn.TransformerEncoderLayer(8, 2, 16)
    parameter = torch.nn.Parameter(random(2, 3), requires_grad=False)
    parameter.own = ["attribute"]  # type: ignore[attr-defined]
    value = {
        "model": module.state_dict(),
        "parameters": list(module.parameters()),
        "with attributes": parameter,
        "buffer": torch.nn.BatchNorm1d(3).state_dict(),
    }
    ours = round_trip(value, tmp_path, legacy, protocol)
    assert list(ours["model"]) == list(module.state_dict())


@forms
def test_optimizer(tmp_path: Path, legacy: bool, protocol: int) -> None:
    module = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(module.parameters(), weight_decay=0.01)
    module(random(4, 3).nan_to_num(0, 0, 0)).sum().backward()
    optimizer.step()
    round_trip({"optimizer": optimizer.state_dict(), "epoch": 3}, tmp_path, legacy, protocol)


@pytest.mark.parametrize("legacy", [False, True])
def test_one_tensor_is_a_file(tmp_path: Path, legacy: bool) -> None:
    assert isinstance(round_trip(random(2, 3), tmp_path, legacy, 2), LazyTensor)


@pytest.mark.parametrize("legacy", [False, True])
def test_many_storages_in_the_order_of_the_file(tmp_path: Path, legacy: bool) -> None:
    """More than ten keys, which torch sorts as texts in its older format."""
    value = OrderedDict((f"{index}", random(index, 3) + index) for index in range(30))
    round_trip(value, tmp_path, legacy, 2)


@pytest.mark.parametrize("legacy", [False, True])
def test_file_removed_after_opening(tmp_path: Path, legacy: bool) -> None:
    path = save({"a": random(300, 400)}, tmp_path / "x.pth", legacy=legacy)
    ours = read_torch(path)
    os.remove(path)
    assert_same(ours, {"a": random(300, 400)})


def test_archive_of_another_program(tmp_path: Path) -> None:
    """Unpacked and packed again: no alignment, another order, a folder of another name."""
    save({"a": random(3, 4), "b": random(2)}, tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth") as old, zipfile.ZipFile(tmp_path / "y", "w") as new:
        new.mkdir("other")
        for name in sorted(old.namelist(), reverse=True):
            if not name.partition("/")[2].startswith("."):
                new.writestr(name.replace("x/", "other/"), old.read(name))
    assert_same(read_torch(tmp_path / "y"), {"a": random(3, 4), "b": random(2)})


def test_without_checksums(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        path = save(random(3, 4), tmp_path / "x.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert_same(read_torch(path), random(3, 4))


@pytest.mark.parametrize("legacy", [False, True])
def test_part_of_a_storage_in_an_old_file(tmp_path: Path, legacy: bool) -> None:
    """Files of 2016 to 2018 can refer to a part of a storage: torch and this agree on it."""
    path = save([random(4, 3), random(4, 3)], tmp_path / "x.pth", legacy=True)
    content = path.read_bytes()
    # The last item of the id, None, becomes (key, first, count), and the tensor fits into that.
    place = content.index(b"Ntq", content.index(b"cpu"))
    part = b"X\x04\0\0\0partK\x02K\x06\x87"
    content = content[:place] + part + content[place + 1 :]
    shape = content.index(b"K\x04K\x03\x86", place)
    content = content[: shape + 1] + b"\x02" + content[shape + 2 :]
    path.write_bytes(content)
    ours, theirs = read_torch(path), torch.load(path, weights_only=False)
    assert theirs[0].shape == (2, 3)
    assert torch.equal(
        theirs[0].view(torch.int32), random(4, 3).flatten()[2:8].view(torch.int32).view(2, 3)
    )
    assert_same(ours, theirs)
    outside = content.replace(b"partK\x02K\x06", b"partK\x07K\x06")
    path.write_bytes(outside)
    with pytest.raises(CheckpointError, match="part of a storage does not lie within it"):
        read_torch(path)


def test_opening_reads_no_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of 40 MB costs some kilobytes."""
    sizes: list[int] = []
    read_into = FileSource.read_into

    def counted(self: FileSource, offset: int, buffer: memoryview) -> None:
        sizes.append(len(buffer))
        read_into(self, offset, buffer)

    monkeypatch.setattr(FileSource, "read_into", counted)
    for legacy in (False, True):
        save([torch.zeros(1000, 1000) + i for i in range(10)], tmp_path / "x", legacy=legacy)
        sizes.clear()
        read_torch(tmp_path / "x")
        assert sum(sizes) < 200_000


def test_values_of_a_buffer(tmp_path: Path) -> None:
    """The folder in the archive has the name that torch gives to what is no file."""
    buffer = io.BytesIO()
    torch.save(random(2), buffer)
    (tmp_path / "x").write_bytes(buffer.getvalue())
    assert_same(read_torch(tmp_path / "x"), random(2))
