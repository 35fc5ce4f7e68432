"""Which tokens of each sequence stay: truncation, and windows over what is too long.

Everything here works on lengths and gives spans (start, stop); no token is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from xlm_core.errors import InputError

Span = tuple[int, int]
Ids = list[list[int]]


@dataclass(slots=True)
class Rows:
    """Which tokens of which sample each row of a batch holds.

    Attributes:
        samples: The index of each row's sample.
        first: The span of the sample's first sequence that each row holds.
        second: The span of the second sequence; None where the samples are single sequences.
        cut: Whether any row lacks a token of its sample.
    """

    samples: Sequence[int]
    first: list[Span]
    second: list[Span] | None
    cut: bool = False

    def of(self, first: Ids, second: Ids | None) -> tuple[Ids, Ids | None]:
        """The ids that each row holds, from those of the samples."""
        rows = [
            first[i][start:stop] for i, (start, stop) in zip(self.samples, self.first, strict=True)
        ]
        if second is None or self.second is None:
            return rows, second
        pairs = zip(self.samples, self.second, strict=True)
        return rows, [second[i][start:stop] for i, (start, stop) in pairs]

    @staticmethod
    def whole(first: list[int], second: list[int] | None) -> Rows:
        """One row for each sample, with nothing removed, from the lengths of the sequences."""
        return Rows(
            range(len(first)),
            [(0, length) for length in first],
            None if second is None else [(0, length) for length in second],
        )


def cut_rows(
    first: list[int],
    second: list[int] | None,
    size: int,
    strategy: str,
    side: str,
    stride: int,
    windows: bool,
) -> Rows:
    """Truncate samples to rows of at most `size` tokens, or cut them into windows.

    Args:
        first: Lengths of the first sequences.
        second: Lengths of the second ones, or None.
        size: The most tokens of a row, special tokens not counted.
        strategy: "longest_first", "only_first" or "only_second".
        side: "right" or "left", where tokens are removed.
        stride: With windows, how many tokens neighbours share.
        windows: Give further rows for what is cut off.

    Raises:
        InputError: Where the strategy cannot shorten a sample to `size`.
    """
    samples: list[int] = []
    spans_first: list[Span] = []
    spans_second: list[Span] = []
    others = [0] * len(first) if second is None else second
    for sample, (length, other) in enumerate(zip(first, others, strict=True)):
        excess = length + other - size
        if excess <= 0:
            samples.append(sample)
            spans_first.append((0, length))
            spans_second.append((0, other))
            continue
        gone = removed(length, None if second is None else other, excess, strategy)
        if not windows:
            here, there = [kept(length, gone[0], side)], [kept(other, gone[1], side)]
        elif strategy == "only_second":
            there = window_spans(other, other - gone[1], stride, side)
            here = [(0, length)] * len(there)
        else:
            here = window_spans(length, length - gone[0], stride, side)
            there = [(0, other)] * len(here)
        samples += [sample] * len(here)
        spans_first += here
        spans_second += there
    return Rows(samples, spans_first, None if second is None else spans_second, cut=True)


def removed(first: int, second: int | None, excess: int, strategy: str) -> tuple[int, int]:
    """How many tokens are removed from the first and from the second sequence.

    "longest_first" takes from the longer sequence until both are equally long, then from both in
    turn; where an odd one is left the second sequence gives it.

    Args:
        first: Length of the first sequence.
        second: Length of the second one, or None.
        excess: How many tokens must go; below 1 none goes.
        strategy: "longest_first", "only_first" or "only_second".

    Raises:
        InputError: If the sequence that the strategy names is shorter than that, or missing.
            transformers leaves such a sample as long as it is.
    """
    if excess <= 0:
        return 0, 0
    if strategy == "longest_first" and second is not None and excess <= first + second:
        lead = min(abs(first - second), excess)
        half = (excess - lead) // 2
        from_first = half + (lead if first > second else 0)
        return from_first, excess - from_first
    name, length = ("second", second) if strategy == "only_second" else ("first", first)
    if strategy == "longest_first" and second is not None:
        name, length = "whole", first + second
    if length is None:
        raise InputError(
            f"a single sequence is {excess} tokens too long and truncation='only_second' cannot "
            "shorten it: give text_pair, or truncation=True."
        )
    if excess > length:
        raise InputError(
            f"{excess} tokens must be removed, but the {name} sequence, which "
            f"truncation={strategy!r} shortens, has {length}: give a larger max_length or another "
            "truncation ('longest_first', 'only_first', 'only_second')."
        )
    return (0, excess) if name == "second" else (excess, 0)


def kept(length: int, gone: int, side: str) -> Span:
    """The span that remains when `gone` of `length` tokens are removed at `side`."""
    return (gone, length) if side == "left" else (0, length - gone)


def overflow_span(length: int, gone: int, stride: int, side: str) -> Span:
    """The span that transformers calls overflowing: what was removed, and `stride` tokens more."""
    size = min(length, stride + gone)
    return (0, size) if side == "left" else (length - size, length)


def window_spans(length: int, size: int, stride: int, side: str) -> list[Span]:
    """Spans of at most `size` tokens that cover `length`, neighbours sharing `stride` tokens.

    The first one is what truncation leaves: windows go to the right, or with side "left" from
    the end to the left.

    Raises:
        InputError: If a window is no longer than what it shares.
    """
    if stride >= size:
        refuse_stride(stride, size)
    step = size - stride
    starts = range(0, max(length - size, 0) + step, step)
    spans = [(start, min(start + size, length)) for start in starts]
    if side == "left":
        return [(length - stop, length - start) for start, stop in spans]
    return spans


def refuse_stride(stride: int, size: int) -> NoReturn:
    """Raise `InputError`: windows of `size` tokens cannot share `stride` of them."""
    raise InputError(
        f"stride is {stride}, but a window has room for {size} tokens beside the special "
        "tokens and the other sequence: expected a stride below that. Give a smaller stride "
        "or a larger max_length."
    )
