"""What lies beside the tensors in a torch file: numpy's values, namespaces, words."""

from __future__ import annotations

import argparse
import collections
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.core.containers.torch_files.torch_files import FORM_NAMES, FORMS, assert_same, save
from xlm_core.containers.pickles import load
from xlm_core.containers.sources import MemorySource
from xlm_core.containers.torch_files import read_torch
from xlm_core.containers.torch_files.globals import find
from xlm_core.errors import CheckpointError

forms = pytest.mark.parametrize(("legacy", "protocol"), FORMS, ids=FORM_NAMES)
NUMBERS = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
NUMBERS += ["float16", "float32", "float64", "complex64", "complex128"]


def numbers(dtype: str, *shape: int) -> Any:
    return (np.arange(math.prod(shape)) * 0.7 - 1).astype(dtype).reshape(shape)


def read(value: Any, path: Path, legacy: bool, protocol: int) -> Any:
    return read_torch(save(value, path / "x.pth", legacy=legacy, protocol=protocol))


@forms
def test_numpy_scalars(tmp_path: Path, legacy: bool, protocol: int) -> None:
    value: list[Any] = [np.dtype(dtype).type(1.7) for dtype in NUMBERS]
    value += [np.str_("aé日"), np.str_(""), np.bytes_(b"ab"), np.float64("nan"), np.float64(-0.0)]
    assert_same(read(value, tmp_path, legacy, protocol), value)


@forms
def test_numpy_arrays(tmp_path: Path, legacy: bool, protocol: int) -> None:
    cube = numbers("float32", 2, 3, 4)
    value = [numbers(dtype, 3, 2) for dtype in NUMBERS]
    value += [np.array(5.0), np.zeros(0), np.zeros((2, 0, 3), np.int32), np.array(["a", "bcé"])]
    value += [np.array([b"x", b"yz"]), cube, cube.T, np.asfortranarray(cube[0]), cube[:, ::2]]
    value += [cube.transpose(1, 0, 2), cube.swapaxes(1, 2)]
    ours = read(value, tmp_path, legacy, protocol)
    assert_same(ours, value)
    for array in ours:
        assert array.flags.writeable


@forms
def test_shared_arrays(tmp_path: Path, legacy: bool, protocol: int) -> None:
    array = numbers("float64", 3)
    first, second, other = read([array, array, array.copy()], tmp_path, legacy, protocol)
    assert first is second
    assert not np.shares_memory(first, other)


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_names_of_numpy_1_and_2(core: str, protocol: int) -> None:
    """numpy 1 calls the module `numpy.core`; the rest of the pickle is the same."""
    value = {"a": numbers("float32", 2, 3), "b": np.float64(0.5)}
    content = pickle.dumps(value, protocol)
    for module in (b"multiarray", b"numeric"):
        old, new = b"numpy._core." + module, core.encode() + b"." + module
        if protocol >= 4:
            old, new = bytes([len(old)]) + old, bytes([len(new)]) + new
        content = content.replace(old, new)
    frames = content.count(b"\x95") if protocol >= 4 else 0
    if frames:
        start = content.index(b"\x95") + 9
        length = (len(content) - start).to_bytes(8, "little")
        content = content[: start - 8] + length + content[start:]
    ours, _ = load(MemorySource(np.frombuffer(content, np.uint8)), names=find)
    assert_same(ours, value)


@forms
def test_dictionaries_and_namespaces(tmp_path: Path, legacy: bool, protocol: int) -> None:
    nested = argparse.Namespace(lr=0.1, langs=["en", "fr"], inner=argparse.Namespace(a=None))
    words = collections.defaultdict(list, {"a": [1], "b": []})
    ordered = collections.OrderedDict([("z", 1), ("a", 2)])
    ordered.note = "an attribute"  # type: ignore[attr-defined]
    value = {"params": nested, "words": words, "ordered": ordered, "none": argparse.Namespace()}
    assert read(value, tmp_path, legacy, protocol) == {
        "params": {"lr": 0.1, "langs": ["en", "fr"], "inner": {"a": None}},
        "words": {"a": [1], "b": []},
        "ordered": {"z": 1, "a": 2},
        "none": {},
    }


@forms
def test_other_values(tmp_path: Path, legacy: bool, protocol: int) -> None:
    value = {
        ("en", "fr"): {"train": ("a.pth", "b.pth")},
        1: [True, None, -(2**63), 2**64, 2**400],
        2.5: {"nan": float("nan"), "zero": -0.0, "inf": float("-inf")},
        "sets": ({"a", "b"}, frozenset({1, 2}), set(), frozenset()),
        "bytes": (b"", b"\x00\xff", b"x" * 1000),
        "text": "日本語 \U0001f600 \0 \n",
        "torch": (torch.Size([2, 3]), torch.float16, torch.device("cpu"), torch.device("cuda", 1)),
    }
    assert_same(read(value, tmp_path, legacy, protocol), value)


@pytest.mark.parametrize("legacy", [False, True])
def test_dictionary_of_an_original_checkpoint(tmp_path: Path, legacy: bool) -> None:
    words = [f"wörd-{index}@@" for index in range(5_000)]
    value = {
        "dico_id2word": dict(enumerate(words)),
        "dico_word2id": {word: index for index, word in enumerate(words)},
        "dico_counts": {word: 10_000_000 - 7 * index for index, word in enumerate(words)},
    }
    assert_same(read(value, tmp_path, legacy, 2), value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([1, "a", None], object), r"the dtype 'O8'"),
        (np.zeros(2, [("a", "f4")]), r"the dtype 'V4'"),
        (np.zeros(2, "datetime64[s]"), r"the dtype 'M8'"),
        (np.zeros(2, np.longdouble), r"the dtype 'f16'"),
        (np.zeros(2, ">f4"), "big-endian"),
        (np.ma.masked_array([1]), r"asks for numpy\.ma"),
        (torch.zeros(2, dtype=torch.complex64), r"asks for torch\.ComplexFloatStorage"),
        (torch.zeros(2).to(torch.float8_e4m3fn), r"asks for torch\.float8_e4m3fn"),
        (torch.eye(2).to_sparse(), r"asks for torch\._utils\._rebuild_sparse_tensor"),
        (torch.zeros(2, device="meta"), r"asks for torch\._utils\._rebuild_meta_tensor"),
        (torch.nn.Linear(2, 2), r"asks for torch\.nn\.modules\.linear\.Linear"),
        (torch.zeros(1).expand(3), "repeats the 1 elements of its storage"),
        (torch.zeros(4).untyped_storage(), "a storage of uint8 without a tensor"),
        (Path("x"), r"asks for pathlib\.PosixPath"),
        (2**600, "an integer has 76 bytes"),
        (1j, r"asks for (builtins|__builtin__)\.complex"),
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("protocol", [2, 4])
def test_refused(tmp_path: Path, legacy: bool, protocol: int, value: Any, message: str) -> None:
    path = save({"a": value}, tmp_path / "x.pth", legacy=legacy, protocol=protocol)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_torch(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("legacy", [False, True])
def test_negated_tensor(tmp_path: Path, legacy: bool) -> None:
    """Its storage holds the opposite numbers: reading them as they are would be wrong."""
    value = torch.view_as_complex(torch.ones(3, 2)).conj().imag
    assert value.is_neg()
    path = save(value, tmp_path / "x.pth", legacy=legacy)
    with pytest.raises(CheckpointError, match=r"Complex|negated"):
        read_torch(path)
