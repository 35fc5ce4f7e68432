"""What is computed for each line, and which lines are computed together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Line:
    """A line of text.

    Attributes:
        number: Its number among all lines of all inputs, counted from 1.
        text: Without its line feed.
    """

    number: int
    text: str


@dataclass(frozen=True)
class Result:
    """What became of a line.

    Attributes:
        output: The bytes to write for it, a line feed included where the output is text.
        counts: What to add up over all lines, such as {"unknown words": 2}.
    """

    output: bytes
    counts: Mapping[str, int] = field(default_factory=dict)


class LineWork(Protocol[Item]):
    """What a tool does with lines."""

    def prepare(self, lines: Sequence[Line]) -> Sequence[Item]:
        """What is computed for each line of a window, such as its ids."""

    def size(self, item: Item) -> int:
        """Number of tokens of an item; 0 if there is nothing to compute."""

    def run(self, items: Sequence[Item]) -> Sequence[Result]:
        """Compute a batch: items of about equal size, or only such of size 0."""


@dataclass(frozen=True)
class Batches(Generic[Item]):
    """Which items are computed together: the longest first, neighbours in length.

    Attributes:
        size: Largest number of items in a batch.
        tokens: Largest number of tokens in a batch, padding included; one item may be longer.
    """

    size: int
    tokens: int

    def of(self, sizes: Sequence[int]) -> Iterator[list[int]]:
        """Yield the indices of each batch; those of size 0 are by themselves, at the end."""
        order = sorted(range(len(sizes)), key=lambda index: -sizes[index])
        batch: list[int] = []
        for index in order:
            longest = sizes[batch[0]] if batch else 0
            full = len(batch) == self.size or (len(batch) + 1) * longest > self.tokens
            if batch and (full or (longest > 0 and sizes[index] == 0)):
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch


def json_line(values: Mapping[str, Any]) -> bytes:
    """One JSON object on a line; there must be neither NaN nor infinite numbers."""
    return (json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
