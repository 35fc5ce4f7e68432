"""Compare the tensors of two checkpoints bit by bit, whatever their layouts: a row for each.

Independent of how a conversion works: names and orientation come from the weight table, values
from the two files.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from conversion.progress import ByteProgress
from conversion.rounding import Rounding, compare_rounded
from conversion.tensor_origins import origins
from conversion.wording import shape_of
from xlm_core.checkpoints.fitting import Fit
from xlm_core.containers.comparing import Comparison, compare_tensors
from xlm_core.containers.lazy_tensors import DTYPES, FLOAT_DTYPES, LazyTensor
from xlm_core.positions import sinusoidal_table

EQUAL, ROUNDED, DIFFERENT, ABSENT = "equal", "rounded", "different", "absent"
# The modules of a layer in order of computation; those with 1.5 are a decoder's.
_STEPS = ("attentions", "layer_norm1", "encoder_attn", "layer_norm15", "ffns", "layer_norm2")
_IN_LAYER = re.compile(rf"({'|'.join(_STEPS)})\.(\d+)\.")
_EMBEDDINGS = ("position_embeddings.", "lang_embeddings.", "embeddings.", "layer_norm_emb.")
_PART = re.compile(r"(encoder|decoder)\.")


@dataclass(frozen=True)
class TensorRow:
    """How a tensor compares in two checkpoints, A and B.

    Attributes:
        name: Path in the weight table, or its name in the file where no class has it.
        place: Where in the model: "embeddings", "layer 3", "decoder layer 3", "head", or
            "no part of it".
        shapes, dtypes: In A and in B; None where it is absent.
        result: EQUAL, bit by bit; ROUNDED, equal once one is rounded to the other's dtype;
            DIFFERENT; or ABSENT from one of them.
        differing: Number of values that differ.
        largest: Largest absolute difference; NaN where it cannot be told, as for ABSENT.
        not_finite: Number of NaN and infinite values of A's.
        problem: What is off, in words, or None.
    """

    name: str
    place: str
    shapes: tuple[tuple[int, ...] | None, tuple[int, ...] | None]
    dtypes: tuple[str | None, str | None]
    result: str = EQUAL
    differing: int = 0
    largest: float = 0.0
    not_finite: int = 0
    problem: str | None = None

    @property
    def size(self) -> int:
        """Number of values, where it is."""
        return math.prod(next(shape for shape in self.shapes if shape is not None))

    def __str__(self) -> str:
        return f"{self.name} ({self.place})"


def compare_weights(
    fits: tuple[Fit, Fit], progress: ByteProgress | None = None
) -> tuple[TensorRow, ...]:
    """Compare every tensor of two checkpoints; tied ones once.

    Args:
        fits: Of A and of B.
        progress: Is told about bytes.

    Returns:
        The rows in order of computation.
    """
    progress = progress or ByteProgress(None)
    first, second = _owned(fits[0]), _owned(fits[1])
    _complete(fits[0], first, second)
    _complete(fits[1], second, first)
    known = {spec.path for fit in fits for spec in fit.specs}
    rows = []
    for name in sorted({**first, **second}, key=lambda name: (name not in known, _order(name))):
        place = place_of(name) if name in known else "no part of it"
        rows.append(_seen(name, place, first.get(name), second.get(name)))
    return tuple(_with_origins(_compared(rows, first, second, progress), first, second))


def place_of(path: str) -> str:
    """Where in the model a tensor of the weight table is, in words."""
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
    """The place of a tensor in the order of computation; equal ones stay as they were."""
    part, rest = _split(path)
    found = _IN_LAYER.match(rest)
    if found:
        return part == "decoder", int(found[2]), _STEPS.index(found[1])
    return part == "decoder", -1 if rest.startswith(_EMBEDDINGS) else math.inf, 0


def _owned(fit: Fit) -> dict[str, LazyTensor]:
    """Path -> tensor, of all that is not tied; then what no class or another head has."""
    result = {}
    for spec in fit.specs:
        tensor = fit.tensor(spec)
        if spec.tied_to is None and tensor is not None:
            result[spec.path] = tensor
    return result | dict(fit.others)


def _complete(fit: Fit, mine: dict[str, LazyTensor], theirs: dict[str, LazyTensor]) -> None:
    """Add what only the other file holds, and this one's model has all the same."""
    for spec in fit.specs:
        other, tensor = theirs.get(spec.path), fit.tensor(spec)
        if other is None or spec.path in mine:
            continue
        if tensor is not None:  # tied here, and of its own there
            mine[spec.path] = tensor
        elif spec in fit.made and other.dtype in FLOAT_DTYPES:
            table = sinusoidal_table(*spec.shape)
            mine[spec.path] = LazyTensor.of(table.astype(DTYPES[other.dtype]))


def _seen(name: str, place: str, a: LazyTensor | None, b: LazyTensor | None) -> TensorRow:
    """The row with what can be said before values are read."""
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
    """The rows, with what the values of tensors of one shape say."""
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
    """The rows; where B holds another tensor of A, it is said which."""
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
