"""Read what `torch.save` wrote, of any version since 0.1.10, without torch.

Nothing in a file is executed, and tensors stay in it: opening reads the pickle and the places of
the storages, and checks that all of them lie within the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import Any

from xlm_core.containers.archives.reading import extents, names
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.pickles.machine import load
from xlm_core.containers.pickles.state import State
from xlm_core.containers.sources import FileSource, PartSource, read_bytes
from xlm_core.containers.torch_files.globals import finder
from xlm_core.containers.torch_files.storages import Storage, Storages
from xlm_core.errors import CheckpointError

# What files before torch 1.6 begin with, each in a pickle of its own.
MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
# The newest version of the archive that torch 2 knows.
_NEWEST_ARCHIVE = 10


def read_torch(path: str | os.PathLike[str], *, namespaces: Collection[str] = ()) -> Any:
    """The value in a torch file, with its tensors still in the file.

    Args:
        path: A file of `torch.save`: a zip archive, or the format from before torch 1.6.
        namespaces: Names of classes, with their modules, whose instances are read as the
            dictionary of their attributes; nothing of the classes is needed or run.

    Returns:
        Texts, numbers, numpy's scalars and arrays, lists, tuples, sets and dictionaries of them
        (an OrderedDict or Namespace is a dictionary; a dtype or device is its text), and a
        `LazyTensor` over the file for each tensor or parameter.

    Raises:
        CheckpointError: If it is no such file, is damaged or cut off, holds anything else than
            such values, or tensors that are not dense or of another dtype than `DTYPES`.
    """
    file = FileSource(path)
    head = read_bytes(file, 0, min(file.size, 512))
    if head.startswith(b"PK\x03\x04"):
        return _read_archive(file, finder(namespaces))
    if head[257:262] == b"ustar":
        raise CheckpointError(
            f"{file.name} is a tar archive, as torch wrote before 0.1.10. Load it with an old "
            "torch and save it again."
        )
    if head.startswith(b"\x80"):
        return _read_legacy(file, finder(namespaces))
    kind = "a pointer of Git LFS" if head.startswith(b"version https://git-lfs") else "no file"
    raise CheckpointError(
        f"{file.name} is {kind}, but one that `torch.save` wrote was expected: it begins with "
        f"{head[:16]!r}. Get the file itself, or give its right name."
    )


# -- zip archives ------------------------------------------------------------------------------


def _read_archive(file: FileSource, find: Callable[[str], Any]) -> Any:
    there = names(file)
    folders = {name.partition("/")[0] for name in there}
    folder = next(iter(folders), "")
    if len(folders) != 1 or f"{folder}/data.pkl" not in there:
        raise CheckpointError(
            f"{file.name} is a zip archive, but not torch's: expected a file `data.pkl` in its "
            f"only folder, found {[name[:40] for name in there[:5]]}."
        )
    program = (f"{folder}/constants.pkl", f"{folder}/code/")
    if any(name.startswith(program) for name in there):
        raise CheckpointError(
            f"{file.name} holds a TorchScript program. Load it with `torch.jit.load`, and save its "
            "`state_dict()` with `torch.save`."
        )
    places = extents(file)

    def record(name: str, default: bytes) -> bytes:
        offset, size = places.get(f"{folder}/{name}", (0, 0))
        return read_bytes(file, offset, min(size, 20)).strip() if size else default

    order = record("byteorder", b"little")
    if order != b"little":
        raise CheckpointError(
            f"{file.name} holds numbers in the order {order!r}, as big-endian machines write. "
            "Load it with torch and save it on another machine."
        )
    version = record("version", b"3")
    if not version.isdigit() or not 1 <= int(version) <= _NEWEST_ARCHIVE:
        raise CheckpointError(
            f"{file.name} has the version {version!r}; known are 1 to {_NEWEST_ARCHIVE}."
        )

    def found(machine: State, key: str, storage: Storage) -> None:
        offset, size = places.get(f"{folder}/data/{key}", (0, -1))
        if size != storage.size:
            there = f"has {size} bytes" if size >= 0 else "is missing"
            raise machine.refusal(f"the storage {key!r} needs {storage.size} bytes, but it {there}")
        storage.place(offset)

    offset, size = places[f"{folder}/data.pkl"]
    pickle = PartSource(file, offset, size, "data.pkl")
    storages = Storages(file, found=found, views=False)
    value, end = load(pickle, names=find, persistent=storages.persistent, leaves=(LazyTensor,))
    if end != size:
        raise CheckpointError(
            f"{pickle.name} is damaged: {size - end} bytes follow its value. Get the file again."
        )
    stored = {name for name in places if name.startswith(f"{folder}/data/")}
    unused = stored - {f"{folder}/data/{key}" for key in storages.by_key}
    if unused:
        # torch writes no storage that nothing needs: a tensor was turned to another one's.
        raise CheckpointError(
            f"{file.name} is damaged: no tensor needs its storage {min(unused)[-40:]!r}. Get the "
            "file again."
        )
    return value


# -- files from before torch 1.6 ---------------------------------------------------------------


def _read_legacy(file: FileSource, find: Callable[[str], Any]) -> Any:
    magic, position = load(file)
    if magic != MAGIC:
        raise CheckpointError(
            f"{file.name} is a pickle, but none that `torch.save` wrote. If you trust it, load it "
            "with the program that wrote it, and save it with `torch.save`."
        )
    protocol, position = load(file, position)
    system, position = load(file, position)
    if protocol != PROTOCOL or not _is_little_endian(system):
        raise CheckpointError(
            f"{file.name} is of another protocol than {PROTOCOL}, or of a machine that is not "
            "little-endian. Load it with torch and save it again on another one."
        )
    storages = Storages(file, found=lambda machine, key, storage: None, views=True)
    value, position = load(
        file, position, names=find, persistent=storages.persistent, leaves=(LazyTensor,)
    )
    keys, position = load(file, position)
    if (
        type(keys) is not list
        or any(type(key) is not str for key in keys)
        or len(keys) != len(storages.by_key)
        or set(keys) != set(storages.by_key)
    ):
        raise CheckpointError(
            f"{file.name} is damaged: the list of storages before byte {position} does not name "
            f"the {len(storages.by_key)} that its tensors need. Get the file again."
        )
    for key in keys:
        storage = storages.by_key[key]
        count = int.from_bytes(read_bytes(file, position, 8), "little", signed=True)
        if count != storage.count:
            raise CheckpointError(
                f"{file.name} is damaged: at byte {position}, storage {key!r} should have "
                f"{storage.count} elements, but has {count}. Get the file again."
            )
        storage.place(position + 8)
        position += 8 + storage.size
    if position != file.size:
        raise CheckpointError(
            f"{file.name} has {file.size - position} bytes after the last storage, at byte "
            f"{position}. It is damaged, or more than one value was saved to it."
        )
    return value


def _is_little_endian(system: Any) -> bool:
    if type(system) is not dict or system.get("little_endian") is not True:
        return False
    sizes = system.get("type_sizes")
    return type(sizes) is dict and (sizes.get("short"), sizes.get("int")) == (2, 4)
