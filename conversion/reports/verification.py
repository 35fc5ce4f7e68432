"""The report of one checkpoint in both frameworks, as text for people and as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from conversion.reports.json_text import json_text
from conversion.reports.output_table import bar_line, batch_line, percent, table
from conversion.reports.outputs import Bars, Row, first_off
from conversion.reports.wording import shown


@dataclass(frozen=True)
class Report:
    """What `verify` found.

    Attributes:
        folder: The checkpoint, as the caller named it.
        architecture: The class that it was opened in.
        batch: Shape of the ids of the batch.
        languages: Number of languages in the batch; 0 without language embeddings.
        rows: The comparisons, float64 first, each dtype in order of computation.
        bars: The bars that had to be met.
        versions: Versions by package.
        seconds: "total", and by framework and dtype the time to open the checkpoint and to run
            it, as in seconds["PyTorch"]["float64"]["open"].
        layout: Layout of the checkpoint, a key of `LAYOUTS`; empty where it is not known.
        notes: What else a reader should know.
    """

    folder: str
    architecture: str
    batch: tuple[int, ...]
    languages: int
    rows: tuple[Row, ...]
    bars: Bars
    versions: dict[str, str]
    seconds: dict[str, Any]
    layout: str = ""
    notes: tuple[str, ...] = ()

    @property
    def first_off(self) -> Row | None:
        """The first row that misses a bar; None if all are met."""
        return first_off(self.rows)

    @property
    def passed(self) -> bool:
        """Whether every bar is met."""
        return self.first_off is None

    def verdict(self) -> str:
        """One line: PASSED and by how much, or FAILED and where first."""
        off = self.first_off
        if off is not None:
            return f"FAILED: first off in {off.dtype}: {off}, {off.problem}"
        largest = {
            dtype: max(
                (row.relative for row in self._rows_of(dtype) if not math.isnan(row.relative)),
                default=0.0,
            )
            for dtype in ("float64", "float32")
        }
        return (
            f"PASSED: {len(self._rows_of('float64'))} tensors; largest difference, of the "
            f"largest value: {largest['float64']:.1e} in float64, {largest['float32']:.1e} "
            "in float32"
        )

    def text(self) -> str:
        """The whole report: a table for each dtype, the verdict on the last line."""
        layout = f" ({self.layout})" if self.layout else ""
        lines = [
            f"{self.architecture} in {shown(self.folder)}{layout}",
            ", ".join(f"{name} {version}" for name, version in self.versions.items()),
            *(f"note: {note}" for note in self.notes),
            batch_line(self.batch, self.languages),
        ]
        for dtype in ("float64", "float32"):
            lines += ["", bar_line(self.bars, dtype), *table(self._rows_of(dtype))]
        lines.append("")
        for row in self._rows_of("float64"):
            if row.rounded_equal is not None and row.is_output:
                counted = math.prod(row.shape)
                barred = counted >= self.bars.rounded_from
                lines.append(
                    f"{row.name}, float64 rounded to float32: {percent(row.rounded_equal)} of "
                    f"{counted:,} values bitwise equal"
                    + (f" (bar {100 * self.bars.rounded:g} %)" if barred else "")
                )
        lines.append(f"{self.seconds['total']:.1f} seconds")
        return "\n".join([*lines, self.verdict()])

    def json(self) -> str:
        """The whole report as one JSON object; numbers that are NaN or infinite are null."""
        off = self.first_off
        values = {
            "folder": self.folder,
            "layout": self.layout,
            "architecture": self.architecture,
            "batch": list(self.batch),
            "languages": self.languages,
            "notes": self.notes,
            "passed": self.passed,
            "first_off": None if off is None else _of_row(off),
            "verdict": self.verdict(),
            "bars": asdict(self.bars),
            "rows": [_of_row(row) for row in self.rows],
            "versions": self.versions,
            "seconds": self.seconds,
        }
        return json_text("verify", values)

    def _rows_of(self, dtype: str) -> list[Row]:
        return [row for row in self.rows if row.dtype == dtype]


def _of_row(row: Row) -> dict[str, Any]:
    return asdict(row) | {"description": str(row)}
