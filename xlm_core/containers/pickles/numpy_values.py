"""numpy's scalars and arrays in pickles, as numpy 1 and 2 write them under protocols 2 to 5."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from xlm_core.containers.pickles.state import Known, State

# Numbers, and texts and bytes of a fixed length; objects, times and structures are refused.
_CODES = re.compile(r"b1|[iu][1248]|f[248]|c8|c16|[US](0|[1-9][0-9]{0,6})")
_MOST_AXES = 32
_LAST_CHARACTER = 0x10FFFF


def _dtype(machine: State, arguments: tuple[Any, ...]) -> Any:
    """`numpy.dtype("f8", False, True)`; the state that follows says the order of bytes."""
    code = arguments[0] if arguments else None
    if type(code) is not str or len(arguments) > 3 or any(type(a) is str for a in arguments[1:]):
        raise machine.refusal("a numpy dtype is described in an unknown way")
    if not _CODES.fullmatch(code):
        raise machine.refusal(
            f"it holds an array of the dtype {code[:20]!r}. Only arrays of numbers, bools and "
            "texts are read"
        )
    dtype = np.dtype(f"<{code}")

    def finish(state: Any) -> None:
        match state:
            case (int(), str("<" | "|" | "="), None, None, None, int(size), int(), int(), *_) if (
                size in (-1, dtype.itemsize)
            ):
                return
            case (int(), str(">"), *_):
                raise machine.refusal(
                    "an array was written on a big-endian machine. Save it on another one"
                )
        raise machine.refusal("the state of a numpy dtype is unknown")

    machine.expect(dtype, finish)
    return dtype


def _scalar(machine: State, arguments: tuple[Any, ...]) -> Any:
    match arguments:
        case (np.dtype() as dtype, bytes(b"")) if dtype.itemsize == 0:
            return dtype.type()
        case (np.dtype() as dtype, bytes(content)):
            return _array(machine, (), dtype, content, "C")[()]
    raise machine.refusal("a numpy scalar is described in an unknown way")


def _reconstruct(machine: State, arguments: tuple[Any, ...]) -> Any:
    """An empty array, of which the state that follows makes the real one."""
    match arguments:
        case (Known("numpy.ndarray"), (int(0),), bytes() | str()):
            array: np.ndarray[Any, Any] = np.empty(0, np.uint8)
        case _:
            raise machine.refusal("a numpy array is described in an unknown way")

    def finish(state: Any) -> None:
        match state:
            case (int(), tuple(shape), np.dtype() as dtype, bool(fortran), bytes(content)):
                _array(machine, shape, dtype, content, "C")
                # numpy copies the content, which has just been found sound.
                array_state: Any = (1, shape, dtype, fortran, content)
                array.__setstate__(array_state)
            case _:
                raise machine.refusal("the state of a numpy array is unknown")

    machine.expect(array, finish, needed=True)
    return array


def _from_buffer(machine: State, arguments: tuple[Any, ...]) -> Any:
    """Protocol 5: the bytes, the dtype, the shape and the order of axes."""
    match arguments:
        case (bytes(content), np.dtype() as dtype, tuple(shape), str("C" | "F" as order)):
            return _array(machine, shape, dtype, content, order)
        case (bytes(content), np.dtype() as dtype, tuple(shape), str("K"), tuple(axes)):
            if len(axes) == len(shape) <= _MOST_AXES and _is_permutation(axes):
                return _array(machine, shape, dtype, content, "C").transpose(axes)
    raise machine.refusal("a numpy array is described in an unknown way")


def _array(
    machine: State, shape: tuple[Any, ...], dtype: np.dtype[Any], content: bytes, order: Any
) -> np.ndarray[Any, Any]:
    """A new array of these bytes, which must be as many as it needs and mean something."""
    sizes_are_sound = len(shape) <= _MOST_AXES and all(type(size) is int for size in shape)
    if not sizes_are_sound or not dtype.itemsize or _is_impossible(shape, dtype.itemsize):
        raise machine.refusal("a numpy array has an impossible shape")
    expected = math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise machine.refusal(
            f"a numpy array of shape {shape} and dtype {dtype} has {len(content)} bytes, not "
            f"{expected}"
        )
    machine.charge(len(content))
    array: np.ndarray[Any, Any] = np.empty(shape, dtype, order)
    flat = array.reshape(-1, order="A")
    if expected:
        flat[:] = np.frombuffer(content, dtype)
    if dtype.kind == "b" and flat.view(np.uint8).max(initial=0) > 1:
        raise machine.refusal("an array of bools holds other values")
    if dtype.kind == "U" and not _are_characters(flat.view(np.uint32)):
        raise machine.refusal("an array of texts holds impossible characters")
    return array


def _is_permutation(axes: tuple[Any, ...]) -> bool:
    return all(type(axis) is int for axis in axes) and sorted(axes) == [*range(len(axes))]


def _are_characters(codes: np.ndarray[Any, Any]) -> bool:
    """No number beyond Unicode's last, and no half of a pair, which no UTF-8 can write."""
    return not np.any((codes > _LAST_CHARACTER) | ((codes & ~np.uint32(0x7FF)) == 0xD800))


def _is_impossible(shape: tuple[int, ...], itemsize: int) -> bool:
    return min(shape, default=0) < 0 or math.prod(max(n, 1) for n in shape) * itemsize >= 2**62


def _functions() -> dict[str, Known]:
    table = [Known("numpy.dtype", _dtype), Known("numpy.ndarray")]
    for core in ("numpy.core", "numpy._core"):
        table += [
            Known(f"{core}.multiarray.scalar", _scalar),
            Known(f"{core}.multiarray._reconstruct", _reconstruct),
            Known(f"{core}.numeric._frombuffer", _from_buffer),
        ]
    return {known.name: known for known in table}


NUMPY_NAMES = _functions()
