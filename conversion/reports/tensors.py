"""How the stored tensors of two checkpoints compare: a row for each tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass

EQUAL, ROUNDED, DIFFERENT, ABSENT = "equal", "rounded", "different", "absent"


@dataclass(frozen=True)
class TensorRow:
    """The comparison of one stored tensor in two checkpoints, A and B.

    Attributes:
        name: Path in the weight table; for a tensor that no class has, its name in the file.
        place: Where in the model it is: "embeddings", "layer 3", "decoder layer 3", "head", or
            "no part of it".
        shapes, dtypes: Shape and dtype in A and in B; None where the tensor is absent.
        result: `EQUAL`, bit by bit; `ROUNDED`, equal once one is rounded to the dtype of the
            other; `DIFFERENT`; or `ABSENT` from one of them.
        differing: Number of values that differ.
        largest: Largest absolute difference; NaN where there is none to tell, as for `ABSENT`.
        not_finite: Number of NaN and infinite values in A.
        problem: What is off, in words; None if nothing is.
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
        """Number of values, in the checkpoint that has it."""
        return math.prod(next(shape for shape in self.shapes if shape is not None))

    def __str__(self) -> str:
        return f"{self.name} ({self.place})"
