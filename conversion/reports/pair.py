"""The report of two checkpoints, A and B, that were compared, as text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from conversion.reports.json_text import json_text
from conversion.reports.output_table import bar_line, batch_line, table
from conversion.reports.outputs import Bars, Row, first_off
from conversion.reports.tensors import ABSENT, EQUAL, ROUNDED, TensorRow
from conversion.reports.wording import aligned, counted, shape_of, shown, size_of, two_digits
from xlm_core.containers.lazy_tensors import DTYPES


@dataclass(frozen=True)
class Side:
    """One of two checkpoints.

    Attributes:
        source: The checkpoint, as the caller named it.
        layout: Its layout, a key of `LAYOUTS`.
        architecture: Its class.
        tensors, nbytes: Number of tensors in its files, and of their bytes; shared bytes count
            once.
        dtypes: The dtypes of these tensors.
        problems: What is missing, unexpected or misshapen by its own configuration.
    """

    source: str
    layout: str
    architecture: str
    tensors: int
    nbytes: int
    dtypes: tuple[str, ...]
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"{shown(self.source)} ({self.layout}): {self.architecture}, "
            f"{counted(self.tensors, 'tensor')}, {', '.join(self.dtypes)}, {size_of(self.nbytes)}"
        )


@dataclass(frozen=True)
class Forward:
    """The forward proof: one batch through both.

    Attributes:
        titles: What ran where, such as "A in PyTorch".
        rows: The comparisons, as in `Report.rows`; empty where the proof was left out or failed.
        batch, languages: Shape and number of languages, as in `Report`.
        failure: Why one of the two could not be run; None if both were.
        left_out: Why neither was run; None if they were.
        has_bars: Whether the two must agree. Weights of which one file's are those of the other
            rounded give other outputs: these differences are reported, with no bar.
    """

    titles: tuple[str, str] = ("A", "B")
    rows: tuple[Row, ...] = ()
    batch: tuple[int, ...] = ()
    languages: int = 0
    failure: str | None = None
    left_out: str | None = None
    has_bars: bool = True


@dataclass(frozen=True)
class PairReport:
    """What `verify_pair` found.

    Attributes:
        sides: A and B.
        fields: Values in A and in B of the fields of the configuration that decide what a model
            computes, by name, where they differ.
        tensors: A row for each stored tensor, in order of computation.
        forward: The forward proof.
        not_proven: What remains unproven and why, in words.
        notes: What else a reader should know.
        bars: The bars that the forward proof had to meet.
        versions: Versions by package.
        seconds: "open", "tensors", "total", and those of the forward proof by title and dtype, as
            in seconds["A in PyTorch"]["float64"]["run"].
    """

    sides: tuple[Side, Side]
    fields: Mapping[str, tuple[Any, Any]]
    tensors: tuple[TensorRow, ...]
    forward: Forward
    not_proven: tuple[str, ...]
    notes: tuple[str, ...]
    bars: Bars
    versions: Mapping[str, str]
    seconds: Mapping[str, Any]

    @property
    def first_off(self) -> str | None:
        """The first thing that is off: of class, configuration, tensors, outputs; else None.

        That one file holds the tensors of the other rounded to its dtype is nothing off: see
        `rounded_to`.
        """
        classes = [side.architecture for side in self.sides]
        if classes[0] != classes[1]:
            return f"the class is {classes[0]} in A and {classes[1]} in B"
        for name, (first, second) in self.fields.items():
            return f"{name} is {shown(repr(first))} in A and {shown(repr(second))} in B"
        for letter, side in zip("AB", self.sides, strict=True):
            for problem in side.problems:
                return f"{letter} by itself: {shown(problem)}"
        off = self.tensors_off
        if off and self.rounded_to is None:
            several = f" (the first of {len(off)})" if len(off) > 1 else ""
            return f"tensor {shown(off[0])}: {off[0].problem}{several}"
        if self.forward.failure is not None:
            return f"the forward proof: {shown(self.forward.failure)}"
        row = first_off(self.forward.rows)
        return None if row is None else f"in {row.dtype}: {row}, {row.problem}"

    @property
    def tensors_off(self) -> list[TensorRow]:
        """The rows that are not equal bit by bit."""
        return [row for row in self.tensors if row.problem is not None]

    @property
    def passed(self) -> bool:
        """Whether nothing is off."""
        return self.first_off is None

    @property
    def rounded_to(self) -> str | None:
        """The dtype to which one file rounds the tensors of the other; None if it does not.

        None as well if all are stored in the same dtypes, or if rounding does not explain every
        tensor that differs. Of several dtypes, all, as in "bfloat16 and float16".
        """
        off = self.tensors_off
        if not off or any(row.result != ROUNDED for row in off):
            return None
        dtypes = {min(_floats(row), key=lambda name: DTYPES[name].itemsize) for row in off}
        return " and ".join(sorted(dtypes))

    def verdict(self) -> str:
        """One line: PASSED, or FAILED and the first thing that is off."""
        off, rounded = self.first_off, self.rounded_to
        if off is not None:
            return f"FAILED: first off: {off}"
        tensors = f"{counted(len(self.tensors), 'tensor')} equal bit by bit"
        if rounded is not None:
            tensors = self._only_rounded(rounded)
        if self.forward.left_out is not None:
            return f"PASSED: {tensors}; the forward proof was left out"
        largest = ", ".join(
            f"{self.largest(dtype):.1e} in {dtype}" for dtype in ("float64", "float32")
        )
        return (
            f"PASSED: {tensors}; {' and '.join(self.forward.titles)} differ at most, of the "
            f"largest value, by {largest}"
        )

    def _only_rounded(self, dtype: str) -> str:
        off = self.tensors_off
        stored = (
            f"{len(off)} of {counted(len(self.tensors), 'tensor')} "
            f"{'is' if len(off) == 1 else 'are'} stored in another dtype"
        )
        if not any(row.differing for row in off):
            return f"every value is the same: {stored}"
        return f"equal after rounding to {dtype}: {stored}, with the values of the other rounded"

    def largest(self, dtype: str) -> float:
        """Largest relative difference of the forward proof in a dtype."""
        found = [row.relative for row in self.forward.rows if row.dtype == dtype]
        return max((value for value in found if not math.isnan(value)), default=0.0)

    def text(self) -> str:
        """The whole report, the verdict on the last line."""
        lines = [f"{letter}: {side}" for letter, side in zip("AB", self.sides, strict=True)]
        lines += [", ".join(f"{name} {version}" for name, version in self.versions.items())]
        lines += [f"note: {shown(note)}" for note in self.notes]
        for name, (first, second) in self.fields.items():
            lines.append(
                f"configuration, {name}: {shown(repr(first))} in A, {shown(repr(second))} in B"
            )
        for letter, side in zip("AB", self.sides, strict=True):
            lines += [f"{letter} by itself: {shown(problem)}" for problem in side.problems]
        equal = [row for row in self.tensors if row.result == EQUAL]
        values = sum(row.size for row in equal)
        lines += ["", f"tensors, bit by bit: {len(equal)} of {len(self.tensors)} equal"]
        lines[-1] += f" ({values:,} values), tied ones once"
        if self.tensors_off:
            lines += tensor_table(self.tensors_off)
        lines += [
            f"not finite: {shown(row)}: {row.not_finite:,} of {row.size:,} values are NaN or "
            "infinite in A"
            for row in self.tensors
            if row.not_finite
        ]
        lines += self._forward_lines()
        lines += ["", *(f"not proven: {shown(what)}" for what in self.not_proven)]
        times = [f"{name} {self.seconds[name]:.1f}" for name in ("open", "tensors", "total")]
        return "\n".join([*lines, f"seconds: {', '.join(times)}", self.verdict()])

    def _forward_lines(self) -> list[str]:
        forward = self.forward
        lines = ["", f"forward: {' against '.join(forward.titles)}"]
        if forward.left_out is not None:
            return ["", f"forward: left out: {shown(forward.left_out)}"]
        if forward.failure is not None:
            return [*lines, f"could not be run: {shown(forward.failure)}"]
        lines.append(batch_line(forward.batch, forward.languages))
        for dtype in ("float64", "float32"):
            rows = [row for row in forward.rows if row.dtype == dtype]
            head = (
                bar_line(self.bars, dtype) if forward.has_bars else f"{dtype}, what rounding costs"
            )
            lines += ["", head, *table(rows)]
        return lines

    def json(self) -> str:
        """The whole report as one JSON object; numbers that are NaN or infinite are null."""
        values = {
            "a": asdict(self.sides[0]),
            "b": asdict(self.sides[1]),
            "passed": self.passed,
            "first_off": self.first_off,
            "verdict": self.verdict(),
            "rounded_to": self.rounded_to,
            "fields": {name: [repr(v) for v in pair] for name, pair in self.fields.items()},
            "tensors": [asdict(row) for row in self.tensors],
            "forward": asdict(self.forward),
            "not_proven": self.not_proven,
            "notes": self.notes,
            "bars": asdict(self.bars),
            "versions": self.versions,
            "seconds": self.seconds,
        }
        return json_text("verify pair", values)


def tensor_table(rows: list[TensorRow]) -> list[str]:
    """Lines of the table of tensors that are off."""
    cells = [("tensor", "place", "shape", "differing", "max |difference|", "")]
    for row in rows:
        shape = next(shape for shape in row.shapes if shape is not None)
        counts = ("-", "-")
        if row.result != ABSENT:
            counts = (f"{row.differing:,}", two_digits(row.largest))
        cells.append((shown(row.name), row.place, shape_of(shape), *counts, f"OFF: {row.problem}"))
    return aligned(cells, left=(0, 1, 2, 5))


def _floats(row: TensorRow) -> list[str]:
    return [dtype for dtype in row.dtypes if dtype in DTYPES]
