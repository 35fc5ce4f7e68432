"""A verification, of one checkpoint or of two, as one page that needs nothing beside itself."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from conversion.compare import Bars, Row
from conversion.html_parts import Cell, document, element, escaped, facts, table
from conversion.html_plot import error_plot
from conversion.pair_report import PairReport
from conversion.report import Report, bar_line, batch_line, percent
from conversion.tensor_rows import ABSENT, DIFFERENT, EQUAL, ROUNDED, TensorRow
from conversion.wording import counted, shape_of
from xlm_core.errors import CheckpointError
from xlm_core.whole_files import written_whole

_DOCTYPE = b"<!doctype html>"
_MARKS = {
    EQUAL: ("=", "good"),
    ROUNDED: ("\N{ALMOST EQUAL TO}", "warn"),
    DIFFERENT: ("\N{NOT EQUAL TO}", "bad"),
    ABSENT: ("\N{EMPTY SET}", "bad"),
}
_LAYER = re.compile(r"(.*?)layer (\d+)")
_NUMBER = re.compile(r"\.\d+\.")


def write_page(path: Path, report: Report | PairReport) -> None:
    """Write the page of a report; `check_target` says beforehand whether it may.

    Raises:
        CheckpointError: As of `check_target`.
    """
    check_target(path)
    with written_whole(path) as file:
        file.write_text(page_of(report), encoding="utf-8", newline="\n")


def check_target(path: Path) -> None:
    """Raise `CheckpointError` unless a page may be written there: only a page is replaced."""
    if not path.parent.is_dir():
        raise CheckpointError(f"the folder {path.parent} does not exist: make it first.")
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder: give the name of a page to write.")
    if path.exists():
        with path.open("rb") as file:
            if file.read(len(_DOCTYPE)).lower() != _DOCTYPE:
                raise CheckpointError(
                    f"{path} exists and is no HTML page, so it is not replaced: choose another "
                    "name for the page."
                )


def page_of(report: Report | PairReport) -> str:
    """The page as text."""
    return _of_pair(report) if isinstance(report, PairReport) else _of_one(report)


def _of_one(report: Report) -> str:
    title = f"Verification of {report.folder}"
    known = [("class", report.architecture), ("layout", report.layout or "not known")]
    return _page(
        title,
        report.verdict(),
        facts(
            [
                *known,
                ("compared", "PyTorch against TensorFlow"),
                ("batch", batch_line(report.batch, report.languages).removeprefix("batch: ")),
                *_versions_and_times(report.versions, report.seconds),
            ]
        ),
        _notes(report.notes),
        _forward(report.rows, report.bars, ("PyTorch", "TensorFlow")),
    )


def _of_pair(report: PairReport) -> str:
    a, b = report.sides
    pairs = [("A", str(a)), ("B", str(b))]
    forward = report.forward
    if forward.batch:
        words = batch_line(forward.batch, forward.languages).removeprefix("batch: ")
        pairs += [("forward proof", " against ".join(forward.titles)), ("batch", words)]
    sections = []
    if report.fields:
        rows = [
            (name, Cell(repr(x), "words"), Cell(repr(y), "words"))
            for name, (x, y) in report.fields.items()
        ]
        sections += [_heading("Configuration, where it differs"), table(("field", "A", "B"), rows)]
    for letter, side in zip("AB", report.sides, strict=True):
        if side.problems:
            sections.append(_heading(f"{letter} by itself"))
            sections += [element("p", escaped(problem)) for problem in side.problems]
    sections += [_bitwise(report.tensors)]
    why = forward.left_out or forward.failure
    if why is not None:
        what = "left out" if forward.left_out else "could not be run"
        sections += [_heading("Forward proof"), element("p", escaped(f"{what}: {why}"))]
    else:
        sections.append(_forward(forward.rows, report.bars, forward.titles))
    unproven = [f"not proven: {what}" for what in report.not_proven]
    return _page(
        f"Verification of {Path(a.source).name} against {Path(b.source).name}",
        report.verdict(),
        facts([*pairs, *_versions_and_times(report.versions, report.seconds)]),
        _notes([*report.notes, *unproven]),
        *sections,
    )


def _page(title: str, verdict: str, *parts: str) -> str:
    word, _, rest = verdict.partition(":")
    kind = "passed" if word == "PASSED" else "failed"
    inner = element("b", escaped(word)) + escaped(rest.strip())
    head = element("h1", escaped(title)) + element("p", inner, class_=f"verdict {kind}")
    return document(f"{word}: {title}", "\n".join((head, *parts)))


def _heading(text: str) -> str:
    return element("h2", escaped(text))


def _notes(notes: Iterable[str]) -> str:
    return "".join(element("p", escaped(note), class_="note") for note in notes)


def _versions_and_times(
    versions: Mapping[str, str], seconds: Mapping[str, Any]
) -> list[tuple[str, str]]:
    times = [f"{seconds['total']:.1f} in all"]
    for name, spent in seconds.items():
        if isinstance(spent, Mapping):
            times += [
                f"{name}, {dtype}: {part['open']:.1f} to open, {part['run']:.1f} to run"
                for dtype, part in spent.items()
            ]
        elif name != "total":
            times.append(f"{name} {spent:.1f}")
    return [
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("seconds", "; ".join(times)),
    ]


# -- what was computed -------------------------------------------------------------------------


def _forward(rows: Sequence[Row], bars: Bars, titles: tuple[str, str]) -> str:
    parts = [_heading(f"Error by layer, {titles[0]} against {titles[1]}"), error_plot(rows, bars)]
    words = "Largest difference as a share of the largest value of the tensor, logarithmic."
    parts.append(element("p", words, class_="note"))
    header = ("tensor", "what it is", "shape", "difference", "of the largest", "equal", "")
    for dtype in ("float64", "float32"):
        cells = [_cells(row) for row in rows if row.dtype == dtype]
        parts += [_heading(bar_line(bars, dtype)), table(header, cells)]
    return "\n".join(parts)


def _cells(row: Row) -> list[Cell]:
    name, _, words = str(row).partition(" (")
    equal = ""
    if row.argmax_equal is not None:
        equal = f"argmax {percent(row.argmax_equal)}"
    elif row.index_equal is not None:
        equal = f"entries {percent(row.index_equal)}"
    verdict = Cell("ok", "good") if row.bar is not None else Cell("reported")
    if row.problem is not None:
        verdict = Cell(row.problem, "bad words")
    return [
        Cell(name),
        Cell(words.removesuffix(")")),
        Cell(shape_of(row.shape)),
        Cell(_number(row.difference), "number"),
        Cell(_number(row.relative), "number"),
        Cell(equal, "number"),
        verdict,
    ]


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1e}"


# -- what is stored ----------------------------------------------------------------------------


def _bitwise(rows: Sequence[TensorRow]) -> str:
    equal = sum(row.result == EQUAL for row in rows)
    parts = [_heading(f"Tensors, bit by bit: {equal} of {len(rows)} equal")]
    legend = "= equal, {} equal after rounding, {} different, {} absent in one"
    marks = (_MARKS[result][0] for result in (ROUNDED, DIFFERENT, ABSENT))
    parts.append(element("p", escaped(legend.format(*marks)), class_="note"))
    grids: dict[str, dict[str, dict[int, TensorRow]]] = {}
    others = []
    for row in rows:
        found = _LAYER.fullmatch(row.place)
        if found:
            kind = _NUMBER.sub(".", row.name, count=1)
            grids.setdefault(found[1].strip(), {}).setdefault(kind, {})[int(found[2])] = row
        else:
            others.append((Cell(row.name, "words"), row.place, _mark(row)))
    parts.append(table(("outside the layers", "place", ""), others, "grid"))
    for part, grid in grids.items():
        layers = sorted({layer for found in grid.values() for layer in found})
        header = (f"{part} layer".strip(), *(str(layer) for layer in layers))
        lines = [
            (Cell(kind), *(_mark(found.get(layer)) for layer in layers))
            for kind, found in grid.items()
        ]
        parts.append(table(header, lines, "grid"))
    off = [row for row in rows if row.problem is not None]
    if off:
        header = ("tensor", "place", "shape", "differing", "difference", "what is off")
        parts += [_heading(f"{counted(len(off), 'tensor')} off"), table(header, map(_off, off))]
    odd = [row for row in rows if row.not_finite]
    parts += [
        element("p", escaped(f"{row}: {row.not_finite:,} values of A are NaN or infinite"))
        for row in odd
    ]
    every = table(("tensor", "shape", "dtype in A", "in B", "result"), map(_stored, rows))
    parts.append(element("details", element("summary", "Every tensor") + every))
    return "\n".join(parts)


def _mark(row: TensorRow | None) -> Cell:
    if row is None:
        return Cell("")
    mark, kind = _MARKS[row.result]
    return Cell(mark, kind, f"{row.name}: {row.problem or 'equal bit by bit'}")


def _shape(row: TensorRow) -> str:
    return shape_of(next(shape for shape in row.shapes if shape is not None))


def _off(row: TensorRow) -> list[Cell]:
    return [
        Cell(row.name, "words"),
        Cell(row.place),
        Cell(_shape(row)),
        Cell(f"{row.differing:,}", "number"),
        Cell(_number(row.largest), "number"),
        Cell(row.problem or "", f"words {_MARKS[row.result][1]}"),
    ]


def _stored(row: TensorRow) -> list[Cell]:
    dtypes = [Cell(dtype or "-") for dtype in row.dtypes]
    return [
        Cell(row.name, "words"),
        Cell(_shape(row)),
        *dtypes,
        Cell(row.result, _MARKS[row.result][1]),
    ]
