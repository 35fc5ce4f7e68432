"""The storages of a torch file: runs of elements that its tensors are views of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xlm_core.containers.lazy_tensors import DTYPES, LazyTensor
from xlm_core.containers.pickles.state import State
from xlm_core.containers.sources import Source, check_extent

# Dtypes of which torch has a class of storages; it writes the others as bytes.
CLASSES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
_MOST_AXES = 64
_LONGEST_KEY = 100
_MOST = 2**62


@dataclass(frozen=True)
class StorageClass:
    """What stands for a class such as `torch.FloatStorage`."""

    name: str
    dtype: str

    def __str__(self) -> str:
        return self.name


class Storage:
    """Elements of one dtype, whose place in the file may become known later.

    Attributes:
        file: Where they lie.
        dtype: numpy's name of it.
        count: Number of elements.
        size: Number of bytes.
        start: Byte of the first; 0 until it is known.
        tensors: Those made of them so far.
    """

    def __init__(self, file: Source, dtype: str, count: int) -> None:
        self.file, self.dtype, self.count = file, dtype, count
        self.size = count * DTYPES[dtype].itemsize
        self.start = 0
        self.tensors: list[LazyTensor] = []

    def place(self, start: int) -> None:
        """Say where the elements begin.

        Raises:
            CheckpointError: If they would not end within the file.
        """
        check_extent(self.file, start, self.size, f"a storage of {self.count} elements")
        self.start = start
        for tensor in self.tensors:
            # Nobody has seen these yet: from here on they stay as they are.
            object.__setattr__(tensor, "offset", start + tensor.offset)


@dataclass(frozen=True)
class View:
    """Some elements of a storage, or all of them: what tensors refer to."""

    storage: Storage
    first: int
    count: int

    def __str__(self) -> str:
        return f"a storage of {self.storage.dtype} without a tensor"


class Storages:
    """The storages that the pickle of a file names, each once.

    Args:
        file: Where they lie.
        found: Called with the machine, the key and a new storage.
        views: Whether ids have a sixth item, as those of files before torch 1.6.
    """

    def __init__(
        self, file: Source, *, found: Callable[[State, str, Storage], None], views: bool
    ) -> None:
        self.by_key: dict[str, Storage] = {}
        self._file, self._found, self._views = file, found, views

    def persistent(self, machine: State, identity: Any) -> View:
        """The view for a persistent id.

        Raises:
            CheckpointError: If the id is of another form, or contradicts an earlier one.
        """
        match identity:
            case (str("storage"), StorageClass() as kind, str(key), str(), int(count), *rest) if (
                0 <= count < _MOST and len(rest) == self._views and len(key) <= _LONGEST_KEY
            ):
                storage = self._storage(machine, key, kind.dtype, count)
            case _:
                raise machine.refusal("it refers to something outside of it that is no storage")
        match rest:
            case [] | [None]:
                return View(storage, 0, count)
            case [(str(), int(first), int(some))] if 0 <= first <= first + some <= count:
                return View(storage, first, some)
        raise machine.refusal("a part of a storage does not lie within it")

    def _storage(self, machine: State, key: str, dtype: str, count: int) -> Storage:
        storage = self.by_key.get(key)
        if storage is None:
            storage = self.by_key[key] = Storage(self._file, dtype, count)
            self._found(machine, key, storage)
        elif (storage.dtype, storage.count) != (dtype, count):
            raise machine.refusal(
                f"the storage {key!r} has {storage.count} elements of {storage.dtype}, and "
                f"elsewhere {count} of {dtype}"
            )
        return storage


def tensor(
    machine: State, view: View, offset: Any, shape: Any, strides: Any, dtype: str
) -> LazyTensor:
    """The tensor of a shape and strides over a view, in elements of `dtype`.

    Raises:
        CheckpointError: If it reaches beyond the view, or repeats its elements.
    """
    numbers = (offset, *shape, *strides) if len(shape) == len(strides) <= _MOST_AXES else (-1,)
    if not all(type(number) is int and 0 <= number < _MOST for number in numbers):
        raise machine.refusal("a tensor has an impossible shape, or impossible strides")
    if dtype not in DTYPES:
        raise machine.refusal(f"it holds a tensor of {dtype}. Dtypes that are read: {[*DTYPES]}")
    itemsize = DTYPES[dtype].itemsize
    first = view.first * DTYPES[view.storage.dtype].itemsize
    there = view.count * DTYPES[view.storage.dtype].itemsize // itemsize
    size = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if size > there:
        raise machine.refusal(
            f"a tensor of shape {shape} repeats the {there} elements of its storage. Save what "
            "`contiguous()` gives"
        )
    if size and _overlap(shape, strides):
        raise machine.refusal(
            f"a tensor of shape {shape} with strides {strides} has the same element in several "
            "places. Save what `contiguous()` gives"
        )
    if (last >= there) if size else (offset > there):
        raise machine.refusal(
            f"a tensor of shape {shape} with strides {strides} reaches beyond the {there} elements "
            "of its storage"
        )
    start = view.storage.start + first + offset * itemsize
    result = LazyTensor(view.storage.file, start, dtype, shape, strides)
    view.storage.tensors.append(result)
    return result


def _overlap(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether two indices may be one element: a step within what the smaller steps reach."""
    reach = 0
    for step, count in sorted((step, n) for n, step in zip(shape, strides, strict=True) if n > 1):
        if step <= reach:
            return True
        reach += step * (count - 1)
    return False
