"""How the stored tensors of two checkpoints compare: a row for each."""

from __future__ import annotations

import math
from dataclasses import dataclass

EQUAL, ROUNDED, DIFFERENT, ABSENT = "equal", "rounded", "different", "absent"


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
