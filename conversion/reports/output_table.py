"""The table of compared outputs as text, and the lines above it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from conversion.reports.outputs import Bars, Row
from conversion.reports.wording import aligned, shape_of, two_digits


def batch_line(batch: Sequence[int], languages: int) -> str:
    """Describe a batch: its shape, padding and number of languages."""
    axes = "choices x " if len(batch) == 3 else ""
    line = f"batch: {shape_of(batch)} (rows x {axes}positions), padded right and left"
    return line + (f", {languages} languages" if languages else "")


def bar_line(bars: Bars, dtype: str) -> str:
    """Say which bars hold in a dtype."""
    line = f"{dtype} (bar: {getattr(bars, dtype):g} of the largest value"
    if dtype == "float32":
        line += f"; {bars.float32_states:g} for states on the way"
    return f"{line})"


def percent(share: float) -> str:
    """A share in percent, rounded down, so that only all of it is 100 %."""
    shown = math.floor(share * 1e6 + 1e-6) / 1e4 if share < 1 else 100.0
    return f"{shown:.4f} %"


def table(rows: Sequence[Row]) -> list[str]:
    """Lines of a table with aligned columns, of which the last says what is off."""
    header = ("tensor", "shape", "max |difference|", "of the largest", "equal", "")
    return aligned([header, *(_cells(row) for row in rows)], left=(0, 1, 5))


def _cells(row: Row) -> tuple[str, ...]:
    numbers = [two_digits(number) for number in (row.difference, row.relative)]
    equal = "-"
    if row.argmax_equal is not None:
        equal = f"argmax {percent(row.argmax_equal)}"
    elif row.index_equal is not None:
        equal = f"entries {percent(row.index_equal)}"
    note = "ok" if row.problem is None else f"OFF: {row.problem}"
    if row.problem is None and row.bar is None:
        note = "reported"
    return (row.name, shape_of(row.shape), *numbers, equal, note)
