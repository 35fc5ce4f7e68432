"""Files that were changed after they were written: holes, and remains of what was there."""

from __future__ import annotations

import random
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.core.containers.hdf5.hdf5_files import assert_same, read

LIBRARY_VERSIONS = ("earliest", "v108", "v110", "v112", "latest")


@pytest.mark.parametrize("version", LIBRARY_VERSIONS)
def test_after_deleting_and_renaming(tmp_path: Path, version: str) -> None:
    """Holes in heaps, nodes and headers; attributes that were changed."""
    path = tmp_path / "edited.h5"
    with h5py.File(path, "w", libver=version) as file:
        for number in range(120):
            group = file.create_group(f"layer {number}")
            group.attrs["name"] = "before"
            group["0"] = np.full(3, number)
    with h5py.File(path, "a", libver=version) as file:
        for number in range(0, 120, 7):
            del file[f"layer {number}"]
        for number in range(1, 120, 21):
            file.move(f"layer {number}", f"another much longer name for {number}")
        for number in range(2, 120, 7):
            file[f"layer {number}"].attrs["name"] = "after, and longer than before"
            file[f"layer {number}"].attrs["more"] = [f"x{number}", "y"]
            del file[f"layer {number}/0"]
    with h5py.File(path) as file:
        assert assert_same(file, read(path)) == 120 - 18 - 17


@pytest.mark.parametrize("version", LIBRARY_VERSIONS)
def test_shorter_name_in_place_of_a_longer_one(tmp_path: Path, version: str) -> None:
    """The end of the old name stays behind that of the new one."""
    path = tmp_path / "renamed.h5"
    with h5py.File(path, "w", libver=version) as file:
        file["a name of some thirty characters"] = 1.5
        file["z"] = 2.5
        del file["a name of some thirty characters"]
        file["seventeen letters"] = 3.5
    assert list(read(path).tensors) == ["seventeen letters", "z"]


class Editor:
    """Makes, renames, changes and deletes groups, datasets and attributes at random."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.is_wide = seed % 3 == 0

    def name(self) -> str:
        length = self.random.choice([1, 3, 6, 7, 8, 9, 15, 17, 23, 30, 40])
        return "".join(self.random.choice("abcdefghij:_") for _ in range(length))

    def edit(self, file: h5py.File) -> None:
        groups, others = [file], []
        if not self.is_wide:
            file.visititems(
                lambda _, item: (groups if isinstance(item, h5py.Group) else others).append(item)
            )
        group = self.random.choice(groups)
        item = self.random.choice(groups + others)
        chance, names = self.random.random(), sorted(group)
        if chance < 0.2:
            group.require_group(self.fresh(group))
        elif chance < 0.5:
            shape = [self.random.randrange(5) for _ in range(self.random.randrange(3))]
            group[self.fresh(group)] = np.full(shape, chance, self.random.choice(["f4", "f2"]))
        elif chance < 0.65 and names:
            del group[self.random.choice(names)]
        elif chance < 0.8 and names:
            group.move(self.random.choice(names), self.fresh(group))
        elif chance < 0.95 and len(item.attrs) < 8:
            texts = [self.name() for _ in range(self.random.randrange(1, 5))]
            text = self.random.choice([texts, texts[0], np.array(texts, "S40")])
            item.attrs[self.random.choice(["weight_names", self.name()])] = text
        elif len(item.attrs):
            del item.attrs[self.random.choice(sorted(item.attrs))]

    def fresh(self, group: h5py.Group) -> str:
        return next(name for name in iter(self.name, None) if name not in group)


@pytest.mark.parametrize("seed", range(24))
def test_random_edits(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "edited.h5"
    editor = Editor(seed)
    for _ in range(3):
        with h5py.File(path, "a", libver="latest" if seed % 4 == 3 else "earliest") as file:
            for _ in range(150 if editor.is_wide else 40):
                editor.edit(file)
        with h5py.File(path) as file:
            assert_same(file, read(path))
