"""Damaged HDF5 files are refused, or what was not damaged is read as before: never other numbers.

The format has no checksum over numbers, nor, in its early form, over names. A changed name is no
name of the model, which is found later.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.core.containers.hdf5.hdf5_files import (
    groups,
    read_content,
    tensors,
    write_keras,
    write_model,
)
from tests.support.containers import without_checksums
from xlm_core import CheckpointError
from xlm_core.containers.hdf5 import Group

Write = Callable[..., None]
FILES = pytest.mark.parametrize(
    ("write", "version"),
    [
        (write_model, "earliest"),
        (write_keras, "earliest"),
        (write_model, "latest"),
        (write_keras, "latest"),
    ],
)
NEEDED = re.compile(r"(layer_names|weight_names)\d*|name|dtype")


def content_of(folder: Path, write: Write, version: str) -> bytes:
    write(folder / "file.h5", libver=version)
    return (folder / "file.h5").read_bytes()


def numbers(root: Group) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {
        name: (tensor.dtype, tensor.shape, tensor.read().tobytes())
        for name, tensor in tensors(root).items()
    }


def names(root: Group) -> dict[str, Any]:
    """All attributes that name layers or weights, by path."""
    return {
        f"{group.path}@{name}": value
        for group in groups(root)
        for name, value in group.attributes.items()
        if NEEDED.fullmatch(name)
    }


def texts(root: Group) -> Iterator[str]:
    """Every name and text in a file."""
    for group in groups(root):
        yield from (*group.groups, *group.tensors, *group.attributes, "dtype")
        for value in group.attributes.values():
            yield from [value] if isinstance(value, str) else value


def places_outside_of_numbers(content: bytes) -> tuple[list[int], set[int]]:
    """All bytes but those of tensors; and those of them that are text, with zeros around it."""
    root = read_content(content)
    inside = np.ones(len(content), bool)
    for tensor in tensors(root).values():
        inside[tensor.offset : tensor.offset + tensor.nbytes] = False
    text: set[int] = set()
    for name in set(texts(root)):
        for match in re.finditer(re.escape(name.encode()), content):
            text.update(range(match.start(), match.end() + 8))
    return np.flatnonzero(inside).tolist(), text


@FILES
def test_cut_off(tmp_path: Path, write: Write, version: str) -> None:
    content = content_of(tmp_path, write, version)
    ends = {len(content) * percent // 100 for percent in range(100)} | {len(content) - 1}
    for end in ends:
        with pytest.raises(CheckpointError, match=r"some\.h5 is (cut off|no HDF5 file|damaged)"):
            read_content(content[:end])


@FILES
def test_longer(tmp_path: Path, write: Write, version: str) -> None:
    """A file says where it ends; what follows is nothing of it."""
    content = content_of(tmp_path, write, version)
    assert numbers(read_content(content + b"more")) == numbers(read_content(content))


@FILES
@pytest.mark.parametrize("kind", ["bit", "byte"])
def test_one_byte_changed(tmp_path: Path, write: Write, version: str, kind: str) -> None:
    content = content_of(tmp_path, write, version)
    places, text = places_outside_of_numbers(content)
    before, names_before = numbers(read_content(content)), names(read_content(content))
    random = np.random.default_rng(3)
    refused = 0
    for place in random.choice(places, 190).tolist():
        changed = bytearray(content)
        changed[place] ^= 1 << int(random.integers(8)) if kind == "bit" else random.integers(1, 256)
        try:
            root = read_content(changed)
        except CheckpointError as error:
            assert "some.h5" in str(error)
            refused += 1
            continue
        found = numbers(root)
        for name in found.keys() & before.keys():
            assert found[name] == before[name], (place, name)
        if place not in text:
            assert found.keys() == before.keys(), place
            assert names(root) == names_before, place
    # Much of a small file is room that is not used.
    assert refused > 20


@pytest.mark.parametrize("count", [1, 20])
def test_checksums_cover_names_of_the_later_format(tmp_path: Path, count: int) -> None:
    """In the header of a group, and in a heap of many."""
    path = tmp_path / "names.h5"
    with h5py.File(path, "w", libver="latest") as file:
        for number in range(count):
            file.create_group(f"group{number}")[f"weight {number}"] = 1.5
    content = path.read_bytes()
    for name in [f"{kind}{number}" for kind in ("group", "weight ") for number in range(count)]:
        changed = bytearray(content)
        changed[content.index(name.encode())] ^= 1
        with pytest.raises(CheckpointError, match="checksum"):
            read_content(changed)


def write_many(path: Path) -> None:
    """Links and attributes in heaps, with trees of two levels."""
    with h5py.File(path, "w", libver="latest", track_order=True) as file:
        for number in range(60):
            file[f"weight {number}"] = np.float32(number)
            file.attrs[f"name{number}"] = f"{number}"
        for number in range(12):
            group = file.create_group(f"group {number}")
            group.attrs["weight_names"] = ["a", f"{number}"]


def test_right_checksums_on_wrong_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wants to do harm computes them anew."""
    write_many(tmp_path / "many.h5")
    content = np.fromfile(tmp_path / "many.h5", np.uint8)
    places, _ = places_outside_of_numbers(content.tobytes())
    without_checksums(monkeypatch)
    random = np.random.default_rng(5)
    refused = 0
    for place in random.choice(places, 400).tolist():
        changed = content.copy()
        changed[place] = random.choice([0, 1, 127, 128, 255, random.integers(256)])
        try:
            numbers(read_content(changed))
        except CheckpointError as error:
            assert "some.h5" in str(error)
            refused += 1
    assert refused > 60


@pytest.mark.parametrize("count", [2, 5, 40, 1_000])
@FILES
def test_many_bytes_changed(tmp_path: Path, write: Write, version: str, count: int) -> None:
    """Nothing but a CheckpointError comes of it; random bytes rarely leave a file readable."""
    content = np.frombuffer(content_of(tmp_path, write, version), np.uint8)
    random = np.random.default_rng(4)
    for _ in range(40):
        changed = content.copy()
        changed[random.integers(0, len(content), count)] = random.integers(0, 256, count)
        try:
            numbers(read_content(changed))
        except CheckpointError as error:
            assert "some.h5" in str(error)


@FILES
def test_blocks_swapped(tmp_path: Path, write: Write, version: str) -> None:
    """Parts of a file in the wrong place, as a bad download leaves them."""
    content = content_of(tmp_path, write, version)
    before = numbers(read_content(content))
    blocks = [content[start : start + 512] for start in range(0, len(content), 512)]
    refused = 0
    for first in range(len(blocks) - 2):
        changed = blocks.copy()
        changed[first], changed[first + 1] = changed[first + 1], changed[first]
        try:
            found = numbers(read_content(b"".join(changed)))
        except CheckpointError:
            refused += 1
            continue
        # What has moved is numbers alone, or nothing that belongs to the file.
        assert found.keys() == before.keys()
    assert refused > len(blocks) // 3
