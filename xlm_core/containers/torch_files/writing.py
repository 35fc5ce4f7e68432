"""Write files that `torch.load` opens, weights_only or not, without torch."""

from __future__ import annotations

import os
from collections.abc import Hashable
from functools import partial
from typing import Any

from xlm_core.containers.archives.writing import write_archive
from xlm_core.containers.lazy_tensors import LazyTensor, row_major
from xlm_core.containers.pickles.writing import PickleWriter, pickled
from xlm_core.containers.streaming import Job, Progress, fill, reserve
from xlm_core.containers.torch_files.reading import MAGIC, PROTOCOL
from xlm_core.containers.torch_files.storages import CLASSES
from xlm_core.errors import CheckpointError

_SYSTEM = {
    "protocol_version": PROTOCOL,
    "little_endian": True,
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}
# torch names the folder in the archive after the file, or so where it does not know that name.
# As the file has a temporary name while it is written, this keeps its bytes the same each time.
_FOLDER = "archive"


def write_torch(
    path: str | os.PathLike[str],
    content: Any,
    *,
    legacy: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write a file as `torch.save` would.

    Tensors become contiguous; those of one `place` share their storage, as tied weights do. A few
    blocks of them are in memory at a time. The same content gives the same bytes.

    Args:
        path: Written as it goes: the caller gives a temporary name and renames.
        content: What `pickled` takes, with tensors. An OrderedDict stays one. Values of numpy are
            not in what `torch.load` reads with weights_only unless it is told so.
        legacy: Write the format from before torch 1.6 instead of a zip archive.
        progress: Called with numbers of bytes of tensors, from several threads.

    Raises:
        CheckpointError: If the content cannot be written, or a tensor not be read.
        OSError: If the file cannot be written.
    """
    storages = _Storages(legacy)
    pickle = pickled(content, storages.write)
    if legacy:
        _write_legacy(path, pickle, storages.tensors, progress)
        return
    records: list[tuple[str, bytes | LazyTensor]] = [
        ("data.pkl", pickle),
        ("byteorder", b"little"),
        *((f"data/{key}", tensor) for key, tensor in enumerate(storages.tensors)),
        ("version", b"3\n"),
    ]
    write_archive(path, [(f"{_FOLDER}/{name}", record) for name, record in records], progress)


class _Storages:
    """The storages to write: one for each place, numbered in order.

    Attributes:
        tensors: What each holds.
    """

    def __init__(self, legacy: bool) -> None:
        self.tensors: list[LazyTensor] = []
        self._keys: dict[Hashable, int] = {}
        self._legacy = legacy

    def write(self, writer: PickleWriter, tensor: LazyTensor) -> None:
        """Write what makes a tensor over all of its storage."""
        key = self._keys.setdefault(tensor.place, len(self.tensors))
        if key == len(self.tensors):
            self.tensors.append(tensor)
        dtype = tensor.dtype
        # In old files, a storage could be a part of another one.
        part = (None,) if self._legacy else ()
        # torch has no storages of its larger unsigned integers: it keeps their bytes.
        typed = dtype in CLASSES
        if self._legacy and not typed:
            raise CheckpointError(
                f"A tensor of {dtype} cannot be written in the format from before torch 1.6, which "
                f"knows {', '.join(CLASSES)}. Write the newer one, or cast the tensor."
            )
        storage_class = ("torch", CLASSES[dtype]) if typed else ("torch.storage", "UntypedStorage")

        def storage() -> None:
            kind = partial(writer.name, *storage_class)
            writer.row("storage", kind, str(key), "cpu", _count(tensor), *part)
            writer.raw(b"Q")

        def hooks() -> None:
            writer.name("collections", "OrderedDict")
            writer.raw(b")R")

        writer.name("torch._utils", "_rebuild_tensor_v2" if typed else "_rebuild_tensor_v3")
        more = () if typed else (partial(writer.name, "torch", dtype),)
        writer.row(storage, 0, tensor.shape, row_major(tensor.shape), False, hooks, *more)
        writer.raw(b"R")


def _count(tensor: LazyTensor) -> int:
    """Elements of the storage, which are bytes where torch has no class for it."""
    return tensor.size if tensor.dtype in CLASSES else tensor.nbytes


def _write_legacy(
    path: str | os.PathLike[str],
    pickle: bytes,
    tensors: list[LazyTensor],
    progress: Progress | None,
) -> None:
    keys = [str(key) for key in range(len(tensors))]
    head = b"".join((pickled(MAGIC), pickled(PROTOCOL), pickled(_SYSTEM), pickle, pickled(keys)))
    jobs, position = [], len(head)
    size = position + sum(8 + tensor.nbytes for tensor in tensors)
    with open(path, "wb") as file:
        reserve(file.fileno(), size)
        file.write(head)
        for tensor in tensors:
            file.seek(position)
            file.write(_count(tensor).to_bytes(8, "little"))
            jobs.append(Job(position + 8, tensor))
            position += 8 + tensor.nbytes
        file.flush()
        fill(file.fileno(), jobs, progress)
