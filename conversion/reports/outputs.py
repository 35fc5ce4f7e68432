"""How the outputs of two models compare: a row for each tensor, and the bars to meet."""

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
    """The bars that a comparison of two models must meet.

    Attributes:
        float64: Largest difference in float64, as a share of the largest value of the tensor.
        float32: The same in float32, for outputs of the head, such as logits.
        float32_states: The same in float32, for hidden states and attentions. In a trained model
            the rounding of either framework alone comes to 3e-6 there.
        near_tie: The argmax may differ only where the two best values of the float64 output are
            at most this share of its largest value apart.
        rounded: Share of the values of an output that must be equal bit by bit once the float64
            output is rounded to float32.
        rounded_from: Number of values from which on `rounded` is a bar; of smaller outputs the
            share is only reported.
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
    """The comparison of one tensor in one dtype; shares are in [0, 1].

    Attributes:
        dtype: "float64" or "float32".
        name: Name of the tensor, such as "hidden_states[2]".
        shape: Its shape in the first model.
        difference: Largest absolute difference; NaN where there is none to tell.
        relative: That difference as a share of the largest absolute value.
        argmax_equal: Of logits, the share of positions with the same argmax; else None.
        index_equal: Of an integer output, the share of equal entries; else None.
        rounded_equal: In float64, the share of values that are equal bit by bit after rounding to
            float32, but for the sign of zero; else None.
        bar: The bar on `relative`, or on the share of unequal entries; None where the difference
            is only reported.
        problem: What is off, in words; None if nothing is.
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
        """Whether it is an output of the head: not a hidden state, an attention or the loss."""
        return self.name != "loss" and not self.name.endswith("]")

    def __str__(self) -> str:
        words = describe(self.name)
        return f"{self.name} ({words})" if words else self.name


# The name of a tensor of one layer; an encoder-decoder has three kinds of attention.
OF_LAYER = re.compile(
    r"(?P<part>encoder_|decoder_|cross_|)(?P<kind>hidden_states|attentions)\[(?P<index>\d+)\]"
)


def describe(name: str) -> str:
    """Say in words what a tensor is, such as "output of layer 1"; empty where its name does."""
    found = OF_LAYER.fullmatch(name)
    if not found:
        return _WORDS.get(name, "")
    part, kind, index = found["part"], found["kind"], int(found["index"])
    if kind == "attentions":
        words = f"attention of layer {index}"
    else:
        words = f"output of layer {index - 1}" if index else "embeddings"
    if part == "cross_":
        return f"decoder: {words} to the source"
    return f"{part.rstrip('_')}: {words}" if part else words


def first_off(rows: Iterable[Row]) -> Row | None:
    """The first row that misses a bar; None if all are met."""
    return next((row for row in rows if row.problem is not None), None)
