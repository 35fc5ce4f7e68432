"""Lists of numbers to arrays or tensors of numpy, PyTorch or TensorFlow, and back.

This is the only module of `xlm_core` that imports a framework, and only the one that the caller
names, when it is named.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any, NoReturn

import numpy as np

from xlm_core.distribution import install_command
from xlm_core.errors import InputError, MissingPackageError

KINDS = ("np", "pt", "tf")
Integers = np.ndarray[Any, np.dtype[np.int64]]
# From a value, and it as int64 where it is made of Python integers, to a tensor.
Maker = Callable[[Any, Integers | None], Any]


def tensor_converter(kind: str) -> Callable[[str, Any], Any]:
    """The function that turns a named value into a tensor, called with the name and the value.

    Integers become int64 in numpy and PyTorch, int32 in TensorFlow (as transformers does); floats
    become float64 in numpy, float32 in PyTorch and TensorFlow. A tensor or array that has a dtype
    keeps it, and a tensor of this framework is returned as it is.

    Args:
        kind: "np", "pt" or "tf".

    Raises:
        InputError: For another kind.
        MissingPackageError: If the framework is not installed.
    """
    # The enumerations of transformers are strings that carry one in `value`.
    name = getattr(kind, "value", kind)
    if name not in KINDS:
        raise InputError(
            f"return_tensors={kind!r} is not known. Give 'np' (numpy), 'pt' (PyTorch) or "
            "'tf' (TensorFlow), or None for lists."
        )
    make = {"np": _numpy, "pt": _torch, "tf": _tensorflow}[name]()

    def convert(key: str, value: Any) -> Any:
        flat, shape = _flatten(key, value) if isinstance(value, (list, tuple)) else (None, [])
        try:
            if flat is None:
                return make(value, None)
            # Frameworks are slow with lists of arrays.
            listed = np.array(value) if flat and isinstance(flat[0], np.ndarray) else value
            return make(listed, _integers(flat, shape))
        except (ValueError, TypeError, RuntimeError, OverflowError) as error:
            raise InputError(
                f"{key!r} cannot become a tensor: {error}. Expected numbers in rows of one "
                "length; remove this key, or ask for lists (return_tensors=None)."
            ) from error

    return convert


def _flatten(key: str, value: Any) -> tuple[Any, list[int]]:
    """The entries of nested lists as one list, and the shape of the nesting."""
    shape = [len(value)]
    while value and isinstance(value[0], (list, tuple)):
        if not all(isinstance(row, (list, tuple)) for row in value):
            break
        lengths = set(map(len, value))
        if len(lengths) > 1:
            _refuse_ragged(key, lengths)
        value = list(chain.from_iterable(value))
        shape += lengths
    return value, shape


def _integers(flat: Any, shape: list[int]) -> Integers | None:
    """Python ints as int64; None where there is anything else, floats for instance."""
    if flat and type(flat[0]) is not int:
        return None
    try:
        # The sum of ints alone is one; this is faster than looking at each.
        if type(sum(flat)) is not int:
            return None
    except TypeError:
        return None
    return np.fromiter(flat, np.int64, len(flat)).reshape(shape)


def _refuse_ragged(key: str, lengths: set[int]) -> None:
    advice = (
        "The rests of the rows have no common length: ask for lists (return_tensors=None), or "
        "for return_windows=True, which gives them as rows"
        if key == "overflowing_tokens"
        else "Give padding=True and/or truncation=True with a max_length"
    )
    raise InputError(
        f"{key!r} cannot become a tensor: its rows have lengths from {min(lengths)} to "
        f"{max(lengths)}, expected one length. {advice}."
    )


def _numpy() -> Maker:
    def make(value: Any, integers: Integers | None) -> Any:
        array = np.asarray(value) if integers is None else integers
        if array.dtype.kind not in "biuf":
            raise TypeError(f"it is of dtype {array.dtype}")
        return array

    return make


def _torch() -> Maker:
    try:
        import torch
    except ImportError as error:
        _refuse_missing("pt", "PyTorch", "torch", error)

    def make(value: Any, integers: Integers | None) -> Any:
        if integers is not None:
            return torch.from_numpy(integers)
        if isinstance(value, torch.Tensor):
            return value
        return torch.tensor(value)

    return make


def _tensorflow() -> Maker:
    try:
        import tensorflow
    except ImportError as error:
        _refuse_missing("tf", "TensorFlow", "tf", error)

    def make(value: Any, integers: Integers | None) -> Any:
        if integers is not None:
            return tensorflow.constant(integers, tensorflow.int32)
        return value if tensorflow.is_tensor(value) else tensorflow.constant(value)

    return make


def _refuse_missing(kind: str, name: str, extra: str, error: ImportError) -> NoReturn:
    raise MissingPackageError(
        f"return_tensors={kind!r} needs {name}, which is not installed: "
        f"{install_command(extra)}, or ask for arrays of numpy (return_tensors='np')."
    ) from error


def plain(value: Any) -> Any:
    """Numbers, arrays, tensors and lists of them as numbers and lists, of any framework."""
    if isinstance(value, (list, tuple)):
        if not value or type(value[0]) is int:
            return value
        return [plain(entry) for entry in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    return value.numpy().tolist() if hasattr(value, "numpy") else value


def kind_of(value: Any) -> str | None:
    """The kind ("np", "pt" or "tf") of an array or tensor; None for anything else."""
    if isinstance(value, (np.ndarray, np.generic)):
        return "np"
    package = type(value).__module__.partition(".")[0]
    return {"torch": "pt", "tensorflow": "tf"}.get(package)
