"""Compare the tensors of two checkpoints bit by bit, whatever their layouts.

The comparison does not depend on how a conversion works: names and orientation come from the
weight table, values from the two files.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

from conversion.reports.progress import ByteProgress
from conversion.reports.tensors import ABSENT, DIFFERENT, ROUNDED, TensorRow
from conversion.reports.wording import shape_of
from conversion.verification.origins import origins
from conversion.verification.rounding import Rounding, compare_rounded
from xlm_core.checkpoints.comparing import Comparison, compare_tensors
from xlm_core.checkpoints.fitting import Fit
from xlm_core.checkpoints.tensors import DTYPES, FLOAT_DTYPES, LazyTensor
from xlm_core.positions import sinusoidal_table

# The modules of a layer in order of computation; encoder_attn and layer_norm15 are a decoder's.
_STEPS = ("attentions", "layer_norm1", "encoder_attn", "layer_norm15", "ffns", "layer_norm2")
_IN_LAYER = re.compile(rf"({'|'.join(_STEPS)})\.(\d+)\.")
_EMBEDDINGS = ("position_embeddings.", "lang_embeddings.", "embeddings.", "layer_norm_emb.")
_PART = re.compile(r"(encoder|decoder)\.")


def compare_weights(
    fits: tuple[Fit, Fit], progress: ByteProgress | None = None
) -> tuple[TensorRow, ...]:
    """Compare every tensor of two checkpoints; tied tensors are compared once.

    Args:
        fits: How A and B each fit their class.
        progress: Shows how many bytes are compared.

    Returns:
        A row for each tensor, in order of computation.
    """
    progress = progress or ByteProgress(None)
    first, second = _owned(fits[0]), _owned(fits[1])
    _complete(fits[0], first, second)
    _complete(fits[1], second, first)
    known = {spec.path for fit in fits for spec in fit.specs}
    rows = []
    for name in sorted({**first, **second}, key=lambda name: (name not in known, _order(name))):
        place = place_of(name) if name in known else "no part of it"
        rows.append(_row_without_values(name, place, first.get(name), second.get(name)))
    return tuple(_with_origins(_compared(rows, first, second, progress), first, second))


def place_of(path: str) -> str:
    """Say where in the model a tensor of the weight table is, such as "decoder layer 3"."""
    part, rest = _split(path)
    stem = f"{part} " if part else ""
    found = _IN_LAYER.match(rest)
    if found:
        return f"{stem}layer {found[2]}"
    return f"{stem}{'embeddings' if rest.startswith(_EMBEDDINGS) else 'head'}"


def _split(path: str) -> tuple[str, str]:
    found = _PART.match(path)
    return (found[1], path[found.end() :]) if found else ("", path)


def _order(path: str) -> tuple[bool, float, int]:
    """Sort key: the place of a tensor in the order of computation."""
    part, rest = _split(path)
    found = _IN_LAYER.match(rest)
    if found:
        return part == "decoder", int(found[2]), _STEPS.index(found[1])
    return part == "decoder", -1 if rest.startswith(_EMBEDDINGS) else math.inf, 0


def _owned(fit: Fit) -> dict[str, LazyTensor]:
    """Untied tensors by path; then those that no class, or only another head, has."""
    result = {}
    for spec in fit.specs:
        tensor = fit.tensor(spec)
        if spec.tied_to is None and tensor is not None:
            result[spec.path] = tensor
    return result | dict(fit.others)


def _complete(fit: Fit, mine: dict[str, LazyTensor], theirs: dict[str, LazyTensor]) -> None:
    """Add tensors that only the other file stores although this file's model has them too.

    Those are tensors that are tied here and stored there, and fixed sinusoidal tables.
    """
    for spec in fit.specs:
        other, tensor = theirs.get(spec.path), fit.tensor(spec)
        if other is None or spec.path in mine:
            continue
        if tensor is not None:  # tied here, stored on its own there
            mine[spec.path] = tensor
        elif spec in fit.made and other.dtype in FLOAT_DTYPES:
            table = sinusoidal_table(*spec.shape)
            mine[spec.path] = LazyTensor.of(table.astype(DTYPES[other.dtype]))


def _row_without_values(
    name: str, place: str, a: LazyTensor | None, b: LazyTensor | None
) -> TensorRow:
    """The row of a tensor as far as it is known before values are read."""
    shapes = (a.shape if a else None, b.shape if b else None)
    row = TensorRow(name, place, shapes, (a.dtype if a else None, b.dtype if b else None))
    if a is None or b is None:
        return replace(
            row, result=ABSENT, largest=math.nan, problem=f"only {'A' if a else 'B'} has it"
        )
    if a.shape != b.shape:
        problem = f"shape {shape_of(a.shape)} in A, {shape_of(b.shape)} in B"
    elif a.dtype != b.dtype and not {a.dtype, b.dtype} <= {*FLOAT_DTYPES}:
        problem = f"{a.dtype} in A, {b.dtype} in B"
    else:
        return row
    return replace(row, result=DIFFERENT, differing=row.size, largest=math.nan, problem=problem)


def _compared(
    rows: list[TensorRow],
    first: dict[str, LazyTensor],
    second: dict[str, LazyTensor],
    progress: ByteProgress,
) -> list[TensorRow]:
    """Read the values of tensors that have the same shape, and complete their rows."""
    open_ = [index for index, row in enumerate(rows) if row.problem is None]
    alike = [index for index in open_ if rows[index].dtypes[0] == rows[index].dtypes[1]]
    cast = [index for index in open_ if index not in {*alike}]

    def pairs(indices: list[int]) -> list[tuple[LazyTensor, LazyTensor]]:
        return [(first[rows[index].name], second[rows[index].name]) for index in indices]

    progress.begin("comparing", sum(a.nbytes for a, _ in pairs(alike + cast)))
    for index, bitwise in zip(alike, compare_tensors(pairs(alike), progress.add), strict=True):
        rows[index] = _of_bits(rows[index], bitwise)
    for index, rounding in zip(cast, compare_rounded(pairs(cast), progress.add), strict=True):
        rows[index] = _of_rounding(rows[index], rounding)
    progress.end()
    return rows


def _of_bits(row: TensorRow, found: Comparison) -> TensorRow:
    if not found.differing:
        return replace(row, not_finite=found.not_finite)
    return replace(
        row,
        result=DIFFERENT,
        differing=found.differing,
        largest=found.largest,
        not_finite=found.not_finite,
        problem=f"{_differ(found.differing, row.size)}{_by(found.largest)}",
    )


def _of_rounding(row: TensorRow, found: Rounding) -> TensorRow:
    dtypes = f"{row.dtypes[0]} in A, {row.dtypes[1]} in B"
    if not found.differing:
        problem = f"the same values, but {dtypes}"
    elif found.rounded is not None:
        problem = f"equal after rounding to {found.rounded}{_by(found.largest)} ({dtypes})"
    else:
        problem = f"{dtypes}; rounding does not explain it{_by(found.largest)}"
    return replace(
        row,
        result=DIFFERENT if found.rounded is None else ROUNDED,
        differing=found.differing,
        largest=found.largest,
        not_finite=found.not_finite,
        problem=problem,
    )


def _differ(count: int, size: int) -> str:
    if count == size:
        return "all values differ" if size > 1 else "its value differs"
    return f"{count:,} of {size:,} values {'differs' if count == 1 else 'differ'}"


def _by(largest: float) -> str:
    return ", some are not finite" if math.isnan(largest) else f", by {largest:.1e} at most"


def _with_origins(
    rows: list[TensorRow], first: dict[str, LazyTensor], second: dict[str, LazyTensor]
) -> list[TensorRow]:
    """Name the tensor of A whose values B holds under a wrong name, where there is one."""
    wrong = [
        row.name
        for row in rows
        if row.result == DIFFERENT
        and row.dtypes[0] == row.dtypes[1]
        and 2 * row.differing > row.size
    ]
    found = origins(wrong, first, second) if wrong else {}
    return [
        replace(row, problem=f"{row.problem}; its values are those of {found[row.name]}")
        if row.name in found
        else row
        for row in rows
    ]
