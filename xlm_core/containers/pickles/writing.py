"""Write values as a pickle of protocol 2, for Python's own machine and for torch's stricter one."""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.pickles.limits import DEEPEST, KEYS_AT_ONCE, Keys
from xlm_core.errors import CheckpointError

# What Python's own writer puts between two marks: a reader need not hold more.
_BATCH = 1_000
_LONGEST_INTEGER = 64


def pickled(value: Any, tensor: Callable[[PickleWriter, LazyTensor], None] | None = None) -> bytes:
    """The pickle of a value.

    Args:
        value: Texts, bytes, integers, floats, bools and None; numpy's scalars and arrays of
            numbers, bools and texts; lists, tuples, sets and dictionaries of them.
        tensor: Called for each tensor; must write one value. Without it, there may be none.

    Raises:
        CheckpointError: If it holds anything else, or lies too deep in itself.
    """
    writer = PickleWriter(tensor)
    writer.raw(b"\x80\x02")
    writer.value(value)
    writer.raw(b".")
    return bytes(writer.content)


class PickleWriter:
    """Writes one pickle; what `tensor` of `pickled` sees of it."""

    def __init__(self, tensor: Callable[[PickleWriter, LazyTensor], None] | None) -> None:
        self.content = bytearray()
        self._tensor = tensor
        self._depth = 0
        self._keys = Keys()
        self._numbers: dict[str, int] = {}

    def raw(self, opcodes: bytes) -> None:
        """Write opcodes as they are."""
        self.content += opcodes

    def name(self, module: str, name: str) -> None:
        """Write what refers to a function or class."""
        self._once(f"c{module}\n{name}\n", f"c{module}\n{name}\n".encode())

    def row(self, *items: Any) -> None:
        """Write a tuple of values; a callable item is called to write itself."""
        self.raw(b"(")
        for item in items:
            if callable(item):
                item()
            else:
                self.value(item)
        self.raw(b"t")

    def value(self, value: Any) -> None:
        """Write any value of those that `pickled` takes."""
        kind = type(value)
        if kind is str:
            self._text(value)
        elif kind is int:
            self._integer(value)
        elif value is None or kind is bool:
            self.raw({None: b"N", True: b"\x88", False: b"\x89"}[value])
        elif kind is float:
            self.raw(b"G" + struct.pack(">d", value))
        elif kind is bytes:
            self._bytes(value)
        elif isinstance(value, (np.ndarray, np.generic)):
            self._array(value)
        elif isinstance(value, LazyTensor) and self._tensor is not None:
            self._tensor(self, value)
        else:
            self._container(value)

    # -- plain values --------------------------------------------------------------------------

    def _once(self, key: str, opcodes: bytes) -> None:
        """Write a value, and the next time only its number."""
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._numbers)
            self.content += opcodes
            self.content += b"r" + number.to_bytes(4, "little")
        else:
            self.content += b"j" + number.to_bytes(4, "little")

    def _text(self, text: str) -> None:
        try:
            encoded = text.encode()
        except UnicodeEncodeError:
            raise CheckpointError(
                f"The text {text[:40]!r} holds half of a character (a surrogate), which no UTF-8 "
                "can write. Repair it first."
            ) from None
        # No name begins so: names begin with "c" and hold two line breaks.
        self._once(f"X{text}", b"X" + len(encoded).to_bytes(4, "little") + encoded)

    def _integer(self, value: int) -> None:
        if 0 <= value < 1 << 8:
            self.raw(b"K" + value.to_bytes(1, "little"))
        elif 0 <= value < 1 << 16:
            self.raw(b"M" + value.to_bytes(2, "little"))
        elif -(1 << 31) <= value < 1 << 31:
            self.raw(b"J" + value.to_bytes(4, "little", signed=True))
        else:
            length = value.bit_length() // 8 + 1
            if length > _LONGEST_INTEGER:
                raise CheckpointError(f"An integer of {length} bytes cannot be written.")
            self.raw(b"\x8a" + bytes([length]) + value.to_bytes(length, "little", signed=True))

    # -- containers ----------------------------------------------------------------------------

    def _container(self, value: Any) -> None:
        self._depth += 1
        if self._depth > DEEPEST // 2:
            raise CheckpointError(
                f"A value of containers more than {DEEPEST // 2} deep in each other, or in "
                "themselves, cannot be written."
            )
        if isinstance(value, (dict, set, frozenset)):
            self._check_keys(list(value))
        if isinstance(value, dict):
            if isinstance(value, OrderedDict):
                self.name("collections", "OrderedDict")
                self.raw(b")R")
            else:
                self.raw(b"}")
            self._items([part for item in value.items() for part in item], b"u", 2 * _BATCH)
        elif type(value) is list:
            self.raw(b"]")
            self._items(value, b"e", _BATCH)
        elif type(value) is tuple:
            self.row(*value)
        elif type(value) in (set, frozenset):
            self.name("__builtin__", type(value).__name__)
            self.raw(b"]")
            self._items(sorted(value, key=repr), b"e", _BATCH)
            self.raw(b"\x85R")
        else:
            raise CheckpointError(
                f"A {type(value).__name__} cannot be written to a checkpoint: expected texts, "
                "numbers, None, tensors, numpy's arrays and scalars, and lists, tuples, sets and "
                "dictionaries of them."
            )
        self._depth -= 1

    def _check_keys(self, keys: list[Any]) -> None:
        """Nothing is written that would be refused on reading."""
        for start in range(0, len(keys), KEYS_AT_ONCE):
            reason = self._keys.refusal(start, keys[start : start + KEYS_AT_ONCE])
            if reason:
                raise CheckpointError(f"A dictionary or set cannot be written: {reason}.")

    def _items(self, items: list[Any], opcode: bytes, batch: int) -> None:
        for start in range(0, len(items), batch):
            self.raw(b"(")
            for item in items[start : start + batch]:
                self.value(item)
            self.raw(opcode)

    # -- numpy ---------------------------------------------------------------------------------

    def _array(self, value: np.ndarray[Any, Any] | np.generic) -> None:
        """In the form that numpy 1 and 2 read."""
        dtype = value.dtype.newbyteorder("<")
        if dtype.kind not in "biufcUS" or dtype.itemsize > 1 << 24 or dtype.str[1:] == "f16":
            raise CheckpointError(
                f"A numpy array of {value.dtype} cannot be written to a checkpoint: expected "
                "numbers, bools or texts."
            )
        # As an array, an empty text would get room for a character.
        content = np.asarray(value).astype(dtype, copy=False).tobytes() if dtype.itemsize else b""
        if isinstance(value, np.generic):
            self.name("numpy.core.multiarray", "scalar")
            self.row(lambda: self._dtype(dtype), lambda: self._bytes(content))
            self.raw(b"R")
            return
        self.name("numpy.core.multiarray", "_reconstruct")
        self.row(lambda: self.name("numpy", "ndarray"), (0,), lambda: self._bytes(b"b"))
        self.raw(b"R")
        self.row(1, value.shape, lambda: self._dtype(dtype), False, lambda: self._bytes(content))
        self.raw(b"b")

    def _dtype(self, dtype: np.dtype[Any]) -> None:
        self.name("numpy", "dtype")
        self.row(dtype.str[1:], False, True)
        self.raw(b"R")
        sizes = (dtype.itemsize, dtype.alignment, 8) if dtype.kind == "U" else (-1, -1, 0)
        if dtype.kind == "S":
            sizes = (dtype.itemsize, 1, 0)
        self.row(3, dtype.str[0], None, None, None, *sizes)
        self.raw(b"b")

    def _bytes(self, content: bytes) -> None:
        """Protocol 2 has none: they are written as the text of the same code points."""
        if not content:
            self.name("__builtin__", "bytes")
            self.raw(b")R")
            return
        text = content.decode("latin-1").encode()
        self.name("_codecs", "encode")
        self.raw(b"(X" + len(text).to_bytes(4, "little") + text)
        self.value("latin1")
        self.raw(b"tR")
