"""Compare the outputs of two models tensor by tensor, in numpy.

float64 is the judge: there the two must agree up to rounding, which proves that they compute the
same function. What differs in float32 is then rounding as well, and has a bar of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from conversion.reports.outputs import BARS, Bars, Row

Array = np.ndarray[Any, np.dtype[Any]]

# Outputs whose largest value along the last axis is the model's answer.
ANSWERS = ("logits", "start_logits", "end_logits")


def compare(
    first: Mapping[str, Array],
    second: Mapping[str, Array],
    *,
    dtype: str,
    judge: Mapping[str, Array] | None = None,
    bars: Bars = BARS,
    titles: tuple[str, str] = ("PyTorch", "TensorFlow"),
) -> tuple[Row, ...]:
    """Compare the tensors that two models returned.

    Args:
        first, second: The tensors by name, in order of computation.
        dtype: The dtype that they were computed in: "float64" or "float32".
        judge: The float64 tensors that decide what is a near-tie; default: `first`.
        bars: The bars to meet.
        titles: Names of the two models, for messages.

    Returns:
        A row for each tensor, in order of computation.
    """
    names = [*first, *(name for name in second if name not in first)]
    rows = []
    for name in names:
        if name in first and name in second:
            left_out = _left_out(name, first, second)
            reference = (first if judge is None else judge).get(name)
            rows.append(
                _row(name, first[name], second[name], reference, left_out, dtype, bars, titles)
            )
        else:
            there, where = (first, titles[0]) if name in first else (second, titles[1])
            problem = f"only {where} returns it"
            rows.append(Row(dtype, name, tuple(there[name].shape), problem=problem))
    return tuple(rows)


def _row(
    name: str,
    first: Array,
    second: Array,
    judge: Array | None,
    left_out: Array | None,
    dtype: str,
    bars: Bars,
    titles: tuple[str, str],
) -> Row:
    shape = tuple(first.shape)
    if first.shape != second.shape:
        return Row(dtype, name, shape, problem=f"shape {shape} against {tuple(second.shape)}")
    if first.dtype.kind in "iub" and second.dtype.kind in "iub":
        return _index_row(dtype, name, first, second)
    unfit = _unfit(first, titles[0], dtype) or _unfit(second, titles[1], dtype)
    if unfit:
        return Row(dtype, name, shape, problem=unfit)

    gap = np.abs(first.astype(np.float64) - second)
    if left_out is not None:
        gap = gap[~left_out]
    difference = float(gap.max(initial=0))
    largest = float(np.abs(first).max(initial=0))
    relative = difference / largest if largest else float("inf") if difference else 0.0
    bar = _bar(name, dtype, bars)
    problem = None
    if bar is not None and relative > bar:
        problem = f"{relative:.1e} of the largest value, bar {bar:g}"

    argmax_equal = None
    if name in ANSWERS and shape[-1] > 1:
        same = first.argmax(-1) == second.argmax(-1)
        argmax_equal = float(same.mean())
        wrong = 0 if judge is None else int((~same & ~near_ties(judge, bars.near_tie)).sum())
        if wrong:
            problem = problem or f"argmax differs in {wrong} of {same.size} places, near-ties aside"

    rounded = None
    if dtype == "float64" and name != "loss":
        rounded = rounded_equal(first, second)
        is_output = not name.endswith("]")
        if is_output and first.size >= bars.rounded_from and rounded < bars.rounded:
            problem = problem or (
                f"{100 * rounded:.4f} % of values equal after rounding to float32, "
                f"bar {100 * bars.rounded:g} %"
            )
    return Row(
        dtype,
        name,
        shape,
        difference,
        relative,
        argmax_equal=argmax_equal,
        rounded_equal=rounded,
        bar=bar,
        problem=problem,
    )


def _bar(name: str, dtype: str, bars: Bars) -> float | None:
    if dtype == "float64":
        return bars.float64
    if name == "loss":
        return None
    state = name.endswith("]") or name == "last_hidden_state"
    return bars.float32_states if state else bars.float32


def _unfit(array: Array, title: str, dtype: str) -> str | None:
    """Why an array cannot be compared with another; None if it can."""
    if array.dtype.name != dtype:
        return f"{array.dtype.name} in {title}, expected {dtype}"
    broken = int((~np.isfinite(array)).sum())
    return f"{broken} of {array.size} values are NaN or infinite in {title}" if broken else None


def _index_row(dtype: str, name: str, first: Array, second: Array) -> Row:
    same = first == second
    wrong = int((~same).sum())
    bar = 0.0 if dtype == "float64" else None
    problem = None
    if wrong and bar is not None:
        problem = f"{wrong} of {same.size} entries differ, bar {bar:g}"
    share = float(same.mean()) if same.size else 1.0
    return Row(dtype, name, tuple(first.shape), index_equal=share, bar=bar, problem=problem)


def _left_out(name: str, first: Mapping[str, Array], second: Mapping[str, Array]) -> Array | None:
    """Mask the end beams that follow different starts, so do not estimate the same number.

    A near-tie may order two starts differently in float32. In float64 such starts are an error of
    their own.
    """
    starts = [tensors.get("start_top_index") for tensors in (first, second)]
    if name != "end_top_log_probs" or starts[0] is None or starts[1] is None:
        return None
    if starts[0].shape != starts[1].shape or first[name].ndim != 2:
        return None
    other = starts[0] != starts[1]
    repeats, rest = divmod(first[name].shape[1], max(1, other.shape[1]))
    # Beams are flat: index = end * number of starts + start.
    return None if rest else np.tile(other, (1, repeats))


def near_ties(logits: Array, share: float) -> Array:
    """Mask where the two best logits are nearly equal.

    Args:
        logits: Float array of shape (..., classes).
        share: Largest distance, as a share of the largest absolute value of all logits.

    Returns:
        Bool array of shape (...).
    """
    best = np.partition(logits, -2, axis=-1)[..., -2:]
    close: Array = best[..., 1] - best[..., 0] <= share * np.abs(logits).max(initial=0)
    return close


def rounded_equal(first: Array, second: Array) -> float:
    """Share of values that are equal bit by bit in float32, but for the sign of zero."""
    bits = [(array.astype(np.float32) + np.float32(0)).view(np.uint32) for array in (first, second)]
    return float((bits[0] == bits[1]).mean()) if first.size else 1.0
