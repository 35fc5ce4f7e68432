"""What the tests of HDF5 files share: h5py as the oracle, and a model's files to be damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xlm_core.checkpoints.layouts.weights_file import KERAS_NAMES
from xlm_core.containers.hdf5 import Group, read_hdf5
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.sources import FileSource, MemorySource


def read(path: Path) -> Group:
    return read_hdf5(FileSource(path), needed=KERAS_NAMES)


def read_content(content: bytes | bytearray | np.ndarray[Any, Any]) -> Group:
    return read_hdf5(MemorySource(np.frombuffer(content, np.uint8), "some.h5"), needed=KERAS_NAMES)


def groups(group: Group) -> Iterator[Group]:
    yield group
    for inner in group.groups.values():
        yield from groups(inner)


def tensors(group: Group) -> dict[str, LazyTensor]:
    """All tensors by path, in order."""
    return {
        f"{inner.path.rstrip('/')}/{name}": tensor
        for inner in groups(group)
        for name, tensor in inner.tensors.items()
    }


def _plain(value: Any) -> Any:
    """An attribute's value as h5py gives it, as it should be given here."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, h5py.Empty):
        return None
    if isinstance(value, np.ndarray) and value.dtype.kind in "SO":
        if value.size == 0:
            return []
        return (
            np.array([_plain(item) for item in value.ravel()], object).reshape(value.shape).tolist()
        )
    return value


def assert_same_attributes(expected: h5py.AttributeManager, found: dict[str, Any]) -> None:
    assert list(found) == list(expected)
    for name, value in found.items():
        wanted = _plain(expected[name])
        assert type(value) is type(wanted), name
        if isinstance(wanted, str | list | None):
            assert value == wanted, name
        else:
            assert (value.dtype, value.shape) == (wanted.dtype, wanted.shape), name
            assert value.tobytes() == wanted.tobytes(), name


def assert_same(expected: h5py.Group, found: Group) -> int:
    """Hold a group equal to what h5py reads: names, order, attributes, dtypes, shapes, bits.

    Returns:
        The number of datasets.
    """
    assert found.path == expected.name
    assert_same_attributes(expected.attrs, found.attributes)
    inside = {name: expected[name] for name in expected}
    assert list(found.groups) == [n for n, item in inside.items() if isinstance(item, h5py.Group)]
    assert list(found.tensors) == [
        n for n, item in inside.items() if isinstance(item, h5py.Dataset)
    ]
    for name, tensor in found.tensors.items():
        dataset, array = inside[name], tensor.read()
        assert array.shape == dataset.shape, name
        if dataset.dtype == "V2":
            assert (tensor.dtype, dataset.attrs["dtype"]) == ("bfloat16", "bfloat16")
        else:
            assert array.dtype == dataset.dtype, name
        assert array.tobytes() == np.asarray(dataset[()]).tobytes(), name
    below = (assert_same(inside[name], group) for name, group in found.groups.items())
    return len(found.tensors) + sum(below)


def write_model(path: Path, *, libver: str = "earliest", layers: int = 2) -> None:
    """A file as transformers writes tf_model.h5: names in attributes, a group for each part."""
    random = np.random.default_rng(0)
    with h5py.File(path, "w", libver=libver) as file:
        file.attrs["layer_names"] = ["transformer", "pred_layer_._proj"]
        file.attrs["backend"] = b"tensorflow"
        stem = file.create_group("transformer")
        names = ["tfxlm/transformer/embeddings/weight:0"]
        for layer in range(layers):
            for part in ("q_lin", "k_lin", "v_lin", "out_lin"):
                whole = f"tfxlm/transformer/attentions_._{layer}/{part}"
                names += [f"{whole}/kernel:0", f"{whole}/bias:0"]
        stem.attrs["weight_names"] = names
        for name in names:
            shape = (12,) if name.endswith("bias:0") else (12, 13)
            stem[name] = random.standard_normal(shape, np.float32)
        head = file.create_group("pred_layer_._proj")
        head.attrs["weight_names"] = np.array([b"proj/bias:0"])
        head["proj/bias:0"] = random.standard_normal(17)


def write_keras(path: Path, *, libver: str = "earliest", layers: int = 3) -> None:
    """A file as Keras 3 writes weights: groups `vars` with a name, numbered datasets."""
    random = np.random.default_rng(1)
    with h5py.File(path, "w", libver=libver) as file:
        for layer in range(layers):
            for part in ("q_lin", "k_lin", "out_lin"):
                own = file.create_group(f"layers/attention_{layer}/{part}/vars")
                own.attrs["name"] = part
                own["0"] = random.standard_normal((12, 13), np.float32)
                own["1"] = random.integers(0, 1 << 16, 12).astype(np.uint16).view("V2")
                own["1"].attrs["dtype"] = "bfloat16"
        file.create_group("vars").attrs["name"] = "model"
