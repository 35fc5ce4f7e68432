"""The section of a page that shows how the tensors of two checkpoints compare."""

from __future__ import annotations

import re
from collections.abc import Sequence

from conversion.reports.html.parts import Cell, element, escaped, heading, table
from conversion.reports.tensors import ABSENT, DIFFERENT, EQUAL, ROUNDED, TensorRow
from conversion.reports.wording import counted, shape_of, two_digits

_MARKS = {
    EQUAL: ("=", "good"),
    ROUNDED: ("\N{ALMOST EQUAL TO}", "warn"),
    DIFFERENT: ("\N{NOT EQUAL TO}", "bad"),
    ABSENT: ("\N{EMPTY SET}", "bad"),
}
_LAYER = re.compile(r"(.*?)layer (\d+)")
_NUMBER = re.compile(r"\.\d+\.")


def tensors_section(rows: Sequence[TensorRow]) -> str:
    """Build the section: a grid of the layers, the tensors that are off, and all tensors.

    Args:
        rows: The comparisons, in order of computation.
    """
    equal = sum(row.result == EQUAL for row in rows)
    parts = [heading(f"Tensors, bit by bit: {equal} of {len(rows)} equal")]
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
            others.append((Cell(row.name, "words"), Cell(row.place, "words"), _mark(row)))
    parts.append(table(("outside the layers", Cell("place", "words"), ""), others, "grid"))
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
        numbers = [Cell(name, "number") for name in ("differing", "difference")]
        columns = [Cell("tensor"), Cell("place"), Cell("shape"), *numbers, Cell("what is off")]
        parts += [heading(f"{counted(len(off), 'tensor')} off"), table(columns, map(_off, off))]
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
        Cell("-" if row.result == ABSENT else f"{row.differing:,}", "number"),
        Cell(two_digits(row.largest), "number"),
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
