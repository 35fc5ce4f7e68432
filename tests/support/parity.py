"""Asserts that two computations agree; for both frameworks, on anything numpy can read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def as_array(value: Any) -> np.ndarray[Any, Any]:
    """A tensor of any framework, or anything array-like, as a numpy array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)


def difference_to_largest(actual: Any, expected: Any, scale: float | None = None) -> float:
    """The largest absolute difference, as a fraction of the largest expected absolute value.

    Args:
        actual, expected: Of one shape.
        scale: The largest value to compare with, where it is not that of `expected`.
    """
    a = as_array(actual).astype(np.float64)
    e = as_array(expected).astype(np.float64)
    if a.shape != e.shape:
        raise AssertionError(f"shapes differ: found {a.shape}, expected {e.shape}")
    if not a.size:
        raise AssertionError("nothing to compare: the arrays are empty")
    if not (np.isfinite(a).all() and np.isfinite(e).all()):
        raise AssertionError("not finite: " + ("found" if np.isfinite(e).all() else "expected"))
    worst = float(np.abs(a - e).max())
    largest = float(np.abs(e).max()) if scale is None else scale
    return 0.0 if worst == 0 else worst / largest if largest else float("inf")


def assert_close_to_largest(
    actual: Any, expected: Any, bound: float, name: str = "value", scale: float | None = None
) -> float:
    """Fail unless all values agree within `bound` times the largest expected absolute value.

    Returns:
        The difference found, as that fraction.
    """
    try:
        found = difference_to_largest(actual, expected, scale)
    except AssertionError as error:
        raise AssertionError(f"{name}: {error}") from None
    if not found <= bound:
        raise AssertionError(
            f"{name}: differs by {found:.3e} of the largest value, above the bound {bound:.1e}"
        )
    return found


def assert_equal(actual: Any, expected: Any, name: str = "value") -> None:
    """Fail unless shapes and all values are the same."""
    a, e = as_array(actual), as_array(expected)
    if a.shape != e.shape:
        raise AssertionError(f"{name}: shape {a.shape}, expected {e.shape}")
    if not np.array_equal(a, e):
        at = tuple(int(i) for i in np.argwhere(a != e)[0])
        raise AssertionError(f"{name}: {a[at]!r} at {at}, expected {e[at]!r}")


def assert_all_close(
    actual: Mapping[str, Any], expected: Mapping[str, Any], bound: float, *, one_scale: bool = False
) -> dict[str, float]:
    """`assert_close_to_largest` for every entry; the names must be the same.

    Args:
        actual, expected: Name -> array.
        bound: As there.
        one_scale: Compare with the largest value of all entries together, as for gradients.

    Returns:
        Name -> difference found.
    """
    if actual.keys() != expected.keys():
        raise AssertionError(f"names differ: {sorted(actual.keys() ^ expected.keys())}")
    if not expected:
        raise AssertionError("nothing to compare")
    scale = None
    if one_scale:
        scale = max(float(np.abs(as_array(value)).max()) for value in expected.values())
    return {
        name: assert_close_to_largest(actual[name], expected[name], bound, name, scale)
        for name in expected
    }


def assert_same_results(
    actual: Mapping[str, Any], expected: Mapping[str, Any], bound: float = 1e-12
) -> None:
    """Fail unless outputs agree to their largest value, and gradients to the largest gradient.

    Gradients are what is named "gradient of ...".
    """
    for is_gradient in (False, True):
        parts = [
            {n: v for n, v in values.items() if n.startswith("gradient of ") == is_gradient}
            for values in (actual, expected)
        ]
        assert_all_close(*parts, bound, one_scale=is_gradient)


def assert_same_choices(
    actual: Any,
    expected: Any,
    tokens: np.ndarray[Any, Any],
    name: str = "index",
    hidden: Any = None,
) -> None:
    """Fail unless indices agree, or point to positions whose scores are one tie.

    Args:
        actual, expected: integer, shape (batch, n): positions in the sequence.
        tokens: bool, shape (batch, sequence): False for padding, which all ties.
        name: For the message.
        hidden: float, shape (batch, sequence, hidden), or None: positions with one and the same
            state tie as well (the same token at what position_ids call the same position).
    """
    a, e = as_array(actual), as_array(expected)
    if a.shape != e.shape:
        raise AssertionError(f"{name}: shape {a.shape}, expected {e.shape}")
    rows = np.arange(a.shape[0])[:, None]
    tied = ~tokens[rows, a] & ~tokens[rows, e]
    if hidden is not None:
        states = as_array(hidden)
        tied |= np.isclose(states[rows, a], states[rows, e], rtol=0, atol=1e-12).all(-1)
    if not ((a == e) | tied).all():
        raise AssertionError(f"{name}: {a.tolist()}, expected {e.tolist()}")
