"""What a checkpoint of the original holds besides its tensors, kept through every conversion.

A folder keeps it as facebook.json: the training parameters exactly (tuples, sets, arrays and keys
that are no text included), the words and counts of the dictionary, the counters of training.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xlm_core.containers.json_files import read_object
from xlm_core.containers.lazy_tensors import DTYPES, LazyTensor
from xlm_core.errors import CheckpointError

FILE = "facebook.json"
_TAG = "__python__"
# Sampling statistics have a number a word; beyond this, values are dropped and named.
_LARGEST_ARRAY = 1 << 24
_DEEPEST = 100


@dataclass(frozen=True)
class Original:
    """The original's own data.

    Attributes:
        params: Its training parameters.
        words: The word of each id, with "@@" where more of the word follows; None: no dictionary.
        counts: How often each was seen, by id; None where unknown.
        extra: Further entries of the file, such as the epoch.
        code_counts: The third column of its BPE codes; None where unknown.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] | None = None
    counts: tuple[int, ...] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    code_counts: tuple[int, ...] | None = None

    def to_json(self) -> str:
        """As text of facebook.json."""
        value = {
            "format": 1,
            "params": encode(dict(self.params)),
            "words": self.words,
            "counts": self.counts,
            "extra": encode(dict(self.extra)),
            "code_counts": self.code_counts,
        }
        return json.dumps(value, ensure_ascii=False) + "\n"


def read_original(path: Path) -> Original:
    """Read facebook.json.

    Raises:
        CheckpointError: If it is damaged.
    """
    return original_of(read_object(path), str(path))


def original_of(value: Mapping[str, Any], source: str) -> Original:
    """What the JSON object of a facebook.json says; `source` names it in messages.

    Raises:
        CheckpointError: If it is damaged.
    """
    if value.get("format") != 1:
        raise CheckpointError(f"{source} has format {value.get('format')!r:.40}; expected 1.")
    params, extra = (decode(value.get(name, {}), source) for name in ("params", "extra"))
    words, counts = value.get("words"), value.get("counts")
    code_counts = value.get("code_counts")
    fits = (
        isinstance(params, dict)
        and isinstance(extra, dict)
        and (words is None or _is_list_of(words, str))
        and all(n is None or _is_list_of(n, int) for n in (counts, code_counts))
        and (counts is None or (words is not None and len(words) == len(counts)))
    )
    if not fits:
        raise CheckpointError(f"{source} is damaged: its entries have the wrong form.")
    return Original(
        params,
        None if words is None else tuple(words),
        None if counts is None else tuple(counts),
        extra,
        None if code_counts is None else tuple(code_counts),
    )


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(type(entry) is kind for entry in value)


def can_encode(value: Any, depth: int = 0) -> bool:
    """Whether `encode` accepts a value: plain data and numpy's numbers, not too large."""
    if depth > _DEEPEST:
        return False
    if isinstance(value, Mapping):
        entries = [*value.keys(), *value.values()]
        return all(can_encode(entry, depth + 1) for entry in entries)
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(can_encode(entry, depth + 1) for entry in value)
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype.name in DTYPES and value.nbytes <= _LARGEST_ARRAY
    if isinstance(value, LazyTensor):
        return value.nbytes <= _LARGEST_ARRAY
    return value is None or isinstance(value, (str, int, float, bool, bytes))


def encode(value: Any) -> Any:
    """Encode a value for JSON; types that JSON lacks are tagged."""
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and _TAG not in value:
            return {key: encode(entry) for key, entry in value.items()}
        pairs = [[encode(key), encode(entry)] for key, entry in value.items()]
        return {_TAG: "dict", "value": pairs}
    if isinstance(value, list):
        return [encode(entry) for entry in value]
    if isinstance(value, tuple):
        return {_TAG: "tuple", "value": [encode(entry) for entry in value]}
    if isinstance(value, (set, frozenset)):
        entries = sorted((encode(entry) for entry in value), key=repr)
        return {_TAG: type(value).__name__, "value": entries}
    if isinstance(value, bytes):
        return {_TAG: "bytes", "value": base64.b64encode(value).decode()}
    if isinstance(value, LazyTensor):
        return _encode_array("tensor", value.read())
    if isinstance(value, np.generic):
        return _encode_array("scalar", np.asarray(value))
    if isinstance(value, np.ndarray):
        return _encode_array("array", value)
    return value


def _encode_array(tag: str, array: np.ndarray[Any, Any]) -> dict[str, Any]:
    content = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {_TAG: tag, "dtype": array.dtype.name, "shape": list(array.shape), "value": content}


def decode(value: Any, source: str) -> Any:
    """Decode what `encode` returned; tensors come back as `LazyTensor` in memory.

    Raises:
        CheckpointError: If it is not of its form.
    """
    try:
        return _decode(value, 0)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise CheckpointError(f"{source} is damaged: {error!r:.120}.") from error


def _decode(value: Any, depth: int) -> Any:
    if depth > 2 * _DEEPEST:
        raise ValueError("values are nested too deeply")
    if isinstance(value, list):
        return [_decode(entry, depth + 1) for entry in value]
    if not isinstance(value, dict):
        return value
    tag = value.get(_TAG)
    if tag is None:
        return {key: _decode(entry, depth + 1) for key, entry in value.items()}
    content = value["value"]
    if tag in ("tensor", "scalar", "array"):
        raw = np.frombuffer(base64.b64decode(content, validate=True), DTYPES[value["dtype"]])
        array = raw.reshape(value["shape"]).copy()
        if tag == "tensor":
            return LazyTensor.of(array)
        return array[()] if tag == "scalar" else array
    if tag == "bytes":
        return base64.b64decode(content, validate=True)
    entries = [_decode(entry, depth + 1) for entry in content]
    kinds = {"tuple": tuple, "set": set, "frozenset": frozenset, "dict": dict}
    return kinds[tag](entries)
