"""Writing torch files in every form that torch has, and comparing values with what torch loads."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.torch_files import read_torch
from xlm_core.errors import CheckpointError

FORMS = [(legacy, protocol) for legacy in (False, True) for protocol in (2, 3, 4, 5)]
FORM_NAMES = [f"{'legacy' if legacy else 'zip'}-{protocol}" for legacy, protocol in FORMS]


def save(value: Any, path: Path, *, legacy: bool = False, protocol: int = 2) -> Path:
    """What `torch.save` makes of a value."""
    torch.save(value, path, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    return path


def saved(value: Any, *, legacy: bool = False, protocol: int = 2) -> bytes:
    """The same, as bytes."""
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    return buffer.getvalue()


def assert_same(ours: Any, theirs: Any, where: str = "value") -> None:
    """`ours`, as this project reads it, is `theirs` of torch: types, order and every bit."""
    if isinstance(theirs, torch.Tensor):
        assert isinstance(ours, LazyTensor), (where, type(ours))
        assert_equal_bits(ours.read(), to_numpy(theirs), where)
    elif isinstance(theirs, dict):
        assert type(ours) is dict, (where, type(ours))
        assert [(type(key), key) for key in ours] == [(type(key), key) for key in theirs], where
        for key in theirs:
            assert_same(ours[key], theirs[key], f"{where}[{key!r}]")
    elif isinstance(theirs, (list, tuple)):
        assert type(ours) is (list if isinstance(theirs, list) else tuple), (where, type(ours))
        assert len(ours) == len(theirs), where
        for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(a, b, f"{where}[{index}]")
    elif isinstance(theirs, np.ndarray):
        assert isinstance(ours, np.ndarray), (where, type(ours))
        assert_equal_bits(ours, theirs, where)
    elif isinstance(theirs, (torch.dtype, torch.device)):
        assert ours == str(theirs), where
    else:
        assert type(ours) is type(theirs), (where, type(ours), type(theirs))
        assert ours == theirs or (ours != ours and theirs != theirs), (where, ours, theirs)


def assert_equal_bits(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any], where: str) -> None:
    """Equal dtypes, shapes and bytes."""
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), where
    assert ours.tobytes() == theirs.tobytes(), where


def to_numpy(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """A tensor as an array of the same dtype."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def packed(records: dict[str, bytes], folder: str = "x") -> bytes:
    """A zip archive made up by hand."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, record in records.items():
            file.writestr(f"{folder}/{name}", record)
    return buffer.getvalue()


def read_all(content: bytes, path: Path) -> Any:
    """Open a file of these bytes and read all of its tensors, as whoever uses it will."""
    (path / "x.pth").write_bytes(content)
    value = read_torch(path / "x.pth")
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, LazyTensor):
            item.read()
        elif isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, (list, tuple, set, frozenset)):
            waiting += item
    return value


def refused(content: bytes, path: Path, message: str) -> None:
    """A file of these bytes ends in an error that names it and says this."""
    with pytest.raises(CheckpointError, match=message) as caught:
        read_all(content, path)
    assert "x.pth" in str(caught.value)
    assert len(str(caught.value)) < 1000
