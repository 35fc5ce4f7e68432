"""How what is given for a batch is compared with transformers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from xlm_core.errors import InputError

Pair = tuple[Any, Any]
SHORT, LONG = "abc de", "abc de fg h a abc bcd"


def quiet(call: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def plain(encoding: Mapping[str, Any]) -> dict[str, Any]:
    """Values with their type, so that a list never equals an array."""
    result = {}
    for key, value in encoding.items():
        if isinstance(value, (np.ndarray, torch.Tensor)):
            result[key] = (type(value), value.dtype, tuple(value.shape), value.tolist())
        else:
            result[key] = value
    return result


def lengths_of(encoding: Mapping[str, Any], key: str = "input_ids") -> set[int]:
    rows = encoding[key]
    if not hasattr(rows, "__len__"):
        return {1}
    batched = len(rows) and hasattr(rows[0], "__len__")
    return {len(row) for row in rows} if batched else {len(rows)}


def compare(pair: Pair, method: str, *args: Any, **options: Any) -> None:
    """The same keys in the same order with the same values, or an error on both sides.

    Where transformers leaves rows longer than truncation was told to, we refuse or do as told;
    where it gives tensors of ragged rows, or says that it cannot, we refuse.
    """
    ours, oracle = pair
    before = repr(args)
    tensors = options.get("return_tensors")
    lists = {key: value for key, value in options.items() if key != "return_tensors"}
    try:
        rows = quiet(lambda: getattr(oracle, method)(*args, **lists))
    except (ValueError, TypeError):
        with pytest.raises(InputError):
            quiet(lambda: getattr(ours, method)(*args, **options))
        return
    limit = options.get("max_length")
    truncation = options.get("truncation")
    if truncation is None and limit is not None and options.get("padding", False) is False:
        truncation = True
    if limit is None and oracle.model_max_length < 1e20:
        limit = oracle.model_max_length
    cuts = truncation not in (None, False, "do_not_truncate") and limit is not None
    if cuts and max(lengths_of(rows)) > limit:
        try:
            got = quiet(lambda: getattr(ours, method)(*args, **options))
        except InputError:
            return
        assert max(lengths_of(got)) <= limit
        return
    ragged = [key for key in rows if len(lengths_of(rows, key)) > 1]
    if tensors and ragged:
        with pytest.raises(InputError, match="one length"):
            quiet(lambda: getattr(ours, method)(*args, **options))
        return
    expected = quiet(lambda: getattr(oracle, method)(*args, **options))
    got = quiet(lambda: getattr(ours, method)(*args, **options))
    assert list(plain(got).items()) == list(plain(expected).items())
    assert repr(args) == before
