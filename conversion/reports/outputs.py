"""How the outputs of two models compare: a row for each tensor, and the bars it must meet."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_WORDS = {
    "last_hidden_state": "output of the last layer",
    "loss": "with labels",
}


@dataclass(frozen=True)
class Bars:
    """What two families must reach.

    Attributes:
        float64: Largest difference in float64, as a share of the largest value of the tensor.
        float32: The same in float32, for outputs (logits and what heads return).
        float32_states: The same in float32, for hidden states and attentions on the way, where
            the rounding of either framework alone comes to 3e-6 in a trained model.
        near_tie: The argmax may differ only where the two best values of the float64 output are
            at most this share of its largest value apart.
        rounded: Share of the values of an output that must be equal bit by bit once the float64
            output is rounded to float32.
        rounded_from: Number of values from which `rounded` is a bar; below it is reported.
    """

    float64: float = 1e-12
    float32: float = 2e-6
    float32_states: float = 1e-5
    near_tie: float = 2e-6
    rounded: float = 0.99999
    rounded_from: int = 100_000


BARS = Bars()


@dataclass(frozen=True)
class Row:
    """The comparison of one tensor in one dtype. Shares are in [0, 1].

    Attributes:
        dtype: "float64" or "float32".
        name: Such as hidden_states[2].
        shape: Of the first family's tensor.
        difference: Largest absolute difference; NaN where it cannot be told.
        relative: It as a share of the largest absolute value.
        argmax_equal: Share of places with the same argmax; None but for logits.
        index_equal: Share of equal entries of an integer output, else None.
        rounded_equal: Share of values that are equal bit by bit after rounding float64 to
            float32 (the sign of zero aside), else None.
        bar: The bar on `relative`, or on unequal entries; None where they are only reported.
        problem: What is off, in words, or None.
    """

    dtype: str
    name: str
    shape: tuple[int, ...]
    difference: float = float("nan")
    relative: float = float("nan")
    argmax_equal: float | None = None
    index_equal: float | None = None
    rounded_equal: float | None = None
    bar: float | None = None
    problem: str | None = None

    @property
    def is_output(self) -> bool:
        """Whether it is the model's output, not a state on the way, nor the loss."""
        return self.name != "loss" and not self.name.endswith("]")

    def __str__(self) -> str:
        words = describe(self.name)
        return f"{self.name} ({words})" if words else self.name


def describe(name: str) -> str:
    """What a tensor is, in words; empty where the name says it."""
    found = re.fullmatch(r"(hidden_states|attentions)\[(\d+)\]", name)
    if not found:
        return _WORDS.get(name, "")
    index = int(found[2])
    if found[1] == "attentions":
        return f"attention of layer {index}"
    return f"output of layer {index - 1}" if index else "embeddings"


def first_off(rows: Iterable[Row]) -> Row | None:
    """The first row, in the given order, that misses a bar."""
    return next((row for row in rows if row.problem is not None), None)
