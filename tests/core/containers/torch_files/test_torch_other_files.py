"""Files that are not what `torch.save` writes: each is told what it is instead."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import warnings
from pathlib import Path

import pytest
import torch

from tests.core.containers.torch_files.torch_files import packed, refused, saved
from xlm_core.containers.torch_files import read_torch
from xlm_core.errors import CheckpointError


def tar_file() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name in ("storages", "tensors", "pickle"):
            file.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no file, but one that"),
        (b"hello", "is no file, but one that"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
        (tar_file(), "a tar archive, as torch wrote before"),
        (pickle.dumps({"a": 1}, 2), "is a pickle, but none that `torch.save` wrote"),
        (pickle.dumps(torch.zeros, 2), r"asks for"),
        (packed({"a": b"1"}), "is a zip archive, but not torch's"),
        (packed({"data.pkl": b"\x80\x02N."}, "x/y"), "is a zip archive, but not torch's"),
        (packed({"data.pkl": b"\x80\x02N.", "constants.pkl": b""}), "a TorchScript program"),
        (packed({"data.pkl": b"\x80\x02N.", "code/a.py": b""}), "a TorchScript program"),
        (packed({"data.pkl": b"\x80\x02N.", "byteorder": b"big"}), "in the order b'big'"),
        (packed({"data.pkl": b"\x80\x02N.", "version": b"11"}), "has the version b'11'"),
        (packed({"data.pkl": b"\x80\x02N.", "version": b"x"}), "has the version b'x'"),
        (packed({"data.pkl": b"\x80\x02N.more"}), "4 bytes follow its value"),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, message: str) -> None:
    refused(content, tmp_path, message)


def test_torch_script(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "x.pth")
    refused((tmp_path / "x.pth").read_bytes(), tmp_path, "a TorchScript program")


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"x\.pth is no file"):
        read_torch(tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="is no file"):
        read_torch(tmp_path)


# -- the older format ----------------------------------------------------------------------------


def legacy_with(old: bytes, new: bytes) -> bytes:
    content = saved([torch.zeros(2), torch.zeros(3)], legacy=True)
    assert old in content
    return content.replace(old, new, 1)


def test_header_of_old_files(tmp_path: Path) -> None:
    refused(legacy_with(b"M\xe9\x03.", b"M\xea\x03."), tmp_path, "another protocol than 1001")
    refused(legacy_with(b"endianq\x02\x88", b"endianq\x02\x89"), tmp_path, "not little-endian")
    refused(legacy_with(b"intq\x06K\x04", b"intq\x06K\x08"), tmp_path, "not little-endian")


def test_list_of_storages(tmp_path: Path) -> None:
    content = saved([torch.zeros(2), torch.zeros(3)], legacy=True)
    start = content.rindex(b"\x80\x02]")
    data = content[content.rindex(b"e.") + 2 :]
    keys = list(pickle.loads(content[start:]))
    for wrong in (keys[:1], [*keys, "9"], [keys[0]] * 2, keys[0], [1, 2], [[], {}]):
        changed = content[:start] + pickle.dumps(wrong, 2) + data
        refused(changed, tmp_path, "list of storages before byte .* does not name the 2")
    count = struct.pack("<q", 2)
    assert count in data
    for wrong_count in (3, -1, 2**62):
        changed = content[: -len(data)] + data.replace(count, struct.pack("<q", wrong_count))
        refused(changed, tmp_path, f"should have 2 elements, but has {wrong_count}")
