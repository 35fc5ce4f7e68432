"""Lists become tensors as in transformers 4.57.6: values, dtypes and shapes."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.tokenization_utils_base import BatchEncoding as Peer

from xlm_core.errors import InputError, MissingPackageError, XLMError
from xlm_core.tokenization.calls.encoding import BatchEncoding
from xlm_core.tokenization.calls.frameworks import kind_of, plain, tensor_converter

VALUES: dict[str, Any] = {
    "flat": [1, 2, 3],
    "rows": [[1, 2], [3, 4]],
    "triples": [[[1, 2], [3, 4]]],
    "offsets": [[(0, 0), (0, 3)], [(4, 5), (0, 0)]],
    "none": [],
    "empty_rows": [[], []],
    "floats": [0.5, 1.0],
    "float_rows": [[0.5, 1.0]],
    "mixed": [1, 0.5],
    "bools": [True, False],
    "int64": np.array([[1, 2]]),
    "float32": np.array([0.5], np.float32),
    "arrays": [np.array([1, 2]), np.array([3, 4])],
    "large": [2**40],
}


@pytest.mark.parametrize("kind", ["np", "pt"])
@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("axis", [False, True])
def test_tensors_are_those_of_transformers(kind: str, name: str, axis: bool) -> None:
    data = {name: VALUES[name]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its lists of arrays are slow
        expected = Peer(data, tensor_type=kind, prepend_batch_axis=axis)[name]
    got = BatchEncoding(data, tensor_type=kind, prepend_batch_axis=axis)[name]
    assert type(got) is type(expected)
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    assert got.tolist() == expected.tolist()
    assert data[name] is VALUES[name]


@pytest.mark.parametrize("kind", ["np", "pt"])
def test_tensors_stay(kind: str) -> None:
    value: Any = np.ones(2) if kind == "np" else torch.ones(2)
    assert tensor_converter(kind)("x", value) is value


TF_PROBE = """
import sys
import numpy as np
from xlm_core.tokenization.calls.encoding import BatchEncoding
from xlm_core.tokenization.calls.frameworks import kind_of, plain
import tensorflow as tf
encoding = BatchEncoding(
    {"a": [[1, 2], [3, 4]], "b": [], "c": [0.5], "d": np.array([7]), "e": [[], []]},
    tensor_type="tf",
)
for key, value in encoding.items():
    print(key, value.dtype.name, tuple(value.shape), value.numpy().tolist())
assert BatchEncoding(encoding, tensor_type="tf")["a"] is encoding["a"]
assert kind_of(encoding["a"]) == "tf" and plain([encoding["d"]]) == [[7]]
assert "torch" not in sys.modules
"""


def run(code: str) -> str:
    """In a process that has imported nothing yet, transformers' switches of Keras included."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tensorflow() -> None:
    # As transformers gives them: Python integers become int32, arrays keep their dtype.
    assert run(TF_PROBE).splitlines() == [
        "a int32 (2, 2) [[1, 2], [3, 4]]",
        "b int32 (0,) []",
        "c float32 (1,) [0.5]",
        "d int64 (1,) [7]",
        "e int32 (2, 0) [[], []]",
    ]


def test_only_what_is_named_is_imported() -> None:
    code = """
import sys
from xlm_core.tokenization.calls.encoding import BatchEncoding
BatchEncoding({"a": [1]}, tensor_type="np")
assert not {"torch", "tensorflow"} & set(sys.modules)
BatchEncoding({"a": [1]}, tensor_type="pt")
assert "torch" in sys.modules and "tensorflow" not in sys.modules
"""
    run(code)


@pytest.mark.parametrize(
    ("kind", "module", "extra"), [("pt", "torch", "torch"), ("tf", "tensorflow", "tf")]
)
def test_missing_framework(
    kind: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    message = rf"not installed: pip install 'xlm-parity\[{extra}\]'"
    with pytest.raises(MissingPackageError, match=message) as caught:
        tensor_converter(kind)
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value, XLMError)


@pytest.mark.parametrize("kind", ["jax", "torch", "", 3])
def test_unknown_framework(kind: Any) -> None:
    with pytest.raises(
        InputError, match=r"'np' \(numpy\), 'pt' \(PyTorch\) or 'tf' \(TensorFlow\)"
    ):
        tensor_converter(kind)


@pytest.mark.parametrize("kind", ["np", "pt"])
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("input_ids", [[1], [2, 3]], "lengths from 1 to 2.*padding=True"),
        ("input_ids", [[], [2]], "lengths from 0 to 1.*padding=True"),
        ("overflowing_tokens", [[1], [2, 3]], "return_windows=True"),
        ("offset_mapping", [[(0, 1)], [(0, 1), (1, 2)]], "padding=True"),
        ("deep", [[[1], [2, 3]]], "lengths from 1 to 2"),
        ("names", ["a", "b"], "remove this key"),
        ("maybe", [1, None], "remove this key"),
        ("floats", [[0.5], [0.5, 1.0]], "lengths from 1 to 2"),
        ("huge", [2**70], "remove this key"),
    ],
)
def test_refused(kind: str, key: str, value: Any, message: str) -> None:
    encoding = BatchEncoding({"fine": [1], key: value})
    with pytest.raises(InputError, match=f"{key!r} cannot become a tensor.*{message}"):
        encoding.convert_to_tensors(kind)
    assert encoding == {"fine": [1], key: value}


def test_plain() -> None:
    assert plain([np.array([1]), torch.tensor([2])]) == [[1], [2]]
    assert plain((np.int64(3), torch.tensor(0.5))) == [3, 0.5]
    assert plain(["a", None]) == ["a", None]
    kinds = [kind_of(value) for value in (np.ones(1), np.int64(1), torch.ones(1), [1], 1, None)]
    assert kinds == ["np", "np", "pt", None, None, None]
