"""Torch files that are cut off or changed anywhere: one error each, and never anything else."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.core.containers.torch_files.torch_files import read_all, refused, saved
from xlm_core.containers.torch_files import read_torch
from xlm_core.errors import CheckpointError

VALUE = {
    "model": {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3, 2).T, "c": torch.zeros(0)},
    "words": {"the": 0, "a": 1},
    "params": [0.5, None, True, ("x", 300), np.float64(1.5), np.arange(3)],
}
FILES = {
    "zip": saved(VALUE),
    "legacy": saved(VALUE, legacy=True),
    "legacy-4": saved(VALUE, legacy=True, protocol=4),
}
files = pytest.mark.parametrize("content", FILES.values(), ids=FILES)


@files
def test_cut_off_anywhere(tmp_path: Path, content: bytes) -> None:
    read_all(content, tmp_path)
    for end in range(len(content)):
        refused(content[:end], tmp_path, "x.pth")


@files
def test_longer(tmp_path: Path, content: bytes) -> None:
    refused(content + b"\0", tmp_path, r"after the last storage|is missing or cut off")
    refused(content + content, tmp_path, r"after the last storage|damaged zip")


@files
def test_every_changed_byte(tmp_path: Path, content: bytes) -> None:
    """An error, or a value that can be used: nothing else, and in reasonable time."""
    accepted = 0
    for place in range(len(content)):
        for flip in (1 << place % 8, 0xFF):
            changed = bytearray(content)
            changed[place] ^= flip
            try:
                read_all(bytes(changed), tmp_path)
            except CheckpointError:
                continue
            accepted += 1
    assert 0 < accepted < 2 * len(content)


@files
def test_opcodes_replaced(tmp_path: Path, content: bytes) -> None:
    """Every byte of the pickle becomes each opcode of those that do the most."""
    start = content.index(b"\x80", 120)
    for place in range(start, start + 100):
        for opcode in b"R}]bQ)t(\x81\x93.hcX":
            changed = bytearray(content)
            changed[place] = opcode
            with contextlib.suppress(CheckpointError):
                read_all(bytes(changed), tmp_path)


def test_a_storage_that_nothing_needs(tmp_path: Path) -> None:
    """A changed key would give two tensors the numbers of one."""
    torch.save({"a": torch.zeros(3), "b": torch.ones(3)}, tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    second = content.index(b"X\x01\x00\x00\x001q")
    (tmp_path / "file").write_bytes(content[: second + 5] + b"0" + content[second + 6 :])
    with pytest.raises(CheckpointError, match=r"no tensor needs its storage '.*/data/1'"):
        read_torch(tmp_path / "file")


@pytest.mark.parametrize("strides", [(0, 1), (1, 1), (2, 1), (4, 3)])
def test_views_whose_elements_overlap(tmp_path: Path, strides: tuple[int, int]) -> None:
    """Torch can make them, and a damaged stride does: no weight is one."""
    storage = torch.arange(64.0)
    torch.save({"a": torch.as_strided(storage, (8, 4), strides)}, tmp_path / "file")
    with pytest.raises(CheckpointError, match="has the same element in several places"):
        read_torch(tmp_path / "file")
    apart = torch.as_strided(storage, (4, 8), (1, 4))
    torch.save({"a": apart}, tmp_path / "file")
    assert np.array_equal(read_torch(tmp_path / "file")["a"].read(), apart.numpy())
