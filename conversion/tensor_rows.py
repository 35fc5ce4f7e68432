"""Compare the tensors of two checkpoints bit by bit, whatever their layouts: a row for each.

Independent of how a conversion works: names and orientation come from the weight table, values
from the two files.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from conversion.fit import Fit
from conversion.progress import ByteProgress
from conversion.wording import counted, shape_of
from xlm_core.checkpoints.comparing import bits, compare_tensors, count_not_finite
from xlm_core.checkpoints.filling import Progress, in_parallel
from xlm_core.checkpoints.tensors import DTYPES, FLOAT_DTYPES, LazyTensor
from xlm_core.positions import sinusoidal_table

_IN_LAYER = re.compile(
    r"(?:(encoder|decoder)\.)?(?:attentions|layer_norm1|encoder_attn|layer_norm15|ffns|layer_norm2)"
    r"\.(\d+)\."
)
# The order of computation within a layer.
_STEPS = ("attentions", "layer_norm1", "encoder_attn", "layer_norm15", "ffns", "layer_norm2")
EQUAL, ROUNDED, DIFFERENT, ABSENT = "equal", "rounded", "different", "absent"


@dataclass(frozen=True)
class TensorRow:
    """How a tensor compares in two checkpoints.

    Attributes:
        name: Path in the weight table, or its name in the file where no class has it.
        place: Where in the model: "embeddings", "layer 3", "decoder layer 3", "head", ...
        shapes, dtypes: In the first and in the second; None where it is absent.
        result: EQUAL, bit by bit; ROUNDED, equal once one is rounded to the other's dtype;
            DIFFERENT; or ABSENT in one of them.
        differing: Number of values that differ.
        largest: Largest absolute difference; NaN where it cannot be told.
        not_finite: Number of NaN and infinite values of the first.
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
        """Number of values, of the first that has it."""
        return math.prod(next(shape for shape in self.shapes if shape is not None))

    def __str__(self) -> str:
        return f"{self.name} ({self.place})"


@dataclass(frozen=True)
class _Pair:
    row: TensorRow
    first: LazyTensor
    second: LazyTensor


def compare_weights(
    fits: tuple[Fit, Fit], progress: ByteProgress | None = None
) -> tuple[TensorRow, ...]:
    """Compare every tensor of two checkpoints; tied ones once.

    Args:
        fits: Of both.
        progress: Is told about bytes.

    Returns:
        The rows in order of computation.
    """
    progress = progress or ByteProgress(None)
    sides = [_tensors(fits[0]), _tensors(fits[1])]
    for fit, mine, other in ((fits[0], *sides), (fits[1], *reversed(sides))):
        for spec in fit.made:
            theirs = other.get(spec.path)
            if theirs is not None and theirs.dtype in FLOAT_DTYPES:
                # One file holds the fixed table and the other leaves it to be made.
                table = sinusoidal_table(*spec.shape).astype(DTYPES[theirs.dtype])
                mine[spec.path] = LazyTensor.of(table)
        for spec in fit.specs:
            tensor = fit.tensor(spec)
            if spec.tied_to is not None and spec.path in other and tensor is not None:
                mine.setdefault(spec.path, tensor)  # tied in one of them only
    rows: list[TensorRow] = []
    pairs: list[_Pair] = []
    for name in sorted({**sides[0], **sides[1]}, key=_order(fits)):
        first, second = (side.get(name) for side in sides)
        row = TensorRow(name, place_of(name, fits), _shapes(first, second), _dtypes(first, second))
        if first is None or second is None:
            where = "B" if first is None else "A"
            rows.append(replace(row, result=ABSENT, problem=f"only {where} has it"))
        elif first.shape != second.shape:
            shapes = f"shape {shape_of(first.shape)} in A, {shape_of(second.shape)} in B"
            rows.append(
                replace(row, result=DIFFERENT, differing=row.size, largest=math.nan, problem=shapes)
            )
            pairs.append(_Pair(rows[-1], first, second))
        else:
            rows.append(row)
            pairs.append(_Pair(row, first, second))
    compared = _compared(pairs, progress)
    return tuple(compared.get(row.name, row) for row in rows)


def place_of(name: str, fits: Sequence[Fit] = ()) -> str:
    """Where in the model a tensor of the weight table is, in words."""
    found = _IN_LAYER.match(name)
    part, _, rest = name.partition(".")
    stem = f"{part} " if part in ("encoder", "decoder") else ""
    if found:
        return f"{stem}layer {found[2]}"
    inside = rest if stem else name
    if inside.startswith(("position_embeddings.", "lang_embeddings.", "embeddings.", "layer_norm_emb.")):
        return f"{stem}embeddings"
    known = not fits or any(spec.path == name for fit in fits for spec in fit.specs)
    return f"{stem}head" if known else "no part of the model"
